package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// newScheduleDesk is a desk on a test clock that stands still at a business time,
// without the schedules that a migration made.
func newScheduleDesk(t testing.TB, now string) *desk {
	t.Helper()
	d := newDesk(t)
	d.exec(`UPDATE schedules SET state = 'removed', reason = 'not in this test'`)
	d.clock(now)
	return d
}

// clock lets it be a business time, and that time not pass.
func (d *desk) clock(now string) {
	d.t.Helper()
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.db.SetTestClock(context.Background(), at, 0, "mia"); err != nil {
		d.t.Fatal(err)
	}
}

// daily is a schedule that fires at 09:00 in Berlin.
func daily() scheduler.Schedule {
	return scheduler.Schedule{Name: "daily", Cron: "0 9 * * *", Zone: "Europe/Berlin", CatchUp: scheduler.CatchUpFew}
}

func (d *desk) schedule(s scheduler.Schedule) scheduler.Schedule {
	d.t.Helper()
	added, err := d.db.AddSchedule(context.Background(), s, "mia")
	if err != nil {
		d.t.Fatal(err)
	}
	return added
}

func (d *desk) recordFires() {
	d.t.Helper()
	if err := d.db.RecordFires(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// fire takes the one fire that has no run.
func (d *desk) fire() scheduler.FireToPlan {
	d.t.Helper()
	fire, ok, err := d.db.TakeFire(context.Background(), time.Minute)
	if err != nil || !ok {
		d.t.Fatalf("no fire to take (%t), error %v", ok, err)
	}
	return fire
}

// planFire plans the run of a fire.
func (d *desk) planFire(fire scheduler.FireToPlan) scheduler.Report {
	d.t.Helper()
	report, err := d.db.PlanRun(context.Background(), fire.PlanRequest())
	if err != nil {
		d.t.Fatal(err)
	}
	return report
}

// fires lists what became of a schedule's fires, the newest first: when, for how
// many, and what.
func (d *desk) fires(s scheduler.Schedule) []string {
	d.t.Helper()
	records, err := d.db.FireRecords(context.Background(), s.ID, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	lines := []string{}
	for _, r := range records {
		line := r.FireAt.UTC().Format("2006-01-02T15:04Z")
		if r.Fires > 1 {
			line += " since " + r.FirstAt.UTC().Format("2006-01-02T15:04Z")
		}
		line += " " + r.Outcome
		if r.Reason != "" {
			line += " " + r.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

func (d *desk) wantFires(s scheduler.Schedule, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), d.fires(s)); diff != "" {
		d.t.Errorf("fires of %s (-want +got):\n%s", s.Name, diff)
	}
}

// Daemons that see the same fires write one row.
func TestRecordFires_twoAtOnce(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	d.clock("2027-03-04T12:00:00Z")
	other := openDB(t, d.dsn)
	var daemons sync.WaitGroup
	for _, db := range []*postgres.DB{d.db, other, d.db, other} {
		daemons.Go(func() {
			for range 5 {
				if err := db.RecordFires(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	daemons.Wait()
	d.wantFires(s, "2027-03-04T08:00Z since 2027-03-02T08:00Z to_plan")
	found, _, err := d.db.FindSchedule(t.Context(), s.Name)
	if err != nil || found.FiredUntil.Format(time.RFC3339) != "2027-03-04T08:00:00Z" || found.NextFireAt.Format(time.RFC3339) != "2027-03-05T08:00:00Z" {
		t.Errorf("fired until %s, next %s, error %v", found.FiredUntil, found.NextFireAt, err)
	}
}

// A fire that meets a run which is not over waits for its end, the next ones join
// it, and one run for all of them follows.
func TestRecordFires_coalesces(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	d.charge()
	d.clock("2027-03-02T08:00:00Z")
	d.recordFires()
	run := d.planFire(d.fire()).Run
	if run.ID == 0 || run.Schedule != "daily" || run.FireAt.Format(time.RFC3339) != "2027-03-02T08:00:00Z" {
		t.Fatalf("run %+v, want one of the fire", run)
	}
	for _, now := range []string{"2027-03-03T08:00:01Z", "2027-03-04T08:00:01Z"} {
		d.clock(now)
		d.recordFires()
		if _, ok, err := d.db.TakeFire(t.Context(), time.Minute); ok || err != nil {
			t.Errorf("%s: a fire could be taken (%t), error %v", now, ok, err)
		}
	}
	d.wantFires(s, "2027-03-04T08:00Z since 2027-03-03T08:00Z coalesced", "2027-03-02T08:00Z run")
	if err := d.db.AbortRun(t.Context(), run.ID, "mia", "enough"); err != nil {
		t.Fatal(err)
	}
	d.recordFires()
	fire := d.fire()
	if !fire.MissedBefore.IsZero() {
		t.Errorf("cycles before %s count as missed, though a daemon was there", fire.MissedBefore)
	}
	second := d.planFire(fire).Run
	if second.ID == 0 || second.Items != 1 {
		t.Errorf("run %+v, want one that follows at once", second)
	}
	d.wantFires(s, "2027-03-04T08:00Z since 2027-03-03T08:00Z run", "2027-03-02T08:00Z run")
}

// A fire that nobody has planned yet is a run to wait for, too.
func TestRecordFires_waitsForAFireToPlan(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	for _, now := range []string{"2027-03-02T08:00:00Z", "2027-03-03T08:00:00Z"} {
		d.clock(now)
		d.recordFires()
	}
	d.wantFires(s, "2027-03-03T08:00Z coalesced", "2027-03-02T08:00Z to_plan")
	d.planFire(d.fire())
	d.recordFires()
	d.wantFires(s, "2027-03-03T08:00Z to_plan", "2027-03-02T08:00Z nothing_due")
}

func TestTakeFire(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	d.clock("2027-03-02T09:00:00Z")
	d.recordFires()
	taken := make(chan scheduler.FireToPlan, 10)
	var takers sync.WaitGroup
	for range 4 {
		takers.Go(func() {
			fire, ok, err := d.db.TakeFire(context.Background(), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if ok {
				taken <- fire
			}
		})
	}
	takers.Wait()
	if len(taken) != 1 {
		t.Fatalf("%d takers got the fire, want one", len(taken))
	}
	fire := <-taken
	if fire.Schedule.Name != "daily" || fire.Tries != 1 || fire.FireAt.Format(time.RFC3339) != "2027-03-02T08:00:00Z" || !fire.AsOf.Equal(fire.FireAt) {
		t.Errorf("fire %+v", fire)
	}
	if err := d.db.PostponeFire(t.Context(), fire, time.Hour, "no room"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.db.TakeFire(t.Context(), time.Minute); ok || err != nil {
		t.Errorf("a fire that was put off could be taken (%t), error %v", ok, err)
	}
	if got := get[string](d, `SELECT detail FROM fires`); got != "no room" {
		t.Errorf("detail %q", got)
	}
	d.exec(`UPDATE fires SET plan_until = clock_timestamp() - interval '1 second'`)
	if again := d.fire(); again.Tries != 2 {
		t.Errorf("try %d, want 2", again.Tries)
	}
}

// A fire is planned once, whoever tries and however often.
func TestPlanRun_ofAFire(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	d.charge()
	d.clock("2027-03-02T09:00:00Z")
	d.recordFires()
	fire := d.fire()
	var planners sync.WaitGroup
	made := make(chan scheduler.RunID, 10)
	for range 3 {
		planners.Go(func() {
			report, err := d.db.PlanRun(context.Background(), fire.PlanRequest())
			switch {
			case err == nil:
				made <- report.Run.ID
			case !errors.Is(err, billing.ErrConflict):
				t.Error(err)
			}
		})
	}
	planners.Wait()
	if runs := get[int](d, `SELECT count(*) FROM runs`); runs != 1 || len(made) != 1 {
		t.Errorf("%d runs, made by %d; want one", runs, len(made))
	}
	if _, err := d.db.PlanRun(t.Context(), fire.PlanRequest()); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("planned again: error %v, want billing.ErrConflict", err)
	}
	if got := get[scheduler.RunID](d, `SELECT run_id FROM fires`); got != <-made {
		t.Errorf("the fire has run %d", got)
	}
}

func TestPlanRun_ofAFireWithNothingDue(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	d.clock("2027-03-02T09:00:00Z")
	d.recordFires()
	if report := d.planFire(d.fire()); report.Run.ID != 0 || get[int](d, `SELECT count(*) FROM runs`) != 0 {
		t.Errorf("run %d, want none", report.Run.ID)
	}
	d.wantFires(s, "2027-03-02T08:00Z nothing_due")
}

// A charge that waits for a person is told once, and not with each fire again.
func TestPlanRun_ofAFireWithNothingNew(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := daily()
	s.Cron, s.Filter.DueAgain = "*/15 * * * *", true
	s = d.schedule(s)
	d.must((*postgres.DB).HoldCharge, d.charge())
	for _, now := range []string{"2027-03-01T12:15:00Z", "2027-03-01T12:30:00Z", "2027-03-01T12:45:00Z"} {
		d.clock(now)
		d.recordFires()
		if run := d.planFire(d.fire()).Run; run.ID != 0 {
			if err := d.db.AbortRun(t.Context(), run.ID, "mia", "seen"); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.wantFires(s, "2027-03-01T12:45Z nothing_due", "2027-03-01T12:30Z nothing_due", "2027-03-01T12:15Z run")
}

func TestStartFiredRuns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*scheduler.Schedule)
		reason string // that it awaits approval for; "-" if it does not await any
		alerts int
	}{
		{"no limits", func(*scheduler.Schedule) {}, "-", 0},
		{"each is approved", func(s *scheduler.Schedule) { s.NeedsApproval = true }, "", 0},
		{"as many as need no approval", func(s *scheduler.Schedule) { s.ApproveAbove.Count = 2 }, "-", 0},
		{"more than that", func(s *scheduler.Schedule) { s.ApproveAbove.Count = 1 }, "2 charges are more than 1", 0},
		{"more money than that", func(s *scheduler.Schedule) { s.ApproveAbove.AmountMinor = map[string]int64{"EUR": 2467} },
			"24.68 EUR is more than 24.67 EUR", 0},
		{"above a cap", func(s *scheduler.Schedule) { s.Caps.Count, s.ApproveAbove.Count = 1, 1 },
			"above the schedule's cap: 2 charges are more than 1", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
			s := daily()
			tt.change(&s)
			d.schedule(s)
			d.charge()
			d.charge()
			d.plan(scheduler.PlanRequest{Filter: scheduler.Filter{References: []string{"nobody"}}}) // a person's: never started
			d.clock("2027-03-02T09:00:00Z")
			preview, err := d.db.PreviewFire(t.Context(), "daily")
			if err != nil {
				t.Fatal(err)
			}
			d.recordFires()
			run := d.planFire(d.fire()).Run
			started, err := d.db.StartFiredRuns(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if preview.Run.State != run.State || preview.Run.Reason != run.Reason {
				t.Errorf("the run is %s (%s), its preview %s (%s)", run.State, run.Reason, preview.Run.State, preview.Run.Reason)
			}
			if n := get[int](d, `SELECT count(*) FROM alerts`); n != tt.alerts {
				t.Errorf("%d alerts, want %d", n, tt.alerts)
			}
			if tt.reason == "-" {
				if len(started) != 1 || started[0].ID != run.ID {
					t.Errorf("started %+v, want run %d", started, run.ID)
				}
				return
			}
			if len(started) != 0 || run.State != scheduler.RunAwaitingApproval || run.Reason != tt.reason {
				t.Errorf("run is %s (%s) and %d were started; want one that awaits approval (%s)", run.State, run.Reason, len(started), tt.reason)
			}
			if err := d.db.ApproveRun(t.Context(), run.ID, run.ManifestHash, "noor"); err != nil {
				t.Fatal(err)
			}
			if started, err = d.db.StartFiredRuns(t.Context()); err != nil || len(started) != 1 {
				t.Errorf("after approval %d were started, error %v; want one", len(started), err)
			}
		})
	}
}

// A schedule whose zone is no more is paused with an alert, the others go on, and a
// person can repair or remove it.
func TestRecordFires_zoneVanished(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	bad := d.schedule(daily())
	other := daily()
	other.Name = "other"
	good := d.schedule(other)
	d.exec(`UPDATE schedules SET timezone = 'Mars/Base' WHERE id = $1`, bad.ID)
	d.clock("2027-03-02T09:00:00Z")
	d.recordFires()
	d.wantFires(bad)
	d.wantFires(good, "2027-03-02T08:00Z to_plan")
	found, _, err := d.db.FindSchedule(t.Context(), "daily")
	if !errors.Is(err, billing.ErrInvalid) || found.State != scheduler.SchedulePaused || found.Reason == "" {
		t.Errorf("schedule is %s (%s), error %v; want paused and billing.ErrInvalid", found.State, found.Reason, err)
	}
	if n := get[int](d, `SELECT count(*) FROM alerts WHERE kind = 'schedule_invalid'`); n != 1 {
		t.Errorf("%d alerts, want one", n)
	}
	if err := d.db.ResumeSchedule(t.Context(), "daily", by("try it")); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("resumed as it is: error %v, want billing.ErrInvalid", err)
	}
	repaired, err := d.db.EditSchedule(t.Context(), "daily", "mia", func(s *scheduler.Schedule) { s.Zone = "Europe/Vienna" })
	if err != nil || repaired.NextFireAt.Format(time.RFC3339) != "2027-03-03T08:00:00Z" {
		t.Errorf("repaired: next %s, error %v", repaired.NextFireAt, err)
	}
	if err := d.db.ResumeSchedule(t.Context(), "daily", by("repaired")); err != nil {
		t.Error(err)
	}
	d.exec(`UPDATE schedules SET timezone = 'Mars/Base' WHERE id = $1`, good.ID)
	if err := d.db.RemoveSchedule(t.Context(), "other", by("no more")); err != nil {
		t.Errorf("remove one without a zone: %v", err)
	}
}

func TestPreviewFire_storesNothing(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	d.charge()
	d.subscription("gym", "2027-03-02T08:00")
	const all = `
		SELECT concat_ws(' ', (SELECT count(*) FROM fires), (SELECT count(*) FROM runs), (SELECT count(*) FROM charges), (SELECT count(*) FROM audit),
		                 (SELECT sum(extract(epoch FROM fired_until)) FROM schedules))`
	for _, now := range []string{"2027-03-01T12:00:00Z", "2027-03-02T08:00:00Z", "2027-03-09T12:00:00Z"} {
		d.clock(now)
		before := get[string](d, all)
		report, err := d.db.PreviewFire(t.Context(), "daily")
		if err != nil {
			t.Fatal(err)
		}
		if report.Run.ID != 0 || report.Run.Schedule != "daily" || report.Run.Items == 0 {
			t.Errorf("%s: preview %+v", now, report.Run)
		}
		if after := get[string](d, all); after != before {
			t.Errorf("%s: %s before, %s after", now, before, after)
		}
	}
	if _, err := d.db.PreviewFire(t.Context(), "weekly"); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("of no schedule: error %v, want billing.ErrNotFound", err)
	}
}

// On a clock that stands still, a second look comes after the fire of that very
// moment has its run.
func TestPreviewFire_afterTheFire(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	d.charge()
	d.clock("2027-03-02T08:00:00Z")
	d.recordFires()
	d.planFire(d.fire())
	if _, err := d.db.PreviewFire(t.Context(), "daily"); err != nil {
		t.Error(err)
	}
}
