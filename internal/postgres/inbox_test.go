package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

// reference is how a charge's attempt is named at the gateway.
func (d *desk) reference(id billing.ChargeID, attempt int) string {
	d.t.Helper()
	return fmt.Sprintf("%s~%d", get[string](d, `SELECT reference FROM charges WHERE id = $1`, id), attempt)
}

// event is one about an attempt of a charge of 12.34 EUR.
func (d *desk) event(kind billing.EventKind, id billing.ChargeID, attempt int, gatewayReference string, minor int64) billing.Event {
	d.t.Helper()
	return billing.Event{
		Kind: kind, Code: string(kind), MerchantAccount: "DemoEU", Reference: d.reference(id, attempt), GatewayReference: gatewayReference,
		Amount: billing.Money{Minor: minor, Currency: "EUR"}, Signed: true, Document: []byte(`{"class":"soft"}`),
	}
}

// deliver stores events, each in a delivery of its own.
func (d *desk) deliver(events ...billing.Event) {
	d.t.Helper()
	for _, e := range events {
		if err := d.db.StoreEvents(context.Background(), "adyen", []billing.Event{e}); err != nil {
			d.t.Fatal(err)
		}
	}
}

// apply applies what is there until nothing changes any more. Waits are cut short.
func (d *desk) apply() {
	d.t.Helper()
	for {
		d.exec(`UPDATE inbox SET next_try_at = now() - interval '1 second' WHERE next_try_at IS NOT NULL AND state = 'stored'`)
		n, err := d.db.ApplyEvents(context.Background(), 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// applyWaiting looks once more at what waits for an open attempt.
func (d *desk) applyWaiting() {
	d.t.Helper()
	d.exec(`UPDATE inbox SET state = 'stored' WHERE state = 'waiting'`)
	d.apply()
}

// unknownCharge is one whose first attempt was refused and whose second has no answer.
func (d *desk) unknownCharge() billing.ChargeID {
	d.t.Helper()
	id := d.charge()
	d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	d.settle(d.claim(id), billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	d.exec(`UPDATE charges SET resolve_at = NULL, reason = 'needs_person' WHERE id = $1`, id) // no replay is coming
	return id
}

func TestApplyEvents(t *testing.T) {
	t.Parallel()
	type inbox struct{ state, verdict string }
	tests := []struct {
		name   string
		charge func(d *desk) billing.ChargeID
		events func(d *desk, id billing.ChargeID) []billing.Event
		stands string
		inbox  []inbox // of the events, in the order of their numbers
		alerts string
	}{
		{
			name: "an approval settles an unknown attempt", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 2, "PAY2", 1234)}
			},
			stands: "paid", inbox: []inbox{{"applied", "settles"}},
		},
		{
			name: "a refusal settles one that nobody sends again", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventRefused, id, 2, "PAY2", 1234)}
			},
			stands: "due refused_soft", inbox: []inbox{{"applied", "settles"}},
		},
		{
			name: "a refusal waits where the same request is sent again",
			charge: func(d *desk) billing.ChargeID {
				id := d.unknownCharge()
				d.exec(`UPDATE charges SET resolve_at = now() + interval '1 hour', reason = 'answer_missing' WHERE id = $1`, id)
				return id
			},
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventRefused, id, 2, "PAY2", 1234)}
			},
			stands: "unknown answer_missing", inbox: []inbox{{"waiting", "waits"}},
		},
		{
			name: "a late approval of a refused attempt closes a charge that waits for its retry",
			charge: func(d *desk) billing.ChargeID {
				id := d.charge()
				d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
				return id
			},
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 1, "PAY1", 1234)}
			},
			stands: "paid late_approval", inbox: []inbox{{"applied", "pays"}}, alerts: "late_approval",
		},
		{
			name: "an answer that came too late for its attempt is carried out by its webhook",
			charge: func(d *desk) billing.ChargeID {
				id := d.charge()
				claimed := d.claim(id)
				d.settle(claimed, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
				d.settle(claimed, billing.OutcomeAuthorised, billing.ChargePaid, "")
				return id
			},
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 1, "PAY1", 1234)}
			},
			stands: "paid late_approval", inbox: []inbox{{"applied", "pays"}}, alerts: "contradiction late_approval",
		},
		{
			name: "a late approval stops the attempt that is open, and waits for it", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 1, "PAY1", 1234)}
			},
			stands: "unknown needs_person", inbox: []inbox{{"waiting", "stops"}}, alerts: "late_approval",
		},
		{
			name: "two approvals of one charge are told", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 2, "PAY2", 1234), d.event(billing.EventAuthorised, id, 1, "PAY1", 1234)}
			},
			stands: "paid", inbox: []inbox{{"applied", "settles"}, {"applied", "alerts"}}, alerts: "paid_twice",
		},
		{
			name: "another amount fits nothing", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 2, "PAY2", 1235)}
			},
			stands: "unknown needs_person", inbox: []inbox{{"quarantined", ""}}, alerts: "contradiction",
		},
		{
			name: "an attempt that was never made fits nothing", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				return []billing.Event{d.event(billing.EventAuthorised, id, 3, "PAY3", 1234)}
			},
			stands: "unknown needs_person", inbox: []inbox{{"quarantined", ""}}, alerts: "contradiction",
		},
		{
			name: "a refund before its payment waits in quarantine and is recalled", charge: (*desk).unknownCharge,
			events: func(d *desk, id billing.ChargeID) []billing.Event {
				refund := d.event(billing.EventRefunded, id, 2, "REF1", 500)
				refund.Reference, refund.OriginalReference = "ours-alone", "PAY2"
				return []billing.Event{refund, d.event(billing.EventAuthorised, id, 2, "PAY2", 1234)}
			},
			stands: "paid", inbox: []inbox{{"applied", "reverses"}, {"applied", "settles"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := tt.charge(d)
			for _, e := range tt.events(d, id) {
				d.deliver(e)
				d.apply()
			}
			if got := d.stands(id); got != tt.stands {
				t.Errorf("the charge is %s, want %s", got, tt.stands)
			}
			var got []inbox
			rows, err := d.sql.Query(`SELECT state, verdict FROM inbox ORDER BY id`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var i inbox
				if err := rows.Scan(&i.state, &i.verdict); err != nil {
					t.Fatal(err)
				}
				got = append(got, i)
			}
			if !slices.Equal(got, tt.inbox) {
				t.Errorf("inbox %v, want %v", got, tt.inbox)
			}
			if got := get[string](d, `SELECT coalesce(string_agg(DISTINCT kind, ' '), '') FROM alerts`); got != tt.alerts {
				t.Errorf("alerts %q, want %q", got, tt.alerts)
			}
			d.requireEventsSound()
		})
	}
}

// requireEventsSound checks the invariants that need no ledger. Two approvals of one
// charge, of which an alert tells, break I5 as they should.
func (d *desk) requireEventsSound() {
	d.t.Helper()
	twice := get[bool](d, `SELECT EXISTS (SELECT FROM alerts WHERE kind = 'paid_twice')`)
	results, err := d.db.Check(context.Background(), postgres.CheckRequest{Lease: time.Hour, HoldsCardData: func(string) bool { return false }})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range results {
		if r.Checked && !r.OK() && (r.ID != "I5" || !twice) {
			d.t.Errorf("%s: %s: %v", r.ID, r.Meaning, r.Sample)
		}
	}
}

// A late approval is not forgotten while an attempt is open: when that is
// refused, the charge is paid by the earlier one.
func TestApplyEvents_LateApprovalAfterTheOpenAttempt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.unknownCharge()
	d.deliver(d.event(billing.EventAuthorised, id, 1, "PAY1", 1234))
	d.apply()
	if got := get[string](d, `SELECT coalesce(stop_request, '') FROM charges WHERE id = $1`, id); got != "hold" {
		t.Errorf("the open attempt is not stopped: %q", got)
	}
	d.deliver(d.event(billing.EventRefused, id, 2, "PAY2", 1234))
	d.apply()
	d.applyWaiting()
	if got := d.stands(id); got != "paid late_approval" {
		t.Errorf("the charge is %s", got)
	}
	d.requireEventsSound()
}

// A dispute stops the subscription and holds what is due of it; an issuer's
// notice of fraud stops the card.
func TestApplyEvents_DisputesStopTheSubscription(t *testing.T) {
	t.Parallel()
	for _, kind := range []billing.EventKind{billing.EventDisputeOpened, billing.EventChargeback, billing.EventFraudNotice} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			sub := d.subscription("gym", "2027-01-31T09:00")
			paid := d.chargeOf(sub)
			d.settle(d.claim(paid), billing.OutcomeAuthorised, billing.ChargePaid, "")
			minor := get[int64](d, `SELECT amount_minor FROM charges WHERE id = $1`, paid)
			currency := get[string](d, `SELECT currency FROM charges WHERE id = $1`, paid)
			other := d.charge() // of the same card
			d.exec(`UPDATE charges SET token_id = (SELECT token_id FROM charges WHERE id = $2) WHERE id = $1`, other, paid)
			e := d.event(kind, paid, 1, "DIS1", minor)
			e.Amount.Currency = currency
			d.deliver(e)
			d.apply()
			if got := get[string](d, `SELECT state || ' ' || reason FROM subscriptions WHERE id = $1`, sub); got != "paused disputed" {
				t.Errorf("the subscription is %s", got)
			}
			wantOther, wantToken := "due", "unverified"
			if kind == billing.EventFraudNotice {
				wantOther, wantToken = "held token_invalid", "invalid"
			}
			if got := d.stands(other); got != wantOther {
				t.Errorf("another charge of the card is %s, want %s", got, wantOther)
			}
			if got := get[string](d, `SELECT t.state FROM tokens t JOIN charges c ON c.token_id = t.id WHERE c.id = $1`, paid); got != wantToken {
				t.Errorf("the token is %s, want %s", got, wantToken)
			}
			disputed := get[int64](d, `SELECT disputed_minor FROM charge_reversals WHERE charge_id = $1`, paid)
			if want := map[billing.EventKind]int64{billing.EventChargeback: minor}[kind]; disputed != want {
				t.Errorf("disputed %d, want %d", disputed, want)
			}
			if got := d.stands(paid); got != "paid" {
				t.Errorf("the charge is %s", got)
			}
		})
	}
}

func TestApplyEvents_TokenDisabled(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	token := get[string](d, `SELECT t.token FROM tokens t JOIN charges c ON c.token_id = t.id WHERE c.id = $1`, id)
	d.deliver(
		billing.Event{Kind: billing.EventTokenDisabled, Code: "recurring.token.disabled", MerchantAccount: "DemoEU", Token: token, Signed: true, Document: []byte(`{}`)},
		billing.Event{Kind: billing.EventTokenDisabled, Code: "recurring.token.disabled", MerchantAccount: "DemoEU", Token: "NOBODYS", Signed: true, Document: []byte(`{}`)},
	)
	d.apply()
	if got := d.stands(id); got != "held token_invalid" {
		t.Errorf("the charge is %s", got)
	}
	if got := get[string](d, `SELECT string_agg(state || ' ' || reason, ', ' ORDER BY id) FROM inbox`); got != "applied , waiting " {
		t.Errorf("inbox: %s", got)
	}
}

// The same event many times, in any batch, is one event.
func TestStoreEvents_OnceEach(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.unknownCharge()
	e := d.event(billing.EventAuthorised, id, 2, "PAY2", 1234)
	if err := d.db.StoreEvents(t.Context(), "adyen", []billing.Event{e, e, e}); err != nil {
		t.Fatal(err)
	}
	d.apply()
	d.deliver(e, e)
	d.apply()
	if got := get[string](d, `SELECT count(*) || ' ' || max(times_received) FROM inbox`); got != "1 3" {
		t.Errorf("events and deliveries: %s", got)
	}
	if got := get[int](d, `SELECT count(*) FROM observations WHERE charge_id = $1 AND source = 'webhook'`, id); got != 1 {
		t.Errorf("%d observations", got)
	}
}

// An event that cannot be applied lets the others pass.
func TestApplyEvents_PoisonHoldsUpNobody(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	poison, good := d.unknownCharge(), d.unknownCharge()
	d.exec(`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$`)
	d.exec(fmt.Sprintf(`CREATE TRIGGER poison BEFORE UPDATE ON charges FOR EACH ROW WHEN (OLD.id = %d) EXECUTE FUNCTION poison()`, poison))
	d.deliver(d.event(billing.EventAuthorised, poison, 2, "PAY2", 1234), d.event(billing.EventAuthorised, good, 2, "PAY3", 1234))
	if _, err := d.db.ApplyEvents(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if got := d.stands(good); got != "paid" {
		t.Errorf("the charge behind the poison is %s", got)
	}
	if got := get[string](d, `SELECT reason FROM inbox WHERE gateway_reference = 'PAY2'`); !strings.Contains(got, "poison") {
		t.Errorf("the reason is not kept: %q", got)
	}
}

// Random events about a charge, in a random order and applied at random moments,
// end as the facts demand: see the same over the pure rules in billing.
func TestApplyEvents_RandomOrders(t *testing.T) {
	t.Parallel()
	const charges = 500
	d := newDesk(t)
	type expected struct {
		id                 billing.ChargeID
		paid               bool
		refunded, disputed int64
		waits              bool
		name               string
	}
	var all []billing.Event
	var want []expected
	for n := range charges {
		id := d.unknownCharge()
		p := func(name string) string { return fmt.Sprintf("%s-%d", name, n) }
		pool := []billing.Event{
			d.event(billing.EventAuthorised, id, 1, p("PAY1"), 1234), d.event(billing.EventRefused, id, 1, p("PAY1"), 1234),
			d.event(billing.EventAuthorised, id, 2, p("PAY2"), 1234), d.event(billing.EventRefused, id, 2, p("PAY2"), 1234),
			d.event(billing.EventCaptured, id, 2, p("CAP1"), 1234),
			d.event(billing.EventRefunded, id, 2, p("REF1"), 500), d.event(billing.EventRefundFailed, id, 2, p("REF1"), 500),
			d.event(billing.EventRefunded, id, 2, p("REF2"), 300),
			d.event(billing.EventChargeback, id, 2, p("DIS1"), 1234), d.event(billing.EventChargebackReversed, id, 2, p("DIS1"), 1234),
			d.event(billing.EventChargebackFinal, id, 2, p("DIS1"), 1234),
		}
		rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		chosen := pool[:1+rand.IntN(5)]
		has := func(kind billing.EventKind, attempt int) bool {
			return slices.ContainsFunc(chosen, func(e billing.Event) bool { return e.Kind == kind && e.Reference == d.reference(id, attempt) })
		}
		r := billing.Reverse(chosen, billing.Money{Minor: 1234, Currency: "EUR"})
		first, second := has(billing.EventAuthorised, 1), has(billing.EventAuthorised, 2)
		var words []string
		for _, e := range chosen {
			words = append(words, e.Reference+" "+string(e.Kind))
		}
		want = append(want, expected{id, second || first && has(billing.EventRefused, 2), r.RefundedMinor, r.DisputedMinor,
			first && !second && !has(billing.EventRefused, 2), strings.Join(words, ", ")})
		all = append(all, chosen...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		n := min(len(all), 1+rand.IntN(20))
		if err := d.db.StoreEvents(t.Context(), "adyen", all[:n]); err != nil {
			t.Fatal(err)
		}
		all = all[n:]
		if rand.IntN(3) == 0 {
			if _, err := d.db.ApplyEvents(t.Context(), rand.IntN(50)+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.apply()
	d.applyWaiting()
	for _, w := range want {
		state := get[string](d, `SELECT state FROM charges WHERE id = $1`, w.id)
		if got := state == "paid"; got != w.paid {
			t.Errorf("charge %d is %s after %s", w.id, d.stands(w.id), w.name)
		}
		got := get[string](d, `SELECT coalesce(max(refunded_minor), 0) || ' ' || coalesce(max(disputed_minor), 0) FROM charge_reversals WHERE charge_id = $1`, w.id)
		if want := fmt.Sprint(w.refunded, " ", w.disputed); got != want {
			t.Errorf("charge %d: refunded and disputed %s, want %s, after %s", w.id, got, want, w.name)
		}
		waiting := get[int](d, `SELECT count(*) FROM inbox WHERE charge_id = $1 AND state = 'waiting'`, w.id)
		if (waiting > 0) != w.waits {
			t.Errorf("charge %d: %d events wait after %s", w.id, waiting, w.name)
		}
	}
	d.requireEventsSound()
}
