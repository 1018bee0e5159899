package mastercard

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/tokens"
)

// A TokenStatus says whether the gateway charges a token.
type TokenStatus string

const (
	TokenValid   TokenStatus = "VALID"   // the gateway tries
	TokenInvalid TokenStatus = "INVALID" // the gateway refuses every request with it
)

// A StoredToken is what a token repository holds, as far as an answer tells. A
// value of an enumeration that is new keeps its text, and what cannot be read is
// left empty: an answer about a token is never refused for what it shows.
//
// It prints without its token.
type StoredToken struct {
	Result        Result // of the operation
	Token         string
	RepositoryID  string
	Status        TokenStatus
	Verification  Verification
	SourceType    SourceType
	Card          Card
	ACH           StoredACH
	Updated       TokenUpdate
	LastUsed      time.Time // used or saved; zero if not told
	CorrelationID string
}

// A Verification is what was done to verify a payment method before it was stored.
type Verification struct {
	Strategy    tokens.Strategy // the one that was applied
	GatewayCode string          // response.gatewayCode, as it came
}

// A Card is what is shown of a stored card. Third parties supply the words about
// it, and they may be wrong.
type Card struct {
	Brand         string
	Scheme        string
	LocalBrand    string
	FundingMethod string
	Issuer        string
	Expiry        tokens.Expiry
	MaskedNumber  string // the profile decides what is shown
}

// A StoredACH is what is shown of a stored bank account.
type StoredACH struct {
	AccountType   AccountType
	Holder        string
	MaskedNumber  string
	RoutingNumber string
	SECCode       SECCode
	// AccountIdentifier is the same for the same routing number and account. The
	// name of its field, accountIdentifier, is not verified.
	AccountIdentifier string
}

// A TokenUpdate is the last change of what is stored.
type TokenUpdate struct {
	At time.Time // zero if not told
	By string    // the merchant's id
	// Source is CLIENT for a merchant's own TOKENIZE and GATEWAY for an account
	// updater or other upkeep; empty where the gateway does not tell.
	Source string
}

// String names no token.
func (t StoredToken) String() string { return fmt.Sprintf("stored token (%s, %s)", t.Result, t.Status) }

// GoString keeps %#v as silent as String.
func (t StoredToken) GoString() string { return t.String() }

// Chargeable reports whether the operation succeeded and the gateway says that it
// will try to charge the token. Anything less proves nothing.
func (t StoredToken) Chargeable() bool { return t.Result == ResultSuccess && t.Status == TokenValid }

// readToken reads the answer of TOKENIZE and RETRIEVE_TOKEN. token is the one that
// was asked about, or empty.
func (a *answer) readToken(token string) (StoredToken, error) {
	t := StoredToken{
		Result:        a.result(),
		Token:         a.fields["token"],
		RepositoryID:  a.word("repositoryId"),
		Status:        TokenStatus(a.word("status")),
		Verification:  Verification{tokens.Strategy(a.word("verificationStrategy")), a.masked("response.gatewayCode")},
		SourceType:    SourceType(a.word("sourceOfFunds.type")),
		Card:          a.readCard(),
		ACH:           a.readACH(),
		Updated:       a.readUpdate(),
		LastUsed:      a.instant("usage.lastUsed", "usage.lastUsedTime"),
		CorrelationID: a.line("correlationId"),
	}
	switch {
	case t.Token == "":
		t.Token = token
	case token != "" && t.Token != token:
		return StoredToken{}, fmt.Errorf("%w: token differs: %w", tokens.ErrUnanswered, billing.ErrMismatch)
	case !isToken(t.Token):
		t.Token = ""
	}
	if t.Token == "" && t.Result == ResultSuccess {
		return StoredToken{}, fmt.Errorf("%w: SUCCESS without a token: %w", tokens.ErrUnanswered, billing.ErrUnknown)
	}
	return t, nil
}

func (a *answer) readCard() Card {
	const group = "sourceOfFunds.provided.card."
	return Card{
		Brand:         a.word(group + "brand"),
		Scheme:        a.word(group + "scheme"),
		LocalBrand:    a.masked(group + "localBrand"),
		FundingMethod: a.word(group + "fundingMethod"),
		Issuer:        a.masked(group + "issuer"),
		Expiry:        a.readExpiry(group + "expiry"),
		MaskedNumber:  a.maskedNumber(group+"number", 10),
	}
}

func (a *answer) readACH() StoredACH {
	const group = "sourceOfFunds.provided.ach."
	return StoredACH{
		AccountType:       AccountType(a.word(group + "accountType")),
		Holder:            gateway.Line(a.fields[group+"bankAccountHolder"], maxLine),
		MaskedNumber:      a.maskedNumber(group+"bankAccountNumber", 4),
		RoutingNumber:     a.word(group + "routingNumber"),
		SECCode:           SECCode(a.word(group + "secCode")),
		AccountIdentifier: a.word(group + "accountIdentifier"),
	}
}

// maskedNumber returns a number as the gateway masked it, if it shows no more than
// shown characters. One that came in clear, which is never asked for, is masked
// here down to its last four.
func (a *answer) maskedNumber(name string, shown int) string {
	const kept = 4
	s := a.word(name)
	masks := strings.Count(s, "x") + strings.Count(s, "X") + strings.Count(s, "*")
	if len(s)-masks <= shown {
		return s
	}
	hidden := max(0, len(s)-kept)
	return strings.Repeat("x", hidden) + s[hidden:]
}

// readExpiry reads an expiry in both shapes that answers have: four digits MMYY in
// one field, or month and year in two. One that is neither is not known.
func (a *answer) readExpiry(name string) tokens.Expiry {
	month, year := a.fields[name+".month"], a.fields[name+".year"]
	if text := a.fields[name]; len(text) == 4 {
		month, year = text[:2], text[2:]
	}
	if !isDigits(month) || !isDigits(year) || len(year) != 2 {
		return tokens.Expiry{}
	}
	m, _ := strconv.Atoi(month) // what does not fit is no month either
	y, _ := strconv.Atoi(year)
	expiry, err := tokens.NewExpiry(y, m)
	if err != nil {
		return tokens.Expiry{}
	}
	return expiry
}

// readUpdate reads usage.lastUpdated in both shapes: a time, or a group.
func (a *answer) readUpdate() TokenUpdate {
	const name = "usage.lastUpdated"
	update := TokenUpdate{At: a.instant(name, name+".time"), By: a.word(name + ".merchantId"), Source: a.word(name + ".source")}
	if update.By == "" {
		update.By = a.word("usage.lastUpdatedBy")
	}
	return update
}

// instant returns the first of the fields that is a time; zero if none is.
func (a *answer) instant(names ...string) time.Time {
	for _, name := range names {
		if at, err := time.Parse(time.RFC3339, a.fields[name]); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}
