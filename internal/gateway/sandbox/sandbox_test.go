package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// patience is how long a test waits for what comes at once when all is well.
const patience = 20 * time.Second

// A gateway is a sandbox that a test talks to over TCP.
type gateway struct {
	t      testing.TB
	url    string
	client *http.Client
}

// newGateway serves a sandbox until the test ends.
func newGateway(t testing.TB, opts sandbox.Options) *gateway {
	t.Helper()
	if opts.DataDir == "" {
		opts.DataDir = t.TempDir()
	}
	server, err := sandbox.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := sandbox.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	g := clientOf(t, "http://"+listener.Addr().String())
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g
}

func clientOf(t testing.TB, url string) *gateway {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	return &gateway{t, url, &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A charge is a payment request that a test makes, and changes as it needs.
type charge map[string]any

// newCharge returns a request that is right, with a reference and a token.
func newCharge(reference, token string) charge {
	return charge{
		"merchantAccount":          "DemoEU",
		"amount":                   map[string]any{"currency": "EUR", "value": 1999},
		"reference":                reference,
		"merchantOrderReference":   strings.TrimSuffix(reference, "~1"),
		"paymentMethod":            map[string]any{"type": "scheme", "storedPaymentMethodId": token},
		"shopperReference":         "shopper-1",
		"shopperInteraction":       "ContAuth",
		"recurringProcessingModel": "Subscription",
		"returnUrl":                "https://example.invalid/",
	}
}

// with returns the charge with a field of another value; nil takes it away.
func (c charge) with(name string, value any) charge {
	changed := charge{}
	for k, v := range c {
		changed[k] = v
	}
	if value == nil {
		delete(changed, name)
	} else {
		changed[name] = value
	}
	return changed
}

func (c charge) bytes(t testing.TB) []byte {
	t.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// An answer is what came back, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(a.body, &fields); err != nil {
		t.Fatalf("the answer is no JSON object: %v: %q", err, a.body)
	}
	return fields
}

// post sends a body as a payment with a key; empty is none.
func (g *gateway) post(ctx context.Context, key string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/adyen/v71/payments", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil // or net/http would send it again on its own
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", "test-key")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, read}, err
}

// pay sends a charge that must be answered.
func (g *gateway) pay(key string, c charge) answer {
	g.t.Helper()
	a, err := g.post(context.Background(), key, c.bytes(g.t))
	if err != nil {
		g.t.Fatalf("pay %s: %v", key, err)
	}
	return a
}

// control calls one of the sandbox's controls and returns what it says.
func (g *gateway) control(method, path, body string) answer {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, read}
}

// entry is one line of the ledger.
type entry struct {
	IdempotencyKey    string    `json:"idempotency_key"`
	MerchantAccount   string    `json:"merchant_account"`
	Reference         string    `json:"reference"`
	Token             string    `json:"token"`
	ShopperReference  string    `json:"shopper_reference"`
	Model             string    `json:"model"`
	AmountMinor       int64     `json:"amount_minor"`
	GatewayValue      int64     `json:"gateway_value"`
	Currency          string    `json:"currency"`
	ResultCode        string    `json:"result_code"`
	RefusalReasonCode string    `json:"refusal_reason_code"`
	PSPReference      string    `json:"psp_reference"`
	At                time.Time `json:"at"`
}

// ledger reads the whole ledger and refuses a field that is not in its contract.
func (g *gateway) ledger() []entry {
	g.t.Helper()
	in := json.NewDecoder(bytes.NewReader(g.control("GET", "/sandbox/ledger", "").body))
	in.DisallowUnknownFields()
	entries := []entry{}
	for {
		var e entry
		switch err := in.Decode(&e); err {
		case nil:
			entries = append(entries, e)
		case io.EOF:
			return entries
		default:
			g.t.Fatalf("ledger: %v", err)
		}
	}
}

func (g *gateway) stats() sandbox.Stats {
	g.t.Helper()
	var stats sandbox.Stats
	if err := json.Unmarshal(g.control("GET", "/sandbox/stats", "").body, &stats); err != nil {
		g.t.Fatal(err)
	}
	return stats
}

// script puts rules in force.
func (g *gateway) script(text string) {
	g.t.Helper()
	if a := g.control("PUT", "/sandbox/script", text); a.status != http.StatusOK {
		g.t.Fatalf("script: %d %s", a.status, a.body)
	}
}

func TestPayments_anAuthorisedPaymentIsAnsweredAndInTheLedger(t *testing.T) {
	g := newGateway(t, sandbox.Options{Now: func() time.Time { return time.Date(2027, 1, 31, 9, 0, 0, 123456000, time.UTC) }})
	a := g.pay("key-1", newCharge("sub-1~2027-01~1", "TK1"))
	if a.status != http.StatusOK || a.header.Get("Idempotency-Key") != "key-1" {
		t.Fatalf("answer = %d, Idempotency-Key %q; want 200, key-1", a.status, a.header.Get("Idempotency-Key"))
	}
	got := a.json(t)
	psp, _ := got["pspReference"].(string)
	if len(psp) != 16 || strings.ToUpper(psp) != psp {
		t.Errorf("pspReference = %q, want 16 upper-case letters and digits", psp)
	}
	if _, has := got["additionalData"].(map[string]any)["sandbox.unlistedKey"]; !has {
		t.Error("the answer has no key that is new to its reader")
	}
	delete(got, "additionalData")
	want := map[string]any{
		"pspReference": psp, "resultCode": "Authorised", "merchantReference": "sub-1~2027-01~1",
		"amount":        map[string]any{"currency": "EUR", "value": 1999.0},
		"paymentMethod": map[string]any{"brand": got["paymentMethod"].(map[string]any)["brand"], "type": "scheme"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	wantLedger := []entry{{
		IdempotencyKey: "key-1", MerchantAccount: "DemoEU", Reference: "sub-1~2027-01~1", Token: "TK1", ShopperReference: "shopper-1",
		Model: "Subscription", AmountMinor: 1999, GatewayValue: 1999, Currency: "EUR", ResultCode: "Authorised", PSPReference: psp,
		At: time.Date(2027, 1, 31, 9, 0, 0, 123456000, time.UTC),
	}}
	if diff := cmp.Diff(wantLedger, g.ledger()); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

func TestLedger_countsAmountsAsISOAndAsAdyen(t *testing.T) {
	tests := []struct {
		currency    string
		value, want int64
	}{
		{"EUR", 1999, 1999}, {"JPY", 500, 500}, {"KWD", 12345, 12345},
		{"CLP", 15000, 150}, {"ISK", 15000, 150}, {"CVE", 150, 15000}, {"IDR", 150, 15000},
	}
	g := newGateway(t, sandbox.Options{})
	for i, tt := range tests {
		c := newCharge(fmt.Sprintf("r-%d", i), "TK").with("amount", map[string]any{"currency": tt.currency, "value": tt.value})
		if a := g.pay("", c); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", tt.currency, a.status, a.body)
		}
	}
	for i, e := range g.ledger() {
		tt := tests[i]
		if e.AmountMinor != tt.want || e.GatewayValue != tt.value || e.Currency != tt.currency {
			t.Errorf("%s %d: ledger has amount_minor %d, gateway_value %d; want %d, %d", e.Currency, tt.value, e.AmountMinor, e.GatewayValue, tt.want, tt.value)
		}
	}
}
