package billing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
)

func TestEvent_Attempt(t *testing.T) {
	tests := []struct {
		reference string
		charge    string
		attempt   int
		ok        bool
	}{
		{"req-7~1", "req-7", 1, true},
		{"sub-1~12~3", "sub-1~12", 3, true},
		{"req-7", "", 0, false},
		{"~1", "", 0, false},
		{"req-7~0", "", 0, false},
		{"req-7~01", "", 0, false},
		{"req-7~-1", "", 0, false},
		{"req-7~one", "", 0, false},
		{"", "", 0, false},
	}
	for _, tt := range tests {
		charge, attempt, ok := billing.Event{Reference: tt.reference}.Attempt()
		if charge != tt.charge || attempt != tt.attempt || ok != tt.ok {
			t.Errorf("%q: %q, %d, %t", tt.reference, charge, attempt, ok)
		}
	}
}

// eventBook is a charge and what arrives about it, over the pure rules alone.
// API answers and events go the same way, since both are news about an attempt.
type eventBook struct {
	standing billing.Standing
	waiting  []billing.Event
	taken    []billing.Event
	alerts   map[string]bool
}

const bookAmount = 1999

func newEventBook(sent int) *eventBook {
	s := billing.Standing{State: billing.ChargeUnknown, Amount: billing.Money{Minor: bookAmount, Currency: "EUR"}}
	s.Answered = sent - 1
	return &eventBook{standing: s, alerts: map[string]bool{}}
}

func (b *eventBook) arrive(e billing.Event) {
	b.waiting = append(b.waiting, e)
	for changed := true; changed; {
		changed = false
		for _, e := range slices.Clone(b.waiting) {
			if b.apply(e) {
				b.waiting = slices.DeleteFunc(b.waiting, func(o billing.Event) bool { return o.GatewayReference+o.Code == e.GatewayReference+e.Code })
				changed = true
			}
		}
	}
}

// apply reports whether the event is done with.
func (b *eventBook) apply(e billing.Event) bool {
	_, attempt, _ := e.Attempt()
	s := &b.standing
	switch verdict := e.Judge(attempt, *s); verdict {
	case billing.VerdictWaits, billing.VerdictStops:
		return false
	case billing.VerdictSettles:
		s.Answered = attempt
		if e.Kind == billing.EventAuthorised {
			s.State, s.Authorised = billing.ChargePaid, append(s.Authorised, attempt)
		} else {
			s.State = billing.ChargeDue
		}
	case billing.VerdictPays:
		if !s.State.CanMove(billing.ChargePaid) {
			panic(fmt.Sprintf("paid out of %s", s.State))
		}
		s.State, s.Authorised = billing.ChargePaid, append(s.Authorised, attempt)
	case billing.VerdictAlerts, billing.VerdictMismatch:
		b.alerts[fmt.Sprintf("%s %s %d", verdict, e.Kind, attempt)] = true
		if e.Kind == billing.EventAuthorised && verdict == billing.VerdictAlerts {
			s.Authorised = append(s.Authorised, attempt)
		}
	}
	b.taken = append(b.taken, e)
	return true
}

// permute calls do with every order of the events.
func permute(events []billing.Event, do func([]billing.Event)) {
	var walk func(n int)
	walk = func(n int) {
		if n == len(events) {
			do(events)
			return
		}
		for i := n; i < len(events); i++ {
			events[n], events[i] = events[i], events[n]
			walk(n + 1)
			events[n], events[i] = events[i], events[n]
		}
	}
	walk(0)
}

// Every choice of up to five events about one charge ends the same in every
// order, and as the facts demand: money that moved is on record, whatever was
// heard first.
func TestEvent_EveryOrderOfFiveEndsTheSame(t *testing.T) {
	event := func(kind billing.EventKind, attempt int, reference string, minor int64) billing.Event {
		return billing.Event{Kind: kind, Code: string(kind), Reference: fmt.Sprintf("req-1~%d", attempt), GatewayReference: reference,
			Amount: billing.Money{Minor: minor, Currency: "EUR"}}
	}
	all := []billing.Event{
		event(billing.EventAuthorised, 1, "PAY1", bookAmount),
		event(billing.EventRefused, 1, "PAY1", bookAmount),
		event(billing.EventAuthorised, 2, "PAY2", bookAmount),
		event(billing.EventRefused, 2, "PAY2", bookAmount),
		event(billing.EventCaptured, 2, "CAP1", bookAmount),
		event(billing.EventCaptureFailed, 2, "CAP1", bookAmount),
		event(billing.EventRefunded, 2, "REF1", 500),
		event(billing.EventRefundFailed, 2, "REF1", 500),
		event(billing.EventRefunded, 2, "REF2", 300),
		event(billing.EventChargeback, 2, "DIS1", bookAmount),
		event(billing.EventChargebackReversed, 2, "DIS1", bookAmount),
		event(billing.EventChargebackFinal, 2, "DIS1", bookAmount),
		event(billing.EventCancelled, 2, "CAN1", bookAmount),
	}
	sets, orders := 0, 0
	for mask := range 1 << len(all) {
		var chosen []billing.Event
		for i, e := range all {
			if mask&(1<<i) != 0 {
				chosen = append(chosen, e)
			}
		}
		if len(chosen) == 0 || len(chosen) > 5 {
			continue
		}
		sets++
		has := func(kind billing.EventKind, attempt int) bool {
			return slices.ContainsFunc(chosen, func(e billing.Event) bool {
				_, n, _ := e.Attempt()
				return e.Kind == kind && n == attempt
			})
		}
		paid := has(billing.EventAuthorised, 2) || has(billing.EventAuthorised, 1) && has(billing.EventRefused, 2)
		want := billing.Reverse(chosen, billing.Money{Minor: bookAmount, Currency: "EUR"})
		permute(chosen, func(order []billing.Event) {
			orders++
			b := newEventBook(2) // attempt 1 was refused, attempt 2 is unknown
			for _, e := range order {
				b.arrive(e)
			}
			if got := b.standing.State == billing.ChargePaid; got != paid {
				t.Fatalf("%s: state %s", kinds(order), b.standing.State)
			}
			if got := billing.Reverse(b.taken, b.standing.Amount); got != want && len(b.waiting) == 0 {
				t.Fatalf("%s: %+v, want %+v", kinds(order), got, want)
			}
			if both := has(billing.EventAuthorised, 1) && has(billing.EventAuthorised, 2); both != (b.alerts["alerts authorised 1"] || b.alerts["alerts authorised 2"]) {
				t.Fatalf("%s: alerts %v", kinds(order), b.alerts)
			}
			// An approval that waits for an open attempt stops it, and is not forgotten.
			if has(billing.EventAuthorised, 1) && !paid && len(b.waiting) == 0 {
				t.Fatalf("%s: nothing waits", kinds(order))
			}
		})
	}
	t.Logf("%d sets of events in %d orders", sets, orders)
}

func kinds(events []billing.Event) string {
	var words []string
	for _, e := range events {
		words = append(words, fmt.Sprintf("%s~%s", e.Kind, e.Reference))
	}
	return strings.Join(words, ", ")
}

func TestReverse(t *testing.T) {
	event := func(kind billing.EventKind, reference string, minor int64) billing.Event {
		return billing.Event{Kind: kind, GatewayReference: reference, Amount: billing.Money{Minor: minor, Currency: "EUR"}}
	}
	tests := []struct {
		name   string
		events []billing.Event
		want   billing.Reversal
	}{
		{"nothing", nil, billing.Reversal{}},
		{"two refunds", []billing.Event{event(billing.EventRefunded, "a", 100), event(billing.EventRefunded, "b", 50)}, billing.Reversal{RefundedMinor: 150}},
		{"a refund that failed", []billing.Event{event(billing.EventRefundFailed, "a", 100), event(billing.EventRefunded, "a", 100)}, billing.Reversal{}},
		{"a dispute opened", []billing.Event{event(billing.EventDisputeOpened, "d", 1000)}, billing.Reversal{}},
		{"lost at once", []billing.Event{event(billing.EventChargeback, "d", 1000)}, billing.Reversal{DisputedMinor: 1000}},
		{"won for now", []billing.Event{event(billing.EventChargeback, "d", 1000), event(billing.EventChargebackReversed, "d", 1000)}, billing.Reversal{}},
		{"lost in the end", []billing.Event{event(billing.EventChargeback, "d", 1000), event(billing.EventChargebackReversed, "d", 1000), event(billing.EventChargebackFinal, "d", 1000)}, billing.Reversal{DisputedMinor: 1000}},
		{"cancelled", []billing.Event{event(billing.EventCancelled, "c", 0)}, billing.Reversal{RefundedMinor: 1000}},
	}
	for _, tt := range tests {
		if got := billing.Reverse(tt.events, billing.Money{Minor: 1000, Currency: "EUR"}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
