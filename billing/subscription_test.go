package billing_test

import (
	"errors"
	"testing"

	"github.com/contauth/contauth/billing"
)

func TestSubscriptionState_CanMove(t *testing.T) {
	tests := []struct {
		name     string
		from, to billing.SubscriptionState
		want     bool
	}{
		{"a person pauses it", billing.SubscriptionActive, billing.SubscriptionPaused, true},
		{"a person resumes it", billing.SubscriptionPaused, billing.SubscriptionActive, true},
		{"a charge stays unpaid", billing.SubscriptionActive, billing.SubscriptionPastDue, true},
		{"the charge is paid after all", billing.SubscriptionPastDue, billing.SubscriptionActive, true},
		{"the last cycle has become a charge", billing.SubscriptionActive, billing.SubscriptionCompleted, true},
		{"its end is moved further away", billing.SubscriptionCompleted, billing.SubscriptionActive, true},
		{"cancelled is for good", billing.SubscriptionCancelled, billing.SubscriptionActive, false},
		{"nothing is left to cancel", billing.SubscriptionCompleted, billing.SubscriptionCancelled, false},
		{"staying is no move", billing.SubscriptionActive, billing.SubscriptionActive, false},
		{"an unknown state goes nowhere", "asleep", billing.SubscriptionActive, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.from.CanMove(tt.to); got != tt.want {
				t.Errorf("%s → %s: CanMove = %t, want %t", tt.from, tt.to, got, tt.want)
			}
		})
	}
}

func TestSubscriptionState_UnmarshalText(t *testing.T) {
	for _, word := range []string{"active", "paused", "past_due", "cancelled", "completed"} {
		var state billing.SubscriptionState
		if err := state.UnmarshalText([]byte(word)); err != nil || string(state) != word {
			t.Errorf("%q: got %q, %v", word, state, err)
		}
	}
	for _, word := range []string{"", "Active", "canceled", "active "} {
		state := billing.SubscriptionPaused
		if err := state.UnmarshalText([]byte(word)); !errors.Is(err, billing.ErrInvalid) || state != billing.SubscriptionPaused {
			t.Errorf("%q: got %q, %v; want ErrInvalid and no change", word, state, err)
		}
	}
}
