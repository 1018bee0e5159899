package sandbox

import (
	"net/http"
	"strings"
)

// adyenMethods is GET /storedPaymentMethods and DELETE …/{id}.
type adyenMethods struct{ *adyenPayments }

// read implements dialect. There is no body and no idempotency key.
func (d *adyenMethods) read(x *exchange) *apiError {
	if !d.authorised(x.r) {
		return errUnauthorised
	}
	query := x.r.URL.Query()
	x.req = request{operation: operationMethods, merchantAccount: query.Get("merchantAccount"), shopperReference: query.Get("shopperReference")}
	if x.r.Method == http.MethodDelete {
		x.req.operation, x.req.token = operationDisable, x.r.PathValue("id")
	}
	return nil
}

// act implements dialect.
func (d *adyenMethods) act(x *exchange, rule *Rule) reply {
	if answer, ruled := d.asRuled(x, rule); ruled {
		return answer
	}
	if x.req.operation == operationDisable {
		return d.disable(x)
	}
	b := appendMember(x.answer[:0], `{"merchantAccount":`, x.req.merchantAccount)
	b = appendMember(b, `,"shopperReference":`, x.req.shopperReference)
	b = append(b, `,"storedPaymentMethods":[`...)
	for i, m := range d.methods.of(x.req.merchantAccount, x.req.shopperReference) {
		if i > 0 {
			b = append(b, ',')
		}
		b = m.appendTo(b)
	}
	x.answer = append(b, `]}`...)
	return reply{status: http.StatusOK, body: x.answer}
}

// disable takes a token away for good. One that nobody has heard of was stored
// elsewhere, for this shopper.
func (d *adyenMethods) disable(x *exchange) reply {
	token := x.req.token
	if x.req.merchantAccount == "" || x.req.shopperReference == "" {
		return x.errorReply(invalid(errorAmount, "merchantAccount and shopperReference are required."))
	}
	gone := storedMethod{Token: token, MerchantAccount: x.req.merchantAccount, Shopper: x.req.shopperReference, Account: importedAccount(token)}
	if m := d.methods.find(token); m != nil {
		if m.Deleted || m.Shopper != x.req.shopperReference || m.MerchantAccount != x.req.merchantAccount {
			return x.errorReply(errNoMethod)
		}
		gone = *m
	} else if tokenEnding(token) == "notfound" {
		return x.errorReply(errNoMethod)
	}
	card := d.methods.cardOf(token)
	gone.Deleted = true
	if err := d.keepMethod(&gone); err != nil {
		d.log.Error("the ledger cannot be written", "error", err)
		return x.errorReply(errLedger)
	}
	if d.webhooks != nil {
		d.next(x)
		d.webhooks.order(&tokenEvent{
			kind: tokenEventPrefix + "disabled", cause: string(x.psp), account: gone.MerchantAccount, shopper: gone.Shopper,
			token: token, method: card.brand, at: d.clock.now(),
		})
	}
	return reply{status: http.StatusNoContent}
}

// untrue implements dialect.
func (d *adyenMethods) untrue(x *exchange) reply {
	if x.req.operation == operationDisable {
		return reply{status: http.StatusNoContent}
	}
	x.answer = append(x.answer[:0], `{"storedPaymentMethods":[]}`...)
	return reply{status: http.StatusOK, body: x.answer}
}

// appendTo appends a token as GET /storedPaymentMethods lists it.
func (m *storedMethod) appendTo(b []byte) []byte {
	c := m.card()
	month, year, _ := strings.Cut(m.Account.Expiry, "/")
	b = appendMember(b, `{"brand":`, c.brand)
	b = appendMember(b, `,"expiryMonth":`, month)
	b = appendMember(b, `,"expiryYear":`, year)
	b = appendMember(b, `,"id":`, m.Token)
	b = appendMember(b, `,"lastFour":`, string(c.summary[:]))
	b = appendMember(b, `,"name":`, m.Account.Brand)
	b = appendMember(b, `,"shopperReference":`, m.Shopper)
	return append(b, `,"supportedRecurringProcessingModels":["CardOnFile","Subscription","UnscheduledCardOnFile"],"type":"scheme"}`...)
}
