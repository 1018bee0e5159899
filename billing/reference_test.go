package billing_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
)

func TestValidateReference(t *testing.T) {
	tests := []struct {
		name      string
		reference string
		valid     bool
	}{
		{"one character", "a", true},
		{"a UUID", "0190163d-8694-739b-aea5-966c26f8ad91", true},
		{"all kinds of characters", "Az09._/-", true},
		{"empty", "", false},
		{"37 characters", strings.Repeat("a", 37), false},
		{"a tilde is ours", "sub~1", false},
		{"a colon", "sub:1", false},
		{"a space", "sub 1", false},
		{"a letter beyond ASCII", "séb", false},
		{"not UTF-8", "\xff", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := billing.ValidateReference(tt.reference)
			if tt.valid != (err == nil) || err != nil && !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("got %v, want valid %t", err, tt.valid)
			}
		})
	}
}

func TestValidateReference_repeatsNothing(t *testing.T) {
	const text = "4111 1111 1111 1111"
	if err := billing.ValidateReference(text); err == nil || strings.Contains(err.Error(), "4111") {
		t.Errorf("got %v, want an error that keeps the text to itself", err)
	}
}

func TestSplitAttemptReference(t *testing.T) {
	tests := []struct {
		name, reference string
		charge          string
		attempt         int
		ok              bool
	}{
		{"of a request", billing.AttemptReference("req-1", 1), "req-1", 1, true},
		{"of a cycle's charge", billing.AttemptReference(billing.CycleReference("sub-1", 12), 3), "sub-1~12", 3, true},
		{"a cycle's charge reads as an attempt", "sub-1~12", "sub-1", 12, true},
		{"no number of ours", "sub-1", "", 0, false},
		{"no digits", "sub-1~", "", 0, false},
		{"no number", "sub-1~2027-01", "", 0, false},
		{"attempts count from 1", "sub-1~0", "", 0, false},
		{"more than an integer of the database", "sub-1~2147483648", "", 0, false},
		{"empty", "", "", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			charge, attempt, ok := billing.SplitAttemptReference(tt.reference)
			if charge != tt.charge || attempt != tt.attempt || ok != tt.ok {
				t.Errorf("SplitAttemptReference(%q) = %q, %d, %t; want %q, %d, %t", tt.reference, charge, attempt, ok, tt.charge, tt.attempt, tt.ok)
			}
		})
	}
}

func FuzzSplitAttemptReference(f *testing.F) {
	f.Add("sub-1~12~3")
	f.Add("~")
	f.Add("req~00000000001")
	f.Add("req~+1")
	f.Fuzz(func(t *testing.T, reference string) {
		charge, attempt, ok := billing.SplitAttemptReference(reference)
		if !ok {
			return
		}
		again, number, ok := billing.SplitAttemptReference(billing.AttemptReference(charge, attempt))
		if again != charge || number != attempt || !ok || attempt < 1 {
			t.Errorf("%q is attempt %d of %q, and that is attempt %d of %q", reference, attempt, charge, number, again)
		}
	})
}
