package mastercard

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/contauth/contauth/billing"
)

//go:embed declines.csv
var declinesCSV string

// A codeMeaning is what a response.gatewayCode says about the money.
type codeMeaning string

const (
	codeApproved codeMeaning = "approved"
	codePartial  codeMeaning = "partial"
	codePending  codeMeaning = "pending"     // accepted; the outcome comes later
	codeLocked   codeMeaning = "in_progress" // another transaction of the order is running
	codeOpen     codeMeaning = "unknown"
	codeRefused  codeMeaning = "refused"
	codeNew      codeMeaning = "" // not in the table
)

// severity orders classes by how much they forbid, and what says more above what
// says less. Where two fields of one answer differ, the one that forbids more
// wins: a retry that a scheme forbade costs a fine, a retry left out costs a day.
var severity = map[billing.DeclineClass]int{
	billing.DeclineSoft:         1,
	billing.DeclineTechnical:    2,
	billing.DeclineConfig:       3,
	billing.DeclineHard:         4,
	billing.DeclineTokenInvalid: 5,
	billing.DeclineFraud:        6,
}

// A declineKey finds a class: which field of an answer, of cards of which scheme,
// and what it said.
type declineKey struct{ field, scheme, code string }

const anyScheme = "any"

// A declineTable is declines.csv.
type declineTable struct {
	meanings map[string]codeMeaning // of gatewayCodes
	classes  map[declineKey]billing.DeclineClass
}

// declines panics if the file is wrong, which a test meets before any user does.
var declines = sync.OnceValue(func() declineTable {
	table := declineTable{meanings: make(map[string]codeMeaning), classes: make(map[declineKey]billing.DeclineClass)}
	seen := make(map[declineKey]bool)
	for _, row := range mustReadCSV("declines.csv", declinesCSV, 6) {
		key, class := declineKey{row[0], row[1], row[2]}, row[3]
		meaning := codeRefused
		switch codeMeaning(class) {
		case codeApproved, codePartial, codePending, codeLocked, codeOpen:
			meaning = codeMeaning(class)
		default:
			table.classes[key] = billing.DeclineClass(class)
		}
		known := meaning != codeRefused || severity[billing.DeclineClass(class)] > 0
		if seen[key] || !known || row[4] == "" || row[5] == "" {
			panic(fmt.Sprintf("mastercard: declines.csv: bad row %q", row))
		}
		seen[key] = true
		switch key.field {
		case fieldGatewayCode:
			table.meanings[key.code] = meaning
		case fieldAcquirerCode:
		default:
			panic(fmt.Sprintf("mastercard: declines.csv: bad row %q", row))
		}
	}
	return table
})

// Fields of declines.csv.
const (
	fieldGatewayCode  = "gatewayCode"
	fieldAcquirerCode = "acquirerCode"
)

// meaningOf returns what a response.gatewayCode says about the money.
func meaningOf(gatewayCode string) codeMeaning { return declines().meanings[gatewayCode] }

// classify returns the class of a refusal: that of its gatewayCode, or a severer
// one that the acquirer's code demands of cards of this scheme. A gatewayCode that
// is not in the table is soft.
func classify(gatewayCode, scheme, acquirerCode string) billing.DeclineClass {
	classes := declines().classes
	class, ok := classes[declineKey{fieldGatewayCode, anyScheme, gatewayCode}]
	if !ok {
		class = billing.DeclineSoft
	}
	// The same digits mean different things on different schemes.
	for _, s := range [...]string{anyScheme, scheme} {
		if other := classes[declineKey{fieldAcquirerCode, s, acquirerCode}]; severity[other] > severity[class] {
			class = other
		}
	}
	return class
}
