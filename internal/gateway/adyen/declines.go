package adyen

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"

	"github.com/contauth/contauth/billing"
)

//go:embed declines.csv
var declinesCSV string

// A declineKey finds a class: which field of an answer, and what it said.
type declineKey struct{ source, code string }

// declines is declines.csv. It panics if the file is wrong, which a test meets
// before any user does.
var declines = sync.OnceValue(func() map[declineKey]billing.DeclineClass {
	table := make(map[declineKey]billing.DeclineClass)
	for _, row := range mustReadCSV("declines.csv", declinesCSV, 5) {
		key, class := declineKey{row[0], row[1]}, billing.DeclineClass(row[3])
		if _, twice := table[key]; twice || severity[class] == 0 {
			panic(fmt.Sprintf("adyen: declines.csv: bad row %q", row))
		}
		table[key] = class
	}
	return table
})

// severity orders classes by how much they forbid. Where two fields of one
// answer differ, the one that forbids more wins: a retry that a scheme forbade
// costs a fine, a retry left out costs a day.
var severity = map[billing.DeclineClass]int{
	billing.DeclineSoft:         1,
	billing.DeclineTechnical:    1,
	billing.DeclineConfig:       2,
	billing.DeclineHard:         3,
	billing.DeclineTokenInvalid: 4,
	billing.DeclineFraud:        5,
}

// A refusal is what an answer tells about why it says no.
type refusal struct {
	code     string // refusalReasonCode
	reason   string // refusalReason
	raw      string // leading code of refusalReasonRaw
	advice   string // leading code of merchantAdviceCode
	inferred string // inferredRefusalReason
	visa     bool   // the card is a Visa
}

// tokenUnknownText is what older deployments put into refusalReason of a
// refused 200 instead of answering 422 with code 803.
const tokenUnknownText = "803 PaymentDetail not found"

// classify returns the class of a refusal: that of its code, or a severer one
// that another field demands. A code that is not in the table is soft.
func classify(r refusal) billing.DeclineClass {
	if strings.Contains(r.reason, tokenUnknownText) {
		return billing.DeclineTokenInvalid
	}
	class, ok := declines()[declineKey{"code", codeKey(r.code)}]
	if !ok {
		class = billing.DeclineSoft
	}
	for _, key := range [...]declineKey{{"advice", r.advice}, {"inferred", r.inferred}, {"visa", r.raw}} {
		if key.source == "visa" && !r.visa {
			continue // other schemes use the same numbers for other things
		}
		if other := declines()[key]; severity[other] > severity[class] {
			class = other
		}
	}
	return class
}

// isKnownRefusal reports whether code is in the table.
func isKnownRefusal(code string) bool {
	_, ok := declines()[declineKey{"code", codeKey(code)}]
	return ok
}

// codeKey drops leading zeros: "05" is code 5.
func codeKey(code string) string {
	if short := strings.TrimLeft(code, "0"); short != "" || code == "" {
		return short
	}
	return "0"
}

// mustReadCSV returns the rows behind the headline of an embedded table.
func mustReadCSV(name, text string, columns int) [][]string {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment, r.FieldsPerRecord = '#', columns
	rows, err := r.ReadAll()
	if err != nil {
		panic(fmt.Sprintf("adyen: %s: %v", name, err))
	}
	return rows[1:]
}
