package sandbox

import (
	"math"
	"strconv"
	"strings"
)

// The Mastercard Gateway counts in units of a currency, with ISO 4217's decimals.
// It has no amounts with more than three of them.
const maxDecimals = 3

// parseAmount returns an amount such as 19.99 in minor units. It reports false if
// the currency cannot express it.
func parseAmount(text string, decimals int) (minor int64, ok bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > decimals {
		return 0, false
	}
	minor, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return 0, false
	}
	for range decimals - len(fraction) {
		if minor > math.MaxInt64/10 {
			return 0, false
		}
		minor *= 10
	}
	return minor, true
}

// formatAmount writes an amount of minor units as parseAmount reads it.
func formatAmount(minor int64, decimals int) string {
	if decimals == 0 {
		return strconv.FormatInt(minor, 10)
	}
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	digits := strconv.FormatInt(minor, 10)
	if missing := decimals + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - decimals
	return sign + digits[:point] + "." + digits[point:]
}
