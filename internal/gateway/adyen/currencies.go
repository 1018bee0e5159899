package adyen

import (
	_ "embed"
	"fmt"
	"strconv"
	"sync"

	"github.com/contauth/contauth/billing"
)

//go:embed currencies.csv
var currenciesCSV string

// decimals is currencies.csv: how many decimals Adyen counts of a currency.
// It panics if the file is wrong, which a test meets before any user does.
var decimals = sync.OnceValue(func() map[string]int {
	table := make(map[string]int)
	for _, row := range mustReadCSV("currencies.csv", currenciesCSV, 2) {
		n, err := strconv.Atoi(row[1])
		if _, twice := table[row[0]]; twice || err != nil {
			panic(fmt.Sprintf("adyen: currencies.csv: bad row %q", row))
		}
		table[row[0]] = n
	}
	return table
})

// CheckAmount implements billing.Gateway: ErrInvalid for a currency outside
// the table, a negative amount, and one that Adyen's decimals cannot express
// (12.34 IDR). Zero can be expressed, although Charge refuses it.
func (c *Client) CheckAmount(amount billing.Money) error {
	if amount.Minor < 0 {
		return fmt.Errorf("%w amount: %d is negative", billing.ErrInvalid, amount.Minor)
	}
	_, err := gatewayValue(amount)
	return err
}

// gatewayValue returns amount.value as Adyen counts it.
func gatewayValue(amount billing.Money) (int64, error) {
	n, ok := decimals()[amount.Currency]
	if !ok {
		return 0, fmt.Errorf("%w currency: contauth does not send %q to Adyen", billing.ErrInvalid, amount.Currency)
	}
	return amount.WithExponent(n)
}
