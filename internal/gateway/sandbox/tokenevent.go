package sandbox

import (
	"strings"
	"time"
)

// tokenEventPrefix begins the names of all events in the life of a token.
const tokenEventPrefix = "recurring.token."

// A tokenEvent is a webhook of the type "Recurring tokens life cycle events".
// Its signature covers the bytes of the body and stands in a header.
type tokenEvent struct {
	kind    string // recurring.token.created, .updated, .disabled or .alreadyExisting
	cause   string // eventId: pspReference of what caused it
	account string
	shopper string // shopperReference
	token   string // storedPaymentMethodId
	method  string // a card's brand, as Adyen names it
	at      time.Time
}

func (e *tokenEvent) names() (code, about string) { return e.kind, e.token }

// letter implements event. What a forger alters is the token: a token event has
// no amount, no success and no reference.
func (e *tokenEvent) letter(key signingKey, forged Forgery, late time.Duration) letter {
	if forged == ForgeryKey {
		key = key.another()
	}
	told := *e
	told.at = e.at.Add(late)
	body := told.body()
	signature := key.sign(body)
	switch forged {
	case ForgeryAmount, ForgerySuccess, ForgeryReference:
		told.token += "-other"
		body = told.body()
	case ForgeryUnsigned:
		signature = ""
	}
	return letter{body, signature}
}

func (e *tokenEvent) body() []byte {
	b := make([]byte, 0, 512)
	b = append(b, `{"createdAt":"`...)
	b = e.at.In(eventZone).AppendFormat(b, eventTime)
	b = appendMember(b, `","data":{"merchantAccount":`, e.account)
	if operation := strings.TrimPrefix(e.kind, tokenEventPrefix); operation != "disabled" {
		b = appendMember(b, `,"operation":`, operation)
	}
	b = appendMember(b, `,"shopperReference":`, e.shopper)
	b = appendMember(b, `,"storedPaymentMethodId":`, e.token)
	b = appendMember(b, `,"type":`, e.method)
	b = appendMember(b, `},"environment":"test","eventId":`, e.cause)
	b = appendMember(b, `,"type":`, e.kind)
	return append(b, `,"version":"1"}`...)
}
