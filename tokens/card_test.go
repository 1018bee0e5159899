package tokens_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/tokens"
)

func TestNewExpiry(t *testing.T) {
	tests := []struct {
		name        string
		year, month int
		want        string // "" if it is refused
		ends        string
	}{
		{"four digits", 2030, 3, "2030-03", "2030-04-01T00:00:00Z"},
		{"two digits, as on a card", 30, 3, "2030-03", "2030-04-01T00:00:00Z"},
		{"the last month of a year", 2029, 12, "2029-12", "2030-01-01T00:00:00Z"},
		{"a February with 29 days", 2028, 2, "2028-02", "2028-03-01T00:00:00Z"},
		{"the first month there is", 0, 1, "2000-01", "2000-02-01T00:00:00Z"},
		{"the last month there is", 99, 12, "2099-12", "2100-01-01T00:00:00Z"},
		{"a month before January", 2030, 0, "", ""},
		{"a month after December", 2030, 13, "", ""},
		{"the year before all", 1999, 12, "", ""},
		{"the year after all", 2100, 1, "", ""},
		{"three digits", 100, 1, "", ""},
		{"a negative year", -1, 1, "", ""},
		{"year and month exchanged", 3, 2030, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tokens.NewExpiry(tt.year, tt.month)
			if got.String() != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, tokens.ErrInvalid) {
				t.Fatalf("got %q, %v; want %q", got, err, tt.want)
			}
			if got.IsZero() != (tt.want == "") {
				t.Errorf("%q: IsZero = %t", got, got.IsZero())
			}
			if err == nil && got.Ends().Format(time.RFC3339) != tt.ends {
				t.Errorf("it ends at %s, want %s", got.Ends(), tt.ends)
			}
		})
	}
}

// A card is good through the whole of its month, and no longer.
func TestExpiry_Ends_property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		year, month := rapid.IntRange(2000, 2099).Draw(rt, "year"), rapid.IntRange(1, 12).Draw(rt, "month")
		e, err := tokens.NewExpiry(year, month)
		if err != nil {
			rt.Fatal(err)
		}
		last := e.Ends().Add(-time.Nanosecond)
		if last.Year() != year || int(last.Month()) != month || e.Ends().Day() != 1 || e.Ends().Month() == last.Month() {
			rt.Errorf("%s ends at %s", e, e.Ends())
		}
		short, err := tokens.NewExpiry(year%100, month)
		if err != nil || short != e {
			rt.Errorf("two digits of the year: %s, %v; want %s", short, err, e)
		}
		if e.String() != fmt.Sprintf("%04d-%02d", year, month) {
			rt.Errorf("%d-%d prints as %s", year, month, e)
		}
	})
}
