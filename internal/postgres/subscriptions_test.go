package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

// charges lists a subscription's charges: "1 paid", "2 waived subscription_paused".
func (d *desk) charges(id billing.SubscriptionID) []string {
	d.t.Helper()
	list := []string{}
	if err := d.sql.Select(&list, `SELECT trim(cycle || ' ' || state || ' ' || reason) FROM charges WHERE subscription_id = $1 ORDER BY cycle`, id); err != nil {
		d.t.Fatal(err)
	}
	return list
}

// setClock makes business time stand still.
func (d *desk) setClock(at string) {
	d.t.Helper()
	instant, err := time.Parse(time.RFC3339, at)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.db.SetTestClock(context.Background(), instant, 0, "mia"); err != nil {
		d.t.Fatal(err)
	}
}

// What falls due is owed, waived or over as the subscription stood at that
// moment, not as it stands when somebody plans.
func TestSubscription_aPauseWaivesItsOwnCyclesOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	d.setClock("2027-02-10T00:00:00Z")
	paused, err := d.db.PauseSubscription(t.Context(), sub, by("broken leg"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 held subscription_paused"}, d.charges(sub)); diff != "" {
		t.Errorf("paused: charges (-want +got):\n%s", diff)
	}
	if paused.State != billing.SubscriptionPaused || len(paused.Charges) != 1 || paused.Charges[0].Answer != billing.StopDone {
		t.Errorf("pause answered %+v, want paused and the one charge done", paused)
	}

	d.setClock("2027-04-15T00:00:00Z")
	resumed, err := d.db.ResumeSubscription(t.Context(), sub, by("healed"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1 due released", "2 waived subscription_paused", "3 waived subscription_paused"}
	if diff := cmp.Diff(want, d.charges(sub)); diff != "" {
		t.Errorf("resumed: charges (-want +got):\n%s", diff)
	}
	if resumed.Waived != 2 || resumed.State != billing.SubscriptionActive {
		t.Errorf("resume answered %+v, want active and 2 waived", resumed)
	}
	listing, err := d.db.FindSubscription(t.Context(), "gym", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := listing.NextChargeAt.Format(time.RFC3339), "2027-04-30T07:00:00Z"; listing.NextCycle != 4 || got != want {
		t.Errorf("next is cycle %d at %s, want 4 at %s", listing.NextCycle, got, want)
	}
}

func TestSubscription_aCancelEndsEverythingOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	unknown := d.claim(d.chargeOf(sub))
	d.settle(unknown, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	d.setClock("2027-03-10T00:00:00Z") // cycle 2 fell due, and nobody has planned
	change, err := d.db.CancelSubscription(t.Context(), sub, by("moved away"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1 unknown answer_missing", "2 cancelled subscription_cancelled"}
	if diff := cmp.Diff(want, d.charges(sub)); diff != "" {
		t.Errorf("charges (-want +got):\n%s", diff)
	}
	if change.Charges[0].Answer != billing.StopTooLate || change.Charges[1].Answer != billing.StopDone {
		t.Errorf("answers %+v, want too late for the first, done for the second", change.Charges)
	}
	if !get[bool](d, `SELECT stop_request = 'cancel' AND stop_reason = 'subscription_cancelled' FROM charges WHERE id = $1`, unknown.ID) {
		t.Error("the unknown charge may still be sent again")
	}
	if !get[bool](d, `SELECT next_charge_at IS NULL FROM subscriptions WHERE id = $1`, sub) {
		t.Error("a cancelled subscription has a next charge")
	}
	if _, err := d.db.ResumeSubscription(t.Context(), sub, by("came back")); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("resume after cancel: error %v, want billing.ErrConflict", err)
	}
}

func TestSubscription_aResumeRespectsWhatElseHolds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2126-01-31T09:00")
	dead, person := d.chargeOf(sub), d.chargeOf(sub)
	d.must(hold, person)
	if _, err := d.db.PauseSubscription(t.Context(), sub, by("broken leg")); err != nil {
		t.Fatal(err)
	}
	d.exec(`UPDATE tokens SET state = 'invalid', cause = 'revoked'`)
	if _, err := d.db.ResumeSubscription(t.Context(), sub, by("healed")); err != nil {
		t.Fatal(err)
	}
	if got, want := d.stands(dead), "held token_invalid"; got != want {
		t.Errorf("charge of a dead token is %q, want %q", got, want)
	}
	if got, want := d.stands(person), "held held_by_person"; got != want {
		t.Errorf("charge that a person held is %q, want %q", got, want)
	}
}

func TestSubscription_aZoneNobodyKnows(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	d.exec(`UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = $1`, sub)
	d.setClock("2027-02-10T00:00:00Z")
	if _, err := d.db.PauseSubscription(t.Context(), sub, by("broken leg")); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("pause: error %v, want billing.ErrInvalid", err)
	}
	if _, err := d.db.CancelSubscription(t.Context(), sub, by("moved away")); err != nil {
		t.Errorf("cancel: %v", err)
	}
	for listing, err := range d.db.FindSubscriptions(t.Context(), billing.SubscriptionFilter{State: billing.SubscriptionCancelled}) {
		if err != nil || listing.Timezone != "Mars/Olympus" {
			t.Errorf("listed with zone %q, error %v", listing.Timezone, err)
		}
	}
}

// A parked subscription was never paused by anybody: what fell due meanwhile is
// owed.
func TestSubscription_aResumeOfAParkedOneOwesItsCycles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	d.exec(`UPDATE subscriptions SET state = 'paused', reason = 'calendar_invalid', next_charge_at = NULL WHERE id = $1`, sub)
	d.setClock("2027-03-10T00:00:00Z")
	if _, err := d.db.ResumeSubscription(t.Context(), sub, by("zone installed")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 due", "2 due"}, d.charges(sub)); diff != "" {
		t.Errorf("charges (-want +got):\n%s", diff)
	}
}

func TestFindSubscription(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscription("gym", "2027-01-31T09:00")
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoUS', gateway, environment, settings_id, max_in_flight FROM merchant_accounts`)
	d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoUS', 'TOKEN-US', 'shopper-us')`)
	d.exec(`
		INSERT INTO subscriptions (token_id, amount_minor, currency, anchor, next_charge_at, first_cycle, next_cycle,
		                           interval_unit, interval_count, decided_by, timezone, merchant_account, reference)
		SELECT t.id, s.amount_minor, s.currency, s.anchor, s.next_charge_at, s.first_cycle, s.next_cycle,
		       s.interval_unit, s.interval_count, s.decided_by, s.timezone, t.merchant_account, 'other'
		  FROM subscriptions s, tokens t WHERE t.merchant_account = 'DemoUS'`)
	tests := []struct {
		name, reference, account string
		want                     error
	}{
		{"by reference", "gym", "", nil},
		{"by reference and account", "gym", "DemoEU", nil},
		{"at another account", "gym", "DemoUS", billing.ErrNotFound},
		{"unknown", "club", "", billing.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := d.db.FindSubscription(t.Context(), tt.reference, tt.account); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	d.exec(`UPDATE subscriptions SET reference = 'gym' WHERE reference = 'other'`)
	if _, err := d.db.FindSubscription(t.Context(), "gym", ""); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("ambiguous: error %v, want billing.ErrInvalid", err)
	}
}

// Whatever people and processes do, and in whatever order: each charge moves
// along legal ways only, what was acknowledged as cancelled stays so, and every
// refusal is a conflict. The database's own constraints watch, too.
func TestDecisions_inAnyOrder(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	rapid.Check(t, func(r *rapid.T) {
		sub := d.subscription(fmt.Sprintf("sub-%d", d.number()), "2126-01-31T09:00")
		ids := []billing.ChargeID{d.chargeOf(sub), d.chargeOf(sub)}
		claimed := map[billing.ChargeID]billing.ClaimedCharge{}
		final := map[billing.ChargeID]bool{}
		before := d.states(ids)
		for range rapid.IntRange(1, 15).Draw(r, "steps") {
			step := rapid.SampledFrom([]string{"hold", "release", "cancel", "close", "claim", "claim", "give back", "pay", "refuse", "decline", "lose",
				"pause", "resume", "end"}).Draw(r, "step")
			id := rapid.SampledFrom(ids).Draw(r, "charge")
			d.step(r, step, sub, id, claimed)
			after := d.states(ids)
			for _, id := range ids {
				if !reachable(before[id], after[id]) {
					r.Fatalf("%s took charge %d from %s to %s", step, id, before[id], after[id])
				}
				if final[id] && after[id] != billing.ChargeCancelled {
					r.Fatalf("%s revived charge %d: it is %s", step, id, after[id])
				}
				final[id] = after[id] == billing.ChargeCancelled
				if after[id] != billing.ChargeClaimed {
					delete(claimed, id)
				}
			}
			before = after
		}
	})
}

func (d *desk) states(ids []billing.ChargeID) map[billing.ChargeID]billing.ChargeState {
	states := map[billing.ChargeID]billing.ChargeState{}
	for _, id := range ids {
		states[id] = billing.ChargeState(get[string](d, `SELECT state FROM charges WHERE id = $1`, id))
	}
	return states
}

// reachable reports whether a charge may go from one state to the other at once,
// or by way of the state that a wish then changes: given back, and so cancelled.
func reachable(from, to billing.ChargeState) bool {
	if from == to || from.CanMove(to) {
		return true
	}
	return slices.ContainsFunc(from.Moves(), func(through billing.ChargeState) bool {
		return (through == billing.ChargeDue || through == billing.ChargeHeld) && through.CanMove(to)
	}) && from.HasOpenAttempt()
}

// step does one thing that somebody may do at any moment.
func (d *desk) step(r *rapid.T, step string, sub billing.SubscriptionID, id billing.ChargeID, claimed map[billing.ChargeID]billing.ClaimedCharge) {
	ctx := context.Background()
	decisions := map[string]decision{"hold": hold, "release": release, "cancel": cancel, "close": closing}
	subscription := map[string]func(*postgres.DB, context.Context, billing.SubscriptionID, billing.Decision) (postgres.SubscriptionChange, error){
		"pause": (*postgres.DB).PauseSubscription, "resume": (*postgres.DB).ResumeSubscription, "end": (*postgres.DB).CancelSubscription,
	}
	var err error
	switch c, holds := claimed[id]; {
	case decisions[step] != nil:
		_, err = decisions[step](d.db, ctx, id, by("property"))
	case subscription[step] != nil:
		_, err = subscription[step](d.db, ctx, sub, by("property"))
	case step == "claim":
		result, claimErr := d.db.ClaimDue(ctx, d.claimRequest(d.run(id)))
		for _, c := range result.Charges {
			claimed[c.ID] = c
		}
		err = claimErr
	case !holds:
	case step == "give back":
		err = d.db.GiveBack(ctx, []billing.ClaimedCharge{c}, nil)
	case step == "pay":
		d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, billing.ReasonNone)
	case step == "refuse":
		d.settle(c, billing.OutcomeRefused, billing.ChargeUnpaid, billing.ReasonRefusedHard)
	case step == "decline":
		d.settle(c, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	case step == "lose":
		d.settle(c, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	}
	if err != nil && !errors.Is(err, billing.ErrConflict) {
		r.Fatalf("%s: %v", step, err)
	}
}
