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
	return importSessionAt(t, "http://127.0.0.1:1")
}

// importSessionAt is importSession with a gateway at that address.
func importSessionAt(t *testing.T, gateway string) (*env, *session) {
	t.Helper()
	desk := newDeskOn(t, pgtest.New(t).DSN)
	text := `merchant_accounts:
  - {id: DemoEU, gateway: adyen, environment: test, base_url: "` + gateway + `/adyen/v71", return_url: "https://example.invalid/", api_key: "test", max_in_flight: 4}
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
	const header = "reference,merchant_account,shopper_reference,token,amount_minor,currency,due_at,description\n"
	file := importFile(t)
	good := file("good.csv", header+"T1,DemoEU,shopper-1,M5N7TQ4TG5PFWR50,1250,EUR,2027-01-31T09:00:00+01:00,\n")
	bad := file("bad.csv", header+"T2,DemoEU,shopper-2,M5N7TQ4TG5PFWR51,0,EUR,2027-01-31,\n")
	runImportCommands(t, e, []importCommandTest{
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
	})
}

func TestImportTokensCommand(t *testing.T) {
	e, _ := importSession(t)
	const header = "merchant_account,token,shopper_reference,expiry,last_four\n"
	file := importFile(t)
	book := file("book.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-1,2030-03,0042\nDemoEU,M5N7TQ4TG5PFWR51,shopper-1,,\n")
	renewed := file("renewed.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-1,12/34,0042\n")
	bad := file("bad.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-2,13/30,4111111111111111\n")
	another := file("another.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-2,,\n")
	runImportCommands(t, e, []importCommandTest{
		{"a dry run stores nothing", []string{"tokens", book, "--dry-run"}, exitDone,
			"would import tokens: 2 rows: 2 new, 0 changed, 0 unchanged\ndry run: nothing was stored\n", ""},
		{"a good file", []string{"tokens", book}, exitDone, "imported tokens: 2 rows: 2 new, 0 changed, 0 unchanged\n", ""},
		{"the same file again, as JSON", []string{"tokens", book, "--json"}, exitDone,
			`{"kind":"result","rows":2,"bad":0,"new":0,"changed":0,"unchanged":2,"new_tokens":0,"held":0,"charges":0,"waived":0,"completed":0,"dry_run":false}` + "\n", ""},
		{"a renewed card", []string{"tokens", renewed}, exitDone,
			"…WR50: expiry: \"2030-03\" → \"2034-12\"\nimported tokens: 1 row: 0 new, 1 changed, 0 unchanged\n", ""},
		{"a card number", []string{"tokens", bad}, exitFailure, "",
			bad + ":2: last_four: looks like a card number, which contauth must not keep; want the gateway's token and opaque references (--allow-digits COLUMN if it is none)\n" +
				"contauth: import tokens: " + bad + ": 1 bad row, nothing was stored\n"},
		{"another shopper", []string{"tokens", another}, exitFailure, "",
			another + ":2: token: belongs to another shopper reference: a token is one shopper's for good\n" +
				"contauth: import tokens: " + another + ": 1 bad row, nothing was stored\n"},
		{"a rate without a check", []string{"tokens", book, "--rate", "5"}, exitUsage, "", "contauth: --rate is for --check\n"},
		{"a check that would never end", []string{"tokens", book, "--check", "--rate", "0"}, exitUsage, "",
			"contauth: --rate 0: want more than 0 and at most 1000 tokens a second\n"},
		{"a check of a bad file asks nobody", []string{"tokens", another, "--check"}, exitFailure, "",
			another + ":2: token: belongs to another shopper reference: a token is one shopper's for good\n" +
				"contauth: import tokens: " + another + ": 1 bad row, nothing was stored\n"},
		{"no file", []string{"tokens"}, exitUsage, "", "contauth: contauth import tokens takes one FILE.csv and nothing else, not 0 arguments\n"},
	})
}

// importFile returns what writes files for a test.
func importFile(t *testing.T) func(name, text string) (path string) {
	dir := t.TempDir()
	return func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

type importCommandTest struct {
	name           string
	args           []string
	code           int
	stdout, stderr string
}

func runImportCommands(t *testing.T, e *env, tests []importCommandTest) {
	t.Helper()
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
