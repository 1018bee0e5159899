package adyen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/secret"
)

// A WebhookKey signs webhooks. One is made for each endpoint and environment in
// the Customer Area; while one is being replaced, both are in use.
type WebhookKey struct{ key secret.String } // 32 bytes

// NewWebhookKey reads a key as the Customer Area shows it: 64 hexadecimal digits.
// It returns billing.ErrInvalid for any other text.
func NewWebhookKey(text secret.String) (WebhookKey, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text.Reveal()))
	if err != nil || len(key) != sha256.Size {
		return WebhookKey{}, fmt.Errorf("%w webhook key: want the 64 hexadecimal digits that the Customer Area shows", billing.ErrInvalid)
	}
	return WebhookKey{secret.New(string(key))}, nil
}

// Sign returns the signature of a text: HMAC-SHA256, in Base64.
func (k WebhookKey) Sign(text []byte) string {
	mac := hmac.New(sha256.New, []byte(k.key.Reveal()))
	mac.Write(text)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// IsSignedBody reports whether signature is that of a body's bytes by one of the
// keys. A token webhook has it in the header hmacsignature. It takes as long
// whichever key it was, and however near a forgery came.
func IsSignedBody(keys []WebhookKey, body []byte, signature string) bool {
	good := false
	for _, k := range keys {
		if hmac.Equal([]byte(k.Sign(body)), []byte(signature)) {
			good = true
		}
	}
	return good
}

// A Notification is one event of a standard webhook, as it was delivered. The
// signature covers eight of its fields; nobody vouches for the others, so they
// never move money.
type Notification struct {
	// The eight: "true" and "false" are texts, and what is absent is empty. Amount
	// counts Adyen's units, not those of ISO 4217.
	PSPReference      string // of the payment, or of what is done to it: EventCode tells
	OriginalReference string // of the payment, for what is done to it
	MerchantAccount   string
	MerchantReference string
	Amount            string
	Currency          string
	EventCode         string
	Success           string

	Live           string
	EventDate      string // ISO 8601, with an offset
	PaymentMethod  string
	Reason         string
	AdditionalData map[string]string
}

// Succeeded reports whether the event says that it did.
func (n Notification) Succeeded() bool { return n.Success == "true" }

// text is what the signature covers. Nothing is escaped in it (the official
// libraries join the plain values), so a colon is only harmless where it cannot
// be taken for the border of two fields.
func (n Notification) text() (text string, unambiguous bool) {
	fields := []string{n.PSPReference, n.OriginalReference, n.MerchantAccount, n.MerchantReference, n.Amount, n.Currency, n.EventCode, n.Success}
	colons := 0
	for i, field := range fields {
		const merchantReference = 3
		if i != merchantReference {
			colons += strings.Count(field, ":")
		}
	}
	return strings.Join(fields, ":"), colons == 0
}

// IsSigned reports whether the notification carries a signature by one of the
// keys.
func (n Notification) IsSigned(keys []WebhookKey) bool {
	text, unambiguous := n.text()
	return unambiguous && IsSignedBody(keys, []byte(text), n.AdditionalData["hmacSignature"])
}

// ParseNotifications reads the body of a standard webhook: one event, or a batch
// of them. Unknown fields and event codes are taken as they are. It returns
// billing.ErrInvalid for a body that is none; its errors quote nothing of it.
func ParseNotifications(body []byte) ([]Notification, error) {
	var envelope struct {
		Live              loose `json:"live"`
		NotificationItems []struct {
			Item *wireNotification `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, fmt.Errorf("%w webhook: not the JSON of a notification", billing.ErrInvalid)
	}
	if len(envelope.NotificationItems) == 0 {
		return nil, fmt.Errorf("%w webhook: it has no notificationItems", billing.ErrInvalid)
	}
	notifications := make([]Notification, len(envelope.NotificationItems))
	for i, item := range envelope.NotificationItems {
		if item.Item == nil {
			return nil, fmt.Errorf("%w webhook: item %d has no NotificationRequestItem", billing.ErrInvalid, i+1)
		}
		notifications[i] = item.Item.notification(string(envelope.Live))
	}
	return notifications, nil
}

// wireNotification is a NotificationRequestItem.
type wireNotification struct {
	AdditionalData      map[string]loose `json:"additionalData"`
	Amount              wireAmount       `json:"amount"`
	EventCode           loose            `json:"eventCode"`
	EventDate           loose            `json:"eventDate"`
	MerchantAccountCode loose            `json:"merchantAccountCode"`
	MerchantReference   loose            `json:"merchantReference"`
	OriginalReference   loose            `json:"originalReference"`
	PaymentMethod       loose            `json:"paymentMethod"`
	PSPReference        loose            `json:"pspReference"`
	Reason              loose            `json:"reason"`
	Success             loose            `json:"success"`
}

type wireAmount struct {
	Currency loose `json:"currency"`
	Value    loose `json:"value"`
}

func (w *wireNotification) notification(live string) Notification {
	n := Notification{
		PSPReference: string(w.PSPReference), OriginalReference: string(w.OriginalReference),
		MerchantAccount: string(w.MerchantAccountCode), MerchantReference: string(w.MerchantReference),
		Amount: string(w.Amount.Value), Currency: string(w.Amount.Currency),
		EventCode: string(w.EventCode), Success: string(w.Success),
		Live: live, EventDate: string(w.EventDate), PaymentMethod: string(w.PaymentMethod), Reason: string(w.Reason),
		AdditionalData: make(map[string]string, len(w.AdditionalData)),
	}
	for key, value := range w.AdditionalData {
		n.AdditionalData[key] = string(value)
	}
	return n
}

// loose is a text that may come as a number or a truth value, and is empty if it
// is null. Nested values are of no use here and are left out.
type loose string

// UnmarshalJSON implements json.Unmarshaler.
func (l *loose) UnmarshalJSON(raw []byte) error {
	*l = ""
	switch raw[0] {
	case '"':
		return json.Unmarshal(raw, (*string)(l))
	case '{', '[', 'n':
		return nil
	default: // a number, true or false, as it is written
		*l = loose(raw)
		return nil
	}
}

// A TokenEvent is one event in the life of a stored payment method, from a
// webhook of the type "Recurring tokens life cycle events".
type TokenEvent struct {
	Type             string // recurring.token.created, .updated, .disabled or .alreadyExisting
	EventID          string // psp reference of what caused it: the payment's, for a created token
	Environment      string // test or live
	CreatedAt        string // ISO 8601, with an offset
	MerchantAccount  string
	ShopperReference string
	Token            string // storedPaymentMethodId
	PaymentMethod    string // a variant such as visa
	Operation        string // created, updated or alreadyExisting; empty for a disabled one
}

// ParseTokenEvent reads the body of a token webhook, after IsSignedBody has
// looked at its very bytes. It returns billing.ErrInvalid for a body that is
// none, or that does not name the token; its errors quote nothing of it.
func ParseTokenEvent(body []byte) (TokenEvent, error) {
	var wire struct {
		Type        loose `json:"type"`
		EventID     loose `json:"eventId"`
		Environment loose `json:"environment"`
		CreatedAt   loose `json:"createdAt"`
		Data        struct {
			MerchantAccount       loose `json:"merchantAccount"`
			ShopperReference      loose `json:"shopperReference"`
			StoredPaymentMethodID loose `json:"storedPaymentMethodId"`
			Type                  loose `json:"type"`
			Operation             loose `json:"operation"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return TokenEvent{}, fmt.Errorf("%w webhook: not the JSON of a token event", billing.ErrInvalid)
	}
	e := TokenEvent{
		Type: string(wire.Type), EventID: string(wire.EventID), Environment: string(wire.Environment), CreatedAt: string(wire.CreatedAt),
		MerchantAccount: string(wire.Data.MerchantAccount), ShopperReference: string(wire.Data.ShopperReference),
		Token: string(wire.Data.StoredPaymentMethodID), PaymentMethod: string(wire.Data.Type), Operation: string(wire.Data.Operation),
	}
	if !strings.HasPrefix(e.Type, "recurring.token.") || e.MerchantAccount == "" || e.Token == "" {
		return TokenEvent{}, fmt.Errorf("%w webhook: a token event names its type, merchant account and token", billing.ErrInvalid)
	}
	return e, nil
}
