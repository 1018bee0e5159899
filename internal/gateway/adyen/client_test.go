package adyen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testAPIKey = "AQEkey.with~odd+characters"

// testRequest is a charge whose every field differs from the others.
func testRequest() billing.ChargeRequest {
	return billing.ChargeRequest{
		Key:              "Zk3sK7f0b1q_x-2mY9d8c7b6a5Z4y3X2w1V0u9t8s7R",
		MerchantAccount:  "DemoEU",
		Reference:        "sub_000042~9",
		Attempt:          2,
		Amount:           billing.Money{Minor: 1999, Currency: "EUR"},
		Token:            "TKN4W8ZD6V2HJ3K7",
		ShopperReference: "acct_000042",
		PaymentMethod:    "scheme",
		Model:            billing.ModelSubscription,
		ReturnURL:        "https://example.invalid/",
	}
}

func newClient(t testing.TB, baseURL string) *adyen.Client {
	t.Helper()
	return newClientWith(t, gateway.Options{}, baseURL)
}

func newClientWith(t testing.TB, o gateway.Options, baseURL string) *adyen.Client {
	t.Helper()
	client := gateway.NewHTTPClient(o)
	t.Cleanup(client.CloseIdleConnections)
	return adyen.New(client, adyen.Options{
		MerchantAccount: "DemoEU",
		BaseURL:         baseURL + "/v71",
		APIKey:          secret.New(testAPIKey),
	}, hclog.NewNullLogger())
}

// httpAnswer is an answer with a body of JSON.
func httpAnswer(status int, body string, headers ...string) string {
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	for _, h := range headers {
		head += h + "\r\n"
	}
	return head + "\r\n" + body
}

const approved = `{"pspReference":"CNTA7QX2M4PL9R60","resultCode":"Authorised","amount":{"currency":"EUR","value":1999},"merchantReference":"sub_000042~9~2"}`

func TestConformance(t *testing.T) {
	gatewaytest.Run(t, gatewaytest.Dialect{
		New:     func(t *testing.T, baseURL string) billing.Gateway { return newClient(t, baseURL) },
		Request: testRequest(),
		Key:     func(r gatewaytest.Recorded) string { return r.Header.Get("Idempotency-Key") },
		Approve: func(gatewaytest.Recorded) string { return httpAnswer(200, approved) },
		Secrets: []string{testAPIKey},
	})
}

func TestCharge_sendsExactlyTheseBytes(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(200, approved)) })
	if _, err := newClient(t, w.URL).Charge(t.Context(), testRequest()); err != nil {
		t.Fatal(err)
	}
	got := w.Requests()[0]
	// A change here is a change of the wire version.
	const want = `{"merchantAccount":"DemoEU","amount":{"currency":"EUR","value":1999},` +
		`"reference":"sub_000042~9~2","merchantOrderReference":"sub_000042~9",` +
		`"paymentMethod":{"type":"scheme","storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7"},` +
		`"shopperReference":"acct_000042","shopperInteraction":"ContAuth","recurringProcessingModel":"Subscription",` +
		`"returnUrl":"https://example.invalid/","additionalData":{"retry.orderAttemptNumber":"2"}}`
	if diff := cmp.Diff(want, string(got.Body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	wantHeader := http.Header{
		"Accept":          {"application/json"},
		"Content-Length":  {fmt.Sprint(len(want))},
		"Content-Type":    {"application/json"},
		"Idempotency-Key": {testRequest().Key},
		"User-Agent":      {"contauth"},
		"X-Api-Key":       {testAPIKey},
	}
	if diff := cmp.Diff(wantHeader, got.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if v := newClient(t, w.URL).WireVersion(); v != 1 {
		t.Errorf("WireVersion = %d: the bytes above are those of version 1", v)
	}
}

// The encoder must say what encoding/json would have understood, for any text.
func TestCharge_encodesAnyText(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(500, "")) })
	client := newClient(t, w.URL)
	sent := 0
	rapid.Check(t, func(rt *rapid.T) {
		request := testRequest()
		request.ShopperReference = rapid.StringN(3, 60, 250).Draw(rt, "shopper")
		request.ReturnURL = rapid.StringN(1, 60, 250).Draw(rt, "return URL")
		request.Amount.Minor = rapid.Int64Range(1, math.MaxInt64).Draw(rt, "amount")
		if _, err := client.Charge(t.Context(), request); !errors.Is(err, billing.ErrUnknown) {
			rt.Fatalf("Charge: %v", err)
		}
		sent++
		var got struct {
			ShopperReference, ReturnURL string
			Amount                      struct{ Value int64 }
		}
		if err := json.Unmarshal(w.Requests()[sent-1].Body, &got); err != nil {
			rt.Fatal(err)
		}
		if got.ShopperReference != request.ShopperReference || got.ReturnURL != request.ReturnURL || got.Amount.Value != request.Amount.Minor {
			rt.Fatalf("sent %+v for %+v", got, request)
		}
	})
}

func TestCharge_countsInAdyensDecimals(t *testing.T) {
	tests := []struct {
		name   string
		amount billing.Money
		want   int64
	}{
		{"two decimals in both", billing.Money{Minor: 1999, Currency: "EUR"}, 1999},
		{"none in both", billing.Money{Minor: 1200, Currency: "JPY"}, 1200},
		{"three in both", billing.Money{Minor: 12345, Currency: "KWD"}, 12345},
		{"CLP has two at Adyen", billing.Money{Minor: 1200, Currency: "CLP"}, 120000},
		{"ISK has two at Adyen", billing.Money{Minor: 1200, Currency: "ISK"}, 120000},
		{"IDR has none at Adyen", billing.Money{Minor: 1500000, Currency: "IDR"}, 15000},
		{"CVE has none at Adyen", billing.Money{Minor: 150000, Currency: "CVE"}, 1500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
				e.Say(httpAnswer(200, fmt.Sprintf(`{"pspReference":"P","resultCode":"Authorised","merchantReference":"sub_000042~9~2","amount":{"currency":%q,"value":%d}}`, tt.amount.Currency, tt.want)))
			})
			client := newClient(t, w.URL)
			if err := client.CheckAmount(tt.amount); err != nil {
				t.Errorf("CheckAmount: %v", err)
			}
			request := testRequest()
			request.Amount = tt.amount
			if _, err := client.Charge(t.Context(), request); err != nil {
				t.Error(err)
			}
			if want := fmt.Sprintf(`"value":%d}`, tt.want); !bytes.Contains(w.Requests()[0].Body, []byte(want)) {
				t.Errorf("body = %s, want %s", w.Requests()[0].Body, want)
			}
		})
	}
}

func TestCheckAmount_refuses(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:1")
	for name, amount := range map[string]billing.Money{
		"a fraction that IDR has not at Adyen":       {Minor: 150050, Currency: "IDR"},
		"a fraction that CVE has not at Adyen":       {Minor: 1, Currency: "CVE"},
		"more CLP than a number holds":               {Minor: math.MaxInt64 / 10, Currency: "CLP"},
		"a negative amount":                          {Minor: -1, Currency: "EUR"},
		"a currency whose decimals are not verified": {Minor: 100, Currency: "MRU"},
		"a currency in small letters":                {Minor: 100, Currency: "eur"},
		"no currency":                                {Minor: 100},
	} {
		t.Run(name, func(t *testing.T) {
			if err := client.CheckAmount(amount); !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("CheckAmount = %v, want ErrInvalid", err)
			}
		})
	}
	if err := client.CheckAmount(billing.Money{Currency: "EUR"}); err != nil {
		t.Errorf("CheckAmount of zero = %v: zero can be expressed", err)
	}
}

// What breaks a limit never leaves, and never comes back: the charge is held.
func TestCharge_holdsWhatCannotBeSent(t *testing.T) {
	tests := []struct {
		name string
		edit func(*billing.ChargeRequest)
	}{
		{"a reference that is too long with its attempt", func(r *billing.ChargeRequest) { r.Reference = strings.Repeat("r", 79) }},
		{"a reference that is not UTF-8", func(r *billing.ChargeRequest) { r.Reference = "\xff" }},
		{"no key", func(r *billing.ChargeRequest) { r.Key = "" }},
		{"a key that is too long", func(r *billing.ChargeRequest) { r.Key = strings.Repeat("k", 65) }},
		{"a key with a line break", func(r *billing.ChargeRequest) { r.Key = "k\r\nX-Other: 1" }},
		{"no token", func(r *billing.ChargeRequest) { r.Token = "" }},
		{"a token that is too long", func(r *billing.ChargeRequest) { r.Token = strings.Repeat("T", 65) }},
		{"a shopper that is too short", func(r *billing.ChargeRequest) { r.ShopperReference = "ab" }},
		{"a shopper that is too long", func(r *billing.ChargeRequest) { r.ShopperReference = strings.Repeat("é", 257) }},
		{"no return URL", func(r *billing.ChargeRequest) { r.ReturnURL = "" }},
		{"a return URL that is too long", func(r *billing.ChargeRequest) { r.ReturnURL = strings.Repeat("u", 1025) }},
		{"a payment method that is none", func(r *billing.ChargeRequest) { r.PaymentMethod = strings.Repeat("m", 41) }},
		{"a model with the shopper present", func(r *billing.ChargeRequest) { r.Model = "CardOnFile" }},
		{"attempt 0", func(r *billing.ChargeRequest) { r.Attempt = 0 }},
		{"nothing to charge", func(r *billing.ChargeRequest) { r.Amount.Minor = 0 }},
		{"less than nothing", func(r *billing.ChargeRequest) { r.Amount.Minor = -1 }},
		{"a currency that Adyen has not", func(r *billing.ChargeRequest) { r.Amount.Currency = "MRU" }},
		{"an amount that Adyen cannot express", func(r *billing.ChargeRequest) { r.Amount = billing.Money{Minor: 150, Currency: "IDR"} }},
	}
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(200, approved)) })
	client := newClient(t, w.URL)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := testRequest()
			tt.edit(&request)
			_, err := client.Charge(t.Context(), request)
			if !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("error = %v, want ErrInvalid", err)
			}
			checkNotProcessed(t, err, billing.NotProcessedError{Scope: billing.ScopeCharge, Counted: true, Code: "request"})
			if strings.Contains(err.Error(), testRequest().Token) {
				t.Errorf("the token is in %v", err)
			}
		})
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestCharge_sendsAtTheLimits(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(502, "")) })
	request := testRequest()
	request.Key = strings.Repeat("k", 64)
	request.Reference = strings.Repeat("r", 78)
	request.Token = strings.Repeat("T", 64)
	request.ShopperReference = strings.Repeat("é", 256)
	request.ReturnURL = strings.Repeat("u", 1024)
	request.PaymentMethod = ""
	request.Model = billing.ModelUnscheduledCardOnFile
	if _, err := newClient(t, w.URL).Charge(t.Context(), request); !errors.Is(err, billing.ErrUnknown) {
		t.Errorf("error = %v, want that of the answer", err)
	}
	for _, want := range []string{`"type":"scheme"`, `"recurringProcessingModel":"UnscheduledCardOnFile"`} {
		if !bytes.Contains(w.Requests()[0].Body, []byte(want)) {
			t.Errorf("%s is not in %s", want, w.Requests()[0].Body)
		}
	}
}

// One account that is set up wrong stops itself, at its first charge.
func TestCharge_stopsAnUnfitAccount(t *testing.T) {
	good := adyen.Options{MerchantAccount: "DemoEU", BaseURL: "http://127.0.0.1:1/v71", APIKey: secret.New(testAPIKey)}
	tests := []struct {
		name string
		edit func(*adyen.Options)
	}{
		{"no address", func(o *adyen.Options) { o.BaseURL = "" }},
		{"an address that is none", func(o *adyen.Options) { o.BaseURL = "http://[::1" }},
		{"a scheme that is not HTTP", func(o *adyen.Options) { o.BaseURL = "ftp://127.0.0.1/v71" }},
		{"a password in the address", func(o *adyen.Options) { o.BaseURL = "http://user:" + testAPIKey + "@127.0.0.1/v71" }},
		{"a query in the address", func(o *adyen.Options) { o.BaseURL = "http://127.0.0.1/v71?x=" + testAPIKey }},
		{"no key", func(o *adyen.Options) { o.APIKey = secret.String{} }},
		{"a key with the line break of its file", func(o *adyen.Options) { o.APIKey = secret.New(testAPIKey + "\n") }},
		{"no account", func(o *adyen.Options) { o.MerchantAccount = "" }},
		{"another account", func(o *adyen.Options) { o.MerchantAccount = "DemoUS" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			options := good
			tt.edit(&options)
			_, err := adyen.New(http.DefaultClient, options, hclog.NewNullLogger()).Charge(t.Context(), testRequest())
			checkNotProcessed(t, err, billing.NotProcessedError{Scope: billing.ScopeAccount, Code: "configuration"})
			if strings.Contains(err.Error(), testAPIKey) {
				t.Errorf("the key is in %v", err)
			}
		})
	}
}

func TestCharge_endsAtItsOwnTimeout(t *testing.T) {
	w := gatewaytest.NewWire(t, (*gatewaytest.Exchange).Hold)
	httpClient := gateway.NewHTTPClient(gateway.Options{})
	defer httpClient.CloseIdleConnections()
	client := adyen.New(httpClient, adyen.Options{
		MerchantAccount: "DemoEU", BaseURL: w.URL, APIKey: secret.New(testAPIKey), Timeout: shortTime,
	}, hclog.NewNullLogger())
	_, err := client.Charge(t.Context(), testRequest())
	if !errors.Is(err, billing.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want ErrUnknown by deadline", err)
	}
}

// checkNotProcessed compares all but the words.
func checkNotProcessed(t *testing.T, err error, want billing.NotProcessedError) {
	t.Helper()
	var got *billing.NotProcessedError
	if !errors.As(err, &got) {
		t.Fatalf("error = %v, want a NotProcessedError", err)
	}
	if errors.Is(err, billing.ErrUnknown) || errors.Is(err, billing.ErrNotSent) {
		t.Errorf("error = %v has two meanings", err)
	}
	if got.Message == "" {
		t.Error("no message")
	}
	want.Message = got.Message
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("NotProcessedError (-want +got):\n%s", diff)
	}
}
