package sandbox

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// A ledgerLine is what webhooks need of a payment, as payment.appendLine writes it.
type ledgerLine struct {
	MerchantAccount   string `json:"merchant_account"`
	Reference         string `json:"reference"`
	Token             string `json:"token"`
	ShopperReference  string `json:"shopper_reference"`
	Model             string `json:"model"`
	GatewayValue      int64  `json:"gateway_value"`
	Currency          string `json:"currency"`
	ResultCode        string `json:"result_code"`
	RefusalReasonCode string `json:"refusal_reason_code"`
	PSPReference      string `json:"psp_reference"`

	orderReference string // merchantOrderReference; the ledger does not keep it
	card           card
	session        string // checkoutSessionId
	stored         string // what became of the token: created or alreadyExisting
}

func (p *payment) ledgerLine() *ledgerLine {
	return &ledgerLine{
		MerchantAccount: p.req.merchantAccount, Reference: p.req.reference, Token: p.req.token, ShopperReference: p.req.shopperReference,
		Model: p.req.model, GatewayValue: p.req.value, Currency: p.req.currency, ResultCode: p.outcome.result,
		RefusalReasonCode: string(p.outcome.appendCode(nil)), PSPReference: string(p.psp), orderReference: p.req.merchantOrderReference, card: p.card,
	}
}

// told reports whether Adyen tells of the outcome by an AUTHORISATION at once, and
// of what success. What is pending is told of when it is decided.
func (o *outcome) told() (success, told bool) {
	switch o.result {
	case resultAuthorised:
		return true, true
	case resultRefused, resultError, resultCancelled:
		return false, true
	}
	return false, false
}

// authorisation is the event of the payment itself.
func (l *ledgerLine) authorisation(success bool, at time.Time) notification {
	n := l.notification("AUTHORISATION", l.PSPReference, at)
	n.success = success
	n.extra = []string{"cardSummary", string(l.card.summary[:]), "expiryDate", l.card.expiry, "recurringProcessingModel", l.Model,
		"retry.rescueScheduled", "false", "shopperReference", l.ShopperReference}
	if l.orderReference != "" {
		n.extra = append(n.extra, "merchantOrderReference", l.orderReference)
	}
	if l.session != "" {
		n.extra = append(n.extra, "checkoutSessionId", l.session)
	}
	if l.stored != "" {
		n.extra = append(n.extra, "tokenization.shopperReference", l.ShopperReference,
			"tokenization.store.operationType", l.stored, "tokenization.storedPaymentMethodId", l.Token)
	}
	if success {
		sum := crc32.Checksum([]byte(l.PSPReference), castagnoli)
		n.reason = fmt.Sprintf("%06d:%s:%s", sum%1_000_000, l.card.summary[:], l.card.expiry)
		return n
	}
	n.reason = "Refused"
	code, err := strconv.Atoi(l.RefusalReasonCode)
	if err != nil {
		return n // it was not refused when it was answered
	}
	refusal := refusalFor(code)
	n.reason = refusal.reason
	if refusal.raw != "" {
		n.extra = append(n.extra, "refusalReasonRaw", refusal.raw)
	}
	if refusal.advice != "" && l.card.brand == "mc" {
		n.extra = append(n.extra, "merchantAdviceCode", refusal.advice)
	}
	return n
}

// modification is the event of something that is done to the payment.
func (l *ledgerLine) modification(code, psp string, at time.Time) notification {
	n := l.notification(code, psp, at)
	n.original, n.success = l.PSPReference, true
	n.extra = []string{"shopperReference", l.ShopperReference}
	return n
}

// contract is the event of a token that was stored with the payment.
func (l *ledgerLine) contract(at time.Time) notification {
	n := l.modification("RECURRING_CONTRACT", l.Token, at)
	n.value = 0
	n.extra = append(n.extra, "recurring.recurringDetailReference", l.Token, "recurring.shopperReference", l.ShopperReference)
	return n
}

func (l *ledgerLine) notification(code, psp string, at time.Time) notification {
	return notification{
		code: code, psp: psp, account: l.MerchantAccount, reference: l.Reference,
		value: l.GatewayValue, currency: l.Currency, at: at, method: l.card.brand,
	}
}

// tokenEvent is an event in the life of the payment's token.
func (l *ledgerLine) tokenEvent(kind, cause string, at time.Time) *tokenEvent {
	return &tokenEvent{
		kind: kind, cause: cause, account: l.MerchantAccount, shopper: l.ShopperReference,
		token: l.Token, method: l.card.brand, at: at,
	}
}
