package mastercard

import (
	"context"
	"fmt"
	"slices"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

const opVerify = "VERIFY"

// A StoredOnFile says what is to be kept of a card for later charges.
type StoredOnFile string

const (
	ToBeStored StoredOnFile = "TO_BE_STORED" // the payer is present and agrees
	Stored     StoredOnFile = storedOnFile   // it was stored with consent before
)

// A VerifyRequest asks the issuer whether a card is good, without charging it. It
// is a transaction on an order of its own, and counts at the schemes as an
// attempt.
//
// It prints without any of its values.
type VerifyRequest struct {
	OrderID       string // ours; never that of a charge
	TransactionID string
	Currency      string // ISO 4217
	// The card: a token, or what the payer entered into a session.
	Token          string
	SessionID      string
	SessionVersion string
	// MerchantInitiated says that no payer is present (transaction.source MERCHANT);
	// otherwise the source is the default of the acquirer link.
	MerchantInitiated bool
	StoredOnFile      StoredOnFile // empty: the gateway's default
	// The agreement that this opens or belongs to; empty for none. The type is that
	// of charges: Subscription or UnscheduledCardOnFile.
	AgreementID   string
	Model         billing.RecurringProcessingModel
	CorrelationID string
}

// String is silent: the request names a token or a session.
func (VerifyRequest) String() string { return "verify request" }

// GoString keeps %#v as silent as String.
func (r VerifyRequest) GoString() string { return r.String() }

// A VerifyReply is what the issuer said of a card.
type VerifyReply struct {
	Result          Result
	GatewayCode     string // response.gatewayCode, as it came
	AcquirerCode    string
	AcquirerMessage string // one line without secrets
	// Approved: the code is of the approved class. Class says why not, of a refusal.
	Approved bool
	Class    billing.DeclineClass
	// SecurityCode is what the issuer said of the security code, where one was
	// entered, such as MATCH or NO_MATCH.
	SecurityCode string
	// SchemeTransaction is the scheme's own id of the transaction, to which later
	// charges refer; empty where the gateway does not tell.
	SchemeTransaction string
	Card              Card
}

func (r VerifyRequest) validate() error {
	switch {
	case !hasLength(r.OrderID, 1, maxOrderID):
		return invalidField("order.id", "want 1 to %d characters", maxOrderID)
	case !hasLength(r.TransactionID, 1, maxTransactionID):
		return invalidField("transaction.id", "want 1 to %d characters", maxTransactionID)
	case !isCurrencyCode(r.Currency):
		return invalidField("order.currency", "want 3 letters A-Z")
	case r.Token != "" && !isToken(r.Token):
		return invalidField(fieldToken, "want 1 to %d of 0-9 a-z A-Z", maxToken)
	case r.Token == "" && r.SessionID == "":
		return invalidField("sourceOfFunds", "want a token or a session")
	case r.StoredOnFile != "" && !slices.Contains([]StoredOnFile{ToBeStored, Stored}, r.StoredOnFile):
		return invalidField("sourceOfFunds.provided.card.storedOnFile", "want %s or %s, or none", ToBeStored, Stored)
	case (r.AgreementID == "") != (r.Model == ""):
		return invalidField("agreement", "want an id and a type together, or neither")
	case r.AgreementID != "" && !hasLength(r.AgreementID, 1, maxAgreementID):
		return invalidField("agreement.id", "want 1 to %d characters", maxAgreementID)
	case r.Model != "" && agreementTypes[r.Model] == "":
		return invalidField("agreement.type", "want the model %s or %s", billing.ModelSubscription, billing.ModelUnscheduledCardOnFile)
	}
	if err := checkSession(r.SessionID, r.SessionVersion); err != nil {
		return err
	}
	return checkCorrelation(r.CorrelationID)
}

// Verify asks the issuer whether a card is good, VERIFY. The same request, with
// the same ids, asks once. Errors are as those of Tokenize; an answer that is
// about another transaction is tokens.ErrUnanswered.
func (c *Client) Verify(ctx context.Context, r VerifyRequest) (VerifyReply, error) {
	if err := r.validate(); err != nil {
		return VerifyReply{}, fmt.Errorf("mastercard: %s: %w", opVerify, err)
	}
	f := c.newForm(opVerify)
	f.add("correlationId", r.CorrelationID)
	f.add("order.id", r.OrderID)
	f.add("transaction.id", r.TransactionID)
	f.add("order.currency", r.Currency)
	if r.MerchantInitiated {
		f.add("transaction.source", sourceMerchant)
	}
	f.add("session.id", r.SessionID)
	f.add("session.version", r.SessionVersion)
	f.add("sourceOfFunds.type", typeCard)
	f.add(fieldToken, r.Token)
	f.add("sourceOfFunds.provided.card.storedOnFile", string(r.StoredOnFile))
	f.add("agreement.id", r.AgreementID)
	f.add("agreement.type", agreementTypes[r.Model])
	if agreementTypes[r.Model] == agreementRecurring {
		f.add("agreement.amountVariability", variable)
	}
	a, err := c.operate(ctx, opVerify, r.CorrelationID, c.sign(f, r.Token, r.SessionID, r.AgreementID))
	if err != nil {
		return VerifyReply{}, err
	}
	asked := payment{orderID: r.OrderID}
	// The amounts of a verification, none or zero, say nothing.
	if err := a.compareNames(&asked, transaction{opVerify, r.TransactionID, "VERIFICATION"}, c.options.MerchantID); err != nil {
		return VerifyReply{}, fmt.Errorf("mastercard: %s: %w: %w", opVerify, tokens.ErrUnanswered, err)
	}
	return a.readVerification(), nil
}

func (a *answer) readVerification() VerifyReply {
	code := a.masked("response.gatewayCode")
	meaning := meaningOf(code)
	reply := VerifyReply{
		Result:            a.result(),
		GatewayCode:       code,
		AcquirerCode:      a.masked("response.acquirerCode"),
		AcquirerMessage:   a.line("response.acquirerMessage"),
		Approved:          a.result() == ResultSuccess && meaning == codeApproved,
		SecurityCode:      a.word("response.cardSecurityCode.gatewayCode"),
		SchemeTransaction: a.word("authorizationResponse.transactionIdentifier"),
		Card:              a.readCard(),
	}
	if a.result() == ResultFailure && (meaning == codeRefused || meaning == codeNew) {
		reply.Class = classify(code, reply.Card.Scheme, reply.AcquirerCode)
	}
	return reply
}
