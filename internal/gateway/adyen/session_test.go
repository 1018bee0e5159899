package adyen_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/tokens"
)

func testSession() tokens.SessionRequest {
	return tokens.SessionRequest{
		Purpose: tokens.PurposeCreate, Reference: "setup_000042", ShopperReference: testShopper, Model: "Subscription",
		AmountMinor: 0, Currency: "EUR", ReturnURL: "https://shop.invalid/done?a=1&b=2", Key: testKey,
	}
}

func testPaySession() tokens.SessionRequest {
	r := testSession()
	r.Purpose, r.Token, r.Model, r.AmountMinor = tokens.PurposePay, testToken, "CardOnFile", 1999
	return r
}

func opened(fields string) string {
	return `{"id":"CSD9CAC34EBAE225DD","sessionData":"` + testData + `","expiresAt":"2026-11-22T01:02:03+02:00","reference":"setup_000042"` + fields + `}`
}

func TestVault_OpenSession_sendsExactlyThis(t *testing.T) {
	const (
		begin = `{"merchantAccount":"Demo EU","amount":{"currency":"EUR","value":0},"reference":"setup_000042",` +
			`"returnUrl":"https://shop.invalid/done?a=1&b=2",`
		shopper = `"shopperReference":"acct/000042+&=?#%\"",`
	)
	tests := []struct {
		name string
		edit func(*tokens.SessionRequest)
		want string
	}{
		{"a method is stored as part of the agreement", func(*tokens.SessionRequest) {},
			begin + shopper + `"shopperInteraction":"Ecommerce","recurringProcessingModel":"Subscription","storePaymentMethodMode":"enabled"}`},
		{"a method is stored if the shopper agrees", func(r *tokens.SessionRequest) { r.AskForConsent = true },
			begin + shopper + `"shopperInteraction":"Ecommerce","recurringProcessingModel":"Subscription","storePaymentMethodMode":"askForConsent"}`},
		{"for charges without a schedule", func(r *tokens.SessionRequest) { r.Model = "UnscheduledCardOnFile" },
			begin + shopper + `"shopperInteraction":"Ecommerce","recurringProcessingModel":"UnscheduledCardOnFile","storePaymentMethodMode":"enabled"}`},
		{"for a faster checkout, with a first payment", func(r *tokens.SessionRequest) { r.Model, r.AmountMinor = "CardOnFile", 1999 },
			strings.Replace(begin, `"value":0`, `"value":1999`, 1) + shopper + `"shopperInteraction":"Ecommerce","recurringProcessingModel":"CardOnFile","storePaymentMethodMode":"enabled"}`},
		{"an amount in Adyen's decimals", func(r *tokens.SessionRequest) { r.AmountMinor, r.Currency = 1200, "CLP" },
			strings.Replace(begin, `"EUR","value":0`, `"CLP","value":120000`, 1) + shopper + `"shopperInteraction":"Ecommerce","recurringProcessingModel":"Subscription","storePaymentMethodMode":"enabled"}`},
		{"the shopper pays with a stored method", func(r *tokens.SessionRequest) { *r = testPaySession() },
			strings.Replace(begin, `"value":0`, `"value":1999`, 1) + `"paymentMethod":{"storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7"},` + shopper + `"shopperInteraction":"ContAuth","recurringProcessingModel":"CardOnFile"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 201, body: opened("")})
			r := testSession()
			tt.edit(&r)
			if _, err := newVault(t, d.URL).OpenSession(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			got := d.all()[0]
			if got.Method != "POST" || got.URI != "/v72/sessions" || got.Header.Get("Idempotency-Key") != testKey {
				t.Errorf("%s %s with key %q", got.Method, got.URI, got.Header.Get("Idempotency-Key"))
			}
			if diff := cmp.Diff(tt.want, got.Body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			for _, word := range []string{"cvc", "securitycode", "number"} {
				if strings.Contains(strings.ToLower(got.Body), word) {
					t.Errorf("%q is in %s", word, got.Body)
				}
			}
		})
	}
}

func TestVault_OpenSession_answers(t *testing.T) {
	until := time.Date(2026, 11, 21, 23, 2, 3, 0, time.UTC)
	embedded := tokens.Session{ID: "CSD9CAC34EBAE225DD", Data: testData, Expires: until}
	hosted := tokens.Session{ID: "CS1", URL: "https://pay.invalid/x?y=z", Expires: until}
	const hostedAnswer = `{"id":"CS1","url":"https://pay.invalid/x?y=z","expiresAt":"2026-11-21T23:02:03Z","reference":"setup_000042"}`
	tests := []struct {
		name   string
		answer reply
		want   tokens.Session
	}{
		{"created", reply{status: 201, body: opened("")}, embedded},
		{"the same again, by its key", reply{status: 200, body: opened("")}, embedded},
		{"everything that the specification has", reply{status: 201, body: opened(`,"merchantAccount":"Demo EU","shopperReference":"acct/000042+&=?#%\"",` +
			`"amount":{"currency":"EUR","value":0,"new":1},"returnUrl":"x","mode":"embedded","storePaymentMethod":true,"new":{"id":[]}`)}, embedded},
		{"a hosted page", reply{status: 201, body: hostedAnswer}, hosted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, tt.answer)
			got, err := newVault(t, d.URL).OpenSession(t.Context(), testSession())
			if err != nil {
				t.Fatal(err)
			}
			got.Expires = got.Expires.UTC()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
		})
	}
}

// A session that is not the one that was asked for, or of no use, is no answer: the
// same request may be sent again.
func TestVault_OpenSession_answersThatAreNone(t *testing.T) {
	without := func(field string) string {
		begin := strings.Index(opened(""), `"`+field+`"`)
		rest := opened("")[begin:]
		end := strings.Index(rest, `",`)
		if end < 0 {
			return strings.TrimSuffix(opened("")[:begin], ",") + "}"
		}
		return opened("")[:begin] + rest[end+2:]
	}
	tests := []struct{ name, body string }{
		{"no id", without("id")},
		{"no sessionData, and no page", without("sessionData")},
		{"no end", without("expiresAt")},
		{"no reference", without("reference")},
		{"an end that is no time", strings.Replace(opened(""), "2026-11-22", "tomorrow", 1)},
		{"an id with a space", strings.Replace(opened(""), "CSD9", "CSD9 ", 1)},
		{"an id that is too long", strings.Replace(opened(""), "CSD9", strings.Repeat("C", 257), 1)},
		{"another reference", strings.Replace(opened(""), "setup_000042", "setup_000043", 1)},
		{"another shopper", opened(`,"shopperReference":"acct/000043"`)},
		{"another account", opened(`,"merchantAccount":"Demo US"`)},
		{"another currency", opened(`,"amount":{"currency":"USD","value":0}`)},
		{"another amount", opened(`,"amount":{"currency":"EUR","value":1}`)},
		{"two ids", opened(`,"id":"CS2"`)},
		{"two texts of sessionData", opened(`,"sessionData":"x"`)},
		{"two amounts", opened(`,"amount":{"currency":"EUR","value":0},"amount":{"currency":"EUR","value":0}`)},
		{"an amount that is no whole number", opened(`,"amount":{"currency":"EUR","value":0.5}`)},
		{"a page that is no web address", opened(`,"url":"javascript:alert(1)"`)},
		{"a page with a name before it", opened(`,"url":"https://pay.invalid@evil.invalid/x"`)},
		{"a page without a host", opened(`,"url":"https:///x"`)},
		{"something behind", opened("") + "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 201, body: tt.body})
			got, err := newVault(t, d.URL).OpenSession(t.Context(), testSession())
			if meaning(err) != "no answer" || got != (tokens.Session{}) {
				t.Errorf("OpenSession = %v, %v: is %q, want no answer", got, err, meaning(err))
			}
			if err != nil && strings.Contains(fmt.Sprintf("%v %#v", err, err), testData) {
				t.Errorf("sessionData is in %v", err)
			}
		})
	}
}

func TestVault_OpenSession_refusesToSend(t *testing.T) {
	type edit = func(*tokens.SessionRequest)
	tests := []struct {
		name string
		pay  bool
		edit edit
	}{
		{"no purpose", false, func(r *tokens.SessionRequest) { r.Purpose = "" }},
		{"a purpose that is none", false, func(r *tokens.SessionRequest) { r.Purpose = "refund" }},
		{"no shopper", false, func(r *tokens.SessionRequest) { r.ShopperReference = "" }},
		{"a shopper by address", false, func(r *tokens.SessionRequest) { r.ShopperReference = "jane@example.com" }},
		{"no model", false, func(r *tokens.SessionRequest) { r.Model = "" }},
		{"a model that is none", false, func(r *tokens.SessionRequest) { r.Model = "subscription" }},
		{"no key", false, func(r *tokens.SessionRequest) { r.Key = "" }},
		{"a key that is too long", false, func(r *tokens.SessionRequest) { r.Key = strings.Repeat("k", 65) }},
		{"no reference", false, func(r *tokens.SessionRequest) { r.Reference = "" }},
		{"a reference that is too long", false, func(r *tokens.SessionRequest) { r.Reference = strings.Repeat("r", 81) }},
		{"a reference with a colon", false, func(r *tokens.SessionRequest) { r.Reference = "a:b" }},
		{"a reference with a backslash", false, func(r *tokens.SessionRequest) { r.Reference = `a\b` }},
		{"a reference with a space", false, func(r *tokens.SessionRequest) { r.Reference = "a b" }},
		{"a reference with a letter that is not ASCII", false, func(r *tokens.SessionRequest) { r.Reference = "é" }},
		{"no return URL", false, func(r *tokens.SessionRequest) { r.ReturnURL = "" }},
		{"a return URL that is too long", false, func(r *tokens.SessionRequest) { r.ReturnURL = strings.Repeat("u", 1025) }},
		{"a negative amount", false, func(r *tokens.SessionRequest) { r.AmountMinor = -1 }},
		{"no currency", false, func(r *tokens.SessionRequest) { r.Currency = "" }},
		{"a currency that Adyen has not", false, func(r *tokens.SessionRequest) { r.Currency = "MRU" }},
		{"an amount that Adyen cannot express", false, func(r *tokens.SessionRequest) { r.AmountMinor, r.Currency = 150, "IDR" }},
		{"nothing to pay", true, func(r *tokens.SessionRequest) { r.AmountMinor = 0 }},
		{"no token to pay with", true, func(r *tokens.SessionRequest) { r.Token = "" }},
		{"a subscription's charge", true, func(r *tokens.SessionRequest) { r.Model = "Subscription" }},
		{"a charge without a schedule", true, func(r *tokens.SessionRequest) { r.Model = "UnscheduledCardOnFile" }},
		{"a payment without a model", true, func(r *tokens.SessionRequest) { r.Model = "" }},
	}
	d := newDesk(t, reply{status: 201, body: opened("")})
	v := newVault(t, d.URL)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := testSession()
			if tt.pay {
				r = testPaySession()
			}
			tt.edit(&r)
			if _, err := v.OpenSession(t.Context(), r); meaning(err) != "invalid" {
				t.Errorf("OpenSession = %v: is %q, want invalid", err, meaning(err))
			}
		})
	}
	if n := len(d.all()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestVault_OpenSession_sendsAtTheLimits(t *testing.T) {
	d := newDesk(t, reply{status: 500})
	r := testSession()
	r.Key, r.Reference, r.ReturnURL = strings.Repeat("k", 64), strings.Repeat("r", 80), strings.Repeat("é", 1024)
	r.ShopperReference = strings.Repeat("s", 256)
	if _, err := newVault(t, d.URL).OpenSession(t.Context(), r); meaning(err) != "no answer" {
		t.Errorf("OpenSession = %v, want the answer's error", err)
	}
	if n := len(d.all()); n != 1 {
		t.Errorf("%d requests were sent", n)
	}
}
