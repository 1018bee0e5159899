package billing_test

import (
	"testing"

	"github.com/contauth/contauth/billing"
)

func TestChargeState_CanMove(t *testing.T) {
	tests := []struct {
		name     string
		from, to billing.ChargeState
		want     bool
	}{
		{"a soft decline waits again", billing.ChargeClaimed, billing.ChargeDue, true},
		{"an answer may never come", billing.ChargeClaimed, billing.ChargeUnknown, true},
		{"nobody claims an unknown charge", billing.ChargeUnknown, billing.ChargeClaimed, false},
		{"nobody claims a held charge", billing.ChargeHeld, billing.ChargeClaimed, false},
		{"nobody cancels what may be at the gateway", billing.ChargeUnknown, billing.ChargeCancelled, false},
		{"a person releases", billing.ChargeHeld, billing.ChargeDue, true},
		{"a late answer pays an unpaid charge", billing.ChargeUnpaid, billing.ChargePaid, true},
		{"a new card opens an unpaid charge", billing.ChargeUnpaid, billing.ChargeDue, true},
		{"an unknown charge is never failed by age", billing.ChargeUnknown, billing.ChargeWaived, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.from.CanMove(tt.to); got != tt.want {
				t.Errorf("%s → %s: CanMove = %t, want %t", tt.from, tt.to, got, tt.want)
			}
		})
	}
}

func TestChargeState_PaidNeverLeaves(t *testing.T) {
	for _, next := range billing.ChargeStates() {
		if billing.ChargePaid.CanMove(next) {
			t.Errorf("paid → %s is allowed", next)
		}
	}
}

// Every state that is not final leads somewhere, and every state but the first
// is led to: else a charge could be stuck, or a state be of no use.
func TestChargeState_EveryStateIsReached(t *testing.T) {
	reached := map[billing.ChargeState]bool{billing.ChargeDue: true}
	for _, s := range billing.ChargeStates() {
		for _, next := range s.Moves() {
			reached[next] = true
		}
		if !s.IsFinished() && len(s.Moves()) == 0 {
			t.Errorf("nothing leads out of %s", s)
		}
	}
	for _, s := range billing.ChargeStates() {
		if !reached[s] {
			t.Errorf("nothing leads to %s", s)
		}
	}
}
