package tokens_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/contauth/contauth/tokens"
)

func TestState_Chargeable(t *testing.T) {
	want := map[tokens.State]bool{
		tokens.Unverified: true,
		tokens.Valid:      true,
		tokens.Invalid:    false,
		tokens.Disabled:   false,
		"":                false,
	}
	for state, chargeable := range want {
		if got := state.Chargeable(); got != chargeable {
			t.Errorf("%q: Chargeable = %t, want %t", state, got, chargeable)
		}
	}
}

func TestState_UnmarshalText(t *testing.T) {
	for _, word := range []string{"unverified", "valid", "invalid", "disabled"} {
		var state tokens.State
		if err := state.UnmarshalText([]byte(word)); err != nil || string(state) != word {
			t.Errorf("%q: got %q, %v", word, state, err)
		}
	}
	for _, word := range []string{"", "Valid", "expired"} {
		state := tokens.Disabled
		if err := state.UnmarshalText([]byte(word)); !errors.Is(err, tokens.ErrInvalid) || state != tokens.Disabled {
			t.Errorf("%q: got %q, %v; want ErrInvalid and no change", word, state, err)
		}
	}
}

func TestToken_printsNeitherReference(t *testing.T) {
	token := tokens.Token{ID: 7, Reference: "8415-gateway-name", ShopperReference: "shopper-314"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{token, &token, []tokens.Token{token}} {
			got := fmt.Sprintf(verb, value)
			if strings.Contains(got, "8415") || strings.Contains(got, "314") || !strings.Contains(got, "token 7") {
				t.Errorf("%s of %T prints %q", verb, value, got)
			}
		}
	}
}

func TestToken_MaskedReference(t *testing.T) {
	tests := []struct{ name, reference, want string }{
		{"long enough", "8415718415718415", "…8415"},
		{"too short to hide anything", "84157184157", "…"},
		{"none", "", "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (tokens.Token{Reference: tt.reference}).MaskedReference(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestValidateReference(t *testing.T) {
	tests := []struct {
		name, reference string
		valid           bool
	}{
		{"an Adyen id", "M5N7TQ4TG5PFWR50", true},
		{"all kinds of characters", "Az09._-", true},
		{"64 characters", strings.Repeat("a", 64), true},
		{"65 characters", strings.Repeat("a", 65), false},
		{"empty", "", false},
		{"a slash", "a/b", false},
		{"a space", "a b", false},
		{"a letter beyond ASCII", "ñ", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tokens.ValidateReference(tt.reference), tt.valid) })
	}
}

func TestValidateShopperReference(t *testing.T) {
	tests := []struct {
		name, reference string
		valid           bool
	}{
		{"three characters", "abc", true},
		{"256 characters", strings.Repeat("a", 256), true},
		{"punctuation", "shop:12/34~x", true},
		{"two characters", "ab", false},
		{"257 characters", strings.Repeat("a", 257), false},
		{"an e-mail address", "a@b.example", false},
		{"a space", "a b c", false},
		{"a tab", "a\tb", false},
		{"a control character", "ab\x7f", false},
		{"a letter beyond ASCII", "äbc", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tokens.ValidateShopperReference(tt.reference), tt.valid) })
	}
}

func check(t *testing.T, err error, valid bool) {
	t.Helper()
	if valid != (err == nil) || err != nil && !errors.Is(err, tokens.ErrInvalid) {
		t.Errorf("got %v, want valid %t", err, valid)
	}
}
