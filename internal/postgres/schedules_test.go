package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// auditOf lists what is on record about a schedule.
func (d *desk) auditOf(name string) []string {
	d.t.Helper()
	lines := []string{}
	if err := d.sql.Select(&lines, `
		SELECT concat_ws(' ', actor, action, nullif(reason, ''), before->>'cron', before->>'state', '->', after->>'cron', after->>'state')
		  FROM audit WHERE object_kind = 'schedule' AND object = $1 ORDER BY id`, name); err != nil {
		d.t.Fatal(err)
	}
	return lines
}

func TestSchedules_fromAddToRemove(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	want := scheduler.Schedule{
		Name: "monthly", Cron: "0 9 1 * *", Zone: "Europe/Berlin", CatchUp: scheduler.CatchUpAsk,
		Blackout:      scheduler.Blackout{Rule: scheduler.BlackoutLater, Weekends: true, Days: []billing.LocalDate{billing.LocalDateOf(time.Date(2027, 12, 24, 0, 0, 0, 0, time.UTC))}},
		Filter:        scheduler.Filter{Model: billing.ModelSubscription, MerchantAccount: "DemoEU", Currency: "EUR", Limit: 10},
		NeedsApproval: true,
		ApproveAbove:  scheduler.Limits{Count: 5, AmountMinor: map[string]int64{"EUR": 100}},
		Caps:          scheduler.Limits{Count: 50},
	}
	added := d.schedule(want)
	want.ID, want.State, want.CreatedBy = added.ID, scheduler.ScheduleActive, "mia"
	want.CreatedAt = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	want.FiredUntil, want.NextFireAt = want.CreatedAt, time.Date(2027, 4, 1, 7, 0, 0, 0, time.UTC)
	found, agenda, err := d.db.FindSchedule(t.Context(), "monthly")
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]scheduler.Schedule{"added": added, "found": found} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if next, ok := agenda.Next(want.CreatedAt); !ok || !next.At.Equal(want.NextFireAt) {
		t.Errorf("its agenda fires at %s (%t)", next.At, ok)
	}

	d.clock("2027-03-05T12:00:00Z")
	edited, err := d.db.EditSchedule(t.Context(), "monthly", "noor", func(s *scheduler.Schedule) { s.Cron, s.Filter.Limit = "0 9 15 * *", 0 })
	if err != nil || edited.NextFireAt.Format(time.RFC3339) != "2027-03-15T08:00:00Z" || edited.Caps.Count != 50 || edited.Filter.Limit != 0 {
		t.Errorf("edited %+v, error %v", edited, err)
	}
	if err := d.db.PauseSchedule(t.Context(), "monthly", by("audit week")); err != nil {
		t.Fatal(err)
	}
	if err := d.db.PauseSchedule(t.Context(), "monthly", by("again")); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("paused twice: error %v, want billing.ErrConflict", err)
	}
	if err := d.db.ResumeSchedule(t.Context(), "monthly", by("")); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("resumed without a reason: error %v, want billing.ErrInvalid", err)
	}
	if err := d.db.ResumeSchedule(t.Context(), "monthly", by("audit is over")); err != nil {
		t.Fatal(err)
	}
	if err := d.db.RemoveSchedule(t.Context(), "monthly", by("moved")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.db.FindSchedule(t.Context(), "monthly"); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("removed: error %v, want billing.ErrNotFound", err)
	}
	if all, err := d.db.Schedules(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d schedules, error %v; want none", len(all), err)
	}
	if diff := cmp.Diff([]string{
		"mia add -> 0 9 1 * * active", "noor edit 0 9 1 * * active -> 0 9 15 * * active", "mia pause audit week active -> paused",
		"mia resume audit is over paused -> active", "mia remove moved active -> removed",
	}, d.auditOf("monthly")); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if again := d.schedule(daily()); again.Name != "daily" {
		t.Errorf("added %+v", again)
	}
	monthly := daily()
	monthly.Name = "monthly"
	if again := d.schedule(monthly); again.ID == want.ID {
		t.Error("the name of a removed schedule brings it back")
	}
}

// What cannot be changes nothing.
func TestSchedules_refuse(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	d.schedule(daily())
	tests := []struct {
		name   string
		change func(*scheduler.Schedule)
		err    error
	}{
		{"a name that is taken", func(s *scheduler.Schedule) { s.Name = "daily" }, billing.ErrConflict},
		{"a bad name", func(s *scheduler.Schedule) { s.Name = "Every Day" }, billing.ErrInvalid},
		{"an expression that never fires", func(s *scheduler.Schedule) { s.Cron = "0 9 31 4 *" }, billing.ErrInvalid},
		{"no fire on an open day", func(s *scheduler.Schedule) {
			s.Cron, s.Blackout = "0 9 * * 0", scheduler.Blackout{Weekends: true, Rule: scheduler.BlackoutSkip}
		}, billing.ErrInvalid},
		{"a zone that does not exist", func(s *scheduler.Schedule) { s.Zone = "Europe/Munich" }, billing.ErrInvalid},
		{"a merchant account that does not exist", func(s *scheduler.Schedule) { s.Filter.MerchantAccount = "DemoUS" }, billing.ErrInvalid},
		{"a policy that does not exist", func(s *scheduler.Schedule) { s.CatchUp = "some" }, billing.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := daily()
			s.Name = "other"
			tt.change(&s)
			if _, err := d.db.AddSchedule(t.Context(), s, "mia"); !errors.Is(err, tt.err) {
				t.Errorf("added: error %v, want %v", err, tt.err)
			}
			if tt.err == billing.ErrInvalid && s.Name == "other" {
				if _, err := d.db.EditSchedule(t.Context(), "daily", "mia", tt.change); !errors.Is(err, tt.err) {
					t.Errorf("edited: error %v, want %v", err, tt.err)
				}
			}
		})
	}
	for what, err := range map[string]error{
		"pause": d.db.PauseSchedule(t.Context(), "other", by("x")), "resume": d.db.ResumeSchedule(t.Context(), "other", by("x")),
		"remove": d.db.RemoveSchedule(t.Context(), "other", by("x")),
	} {
		if !errors.Is(err, billing.ErrNotFound) {
			t.Errorf("%s one that is not there: error %v, want billing.ErrNotFound", what, err)
		}
	}
	if got := d.auditOf("other"); len(got) != 0 {
		t.Errorf("on record: %v", got)
	}
	if diff := cmp.Diff([]string{"mia add -> 0 9 * * * active"}, d.auditOf("daily")); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// A minute is the shortest @every; on a test clock it is a second.
func TestAddSchedule_leastPeriod(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	often := daily()
	often.Cron = "@every 1s"
	d.schedule(often)
	if _, err := d.db.ResetTestClock(t.Context(), "mia"); err != nil {
		t.Fatal(err)
	}
	often.Name = "oftener"
	if _, err := d.db.AddSchedule(t.Context(), often, "mia"); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("every second in earnest: error %v, want billing.ErrInvalid", err)
	}
	if _, _, err := d.db.FindSchedule(t.Context(), "daily"); err != nil {
		t.Errorf("what was allowed is no more: %v", err)
	}
}

// The fires of a pause are on record as skipped, also if the schedule is changed
// meanwhile, and what they would have taken was missed.
func TestPauseSchedule_skipsFires(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	d.clock("2027-03-02T12:00:00Z")
	d.recordFires() // nobody plans it
	if err := d.db.PauseSchedule(t.Context(), "daily", by("moving house")); err != nil {
		t.Fatal(err)
	}
	d.clock("2027-03-05T12:00:00Z")
	d.recordFires()
	if _, err := d.db.EditSchedule(t.Context(), "daily", "mia", func(s *scheduler.Schedule) { s.Cron = "0 10 * * *" }); err != nil {
		t.Fatal(err)
	}
	d.clock("2027-03-07T12:00:00Z")
	fire, err := d.db.FireNow(t.Context(), "daily")
	if err != nil || fire.MissedBefore.Format(time.RFC3339) != "2027-03-07T09:00:00Z" {
		t.Errorf("if it fired now, what fell due before %s would be missed, error %v", fire.MissedBefore, err)
	}
	if err := d.db.ResumeSchedule(t.Context(), "daily", by("moved")); err != nil {
		t.Fatal(err)
	}
	d.clock("2027-03-08T09:00:00Z")
	d.recordFires()
	d.wantFires(s, "2027-03-08T09:00Z to_plan", "2027-03-07T09:00Z since 2027-03-06T09:00Z skipped schedule_paused",
		"2027-03-05T08:00Z since 2027-03-03T08:00Z skipped schedule_paused", "2027-03-02T08:00Z skipped schedule_paused")
	if fire := d.fire(); fire.MissedBefore.Format(time.RFC3339) != "2027-03-07T09:00:00Z" {
		t.Errorf("missed before %s, want the last fire of the pause", fire.MissedBefore)
	}
}

// A change of the times does not touch the fires before it.
func TestEditSchedule_recordsOldFires(t *testing.T) {
	t.Parallel()
	d := newScheduleDesk(t, "2027-03-01T12:00:00Z")
	s := d.schedule(daily())
	d.clock("2027-03-02T12:00:00Z")
	if _, err := d.db.EditSchedule(t.Context(), "daily", "mia", func(s *scheduler.Schedule) { s.Cron = "30 * * * *" }); err != nil {
		t.Fatal(err)
	}
	d.clock("2027-03-02T12:31:00Z")
	d.recordFires()
	d.wantFires(s, "2027-03-02T12:30Z coalesced", "2027-03-02T08:00Z to_plan")
}
