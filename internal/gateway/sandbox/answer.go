package sandbox

import (
	"hash/crc32"
	"strconv"
	"time"
)

// A payment is one entry of the ledger, before it has a form.
type payment struct {
	key     string
	req     *request
	card    card
	amount  int64 // ISO 4217 minor units
	outcome outcome
	seq     uint64 // its number in the ledger
	psp     []byte // pspReference
	at      time.Time
}

// recordKind tells money from a payment of nothing, by which a card is only checked.
func (p *payment) recordKind() recordKind {
	if p.amount == 0 {
		return recordVerification
	}
	return recordPayment
}

// ledgerTime is RFC 3339 with always six digits, so that lines sort as text.
const ledgerTime = "2006-01-02T15:04:05.000000Z"

// appendLine appends the payment as GET /sandbox/ledger shows it. The names
// are fixed: checkers read them.
func (p *payment) appendLine(b []byte) []byte {
	b = appendMember(b, `{"idempotency_key":`, p.key)
	b = appendMember(b, `,"merchant_account":`, p.req.merchantAccount)
	b = appendMember(b, `,"reference":`, p.req.reference)
	b = appendMember(b, `,"token":`, p.req.token)
	b = appendMember(b, `,"shopper_reference":`, p.req.shopperReference)
	b = appendMember(b, `,"model":`, p.req.model)
	b = append(b, `,"amount_minor":`...)
	b = strconv.AppendInt(b, p.amount, 10)
	b = append(b, `,"gateway_value":`...)
	b = strconv.AppendInt(b, p.req.value, 10)
	b = appendMember(b, `,"currency":`, p.req.currency)
	b = appendMember(b, `,"result_code":`, p.outcome.result)
	if p.outcome.gatewayCode != "" {
		b = appendMember(b, `,"refusal_reason_code":`, p.outcome.gatewayCode)
		b = append(b, `,"psp_reference":"`...)
	} else {
		b = append(b, `,"refusal_reason_code":"`...)
		b = p.outcome.appendCode(b)
		b = append(b, `","psp_reference":"`...)
	}
	b = append(b, p.psp...)
	b = append(b, `","at":"`...)
	b = p.at.UTC().AppendFormat(b, ledgerTime)
	return append(b, "\"}\n"...)
}

// appendCode appends the refusal code; nothing if there is no refusal.
func (o *outcome) appendCode(b []byte) []byte {
	if o.refusal.reason == "" {
		return b
	}
	return strconv.AppendInt(b, int64(o.refusal.code), 10)
}

// appendAnswer appends the body that Adyen answers: additionalData first, as
// in its samples; amount and paymentMethod only where there was no refusal.
func (p *payment) appendAnswer(b []byte) []byte {
	return p.appendAs(b, wrongness{p.req.value, p.req.currency, p.req.reference})
}

// appendAs implements teller.
func (p *payment) appendAs(b []byte, w wrongness) []byte {
	b = p.appendAdditionalData(b)
	b = append(b, `,"pspReference":"`...)
	b = append(b, p.psp...)
	b = appendMember(b, `","resultCode":`, p.outcome.result)
	if p.outcome.refusal.reason != "" {
		b = appendMember(b, `,"refusalReason":`, p.outcome.refusal.reason)
		b = append(b, `,"refusalReasonCode":"`...)
		b = p.outcome.appendCode(b)
		b = append(b, '"')
	} else {
		b = appendMember(b, `,"amount":{"currency":`, w.currency)
		b = append(b, `,"value":`...)
		b = strconv.AppendInt(b, w.value, 10)
		b = append(b, '}')
	}
	if p.outcome.result == resultAuthorised {
		b = appendMember(b, `,"paymentMethod":{"brand":`, p.card.brand)
		b = append(b, `,"type":"scheme"}`...)
	}
	if p.outcome.result == resultRedirect {
		b = append(b, `,"action":{"type":"redirect","method":"GET","paymentMethodType":"scheme","url":"https://example.invalid/"}`...)
	}
	b = appendMember(b, `,"merchantReference":`, w.reference)
	return append(b, '}')
}

// appendAdditionalData appends the map that merchants fill with switches in
// their account. The last member is one that no reader can know.
func (p *payment) appendAdditionalData(b []byte) []byte {
	b = append(b, `{"additionalData":{"cardSummary":"`...)
	b = append(b, p.card.summary[:]...)
	b = appendMember(b, `","expiryDate":`, p.card.expiry)
	b = appendMember(b, `,"paymentMethodVariant":`, p.card.brand)
	raw := p.outcome.refusal.raw
	if p.outcome.result == resultAuthorised {
		raw = "AUTHORISED"
	}
	if raw != "" {
		b = appendMember(b, `,"refusalReasonRaw":`, raw)
	}
	if advice := p.outcome.refusal.advice; advice != "" && p.card.brand == "mc" {
		b = appendMember(b, `,"merchantAdviceCode":`, advice)
	}
	return append(b, `,"issuerCountry":"NL","fraudResultType":"GREEN","sandbox.unlistedKey":"a reader passes over it"}`...)
}

// A card is what an answer shows of one.
type card struct {
	brand   string // Adyen's name of it
	expiry  string // MM/YYYY
	summary [4]byte
}

var cardBrands = [...]string{"visa", "mc", "visa", "mc", "amex", "maestro", "mc", "visa"}

// cardOf makes up a card for a token, always the same.
func cardOf(token string) card {
	h := crc32.Checksum([]byte(token), castagnoli)
	c := card{brand: cardBrands[h%uint32(len(cardBrands))], expiry: "03/2030"}
	for i := range c.summary {
		c.summary[i] = '0' + byte(h>>(8*i)%10)
	}
	return c
}

// appendMember appends name, which is already JSON up to its colon, and value
// as a JSON string.
func appendMember(b []byte, name, value string) []byte {
	return appendString(append(b, name...), value)
}

// appendString appends s as a JSON string. s is valid UTF-8.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[start:]...), '"')
}
