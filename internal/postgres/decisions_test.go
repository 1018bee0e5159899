package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

type decision func(*postgres.DB, context.Context, billing.ChargeID, billing.Decision) (billing.Stop, error)

var (
	hold    decision = (*postgres.DB).HoldCharge
	release decision = (*postgres.DB).ReleaseCharge
	cancel  decision = (*postgres.DB).CancelCharge
	closing decision = (*postgres.DB).ClosePaidElsewhere
)

// chargeIn brings a charge into each state along legal ways.
func (d *desk) chargeIn(state billing.ChargeState) billing.ChargeID {
	d.t.Helper()
	id := d.charge()
	switch state {
	case billing.ChargeDue:
	case billing.ChargeClaimed:
		d.claim(id)
	case billing.ChargePending:
		d.settle(d.claim(id), billing.OutcomePending, state, billing.ReasonAwaitsGateway)
	case billing.ChargeUnknown:
		d.settle(d.claim(id), billing.OutcomeUnknown, state, billing.ReasonAnswerMissing)
	case billing.ChargePaid:
		d.settle(d.claim(id), billing.OutcomeAuthorised, state, billing.ReasonNone)
	case billing.ChargeUnpaid:
		d.settle(d.claim(id), billing.OutcomeRefused, state, billing.ReasonRefusedHard)
	case billing.ChargeHeld:
		d.must(hold, id)
	case billing.ChargeCancelled:
		d.must(cancel, id)
	case billing.ChargeWaived:
		d.exec(`UPDATE charges SET state = 'waived', reason = 'nothing_due', finished_at = now() WHERE id = $1`, id)
	default:
		d.t.Fatalf("no way to %s", state)
	}
	return id
}

func (d *desk) must(decide decision, id billing.ChargeID) billing.Stop {
	d.t.Helper()
	stop, err := decide(d.db, context.Background(), id, by("because"))
	if err != nil {
		d.t.Fatal(err)
	}
	return stop
}

// Each decision in each state: what comes of it, or that it is refused and
// changes nothing.
func TestDecisions_inEachState(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	tests := []struct {
		name   string
		decide decision
		want   map[billing.ChargeState]string // by the state before; what is not here is refused
	}{
		{"hold", hold, map[billing.ChargeState]string{
			billing.ChargeDue:     "done held held_by_person",
			billing.ChargeClaimed: " claimed",
		}},
		{"release", release, map[billing.ChargeState]string{
			billing.ChargeHeld:   "done due released",
			billing.ChargeUnpaid: "done due released",
		}},
		{"cancel", cancel, map[billing.ChargeState]string{
			billing.ChargeDue:     "done cancelled cancelled_by_person",
			billing.ChargeHeld:    "done cancelled cancelled_by_person",
			billing.ChargeClaimed: " claimed",
			billing.ChargePending: "already_at_gateway pending awaits_gateway",
			billing.ChargeUnknown: "already_at_gateway unknown answer_missing",
		}},
		{"close", closing, map[billing.ChargeState]string{
			billing.ChargeDue:    "done paid paid_elsewhere",
			billing.ChargeHeld:   "done paid paid_elsewhere",
			billing.ChargeUnpaid: "done paid paid_elsewhere",
		}},
	}
	for _, tt := range tests {
		for _, state := range billing.ChargeStates() {
			t.Run(fmt.Sprintf("%s a charge that is %s", tt.name, state), func(t *testing.T) {
				id := d.chargeIn(state)
				before, audited := d.stands(id), d.audited(id)
				stop, err := tt.decide(d.db, t.Context(), id, by("the customer asked"))
				want, allowed := tt.want[state]
				if !allowed {
					if !errors.Is(err, billing.ErrConflict) || d.stands(id) != before || d.audited(id) != audited {
						t.Errorf("got error %v, charge %q, %d more audit rows; want a conflict, %q and none", err, d.stands(id), d.audited(id)-audited, before)
					}
					if lines := strings.Count(fmt.Sprint(err), "\n"); lines != 0 {
						t.Errorf("the refusal has %d line breaks: %v", lines, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := string(stop.Answer) + " " + d.stands(id); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if n := d.audited(id) - audited; n != 1 {
					t.Errorf("%d audit rows, want 1", n)
				}
			})
		}
	}
}

func (d *desk) audited(id billing.ChargeID) int {
	d.t.Helper()
	return get[int](d, `SELECT count(*) FROM audit WHERE object_kind = 'charge' AND object = $1::text`, id)
}

func TestDecisions_areOnRecord(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	if _, err := d.db.HoldCharge(t.Context(), id, billing.Decision{Actor: "mia", Why: "waits for the contract"}); err != nil {
		t.Fatal(err)
	}
	charge, err := d.db.ShowCharge(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range charge.Audit {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", a.Actor, a.Action, a.Reason, a.Before, a.After))
	}
	want := []string{`mia hold waits for the contract {"state": "due"} {"state": "held", "reason": "held_by_person"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if charge.DecidedBy != "mia" {
		t.Errorf("decided by %q, want mia", charge.DecidedBy)
	}
}

func TestDecisions_needAPersonAndAReason(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, decision := range map[string]billing.Decision{
		"nobody": {Why: "because"}, "no reason": {Actor: "mia", Why: " "}, "a novel": {Actor: "mia", Why: strings.Repeat("a", 501)},
	} {
		t.Run(name, func(t *testing.T) {
			id := d.charge()
			if _, err := d.db.CancelCharge(t.Context(), id, decision); !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("error %v, want billing.ErrInvalid", err)
			}
			if got := d.stands(id); got != "due" {
				t.Errorf("charge is %q, want due", got)
			}
		})
	}
	if _, err := d.db.CancelCharge(t.Context(), 999, by("because")); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("unknown charge: error %v, want billing.ErrNotFound", err)
	}
}

// What becomes of a wish that reached a charge while a process held it.
func TestStops_ofAClaimedCharge(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	giveBack := func(c billing.ClaimedCharge) {
		if err := d.db.GiveBack(context.Background(), []billing.ClaimedCharge{c}, nil); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		decide  decision
		process func(billing.ClaimedCharge)
		want    string // answer, state and reason
	}{
		{"cancelled, and the process gives it back unsent", cancel, giveBack, "stopped_before_sending cancelled cancelled_by_person"},
		{"held, and the process gives it back unsent", hold, giveBack, "stopped_before_sending held held_by_person"},
		{"cancelled, but it was sent and paid", cancel, func(c billing.ClaimedCharge) {
			d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, billing.ReasonNone)
		}, "already_at_gateway paid"},
		{"cancelled, but it was sent and is to be tried again", cancel, func(c billing.ClaimedCharge) {
			d.settle(c, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
		}, "already_at_gateway cancelled cancelled_by_person"},
		{"held, but it was sent and is to be tried again", hold, func(c billing.ClaimedCharge) {
			d.settle(c, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
		}, "already_at_gateway held held_by_person"},
		{"cancelled, and no byte left because nobody answered the dial", cancel, func(c billing.ClaimedCharge) {
			d.settle(c, billing.OutcomeNotSent, billing.ChargeDue, billing.ReasonGatewayUnavailable)
		}, "stopped_before_sending cancelled cancelled_by_person"},
		{"cancelled, but its answer was lost", cancel, func(c billing.ClaimedCharge) {
			d.settle(c, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
		}, "already_at_gateway unknown answer_missing"},
		{"cancelled, and the process says nothing", cancel, func(billing.ClaimedCharge) {}, " claimed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := d.charge()
			claimed := d.claim(id)
			stop := d.must(tt.decide, id)
			if stop.Answer != "" {
				t.Fatalf("answer %q while the process holds it, want none yet", stop.Answer)
			}
			tt.process(claimed)
			stops, err := d.db.ReadStops(t.Context(), []billing.Stop{stop})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(stops[0].Answer) + " " + d.stands(id); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An earlier attempt's news must not pass for that of the claim that is stopped.
func TestStops_lookAtNewNewsOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	d.settle(d.claim(id), billing.OutcomeNotProcessed, billing.ChargeDue, billing.ReasonGatewayUnavailable) // attempt 1 keeps its number
	again := d.claim(id)
	stop := d.must(cancel, id)
	if err := d.db.GiveBack(t.Context(), []billing.ClaimedCharge{again}, nil); err != nil {
		t.Fatal(err)
	}
	stops, err := d.db.ReadStops(t.Context(), []billing.Stop{stop})
	if err != nil {
		t.Fatal(err)
	}
	if got := stops[0].Answer; got != billing.StopBeforeSending {
		t.Errorf("answer %q, want %q", got, billing.StopBeforeSending)
	}
}

func TestCancel_isStrongerThanHold(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, order := range map[string][]decision{"cancel, then hold": {cancel, hold}, "hold, then cancel": {hold, cancel}} {
		t.Run(name, func(t *testing.T) {
			id := d.charge()
			claimed := d.claim(id)
			for _, decide := range order {
				d.must(decide, id)
			}
			if err := d.db.GiveBack(t.Context(), []billing.ClaimedCharge{claimed}, nil); err != nil {
				t.Fatal(err)
			}
			if got, want := d.stands(id), "cancelled cancelled_by_person"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestRelease_takesBackAWishToHold(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	claimed := d.claim(id)
	d.must(hold, id)
	d.must(release, id)
	if err := d.db.GiveBack(t.Context(), []billing.ClaimedCharge{claimed}, nil); err != nil {
		t.Fatal(err)
	}
	if got := d.stands(id); got != "due" {
		t.Errorf("got %q, want due", got)
	}
}

// A replay that a wish had ended begins again when the wish is taken back.
func TestRelease_letsReplaysGoOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	claimed := d.claim(id)
	d.must(hold, id)
	d.settle(claimed, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	d.exec(`UPDATE charges SET resolve_at = NULL, reason = stop_reason WHERE id = $1`, id) // as the resolver gives up
	d.must(release, id)
	if got, want := d.stands(id), "unknown answer_missing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !get[bool](d, `SELECT resolve_at <= clock_timestamp() AND stop_request IS NULL FROM charges WHERE id = $1`, id) {
		t.Error("the charge is not sent again by itself")
	}
}

func TestRelease_refusesWhereAFactForbidsCharging(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, fact, word string
	}{
		{"dead token", `UPDATE tokens SET state = 'invalid', cause = 'revoked'`, "token is invalid"},
		{"switched off token", `UPDATE tokens SET state = 'disabled'`, "token is disabled"},
		{"paused subscription", `UPDATE subscriptions SET state = 'paused', reason = 'subscription_paused'`, "is paused"},
		{"cancelled subscription", `UPDATE subscriptions SET state = 'cancelled', reason = 'subscription_cancelled', next_charge_at = NULL`, "is cancelled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.chargeOf(d.subscription("sub", "2126-01-31T09:00"))
			d.must(hold, id)
			d.exec(tt.fact)
			_, err := d.db.ReleaseCharge(t.Context(), id, by("try again"))
			if !errors.Is(err, billing.ErrConflict) || !strings.Contains(err.Error(), tt.word) {
				t.Errorf("error %v, want a conflict that says %q", err, tt.word)
			}
			if got, want := d.stands(id), "held held_by_person"; got != want {
				t.Errorf("charge %q, want %q", got, want)
			}
		})
	}
}

// A released charge is attempted under its next number, from whose claim the
// key's life counts.
func TestRelease_beginsANewAttempt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.chargeIn(billing.ChargeUnpaid)
	d.exec(`UPDATE charges SET attempt_started_at = '2020-01-31T09:00:00Z' WHERE id = $1`, id)
	d.must(release, id)
	claimed := d.claim(id)
	if claimed.Attempt != 2 {
		t.Errorf("attempt %d, want 2", claimed.Attempt)
	}
	if began := get[time.Time](d, `SELECT attempt_started_at FROM charges WHERE id = $1`, id); began.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("attempt 2 began at %s, with attempt 1", began)
	}
}
