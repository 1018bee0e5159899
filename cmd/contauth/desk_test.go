package main

import (
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/pgtest"
)

// A desk is where a person types commands: a database with one subscription,
// gym, that begins on 31 January 2027 in Berlin, and one charge, -topup-1.
type desk struct {
	t   *testing.T
	db  *sql.DB
	env map[string]string
}

func newCommandDesk(t *testing.T) *desk {
	t.Helper()
	d := newDeskOn(t, pgtest.New(t).DSN)
	d.exec(`INSERT INTO account_settings (merchant_account, base_url, return_url) VALUES ('DemoEU', 'http://127.0.0.1:1', 'https://example.invalid/');
	        INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight) SELECT 'DemoEU', 'adyen', 'test', id, 4 FROM account_settings;
	        INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoEU', 'TOKEN1234567890', 'shopper-1');
	        INSERT INTO subscriptions (token_id, amount_minor, currency, anchor, next_charge_at, first_cycle, next_cycle,
	                                   interval_unit, interval_count, decided_by, timezone, merchant_account, reference)
	        SELECT id, 1234, 'EUR', '2027-01-31T09:00', '2027-01-31T08:00:00Z', 1, 1, 'month', 1, 'mia', 'Europe/Berlin', 'DemoEU', 'gym' FROM tokens;
	        INSERT INTO charges (token_id, amount_minor, currency, merchant_account, reference, model, due_at, next_attempt_at, decided_by)
	        SELECT id, 500, 'JPY', 'DemoEU', '-topup-1', 'UnscheduledCardOnFile', '2026-01-31T09:00:00Z', '2026-01-31T09:00:00Z', 'mia' FROM tokens`)
	return d
}

func newDeskOn(t *testing.T, dsn string) *desk {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	address := dsn
	if !strings.HasPrefix(dsn, "postgres") { // keywords: the configuration wants a URL
		query := url.Values{"host": {submatch(dsnHost, dsn)}, "user": {submatch(dsnUser, dsn)}, "sslmode": {"disable"}}
		if port := submatch(dsnPort, dsn); port != "" {
			query.Set("port", port)
		}
		address = "postgres:///" + submatch(dsnName, dsn) + "?" + query.Encode()
	}
	return &desk{t: t, db: db, env: map[string]string{"CONTAUTH_DATABASE_URL": address}}
}

func (d *desk) exec(query string) {
	d.t.Helper()
	if _, err := d.db.Exec(query); err != nil {
		d.t.Fatal(err)
	}
}

// types runs one command line as mia would, and returns what it printed and its
// exit code.
func (d *desk) types(line string) (stdout, stderr string, code int) {
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
		args: append(words, "--actor", "mia", "--config", d.config()), stdin: strings.NewReader(""), stdout: &out, stderr: &errs,
		lookup: func(name string) (string, bool) { v, ok := d.env[name]; return v, ok },
		environ: func() (list []string) {
			for k, v := range d.env {
				list = append(list, k+"="+v)
			}
			return list
		},
	}
	code = run(d.t.Context(), e)
	return out.String(), errs.String(), code
}

// config is an empty file: the settings come from the environment alone.
func (d *desk) config() string {
	path := d.t.TempDir() + "/contauth.yaml"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// must types a command line that works, and returns what it printed.
func (d *desk) must(line string) string {
	d.t.Helper()
	stdout, stderr, code := d.types(line)
	if code != exitDone {
		d.t.Fatalf("contauth %s: exit code %d, %s", line, code, stderr)
	}
	return stdout
}

func TestChargesList_JSONIsAsPromised(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	d.must("clock set 2027-02-10T00:00:00Z --speed 0")
	d.must("subscriptions pause gym --reason 'broken leg'") // makes the cycle that fell due a charge
	want := `{"id":1,"reference":"-topup-1","subscription":null,"cycle":null,"period_start":null,"period_end":null,"model":"UnscheduledCardOnFile","merchant_account":"DemoEU","shopper_reference":"shopper-1","token":"TOKEN1234567890","amount_minor":500,"currency":"JPY","state":"due","reason":null,"due_at":"2026-01-31T09:00:00Z","attempts":0}
{"id":2,"reference":"gym~1","subscription":"gym","cycle":1,"period_start":"2027-01-31","period_end":"2027-02-28","model":"Subscription","merchant_account":"DemoEU","shopper_reference":"shopper-1","token":"TOKEN1234567890","amount_minor":1234,"currency":"EUR","state":"held","reason":"subscription_paused","due_at":"2027-01-31T08:00:00Z","attempts":0}
`
	for _, form := range []string{"--json", "--format json"} {
		if diff := cmp.Diff(want, d.must("charges list "+form)); diff != "" {
			t.Errorf("charges list %s (-want +got):\n%s", form, diff)
		}
	}
}

func TestChargesList_formats(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	table := d.must("charges list")
	for _, part := range []string{"-topup-1", "500 JPY", "…7890"} {
		if !strings.Contains(table, part) {
			t.Errorf("the table lacks %q:\n%s", part, table)
		}
	}
	if strings.Contains(table, "TOKEN1234567890") {
		t.Error("the table shows a whole token")
	}
	rows, err := csv.NewReader(strings.NewReader(d.must("charges list --format csv"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][0] != "id" || rows[0][15] != "attempts" {
		t.Fatalf("csv %q, error %v; want a header and a row", rows, err)
	}
	if got := rows[1][1]; got != "'-topup-1" {
		t.Errorf("reference %q, want an apostrophe in front: a spreadsheet would calculate it", got)
	}
	if got := d.must("charges list --state paid"); got != "No charges.\n" {
		t.Errorf("an empty list says %q", got)
	}
}

func TestHarmless(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", "plain": "plain", "12": "12", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@A1": "'@A1", "\tx": "'\tx", "\rx": "'\rx", "a=1": "a=1",
	} {
		if got := harmless(cell); got != want {
			t.Errorf("harmless(%q) = %q, want %q", cell, got, want)
		}
	}
}

func TestCharges_decisions(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	steps := []struct{ line, want string }{
		{"charges hold 1 --reason 'waits for the contract' --json", `{"id":1,"state":"held","answer":"done"}`},
		{"charges release 1 --reason 'signed'", "Charge 1 (-topup-1) is due."},
		{"charges close 1 --paid-elsewhere --reason 'bank transfer'", "Charge 1 (-topup-1) is paid."},
	}
	for _, step := range steps {
		if got := strings.TrimSpace(d.must(step.line)); got != step.want {
			t.Errorf("contauth %s: %q, want %q", step.line, got, step.want)
		}
	}
	_, stderr, code := d.types("charges cancel 1 --reason 'too late'")
	if code != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "is paid and cannot be cancelled") {
		t.Errorf("cancel of a paid charge: exit code %d, %q; want one line that says why", code, stderr)
	}
	show := d.must("charges show 1")
	for _, part := range []string{"paid_elsewhere", "it was paid by other means", "Nothing: it is finished.", "waits for the contract", "bank transfer"} {
		if !strings.Contains(show, part) {
			t.Errorf("charges show lacks %q:\n%s", part, show)
		}
	}
	var detail chargeDetailJSON
	if err := json.Unmarshal([]byte(d.must("charges show 1 --json")), &detail); err != nil || len(detail.Audit) != 3 || detail.Audit[0].Actor != "mia" {
		t.Errorf("charges show --json: %d audit rows, error %v; want 3 by mia", len(detail.Audit), err)
	}
}

func TestSubscriptions_commands(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	d.must("clock set 2027-02-10T00:00:00Z --speed 0")
	if got := d.must("subscriptions pause gym --reason 'broken leg' --json"); !strings.Contains(got, `"state":"paused","waived":0,"charges":[{"id":2,"state":"held","answer":"done"}]`) {
		t.Errorf("pause: %s", got)
	}
	d.must("clock advance 720h")
	if got, want := d.must("subscriptions resume gym --reason 'healed'"), "Subscription gym is active.\n1 cycle fell due during the pause and is waived.\nCharge 2 (gym~1) is due.\n"; got != want {
		t.Errorf("resume: %q, want %q", got, want)
	}
	show := d.must("subscriptions show gym")
	for _, part := range []string{
		"12.34 EUR every 1 month", "2027-01-31T09:00 Europe/Berlin",
		"2027-03-31 09:00:00 +02:00", "2027-03-31 07:00:00Z", "2027-06-30 09:00:00 +02:00", // the next dates, in both zones
		"the subscription is paused (subscription_paused)", "broken leg",
	} {
		if !strings.Contains(show, part) {
			t.Errorf("subscriptions show lacks %q:\n%s", part, show)
		}
	}
	if got := d.must("subscriptions list --state active --format csv"); strings.Count(got, "\n") != 2 {
		t.Errorf("subscriptions list: %q, want a header and a row", got)
	}
	if got := d.must("subscriptions cancel gym --reason 'moved away'"); !strings.Contains(got, "Subscription gym is cancelled.") {
		t.Errorf("cancel: %q", got)
	}
	var detail subscriptionDetailJSON
	if err := json.Unmarshal([]byte(d.must("subscriptions show gym --json")), &detail); err != nil || len(detail.NextDates) != 0 || len(detail.Charges) != 2 {
		t.Errorf("show --json of a cancelled one: %d dates, %d charges, error %v; want none and 2", len(detail.NextDates), len(detail.Charges), err)
	}
}

func TestPause_commands(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	if got, want := d.must("pause --merchant-account DemoEU --reason fire"), "Paused merchant account DemoEU: nothing more is sent.\n"; got != want {
		t.Errorf("pause: %q, want %q", got, want)
	}
	if _, _, code := d.types("pause --merchant-account DemoEU --reason again"); code != exitRefused {
		t.Errorf("a second pause: exit code %d, want %d", code, exitRefused)
	}
	if got := d.must("pause --list"); !strings.Contains(got, "by mia: merchant account DemoEU (fire)") {
		t.Errorf("pause --list: %q", got)
	}
	if got := d.must("pause --all --reason fire --json"); strings.TrimSpace(got) != `{"scope":"all","name":null,"answer":"done","stopped_before_sending":0,"already_at_gateway":0}` {
		t.Errorf("pause --json: %s", got)
	}
	d.must("unpause --all --reason 'fire is out'")
	if got := d.must("unpause --merchant-account DemoEU --reason 'fire is out'"); got != "Nothing is paused.\n" {
		t.Errorf("unpause: %q", got)
	}
}

func TestClock_commands(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	if got := d.must("clock"); !strings.Contains(got, "the database's clock.") {
		t.Errorf("clock: %q", got)
	}
	d.must("clock set 2027-01-31T00:00:00Z --speed 0")
	if got := d.must("clock advance 24h"); !strings.HasPrefix(got, "Business time is 2027-02-01 00:00:00Z, a test clock at speed 0;") {
		t.Errorf("clock advance: %q", got)
	}
	d.must("clock reset")
	d.exec(`UPDATE merchant_accounts SET environment = 'live'`)
	if _, stderr, code := d.types("clock advance 24h"); code != exitRefused || strings.Count(stderr, "\n") != 1 {
		t.Errorf("with a live account: exit code %d, %q; want %d and one line", code, stderr, exitRefused)
	}
}

func TestMigrate_commands(t *testing.T) {
	t.Parallel()
	d := newDeskOn(t, pgtest.NewEmpty(t).DSN)
	if got := d.must("migrate status"); strings.Contains(got, "yes") || !strings.Contains(got, "0001_instance.sql") {
		t.Errorf("status of an empty database:\n%s", got)
	}
	if _, stderr, code := d.types("charges list"); code != exitFailure || !strings.Contains(stderr, "contauth migrate up") {
		t.Errorf("charges list before migrating: exit code %d, %q", code, stderr)
	}
	if got := d.must("migrate up --json"); strings.Contains(got, "false") {
		t.Errorf("up left something out:\n%s", got)
	}
	if _, stderr, code := d.types("migrate down"); code != exitRefused || !strings.Contains(stderr, "--yes") {
		t.Errorf("down without --yes: exit code %d, %q", code, stderr)
	}
	if got := d.must("migrate down --yes --json"); strings.Count(got, `"applied":false`) != 1 {
		t.Errorf("down took back more or less than one:\n%s", got)
	}
}

func TestCommands_refuseWrongUsage(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	for _, line := range []string{
		"charges hold 1", "charges hold --reason because", "charges hold 1 --reason ''", "charges close 1 --reason because",
		"charges list extra", "charges list --state paied", "charges list --day yesterday", "charges list --limit -1", "charges list --format xml",
		"subscriptions list --state gone", "subscriptions pause gym",
		"pause --reason fire", "pause --all --gateway adyen --reason fire", "pause --all", "unpause --reason fire",
		"clock set tomorrow", "clock advance -24h", "clock advance soon", "migrate up now",
		"run pause 1", "run abort 1 --reason ''", "run show", "run show first", "run start 1 2", "run list extra",
		"run plan --reference-file nowhere.txt", "run plan --as-of soon", "run start --max-amount EUR", "check --ledger nowhere.jsonl",
	} {
		t.Run(line, func(t *testing.T) {
			stdout, stderr, code := d.types(line)
			if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, nothing and one line", code, stdout, stderr, exitUsage)
			}
		})
	}
	var changes int
	if err := d.db.QueryRow(`SELECT count(*) FROM audit`).Scan(&changes); err != nil || changes != 0 {
		t.Errorf("%d audit rows, error %v; want none", changes, err)
	}
}
