package mastercard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testPassword = "d3b07384d113+edec49eaa6238ad5ff0"
	nvpPath      = "/mastercard/api/nvp/version/100"
)

// testRequest is a charge whose every field differs from the others. The key is
// what the ids make of it: it is not sent.
func testRequest() billing.ChargeRequest {
	return billing.ChargeRequest{
		Key:              "sub_000042~9/2",
		MerchantAccount:  "DemoMC",
		Reference:        "sub_000042~9",
		Attempt:          2,
		Amount:           billing.Money{Minor: 1999, Currency: "EUR"},
		Token:            "9512345678901238",
		ShopperReference: "acct/000042",
		PaymentMethod:    "scheme",
		Model:            billing.ModelSubscription,
		ReturnURL:        "https://example.invalid/",
	}
}

func testOptions(baseURL string) mastercard.Options {
	return mastercard.Options{
		MerchantAccount: "DemoMC",
		MerchantID:      "TESTDEMOMC",
		BaseURL:         baseURL + nvpPath,
		Password:        secret.New(testPassword),
	}
}

func newClient(t testing.TB, baseURL string) *mastercard.Client {
	t.Helper()
	return newClientWith(t, testOptions(baseURL))
}

func newClientWith(t testing.TB, o mastercard.Options) *mastercard.Client {
	t.Helper()
	client := gateway.NewHTTPClient(gateway.Options{})
	t.Cleanup(client.CloseIdleConnections)
	return mastercard.New(client, o, hclog.NewNullLogger())
}

// A form is a request or an answer, by name.
type form map[string]string

// with returns f with fields changed, or removed by an empty value.
func (f form) with(pairs ...string) form {
	changed := maps.Clone(f)
	for i := 0; i < len(pairs); i += 2 {
		changed[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "" {
			delete(changed, pairs[i])
		}
	}
	return changed
}

func (f form) String() string {
	values := url.Values{}
	for name, value := range f {
		values.Set(name, value)
	}
	return values.Encode()
}

// approved is the answer to testRequest that takes the money.
var approved = form{
	"result":                     "SUCCESS",
	"merchant":                   "TESTDEMOMC",
	"order.id":                   "sub_000042~9",
	"order.amount":               "19.99",
	"order.currency":             "EUR",
	"order.status":               "CAPTURED",
	"transaction.id":             "2",
	"transaction.type":           "PAYMENT",
	"transaction.amount":         "19.99",
	"transaction.currency":       "EUR",
	"transaction.receipt":        "133213000042",
	"response.gatewayCode":       "APPROVED",
	"response.acquirerCode":      "00",
	"sourceOfFunds.token":        "9512345678901238",
	"version":                    "100",
	"risk.response.rule[0].type": "MERCHANT_RULE",
}

// refused is approved as a refusal.
var refused = approved.with("result", "FAILURE", "response.gatewayCode", "DECLINED", "response.acquirerCode", "05",
	"response.acquirerMessage", "Do not honour", "order.status", "FAILED")

// fault is an answer with result ERROR.
func fault(cause string, pairs ...string) form {
	return form{"result": "ERROR", "error.cause": cause}.with(pairs...)
}

// httpAnswer is an answer with a form as its body.
func httpAnswer(status int, body string, headers ...string) string {
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	for _, h := range headers {
		head += h + "\r\n"
	}
	return head + "\r\n" + body
}

// parse reads a request of ours, and fails if a field stands in it twice.
func parse(t testing.TB, body []byte) form {
	t.Helper()
	values, err := url.ParseQuery(string(body))
	if err != nil {
		t.Error(err)
	}
	f := form{}
	for name, all := range values {
		if len(all) > 1 {
			t.Errorf("%s is sent %d times", name, len(all))
		}
		f[name] = all[0]
	}
	return f
}

// answering is a gateway that answers each request by what it asks for.
func answering(t *testing.T, answer func(asked form) string) *gatewaytest.Wire {
	t.Helper()
	return gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(answer(parse(t, e.Body))) })
}

// saying is a gateway that always answers alike.
func saying(t *testing.T, f form) *gatewaytest.Wire {
	t.Helper()
	return answering(t, func(form) string { return httpAnswer(201, f.String()) })
}

func TestConformance(t *testing.T) {
	echo := func(result string, names ...string) func(string) (string, string) {
		return func(text string) (string, string) {
			f := form{"result": result, "order.id": "sub_000042~9", "transaction.id": "2"}
			for _, name := range names {
				f[name] = text
			}
			return "text/plain;charset=UTF-8", f.String()
		}
	}
	errorFields := []string{"error.cause", "error.explanation", "error.field", "error.supportCode", "error.validationType"}
	for name, echoed := range map[string]func(string) (string, string){
		"an error without a cause": echo("ERROR", errorFields...),
		"a wrong request": func(text string) (string, string) {
			return "", fault("INVALID_REQUEST", "error.explanation", text, "error.field", text, "error.validationType", text).String()
		},
		"an order of other words": echo("SUCCESS", "response.gatewayCode", "order.amount", "order.currency"),
		"other ids":               echo("SUCCESS", "order.id", "transaction.id"),
		"an unknown result":       echo("MAYBE", "response.gatewayCode", "result"),
		"a code under SUCCESS":    echo("SUCCESS", "response.gatewayCode"),
		"a type":                  echo("SUCCESS", "transaction.type", "merchant"),
	} {
		t.Run(name, func(t *testing.T) {
			gatewaytest.Run(t, gatewaytest.Dialect{
				New:     func(t *testing.T, baseURL string) billing.Gateway { return newClient(t, baseURL) },
				Request: testRequest(),
				Key: func(r gatewaytest.Recorded) string {
					f := parse(t, r.Body)
					return f["order.id"] + "/" + f["transaction.id"]
				},
				Approve: func(gatewaytest.Recorded) string { return httpAnswer(201, approved.String()) },
				Secrets: []string{testPassword, url.QueryEscape(testPassword), url.QueryEscape(testRequest().ShopperReference)},
				Echo:    echoed,
			})
		})
	}
}

func TestCharge_sendsExactlyTheseBytes(t *testing.T) {
	const credentials = "&apiUsername=merchant.TESTDEMOMC&apiPassword=d3b07384d113%2Bedec49eaa6238ad5ff0"
	const card = "&transaction.source=MERCHANT&sourceOfFunds.type=CARD&sourceOfFunds.token=9512345678901238" +
		"&sourceOfFunds.provided.card.storedOnFile=STORED"
	tests := []struct {
		name      string
		operation mastercard.Operation
		edit      func(*billing.ChargeRequest)
		want      []string
	}{
		{"a subscription's cycle", mastercard.Pay, func(*billing.ChargeRequest) {}, []string{
			"apiOperation=PAY&merchant=TESTDEMOMC&order.id=sub_000042~9&transaction.id=2&order.amount=19.99&order.currency=EUR" +
				"&order.reference=sub_000042~9~2&transaction.reference=sub_000042~9~2" + card +
				"&agreement.id=sub_000042&agreement.type=RECURRING&agreement.amountVariability=VARIABLE" + credentials,
		}},
		{"an unscheduled charge", "", func(r *billing.ChargeRequest) {
			r.Model, r.Reference, r.Attempt = billing.ModelUnscheduledCardOnFile, "top/up-7", 1
		}, []string{
			"apiOperation=PAY&merchant=TESTDEMOMC&order.id=top%2Fup-7&transaction.id=1&order.amount=19.99&order.currency=EUR" +
				"&order.reference=top%2Fup-7~1&transaction.reference=top%2Fup-7~1" + card +
				"&agreement.id=acct%2F000042&agreement.type=UNSCHEDULED" + credentials,
		}},
		{"authorise, then capture", mastercard.AuthorizeCapture, func(*billing.ChargeRequest) {}, []string{
			"apiOperation=AUTHORIZE&merchant=TESTDEMOMC&order.id=sub_000042~9&transaction.id=2&order.amount=19.99&order.currency=EUR" +
				"&order.reference=sub_000042~9~2&transaction.reference=sub_000042~9~2" + card +
				"&agreement.id=sub_000042&agreement.type=RECURRING&agreement.amountVariability=VARIABLE" + credentials,
			"apiOperation=CAPTURE&merchant=TESTDEMOMC&order.id=sub_000042~9&transaction.id=2c" +
				"&transaction.amount=19.99&transaction.currency=EUR" + credentials,
		}},
		{"a reference that is too long with its attempt", mastercard.Pay, func(r *billing.ChargeRequest) {
			r.Reference = strings.Repeat("r", 39)
		}, []string{
			"apiOperation=PAY&merchant=TESTDEMOMC&order.id=" + strings.Repeat("r", 39) + "&transaction.id=2&order.amount=19.99&order.currency=EUR" +
				card + "&agreement.id=acct%2F000042&agreement.type=RECURRING&agreement.amountVariability=VARIABLE" + credentials,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := testRequest()
			tt.edit(&request)
			w := approving(t)
			o := testOptions(w.URL)
			o.Operation = tt.operation
			if _, err := newClientWith(t, o).Charge(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			// A change here is a change of both wire versions.
			var got []string
			for _, r := range w.Requests() {
				got = append(got, string(r.Body))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("bodies (-want +got):\n%s", diff)
			}
			wantHeader := http.Header{
				"Content-Length": {fmt.Sprint(len(tt.want[0]))},
				"Content-Type":   {"application/x-www-form-urlencoded; charset=UTF-8"},
				"User-Agent":     {"contauth"},
			}
			header := w.Requests()[0].Header
			delete(header, "Accept-Encoding")
			if diff := cmp.Diff(wantHeader, header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

// approving is a gateway that approves whatever it is asked to charge.
func approving(t *testing.T) *gatewaytest.Wire {
	t.Helper()
	kinds := map[string]string{"PAY": "PAYMENT", "AUTHORIZE": "AUTHORIZATION", "CAPTURE": "CAPTURE"}
	return answering(t, func(asked form) string {
		return httpAnswer(201, approved.with("order.id", asked["order.id"], "transaction.id", asked["transaction.id"],
			"transaction.type", kinds[asked["apiOperation"]], "merchant", asked["merchant"],
			"order.amount", "", "order.currency", "", "transaction.amount", "", "transaction.currency", "").String())
	})
}

// An attempt is never sent again as the other operation: under the same ids that
// would be another transaction.
func TestWireVersion_differsByOperation(t *testing.T) {
	o := testOptions("http://127.0.0.1:1")
	pay := newClientWith(t, o).WireVersion()
	o.Operation = mastercard.AuthorizeCapture
	authorize := newClientWith(t, o).WireVersion()
	if pay != 1 || authorize != 2 {
		t.Errorf("WireVersion = %d and %d: the bytes of the tests are those of 1 and 2", pay, authorize)
	}
}

func TestEndpoint_namesTheMerchant(t *testing.T) {
	if got, want := newClient(t, "http://127.0.0.1:1").Endpoint(), "http://127.0.0.1:1"+nvpPath+"/merchant/TESTDEMOMC"; got != want {
		t.Errorf("Endpoint = %q, want %q", got, want)
	}
}

// With a client certificate the connection says who calls.
func TestCharge_leavesOutCredentialsForACertificate(t *testing.T) {
	o := testOptions("https://127.0.0.1:1")
	o.Password = secret.String{}
	var body []byte
	client := mastercard.New(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		var all bytes.Buffer
		all.ReadFrom(r.Body)
		body = all.Bytes()
		return nil, errors.New("enough")
	})}, o, hclog.NewNullLogger())
	if _, err := client.Charge(t.Context(), testRequest()); !errors.Is(err, billing.ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
	if len(body) == 0 || bytes.Contains(body, []byte("api"+"Username")) || bytes.Contains(body, []byte("apiPassword")) {
		t.Errorf("body = %s", body)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A new password changes the last field and nothing else.
func TestCharge_keepsItsContentUnderANewPassword(t *testing.T) {
	w := approving(t)
	content := func(password string) string {
		o := testOptions(w.URL)
		o.Password = secret.New(password)
		if _, err := newClientWith(t, o).Charge(t.Context(), testRequest()); err != nil {
			t.Fatal(err)
		}
		requests := w.Requests()
		before, after, _ := strings.Cut(string(requests[len(requests)-1].Body), "&apiPassword=")
		if after != url.QueryEscape(password) {
			t.Errorf("the password is not the last field")
		}
		return before
	}
	if content("old") != content("new+password") {
		t.Error("more than the password differs")
	}
}

// The encoder must say what net/url would have understood, for any text, and
// equal requests must make equal bytes.
func TestCharge_encodesAnyText(t *testing.T) {
	w := answering(t, func(form) string { return httpAnswer(500, "") })
	client := newClient(t, w.URL)
	sent := 0
	rapid.Check(t, func(rt *rapid.T) {
		request := testRequest()
		request.Model = billing.ModelUnscheduledCardOnFile
		request.Reference = rapid.StringN(1, 40, -1).Draw(rt, "reference")
		request.ShopperReference = rapid.StringN(1, 100, -1).Draw(rt, "shopper")
		request.Token = rapid.StringMatching(`[0-9A-Za-z]{1,40}`).Draw(rt, "token")
		request.Attempt = rapid.IntRange(1, 1<<30).Draw(rt, "attempt")
		request.Amount.Minor = rapid.Int64Range(1, 1_000_000_000_000).Draw(rt, "amount")
		for range 2 {
			if _, err := client.Charge(t.Context(), request); !errors.Is(err, billing.ErrUnknown) {
				rt.Fatalf("Charge: %v", err)
			}
		}
		bodies := w.Requests()[sent:]
		sent += 2
		if !bytes.Equal(bodies[0].Body, bodies[1].Body) {
			rt.Fatalf("the same request made\n%s and\n%s", bodies[0].Body, bodies[1].Body)
		}
		got := parse(t, bodies[0].Body)
		if got["order.id"] != request.Reference || got["agreement.id"] != request.ShopperReference ||
			got["sourceOfFunds.token"] != request.Token || got["transaction.id"] != fmt.Sprint(request.Attempt) {
			rt.Fatalf("sent %v for %+v", got, request)
		}
		if whole := strings.ReplaceAll(got["order.amount"], ".", ""); strings.TrimLeft(whole, "0") != fmt.Sprint(request.Amount.Minor) {
			rt.Fatalf("sent %s for %d", got["order.amount"], request.Amount.Minor)
		}
	})
}

func TestCharge_derivesTheAgreement(t *testing.T) {
	tests := []struct {
		name, reference, shopper string
		model                    billing.RecurringProcessingModel
		want                     string // agreement.id
	}{
		{"a cycle belongs to its subscription", "sub_42~9", "shopper", billing.ModelSubscription, "sub_42"},
		{"a subscription's charge without a cycle to its shopper", "sub_42", "shopper", billing.ModelSubscription, "shopper"},
		{"an unscheduled charge to its shopper", "topup-7", "shopper", billing.ModelUnscheduledCardOnFile, "shopper"},
		{"the longest shopper that fits", "topup-7", strings.Repeat("s", 100), billing.ModelUnscheduledCardOnFile, strings.Repeat("s", 100)},
		{"a cycle's shopper may be longer", "sub_42~9", strings.Repeat("s", 256), billing.ModelSubscription, "sub_42"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := approving(t)
			request := testRequest()
			request.Reference, request.ShopperReference, request.Model = tt.reference, tt.shopper, tt.model
			if _, err := newClient(t, w.URL).Charge(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if got := parse(t, w.Requests()[0].Body)["agreement.id"]; got != tt.want {
				t.Errorf("agreement.id = %q, want %q", got, tt.want)
			}
		})
	}
}

// What breaks a limit never leaves, and never comes back: the charge is held.
func TestCharge_holdsWhatCannotBeSent(t *testing.T) {
	tests := []struct {
		name string
		edit func(*billing.ChargeRequest)
	}{
		{"a reference that is too long", func(r *billing.ChargeRequest) { r.Reference = strings.Repeat("r", 41) }},
		{"no reference", func(r *billing.ChargeRequest) { r.Reference = "" }},
		{"a reference that is not UTF-8", func(r *billing.ChargeRequest) { r.Reference = "\xff" }},
		{"no token", func(r *billing.ChargeRequest) { r.Token = "" }},
		{"a token that is too long", func(r *billing.ChargeRequest) { r.Token = strings.Repeat("T", 41) }},
		{"a token with a dash", func(r *billing.ChargeRequest) { r.Token = "abc-def" }},
		{"an unscheduled charge whose shopper is too long", func(r *billing.ChargeRequest) {
			r.Model, r.ShopperReference = billing.ModelUnscheduledCardOnFile, strings.Repeat("s", 101)
		}},
		{"an unscheduled charge without a shopper", func(r *billing.ChargeRequest) {
			r.Model, r.ShopperReference = billing.ModelUnscheduledCardOnFile, ""
		}},
		{"a model with the shopper present", func(r *billing.ChargeRequest) { r.Model = "CardOnFile" }},
		{"attempt 0", func(r *billing.ChargeRequest) { r.Attempt = 0 }},
		{"nothing to charge", func(r *billing.ChargeRequest) { r.Amount.Minor = 0 }},
		{"less than nothing", func(r *billing.ChargeRequest) { r.Amount.Minor = -1 }},
		{"a currency with four decimals", func(r *billing.ChargeRequest) { r.Amount.Currency = "CLF" }},
		{"more than 14 characters", func(r *billing.ChargeRequest) { r.Amount.Minor = 10_000_000_000_000 }},
	}
	w := approving(t)
	client := newClient(t, w.URL)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := testRequest()
			tt.edit(&request)
			reply, err := client.Charge(t.Context(), request)
			if !errors.Is(err, billing.ErrInvalid) || reply != (billing.Reply{}) {
				t.Errorf("Charge = %+v, %v, want ErrInvalid", reply, err)
			}
			checkNotProcessed(t, err, billing.NotProcessedError{Scope: billing.ScopeCharge, Counted: true, Code: "request"})
			checkSilent(t, err)
			if _, err := client.Find(t.Context(), request); !errors.Is(err, billing.ErrUnknown) || errors.Is(err, billing.ErrNotFound) {
				t.Errorf("Find: %v, want an error that says nothing", err)
			}
		})
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// One account that is set up wrong stops itself, at its first charge.
func TestClient_stopsAnUnfitAccount(t *testing.T) {
	tests := []struct {
		name string
		edit func(*mastercard.Options)
	}{
		{"no address", func(o *mastercard.Options) { o.BaseURL = "" }},
		{"an address that is none", func(o *mastercard.Options) { o.BaseURL = "http://[::1" }},
		{"a scheme that is not HTTP", func(o *mastercard.Options) { o.BaseURL = "ftp://127.0.0.1" + nvpPath }},
		{"a password in the address", func(o *mastercard.Options) { o.BaseURL = "http://user:" + testPassword + "@127.0.0.1" + nvpPath }},
		{"a query in the address", func(o *mastercard.Options) { o.BaseURL += "?x=" + testPassword }},
		{"the REST protocol", func(o *mastercard.Options) { o.BaseURL = "http://127.0.0.1/api/rest/version/100" }},
		{"no version", func(o *mastercard.Options) { o.BaseURL = "http://127.0.0.1/api/nvp/version/" }},
		{"no merchant", func(o *mastercard.Options) { o.MerchantID = "" }},
		{"a merchant that is too long", func(o *mastercard.Options) { o.MerchantID = strings.Repeat("M", 41) }},
		{"a merchant with a space", func(o *mastercard.Options) { o.MerchantID = "TEST 1" }},
		{"no password over http", func(o *mastercard.Options) { o.Password = secret.String{} }},
		{"a password with the line break of its file", func(o *mastercard.Options) { o.Password = secret.New(testPassword + "\n") }},
		{"an operation that is none", func(o *mastercard.Options) { o.Operation = "verify" }},
		{"no account", func(o *mastercard.Options) { o.MerchantAccount = "" }},
		{"another account", func(o *mastercard.Options) { o.MerchantAccount = "DemoMC2" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			options := testOptions("http://127.0.0.1:1")
			tt.edit(&options)
			client := mastercard.New(http.DefaultClient, options, hclog.NewNullLogger())
			_, err := client.Charge(t.Context(), testRequest())
			_, findErr := client.Find(t.Context(), testRequest())
			for _, err := range []error{err, findErr} {
				checkNotProcessed(t, err, billing.NotProcessedError{Scope: billing.ScopeAccount, Code: "configuration"})
				checkSilent(t, err)
			}
		})
	}
}

func TestCharge_endsAtItsOwnTimeout(t *testing.T) {
	w := gatewaytest.NewWire(t, (*gatewaytest.Exchange).Hold)
	o := testOptions(w.URL)
	o.Timeout = 50 * time.Millisecond
	_, err := newClientWith(t, o).Charge(t.Context(), testRequest())
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
	if errors.Is(err, billing.ErrUnknown) || errors.Is(err, billing.ErrNotSent) || errors.Is(err, billing.ErrNotFound) {
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

// checkUnknown fails unless err is want, the plainest that it can be.
func checkUnknown(t *testing.T, err, want error) {
	t.Helper()
	var no *billing.NotProcessedError
	if !errors.Is(err, want) || errors.Is(err, billing.ErrNotSent) || errors.As(err, &no) || errors.Is(err, billing.ErrNotFound) {
		t.Errorf("error = %v, want %v", err, want)
	}
	for _, special := range []error{billing.ErrMismatch, billing.ErrInProgress} {
		if want == billing.ErrUnknown && errors.Is(err, special) {
			t.Errorf("error = %v, want no more than %v", err, want)
		}
	}
}

// checkSilent fails if an error holds what nobody may read.
func checkSilent(t *testing.T, err error, more ...string) {
	t.Helper()
	for _, s := range append(slices.Clone(more), testPassword, testRequest().Token, testRequest().ShopperReference) {
		if strings.Contains(fmt.Sprintf("%v %#v", err, err), s) {
			t.Errorf("%q is in %v", s, err)
		}
	}
}
