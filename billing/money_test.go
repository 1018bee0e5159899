package billing_test

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

func TestNewMoney(t *testing.T) {
	tests := []struct {
		name     string
		minor    int64
		currency string
		valid    bool
	}{
		{"an amount", 1234, "EUR", true},
		{"nothing is an amount", 0, "EUR", true},
		{"the largest amount", math.MaxInt64, "JPY", true},
		{"a negative amount", -1, "EUR", false},
		{"a currency of the past", 100, "DEM", false},
		{"a currency replaced by the euro", 100, "BGN", false},
		{"gold has no minor unit", 1, "XAU", false},
		{"the code for tests", 1, "XTS", false},
		{"small letters", 100, "eur", false},
		{"no currency", 100, "", false},
		{"a space", 100, "EUR ", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := billing.NewMoney(tt.minor, tt.currency)
			if tt.valid {
				if want := (billing.Money{Minor: tt.minor, Currency: tt.currency}); err != nil || got != want {
					t.Errorf("NewMoney(%d, %q) = %v, %v; want %v", tt.minor, tt.currency, got, err, want)
				}
				return
			}
			if !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("NewMoney(%d, %q) = %v, %v; want ErrInvalid", tt.minor, tt.currency, got, err)
			}
		})
	}
}

func TestMoney_Add(t *testing.T) {
	eur := func(minor int64) billing.Money { return billing.Money{Minor: minor, Currency: "EUR"} }
	tests := []struct {
		name  string
		a, b  billing.Money
		want  billing.Money
		valid bool
	}{
		{"two amounts", eur(1), eur(2), eur(3), true},
		{"nothing changes nothing", eur(7), eur(0), eur(7), true},
		{"up to the largest amount", eur(math.MaxInt64 - 1), eur(1), eur(math.MaxInt64), true},
		{"beyond the largest amount", eur(math.MaxInt64), eur(1), billing.Money{}, false},
		{"beyond the largest negative amount", eur(math.MinInt64), eur(-1), billing.Money{}, false},
		{"two currencies", eur(1), billing.Money{Minor: 1, Currency: "USD"}, billing.Money{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.a.Add(tt.b)
			if (err == nil) != tt.valid || got != tt.want {
				t.Errorf("%v + %v = %v, %v; want %v, valid %t", tt.a, tt.b, got, err, tt.want, tt.valid)
			}
			if err != nil && !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("error %v is no ErrInvalid", err)
			}
		})
	}
}

// The four currencies that Adyen counts otherwise than ISO 4217 are among the
// cases.
func TestMoney_WithExponent(t *testing.T) {
	tests := []struct {
		name     string
		money    billing.Money
		exponent int
		want     int64
		valid    bool
	}{
		{"the exponent of ISO 4217", billing.Money{Minor: 1234, Currency: "EUR"}, 2, 1234, true},
		{"ISK with two decimals", billing.Money{Minor: 1234, Currency: "ISK"}, 2, 123400, true},
		{"CLP with two decimals", billing.Money{Minor: 1, Currency: "CLP"}, 2, 100, true},
		{"IDR without decimals", billing.Money{Minor: 123400, Currency: "IDR"}, 0, 1234, true},
		{"CVE without decimals", billing.Money{Minor: 100, Currency: "CVE"}, 0, 1, true},
		{"half an escudo cannot be expressed", billing.Money{Minor: 150, Currency: "CVE"}, 0, 0, false},
		{"a single cent of an escudo cannot be expressed", billing.Money{Minor: 101, Currency: "CVE"}, 0, 0, false},
		{"three decimals in two, exactly", billing.Money{Minor: 1230, Currency: "KWD"}, 2, 123, true},
		{"three decimals in two, not exactly", billing.Money{Minor: 1234, Currency: "KWD"}, 2, 0, false},
		{"nothing is nothing with any exponent", billing.Money{Minor: 0, Currency: "IDR"}, 0, 0, true},
		{"too large", billing.Money{Minor: math.MaxInt64 / 10, Currency: "JPY"}, 2, 0, false},
		{"just not too large", billing.Money{Minor: math.MaxInt64 / 100, Currency: "JPY"}, 2, math.MaxInt64 / 100 * 100, true},
		{"a negative exponent", billing.Money{Minor: 100, Currency: "JPY"}, -2, 0, false},
		{"an absurd exponent", billing.Money{Minor: 0, Currency: "JPY"}, 1 << 40, 0, false},
		{"an unknown currency", billing.Money{Minor: 100, Currency: "DEM"}, 2, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.money.WithExponent(tt.exponent)
			if (err == nil) != tt.valid || got != tt.want {
				t.Errorf("%v with exponent %d = %d, %v; want %d, valid %t", tt.money, tt.exponent, got, err, tt.want, tt.valid)
			}
			if err != nil && !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("error %v is no ErrInvalid", err)
			}
		})
	}
}

func TestMoney_String(t *testing.T) {
	tests := []struct {
		name  string
		money billing.Money
		want  string
	}{
		{"two decimals", billing.Money{Minor: 1234, Currency: "EUR"}, "12.34 EUR"},
		{"no decimals", billing.Money{Minor: 1200, Currency: "JPY"}, "1200 JPY"},
		{"three decimals", billing.Money{Minor: 1234, Currency: "KWD"}, "1.234 KWD"},
		{"four decimals", billing.Money{Minor: 1, Currency: "CLF"}, "0.0001 CLF"},
		{"less than one", billing.Money{Minor: 5, Currency: "EUR"}, "0.05 EUR"},
		{"nothing", billing.Money{Minor: 0, Currency: "EUR"}, "0.00 EUR"},
		{"negative", billing.Money{Minor: -5, Currency: "EUR"}, "-0.05 EUR"},
		{"the most negative", billing.Money{Minor: math.MinInt64, Currency: "EUR"}, "-92233720368547758.08 EUR"},
		{"an unknown currency", billing.Money{Minor: 5, Currency: "DEM"}, `5 minor units of "DEM"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.money.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExponent(t *testing.T) {
	want := map[int][]string{
		0: {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"},
		2: {"CVE", "EUR", "IDR", "MGA", "MRU", "SLE", "USD", "XAD", "XCD", "XCG", "ZWG"},
		3: {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"},
		4: {"CLF", "UYW"},
	}
	for exponent, currencies := range want {
		for _, currency := range currencies {
			if got, ok := billing.Exponent(currency); !ok || got != exponent {
				t.Errorf("Exponent(%s) = %d, %t; want %d", currency, got, ok, exponent)
			}
		}
	}
	// What ISO 4217 has withdrawn, and what has no minor unit.
	for _, currency := range []string{"ANG", "BGN", "CUC", "HRK", "SLL", "ZWL", "XAG", "XAU", "XDR", "XSU", "XTS", "XUA", "XXX"} {
		if got, ok := billing.Exponent(currency); ok {
			t.Errorf("Exponent(%s) = %d, want none", currency, got)
		}
	}
}

// Counting an amount with another exponent and back loses nothing, or is refused.
func TestMoney_WithExponent_isExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"JPY", "EUR", "KWD", "CLF", "ISK", "IDR"}).Draw(t, "currency")
		money := billing.Money{Minor: rapid.Int64().Draw(t, "minor"), Currency: currency}
		exponent := rapid.IntRange(0, 18).Draw(t, "exponent")
		value, err := money.WithExponent(exponent)
		if err != nil {
			return
		}
		iso, _ := billing.Exponent(currency)
		for range exponent - iso {
			if value%10 != 0 {
				t.Fatalf("%v with exponent %d is %d: more digits than the amount has", money, exponent, value)
			}
			value /= 10
		}
		for range iso - exponent {
			value *= 10
		}
		if value != money.Minor {
			t.Fatalf("%v with exponent %d comes back as %d", money, exponent, value)
		}
	})
}
