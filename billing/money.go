package billing

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Money is an amount in the minor units of its currency as ISO 4217 counts them:
// 1234 EUR is 12.34 EUR, 1234 JPY is 1234 JPY, 1234 KWD is 1.234 KWD. What a
// gateway counts instead is known to its adapter alone (see WithExponent).
//
// Build one with NewMoney, which checks; it is a value and never changes.
type Money struct {
	Minor    int64
	Currency string // ISO 4217 alphabetic code
}

// NewMoney returns minor units of currency. It returns ErrInvalid for a currency
// that is no active ISO 4217 currency and for a negative amount; zero is an
// amount, although nothing is ever charged for it.
func NewMoney(minor int64, currency string) (Money, error) {
	if _, ok := Exponent(currency); !ok {
		return Money{}, unknownCurrency(currency)
	}
	if minor < 0 {
		return Money{}, fmt.Errorf("%w amount: %d is negative", ErrInvalid, minor)
	}
	return Money{minor, currency}, nil
}

// Add returns m + o. It returns ErrInvalid if the currencies differ, or if the
// sum does not fit.
func (m Money) Add(o Money) (Money, error) {
	if m.Currency != o.Currency {
		return Money{}, fmt.Errorf("%w sum: %s and %s are different currencies", ErrInvalid, m, o)
	}
	sum := m.Minor + o.Minor
	if (sum > m.Minor) != (o.Minor > 0) && o.Minor != 0 {
		return Money{}, fmt.Errorf("%w sum: %s and %s are too much for one amount", ErrInvalid, m, o)
	}
	return Money{sum, m.Currency}, nil
}

// WithExponent returns the same value counted in units of 10^-exponent, for a
// gateway whose exponent of the currency is not that of ISO 4217: 1234 ISK with
// exponent 2 is 123400. It returns ErrInvalid if the value cannot be expressed
// exactly (12.34 IDR with exponent 0) or does not fit.
func (m Money) WithExponent(exponent int) (int64, error) {
	iso, ok := Exponent(m.Currency)
	if !ok {
		return 0, unknownCurrency(m.Currency)
	}
	const largest = 18 // 10^18 is the largest power of ten in an int64
	if exponent < 0 || exponent > largest {
		return 0, fmt.Errorf("%w exponent: %d is not within 0 and %d", ErrInvalid, exponent, largest)
	}
	value := m.Minor
	for range exponent - iso {
		if value > math.MaxInt64/10 || value < math.MinInt64/10 {
			return 0, fmt.Errorf("%w amount: %s is too large to be counted with %d decimals", ErrInvalid, m, exponent)
		}
		value *= 10
	}
	for range iso - exponent {
		if value%10 != 0 {
			return 0, fmt.Errorf("%w amount: %s cannot be expressed with %d decimals", ErrInvalid, m, exponent)
		}
		value /= 10
	}
	return value, nil
}

// String returns the amount for people: "12.34 EUR", "1200 JPY", "1.234 KWD".
func (m Money) String() string {
	exponent, ok := Exponent(m.Currency)
	if !ok {
		return fmt.Sprintf("%d minor units of %q", m.Minor, m.Currency)
	}
	digits := strconv.FormatInt(m.Minor, 10)
	if exponent == 0 {
		return digits + " " + m.Currency
	}
	digits, negative := strings.CutPrefix(digits, "-")
	if missing := exponent + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - exponent
	text := digits[:point] + "." + digits[point:] + " " + m.Currency
	if negative {
		return "-" + text
	}
	return text
}

// Exponent returns the number of decimals that ISO 4217 gives currency, and
// false if it is no active currency. Codes without minor units (precious
// metals, XDR, XTS, XXX and the like) cannot be charged and are no currencies
// here.
func Exponent(currency string) (int, bool) {
	exponent, ok := exponents[currency]
	return exponent, ok
}

// currenciesCSV is ISO 4217 list one: code, exponent, name.
//
//go:embed currencies.csv
var currenciesCSV string

var exponents = mustExponents(currenciesCSV)

// mustExponents reads the embedded table and panics if the table is wrong, which
// only a wrong build can bring about.
func mustExponents(table string) map[string]int {
	lines := strings.Split(strings.TrimSpace(table), "\n")[1:] // after the header
	found := make(map[string]int, len(lines))
	for _, line := range lines {
		code, rest, _ := strings.Cut(line, ",")
		digits, _, _ := strings.Cut(rest, ",")
		exponent, err := strconv.Atoi(digits)
		if _, double := found[code]; err != nil || double || !isCurrencyCode(code) {
			panic(fmt.Sprintf("billing: currencies.csv: bad line %q", line))
		}
		found[code] = exponent
	}
	return found
}

// unknownCurrency names the code only if it has the form of one: other text may
// be anything, also what nobody should read in an error.
func unknownCurrency(code string) error {
	if !isCurrencyCode(code) {
		return fmt.Errorf("%w currency: want an ISO 4217 code in capital letters, like EUR", ErrInvalid)
	}
	return fmt.Errorf("%w currency: %s is no active ISO 4217 currency with minor units", ErrInvalid, code)
}

func isCurrencyCode(s string) bool {
	return len(s) == 3 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
}
