package mastercard

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
)

// An Operation is how a charge is made. A merchant's profile allows one, the
// other, or both (Pay; Authorize).
type Operation string

const (
	Pay              Operation = "pay"               // PAY: authorise and capture in one request
	AuthorizeCapture Operation = "authorize_capture" // AUTHORIZE, and CAPTURE if it was approved
)

// wireVersions name how a charge of each operation is written. Any change of a
// byte for the same request needs the next number for both: an attempt is only
// ever sent again with the bytes that it was first sent with, and never with the
// other operation, which under the same ids would be a different transaction.
var wireVersions = map[Operation]int{Pay: 1, AuthorizeCapture: 2}

// WireVersion implements billing.Gateway.
func (c *Client) WireVersion() int { return wireVersions[c.options.Operation] }

// Values of apiOperation for charges and look-ups.
const (
	opPay                 = "PAY"
	opAuthorize           = "AUTHORIZE"
	opCapture             = "CAPTURE"
	opRetrieveTransaction = "RETRIEVE_TRANSACTION"
	opRetrieveOrder       = "RETRIEVE_ORDER"
)

// Values of the fields that say that no payer is present (Credential on file
// transactions). Such a source must be enabled on the merchant's acquirer link.
const (
	sourceMerchant = "MERCHANT"
	storedOnFile   = "STORED"

	agreementRecurring   = "RECURRING"
	agreementUnscheduled = "UNSCHEDULED"

	// variable is what contauth says of every recurring agreement: a price may
	// change between cycles. Under FIXED such a charge needs a new agreement with
	// the payer present (reported by integrators).
	variable = "VARIABLE"
)

// agreementTypes are what agreement.type says for each model of charges.
var agreementTypes = map[billing.RecurringProcessingModel]string{
	billing.ModelSubscription:          agreementRecurring,
	billing.ModelUnscheduledCardOnFile: agreementUnscheduled,
}

// Limits in characters (Pay, version 100; Identifiers).
const (
	maxOrderID       = 40
	maxTransactionID = 40
	maxReference     = 40
	maxAgreementID   = 100
	maxToken         = 40
)

// captureMark ends the transaction.id of an attempt's capture.
const captureMark = "c"

// A payment is one attempt in the gateway's terms, checked.
type payment struct {
	orderID   string // the charge
	attempt   int
	amount    billing.Money
	decimal   string // the amount as it is sent
	token     string
	shopper   string
	agreement string
	kind      string // agreement.type
}

// A transaction is one of the requests that make a payment.
type transaction struct {
	operation string
	id        string
	kind      string // transaction.type of its answer
}

// paid is the transaction that takes the money in one request.
func (p *payment) paid() transaction {
	return transaction{opPay, strconv.Itoa(p.attempt), "PAYMENT"}
}

// authorized is the transaction that reserves the money.
func (p *payment) authorized() transaction {
	return transaction{opAuthorize, strconv.Itoa(p.attempt), "AUTHORIZATION"}
}

// captured is the transaction that takes what was reserved.
func (p *payment) captured() transaction {
	return transaction{opCapture, strconv.Itoa(p.attempt) + captureMark, "CAPTURE"}
}

// newPayment checks req against the gateway's limits. Its error is
// billing.ErrInvalid and quotes neither token nor shopper.
func newPayment(req billing.ChargeRequest) (payment, error) {
	p := payment{
		orderID: req.Reference, attempt: req.Attempt, amount: req.Amount,
		token: req.Token, shopper: req.ShopperReference,
	}
	if err := checkText("charge's reference, which becomes order.id,", p.orderID, maxOrderID); err != nil {
		return payment{}, err
	}
	if req.Attempt < 1 {
		return payment{}, invalid("attempt %d is not 1 or more", req.Attempt)
	}
	if !isToken(p.token) {
		return payment{}, invalid("the token is not 1 to %d of 0-9 a-z A-Z", maxToken)
	}
	if p.kind = agreementTypes[req.Model]; p.kind == "" {
		return payment{}, invalid("%q is no model of a charge without its shopper", req.Model)
	}
	p.agreement = agreementID(req)
	if err := checkText("shopper reference, which becomes agreement.id,", p.agreement, maxAgreementID); err != nil {
		return payment{}, err
	}
	if req.Amount.Minor <= 0 {
		return payment{}, invalid("an amount of %d cannot be charged", req.Amount.Minor)
	}
	var err error
	p.decimal, err = formatAmount(req.Amount)
	return p, err
}

// agreementID returns our name of the payer's consent, agreement.id: of a
// subscription's cycle the subscription, <subscription> of the charge
// <subscription>~<cycle>; of everything else the shopper, to whom unscheduled
// charges were agreed. The payer-present transaction that opened the agreement
// must have used the same (Credential on file transactions).
func agreementID(req billing.ChargeRequest) string {
	if req.Model == billing.ModelSubscription {
		// A cycle is written as an attempt is: the last number behind the mark.
		if subscription, _, ok := billing.SplitAttemptReference(req.Reference); ok {
			return subscription
		}
	}
	return req.ShopperReference
}

func checkText(name, value string, most int) error {
	if !utf8.ValidString(value) {
		return invalid("the %s is not UTF-8", name)
	}
	if n := utf8.RuneCountInString(value); n < 1 || n > most {
		return invalid("the %s has %d characters, the Mastercard Gateway takes 1 to %d", name, n, most)
	}
	return nil
}

func isToken(text string) bool {
	return text != "" && len(text) <= maxToken && !strings.ContainsFunc(text, notAlphanumeric)
}

func notAlphanumeric(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w request: "+format, append([]any{billing.ErrInvalid}, args...)...)
}

// request is the body of one of p's transactions: these fields in this order. It
// is a function of p, t and the client's options alone.
func (c *Client) request(p *payment, t transaction) message {
	f := c.newForm(t.operation)
	f.add("order.id", p.orderID)
	f.add("transaction.id", t.id)
	if t.operation == opCapture {
		// A capture must not name the source of funds (Capture). It has no reference
		// either: a profile may demand that those are never used twice.
		f.add("transaction.amount", p.decimal)
		f.add("transaction.currency", p.amount.Currency)
		return c.sign(f, p.token, p.shopper)
	}
	f.add("order.amount", p.decimal)
	f.add("order.currency", p.amount.Currency)
	// The reference that finance sees at every gateway. It is only for people, so
	// one that is too long is left out.
	if reference := billing.AttemptReference(p.orderID, p.attempt); utf8.RuneCountInString(reference) <= maxReference {
		f.add("order.reference", reference)
		f.add("transaction.reference", reference)
	}
	f.add("transaction.source", sourceMerchant)
	f.add("sourceOfFunds.type", typeCard)
	f.add(fieldToken, p.token)
	f.add("sourceOfFunds.provided.card.storedOnFile", storedOnFile)
	f.add("agreement.id", p.agreement)
	f.add("agreement.type", p.kind)
	if p.kind == agreementRecurring {
		f.add("agreement.amountVariability", variable)
	}
	return c.sign(f, p.token, p.shopper)
}

// lookUp is the body that asks what became of one of p's transactions.
func (c *Client) lookUp(p *payment, t transaction) message {
	f := c.newForm(opRetrieveTransaction)
	f.add("order.id", p.orderID)
	f.add("transaction.id", t.id)
	return c.sign(f, p.token, p.shopper)
}
