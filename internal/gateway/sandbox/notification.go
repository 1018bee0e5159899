package sandbox

import (
	"bytes"
	"strconv"
	"time"
)

// An event is what one webhook tells.
type event interface {
	// names returns the event's code, and what tells it from others of that code.
	names() (code, about string)
	// letter returns what is posted for it, as a forger sends it unless forged is
	// "". late is added to its date: copies of an event may differ in that.
	letter(key signingKey, forged Forgery, late time.Duration) letter
}

// A letter is what is posted for an event.
type letter struct {
	body      []byte
	signature string // the header hmacsignature; empty where it stands in the body
}

// eventTime is the form of Adyen's dates. Its servers write them in their own
// time, so a reader has to look at the offset.
const eventTime = "2006-01-02T15:04:05-07:00"

var eventZone = time.FixedZone("", 2*60*60)

// A notification is the one event of a standard webhook. (Adyen: "Webhook
// structure and types")
type notification struct {
	code      string // eventCode
	psp       string // of the payment, or of what is done to it
	original  string // pspReference of the payment, for what is done to it
	account   string
	reference string // merchantReference: the payment's
	value     int64  // Adyen's minor units
	currency  string
	success   bool
	at        time.Time
	method    string // a card's brand, as Adyen names it
	reason    string
	extra     []string // additionalData without the signature: name, value, name, value …
}

func (n *notification) names() (code, about string) { return n.code, n.reference }

// signedText is what the signature covers: eight fields, joined without any
// escaping.
func (n *notification) signedText() []byte {
	var b []byte
	for _, field := range []string{n.psp, n.original, n.account, n.reference, strconv.FormatInt(n.value, 10), n.currency, n.code} {
		b = append(b, field...)
		b = append(b, ':')
	}
	return strconv.AppendBool(b, n.success)
}

func (n *notification) letter(key signingKey, forged Forgery, late time.Duration) letter {
	if forged == ForgeryKey {
		key = key.another()
	}
	signature := key.sign(n.signedText())
	told := *n
	told.at = n.at.Add(late)
	switch forged {
	case ForgeryAmount:
		told.value++
	case ForgerySuccess:
		told.success = !n.success
	case ForgeryReference:
		told.reference += "-other"
	case ForgeryUnsigned:
		signature = ""
	}
	return letter{body: told.body(signature)}
}

// body is the JSON of a delivery; an empty signature is left out.
func (n *notification) body(signature string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, `{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{`...)
	extra := n.extra
	if signature != "" {
		extra = append([]string{"hmacSignature", signature}, extra...)
	}
	for i := 0; i+1 < len(extra); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, extra[i])
		b = append(b, ':')
		b = appendString(b, extra[i+1])
	}
	b = appendMember(b, `},"amount":{"currency":`, n.currency)
	b = append(b, `,"value":`...)
	b = strconv.AppendInt(b, n.value, 10)
	b = appendMember(b, `},"eventCode":`, n.code)
	b = append(b, `,"eventDate":"`...)
	b = n.at.In(eventZone).AppendFormat(b, eventTime)
	b = appendMember(b, `","merchantAccountCode":`, n.account)
	b = appendMember(b, `,"merchantReference":`, n.reference)
	if n.original != "" {
		b = appendMember(b, `,"originalReference":`, n.original)
	}
	b = appendMember(b, `,"paymentMethod":`, n.method)
	b = appendMember(b, `,"pspReference":`, n.psp)
	b = appendMember(b, `,"reason":`, n.reason)
	b = append(b, `,"success":"`...)
	b = strconv.AppendBool(b, n.success)
	b = append(b, `"}}]}`...)
	// Adyen escapes slashes, which stand in strings only.
	return bytes.ReplaceAll(b, []byte("/"), []byte(`\/`))
}
