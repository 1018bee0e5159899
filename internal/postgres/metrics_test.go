package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/migrations"
	"github.com/contauth/contauth/scheduler"
)

// figuresDesk is a desk whose business time stands still at 10:00 UTC of the day
// on which its charges fell due at 9:00.
func figuresDesk(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	if _, err := d.db.SetTestClock(t.Context(), time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC), 0, "mia"); err != nil {
		t.Fatal(err)
	}
	d.exec(`UPDATE schedules SET next_fire_at = '2026-01-31T10:15:00Z'`)
	return d
}

func (d *desk) figures(r *postgres.FigureReader) scheduler.Figures {
	d.t.Helper()
	f, err := r.Read(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return f
}

func TestFigures(t *testing.T) {
	t.Parallel()
	quiet := scheduler.Figures{
		OpenKnown: true,
		Accounts:  []scheduler.AccountFigure{{MerchantAccount: "DemoEU"}},
		Inbox:     []scheduler.InboxFigure{{State: "stored"}, {State: "waiting"}, {State: "quarantined"}},
	}
	open := func(state billing.ChargeState, n int64) scheduler.OpenFigure {
		return scheduler.OpenFigure{MerchantAccount: "DemoEU", State: state, Count: n}
	}
	tests := []struct {
		name  string
		given func(d *desk)
		want  func(f *scheduler.Figures)
	}{
		{"an empty book is quiet", func(*desk) {}, func(*scheduler.Figures) {}},
		{
			"a due charge that no run took is late", func(d *desk) { d.charge() },
			func(f *scheduler.Figures) {
				f.OpenCharges, f.DueLag = []scheduler.OpenFigure{open("due", 1)}, time.Hour
			},
		},
		{
			"one that a run has in hand is not", func(d *desk) { d.run(d.charge()) },
			func(f *scheduler.Figures) {
				f.OpenCharges, f.Runs = []scheduler.OpenFigure{open("due", 1)}, []scheduler.RunFigure{{State: "running", Count: 1}}
			},
		},
		{
			"one that a run put off is", func(d *desk) {
				d.run(d.charge())
				d.exec(`UPDATE run_items SET disposition = 'postponed', reason = 'gateway_unavailable', decided_at = now()`)
			},
			func(f *scheduler.Figures) {
				f.OpenCharges, f.DueLag, f.Runs = []scheduler.OpenFigure{open("due", 1)}, time.Hour, []scheduler.RunFigure{{State: "running", Count: 1}}
			},
		},
		{
			"nor is one whose next attempt lies ahead", func(d *desk) {
				d.exec(`UPDATE charges SET next_attempt_at = '2026-02-03T09:00:00Z' WHERE id = $1`, d.charge())
			},
			func(f *scheduler.Figures) { f.OpenCharges = []scheduler.OpenFigure{open("due", 1)} },
		},
		{
			"paid charges are no concern", func(d *desk) {
				d.settle(d.claim(d.charge()), billing.OutcomeAuthorised, billing.ChargePaid, "")
				d.exec(`DELETE FROM claims`)
			},
			func(f *scheduler.Figures) { f.Runs = []scheduler.RunFigure{{State: "running", Count: 1}} },
		},
		{
			"unknown money is counted by reason", func(d *desk) {
				for range 2 {
					d.settle(d.claim(d.charge()), billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
				}
				d.settle(d.claim(d.charge()), billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMismatch)
				d.exec(`UPDATE charges SET attempt_started_at = now() - interval '1 hour' WHERE reason = 'answer_mismatch'`)
				d.exec(`DELETE FROM claims`)
			},
			func(f *scheduler.Figures) {
				f.OpenCharges, f.UnknownOldest, f.Runs = []scheduler.OpenFigure{open("unknown", 3)}, time.Hour, []scheduler.RunFigure{{State: "running", Count: 3}}
				f.Unknown = []scheduler.UnknownFigure{
					{MerchantAccount: "DemoEU", Currency: "EUR", Reason: billing.ReasonAnswerMismatch, Count: 1, AmountMinor: 1234},
					{MerchantAccount: "DemoEU", Currency: "EUR", Reason: billing.ReasonAnswerMissing, Count: 2, AmountMinor: 2468},
				}
			},
		},
		{
			"a cycle that is no charge yet is late", func(d *desk) { d.subscription("s-1", "2026-01-31T09:00:00") },
			func(f *scheduler.Figures) { f.CycleLag = 2 * time.Hour },
		},
		{
			"a fire without a run is late", func(d *desk) {
				d.exec(`INSERT INTO fires (schedule_id, fire_at, as_of, first_at, outcome)
					SELECT id, '2026-01-31T09:45:00Z', '2026-01-31T09:45:00Z', '2026-01-31T09:45:00Z', 'to_plan' FROM schedules`)
			},
			func(f *scheduler.Figures) { f.FireLag = 15 * time.Minute },
		},
		{
			"and so is one that nobody recorded", func(d *desk) { d.exec(`UPDATE schedules SET next_fire_at = '2026-01-31T09:30:00Z'`) },
			func(f *scheduler.Figures) { f.FireLag = 30 * time.Minute },
		},
		{
			"but not that of a paused schedule", func(d *desk) {
				d.exec(`UPDATE schedules SET next_fire_at = '2026-01-31T09:30:00Z', state = 'paused', reason = 'holidays'`)
			},
			func(*scheduler.Figures) {},
		},
		{
			"a run stands still", func(d *desk) {
				d.exec(`UPDATE runs SET progress_at = now() - interval '10 minutes' WHERE id = $1`, d.run())
			},
			func(f *scheduler.Figures) {
				f.Runs, f.RunIdle = []scheduler.RunFigure{{State: "running", Count: 1}}, 10*time.Minute
			},
		},
		{
			"a lease ran out", func(d *desk) {
				d.exec(`INSERT INTO claims (process_id, run_id, merchant_account, first_position, last_position, token, lease_until)
					VALUES (1, 1, 'DemoEU', 1, 2, gen_random_uuid(), now() - interval '1 minute'), (1, 1, 'DemoEU', 3, 4, gen_random_uuid(), now() + interval '1 minute')`)
			},
			func(f *scheduler.Figures) { f.Claims, f.LeaseOverdue = 2, time.Minute },
		},
		{
			"the gateway asked to stay away", func(d *desk) { d.exec(`UPDATE merchant_accounts SET backoff_until = now() + interval '30 seconds'`) },
			func(f *scheduler.Figures) { f.Accounts[0].BackOff = 30 * time.Second },
		},
		{
			"events wait, and one fits nothing", func(d *desk) {
				const event = `
					INSERT INTO inbox (received_at, gateway, merchant_account, kind, code, gateway_reference, signed, document, digest, state, reason, next_try_at)
					VALUES (now() - $1::interval, 'adyen', 'DemoEU', 'authorised', 'AUTHORISATION', '', true, '{}', sha256(gen_random_uuid()::text::bytea), $2, $3,
					        CASE WHEN $2 IN ('stored', 'waiting') THEN now() END)`
				d.exec(event, "1 minute", "stored", "")
				d.exec(event, "2 minutes", "stored", "")
				d.exec(event, "3 minutes", "waiting", "")
				d.exec(event, "4 minutes", "quarantined", "no_such_charge")
				d.exec(event, "5 minutes", "applied", "")
			},
			func(f *scheduler.Figures) {
				f.Inbox = []scheduler.InboxFigure{
					{State: "stored", Count: 2, Oldest: 2 * time.Minute}, {State: "waiting", Count: 1, Oldest: 3 * time.Minute},
					{State: "quarantined", Count: 1, Oldest: 4 * time.Minute},
				}
			},
		},
		{
			"alerts that somebody closed are over", func(d *desk) {
				d.exec(`INSERT INTO alerts (kind, detail, closed_at) VALUES ('contradiction', 'x', NULL), ('contradiction', 'y', now())`)
			},
			func(f *scheduler.Figures) { f.Alerts = 1 },
		},
	}
	// The database's clock goes on while a test runs.
	near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < 30*time.Second })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := figuresDesk(t)
			tt.given(d)
			want := quiet
			want.Accounts, want.Inbox = slices.Clone(quiet.Accounts), slices.Clone(quiet.Inbox)
			tt.want(&want)
			if diff := cmp.Diff(want, d.figures(d.db.NewFigureReader()), near); diff != "" {
				t.Errorf("figures (-want +got):\n%s", diff)
			}
		})
	}
}

// Where much is open, each reading looks at a part, and the figures are those of
// the last pass that came to its end.
func TestFigures_InParts(t *testing.T) {
	t.Parallel()
	d := figuresDesk(t)
	var last billing.ChargeID
	for range 5 {
		last = d.charge()
	}
	d.exec(`UPDATE charges SET next_attempt_at = '2026-01-31T08:00:00Z' WHERE id = $1`, last)
	r := d.db.NewFigureReader()
	r.SetSlice(2)
	steps := []struct {
		known bool
		count int64
		lag   time.Duration
	}{{false, 0, 0}, {false, 0, 0}, {true, 5, 2 * time.Hour}, {true, 5, 2 * time.Hour}}
	for i, step := range steps {
		f := d.figures(r)
		var count int64
		for _, o := range f.OpenCharges {
			count += o.Count
		}
		if f.OpenKnown != step.known || count != step.count || f.DueLag != step.lag {
			t.Errorf("reading %d: known %v, %d charges, late by %s; want %v, %d, %s", i+1, f.OpenKnown, count, f.DueLag, step.known, step.count, step.lag)
		}
		if i == 2 {
			if _, err := d.db.CancelCharge(t.Context(), last, by("not wanted")); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.figures(r)
	if f := d.figures(r); len(f.OpenCharges) != 1 || f.OpenCharges[0].Count != 4 || f.DueLag != time.Hour {
		t.Errorf("after the next pass: %+v, late by %s; want 4 charges and an hour", f.OpenCharges, f.DueLag)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	steps, err := migrations.Status(t.Context(), d.db.SQL())
	if err != nil {
		t.Fatal(err)
	}
	var want []int64
	for _, step := range steps {
		want = append(want, step.Version)
	}
	d.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
	want = append(want, 9999)
	before := get[time.Time](d, `SELECT clock_timestamp()`)
	health, err := d.db.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, health.Migrations); diff != "" {
		t.Errorf("migrations (-want +got):\n%s", diff)
	}
	if after := get[time.Time](d, `SELECT clock_timestamp()`); health.Clock.Before(before) || health.Clock.After(after) {
		t.Errorf("the clock says %s, which is not from %s to %s", health.Clock, before, after)
	}
}
