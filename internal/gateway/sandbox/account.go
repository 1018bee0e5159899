package sandbox

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strings"
)

//go:embed testcards.csv
var testCardsCSV string

// A testCard is a card that a shopper can be said to have typed.
type testCard struct {
	name, number           string
	brand, scheme, funding string
}

var testCards = mustReadTestCards(testCardsCSV)

func mustReadTestCards(text string) []testCard {
	var cards []testCard
	for _, row := range mustReadTable(text, 5) {
		cards = append(cards, testCard{row[0], row[1], row[2], row[3], row[4]})
	}
	return cards
}

func testCardNamed(name string) (testCard, bool) {
	i := slices.IndexFunc(testCards, func(c testCard) bool { return c.name == name })
	if i < 0 {
		return testCard{}, false
	}
	return testCards[i], true
}

// testCardNames are for people who named one that is none.
func testCardNames() []string {
	names := make([]string, len(testCards))
	for i, c := range testCards {
		names[i] = c.name
	}
	return names
}

// An account is a card or a bank account, as it may be shown: no number of it is
// ever whole.
type account struct {
	// Name tells it from all others: of a card the name of a test card, of a card
	// that was never stored here the token, of a bank account a hash.
	Name    string `json:"name"`
	Number  string `json:"number,omitempty"` // masked
	Brand   string `json:"brand,omitempty"`
	Scheme  string `json:"scheme,omitempty"`
	Funding string `json:"funding,omitempty"`
	Expiry  string `json:"expiry,omitempty"` // MM/YY

	Bank *bankAccount `json:"bank,omitempty"` // of a bank account
}

// A bankAccount is what ACH needs to know.
type bankAccount struct {
	Type    string `json:"type"`
	Holder  string `json:"holder"`
	Routing string `json:"routing"`
	SECCode string `json:"sec_code"`
}

// goodExpiry is the expiry date of a card of which nobody said another: the real
// test system's date for an approval.
const goodExpiry = "01/39"

// importedPrefix begins the name of an account that stands behind a token that
// was stored elsewhere, before the sandbox.
const importedPrefix = "imported:"

func (a *account) imported() bool { return strings.HasPrefix(a.Name, importedPrefix) }

// account returns the card with an expiry date.
func (c *testCard) account(expiry string) *account {
	return &account{Name: c.name, Number: masked(c.number), Brand: c.brand, Scheme: c.scheme, Funding: c.funding, Expiry: expiry}
}

// importedAccount makes up a card for a token that was stored elsewhere, always the same.
func importedAccount(token string) *account {
	h := crc32.Checksum([]byte(token), castagnoli)
	like := testCards[h%uint32(len(testCards))]
	number := []byte(like.number)
	for i := range 4 {
		number[len(number)-1-i] = '0' + byte(h>>(8*i)%10)
	}
	a := like.account(goodExpiry)
	a.Name, a.Number = importedPrefix+token, masked(string(number))
	return a
}

// newBankAccount returns a bank account; number is masked, and never kept.
func newBankAccount(number string, bank bankAccount) *account {
	sum := sha256.Sum256([]byte(bank.Routing + "/" + number))
	shown := number[max(len(number)-4, (len(number)+1)/2):]
	return &account{Name: "bank:" + hex.EncodeToString(sum[:8]), Number: strings.Repeat("x", len(number)-len(shown)) + shown, Bank: &bank}
}

// masked shows the first six and the last four digits of a card number.
func masked(number string) string {
	return number[:6] + strings.Repeat("x", len(number)-10) + number[len(number)-4:]
}

// An expiryForm is how an answer writes an expiry date.
type expiryForm int

const (
	oneField  expiryForm = iota // MMYY, in answers about tokens
	twoFields                   // month and year, in answers about payments
)

// appendTo appends the account to an answer.
func (a *account) appendTo(b []byte, prefix string, form expiryForm) []byte {
	prefix += "sourceOfFunds."
	if a.Bank != nil {
		ach := prefix + "provided.ach."
		b = appendField(b, ach+"accountIdentifier", strings.TrimPrefix(a.Name, "bank:"))
		b = appendField(b, ach+"accountType", a.Bank.Type)
		b = appendField(b, ach+"bankAccountHolder", a.Bank.Holder)
		b = appendField(b, ach+"bankAccountNumber", a.Number)
		b = appendField(b, ach+"routingNumber", a.Bank.Routing)
		b = appendField(b, ach+"secCode", a.Bank.SECCode)
		return appendField(b, prefix+"type", "ACH")
	}
	card := prefix + "provided.card."
	month, year, _ := strings.Cut(a.Expiry, "/")
	b = appendField(b, card+"brand", a.Brand)
	if form == oneField {
		b = appendField(b, card+"expiry", month+year)
	} else {
		b = appendField(b, card+"expiry.month", strings.TrimPrefix(month, "0"))
		b = appendField(b, card+"expiry.year", year)
	}
	b = appendField(b, card+"fundingMethod", a.Funding)
	b = appendField(b, card+"issuer", "SANDBOX BANK")
	b = appendField(b, card+"number", a.Number)
	b = appendField(b, card+"scheme", a.Scheme)
	return appendField(b, prefix+"type", "CARD")
}

// luhnDigit returns the digit that makes digits conform to Luhn's rule behind them.
func luhnDigit(digits string) byte {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return '0' + byte((10-sum%10)%10)
}

// isLuhn reports whether digits conform to Luhn's rule.
func isLuhn(digits string) bool {
	last := len(digits) - 1
	return last > 0 && luhnDigit(digits[:last]) == digits[last]
}
