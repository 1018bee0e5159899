package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/pgtest"
)

// importSession is an environment with a configuration and a database of the
// test, and a session in it.
func importSession(t *testing.T) (*env, *session) {
	t.Helper()
	desk := newDeskOn(t, pgtest.New(t).DSN)
	const text = `merchant_accounts:
  - {id: DemoEU, gateway: adyen, environment: test, base_url: "http://127.0.0.1:1/adyen/v71", return_url: "https://example.invalid/", api_key: "test", max_in_flight: 4}
`
	path := filepath.Join(t.TempDir(), "contauth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &env{
		stdin: strings.NewReader(""), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), configPath: path, actor: "mia",
		lookup:  func(name string) (string, bool) { value, ok := desk.env[name]; return value, ok },
		environ: func() []string { return []string{"CONTAUTH_DATABASE_URL=" + desk.env["CONTAUTH_DATABASE_URL"]} },
	}
	s, err := e.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return e, s
}

func TestImportCommand(t *testing.T) {
	e, _ := importSession(t)
	dir := t.TempDir()
	const header = "reference,merchant_account,shopper_reference,token,amount_minor,currency,due_at,description\n"
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.csv", header+"T1,DemoEU,shopper-1,M5N7TQ4TG5PFWR50,1250,EUR,2027-01-31T09:00:00+01:00,\n")
	bad := file("bad.csv", header+"T2,DemoEU,shopper-2,M5N7TQ4TG5PFWR51,0,EUR,2027-01-31,\n")
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"a dry run stores nothing", []string{"charges", good, "--dry-run"}, exitDone,
			"would import charges: 1 row: 1 new, 0 changed, 0 unchanged; 1 token new\ndry run: nothing was stored\n", ""},
		{"a good file", []string{"charges", good}, exitDone, "imported charges: 1 row: 1 new, 0 changed, 0 unchanged; 1 token new\n", ""},
		{"the same file again, as JSON", []string{"charges", good, "--json"}, exitDone,
			`{"kind":"result","rows":1,"bad":0,"new":0,"changed":0,"unchanged":1,"new_tokens":0,"held":0,"charges":0,"waived":0,"completed":0,"dry_run":false}` + "\n", ""},
		{"a bad file", []string{"charges", bad}, exitFailure, "",
			bad + `:2: due_at "2027-01-31": want a date and time with an offset, like 2027-01-31T09:00:00+01:00 or 2027-01-31T08:00:00Z` + "\n" +
				bad + `:2: amount_minor "0": want more than 0: there is nothing to charge` + "\n" +
				"contauth: import charges: " + bad + ": 1 bad row, nothing was stored\n"},
		{"no file", []string{"charges"}, exitUsage, "", "contauth: contauth import charges takes one FILE.csv and nothing else, not 0 arguments\n"},
		{"an unknown column to allow", []string{"charges", good, "--allow-digits", "card"}, exitUsage, "",
			"contauth: --allow-digits card: there is no such column, want one of " +
				"reference, merchant_account, shopper_reference, token, payment_method, amount_minor, currency, description, due_at\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			world := *e
			world.stdout, world.stderr = &stdout, &stderr
			world.args = append([]string{"import", "--config", e.configPath}, tt.args...)
			if code := run(t.Context(), &world); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, stderr.String()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}
