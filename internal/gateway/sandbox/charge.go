package sandbox

import (
	"encoding/json"
	"net/http"
)

// begin makes a transaction of a request, before its outcome is known.
func (m *mastercard) begin(x *exchange, amount int64) *transaction {
	f := &x.form
	now := m.clock.now().UnixNano()
	t := &transaction{
		Merchant: f.get("merchant"), Order: f.get("order.id"), ID: f.get("transaction.id"),
		Kind: x.operation.kind, Target: f.get("transaction.targetTransactionId"),
		Amount: amount, Currency: x.req.currency,
		Source: f.get("transaction.source"), OrderReference: f.get("order.reference"), Reference: f.get("transaction.reference"),
		Agreement: f.get("agreement.id"), AgreementType: f.get("agreement.type"),
		Token: f.get("sourceOfFunds.token"), At: now, Updated: now, Plain: m.options.OnlyKnownFields,
	}
	if t.Source == "" {
		t.Source = "INTERNET"
	}
	return t
}

// charge is PAY, AUTHORIZE and VERIFY.
func (m *mastercard) charge(x *exchange, rule *Rule) reply {
	amount, wrong := m.checkCharge(x)
	if wrong != nil {
		return m.refuse(x, wrong)
	}
	f := &x.form
	funds, wrong := m.fundsOf(f)
	if wrong != nil {
		return m.refuse(x, wrong)
	}
	t := m.begin(x, amount)
	t.Account, t.StoredOnFile = funds.account, f.get("sourceOfFunds.provided.card.storedOnFile")
	if t.StoredOnFile == "" {
		t.StoredOnFile = "NOT_STORED"
		if t.Source == sourceMerchant {
			t.StoredOnFile = "STORED"
		}
	}
	t.verdict = m.decide(f, rule, funds)
	if t.Code == codeLocked {
		return m.refuse(x, errLocked)
	}
	return m.conclude(x, t, rule)
}

// sourceMerchant is the transaction.source of a charge without its payer.
const sourceMerchant = "MERCHANT"

// checkCharge returns what is wrong between the fields of a charge, and its amount
// in minor units.
func (m *mastercard) checkCharge(x *exchange) (amount int64, wrong *apiError) {
	f := &x.form
	c, known := currencies[f.get("order.currency")]
	if !known || c.iso > maxDecimals {
		return 0, invalidField("order.currency", "The currency is not one that is taken.")
	}
	if o := m.orders.find(x.order); o.last != 0 && string(o.currency[:]) != f.get("order.currency") {
		return 0, invalidField("order.currency", "The order has another currency.")
	}
	if f.has("order.amount") {
		var ok bool
		if amount, ok = parseAmount(f.get("order.amount"), c.iso); !ok || amount == 0 && x.req.operation != "VERIFY" {
			return 0, invalidField("order.amount", "The amount cannot be.")
		}
	}
	byMerchant := f.get("transaction.source") == sourceMerchant
	switch kind := f.get("agreement.type"); {
	case kind != "" && kind != "OTHER" && !f.has("agreement.id"):
		return 0, missingField("agreement.id")
	case kind == "RECURRING" && !f.has("agreement.amountVariability"):
		return 0, missingField("agreement.amountVariability")
	case byMerchant && f.get("sourceOfFunds.provided.card.storedOnFile") == "NOT_STORED":
		return 0, invalidField("sourceOfFunds.provided.card.storedOnFile", "A merchant-initiated transaction uses stored details.")
	case f.get("transaction.resubmission") == "true" && !f.has("referenceOrderId") && !f.has("transaction.acquirer.traceId"):
		return 0, missingField("referenceOrderId")
	}
	return amount, nil
}

// funds are what a charge is made from.
type funds struct {
	account *account
	ending  string // of a token, which decides; empty if it does not
	verdict string // of an acquirer, of the card in a session
}

// fundsOf finds the card or bank account of a charge: what stands in the request
// goes before the session, and that before the token.
func (m *mastercard) fundsOf(f *form) (funds, *apiError) {
	var found funds
	switch token := f.get("sourceOfFunds.token"); {
	case f.has("session.id"):
		session, wrong := m.sessionOf(f)
		if wrong != nil {
			return funds{}, wrong
		}
		found.account, found.verdict = session.Account, session.Verification
	case token == "":
		return funds{}, missingField("sourceOfFunds.token")
	default:
		stored := m.tokens.get(token)
		if stored == nil {
			return funds{}, invalidField("sourceOfFunds.token", "There is no such token.")
		}
		if stored.Status == statusInvalid {
			return funds{}, invalidField("sourceOfFunds.token", "The token is not valid.")
		}
		found.account = stored.Account
		if stored.Account.imported() {
			found.ending = nvpEnding(token)
		}
	}
	if expiry := expiryOf(f); expiry != "" && found.account.Bank == nil {
		found.account.Expiry = expiry
	}
	return found, nil
}

// expiryOf returns the expiry date that a request gives, MM/YY; empty if none.
func expiryOf(f *form) string {
	month, year := f.get("sourceOfFunds.provided.card.expiry.month"), f.get("sourceOfFunds.provided.card.expiry.year")
	if month == "" || year == "" {
		return ""
	}
	if len(month) == 1 {
		month = "0" + month
	}
	return month + "/" + year
}

// decide returns what becomes of a charge that is good. A rule goes before the
// order's reference, that before the token's ending or what a session's card is
// said to bring, and these before the expiry.
func (m *mastercard) decide(f *form, rule *Rule, from funds) verdict {
	if v, decides := ruleVerdict(rule); decides {
		return v
	}
	if v, decides := referenceVerdict(f.get("order.reference")); decides {
		return v
	}
	if v, decides := endingVerdict(from.ending); decides {
		return v
	}
	if code := chargeCodes[from.verdict]; code != "" {
		return verdictOf(code)
	}
	return verdictOf(byExpiry(from.account.Expiry, m.clock.now()))
}

// chargeCodes are what a charge of a card brings of which an acquirer says that.
var chargeCodes = map[string]string{
	"SUCCESSFUL":                       codeApproved,
	"DECLINED":                         codeDeclined,
	"DECLINED_EXPIRED_CARD":            "EXPIRED_CARD",
	"DECLINED_INVALID_CSC":             "INVALID_CSC",
	"DECLINED_AUTHENTICATION_REQUIRED": "AUTHENTICATION_FAILED",
	"BLOCKED":                          "BLOCKED",
	"PROCESSING_ERROR":                 "ACQUIRER_SYSTEM_ERROR",
}

// conclude writes a transaction with its outcome into the ledger, and answers.
func (m *mastercard) conclude(x *exchange, t *transaction, rule *Rule) reply {
	t.grant()
	t.Seq = m.next(x)
	t.Receipt = receiptOf(m.ledger.seed, t.Seq)
	t.Strange = m.options.StrangeEvery > 0 && t.Seq%uint64(m.options.StrangeEvery) == 0
	before := m.orders.find(x.order)
	t.Previous = before.last
	before.add(t)
	told := &nvpAnswer{t, before, x.form.get("correlationId")}

	x.line = t.appendLine(x.line[:0], x.key)
	detail, err := json.Marshal(t)
	if err != nil {
		panic(err) // a struct of texts and numbers
	}
	r := record{kind: recordOf(t.Kind), status: http.StatusOK, seq: t.Seq, at: t.At, line: x.line, detail: detail}
	if rule != nil && rule.Do == ActionStoredIOError {
		r.status = errServerFailed.status
		x.answer = m.appendError(x.answer[:0], x, errServerFailed, x.psp)
	} else {
		x.answer = told.appendTo(x.answer[:0])
	}
	answer, offset := m.keep(x, r)
	if offset == 0 {
		return answer
	}
	m.count(t, offset, r.kind)
	answer.told = told
	return answer
}

func recordOf(kind transactionKind) recordKind {
	switch {
	case kind == kindPayment, kind == kindAuthorization:
		return recordPayment
	case kind == kindVerification:
		return recordVerification
	}
	return recordModification
}

// modify is CAPTURE, REFUND and VOID.
func (m *mastercard) modify(x *exchange, rule *Rule) reply {
	o := m.orders.find(x.order)
	if o.last == 0 {
		return m.refuse(x, invalidField("order.id", "There is no such order."))
	}
	x.req.currency = string(o.currency[:])
	var t *transaction
	var wrong *apiError
	if x.req.operation == "VOID" {
		t, wrong = m.void(x, o)
	} else {
		t, wrong = m.capture(x, o)
	}
	if wrong != nil {
		return m.refuse(x, wrong)
	}
	t.verdict = verdicts[codeApproved]
	if v, decides := ruleVerdict(rule); decides {
		t.verdict = v
	}
	return m.conclude(x, t, rule)
}

// capture checks a CAPTURE or REFUND against the totals of the order.
func (m *mastercard) capture(x *exchange, o order) (*transaction, *apiError) {
	f := &x.form
	if f.get("transaction.currency") != string(o.currency[:]) {
		return nil, invalidField("transaction.currency", "The order has another currency.")
	}
	amount, ok := parseAmount(f.get("transaction.amount"), currencies[x.req.currency].iso)
	left := o.authorized - o.captured
	if x.req.operation == "REFUND" {
		left = o.captured - o.refunded
	}
	if !ok || amount == 0 || amount > left {
		return nil, invalidField("transaction.amount", "The order does not have that much.")
	}
	return m.begin(x, amount), nil
}

// void finds what a VOID is about, which must stand and not be voided yet.
func (m *mastercard) void(x *exchange, o order) (*transaction, *apiError) {
	target := x.form.get("transaction.targetTransactionId")
	all, err := m.transactions(o)
	if err != nil {
		m.log.Error("the ledger cannot be read", "error", err)
		return nil, errBusy
	}
	var found *transaction
	for _, t := range all {
		switch {
		case t.ID == target:
			found = t
		case t.Target == target && t.Kind.voids() && t.approves():
			return nil, invalidField("transaction.targetTransactionId", "The transaction is void.")
		}
	}
	if found == nil || !found.approves() || found.Kind.voids() || found.Kind == kindVerification {
		return nil, invalidField("transaction.targetTransactionId", "There is no such transaction to void.")
	}
	t := m.begin(x, found.Granted)
	t.Kind = kindVoid + "_" + found.Kind
	return t, nil
}
