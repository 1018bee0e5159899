package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
)

// newScheduleDesk is a desk on a test clock that stands still on 1 March 2027.
func newScheduleDesk(t *testing.T) *desk {
	t.Helper()
	d := newCommandDesk(t)
	d.must("clock set 2027-03-01T12:00:00Z --speed 0")
	return d
}

const addDaily = "schedule add --name daily --cron '0 9 * * *' --zone Europe/Berlin "

func TestSchedule_addShowEdit(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t)
	file := filepath.Join(t.TempDir(), "days.txt")
	if err := os.WriteFile(file, []byte("\ufeff2027-12-26\r\n# closed\n\n2027-12-24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := d.must(addDaily + "--model Subscription --merchant-account DemoEU --currency EUR --limit 7 --catch-up ask --weekends" +
		" --blackout-day 2027-12-24 --blackout-day 2027-12-31 --blackout-file '" + file + "' --blackout-rule later --needs-approval" +
		" --approve-above-count 5 --approve-above-amount '1000.00 EUR' --approve-above-amount JPY:50000 --max-count 6 --max-amount '2000.00 EUR'")
	if want := "Schedule daily is added: it fires next at 2027-03-02 09:00:00 +01:00 (2027-03-02 08:00:00Z).\n"; got != want {
		t.Errorf("add: %q, want %q", got, want)
	}
	want := `{"id":2,"name":"daily","state":"active","cron":"0 9 * * *","timezone":"Europe/Berlin",` +
		`"blackout":{"rule":"later","weekends":true,"days":["2027-12-24","2027-12-26","2027-12-31"]},` +
		`"filter":{"model":"Subscription","merchant_account":"DemoEU","currency":"EUR","limit":7},"catch_up":"ask","needs_approval":true,` +
		`"approve_above":{"count":5,"amount_minor":{"EUR":100000,"JPY":50000}},"caps":{"count":6,"amount_minor":{"EUR":200000}},` +
		`"created_at":"2027-03-01T12:00:00Z","created_by":"mia","fired_until":"2027-03-01T12:00:00Z","next_fire_at":"2027-03-02T08:00:00Z",` +
		`"next_fire_local":"2027-03-02 09:00:00 +01:00","reason":null,"fires":[]}` + "\n"
	if diff := cmp.Diff(want, d.must("schedule show daily --json")); diff != "" {
		t.Errorf("show --json (-want +got):\n%s", diff)
	}
	show := d.must("schedule show daily")
	for _, part := range []string{
		"Schedule daily\n", "2027-03-02 09:00:00 +01:00", "weekends, 2027-12-24, 2027-12-26, 2027-12-31 (later)",
		"all that is due, Subscription, DemoEU, EUR, at most 7", "ask: missed cycles wait for a person",
		"each run", "5 charges, 1000.00 EUR, 50000 JPY", "6 charges, 2000.00 EUR", "by mia", "It has not fired yet.",
	} {
		if !strings.Contains(show, part) {
			t.Errorf("show lacks %q:\n%s", part, show)
		}
	}

	// Only what is given changes; an empty value takes away.
	if got := d.must("schedule edit daily --cron '30 2 * * *' --max-amount '' --limit 0"); !strings.HasPrefix(got, "Schedule daily is changed: it fires next at 2027-03-02 02:30:00 +01:00") {
		t.Errorf("edit: %q", got)
	}
	want = strings.NewReplacer(`"0 9 * * *"`, `"30 2 * * *"`, `,"limit":7`, ``, `,"amount_minor":{"EUR":200000}`, ``,
		`"2027-03-02T08:00:00Z"`, `"2027-03-02T01:30:00Z"`, `09:00:00 +01:00`, `02:30:00 +01:00`).Replace(want)
	if diff := cmp.Diff(want, d.must("schedule show daily --json")); diff != "" {
		t.Errorf("after the edit (-want +got):\n%s", diff)
	}
	d.must("schedule edit daily --model '' --merchant-account '' --currency '' --catch-up '' --weekends=false --blackout-day '' --blackout-rule ''" +
		" --needs-approval=false --approve-above-count 0 --approve-above-amount '' --max-count 0")
	var plain scheduleJSON
	if err := json.Unmarshal([]byte(d.must("schedule show daily --json")), &plain); err != nil {
		t.Fatal(err)
	}
	if !plain.Blackout.IsZero() || plain.Blackout.Rule != "" || plain.Filter.Model != "" || plain.Filter.MerchantAccount != "" || plain.Filter.Currency != "" ||
		plain.CatchUp != "few" || plain.NeedsApproval || !plain.ApproveAbove.IsZero() || !plain.Caps.IsZero() {
		t.Errorf("all taken away, but it is %+v", plain)
	}
}

func TestSchedule_decisions(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t)
	d.must(addDaily)
	for _, step := range []struct{ line, want string }{
		{"schedule pause daily --reason audit", "Schedule daily is paused.\n"},
		{"schedule resume daily --reason over", "Schedule daily is active.\n"},
		{"schedule pause daily --reason audit --json", `{"name":"daily","state":"paused"}` + "\n"},
		{"schedule remove daily --reason moved", "Schedule daily is removed.\n"},
	} {
		if got := d.must(step.line); got != step.want {
			t.Errorf("contauth %s: %q, want %q", step.line, got, step.want)
		}
	}
	if list := d.must("schedule list"); strings.Contains(list, "daily") || !strings.Contains(list, "follow-up") {
		t.Errorf("list:\n%s", list)
	}
	for line, part := range map[string]string{
		"schedule pause daily --reason again":  "there is no schedule daily: `contauth schedule list` shows them",
		"schedule resume follow-up --reason x": "schedule follow-up is active",
	} {
		if _, stderr, code := d.types(line); code != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, part) {
			t.Errorf("contauth %s: exit code %d, %q; want one line that says %q", line, code, stderr, part)
		}
	}
}

func TestSchedule_next(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t)
	d.must("clock set 2027-03-26T12:00:00Z --speed 0")
	want := `{"utc":"2027-03-27T01:30:00Z","local":"2027-03-27 02:30:00 +01:00","note":""}
{"utc":"2027-03-28T01:00:00Z","local":"2027-03-28 03:00:00 +02:00","note":"2027-03-28T02:30 does not exist: the clocks go forward"}
{"utc":"2027-03-29T00:30:00Z","local":"2027-03-29 02:30:00 +02:00","note":""}
`
	if diff := cmp.Diff(want, d.must("schedule next --cron '30 2 * * *' --zone Europe/Berlin --count 3 --json")); diff != "" {
		t.Errorf("tried out (-want +got):\n%s", diff)
	}
	d.must(addDaily)
	if got := d.must("schedule next daily --count 1 --json"); got != `{"utc":"2027-03-27T08:00:00Z","local":"2027-03-27 09:00:00 +01:00","note":""}`+"\n" {
		t.Errorf("of a schedule: %s", got)
	}
	table := d.must("schedule next --cron '0 9 * * *' --zone Europe/Berlin --weekends --blackout-rule later --count 1")
	for _, part := range []string{"2027-03-29 07:00:00Z", "2027-03-29 09:00:00 +02:00", "moved from 2027-03-27T09:00: no charges on that day"} {
		if !strings.Contains(table, part) {
			t.Errorf("the table lacks %q:\n%s", part, table)
		}
	}
	d.must("schedule pause daily --reason audit")
	if stdout, stderr, code := d.types("schedule next daily"); code != exitDone || !strings.Contains(stderr, "paused (audit)") || !strings.Contains(stdout, "2027-03-27") {
		t.Errorf("of a paused schedule: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// What a fire would do now, and what became of the fires before it.
func TestSchedule_previewAndFires(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t)
	d.exec(`UPDATE subscriptions SET interval_unit = 'day', anchor = '2027-03-02T08:00', next_charge_at = '2027-03-02T07:00:00Z'`)
	d.must(addDaily + "--model Subscription --catch-up none --approve-above-count 0 --approve-above-amount '12.00 EUR'")
	d.must("clock set 2027-03-05T12:00:00Z --speed 0")
	preview := d.must("run plan --preview --schedule daily")
	for _, part := range []string{
		"Cycles that fell due by 2027-03-04 08:00:00Z were missed. Catch-up none: missed cycles are waived.",
		"Preview (nothing is stored): 1 charge, due by 2027-03-05 08:00:00Z", "Schedule daily, fire of 2027-03-05 08:00:00Z",
		"Awaits approval: 12.34 EUR is more than 12.00 EUR", "the schedule does not charge such cycles (catch_up_none)",
	} {
		if !strings.Contains(preview, part) {
			t.Errorf("the preview lacks %q:\n%s", part, preview)
		}
	}
	var run runJSON
	if err := json.Unmarshal([]byte(d.must("run plan --preview --schedule daily --json")), &run); err != nil || run.Schedule != "daily" || run.ID != 0 {
		t.Errorf("preview --json: %+v, error %v", run, err)
	}

	d.exec(`INSERT INTO runs (id, state, as_of, business_day, created_by, decided_by, items, manifest_hash, schedule_id, fire_at, reason)
	        OVERRIDING SYSTEM VALUE SELECT 77, 'awaiting_approval', '2027-03-05T08:00:00Z', '2027-03-05', 'schedule:daily', 'schedule:daily', 0, 'sha256:' || repeat('0', 64), id,
	               '2027-03-05T08:00:00Z', '12.34 EUR is more than 12.00 EUR' FROM schedules WHERE name = 'daily';
	        INSERT INTO fires (schedule_id, fire_at, first_at, fires, as_of, outcome, reason, run_id)
	        SELECT s.id, f.at, f.first, f.n, f.at, f.outcome, f.reason, f.run
	          FROM schedules s, (VALUES ('2027-03-02T08:00:00Z'::timestamptz, '2027-03-02T08:00:00Z'::timestamptz, 1, 'nothing_due', '', NULL::bigint),
	                                    ('2027-03-03T08:00:00Z', '2027-03-03T08:00:00Z', 1, 'skipped', 'schedule_paused', NULL),
	                                    ('2027-03-05T08:00:00Z', '2027-03-04T08:00:00Z', 2, 'run', '', 77),
	                                    ('2027-03-06T08:00:00Z', '2027-03-06T08:00:00Z', 1, 'coalesced', '', NULL)) f (at, first, n, outcome, reason, run)
	         WHERE s.name = 'daily'`)
	show := d.must("schedule show daily")
	for _, part := range []string{
		"nothing to charge", "skipped: the schedule was paused", "run 77, for 2 fires since 2027-03-04 08:00:00Z",
		"waits for the end of the run before it", "2027-03-06 09:00:00 +01:00",
	} {
		if !strings.Contains(show, part) {
			t.Errorf("show lacks %q:\n%s", part, show)
		}
	}
	if list := d.must("schedule list --json"); !strings.Contains(list, `"fires":[{"fire_at":"2027-03-06T08:00:00Z","first_at":"2027-03-06T08:00:00Z","fires":1,"outcome":"coalesced","reason":null,"run_id":null,"detail":null}]`) {
		t.Errorf("list --json lacks the last fire:\n%s", list)
	}
	for _, line := range []string{"run show 77", "run list"} {
		shown := d.must(line)
		for _, part := range []string{"daily", "2027-03-05 08:00:00Z", "12.34 EUR is more than 12.00 EUR"} {
			if !strings.Contains(shown, part) {
				t.Errorf("contauth %s lacks %q:\n%s", line, part, shown)
			}
		}
	}
	if got := d.must("run list --json"); !strings.Contains(got, `"schedule":"daily","fire_at":"2027-03-05T08:00:00Z"`) {
		t.Errorf("run list --json: %s", got)
	}
}

// Each bad input is one line that says what is wrong, and changes nothing.
func TestSchedule_badInput(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t)
	d.must(addDaily)
	file := filepath.Join(t.TempDir(), "days.txt")
	if err := os.WriteFile(file, []byte("2027-12-24\n24.12.2027\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var row strings.Builder
	for _, day := range []string{"01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15"} {
		row.WriteString(" --blackout-day 2027-07-" + day)
	}
	audit := func() (n int) {
		if err := d.db.QueryRow(`SELECT count(*) FROM audit`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := audit()
	const add = "schedule add --name other --cron '0 9 * * *' --zone Europe/Berlin "
	tests := []struct {
		name, line string
		code       int
		says       string
	}{
		{"nothing", "schedule add", exitUsage, "--name is missing"},
		{"no expression", "schedule add --name other --zone Europe/Berlin", exitUsage, "--cron is missing"},
		{"no zone", "schedule add --name other --cron '0 9 * * *'", exitUsage, "--zone is missing"},
		{"a bad name", "schedule add --name 'Every Day' --cron '0 9 * * *' --zone Europe/Berlin", exitUsage, "1 to 40 of a-z 0-9 -"},
		{"a name that is taken", addDaily, exitFailure, "there is a schedule daily already"},
		{"a day that never comes", "schedule add --name other --cron '0 9 30 2 *' --zone Europe/Berlin", exitUsage, "never fires"},
		{"no expression at all", "schedule add --name other --cron soon --zone Europe/Berlin", exitUsage, "five fields"},
		{"a zone that does not exist", "schedule add --name other --cron '0 9 * * *' --zone Europe/Munich", exitUsage, "Europe/Munich is unknown, want an IANA name like Europe/Berlin"},
		{"never on an open day", "schedule add --name other --cron '0 9 * * 6' --zone Europe/Berlin --weekends --blackout-rule skip", exitUsage, "never fires"},
		{"an unknown policy", add + "--catch-up some", exitUsage, "few, all, latest, none or ask"},
		{"an unknown model", add + "--model Weekly", exitUsage, "Weekly"},
		{"an unknown merchant account", add + "--merchant-account DemoUS", exitUsage, "there is no DemoUS in the configuration"},
		{"an unknown currency", add + "--currency XXX", exitUsage, "XXX"},
		{"a limit below nothing", add + "--limit -1", exitUsage, "negative"},
		{"days without a rule", add + "--weekends", exitUsage, "earlier, later or skip"},
		{"an unknown rule", add + "--weekends --blackout-rule nearest", exitUsage, "earlier, later or skip"},
		{"a day that is none", add + "--blackout-day 2027-02-30 --blackout-rule later", exitUsage, "2027-02-30"},
		{"a file that is not there", add + "--blackout-file nowhere.txt --blackout-rule later", exitUsage, "nowhere.txt"},
		{"a file with a bad line", add + "--blackout-file '" + file + "' --blackout-rule later", exitUsage, "line 2"},
		{"too many days in a row", add + "--blackout-rule later" + row.String(), exitUsage, "more than 14 days in a row from 2027-07-01 on"},
		{"money without a currency", add + "--max-amount 1000", exitUsage, "1000.00 EUR"},
		{"money of no currency", add + "--max-amount '1000.00 XXX'", exitUsage, "XXX"},
		{"money with too many decimals", add + "--approve-above-amount '1000.00 JPY'", exitUsage, "JPY has 0 decimals"},
		{"money with too few decimals", add + "--approve-above-amount '1000.5 EUR'", exitUsage, "EUR has 2 decimals"},
		{"money below nothing", add + "--max-amount '-5.00 EUR'", exitUsage, "-5.00 EUR"},
		{"money beyond counting", add + "--max-amount '99999999999999999999.00 EUR'", exitUsage, "too large"},
		{"money twice", add + "--max-amount '1.00 EUR' --max-amount EUR:5", exitUsage, "given twice"},
		{"a count below nothing", add + "--max-count -1", exitUsage, "negative"},
		{"an argument too many", add + "extra", exitUsage, "argument"},
		{"an edit of nothing", "schedule edit daily", exitUsage, "say what to change"},
		{"an edit of no schedule", "schedule edit other --limit 1", exitFailure, "there is no schedule other: `contauth schedule list` shows them"},
		{"an edit that cannot be", "schedule edit daily --zone Mars/Base", exitUsage, "Mars/Base is unknown"},
		{"an edit to never", "schedule edit daily --cron '0 9 31 2 *'", exitUsage, "never fires"},
		{"a pause without a reason", "schedule pause daily", exitUsage, "--reason"},
		{"a resume of what is active", "schedule resume daily --reason x", exitFailure, "schedule daily is active"},
		{"the removal of no schedule", "schedule remove other --reason x", exitFailure, "contauth schedule list"},
		{"a look at no schedule", "schedule show other", exitFailure, "contauth schedule list"},
		{"the fires of no schedule", "schedule next other", exitFailure, "contauth schedule list"},
		{"the fires of nothing", "schedule next", exitUsage, "--cron and --zone"},
		{"no fires", "schedule next daily --count 0", exitUsage, "--count"},
		{"a schedule and an expression", "schedule next daily --cron '0 9 * * *'", exitUsage, "leave out its NAME"},
		{"an expression that never fires, tried out", "schedule next --cron '0 9 30 2 *' --zone Europe/Berlin", exitUsage, "never fires"},
		{"a run of a schedule by hand", "run plan --schedule daily", exitUsage, "--preview"},
		{"a preview with a filter of its own", "run plan --preview --schedule daily --currency EUR", exitUsage, "--currency"},
		{"a preview of no schedule", "run plan --preview --schedule other", exitFailure, "contauth schedule list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := d.types(tt.line)
			if code != tt.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, nothing and one line that says %q", code, stdout, stderr, tt.code, tt.says)
			}
		})
	}
	if after := audit(); after != before {
		t.Errorf("%d audit rows more, want none", after-before)
	}
}

func TestParseMoney(t *testing.T) {
	for text, want := range map[string]billing.Money{
		"1000.00 EUR": {Minor: 100000, Currency: "EUR"}, "1000 EUR": {Minor: 100000, Currency: "EUR"}, "0.05 EUR": {Minor: 5, Currency: "EUR"},
		"1000 JPY": {Minor: 1000, Currency: "JPY"}, "1.234 KWD": {Minor: 1234, Currency: "KWD"}, "EUR:100000": {Minor: 100000, Currency: "EUR"},
	} {
		if got, err := parseMoney(text); err != nil || got != want {
			t.Errorf("parseMoney(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "EUR", "1000", ".50 EUR", "1,000.00 EUR", "1000.00EUR", "1000.0 EUR", "+1.00 EUR", "1e3 EUR", "1000. JPY", "EUR:1.5", "EUR:-1", "eur:1"} {
		if got, err := parseMoney(text); err == nil {
			t.Errorf("parseMoney(%q) = %v, want an error", text, got)
		}
	}
}
