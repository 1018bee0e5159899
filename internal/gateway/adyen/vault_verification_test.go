package adyen_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/tokens"
)

func testVerify() tokens.VerifyRequest {
	return tokens.VerifyRequest{
		Ref: testRef, Strategy: tokens.StrategyAcquirer, Currency: "EUR", Key: testKey, Number: 3,
		PaymentMethod: "scheme", ReturnURL: "https://example.invalid/",
	}
}

func TestVault_Verify_sendsExactlyThis(t *testing.T) {
	d := newDesk(t, reply{status: 200, body: `{"resultCode":"Authorised","merchantReference":"{{reference}}"}`})
	v := newVault(t, d.URL)
	for range 2 {
		if _, err := v.Verify(t.Context(), testVerify()); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"merchantAccount":"Demo EU","amount":{"currency":"EUR","value":0},` +
		`"reference":"verify-54ad700f8894168bcfa5e7f36cbab1eb-3",` +
		`"paymentMethod":{"type":"scheme","storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7"},` +
		`"shopperReference":"acct/000042+&=?#%\"","shopperInteraction":"ContAuth",` +
		`"recurringProcessingModel":"UnscheduledCardOnFile","returnUrl":"https://example.invalid/"}`
	for _, c := range d.all() {
		if c.Method != "POST" || c.URI != "/v72/payments" || c.Header.Get("Idempotency-Key") != testKey {
			t.Errorf("%s %s with key %q", c.Method, c.URI, c.Header.Get("Idempotency-Key"))
		}
		if diff := cmp.Diff(want, c.Body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	}
}

// No two verifications have one reference, and none has the form of an attempt's.
func TestVault_Verify_reference(t *testing.T) {
	d := newDesk(t, reply{status: 500})
	v := newVault(t, d.URL)
	edits := []func(*tokens.VerifyRequest){
		func(*tokens.VerifyRequest) {},
		func(r *tokens.VerifyRequest) { r.Number++ },
		func(r *tokens.VerifyRequest) { r.Key = "another" },
		func(r *tokens.VerifyRequest) { r.Key, r.Number = strings.Repeat("~", 64), 1<<31-1 },
	}
	seen := map[string]bool{}
	for _, edit := range edits {
		r := testVerify()
		edit(&r)
		v.Verify(t.Context(), r)
		calls := d.all()
		reference := sentReference(calls[len(calls)-1].Body)
		if seen[reference] || len(reference) > 80 || strings.Contains(reference, "~") || strings.Contains(reference, r.Key) || !strings.HasPrefix(reference, "verify-") {
			t.Errorf("reference = %q", reference)
		}
		seen[reference] = true
	}
}

func TestVault_Verify_results(t *testing.T) {
	refused := func(code, reason string) string {
		return fmt.Sprintf(`{"pspReference":"P","resultCode":"Refused","refusalReasonCode":%q,"refusalReason":%q}`, code, reason)
	}
	said := func(result tokens.VerificationResult, code, reason string) tokens.Verification {
		return tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: result, Code: code, Reason: reason}
	}
	tests := []struct {
		name, body string
		want       tokens.Verification
	}{
		{"authorised", `{"pspReference":"P","resultCode":"Authorised","amount":{"currency":"EUR","value":0}}`, said(tokens.VerificationPassed, "Authorised", "")},
		{"authorised, with a small amount where zero is not possible", `{"resultCode":"Authorised","amount":{"currency":"EUR","value":100}}`, said(tokens.VerificationPassed, "Authorised", "")},
		{"authorised, with code 0", `{"resultCode":"Authorised","refusalReasonCode":"0","refusalReason":"none"}`, said(tokens.VerificationPassed, "Authorised", "")},
		{"expired", refused("6", "Expired Card"), said(tokens.VerificationExpired, "Refused 6", "Expired Card")},
		{"a number that is no longer one", refused("8", "Invalid Card Number"), said(tokens.VerificationDead, "Refused 8", "Invalid Card Number")},
		{"a token that its shopper revoked", refused("50", "Token Revoked"), said(tokens.VerificationDead, "Refused 50", "Token Revoked")},
		{"a blocked card", refused("05", "Blocked Card"), said(tokens.VerificationDead, "Refused 05", "Blocked Card")},
		{"payments that the cardholder stopped", refused("26", "Revocation Of Auth"), said(tokens.VerificationDead, "Refused 26", "Revocation Of Auth")},
		{"the generic no", refused("2", "Refused"), said(tokens.VerificationDeclined, "Refused 2", "Refused")},
		{"too little money", refused("12", "Not enough balance"), said(tokens.VerificationDeclined, "Refused 12", "Not enough balance")},
		{"a restriction", refused("23", "Transaction Not Permitted"), said(tokens.VerificationDeclined, "Refused 23", "Transaction Not Permitted")},
		{"no code at all", `{"resultCode":"Refused"}`, said(tokens.VerificationDeclined, "Refused", "")},
		{"a code that is new", refused("999", "Moon"), said(tokens.VerificationDeclined, "Refused 999", "Moon")},
		{"authentication wanted", refused("38", "Authentication required"), said(tokens.VerificationNeedsShopper, "Refused 38", "Authentication required")},
		{"fraud that the issuer suspects", refused("31", "Issuer Suspected Fraud"), said(tokens.VerificationBlocked, "Refused 31", "Issuer Suspected Fraud")},
		{"a cancellation by risk rules", `{"resultCode":"Cancelled","refusalReasonCode":"22","refusalReason":"FRAUD-CANCELLED"}`, said(tokens.VerificationBlocked, "Cancelled 22", "FRAUD-CANCELLED")},
		{"a cancellation without a reason", `{"resultCode":"Cancelled","refusalReasonCode":"15"}`, said(tokens.VerificationFailed, "Cancelled 15", "")},
		{"an issuer that was not reached", refused("9", "Issuer Unavailable"), said(tokens.VerificationFailed, "Refused 9", "Issuer Unavailable")},
		{"an amount that is not taken", refused("7", "Invalid Amount"), said(tokens.VerificationFailed, "Refused 7", "Invalid Amount")},
		{"an error", `{"resultCode":"Error","refusalReasonCode":"4","refusalReason":"Acquirer Error"}`, said(tokens.VerificationFailed, "Error 4", "Acquirer Error")},
		{"an error with a refusal's code", `{"resultCode":"Error","refusalReasonCode":"6"}`, said(tokens.VerificationFailed, "Error 6", "")},
		{"received", `{"resultCode":"Received"}`, said(tokens.VerificationFailed, "Received", "")},
		{"pending", `{"resultCode":"Pending"}`, said(tokens.VerificationFailed, "Pending", "")},
		{"a redirect of the shopper", `{"resultCode":"RedirectShopper","action":{}}`, said(tokens.VerificationNeedsShopper, "RedirectShopper", "")},
		{"a challenge", `{"resultCode":"ChallengeShopper"}`, said(tokens.VerificationNeedsShopper, "ChallengeShopper", "")},
		{"part of nothing", `{"resultCode":"PartiallyAuthorised"}`, said(tokens.VerificationNotUnderstood, "PartiallyAuthorised", "")},
		{"a result that is new", `{"resultCode":"Moonrise\n"}`, said(tokens.VerificationNotUnderstood, "Moonrise", "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 200, body: strings.Replace(tt.body, "{", `{"merchantReference":"{{reference}}",`, 1)})
			got, err := newVault(t, d.URL).Verify(t.Context(), testVerify())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verification (-want +got):\n%s", diff)
			}
		})
	}
}

// The result of every code in declines.csv, by an answer with nothing but the code.
func TestVault_Verify_everyCode(t *testing.T) {
	codes := map[tokens.VerificationResult]string{
		tokens.VerificationExpired:      "6",
		tokens.VerificationDead:         "5 8 26 50",
		tokens.VerificationNeedsShopper: "11 24 32 36 38 42",
		tokens.VerificationBlocked:      "14 20 22 31",
		tokens.VerificationFailed:       "0 4 7 9 15 21 39 40",
		tokens.VerificationDeclined:     "2 3 10 12 16 17 18 19 23 25 27 28 29 33 34 35 37 41 43 44 45 46 1 13 30 47 51 x",
	}
	for want, all := range codes {
		for _, code := range strings.Fields(all) {
			d := newDesk(t, reply{status: 200, body: fmt.Sprintf(`{"resultCode":"Refused","refusalReasonCode":%q,"merchantReference":"{{reference}}"}`, code)})
			got, err := newVault(t, d.URL).Verify(t.Context(), testVerify())
			if err != nil || got.Result != want {
				t.Errorf("code %s: %q, %v, want %q", code, got.Result, err, want)
			}
		}
	}
}

// What other fields say of the card counts where it says more than the code.
func TestVault_Verify_otherFields(t *testing.T) {
	tests := []struct {
		name                         string
		code                         string
		advice, inferred, raw, brand string
		want                         tokens.VerificationResult
	}{
		{"advice never to try again", "2", "03 : Do not try again", "", "", "mc", tokens.VerificationDead},
		{"advice that the payments were stopped", "2", "21 : Payment Cancellation", "", "", "mc", tokens.VerificationDead},
		{"advice of new details", "2", "01 : New account information available", "", "", "mc", tokens.VerificationDead},
		{"advice of new details for an expired card", "6", "01", "", "", "mc", tokens.VerificationExpired},
		{"advice to try later", "12", "24 : Retry after 1 hour", "", "", "mc", tokens.VerificationDeclined},
		{"advice that our request is wrong", "2", "04", "", "", "mc", tokens.VerificationFailed},
		{"an empty prepaid card", "2", "40", "", "", "mc", tokens.VerificationDeclined},
		{"a closed account", "10", "", "Closed Account", "", "visa", tokens.VerificationDead},
		{"a card that was replaced", "10", "", "Card Updated", "", "visa", tokens.VerificationDead},
		{"authentication that the issuer wants", "10", "", "3D Secure Mandated", "", "visa", tokens.VerificationNeedsShopper},
		{"a code that the issuer wants", "10", "", "CVC Mandated", "", "visa", tokens.VerificationNeedsShopper},
		{"no recurring payments", "10", "", "ContAuth Not Supported", "", "visa", tokens.VerificationDeclined},
		{"an inferred reason that is new", "10", "", "Moon Phase", "", "visa", tokens.VerificationDeclined},
		{"a lost Visa", "2", "", "", "41 : Lost card", "visadebit", tokens.VerificationDead},
		{"a Visa whose payment is not permitted", "2", "", "", "57 : Not permitted", "visa", tokens.VerificationDeclined},
		{"a stop of one payment of a Visa", "2", "", "", "R0 : Stop payment", "visa", tokens.VerificationDeclined},
		{"a stop of all payments of a Visa", "2", "", "", "R3 : Revocation", "visa", tokens.VerificationDead},
		{"the same number of another scheme", "2", "", "", "41 : Something", "amex", tokens.VerificationDeclined},
		{"the same number of another scheme, with a restriction", "23", "", "", "41 : Something", "amex", tokens.VerificationDeclined},
		{"a blocked card, and authentication", "5", "", "3D Secure Mandated", "", "mc", tokens.VerificationDead},
		{"authentication, and never again", "38", "03", "", "", "mc", tokens.VerificationDead},
		{"fraud beats all", "31", "01", "Card Updated", "41", "visa", tokens.VerificationBlocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extra, err := json.Marshal(map[string]string{
				"merchantAdviceCode": tt.advice, "inferredRefusalReason": tt.inferred, "refusalReasonRaw": tt.raw, "paymentMethodVariant": tt.brand,
			})
			if err != nil {
				t.Fatal(err)
			}
			d := newDesk(t, reply{status: 200, body: fmt.Sprintf(
				`{"resultCode":"Refused","refusalReasonCode":%q,"merchantReference":"{{reference}}","additionalData":%s}`, tt.code, extra)})
			got, err := newVault(t, d.URL).Verify(t.Context(), testVerify())
			if err != nil || got.Result != tt.want {
				t.Errorf("Verify = %+v, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// Answers that say nothing of the card.
func TestVault_Verify_answersThatAreNone(t *testing.T) {
	tests := []struct {
		name, body, want string
	}{
		{"a token that Adyen does not know, in words", `{"resultCode":"Refused","refusalReason":"803 PaymentDetail not found","merchantReference":"{{reference}}"}`, "not found"},
		{"no reference", `{"resultCode":"Authorised"}`, "no answer"},
		{"another's reference", `{"resultCode":"Authorised","merchantReference":"sub_1~1"}`, "no answer"},
		{"another currency", `{"resultCode":"Authorised","merchantReference":"{{reference}}","amount":{"currency":"USD","value":0}}`, "no answer"},
		{"half an amount", `{"resultCode":"Authorised","merchantReference":"{{reference}}","amount":{"value":0}}`, "no answer"},
		{"two results", `{"resultCode":"Refused","resultCode":"Authorised","merchantReference":"{{reference}}"}`, "no answer"},
		{"no result", `{"merchantReference":"{{reference}}"}`, "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 200, body: tt.body})
			got, err := newVault(t, d.URL).Verify(t.Context(), testVerify())
			if meaning(err) != tt.want || got != (tokens.Verification{}) {
				t.Errorf("Verify = %+v, %v: is %q, want %q", got, err, meaning(err), tt.want)
			}
		})
	}
}

func TestVault_Verify_refusesToSend(t *testing.T) {
	tests := []struct {
		name string
		edit func(*tokens.VerifyRequest)
		want string
	}{
		{"no strategy", func(r *tokens.VerifyRequest) { r.Strategy = "" }, "invalid"},
		{"a strategy that is none", func(r *tokens.VerifyRequest) { r.Strategy = "GUESS" }, "invalid"},
		{"no key", func(r *tokens.VerifyRequest) { r.Key = "" }, "invalid"},
		{"a key that is too long", func(r *tokens.VerifyRequest) { r.Key = strings.Repeat("k", 65) }, "invalid"},
		{"a key with a line break", func(r *tokens.VerifyRequest) { r.Key = "k\r\nX-Other: 1" }, "invalid"},
		{"no number", func(r *tokens.VerifyRequest) { r.Number = 0 }, "invalid"},
		{"no currency", func(r *tokens.VerifyRequest) { r.Currency = "" }, "invalid"},
		{"a currency that Adyen has not", func(r *tokens.VerifyRequest) { r.Currency = "MRU" }, "invalid"},
		{"no return URL", func(r *tokens.VerifyRequest) { r.ReturnURL = "" }, "invalid"},
		{"a return URL that is too long", func(r *tokens.VerifyRequest) { r.ReturnURL = strings.Repeat("u", 1025) }, "invalid"},
		{"a return URL that is not UTF-8", func(r *tokens.VerifyRequest) { r.ReturnURL = "\xff" }, "invalid"},
		{"a payment method that is none", func(r *tokens.VerifyRequest) { r.PaymentMethod = strings.Repeat("m", 41) }, "invalid"},
		{"a direct debit, which has no zero", func(r *tokens.VerifyRequest) { r.PaymentMethod = "sepadirectdebit" }, "not supported"},
	}
	d := newDesk(t, reply{status: 200, body: `{}`})
	v := newVault(t, d.URL)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := testVerify()
			tt.edit(&r)
			if _, err := v.Verify(t.Context(), r); meaning(err) != tt.want {
				t.Errorf("Verify = %v: is %q, want %q", err, meaning(err), tt.want)
			}
		})
	}
	if n := len(d.all()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestVault_Verify_aCardUnlessTold(t *testing.T) {
	d := newDesk(t, reply{status: 500})
	r := testVerify()
	r.PaymentMethod = ""
	newVault(t, d.URL).Verify(t.Context(), r)
	if body := d.all()[0].Body; !strings.Contains(body, `"type":"scheme"`) {
		t.Errorf("body = %s", body)
	}
}

func TestVault_Verify_byTheDate(t *testing.T) {
	card := func(month, year string) reply {
		return reply{status: 200, body: listOf(fmt.Sprintf(`{"id":"TKN4W8ZD6V2HJ3K7","expiryMonth":%q,"expiryYear":%q}`, month, year))}
	}
	passed := tokens.Verification{Strategy: tokens.StrategyBasic, Result: tokens.VerificationPassedBasic}
	tests := []struct {
		name   string
		answer reply
		want   tokens.Verification
	}{
		{"a card that lives long", card("12", "2099"), passed},
		{"a card of the past", card("3", "20"), tokens.Verification{
			Strategy: tokens.StrategyBasic, Result: tokens.VerificationExpired, Code: "expired", Reason: "the stored card expired in 2020-03"}},
		{"what has no date", reply{status: 200, body: listOf(`{"id":"TKN4W8ZD6V2HJ3K7","type":"sepadirectdebit"}`)}, passed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, tt.answer)
			// Whatever else a request has, only the list is asked for.
			got, err := newVault(t, d.URL).Verify(t.Context(), tokens.VerifyRequest{Ref: testRef, Strategy: tokens.StrategyBasic})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verification (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{listLine}, d.lines()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a token that is gone", func(t *testing.T) {
		d := newDesk(t, reply{status: 200, body: listOf()})
		if _, err := newVault(t, d.URL).Verify(t.Context(), tokens.VerifyRequest{Ref: testRef, Strategy: tokens.StrategyBasic}); meaning(err) != "not found" {
			t.Errorf("Verify = %v, want not found", err)
		}
	})
}

func TestVault_Verify_nothing(t *testing.T) {
	d := newDesk(t, reply{status: 500})
	got, err := newVault(t, d.URL).Verify(t.Context(), tokens.VerifyRequest{Ref: testRef, Strategy: tokens.StrategyNone})
	want := tokens.Verification{Strategy: tokens.StrategyNone, Result: tokens.VerificationNone}
	if err != nil || got != want || len(d.all()) != 0 {
		t.Errorf("Verify = %+v, %v, with %d requests", got, err, len(d.all()))
	}
}

func TestVault_Verify_reportsAnUnknownCode(t *testing.T) {
	for code, want := range map[string]bool{"999": true, "2": false} {
		var log bytes.Buffer
		d := newDesk(t, reply{status: 200, body: fmt.Sprintf(`{"resultCode":"Refused","refusalReasonCode":%q,"merchantReference":"{{reference}}"}`, code)})
		v := newVaultWith(t, d.URL, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn}))
		if _, err := v.Verify(t.Context(), testVerify()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "refusal code not in the table"); got != want {
			t.Errorf("code %s: log = %q", code, log.String())
		}
	}
}

// A connection that dies under a verification must not make a second attempt at the
// schemes, although its key would.
func TestVault_Verify_neverTwice(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		if e.Number == 2 {
			e.Reset()
			return
		}
		e.Say(httpAnswer(200, fmt.Sprintf(`{"resultCode":"Authorised","merchantReference":%q}`, sentReference(string(e.Body)))))
	})
	v := newVault(t, w.URL)
	if _, err := v.Verify(t.Context(), testVerify()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), testVerify()); meaning(err) != "no answer" {
		t.Errorf("Verify = %v, want no answer", err)
	}
	if n := len(w.Requests()); n != 2 {
		t.Errorf("two calls made %d requests", n)
	}
}
