package adyen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

const (
	testToken   = "TKN4W8ZD6V2HJ3K7"
	testShopper = `acct/000042+&=?#%"`
	testKey     = "Vk3sK7f0b1q_x-2mY9d8c7b6a5Z4y3X2w1V0u9t8s7R"
	testData    = "Ab02b4c0!BQABAgB/sessionData=="
)

var testRef = tokens.Ref{Token: testToken, ShopperReference: testShopper}

func newVault(t testing.TB, baseURL string) *adyen.Vault {
	t.Helper()
	return newVaultWith(t, baseURL, hclog.NewNullLogger())
}

func newVaultWith(t testing.TB, baseURL string, logger hclog.Logger) *adyen.Vault {
	t.Helper()
	client := gateway.NewHTTPClient(gateway.Options{})
	t.Cleanup(client.CloseIdleConnections)
	return adyen.NewVault(client, adyen.Options{
		MerchantAccount: "Demo EU", BaseURL: baseURL + "/v72", APIKey: secret.New(testAPIKey),
	}, logger)
}

// A call is a request as it arrived at a desk.
type call struct {
	Method, URI, Body string
	Header            http.Header
}

// A desk answers in turn what it is told, the last for ever, and notes what arrived.
type desk struct {
	*httptest.Server
	mu      sync.Mutex
	answers []reply
	calls   []call
	echo    func(call) string // of a request, for "{{echo}}"
}

// A reply is a status and a body; a body of JSON unless kind says otherwise.
type reply struct {
	status int
	body   string
	kind   string
	header map[string]string
}

func newDesk(t testing.TB, answers ...reply) *desk {
	t.Helper()
	d := &desk{answers: answers}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	arrived := call{r.Method, r.RequestURI, string(body), r.Header.Clone()}
	d.calls = append(d.calls, arrived)
	answer := d.answers[min(len(d.calls), len(d.answers))-1]
	d.mu.Unlock()
	if answer.kind == "" {
		answer.kind = "application/json;charset=utf-8"
	}
	w.Header().Set("Content-Type", answer.kind)
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.status)
	// An answer can be about the reference that was sent, and throw all of it back.
	var echo []byte
	if d.echo != nil {
		echo, _ = json.Marshal(d.echo(arrived))
	}
	io.WriteString(w, strings.NewReplacer("{{reference}}", sentReference(string(body)), "{{echo}}", string(echo)).Replace(answer.body))
}

func sentReference(body string) string {
	_, rest, _ := strings.Cut(body, `"reference":"`)
	reference, _, _ := strings.Cut(rest, `"`)
	return reference
}

func (d *desk) all() []call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]call(nil), d.calls...)
}

// lines are the calls without header and body.
func (d *desk) lines() []string {
	lines := []string{}
	for _, c := range d.all() {
		lines = append(lines, c.Method+" "+c.URI)
	}
	return lines
}

const (
	listLine   = "GET /v72/storedPaymentMethods?merchantAccount=Demo+EU&shopperReference=acct%2F000042%2B%26%3D%3F%23%25%22"
	deleteLine = "DELETE /v72/storedPaymentMethods/TKN4W8ZD6V2HJ3K7?merchantAccount=Demo+EU&shopperReference=acct%2F000042%2B%26%3D%3F%23%25%22"
)

// operations are the calls of a vault that send something.
var operations = []struct {
	name string
	run  func(context.Context, *adyen.Vault) error
}{
	{"Read", func(ctx context.Context, v *adyen.Vault) error { _, err := v.Read(ctx, testRef); return err }},
	{"Verify by the date", func(ctx context.Context, v *adyen.Vault) error {
		_, err := v.Verify(ctx, tokens.VerifyRequest{Ref: testRef, Strategy: tokens.StrategyBasic})
		return err
	}},
	{"Verify at the issuer", func(ctx context.Context, v *adyen.Vault) error { _, err := v.Verify(ctx, testVerify()); return err }},
	{"OpenSession to create", func(ctx context.Context, v *adyen.Vault) error {
		_, err := v.OpenSession(ctx, testSession())
		return err
	}},
	{"OpenSession to pay", func(ctx context.Context, v *adyen.Vault) error {
		_, err := v.OpenSession(ctx, testPaySession())
		return err
	}},
	{"Delete", func(ctx context.Context, v *adyen.Vault) error { return v.Delete(ctx, testRef) }},
}

func TestVault_Save(t *testing.T) {
	d := newDesk(t, reply{status: 200})
	saved, err := newVault(t, d.URL).Save(t.Context(), tokens.SaveRequest{SessionID: "CS1"})
	if !errors.Is(err, tokens.ErrUnsupported) || saved != (tokens.Saved{}) {
		t.Errorf("Save = %+v, %v, want ErrUnsupported", saved, err)
	}
	if !strings.Contains(err.Error(), "open a session") {
		t.Errorf("%v does not say what to do", err)
	}
	if n := len(d.all()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// A meaning is which of the errors of tokens.Vault an error is.
func meaning(err error) string {
	var refused *tokens.RefusedError
	words := []string{}
	if errors.As(err, &refused) {
		words = append(words, "refused "+string(refused.Refusal))
		if refused.Field != "" {
			words = append(words, "for "+refused.Field)
		}
	}
	for name, sentinel := range map[string]error{
		"not found": tokens.ErrNotFound, "no answer": tokens.ErrUnanswered, "not supported": tokens.ErrUnsupported, "invalid": tokens.ErrInvalid,
	} {
		if errors.Is(err, sentinel) {
			words = append(words, name)
		}
	}
	if err == nil {
		words = append(words, "no error")
	}
	return strings.Join(words, " ")
}

// Every error that Adyen can answer with means the same in each call, but for a
// deletion, which is content when there is nothing to delete.
func TestVault_errors(t *testing.T) {
	fault := func(code, kind string) string {
		return fmt.Sprintf(`{"status":0,"errorCode":%q,"message":"words","errorType":%q}`, code, kind)
	}
	const gone = "no error"
	tests := []struct {
		name       string
		answer     reply
		want       string
		ofDeletion string // where it differs
	}{
		{name: "301 moved", answer: reply{status: 301, header: map[string]string{"Location": "/x"}}, want: "refused profile"},
		{name: "302 found", answer: reply{status: 302, header: map[string]string{"Location": "/x"}}, want: "no answer"},
		{name: "307 would keep the method", answer: reply{status: 307, header: map[string]string{"Location": "/x"}}, want: "no answer"},
		{name: "400 not understood", answer: reply{status: 400, body: fault("702", "validation")}, want: "refused request"},
		{name: "401 wrong API key", answer: reply{status: 401, body: fault("000", "security")}, want: "refused profile"},
		{name: "401 without a body", answer: reply{status: 401}, want: "refused profile"},
		{name: "403 role missing", answer: reply{status: 403, body: fault("010", "security")}, want: "refused profile"},
		{name: "403 wrong merchant account", answer: reply{status: 403, body: fault("901", "security")}, want: "refused profile for merchantAccount"},
		{name: "404 wrong address", answer: reply{status: 404, kind: "text/html", body: "<html>"}, want: "refused profile"},
		{name: "404 of a token", answer: reply{status: 404, body: fault("803", "validation")}, want: "not found", ofDeletion: gone},
		{name: "405 wrong method", answer: reply{status: 405}, want: "refused profile"},
		{name: "406 not acceptable", answer: reply{status: 406}, want: "refused request"},
		{name: "408 timed out", answer: reply{status: 408}, want: "no answer"},
		{name: "409 in progress", answer: reply{status: 409, body: fault("704", "validation")}, want: "no answer"},
		{name: "409 of another kind", answer: reply{status: 409, body: fault("999", "validation")}, want: "no answer"},
		{name: "410 of something", answer: reply{status: 410}, want: "no answer"},
		{name: "413 too large", answer: reply{status: 413}, want: "refused request"},
		{name: "422 in progress", answer: reply{status: 422, body: fault("704", "validation")}, want: "no answer"},
		{name: "422 contract not found", answer: reply{status: 422, body: fault("800", "validation")}, want: "not found", ofDeletion: gone},
		{name: "422 token not found", answer: reply{status: 422, body: fault("803", "validation")}, want: "not found", ofDeletion: gone},
		{name: "500 token not found", answer: reply{status: 500, body: fault("803", "validation")}, want: "not found", ofDeletion: gone},
		{name: "422 reference missing", answer: reply{status: 422, body: fault("130", "validation")}, want: "refused request for reference"},
		{name: "422 return URL missing", answer: reply{status: 422, body: fault("14_030", "validation")}, want: "refused request for returnUrl"},
		{name: "422 code with leading zeros", answer: reply{status: 422, body: fault("000", "validation")}, want: "refused request"},
		{name: "422 in the newer shape", answer: reply{status: 422, kind: "application/problem+json",
			body: `{"type":"https://x","title":"Invalid","status":422,"detail":"words","errorCode":"29_100","invalidFields":[{"name":"amount.value","value":"-1","message":"m"},{"name":"b"}]}`},
			want: "refused request for amount.value"},
		{name: "422 wrong merchant account", answer: reply{status: 422, body: fault("901", "security")}, want: "refused profile for merchantAccount"},
		{name: "422 not allowed", answer: reply{status: 422, body: fault("000", "security")}, want: "refused profile"},
		{name: "422 not set up", answer: reply{status: 422, body: fault("905", "configuration")}, want: "refused profile"},
		{name: "422 rate limited", answer: reply{status: 422, body: fault("705", "validation")}, want: "no answer"},
		{name: "422 without a body", answer: reply{status: 422}, want: "no answer"},
		{name: "422 that is a page", answer: reply{status: 422, kind: "text/html", body: fault("130", "validation")}, want: "no answer"},
		{name: "422 with two codes", answer: reply{status: 422, body: `{"errorCode":"100","errorCode":"803"}`}, want: "no answer"},
		{name: "422 with two lists of fields", answer: reply{status: 422, body: `{"errorCode":"1","invalidFields":[],"invalidFields":[]}`}, want: "no answer"},
		{name: "422 without a code", answer: reply{status: 422, body: `{"message":"words"}`}, want: "no answer"},
		{name: "422 with odd fields", answer: reply{status: 422, body: `{"errorCode":"29_1","invalidFields":["a",{"value":1},{"name":"b"}]}`}, want: "refused request for b"},
		{name: "422 whose fields are no list", answer: reply{status: 422, body: `{"errorCode":"29_1","invalidFields":{"name":"b"}}`}, want: "refused request"},
		{name: "429", answer: reply{status: 429}, want: "no answer"},
		{name: "500 internal", answer: reply{status: 500, body: fault("000", "internal")}, want: "no answer"},
		{name: "500 validation", answer: reply{status: 500, body: fault("702", "validation")}, want: "refused request"},
		{name: "500 configuration", answer: reply{status: 500, body: fault("905", "configuration")}, want: "refused profile"},
		{name: "500 without a body", answer: reply{status: 500}, want: "no answer"},
		{name: "501 not implemented", answer: reply{status: 501}, want: "refused profile"},
		{name: "502 bad gateway", answer: reply{status: 502}, want: "no answer"},
		{name: "503 transient", answer: reply{status: 503, header: map[string]string{"Transient-Error": "true"}}, want: "no answer"},
		{name: "503 silent", answer: reply{status: 503}, want: "no answer"},
		{name: "200 with a page", answer: reply{status: 200, kind: "text/html", body: "<html>"}, want: "no answer"},
		{name: "200 that is cut", answer: reply{status: 200, body: `{"id":"`}, want: "no answer", ofDeletion: gone},
		{name: "200 with nothing of use", answer: reply{status: 200, body: `{}`}, want: "no answer", ofDeletion: gone},
		{name: "206 a part", answer: reply{status: 206, body: `{}`}, want: "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, o := range operations {
				d := newDesk(t, tt.answer)
				err := o.run(t.Context(), newVault(t, d.URL))
				want := tt.want
				if o.name == "Delete" && tt.ofDeletion != "" {
					want = tt.ofDeletion
				}
				if got := meaning(err); got != want {
					t.Errorf("%s: %v: is %q, want %q", o.name, err, got, want)
				}
				if err != nil && strings.Contains(err.Error(), "not processed") {
					t.Errorf("%s: %v speaks of a charge", o.name, err)
				}
				d.Close()
			}
		})
	}
}

func TestVault_noAnswer(t *testing.T) {
	acts := map[string]func(*gatewaytest.Exchange){
		"a hang-up": (*gatewaytest.Exchange).Hangup,
		"a reset":   (*gatewaytest.Exchange).Reset,
		"half a body": func(e *gatewaytest.Exchange) {
			e.Say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
			e.Hangup()
		},
		"half the body of an error": func(e *gatewaytest.Exchange) {
			e.Say("HTTP/1.1 422 No\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
			e.Hangup()
		},
		"a body that is too large": func(e *gatewaytest.Exchange) {
			e.Say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n{")
		},
		"no HTTP": func(e *gatewaytest.Exchange) { e.Say("hello\r\n\r\n"); e.Hangup() },
	}
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			for _, o := range operations {
				w := gatewaytest.NewWire(t, act)
				if err := o.run(t.Context(), newVault(t, w.URL)); meaning(err) != "no answer" {
					t.Errorf("%s: %v, want no answer", o.name, err)
				}
				// A deletion may look at the list when its own answer cannot be understood.
				if n := len(w.Requests()); n != 1 && (o.name != "Delete" || n != 2) {
					t.Errorf("%s: %d requests were sent", o.name, n)
				}
				w.Close()
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		for _, o := range operations {
			if err := o.run(t.Context(), newVault(t, "http://"+closedAddress(t))); meaning(err) != "no answer" {
				t.Errorf("%s: %v, want no answer", o.name, err)
			}
		}
	})
	t.Run("a context that ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, o := range operations {
			err := o.run(ctx, newVault(t, "http://127.0.0.1:1"))
			if meaning(err) != "no answer" || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want no answer, cancelled", o.name, err)
			}
		}
	})
}

func TestVault_endsAtItsOwnTimeout(t *testing.T) {
	w := gatewaytest.NewWire(t, (*gatewaytest.Exchange).Hold)
	client := gateway.NewHTTPClient(gateway.Options{})
	defer client.CloseIdleConnections()
	v := adyen.NewVault(client, adyen.Options{
		MerchantAccount: "DemoEU", BaseURL: w.URL, APIKey: secret.New(testAPIKey), Timeout: shortTime,
	}, hclog.NewNullLogger())
	_, err := v.Read(t.Context(), testRef)
	if !errors.Is(err, tokens.ErrUnanswered) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want ErrUnanswered by deadline", err)
	}
}

// An account that is set up wrong says so at each call, and sends nothing.
func TestVault_unfitAccount(t *testing.T) {
	d := newDesk(t, reply{status: 200, body: `{}`})
	good := adyen.Options{MerchantAccount: "DemoEU", BaseURL: d.URL, APIKey: secret.New(testAPIKey)}
	tests := []struct {
		name string
		edit func(*adyen.Options)
	}{
		{"no address", func(o *adyen.Options) { o.BaseURL = "" }},
		{"an address that is none", func(o *adyen.Options) { o.BaseURL = "http://[::1" }},
		{"a password in the address", func(o *adyen.Options) { o.BaseURL = "http://user:" + testAPIKey + "@127.0.0.1/v72" }},
		{"a query in the address", func(o *adyen.Options) { o.BaseURL = d.URL + "?x=" + testAPIKey }},
		{"no key", func(o *adyen.Options) { o.APIKey = secret.String{} }},
		{"a key with the line break of its file", func(o *adyen.Options) { o.APIKey = secret.New(testAPIKey + "\n") }},
		{"no account", func(o *adyen.Options) { o.MerchantAccount = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			options := good
			tt.edit(&options)
			v := adyen.NewVault(&http.Client{}, options, hclog.NewNullLogger())
			for _, o := range operations {
				err := o.run(t.Context(), v)
				if meaning(err) != "invalid" {
					t.Errorf("%s: %v, want ErrInvalid", o.name, err)
				}
				if strings.Contains(err.Error(), testAPIKey) {
					t.Errorf("%s: the key is in %v", o.name, err)
				}
			}
		})
	}
	if n := len(d.all()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// What names no token never leaves: without a token a deletion's address would be
// that of all tokens, and without a shopper it would be anybody's.
func TestVault_sendsNoRefThatIsNone(t *testing.T) {
	d := newDesk(t, reply{status: 204})
	v := newVault(t, d.URL)
	tests := []struct {
		name string
		ref  tokens.Ref
	}{
		{"nothing", tokens.Ref{}},
		{"no token", tokens.Ref{ShopperReference: testShopper}},
		{"no shopper", tokens.Ref{Token: testToken}},
		{"a dot", tokens.Ref{Token: ".", ShopperReference: testShopper}},
		{"two dots", tokens.Ref{Token: "..", ShopperReference: testShopper}},
		{"a token with a slash", tokens.Ref{Token: testToken + "/x", ShopperReference: testShopper}},
		{"a token with a query", tokens.Ref{Token: testToken + "?x=1", ShopperReference: testShopper}},
		{"an escaped token", tokens.Ref{Token: "%2e%2e", ShopperReference: testShopper}},
		{"a token with a space", tokens.Ref{Token: " ", ShopperReference: testShopper}},
		{"a token that is too long", tokens.Ref{Token: strings.Repeat("T", 65), ShopperReference: testShopper}},
		{"a shopper that is too short", tokens.Ref{Token: testToken, ShopperReference: "ab"}},
		{"a shopper with an address", tokens.Ref{Token: testToken, ShopperReference: "jane@example.com"}},
		{"a shopper with a line break", tokens.Ref{Token: testToken, ShopperReference: "acct\r\n42"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verify, pay := testVerify(), testPaySession()
			verify.Ref, pay.Token, pay.ShopperReference = tt.ref, tt.ref.Token, tt.ref.ShopperReference
			_, readErr := v.Read(t.Context(), tt.ref)
			_, basicErr := v.Verify(t.Context(), tokens.VerifyRequest{Ref: tt.ref, Strategy: tokens.StrategyBasic})
			_, verifyErr := v.Verify(t.Context(), verify)
			_, payErr := v.OpenSession(t.Context(), pay)
			for name, err := range map[string]error{
				"Read": readErr, "Verify by the date": basicErr, "Verify at the issuer": verifyErr, "OpenSession to pay": payErr,
				"Delete": v.Delete(t.Context(), tt.ref),
			} {
				if meaning(err) != "invalid" {
					t.Errorf("%s: %v, want ErrInvalid", name, err)
				}
			}
		})
	}
	if n := len(d.all()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// The gateway throws back at us, in every field it has, what we sent and what it
// keeps secret itself. None of it may stay in an error or a line of the log.
func TestVault_saysNothingSecret(t *testing.T) {
	private := []string{testAPIKey, testToken, testShopper, "acct/000042", "acct%2F000042", testData, testKey}
	const odd = `{"errorCode":{{echo}},"errorType":{{echo}},"message":{{echo}},"detail":{{echo}},"title":{{echo}},` +
		`"invalidFields":[{"name":{{echo}},"value":{{echo}}}],"resultCode":{{echo}},"refusalReason":{{echo}},"refusalReasonCode":{{echo}},` +
		`"merchantReference":"{{reference}}","id":{{echo}},"sessionData":{{echo}},"url":{{echo}},"expiresAt":{{echo}},"reference":{{echo}},` +
		`"storedPaymentMethods":[{"id":{{echo}},"brand":{{echo}}}],"additionalData":{"refusalReasonRaw":{{echo}}}}`
	const usual = `{"errorCode":"130","errorType":"validation","message":{{echo}},"resultCode":"Refused","refusalReason":{{echo}},"refusalReasonCode":{{echo}},` +
		`"merchantReference":"{{reference}}","id":"CS1","sessionData":"` + testData + `","url":"http://` + testAPIKey + `","expiresAt":"2026-01-02T03:04:05Z","reference":"other",` +
		`"storedPaymentMethods":[{"id":"` + testToken + `","brand":{{echo}},"type":{{echo}},"fundingSource":{{echo}},"lastFour":{{echo}}}],"additionalData":{"refusalReasonRaw":{{echo}}}}`
	echoes := map[string]func(call) string{
		"address": func(c call) string { return c.Method + " " + c.URI },
		"header":  func(c call) string { return c.Header.Get("X-Api-Key") + " " + c.Header.Get("Idempotency-Key") },
		"body":    func(c call) string { return c.Body[max(0, strings.Index(c.Body, `"paymentMethod"`)):] },
		"shopper": func(c call) string { return c.Body[max(0, strings.Index(c.Body, `"shopperReference"`)):] },
	}
	answers := map[string]string{"an answer of use": usual, "an odd answer": odd, "an answer that is no JSON": "{{echo}}{{echo}}"}
	for _, status := range []int{200, 201, 202, 204, 301, 302, 400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 503} {
		for echoed, echo := range echoes {
			for name, body := range answers {
				t.Run(fmt.Sprintf("%s with status %d and its %s", name, status, echoed), func(t *testing.T) {
					var log bytes.Buffer
					d := newDesk(t, reply{status: status, body: body, header: map[string]string{"Location": "/" + testToken, "X-Echo": testAPIKey}})
					d.echo = echo
					v := newVaultWith(t, d.URL, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace, JSONFormat: true}))
					texts := []string{fmt.Sprintf("%v %+v %#v", v, v, v)}
					for _, o := range operations {
						texts = append(texts, everyText(o.run(t.Context(), v))...)
					}
					reading, _ := v.Read(t.Context(), testRef)
					verification, _ := v.Verify(t.Context(), testVerify())
					texts = append(texts, fmt.Sprintf("%#v", reading), fmt.Sprintf("%#v", verification), log.String())
					checkNothingPrivate(t, texts, private)
				})
			}
		}
	}
	t.Run("an echo that is no HTTP", func(t *testing.T) {
		w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
			e.Say(strings.Join(private, " ") + string(e.Body) + "\r\n\r\n")
			e.Hangup()
		})
		for _, o := range operations {
			checkNothingPrivate(t, everyText(o.run(t.Context(), newVault(t, w.URL))), private)
		}
	})
	t.Run("a request that cannot be sent", func(t *testing.T) {
		v := newVault(t, "http://127.0.0.1:1")
		verify, session := testVerify(), testSession()
		verify.Key, session.ReturnURL = testKey+"\n", ""
		_, verifyErr := v.Verify(t.Context(), verify)
		_, sessionErr := v.OpenSession(t.Context(), session)
		for _, err := range []error{verifyErr, sessionErr, v.Delete(t.Context(), tokens.Ref{Token: testToken + "/", ShopperReference: testShopper})} {
			checkNothingPrivate(t, everyText(err), private)
		}
	})
}

// everyText is an error and all that is wrapped in it, in every form.
func everyText(err error) []string {
	if err == nil {
		return nil
	}
	texts := []string{fmt.Sprintf("%v %+v %#v", err, err, err)}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		texts = append(texts, everyText(wrapper.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, cause := range wrapper.Unwrap() {
			texts = append(texts, everyText(cause)...)
		}
	}
	return texts
}

func checkNothingPrivate(t *testing.T, texts, private []string) {
	t.Helper()
	for _, text := range texts {
		for _, p := range private {
			if strings.Contains(text, p) {
				t.Errorf("%q is in %s", p, text)
			}
		}
	}
}

func TestVault_header(t *testing.T) {
	get := http.Header{"Accept": {"application/json"}, "User-Agent": {"contauth"}, "X-Api-Key": {testAPIKey}}
	post := get.Clone()
	post["Content-Type"], post["Idempotency-Key"] = []string{"application/json"}, []string{testKey}
	want := map[string]http.Header{
		"Read": get, "Verify by the date": get, "Delete": get,
		"Verify at the issuer": post, "OpenSession to create": post, "OpenSession to pay": post,
	}
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 500})
			o.run(t.Context(), newVault(t, d.URL))
			got := d.all()[0].Header
			got.Del("Content-Length")
			if diff := cmp.Diff(want[o.name], got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVault_manyGoroutines(t *testing.T) {
	d := newDesk(t, reply{status: 422, body: `{"errorCode":"803","errorType":"validation"}`})
	v := newVault(t, d.URL)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, o := range operations {
				if got := meaning(o.run(t.Context(), v)); got != "not found" && o.name != "Delete" {
					t.Errorf("%s: is %q", o.name, got)
				}
			}
		})
	}
	all.Wait()
}
