package adyen

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/contauth/contauth/billing"
)

// eventKinds says what an event code means when success is true, and when it is
// not (Adyen's webhook reference, as of 2026-07). Codes that are not here are kept
// without effect. CAPTURE_FAILED and REFUND_FAILED happened whatever success says.
var eventKinds = map[string]struct{ yes, no billing.EventKind }{
	"AUTHORISATION":              {billing.EventAuthorised, billing.EventRefused},
	"CAPTURE":                    {billing.EventCaptured, billing.EventCaptureFailed},
	"CAPTURE_FAILED":             {billing.EventCaptureFailed, billing.EventCaptureFailed},
	"CANCELLATION":               {billing.EventCancelled, billing.EventOther},
	"TECHNICAL_CANCEL":           {billing.EventCancelled, billing.EventOther},
	"CANCEL_OR_REFUND":           {billing.EventCancelled, billing.EventOther},
	"REFUND":                     {billing.EventRefunded, billing.EventRefundFailed},
	"REFUND_FAILED":              {billing.EventRefundFailed, billing.EventRefundFailed},
	"REFUNDED_REVERSED":          {billing.EventRefundFailed, billing.EventRefundFailed},
	"NOTIFICATION_OF_CHARGEBACK": {billing.EventDisputeOpened, billing.EventOther},
	"CHARGEBACK":                 {billing.EventChargeback, billing.EventOther},
	"CHARGEBACK_REVERSED":        {billing.EventChargebackReversed, billing.EventOther},
	"SECOND_CHARGEBACK":          {billing.EventChargebackFinal, billing.EventOther},
	"PREARBITRATION_LOST":        {billing.EventChargebackFinal, billing.EventOther},
	"NOTIFICATION_OF_FRAUD":      {billing.EventFraudNotice, billing.EventOther},
	"RECURRING_CONTRACT":         {billing.EventTokenStored, billing.EventOther},
}

// tokenKinds says the same of token events.
var tokenKinds = map[string]billing.EventKind{
	"recurring.token.created":         billing.EventTokenStored,
	"recurring.token.alreadyExisting": billing.EventTokenStored,
	"recurring.token.updated":         billing.EventTokenUpdated,
	"recurring.token.disabled":        billing.EventTokenDisabled,
}

// testNotification begins the psp reference of what the Customer Area sends to
// try an endpoint out.
var testNotification = regexp.MustCompile(`^(test_|testnotification_)`)

// tidied makes a text fit a column: what is too long for a reference of anybody's,
// or holds a character that Postgres does not store, is cut, and fits no charge.
func tidied(text string) string {
	const most = 256
	if len(text) > most {
		text = text[:most]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}

// event translates a notification. live is what the account's notifications say
// in that field: a message of the other environment has no effect.
func (n Notification) event(signed bool, live string) billing.Event {
	kinds, known := eventKinds[n.EventCode]
	kind := kinds.yes
	if !n.Succeeded() {
		kind = kinds.no
	}
	if !known || testNotification.MatchString(n.PSPReference) || n.Live != live {
		kind = billing.EventOther
	}
	e := billing.Event{
		Kind: kind, Code: tidied(n.EventCode), MerchantAccount: tidied(n.MerchantAccount), GatewayReference: tidied(n.PSPReference),
		OriginalReference: tidied(n.OriginalReference), Reference: tidied(n.MerchantReference), Amount: isoAmount(n.Amount, n.Currency),
		Signed: signed,
	}
	if kind == billing.EventRefused {
		e.Refusal = billing.Reply{Class: classOfText(n.Reason), RefusalReason: n.Reason}
	}
	if kind == billing.EventTokenStored {
		// Here the psp reference is the token (Adyen, RECURRING_CONTRACT). Its shopper
		// stands in additionalData alone, which the signature does not cover.
		e.Token = tidied(n.PSPReference)
	}
	e.Document = document(map[string]string{
		"psp_reference": n.PSPReference, "original_reference": n.OriginalReference, "merchant_reference": n.MerchantReference,
		"merchant_account": n.MerchantAccount, "amount_value": n.Amount, "amount_currency": n.Currency, "event_code": n.EventCode,
		"success": n.Success, "live": n.Live, "event_date": n.EventDate, "payment_method": n.PaymentMethod,
		"reason": n.Reason, "class": string(e.Refusal.Class),
		"refusal_reason_raw": n.AdditionalData["refusalReasonRaw"], "merchant_advice_code": n.AdditionalData["merchantAdviceCode"],
		"dispute_status": n.AdditionalData["disputeStatus"], "chargeback_reason_code": strings.TrimSpace(n.AdditionalData["chargebackReasonCode"]),
		"modification_action": n.AdditionalData["modification.action"],
	})
	return e
}

// event translates a token event, whose signature covers all of it. environment
// is the account's.
func (t TokenEvent) event(environment string) billing.Event {
	kind, known := tokenKinds[t.Type]
	if !known || t.Environment != environment {
		kind = billing.EventOther
	}
	return billing.Event{
		Kind: kind, Code: tidied(t.Type), MerchantAccount: tidied(t.MerchantAccount), GatewayReference: tidied(t.EventID), Token: tidied(t.Token),
		ShopperReference: tidied(t.ShopperReference), Signed: true,
		Document: document(map[string]string{
			"type": t.Type, "event_id": t.EventID, "environment": t.Environment, "created_at": t.CreatedAt,
			"merchant_account": t.MerchantAccount, "payment_method": t.PaymentMethod, "operation": t.Operation,
		}),
	}
}

// document is what is kept of a message: the fields named here that it has. Long
// digits, which no field of ours has, do not enter the database.
func document(fields map[string]string) []byte {
	kept := make(map[string]string, len(fields))
	for name, value := range fields {
		if value != "" {
			kept[name] = clipped(value)
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		panic("adyen: a map of texts that is no JSON: " + err.Error())
	}
	return text
}

var longDigits = regexp.MustCompile(`[0-9](?:[ -]?[0-9]){11,}`)

// clipped keeps a text short and hides what could be the number of a card. The
// gateway's own references may be digits alone; they have columns of their own.
func clipped(text string) string {
	const most = 512
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
	return longDigits.ReplaceAllString(text, "[digits]")
}

// isoAmount turns an amount as Adyen counts it into ISO minor units. What cannot
// be one is no amount, and fits no charge.
func isoAmount(value, currency string) billing.Money {
	units, err := strconv.ParseInt(value, 10, 64)
	if err != nil || units < 0 {
		return billing.Money{}
	}
	for minor := range candidates(units, currency) {
		money := billing.Money{Minor: minor, Currency: currency}
		if back, err := gatewayValue(money); err == nil && back == units {
			return money
		}
	}
	return billing.Money{}
}

// candidates are the amounts that Adyen may count as units: its exponents differ
// from those of ISO 4217 by at most two.
func candidates(units int64, currency string) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		if _, known := decimals()[currency]; !known {
			return
		}
		for _, factor := range []int64{1, 10, 100} {
			if units <= 1<<62/factor && !yield(units*factor) {
				return
			}
			if units%factor == 0 && !yield(units/factor) {
				return
			}
		}
	}
}

// classByText is the class of each refusal's name, as a webhook gives it instead
// of its code.
var classByText = sync.OnceValue(func() map[string]billing.DeclineClass {
	table := map[string]billing.DeclineClass{}
	for _, row := range mustReadCSV("declines.csv", declinesCSV, 5) {
		if row[0] == "code" {
			table[textKey(row[2])] = billing.DeclineClass(row[3])
		}
	}
	return table
})

func textKey(text string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".")
}

// classOfText classifies a refusal by its words. Nobody vouches for them, so they
// can forbid a retry and never cause one: what they do not forbid is soft.
func classOfText(text string) billing.DeclineClass {
	if class, known := classByText()[textKey(text)]; known && severity[class] > severity[billing.DeclineSoft] {
		return class
	}
	return billing.DeclineSoft
}
