package mastercard

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

// A SourceType is a kind of payment method, sourceOfFunds.type. Answers may name
// others.
type SourceType string

const (
	SourceCard SourceType = typeCard
	SourceACH  SourceType = "ACH" // a bank account in the United States
)

const typeCard = "CARD"

// An AccountType is the kind of a bank account.
type AccountType string

const (
	ConsumerChecking  AccountType = "CONSUMER_CHECKING"
	ConsumerSavings   AccountType = "CONSUMER_SAVINGS"
	CorporateChecking AccountType = "CORPORATE_CHECKING"
)

// A SECCode is NACHA's Standard Entry Class: how the account's holder agreed.
type SECCode string

const (
	SECWritten   SECCode = "PPD" // in writing
	SECTelephone SECCode = "TEL" // by telephone
	SECInternet  SECCode = "WEB" // on the internet
)

var (
	sourceTypes  = []SourceType{SourceCard, SourceACH}
	accountTypes = []AccountType{ConsumerChecking, ConsumerSavings, CorporateChecking}
	secCodes     = []SECCode{SECWritten, SECTelephone, SECInternet}
	strategies   = []tokens.Strategy{tokens.StrategyAcquirer, tokens.StrategyBasic, tokens.StrategyNone}
)

// A TokenizeRequest stores a payment method under a token (Create or Update
// Token). Its sources may be combined: what stands here directly wins over the
// session, and that over SourceToken.
//
// Three fields of the operation are missing on purpose: the number of a card and
// its security code, which contauth must never hold, and the wish for unmasked
// answers. Card details come from a hosted session.
//
// It prints without any of its values.
type TokenizeRequest struct {
	// Token is the token to update or, in a repository whose tokens the merchant
	// names, to create. Empty lets the gateway name one, or answer the one that the
	// same card has already in a repository of unique cards.
	Token string

	SessionID      string // lives about 15 minutes
	SessionVersion string // if set, the session must still have it

	SourceType  SourceType
	SourceToken string // another token whose details are to be stored
	Expiry      tokens.Expiry
	ACH         ACH

	Currency      string          // ISO 4217; of StrategyAcquirer
	Strategy      tokens.Strategy // empty: the one of the merchant's profile
	CorrelationID string          // comes back with the answer, and is stored nowhere
}

// ACH names a bank account. Either all of it is given or nothing.
type ACH struct {
	AccountType   AccountType
	Holder        string
	Number        secret.String // is sent, and never stored, logged or quoted
	RoutingNumber string
	SECCode       SECCode
}

// String is silent: the request names a token, a session, or a bank account.
func (TokenizeRequest) String() string { return "tokenize request" }

// GoString keeps %#v as silent as String.
func (r TokenizeRequest) GoString() string { return r.String() }

// String is silent: it names a person and an account.
func (ACH) String() string { return "bank account" }

// GoString keeps %#v as silent as String.
func (a ACH) GoString() string { return a.String() }

func (a ACH) isZero() bool {
	return a.AccountType == "" && a.Holder == "" && a.Number.IsEmpty() && a.RoutingNumber == "" && a.SECCode == ""
}

const opTokenize = "TOKENIZE"

// Limits in characters (Create or Update Token, version 100).
const (
	minSessionID     = 31
	maxSessionID     = 35
	sessionVersion   = 10
	maxHolder        = 28
	maxAccountNumber = 17
	routingNumber    = 9
	maxCorrelationID = 100
)

// validate returns an ErrInvalid that names the first field that the gateway
// would refuse, by its name there, and the rule. It quotes no value.
func (r TokenizeRequest) validate() error {
	hasACH := !r.ACH.isZero()
	switch {
	case r.Token != "" && !isToken(r.Token):
		return invalidField("token", "want 1 to %d of 0-9 a-z A-Z", maxToken)
	case !slices.Contains(sourceTypes, r.SourceType):
		return invalidField("sourceOfFunds.type", "want one of %s", sourceTypes)
	case r.SourceToken != "" && !isToken(r.SourceToken):
		return invalidField("sourceOfFunds.token", "want 1 to %d of 0-9 a-z A-Z", maxToken)
	case r.SessionID == "" && r.SourceToken == "" && r.Expiry.IsZero() && !hasACH:
		return invalidField("sourceOfFunds", "want a session, another token, an expiry or a bank account to take details from")
	case !r.Expiry.IsZero() && r.SourceType != SourceCard:
		return invalidField("sourceOfFunds.provided.card.expiry", "only with sourceOfFunds.type %s", SourceCard)
	case hasACH && r.SourceType != SourceACH:
		return invalidField("sourceOfFunds.provided.ach", "only with sourceOfFunds.type %s", SourceACH)
	case !slices.Contains(strategies, r.Strategy) && r.Strategy != "":
		return invalidField("verificationStrategy", "want one of %s, or none", strategies)
	case r.Strategy == tokens.StrategyAcquirer && r.Currency == "":
		return invalidField("transaction.currency", "verification by the acquirer needs one")
	case r.Currency != "" && !isCurrencyCode(r.Currency):
		return invalidField("transaction.currency", "want 3 letters A-Z")
	}
	if err := checkSession(r.SessionID, r.SessionVersion); err != nil {
		return err
	}
	if err := checkExpiry(r.Expiry); err != nil {
		return err
	}
	if r.SourceType == SourceACH && (hasACH || r.SessionID == "" && r.SourceToken == "") {
		if err := r.ACH.validate(); err != nil {
			return err
		}
	}
	return checkCorrelation(r.CorrelationID)
}

func (a ACH) validate() error {
	const group = "sourceOfFunds.provided.ach."
	number := a.Number.Reveal()
	switch {
	case !slices.Contains(accountTypes, a.AccountType):
		return invalidField(group+"accountType", "want one of %s", accountTypes)
	case !hasLength(a.Holder, 1, maxHolder):
		return invalidField(group+"bankAccountHolder", "want 1 to %d characters", maxHolder)
	case !hasLength(number, 1, maxAccountNumber) || strings.ContainsFunc(number, notInAccountNumber):
		return invalidField(group+"bankAccountNumber", "want 1 to %d of 0-9 a-z A-Z, space, - and /", maxAccountNumber)
	case len(a.RoutingNumber) != routingNumber || !isDigits(a.RoutingNumber):
		return invalidField(group+"routingNumber", "want %d digits", routingNumber)
	case !slices.Contains(secCodes, a.SECCode):
		return invalidField(group+"secCode", "want one of %s", secCodes)
	}
	return nil
}

func notInAccountNumber(r rune) bool {
	return notAlphanumeric(r) && r != ' ' && r != '-' && r != '/'
}

func checkSession(id, version string) error {
	switch {
	case id == "" && version != "":
		return invalidField("session.version", "only with session.id")
	case id != "" && (len(id) < minSessionID || len(id) > maxSessionID || !isVisibleASCII(id)):
		return invalidField("session.id", "want %d to %d ASCII characters", minSessionID, maxSessionID)
	case version != "" && (len(version) != sessionVersion || !isVisibleASCII(version)):
		return invalidField("session.version", "want exactly %d ASCII characters", sessionVersion)
	}
	return nil
}

// checkExpiry refuses what has no two digits of a year after 2000.
func checkExpiry(e tokens.Expiry) error {
	switch {
	case e.IsZero():
		return nil
	case e.Month < 1 || e.Month > 12:
		return invalidField("sourceOfFunds.provided.card.expiry.month", "want 1 to 12")
	case e.Year < 2000 || e.Year > 2099:
		return invalidField("sourceOfFunds.provided.card.expiry.year", "want a year from 2000 to 2099")
	}
	return nil
}

func checkCorrelation(id string) error {
	if id != "" && !hasLength(id, 1, maxCorrelationID) {
		return invalidField("correlationId", "want 1 to %d characters", maxCorrelationID)
	}
	return nil
}

func hasLength(text string, least, most int) bool {
	n := utf8.RuneCountInString(text)
	return utf8.ValidString(text) && n >= least && n <= most
}

func isCurrencyCode(text string) bool {
	return len(text) == 3 && !strings.ContainsFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// invalidField is the error of a request whose field, by the gateway's name,
// breaks a rule.
func invalidField(name, rule string, args ...any) error {
	return fmt.Errorf("%w request: %s: %s", billing.ErrInvalid, name, fmt.Sprintf(rule, args...))
}

// Tokenize stores a payment method, TOKENIZE. The gateway may verify it first;
// after any Result but ResultSuccess it is not verified whether the details were
// stored, so read the token back. The same request may be sent again.
//
// The error is billing.ErrInvalid for a request that is not sent, an *Error if
// the gateway refuses, and tokens.ErrUnanswered if nobody knows what became of it.
func (c *Client) Tokenize(ctx context.Context, r TokenizeRequest) (StoredToken, error) {
	if err := r.validate(); err != nil {
		return StoredToken{}, fmt.Errorf("mastercard: %s: %w", opTokenize, err)
	}
	f := c.newForm(opTokenize)
	f.add("correlationId", r.CorrelationID)
	f.add("token", r.Token)
	f.add("session.id", r.SessionID)
	f.add("session.version", r.SessionVersion)
	f.add("sourceOfFunds.type", string(r.SourceType))
	f.add("sourceOfFunds.token", r.SourceToken)
	if !r.Expiry.IsZero() {
		f.add("sourceOfFunds.provided.card.expiry.month", strconv.Itoa(int(r.Expiry.Month)))
		f.add("sourceOfFunds.provided.card.expiry.year", fmt.Sprintf("%02d", r.Expiry.Year%100))
	}
	f.add("sourceOfFunds.provided.ach.accountType", string(r.ACH.AccountType))
	f.add("sourceOfFunds.provided.ach.bankAccountHolder", r.ACH.Holder)
	f.add("sourceOfFunds.provided.ach.bankAccountNumber", r.ACH.Number.Reveal())
	f.add("sourceOfFunds.provided.ach.routingNumber", r.ACH.RoutingNumber)
	f.add("sourceOfFunds.provided.ach.secCode", string(r.ACH.SECCode))
	f.add("transaction.currency", r.Currency)
	f.add("verificationStrategy", string(r.Strategy)) // in requests of version 100: not verified
	m := c.sign(f, r.Token, r.SessionID, r.SourceToken, r.ACH.Holder, r.ACH.Number.Reveal())

	a, err := c.operate(ctx, opTokenize, r.CorrelationID, m)
	if err != nil {
		return StoredToken{}, err
	}
	stored, err := a.readToken(r.Token)
	if err != nil {
		return StoredToken{}, fmt.Errorf("mastercard: %s: %w", opTokenize, err)
	}
	return stored, nil
}
