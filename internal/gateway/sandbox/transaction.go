package sandbox

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// A transactionKind is what a transaction does to its order, as transaction.type
// says it.
type transactionKind string

const (
	kindPayment       transactionKind = "PAYMENT"
	kindAuthorization transactionKind = "AUTHORIZATION"
	kindVerification  transactionKind = "VERIFICATION"
	kindCapture       transactionKind = "CAPTURE"
	kindRefund        transactionKind = "REFUND"
	kindVoid          transactionKind = "VOID" // with what is voided behind it: VOID_PAYMENT
)

func (k transactionKind) voids() bool { return strings.HasPrefix(string(k), string(kindVoid)) }

// A transaction is one step of an order at the Mastercard Gateway, as the ledger
// keeps it. Its answer can be written again from it and its order.
type transaction struct {
	Seq      uint64          `json:"seq"`
	Merchant string          `json:"merchant"`
	Order    string          `json:"order"`
	ID       string          `json:"id"`
	Kind     transactionKind `json:"kind"`
	Target   string          `json:"target,omitempty"`
	Amount   int64           `json:"amount"` // asked for, in minor units
	Granted  int64           `json:"granted,omitempty"`
	Currency string          `json:"currency"`
	verdict

	Source         string `json:"source,omitempty"`
	OrderReference string `json:"order_reference,omitempty"`
	Reference      string `json:"reference,omitempty"`
	Agreement      string `json:"agreement,omitempty"`
	AgreementType  string `json:"agreement_type,omitempty"`
	StoredOnFile   string `json:"stored_on_file,omitempty"`

	Receipt string   `json:"receipt"`
	Token   string   `json:"token,omitempty"`
	Account *account `json:"account,omitempty"`

	At      int64 `json:"at"` // Unix nanoseconds
	Updated int64 `json:"updated"`
	// Previous is where the transaction of the order before this one stands in the
	// ledger; 0 is nowhere.
	Previous int64 `json:"previous,omitempty"`
	// Strange says that one enumeration of the answer has a value that nobody knows.
	Strange bool `json:"strange,omitempty"`
	Plain   bool `json:"plain,omitempty"` // the answer has no field that nobody knows
}

// grant says how much money the outcome is.
func (t *transaction) grant() {
	switch {
	case !t.approves():
		t.Granted = 0
	case t.Code == codePartly:
		t.Granted = t.Amount / 2
	default:
		t.Granted = t.Amount
	}
}

// word is the outcome in the ledger's words.
func (t *transaction) word() string {
	switch {
	case !t.approves():
		return t.ledger
	case t.Kind == kindCapture:
		return "Captured"
	case t.Kind == kindRefund:
		return "Refunded"
	case t.Kind.voids():
		return "Voided"
	}
	return t.ledger
}

// reference names the transaction in the ledger.
func (t *transaction) reference() string { return t.Order + "~" + t.ID }

// receiptOf is the acquirer's reference of the seq-th transaction of the ledger
// with that seed: twelve digits that no other transaction of it has, and that look
// nothing like its neighbours'.
func receiptOf(seed [8]byte, seq uint64) string {
	const receipts, spread = 1_000_000_000_000, 382_119_660_117 // without a common factor
	high, low := bits.Mul64(seq, spread)
	return fmt.Sprintf("%012d", (bits.Rem64(high, low, receipts)+binary.LittleEndian.Uint64(seed[:])%receipts)%receipts)
}

func (t *transaction) decimals() int { return currencies[t.Currency].iso }

// nvpTime is how the gateway writes instants.
const nvpTime = "2006-01-02T15:04:05.000Z"

func nvpInstant(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format(nvpTime)
}

// An nvpAnswer is a transaction and the order that it stands in, ready to be told.
type nvpAnswer struct {
	*transaction
	order       order
	correlation string
}

// appendAs implements teller: the answer with a wrong amount, currency or order.
func (a *nvpAnswer) appendAs(b []byte, w wrongness) []byte {
	lie, order := *a.transaction, a.order
	if w.value != lie.Amount {
		lie.Amount, lie.Granted = w.value, w.value
		order.amount, order.authorized = w.value, w.value
	}
	lie.Currency = w.currency
	if w.reference != lie.reference() {
		lie.Order = w.reference
	}
	return (&nvpAnswer{&lie, order, a.correlation}).appendTo(b)
}

// appendTo appends the answer to the transaction's own request.
func (a *nvpAnswer) appendTo(b []byte) []byte {
	b = appendField(b, "correlationId", a.correlation)
	b = appendField(b, "gatewayEntryPoint", "WEB_SERVICES_API")
	b = appendField(b, "merchant", a.Merchant)
	b = a.appendOrder(b, "order.")
	b = a.appendTransaction(b, "")
	if !a.Plain {
		b = appendField(b, "sandboxUnlistedField", "a reader passes over it")
	}
	return appendField(b, "version", nvpVersion)
}

// appendOrder appends what is known of the order; prefix stands before its names.
func (a *nvpAnswer) appendOrder(b []byte, prefix string) []byte {
	amount := func(minor int64) string { return formatAmount(minor, a.decimals()) }
	b = appendField(b, prefix+"amount", amount(a.order.amount))
	b = appendField(b, prefix+"creationTime", nvpInstant(a.order.created))
	b = appendField(b, prefix+"currency", a.Currency)
	b = appendField(b, prefix+"id", a.Order)
	b = appendField(b, prefix+"lastUpdatedTime", nvpInstant(a.order.updated))
	b = appendField(b, prefix+"merchantAmount", amount(a.order.amount))
	b = appendField(b, prefix+"merchantCurrency", a.Currency)
	b = appendField(b, prefix+"reference", a.OrderReference)
	b = appendField(b, prefix+"status", a.order.status.String())
	b = appendField(b, prefix+"totalAuthorizedAmount", amount(a.order.authorized))
	b = appendField(b, prefix+"totalCapturedAmount", amount(a.order.captured))
	b = appendField(b, prefix+"totalDisbursedAmount", amount(0))
	return appendField(b, prefix+"totalRefundedAmount", amount(a.order.refunded))
}

// appendTransaction appends the transaction itself; prefix stands before its names.
func (a *nvpAnswer) appendTransaction(b []byte, prefix string) []byte {
	v := a.verdict
	v.words()
	if a.Strange {
		v.recommendation = "RECOMMENDATION_OF_THE_FUTURE"
	}
	b = appendField(b, prefix+"agreement.id", a.Agreement)
	b = appendField(b, prefix+"agreement.type", a.AgreementType)
	b = appendField(b, prefix+"authorizationResponse.responseCode", v.AcquirerCode)
	b = appendField(b, prefix+"response.acquirerCode", v.AcquirerCode)
	b = appendField(b, prefix+"response.acquirerMessage", v.AcquirerMessage)
	b = appendField(b, prefix+"response.gatewayCode", v.Code)
	b = appendField(b, prefix+"response.gatewayRecommendation", v.recommendation)
	b = appendField(b, prefix+"result", v.Result)
	if a.Account != nil {
		b = a.Account.appendTo(b, prefix, twoFields)
		b = appendField(b, prefix+"sourceOfFunds.provided.card.storedOnFile", a.StoredOnFile)
	}
	b = appendField(b, prefix+"sourceOfFunds.token", a.Token)
	b = appendField(b, prefix+"timeOfLastUpdate", nvpInstant(a.Updated))
	b = appendField(b, prefix+"timeOfRecord", nvpInstant(a.At))
	b = appendField(b, prefix+"transaction.acquirer.batch", time.Unix(0, a.At).UTC().Format("20060102"))
	b = appendField(b, prefix+"transaction.acquirer.id", "SYSTEST_ACQ1")
	b = appendField(b, prefix+"transaction.acquirer.merchantId", a.Merchant)
	b = appendField(b, prefix+"transaction.acquirer.timeZone", "+1000")
	amount := a.Amount
	if v.approves() {
		amount = a.Granted
		b = appendField(b, prefix+"transaction.authorizationCode", a.Receipt[6:])
	}
	b = appendField(b, prefix+"transaction.amount", formatAmount(amount, a.decimals()))
	b = appendField(b, prefix+"transaction.currency", a.Currency)
	b = appendField(b, prefix+"transaction.id", a.ID)
	b = appendField(b, prefix+"transaction.receipt", a.Receipt)
	b = appendField(b, prefix+"transaction.reference", a.Reference)
	b = appendField(b, prefix+"transaction.source", a.Source)
	b = appendField(b, prefix+"transaction.stan", a.Receipt[:6])
	b = appendField(b, prefix+"transaction.targetTransactionId", a.Target)
	return appendField(b, prefix+"transaction.type", string(a.Kind))
}

// appendLine appends the transaction as GET /sandbox/ledger shows it: as Adyen's
// payments, in the same words.
func (t *transaction) appendLine(b []byte, key string) []byte {
	value := t.Amount
	if t.approves() {
		value = t.Granted
	}
	req := request{
		merchantAccount: t.Merchant, reference: t.reference(), token: t.Token, shopperReference: t.Agreement,
		model: modelOf(t.AgreementType), value: value, currency: t.Currency,
	}
	// The two ids are what the gateway knows a transaction by; acquirers begin their
	// receipts anew.
	name := appendString(nil, t.Order+"/"+t.ID)
	p := payment{key: key, req: &req, amount: value, psp: name[1 : len(name)-1], at: time.Unix(0, t.At)}
	p.outcome.result = t.word()
	if !t.approves() {
		p.outcome.gatewayCode = t.Code
	}
	return p.appendLine(b)
}

// modelOf returns Adyen's word for an agreement.type, where it has one.
func modelOf(agreementType string) string {
	switch agreementType {
	case "RECURRING":
		return modelSubscribed
	case "UNSCHEDULED":
		return modelUnscheduled
	}
	return agreementType
}

// indexed returns the prefix of the n-th element of a list.
func indexed(list string, n int) string { return list + "[" + strconv.Itoa(n) + "]." }
