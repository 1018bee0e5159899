package sandbox

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"math"
	"strconv"
	"strings"
)

//go:embed refusals.csv
var refusalsCSV string

//go:embed currencies.csv
var currenciesCSV string

// A refusal is what Adyen says for one refusalReasonCode.
type refusal struct {
	code   int
	reason string // refusalReason
	result string // resultCode
	raw    string // additionalData.refusalReasonRaw; empty where no acquirer was asked
	advice string // additionalData.merchantAdviceCode, Mastercard only
}

// A currency says how many decimals ISO 4217 and Adyen count.
type currency struct{ iso, adyen int }

var (
	refusals   = mustReadRefusals(refusalsCSV)
	currencies = mustReadCurrencies(currenciesCSV)
)

// refusalFor returns the refusal of code. A code that the table does not know
// is answered all the same, as the real gateway may do with a new one.
func refusalFor(code int) refusal {
	if r, known := refusals[code]; known {
		return r
	}
	return refusal{code: code, reason: "Refused for a new reason", result: resultRefused}
}

// isoMinor converts value from Adyen's minor units to those of ISO 4217. It
// reports false if ISO's units cannot express it: CLP 150 is one and a half peso.
func (c currency) isoMinor(value int64) (int64, bool) {
	for decimals := c.adyen; decimals < c.iso; decimals++ {
		if value > math.MaxInt64/10 {
			return 0, false
		}
		value *= 10
	}
	for decimals := c.adyen; decimals > c.iso; decimals-- {
		if value%10 != 0 {
			return 0, false
		}
		value /= 10
	}
	return value, true
}

// adyenMinor converts minor from the minor units of ISO 4217 to Adyen's. It
// reports false if Adyen's units cannot express it.
func (c currency) adyenMinor(minor int64) (int64, bool) {
	return currency{iso: c.adyen, adyen: c.iso}.isoMinor(minor)
}

func mustReadRefusals(text string) map[int]refusal {
	table := make(map[int]refusal)
	for _, row := range mustReadTable(text, 5) {
		code := mustAtoi(row[0])
		table[code] = refusal{code, row[1], row[2], row[3], row[4]}
	}
	return table
}

func mustReadCurrencies(text string) map[string]currency {
	table := make(map[string]currency)
	for _, row := range mustReadTable(text, 3) {
		table[row[0]] = currency{iso: mustAtoi(row[1]), adyen: mustAtoi(row[2])}
	}
	return table
}

// mustReadTable returns the rows of an embedded file without its heading. The
// files are part of the program, so a fault in one is a fault at build time.
func mustReadTable(text string, fields int) [][]string {
	reader := csv.NewReader(strings.NewReader(text))
	reader.Comment = '#'
	reader.FieldsPerRecord = fields
	rows, err := reader.ReadAll()
	if err != nil {
		panic(fmt.Sprintf("sandbox: embedded table: %v", err))
	}
	return rows[1:]
}

func mustAtoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("sandbox: embedded table: %v", err))
	}
	return n
}
