package gateway_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/internal/gateway"
)

func TestLine(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"plain words", "Not enough balance", "Not enough balance"},
		{"words with space around", "  Refused \t", "Refused"},
		{"several lines", "one\r\ntwo\nthree", "one two three"},
		{"control characters", "a\x00b\x1b[31mc\x7f", "a b [31mc"},
		{"words that run backwards", "ab\u202ecd", "ab cd"},
		{"bytes that are not UTF-8", "a\xffb", "a b"},
		{"letters of any language", "Größe 金額", "Größe 金額"},
		{"a secret", "no TOKEN123 here", "no [removed] here"},
		{"a secret twice", "TOKEN123TOKEN123", "[removed][removed]"},
		{"something shorter than a secret", "abc", "abc"},
		{"a card number", "card 4111111111111111 refused", "card [removed] refused"},
		{"a card number in groups", "card 4111 1111-1111 1111.", "card [removed]."},
		{"thirteen digits", "4222222222222", "[removed]"},
		{"twelve digits", "422222222222", "422222222222"},
		{"numbers that stand apart", "12345678  12345678", "12345678  12345678"},
		{"two card numbers", "4111111111111111,5555555555554444", "[removed],[removed]"},
		{"more than the limit", strings.Repeat("x", 60), strings.Repeat("x", 50)},
		{"a letter across the limit", strings.Repeat("x", 49) + "é", strings.Repeat("x", 49)},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := gateway.Line(tt.text, 50, "TOKEN123", "abc", ""); got != tt.want {
				t.Errorf("Line(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestLine_isAlwaysFitToStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.SampledFrom([]byte("0123456789 -aé\n\x00\xff\xc3"))).Draw(t, "text"))
		limit := rapid.IntRange(0, 80).Draw(t, "limit")
		got := gateway.Line(text, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("Line(%q, %d) = %q", text, limit, got)
		}
		digits := 0
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("Line(%q) = %q has %q", text, got, r)
			}
			if digits++; !unicode.IsDigit(r) {
				digits = 0
			}
			if digits >= 13 {
				t.Fatalf("Line(%q) = %q has a number as long as a card's", text, got)
			}
		}
	})
}
