package adyen

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
)

// wireVersion names how payment.appendJSON writes. Any change of a byte for
// the same request needs the next number: an attempt is only ever sent again
// with the bytes that it was first sent with.
const wireVersion = 1

// Adyen's own words.
const (
	contAuth = "ContAuth" // shopperInteraction of a charge without its shopper
	cardType = "scheme"   // paymentMethod.type of cards
)

// Limits of POST /payments in characters, the tighter of v71 and v72.
const (
	maxKey              = 64
	maxReference        = 80
	maxToken            = 64
	minShopperReference = 3
	maxShopperReference = 256
	maxReturnURL        = 1024
	maxPaymentMethod    = 40 // ours: Adyen's longest type has fewer than 30
)

// A payment is one charge in Adyen's terms, checked.
type payment struct {
	merchantAccount  string
	currency         string
	value            int64  // in Adyen's decimals
	reference        string // <charge>~<attempt>
	order            string // the charge: one value for all its attempts
	method           string
	token            string
	shopperReference string
	model            billing.RecurringProcessingModel
	returnURL        string
	attempt          int
}

// paymentReference is how a charge's attempt is called at Adyen.
func paymentReference(req billing.ChargeRequest) string {
	return billing.AttemptReference(req.Reference, req.Attempt)
}

// newPayment checks req against Adyen's limits. Its error is billing.ErrInvalid
// and does not quote the token.
func newPayment(req billing.ChargeRequest) (payment, error) {
	p := payment{
		merchantAccount:  req.MerchantAccount,
		currency:         req.Amount.Currency,
		reference:        paymentReference(req),
		order:            req.Reference,
		method:           req.PaymentMethod,
		token:            req.Token,
		shopperReference: req.ShopperReference,
		model:            req.Model,
		returnURL:        req.ReturnURL,
		attempt:          req.Attempt,
	}
	if p.method == "" {
		p.method = cardType
	}
	if len(req.Key) == 0 || len(req.Key) > maxKey || !isVisibleASCII(req.Key) {
		return payment{}, invalid("the idempotency key is not 1 to %d visible characters", maxKey)
	}
	if req.Attempt < 1 {
		return payment{}, invalid("attempt %d is not 1 or more", req.Attempt)
	}
	for _, field := range [...]struct {
		name, value string
		least, most int
	}{
		{"reference", p.reference, 3, maxReference},
		{"token", p.token, 1, maxToken},
		{"shopper reference", p.shopperReference, minShopperReference, maxShopperReference},
		{"return URL", p.returnURL, 1, maxReturnURL},
		{"payment method", p.method, 1, maxPaymentMethod},
	} {
		if err := checkText(field.name, field.value, field.least, field.most); err != nil {
			return payment{}, err
		}
	}
	if p.model != billing.ModelSubscription && p.model != billing.ModelUnscheduledCardOnFile {
		return payment{}, invalid("%q is no model of a charge without its shopper", p.model)
	}
	if req.Amount.Minor <= 0 {
		// Adyen takes a value of 0 as "verify the card", which is no charge.
		return payment{}, invalid("an amount of %d cannot be charged", req.Amount.Minor)
	}
	value, err := gatewayValue(req.Amount)
	p.value = value
	return p, err
}

func checkText(name, value string, least, most int) error {
	if !utf8.ValidString(value) {
		return invalid("the %s is not UTF-8", name)
	}
	n := len(value)
	if n > most { // only then can counting characters matter
		n = utf8.RuneCountInString(value)
	}
	if n < least || n > most {
		return invalid("the %s has %d characters, Adyen takes %d to %d", name, n, least, most)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w request: "+format, append([]any{billing.ErrInvalid}, args...)...)
}

// appendJSON appends the body of POST /payments: these fields in this order,
// without spaces. It is a function of p alone.
func (p *payment) appendJSON(b []byte) []byte {
	b = append(b, `{"merchantAccount":`...)
	b = appendString(b, p.merchantAccount)
	b = append(b, `,"amount":{"currency":`...)
	b = appendString(b, p.currency)
	b = append(b, `,"value":`...)
	b = strconv.AppendInt(b, p.value, 10)
	b = append(b, `},"reference":`...)
	b = appendString(b, p.reference)
	b = append(b, `,"merchantOrderReference":`...)
	b = appendString(b, p.order)
	b = append(b, `,"paymentMethod":{"type":`...)
	b = appendString(b, p.method)
	b = append(b, `,"storedPaymentMethodId":`...)
	b = appendString(b, p.token)
	b = append(b, `},"shopperReference":`...)
	b = appendString(b, p.shopperReference)
	b = append(b, `,"shopperInteraction":"`+contAuth+`","recurringProcessingModel":`...)
	b = appendString(b, string(p.model))
	b = append(b, `,"returnUrl":`...)
	b = appendString(b, p.returnURL)
	b = append(b, `,"additionalData":{"retry.orderAttemptNumber":"`...)
	b = strconv.AppendInt(b, int64(p.attempt), 10)
	return append(b, `"}}`...)
}

// appendString appends s, which is valid UTF-8, as a JSON string. Only what
// JSON demands is escaped.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		if c < ' ' {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			b = append(b, '\\', c)
		}
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

// isVisibleASCII reports whether s can stand in a header as it is.
func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
