package mastercard

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

// Every currency of the table, with exactly its digits.
func TestFormatAmount_everyCurrency(t *testing.T) {
	want := map[int][3]string{ // of 1, 1000 and 123456 minor units
		0: {"1", "1000", "123456"},
		2: {"0.01", "10.00", "1234.56"},
		3: {"0.001", "1.000", "123.456"},
	}
	if len(decimals()) < 150 {
		t.Fatalf("only %d currencies", len(decimals()))
	}
	for currency, digits := range decimals() {
		for i, minor := range []int64{1, 1000, 123456} {
			money, err := billing.NewMoney(minor, currency)
			if err != nil {
				t.Error(err)
			}
			text, err := formatAmount(money)
			if err != nil || text != want[digits][i] {
				t.Errorf("%v = %q, %v, want %q", money, text, err, want[digits][i])
			}
			if back, err := parseAmount(text, currency); err != nil || back != money {
				t.Errorf("%q = %v, %v, want %v", text, back, err, money)
			}
		}
	}
}

func TestFormatAmount_knownDigits(t *testing.T) {
	for currency, digits := range map[string]int{
		"EUR": 2, "USD": 2, "IDR": 2, "HUF": 2, "JPY": 0, "CLP": 0, "ISK": 0, "KRW": 0, "UGX": 0, "VND": 0,
		"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	} {
		if got, ok := decimals()[currency]; !ok || got != digits {
			t.Errorf("%s has %d decimals, %t, want %d", currency, got, ok, digits)
		}
	}
}

func TestClient_CheckAmount(t *testing.T) {
	tests := []struct {
		name   string
		amount billing.Money
		valid  bool
	}{
		{"an amount", billing.Money{Minor: 1999, Currency: "EUR"}, true},
		{"zero can be expressed", billing.Money{Currency: "EUR"}, true},
		{"14 characters", billing.Money{Minor: 9_999_999_999_999, Currency: "EUR"}, true},
		{"15 characters", billing.Money{Minor: 10_000_000_000_000, Currency: "EUR"}, false},
		{"14 digits without a point", billing.Money{Minor: 99_999_999_999_999, Currency: "JPY"}, true},
		{"15 digits without a point", billing.Money{Minor: 100_000_000_000_000, Currency: "JPY"}, false},
		{"a negative amount", billing.Money{Minor: -1, Currency: "EUR"}, false},
		{"four decimals (CLF)", billing.Money{Minor: 100, Currency: "CLF"}, false},
		{"four decimals (UYW)", billing.Money{Minor: 100, Currency: "UYW"}, false},
		{"a currency in small letters", billing.Money{Minor: 100, Currency: "eur"}, false},
		{"no currency", billing.Money{Minor: 100}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := new(Client).CheckAmount(tt.amount)
			if (err == nil) != tt.valid || err != nil && !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("CheckAmount(%v) = %v, want valid %t", tt.amount, err, tt.valid)
			}
		})
	}
}

func TestParseAmount(t *testing.T) {
	tests := []struct {
		name, text, currency string
		want                 int64 // -1: an error
	}{
		{"as it was sent", "19.99", "EUR", 1999},
		{"without its zeros", "1", "EUR", 100},
		{"with one of them", "1.5", "EUR", 150},
		{"with one too many", "1.500", "EUR", 150},
		{"none in the currency", "10", "JPY", 10},
		{"zeros that the currency has not", "10.00", "JPY", 10},
		{"three in the currency", "10.125", "KWD", 10125},
		{"nothing", "0.00", "EUR", 0},
		{"the largest of an answer", "1000000000000", "EUR", 100_000_000_000_000},
		{"a part of the smallest unit", "1.005", "EUR", -1},
		{"a part of a yen", "1.5", "JPY", -1},
		{"more than a number holds", "99999999999999999999", "EUR", -1},
		{"no text", "", "EUR", -1},
		{"a point alone", ".", "EUR", -1},
		{"no whole digit", ".5", "EUR", -1},
		{"no digit behind the point", "5.", "EUR", -1},
		{"two points", "1.2.3", "EUR", -1},
		{"a comma", "1,50", "EUR", -1},
		{"a sign", "+1", "EUR", -1},
		{"an exponent", "1E2", "EUR", -1},
		{"digits of another script", "١٢", "EUR", -1},
		{"a currency that does not exist", "1", "XXQ", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAmount(tt.text, tt.currency)
			if tt.want < 0 {
				if !errors.Is(err, billing.ErrUnknown) {
					t.Errorf("parseAmount = %v, %v, want an error", got, err)
				}
				return
			}
			if err != nil || got != (billing.Money{Minor: tt.want, Currency: tt.currency}) {
				t.Errorf("parseAmount = %v, %v, want %d", got, err, tt.want)
			}
		})
	}
}

// What is sent reads back as the same amount, and is a decimal of the form that
// the gateway wants.
func TestFormatAmount_readsBack(t *testing.T) {
	var all []string
	for currency := range decimals() {
		all = append(all, currency)
	}
	rapid.Check(t, func(t *rapid.T) {
		money := billing.Money{Minor: rapid.Int64Range(0, math.MaxInt64).Draw(t, "minor"), Currency: rapid.SampledFrom(all).Draw(t, "currency")}
		text, err := formatAmount(money)
		if err != nil {
			if money.Minor < 1_000_000_000_000 {
				t.Fatalf("%v: %v", money, err)
			}
			return
		}
		if len(text) > 14 || strings.Trim(text, "0123456789.") != "" || strings.HasPrefix(text, ".") {
			t.Fatalf("%v = %q", money, text)
		}
		if back, err := parseAmount(text, money.Currency); err != nil || back != money {
			t.Fatalf("%q = %v, %v, want %v", text, back, err, money)
		}
	})
}
