package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// reasons lists what a report leaves out: "held catch_up_ask 3".
func reasons(report scheduler.Report) []string {
	lines := []string{}
	for _, x := range report.Exclusions {
		lines = append(lines, fmt.Sprintf("%s %s %d", x.Disposition, x.Reason, x.Count))
	}
	return lines
}

// Nothing runs from 1 March, 13:00 in Berlin, on. At the end a subscription a day,
// one a week and one a month, all from 2 March 08:00 on, have cycles that were
// missed; the last fire has its own. The run that a daemon then makes is the one
// that the preview showed.
func TestCatchUp_afterDowntime(t *testing.T) {
	t.Parallel()
	const oldest = "day~1 month~1 week~1"
	tests := []struct {
		downtime, end string
		policy        scheduler.CatchUp
		items         string   // of the manifest
		reasons       []string // of what is left out
	}{
		{"seven days", "2027-03-08T12:00:00Z", scheduler.CatchUpFew, oldest, []string{"held catch_up_few 4", "postponed catch_up 2"}},
		{"seven days", "2027-03-08T12:00:00Z", scheduler.CatchUpAll, oldest, []string{"postponed catch_up 6"}},
		{"seven days", "2027-03-08T12:00:00Z", scheduler.CatchUpLatest, "day~7 month~1 week~1", []string{"skipped catch_up_latest 6"}},
		{"seven days", "2027-03-08T12:00:00Z", scheduler.CatchUpNone, "day~7", []string{"skipped catch_up_none 8"}},
		{"seven days", "2027-03-08T12:00:00Z", scheduler.CatchUpAsk, "day~7", []string{"held catch_up_ask 8"}},
		{"three months", "2027-06-01T12:00:00Z", scheduler.CatchUpFew, "day~48 month~3 week~8",
			[]string{"held catch_up_few 46", "held catch_up_too_old 56", "postponed catch_up 4"}},
		{"three months", "2027-06-01T12:00:00Z", scheduler.CatchUpAll, oldest, []string{"postponed catch_up 106"}},
		{"three months", "2027-06-01T12:00:00Z", scheduler.CatchUpLatest, "day~92 month~3 week~14", []string{"skipped catch_up_latest 106"}},
		{"three months", "2027-06-01T12:00:00Z", scheduler.CatchUpNone, "day~92 week~14", []string{"skipped catch_up_none 107"}},
		{"three months", "2027-06-01T12:00:00Z", scheduler.CatchUpAsk, "day~92 week~14", []string{"held catch_up_ask 107"}},
	}
	for _, tt := range tests {
		t.Run(tt.downtime+" "+string(tt.policy), func(t *testing.T) {
			t.Parallel()
			d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
			s := daily()
			s.CatchUp = tt.policy
			d.schedule(s)
			for _, unit := range []string{"day", "week", "month"} {
				id := d.subscription(unit, "2027-03-02T08:00")
				d.exec(`UPDATE subscriptions SET interval_unit = $2 WHERE id = $1`, id, unit)
			}
			d.clock(tt.end)
			preview, err := d.db.PreviewFire(t.Context(), "daily")
			if err != nil {
				t.Fatal(err)
			}
			d.recordFires()
			report := d.planFire(d.fire())

			if diff := cmp.Diff(preview.Totals, report.Totals); diff != "" {
				t.Errorf("totals (-preview +run):\n%s", diff)
			}
			if diff := cmp.Diff(preview.Exclusions, report.Exclusions); diff != "" {
				t.Errorf("left out (-preview +run):\n%s", diff)
			}
			if preview.Run.ManifestHash != report.Run.ManifestHash || preview.Run.Items != report.Run.Items || !preview.Run.FireAt.Equal(report.Run.FireAt) {
				t.Errorf("the preview is of %+v, the run is %+v", preview.Run, report.Run)
			}
			items := d.manifest(report)
			slices.Sort(items)
			if diff := cmp.Diff(tt.items, strings.Join(items, " ")); diff != "" {
				t.Errorf("manifest (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.reasons, reasons(report)); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			d.requireSound()
		})
	}
}

// requireSound checks what needs no gateway: above all that every cycle is a
// charge, and that every open charge has a next step.
func (d *desk) requireSound() {
	d.t.Helper()
	results, err := d.db.Check(d.t.Context(), postgres.CheckRequest{Lease: time.Minute, HoldsCardData: func(string) bool { return false }})
	if err != nil {
		d.t.Fatal(err)
	}
	checked := 0
	for _, r := range results {
		if r.Violations > 0 {
			d.t.Errorf("%s: %v", r.ID, r.Sample)
		}
		if r.ID == "I3" || r.ID == "I4" {
			checked++
		}
	}
	if checked != 2 {
		d.t.Error("I3 and I4 were not checked")
	}
}

// A daemon that was away for a moment missed nothing, however often the schedule
// fires; one that was away for longer missed what its last fire does not take.
func TestCatchUp_shortOutage(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, cron, now, want string }{
		{"nine minutes of a schedule that fires each minute", "* * * * *", "2027-03-01T12:10:00Z", ""},
		{"eleven minutes of it", "* * * * *", "2027-03-01T12:12:00Z", "2027-03-01T12:11:00Z"},
		{"seven days of one that fires every five", "*/5 * * * *", "2027-03-08T12:01:00Z", "2027-03-08T11:55:00Z"},
		{"a day of a daily one", "0 9 * * *", "2027-03-02T12:00:00Z", ""},
		{"two days of it", "0 9 * * *", "2027-03-03T08:01:00Z", "2027-03-02T08:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
			s := daily()
			s.Cron = tt.cron
			d.schedule(s)
			d.clock(tt.now)
			would, err := d.db.FireNow(t.Context(), "daily")
			if err != nil {
				t.Fatal(err)
			}
			d.recordFires()
			fire := d.fire()
			got := ""
			if !fire.MissedBefore.IsZero() {
				got = fire.MissedBefore.Format(time.RFC3339)
			}
			if got != tt.want || !would.MissedBefore.Equal(fire.MissedBefore) || !would.FireAt.Equal(fire.FireAt) {
				t.Errorf("missed before %q, want %q; the preview's fire is %+v", got, tt.want, would)
			}
		})
	}
}

// What was in a manifest, and what a person decided on, was not missed.
func TestCatchUp_onlyWhatWasMissed(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := daily()
	s.CatchUp = scheduler.CatchUpNone
	d.schedule(s)
	d.subscription("planned", "2027-03-02T08:00")
	d.subscription("released", "2027-03-04T08:00")
	d.subscription("missed", "2027-03-04T08:00")
	d.clock("2027-03-02T08:00:00Z")
	d.recordFires()
	run := d.planFire(d.fire()).Run
	if err := d.db.AbortRun(t.Context(), run.ID, "mia", "not now"); err != nil {
		t.Fatal(err)
	}
	d.clock("2027-03-10T12:00:00Z")
	d.plan(scheduler.PlanRequest{Filter: scheduler.Filter{References: []string{"nobody"}}}) // the cycles become charges
	released := get[billing.ChargeID](d, `SELECT id FROM charges WHERE reference = 'released~1'`)
	if _, err := d.db.HoldCharge(t.Context(), released, by("asks")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.db.ReleaseCharge(t.Context(), released, by("is answered")); err != nil {
		t.Fatal(err)
	}
	d.recordFires()
	report := d.planFire(d.fire())
	items := d.manifest(report)
	slices.Sort(items)
	if diff := cmp.Diff([]string{"planned~1", "released~1"}, items); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"skipped catch_up_none 1"}, reasons(report)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if got := get[string](d, `SELECT state || ' ' || reason || ' ' || decided_by FROM charges WHERE reference = 'missed~1'`); got != "waived catch_up_none schedule:daily" {
		t.Errorf("the missed one is %s", got)
	}
	d.requireSound()
}

// With the default policy the second missed cycle is charged a day later, and the
// rest stays with a person.
func TestCatchUp_fewGoesOn(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	id := d.subscription("week", "2027-03-02T08:00")
	d.exec(`UPDATE subscriptions SET interval_unit = 'week' WHERE id = $1`, id)
	var charged []string
	for _, now := range []string{"2027-03-27T12:00:00Z", "2027-03-28T12:00:00Z", "2027-03-29T12:00:00Z", "2027-03-30T12:00:00Z"} {
		d.clock(now)
		d.recordFires()
		report := d.planFire(d.fire())
		if report.Run.ID == 0 {
			continue
		}
		charged = append(charged, strings.Join(d.manifest(report), " "))
		if _, err := d.db.StartFiredRuns(t.Context()); err != nil {
			t.Fatal(err)
		}
		result, err := d.db.ClaimDue(t.Context(), d.claimRequest(report.Run.ID))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range result.Charges {
			d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, "")
		}
		if err := d.db.AbortRun(t.Context(), report.Run.ID, "mia", "done"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"week~1", "week~2", "week~5"}, charged); diff != "" {
		t.Errorf("charged day by day (-want +got):\n%s", diff)
	}
	if n := get[int](d, `SELECT count(*) FROM charges WHERE state = 'held' AND reason = 'catch_up_few'`); n != 2 {
		t.Errorf("%d wait for a person, want 2", n)
	}
	d.requireSound()
}

// A cycle whose whole period lies on a weekend without charges is charged in no
// other period: it waits for a person. Longer ones are only late, or early.
func TestCatchUp_blackout(t *testing.T) {
	t.Parallel()
	// 5 March 2027 is a Friday. The fires are those of Friday and of Monday.
	tests := []struct {
		rule            scheduler.BlackoutRule
		friday, monday  string // manifests
		fridays, others []string
	}{
		{scheduler.BlackoutLater, "day~1", "day~4 week~1", []string{}, []string{"held blackout 2"}},
		{scheduler.BlackoutSkip, "day~1", "day~4 week~1", []string{}, []string{"held blackout 2"}},
		{scheduler.BlackoutEarlier, "day~1 week~1", "day~4", []string{"postponed catch_up 2"}, []string{"held blackout 2"}},
	}
	for _, tt := range tests {
		t.Run(string(tt.rule), func(t *testing.T) {
			t.Parallel()
			d := newScheduleDesk(t, "2027-03-04T12:00:00Z")
			s := daily()
			s.CatchUp, s.Blackout = scheduler.CatchUpAll, scheduler.Blackout{Rule: tt.rule, Weekends: true}
			d.schedule(s)
			d.exec(`UPDATE subscriptions SET interval_unit = 'day' WHERE id = $1`, d.subscription("day", "2027-03-05T08:00"))
			d.exec(`UPDATE subscriptions SET interval_unit = 'week' WHERE id = $1`, d.subscription("week", "2027-03-06T08:00"))
			for _, day := range []struct {
				now, items string
				reasons    []string
			}{{"2027-03-05T08:00:00Z", tt.friday, tt.fridays}, {"2027-03-08T08:00:00Z", tt.monday, tt.others}} {
				d.clock(day.now)
				preview, err := d.db.PreviewFire(t.Context(), "daily")
				if err != nil {
					t.Fatal(err)
				}
				d.recordFires()
				report := d.planFire(d.fire())
				if diff := cmp.Diff(preview.Exclusions, report.Exclusions); diff != "" || preview.Run.ManifestHash != report.Run.ManifestHash {
					t.Errorf("%s: the run is not the preview's (-preview +run):\n%s", day.now, diff)
				}
				items := d.manifest(report)
				slices.Sort(items)
				if diff := cmp.Diff(day.items, strings.Join(items, " ")); diff != "" {
					t.Errorf("%s: manifest (-want +got):\n%s", day.now, diff)
				}
				if diff := cmp.Diff(day.reasons, reasons(report)); diff != "" {
					t.Errorf("%s: left out (-want +got):\n%s", day.now, diff)
				}
				if _, err := d.db.StartFiredRuns(t.Context()); err != nil {
					t.Fatal(err)
				}
				result, err := d.db.ClaimDue(t.Context(), d.claimRequest(report.Run.ID))
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range result.Charges {
					d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, "")
				}
				if err := d.db.AbortRun(t.Context(), report.Run.ID, "mia", "done"); err != nil {
					t.Fatal(err)
				}
			}
			d.requireSound()
		})
	}
}

// A schedule for what is due again decides on nothing that nobody had in hand.
func TestCatchUp_dueAgain(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := daily()
	s.CatchUp, s.Filter.DueAgain = scheduler.CatchUpNone, true
	d.schedule(s)
	d.subscription("gym", "2027-03-02T08:00")
	d.clock("2027-03-10T12:00:00Z")
	d.recordFires()
	if report := d.planFire(d.fire()); report.Run.ID != 0 {
		t.Errorf("run %+v, want none", report.Run)
	}
	if got := get[string](d, `SELECT state FROM charges`); got != "due" {
		t.Errorf("the cycle is %s", got)
	}
}
