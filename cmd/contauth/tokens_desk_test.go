package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A tokenDesk is a desk with a configuration of two merchant accounts, DemoEU at Adyen
// and DemoMC at the Mastercard Gateway, whose gateway counts what is sent and answers
// nothing of use. There are tokens 1 (DemoEU, shopper-1), and of DemoMC 2 (shopper-1),
// 3 (shopper-2) and 4 (shopper-1, invalid).
type tokenDesk struct {
	*desk
	file   string
	stdin  string
	sent   atomic.Int64
	answer http.HandlerFunc // in place of nothing of use
}

func newTokenDesk(t *testing.T) *tokenDesk {
	t.Helper()
	d := &tokenDesk{desk: newCommandDesk(t)}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.sent.Add(1)
		if d.answer != nil {
			d.answer(w, r)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(gateway.Close)
	d.file = filepath.Join(t.TempDir(), "contauth.yaml")
	if err := os.WriteFile(d.file, []byte(fmt.Sprintf(`
timing: {lease: 6s, gateway_timeout: 2s, claim_ahead: 500ms}
merchant_accounts:
  - {id: DemoEU, gateway: adyen, environment: test, base_url: "%[1]s/adyen/v71", return_url: "https://example.invalid/", api_key: "key"}
  - {id: DemoMC, gateway: mastercard, environment: test, merchant_id: TESTDEMO, base_url: "%[1]s/mastercard/api/nvp/version/100", api_password: "password"}
`, gateway.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("tokens list") // stores the accounts
	d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference, state, cause)
	        VALUES ('DemoMC', '9000000000000002', 'shopper-1', 'valid', ''),
	               ('DemoMC', '9000000000000003', 'shopper-2', 'valid', ''),
	               ('DemoMC', '9000000000000004', 'shopper-1', 'invalid', 'the gateway''s status is INVALID')`)
	return d
}

// types runs one command line, with standard input where the test set it.
func (d *tokenDesk) types(line string) (stdout, stderr string, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	var words []string
	for i, part := range strings.Split(line, "'") { // what stands in quotes is one word
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	e := &env{
		args: append(words, "--actor", "mia", "--config", d.file), stdin: strings.NewReader(d.stdin), stdout: &out, stderr: &errs,
		lookup:  func(name string) (string, bool) { v, ok := d.env[name]; return v, ok },
		environ: func() []string { return []string{"CONTAUTH_DATABASE_URL=" + d.env["CONTAUTH_DATABASE_URL"]} },
	}
	code = run(d.t.Context(), e)
	return out.String(), errs.String(), code
}

// must types a command line that works, and returns what it printed.
func (d *tokenDesk) must(line string) string {
	d.t.Helper()
	stdout, stderr, code := d.types(line)
	if code != exitDone {
		d.t.Fatalf("contauth %s: exit code %d, %s", line, code, stderr)
	}
	return stdout
}

// stored counts what commands about tokens may store.
func (d *tokenDesk) stored() string {
	d.t.Helper()
	var counts string
	if err := d.db.QueryRow(`
		SELECT concat_ws(' ', (SELECT count(*) FROM tokens), (SELECT string_agg(state, ',' ORDER BY id) FROM tokens),
		                 (SELECT count(*) FROM token_events), (SELECT count(*) FROM token_sessions), (SELECT count(*) FROM cards),
		                 (SELECT count(*) FROM verification_jobs), (SELECT count(*) FROM audit), (SELECT count(*) FROM runs))`).Scan(&counts); err != nil {
		d.t.Fatal(err)
	}
	return counts
}

// session opens the desk's configuration and database, as a command does.
func (d *tokenDesk) session() *session {
	d.t.Helper()
	e := &env{
		stderr: &bytes.Buffer{}, configPath: d.file,
		lookup:  func(name string) (string, bool) { v, ok := d.env[name]; return v, ok },
		environ: func() []string { return []string{"CONTAUTH_DATABASE_URL=" + d.env["CONTAUTH_DATABASE_URL"]} },
	}
	s, err := e.open(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(s.close)
	return s
}
