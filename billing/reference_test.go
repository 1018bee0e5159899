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
