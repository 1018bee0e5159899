package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// The decisions that forbid a charge, as they race a claim.
var forbidding = []struct {
	name   string
	decide func(context.Context, *postgres.DB, billing.ChargeID, billing.SubscriptionID) (billing.Stop, error)
	first  string // what the charge is if the decision is first
	second string // what it is if the claim is first and gives the charge back
}{
	{"cancel", func(ctx context.Context, db *postgres.DB, id billing.ChargeID, _ billing.SubscriptionID) (billing.Stop, error) {
		return db.CancelCharge(ctx, id, by("cancelled in time"))
	}, "cancelled cancelled_by_person", "cancelled cancelled_by_person"},
	{"hold", func(ctx context.Context, db *postgres.DB, id billing.ChargeID, _ billing.SubscriptionID) (billing.Stop, error) {
		return db.HoldCharge(ctx, id, by("held in time"))
	}, "held held_by_person", "held held_by_person"},
	{"close", func(ctx context.Context, db *postgres.DB, id billing.ChargeID, _ billing.SubscriptionID) (billing.Stop, error) {
		return db.ClosePaidElsewhere(ctx, id, by("bank transfer"))
	}, "paid paid_elsewhere", "due"},
	{"pause the subscription", func(ctx context.Context, db *postgres.DB, _ billing.ChargeID, sub billing.SubscriptionID) (billing.Stop, error) {
		return onlyStop(db.PauseSubscription(ctx, sub, by("holiday")))
	}, "held subscription_paused", "held subscription_paused"},
	{"cancel the subscription", func(ctx context.Context, db *postgres.DB, _ billing.ChargeID, sub billing.SubscriptionID) (billing.Stop, error) {
		return onlyStop(db.CancelSubscription(ctx, sub, by("moved away")))
	}, "cancelled subscription_cancelled", "cancelled subscription_cancelled"},
}

func onlyStop(change postgres.SubscriptionChange, err error) (billing.Stop, error) {
	if err != nil {
		return billing.Stop{}, err
	}
	if len(change.Charges) != 1 {
		return billing.Stop{}, errors.New("the decision did not touch the one charge")
	}
	return change.Charges[0], nil
}

// A decision that has the row's lock is first: the claim passes the charge by,
// and never sees it due again.
func TestRace_aDecisionBeforeAClaim(t *testing.T) {
	t.Parallel()
	for _, tt := range forbidding {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			sub := d.subscription("sub", "2126-01-31T09:00")
			id := d.chargeOf(sub)
			request := d.claimRequest(d.run(id))
			claimer := openDB(t, d.dsn)
			claimer.Prepare(t)

			// The decision has moved the row and stands before its audit row.
			unblock := d.block("audit")
			decided := make(chan error, 1)
			go func() {
				_, err := tt.decide(context.Background(), d.db, id, sub)
				decided <- err
			}()
			d.waitForWaiters(1)
			result, err := claimer.ClaimDue(t.Context(), request)
			if err != nil || len(result.Charges) != 0 {
				t.Fatalf("claimed %d charges under a decision's lock, error %v", len(result.Charges), err)
			}
			unblock()
			if err := <-decided; err != nil {
				t.Fatal(err)
			}
			if got := d.stands(id); got != tt.first {
				t.Errorf("charge is %q, want %q", got, tt.first)
			}
			if result, err = claimer.ClaimDue(t.Context(), request); err != nil || len(result.Charges) != 0 {
				t.Errorf("claimed %d charges after the decision, error %v", len(result.Charges), err)
			}
			if get[int](d, `SELECT count(*) FROM run_items WHERE disposition IS NOT NULL`) != 1 {
				t.Error("the run does not say why the charge was left out")
			}
		})
	}
}

// A claim that has the row's lock is first: the decision waits, and its wish
// reaches the process before it sends.
func TestRace_aClaimBeforeADecision(t *testing.T) {
	t.Parallel()
	for _, tt := range forbidding {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			sub := d.subscription("sub", "2126-01-31T09:00")
			id := d.chargeOf(sub)
			request := d.claimRequest(d.run(id))
			claimer := openDB(t, d.dsn)
			claimer.Prepare(t)

			// The claim has leased the row and stands before it remembers the batch.
			unblock := d.block("claims")
			type claim struct {
				result scheduler.ClaimResult
				err    error
			}
			claimed := make(chan claim, 1)
			go func() {
				result, err := claimer.ClaimDue(context.Background(), request)
				claimed <- claim{result, err}
			}()
			d.waitForWaiters(1)
			type answer struct {
				stop billing.Stop
				err  error
			}
			decided := make(chan answer, 1)
			go func() {
				stop, err := tt.decide(context.Background(), d.db, id, sub)
				decided <- answer{stop, err}
			}()
			d.waitForWaiters(2)
			unblock()
			got := <-claimed
			if got.err != nil || len(got.result.Charges) != 1 {
				t.Fatalf("claimed %d charges, error %v", len(got.result.Charges), got.err)
			}
			decision := <-decided
			if tt.second == "due" { // a claim beats a payment elsewhere
				if !errors.Is(decision.err, billing.ErrConflict) {
					t.Errorf("error %v, want billing.ErrConflict", decision.err)
				}
			} else if decision.err != nil || decision.stop.Answer != "" {
				t.Errorf("answer %q, error %v; want none yet", decision.stop.Answer, decision.err)
			}
			if err := claimer.GiveBack(t.Context(), got.result.Charges, []scheduler.ClaimID{got.result.ID}); err != nil {
				t.Fatal(err)
			}
			if got := d.stands(id); got != tt.second {
				t.Errorf("charge is %q, want %q", got, tt.second)
			}
		})
	}
}

// The kill switch waits for a claim that is being made, and names its charges.
func TestRace_aPauseAndAClaim(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	request := d.claimRequest(d.run(id))
	claimer := openDB(t, d.dsn)
	claimer.Prepare(t)
	unblock := d.block("claims")
	claimed := make(chan error, 1)
	go func() {
		_, err := claimer.ClaimDue(context.Background(), request)
		claimed <- err
	}()
	d.waitForWaiters(1)
	type paused struct {
		stops []billing.Stop
		err   error
	}
	done := make(chan paused, 1)
	go func() {
		stops, err := d.db.PauseSending(context.Background(), postgres.StopScope{Scope: postgres.StopAll}, by("fire"))
		done <- paused{stops, err}
	}()
	d.waitForWaiters(2)
	unblock()
	if err := <-claimed; err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil || len(got.stops) != 1 || got.stops[0].ChargeID != id {
		t.Errorf("stops %v, error %v; want the claimed charge", got.stops, got.err)
	}
}
