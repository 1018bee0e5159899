package mastercard

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/contauth/contauth/billing"
)

//go:embed currencies.csv
var currenciesCSV string

// decimals is currencies.csv: how many decimals an amount of a currency has. It
// panics if the file is wrong, which a test meets before any user does.
var decimals = sync.OnceValue(func() map[string]int {
	table := make(map[string]int)
	for _, row := range mustReadCSV("currencies.csv", currenciesCSV, 2) {
		n, err := strconv.Atoi(row[1])
		if _, twice := table[row[0]]; twice || err != nil || n < 0 || n > maxDecimals {
			panic(fmt.Sprintf("mastercard: currencies.csv: bad row %q", row))
		}
		table[row[0]] = n
	}
	return table
})

const (
	maxDecimals = 3  // that the gateway's answers have
	maxAmount   = 14 // characters of an amount in a request
)

// CheckAmount implements billing.Gateway: ErrInvalid for a currency outside the
// table, a negative amount, and one that has no place in the gateway's 14
// characters. Zero can be expressed, although Charge refuses it.
func (c *Client) CheckAmount(amount billing.Money) error {
	if amount.Minor < 0 {
		return fmt.Errorf("%w amount: %d is negative", billing.ErrInvalid, amount.Minor)
	}
	_, err := formatAmount(amount)
	return err
}

// formatAmount returns order.amount: a decimal with exactly the digits of its
// currency behind the point (10.00 EUR, 10 JPY, 10.000 KWD), as the gateway
// expects it in units of the currency.
func formatAmount(amount billing.Money) (string, error) {
	n, ok := decimals()[amount.Currency]
	if !ok {
		return "", fmt.Errorf("%w currency: contauth does not send %q to the Mastercard Gateway", billing.ErrInvalid, amount.Currency)
	}
	value, err := amount.WithExponent(n)
	if err != nil {
		return "", err
	}
	text := strconv.FormatInt(value, 10)
	if n > 0 {
		if missing := n + 1 - len(text); missing > 0 {
			text = strings.Repeat("0", missing) + text
		}
		text = text[:len(text)-n] + "." + text[len(text)-n:]
	}
	if len(text) > maxAmount {
		return "", fmt.Errorf("%w amount: %s has more than the %d characters that the Mastercard Gateway takes", billing.ErrInvalid, amount, maxAmount)
	}
	return text, nil
}

// parseAmount reads an amount of an answer, with any number of decimals that the
// currency can express: answers may drop or add zeros at the end (1 for 1.00).
func parseAmount(text, currency string) (billing.Money, error) {
	n, ok := billing.Exponent(currency)
	if !ok {
		return billing.Money{}, fmt.Errorf("%w: an amount in a currency that does not exist", billing.ErrUnknown)
	}
	whole, fraction, pointed := strings.Cut(text, ".")
	digits := strings.TrimRight(fraction, "0")
	if !isDigits(whole) || pointed && !isDigits(fraction) || len(digits) > n {
		return billing.Money{}, errNoAmount
	}
	minor, err := strconv.ParseInt(whole+digits+strings.Repeat("0", n-len(digits)), 10, 64)
	if err != nil {
		return billing.Money{}, errNoAmount
	}
	return billing.Money{Minor: minor, Currency: currency}, nil
}

var errNoAmount = fmt.Errorf("%w: an amount that is none", billing.ErrUnknown)

func isDigits(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
}

// mustReadCSV returns the rows behind the headline of an embedded table.
func mustReadCSV(name, text string, columns int) [][]string {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment, r.FieldsPerRecord = '#', columns
	rows, err := r.ReadAll()
	if err != nil {
		panic(fmt.Sprintf("mastercard: %s: %v", name, err))
	}
	return rows[1:]
}
