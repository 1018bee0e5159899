package sandbox_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/gateway/sandbox"
	"github.com/contauth/contauth/internal/secret"
)

func TestPayments_validation(t *testing.T) {
	good := newCharge("ref", "TK")
	method := func(fields ...any) map[string]any {
		m := map[string]any{"type": "scheme", "storedPaymentMethodId": "TK"}
		for i := 0; i < len(fields); i += 2 {
			m[fields[i].(string)] = fields[i+1]
		}
		return m
	}
	amount := func(currency string, value any) map[string]any {
		return map[string]any{"currency": currency, "value": value}
	}
	manyPairs := map[string]string{}
	for _, c := range "abcdefghijklmnopqrstu" {
		manyPairs[string(c)] = "x"
	}
	tests := []struct {
		name string
		c    charge
		want string // errorCode
	}{
		{"no amount", good.with("amount", nil), "100"},
		{"no value", good.with("amount", map[string]any{"currency": "EUR"}), "100"},
		{"a fraction", good.with("amount", amount("EUR", 19.99)), "100"},
		{"a value as text", good.with("amount", amount("EUR", "1999")), "100"},
		{"a negative amount", good.with("amount", amount("EUR", -1)), "137"},
		{"half a Chilean peso", good.with("amount", amount("CLP", 150)), "137"},
		{"an unknown currency", good.with("amount", amount("XXX", 1)), "138"},
		{"no reference", good.with("reference", nil), "130"},
		{"a reference of 81", good.with("reference", strings.Repeat("r", 81)), "130"},
		{"no returnUrl", good.with("returnUrl", nil), "14_030"},
		{"21 pairs of metadata", good.with("metadata", manyPairs), "177"},
		{"no merchant account", good.with("merchantAccount", nil), "901"},
		{"another merchant account", good.with("merchantAccount", "DemoUS"), "901"},
		{"no payment method", good.with("paymentMethod", nil), "100"},
		{"a card number", good.with("paymentMethod", method("encryptedCardNumber", "test_4111111111111111")), "101"},
		{"check digits", good.with("paymentMethod", method("encryptedSecurityCode", "test_737")), "101"},
		{"a token of 65", good.with("paymentMethod", method("storedPaymentMethodId", strings.Repeat("T", 65))), "803"},
		{"no shopper", good.with("shopperReference", nil), "000"},
		{"a shopper of two letters", good.with("shopperReference", "ab"), "000"},
		{"no model", good.with("recurringProcessingModel", nil), "000"},
	}
	g := newGateway(t, sandbox.Options{MerchantAccounts: []string{"DemoEU"}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := "key of " + tt.name
			first := g.pay(key, tt.c)
			if got := first.json(t); first.status != 422 || got["errorCode"] != tt.want {
				t.Errorf("answer = %d %s, want 422 with errorCode %s", first.status, first.body, tt.want)
			}
			if again := g.pay(key, good); !bytes.Equal(again.body, first.body) || again.header.Get("Idempotency-Key") != key {
				t.Errorf("sent again: %s, want the stored %s", again.body, first.body)
			}
		})
	}
	if n := len(g.ledger()); n != 0 {
		t.Errorf("the ledger has %d payments, want none", n)
	}
	if n := g.stats().CardDataInRequest; n != 2 {
		t.Errorf("card_data_in_request = %d, want 2", n)
	}
}

func TestPayments_returnURLIsShorterInV72(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	body := newCharge("ref", "TK").with("returnUrl", "https://example.invalid/"+strings.Repeat("x", 1024)).bytes(t)
	for version, want := range map[string]int{"v71": 200, "v72": 422} {
		req, err := http.NewRequest("POST", g.url+"/adyen/"+version+"/payments", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", "k")
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		resp, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", version, resp.StatusCode, want)
		}
	}
}

func TestPayments_refusedAtTheDoor(t *testing.T) {
	good := string(newCharge("ref", "TK").bytes(t))
	tests := []struct {
		name                    string
		apiKey, kind, key, body string
		want                    int
		code                    string
	}{
		{"no API key", "", "application/json", "k", good, 401, "000"},
		{"a wrong API key", "bad", "application/json", "k", good, 401, "000"},
		{"a form", "good", "application/x-www-form-urlencoded", "k", good, 415, "702"},
		{"a key of 65", "good", "application/json", strings.Repeat("k", 65), good, 422, "000"},
		{"no JSON", "good", "application/json", "k", "{", 400, "702"},
		{"a list", "good", "application/json", "k", "[]", 400, "702"},
		{"an empty body", "good", "application/json", "k", "", 400, "702"},
		{"11 MB", "good", "application/json", "k", strings.Repeat(" ", 11<<20), 413, "702"},
	}
	g := newGateway(t, sandbox.Options{APIKey: secret.New("good")})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", g.url+"/adyen/v71/payments", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-API-Key", tt.apiKey)
			req.Header.Set("Content-Type", tt.kind)
			req.Header.Set("Idempotency-Key", tt.key)
			resp, err := g.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body bytes.Buffer
			body.ReadFrom(resp.Body)
			if a := (answer{resp.StatusCode, resp.Header, body.Bytes()}); a.status != tt.want || a.json(t)["errorCode"] != tt.code {
				t.Errorf("answer = %d %s, want %d with errorCode %s", a.status, a.body, tt.want, tt.code)
			}
		})
	}
	if stats := g.stats(); stats.Payments != 0 || stats.DuplicateKeys != 0 {
		t.Errorf("stats = %+v, want no payment and no key", stats)
	}
}

func TestPayments_withoutContAuthTheBankWantsTheShopper(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	for name, c := range map[string]charge{
		"no interaction": newCharge("a", "TK").with("shopperInteraction", nil),
		"Ecommerce":      newCharge("b", "TK").with("shopperInteraction", "Ecommerce"),
		"CardOnFile":     newCharge("c", "TK").with("recurringProcessingModel", "CardOnFile"),
	} {
		if got := g.pay("", c).json(t)["resultCode"]; got != "RedirectShopper" {
			t.Errorf("%s: %v, want RedirectShopper", name, got)
		}
	}
}

func TestKeys_theSameKeyGivesTheSameAnswer(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	c := newCharge("ref", "TK.refuse12")
	first := g.pay("key", c)
	second := g.pay("key", c)
	other := g.pay("key", c.with("reference", "another"))
	if !bytes.Equal(first.body, second.body) || !bytes.Equal(first.body, other.body) || second.header.Get("Idempotency-Key") != "key" {
		t.Errorf("answers differ:\n%s\n%s\n%s", first.body, second.body, other.body)
	}
	if stats := g.stats(); stats.Payments != 1 || stats.DuplicateKeys != 2 || stats.SameKeyOtherBody != 1 {
		t.Errorf("stats = %+v, want 1 payment, 2 duplicate keys, 1 other body", stats)
	}
}

func TestKeys_manyAtOnceMakeOnePayment(t *testing.T) {
	g := newGateway(t, sandbox.Options{Latency: 20 * time.Millisecond})
	body := newCharge("ref", "TK").bytes(t)
	var (
		clients sync.WaitGroup
		mu      sync.Mutex
		psps    = map[any]bool{}
		running int
	)
	for range 16 {
		clients.Go(func() {
			a, err := g.post(context.Background(), "key", body)
			if err != nil {
				t.Error(err)
				return
			}
			fields := a.json(t)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.status == 200:
				psps[fields["pspReference"]] = true
			case a.status == 422 && fields["errorCode"] == "704" && a.header.Get("transient-error") == "true":
				running++
			default:
				t.Errorf("answer = %d %s", a.status, a.body)
			}
		})
	}
	clients.Wait()
	if len(psps) != 1 || running == 0 || len(g.ledger()) != 1 {
		t.Errorf("%d different answers, %d told to wait, %d payments; want 1, some, 1", len(psps), running, len(g.ledger()))
	}
}

func TestClock_agesKeysAndDatesPayments(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	setTo := func(instant string) {
		if a := g.control("PUT", "/sandbox/clock", `{"now": "`+instant+`", "stopped": true}`); a.status != http.StatusOK {
			t.Fatalf("clock: %d %s", a.status, a.body)
		}
	}
	c := newCharge("ref", "TK")
	setTo("2027-01-31T09:00:00Z")
	first := g.pay("key", c)
	setTo("2027-02-07T08:59:59Z")
	if again := g.pay("key", c); !bytes.Equal(first.body, again.body) {
		t.Error("the key did not live seven days")
	}
	setTo("2027-02-07T09:00:00Z")
	if again := g.pay("key", c); bytes.Equal(first.body, again.body) {
		t.Error("the key lived longer than seven days")
	}
	ledger := g.ledger()
	if len(ledger) != 2 || ledger[0].At.Format(time.RFC3339) != "2027-01-31T09:00:00Z" || ledger[1].At.Format(time.RFC3339) != "2027-02-07T09:00:00Z" {
		t.Errorf("ledger = %+v, want two payments at the clock's time", ledger)
	}
	g.control("DELETE", "/sandbox/clock", "")
	g.pay("", c)
	if at := g.ledger()[2].At; time.Since(at).Abs() > time.Hour {
		t.Errorf("with the clock given back a payment is dated %s", at)
	}
	if a := g.control("PUT", "/sandbox/clock", `{}`); a.status != http.StatusBadRequest {
		t.Errorf("a clock without an instant: %d", a.status)
	}
}

func TestListen_onLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.invalid:80", "127.0.0.1"} {
		if l, err := sandbox.Listen(address); err == nil {
			l.Close()
			t.Errorf("%s: it listens there", address)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := sandbox.Listen(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
}
