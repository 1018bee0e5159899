package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// fire returns a schedule's fire at business now, as a daemon takes it.
func (d *desk) followUp() scheduler.PlanRequest {
	d.t.Helper()
	d.exec(`UPDATE schedules SET fired_until = date_trunc('second', now()) - interval '20 minutes', next_fire_at = now() - interval '1 minute' WHERE name = 'follow-up'`)
	if err := d.db.RecordFires(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	fire, ok, err := d.db.TakeFire(d.t.Context(), 0)
	if err != nil || !ok {
		d.t.Fatalf("no fire: %t, %v", ok, err)
	}
	return fire.PlanRequest()
}

// The follow-up takes what is due again, and nothing that is in another run's
// hands or that no run has looked at.
func TestFollowUp_TakesOnlyWhatIsDueAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(d *desk, id billing.ChargeID)
		taken  bool
	}{
		{"new", func(*desk, billing.ChargeID) {}, false},
		{"imported by a person", func(d *desk, id billing.ChargeID) {
			d.exec(`UPDATE charges SET decided_by = 'mia' WHERE id = $1`, id)
		}, false},
		{"refused for now", func(d *desk, id billing.ChargeID) {
			d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
		}, true},
		{"released", func(d *desk, id billing.ChargeID) {
			d.must(hold, id)
			d.must(release, id)
		}, true},
		{"postponed by a run", func(d *desk, id billing.ChargeID) {
			run := d.run(id)
			d.exec(`UPDATE run_items SET disposition = 'postponed', reason = 'gateway_unavailable', decided_at = now()`)
			d.exec(`UPDATE runs SET state = 'completed', finished_at = now() WHERE id = $1`, run)
		}, true},
		{"in a run that awaits approval", func(d *desk, id billing.ChargeID) {
			d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
			run := d.run(id)
			d.exec(`UPDATE runs SET state = 'awaiting_approval' WHERE id = $1`, run)
		}, false},
		{"in a run that was paused", func(d *desk, id billing.ChargeID) {
			run := d.run(id)
			d.exec(`UPDATE runs SET state = 'paused' WHERE id = $1`, run)
		}, false},
		{"in a run that was aborted", func(d *desk, id billing.ChargeID) {
			if err := d.db.AbortRun(d.t.Context(), d.run(id), "mia", "wrong list"); err != nil {
				d.t.Fatal(err)
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.charge()
			tt.change(d, id)
			report, err := d.db.PlanRun(t.Context(), d.followUp())
			if err != nil {
				t.Fatal(err)
			}
			if taken := report.Run.ID != 0 && report.Run.Items == 1; taken != tt.taken {
				t.Errorf("run %d with %d items, want taken %t", report.Run.ID, report.Run.Items, tt.taken)
			}
		})
	}
}

// A card that a message from outside stops is not charged again by what was on
// its way at that moment.
func TestApplyEvents_DeadTokenStopsWhatIsOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	claimed := d.claim(id)
	token := get[string](d, `SELECT t.token FROM tokens t JOIN charges c ON c.token_id = t.id WHERE c.id = $1`, id)
	d.deliver(billing.Event{Kind: billing.EventTokenDisabled, Code: "recurring.token.disabled", MerchantAccount: "DemoEU", Token: token, Signed: true, Document: []byte(`{}`)})
	d.apply()
	d.settle(claimed, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	if got := d.stands(id); got != "held token_invalid" {
		t.Errorf("the charge is %s", got)
	}
}

// While the gateway says that an earlier attempt was approved, nobody can have
// the open one sent again.
func TestReleaseCharge_RefusesASecondPayment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	id := d.chargeOf(sub)
	minor := get[int64](d, `SELECT amount_minor FROM charges WHERE id = $1`, id)
	currency := get[string](d, `SELECT currency FROM charges WHERE id = $1`, id)
	d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	second := d.claim(id)
	if _, err := d.db.PauseSubscription(t.Context(), sub, chief); err != nil {
		t.Fatal(err)
	}
	d.settle(second, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	e := d.event(billing.EventAuthorised, id, 1, "PAY1", minor)
	e.Amount.Currency = currency
	d.deliver(e)
	d.apply()
	if got := get[string](d, `SELECT stop_reason FROM charges WHERE id = $1`, id); got != "late_approval" {
		t.Errorf("the open attempt's stop: %q", got)
	}
	if _, err := d.db.ReleaseCharge(t.Context(), id, chief); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("release: %v", err)
	}
	if _, err := d.db.ResumeSubscription(t.Context(), sub, chief); err != nil {
		t.Fatal(err)
	}
	if got := get[string](d, `SELECT coalesce(stop_request, '') FROM charges WHERE id = $1`, id); got != "hold" {
		t.Errorf("resuming the subscription withdrew the stop: %q", got)
	}
	if got := get[string](d, `SELECT string_agg(kind, ' ') FROM alerts`); !strings.Contains(got, "late_approval") {
		t.Errorf("alerts: %s", got)
	}
}

// A refund that comes before its payment is recalled also where the payment says
// nothing new.
func TestApplyEvents_RecallsAfterAKnownPayment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	claimed := d.claim(id)
	s := billing.Settlement{ChargeID: id, RunID: claimed.RunID, Attempt: 1, LeaseNo: claimed.LeaseNo, TokenID: claimed.TokenID, Counted: true,
		Source: billing.SourceAPI, Outcome: billing.OutcomeAuthorised, State: billing.ChargePaid, Reply: billing.Reply{GatewayReference: "PAY1", ResultCode: "Authorised"}}
	if _, err := d.db.Settle(t.Context(), []*billing.Settlement{&s}, nil); err != nil {
		t.Fatal(err)
	}
	refund := d.event(billing.EventRefunded, id, 1, "REF1", 500)
	refund.Reference, refund.OriginalReference = "a reference of somebody's", "PAY1"
	d.deliver(refund)
	d.apply()
	d.deliver(d.event(billing.EventAuthorised, id, 1, "PAY1", 1234))
	d.apply()
	if got := get[string](d, `SELECT string_agg(state || ' ' || verdict, ', ' ORDER BY id) FROM inbox`); got != "applied reverses, applied known" {
		t.Errorf("inbox: %s", got)
	}
}

// What a run has that waits for a person is not accounted for.
func TestReportDay_RunsThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	day, err := billing.ParseLocalDate("2026-01-31")
	if err != nil {
		t.Fatal(err)
	}
	run := d.run(id)
	for _, tt := range []struct {
		state    string
		complete bool
	}{{"awaiting_approval", false}, {"paused", false}, {"running", false}} {
		d.exec(`UPDATE runs SET state = $2 WHERE id = $1`, run, tt.state)
		r, err := d.db.ReportDay(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		if r.IsComplete() != tt.complete || r.Currencies[0].InRun.Count != 1 {
			t.Errorf("%s: %+v", tt.state, r.Currencies[0])
		}
	}
}

// After a test clock was moved back schedules fire again from the new now on.
func TestChangeClock_MovedBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.setClock("2027-09-17T12:00:00Z")
	d.exec(`UPDATE schedules SET fired_until = '2027-09-17T12:00:00Z', next_fire_at = '2027-09-17T12:15:00Z' WHERE name = 'follow-up'`)
	d.exec(`INSERT INTO fires (schedule_id, fire_at, first_at, as_of, outcome) SELECT id, '2027-09-17T12:00:00Z', '2027-09-17T12:00:00Z', '2027-09-17T12:00:00Z', 'nothing_due' FROM schedules`)
	if _, err := d.db.ResetTestClock(t.Context(), "mia"); err != nil {
		t.Fatal(err)
	}
	if soon := get[bool](d, `SELECT next_fire_at <= now() + interval '15 minutes' AND fired_until <= now() FROM schedules WHERE name = 'follow-up'`); !soon {
		t.Error("the follow-up sleeps")
	}
	if got := get[int](d, `SELECT count(*) FROM fires`); got != 0 {
		t.Errorf("%d fires of the future are left", got)
	}
}
