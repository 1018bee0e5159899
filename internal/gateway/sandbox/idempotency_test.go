package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

func TestTransactions_theSameRequestGivesTheSameAnswer(t *testing.T) {
	first := newPay("order", "1", "MC1xINSUFFICIENTFUNDS").with("correlationId", "one")
	body := first.encode()
	fieldsOf := strings.Split(body, "&")
	slices.Reverse(fieldsOf)
	for name, again := range map[string]string{
		"the same bytes":                 body,
		"another order of the fields":    strings.Join(fieldsOf, "&"),
		"another correlationId":          first.with("correlationId", "two").encode(),
		"no correlationId":               first.with("correlationId", "").encode(),
		"another password of the same":   first.with("apiPassword", "next").encode(),
		"another way to escape the same": strings.ReplaceAll(body, "order.id=order", "order%2Eid=%6Frder"),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			a := g.ask(first)
			b, err := g.postNVP(context.Background(), again)
			if err != nil || !bytes.Equal(a.body, b.body) {
				t.Errorf("first %s\nagain %s (%v)\nwant the same", a.body, b.body, err)
			}
			if stats := g.stats(); stats.Payments != 1 || stats.DuplicateKeys != 1 || stats.SameKeyOtherBody != 0 {
				t.Errorf("stats = %+v, want 1 payment, 1 duplicate key, no other body", stats)
			}
		})
	}
}

func TestTransactions_otherContentIsRefusedAndCounted(t *testing.T) {
	first := newPay("order", "1", "MC1")
	for name, other := range map[string]fields{
		"another amount":                  first.with("order.amount", "20.00"),
		"the same amount in other digits": first.with("order.amount", "019.99"),
		"another token":                   first.with("sourceOfFunds.token", "MC2"),
		"one field more":                  first.with("order.reference", "r"),
		"one field less":                  first.with("sourceOfFunds.type", ""),
		"another operation":               first.with("apiOperation", "AUTHORIZE"),
		"a field moved on":                first.with("agreement.id", "agreement-").with("order.reference", "1"),
		"another month's card":            first.with("sourceOfFunds.provided.card.expiry.month", "1").with("sourceOfFunds.provided.card.expiry.year", "39"),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			g.ask(first)
			g.expect(t, other, "INVALID_REQUEST transaction.id INVALID")
			if stats := g.stats(); stats.Payments != 1 || stats.SameKeyOtherBody != 1 {
				t.Errorf("stats = %+v, want 1 payment and 1 other body", stats)
			}
		})
	}
}

func TestTransactions_areToldApartByMerchantOrderAndTransaction(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	other := newPay("order", "1", "MC1").with("merchant", "TESTOTHER").with("apiUsername", "merchant.TESTOTHER")
	for _, pay := range []fields{
		newPay("order", "1", "MC1"), newPay("order", "2", "MC1"), newPay("order-2", "1", "MC1"), other,
		newPay("a/b", "c", "MC1"), newPay("a", "b/c", "MC1"), newPay("a%2Fb", "c", "MC1"), newPay("Order", "1", "MC1"), newPay(`o"\`, "1", "MC1"),
	} {
		g.expect(t, pay, "SUCCESS APPROVED")
	}
	keys := map[string]bool{}
	for _, e := range g.ledger() {
		keys[e.IdempotencyKey] = true
	}
	if len(keys) != 9 {
		t.Errorf("%d keys, want 9: %v", len(keys), keys)
	}
	if stats := g.stats(); stats.DuplicateKeys != 0 {
		t.Errorf("stats = %+v, want no duplicate key", stats)
	}
}

// A key of one gateway is none of the other, whatever it looks like.
func TestTransactions_areNoIdempotencyKeysOfAdyens(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.expect(t, newPay("order", "1", "MC1"), "SUCCESS APPROVED")
	g.pay("TESTDEMO/order/1", newCharge("ref", "TK"))
	if stats := g.stats(); stats.Payments != 2 || stats.DuplicateKeys != 0 {
		t.Errorf("stats = %+v, want 2 payments and no duplicate key", stats)
	}
}

// payNVPInBackground sends a form; the channel gives what came of it.
func (g *gateway) payNVPInBackground(ctx context.Context, f fields) <-chan seen {
	got := make(chan seen, 1)
	go func() {
		a, err := g.postNVP(ctx, f.encode())
		got <- seen{a, err}
	}()
	return got
}

func TestTransactions_theOrderIsLockedWhileOneIsMade(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	pay := newPay("order", "1", "MC1")
	h := g.hold(`{"reference": "order~1"}`, "request_read")
	payer := clientOf(t, g.url)
	t.Cleanup(payer.client.CloseIdleConnections)
	got := payer.payNVPInBackground(context.Background(), pay)
	g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", "")

	g.expect(t, pay, "FAILURE LOCK_FAILURE")                           // the same
	g.expect(t, newPay("order", "2", "MC1"), "FAILURE LOCK_FAILURE")   // another one of the order
	g.expect(t, newPay("order-2", "1", "MC1"), "SUCCESS APPROVED")     // another order
	g.expect(t, pay.with("order.amount", "1"), "FAILURE LOCK_FAILURE") // the same, with other content
	if stats := g.stats(); stats.Payments != 1 || stats.DuplicateKeys != 2 || stats.SameKeyOtherBody != 1 || stats.InFlight != 1 {
		t.Errorf("stats = %+v, want 1 payment, 2 duplicate keys, 1 other body, 1 in flight", stats)
	}
	g.expect(t, asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": "1"}), "INVALID_REQUEST transaction.id INVALID")

	g.control("DELETE", "/sandbox/holds/"+h.ID, "")
	first := <-got
	if first.err != nil || first.form(t).gist() != "SUCCESS APPROVED" {
		t.Fatalf("the held request is answered %s, %v", first.body, first.err)
	}
	if again := g.ask(pay); !bytes.Equal(again.body, first.body) {
		t.Errorf("the two answers differ:\n%s\n%s", first.body, again.body)
	}
	g.expect(t, newPay("order", "2", "MC1"), "SUCCESS APPROVED")
}

func TestTransactions_manyAtOnceMakeOnePayment(t *testing.T) {
	g := newGateway(t, sandbox.Options{Latency: 20 * time.Millisecond})
	body := newPay("order", "1", "MC1").encode()
	var (
		mu       sync.Mutex
		answers  = map[string]int{}
		payments sync.WaitGroup
	)
	for range 16 {
		payments.Go(func() {
			a, err := g.postNVP(context.Background(), body)
			if err != nil {
				t.Error(err)
				return
			}
			f := a.form(t)
			mu.Lock()
			defer mu.Unlock()
			answers[f.gist()+f["transaction.receipt"]]++
		})
	}
	payments.Wait()
	if len(answers) != 2 || answers["FAILURE LOCK_FAILURE"] == 0 || len(g.ledger()) != 1 {
		t.Errorf("answers %v, %d payments; want one approval, told to some, and locks", answers, len(g.ledger()))
	}
}

func TestTransactions_aForgottenOneIsMadeTwice(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			p := startProcess(t, dir)
			pay := newPay("order", "1", "MC1")
			if when == "before" {
				p.ask(pay)
			}
			p.script(`[{match: {token: MC1}, do: forget_key, times: 1, when: ` + when + `}]`)
			p.ask(pay)
			p.kill()
			again := startProcess(t, dir) // it stays forgotten
			again.ask(pay)
			if n := len(again.ledger()); n != 2 {
				t.Errorf("the ledger has %d payments, want 2", n)
			}
			got := again.expect(t, asking("RETRIEVE_ORDER", fields{"order.id": "order"}), "SUCCESS")
			if got["totalCapturedAmount"] != "39.98" || got["transaction[1].transaction.id"] != "1" {
				t.Errorf("the order is %v, want both payments in it", got)
			}
		})
	}
}

// nvpFaults are what a client sees of each action, in the words of the other
// dialect's test.
var nvpFaults = []fault{
	{"refused", `do: refuse, with: INSUFFICIENT_FUNDS, when: before`, sees(200, "=INSUFFICIENT_FUNDS"), true, true, "Refused"},
	{"refused, written as after", `do: refuse, code: 61, when: after`, sees(200, "response.acquirerCode=61"), true, true, "Refused"},
	{"a result of the future", `do: result, with: Whatever, when: before`, sees(200, "result=Whatever"), true, true, "Whatever"},

	{"reset before", `do: reset, when: before`, seesReset, false, false, ""},
	{"reset after", `do: reset, when: after`, seesReset, true, true, "Authorised"},
	{"dropped before", `do: drop, when: before`, seesNothing, false, false, ""},
	{"dropped after", `do: drop, when: after`, seesNothing, true, true, "Authorised"},
	{"delayed before", `do: delay, wait: 1ms, when: before`, sees(200, "=APPROVED"), true, true, "Authorised"},
	{"delayed after", `do: delay, wait: 1ms, when: after`, sees(200, "=APPROVED"), true, true, "Authorised"},

	{"500 before", `do: status, code: 500, when: before`, seesCause(500, "SERVER_FAILED"), false, false, ""},
	{"500 after", `do: status, code: 500, when: after`, seesCause(500, "SERVER_FAILED"), true, true, "Authorised"},
	{"a cause of its own", `do: status, code: 500, error_code: SERVER_BUSY, when: after`, seesCause(500, "SERVER_BUSY"), true, true, "Authorised"},
	{"an error with status 200", `do: status, code: 200, error_code: INVALID_REQUEST, when: before`, seesCause(200, "INVALID_REQUEST"), false, false, ""},
	{"502 page after", `do: status, code: 502, body: html, when: after`, sees(502, "<h1>"), true, true, "Authorised"},
	{"503 page before", `do: status, code: 503, body: html, when: before`, sees(503, "<h1>"), false, false, ""},
	{"504 without a body after", `do: status, code: 504, body: empty, when: after`, seesExactly(504, ""), true, true, "Authorised"},
	{"400", `do: status, code: 400, when: before`, seesCause(400, "INVALID_REQUEST"), false, false, ""},
	{"401", `do: status, code: 401, when: before`, seesCause(401, "REQUEST_REJECTED"), false, false, ""},
	{"403", `do: status, code: 403, when: before`, seesCause(403, "REQUEST_REJECTED"), false, false, ""},
	{"422 is kept", `do: status, code: 422, when: before`, seesCause(422, "INVALID_REQUEST"), false, true, ""},
	{"429 with Retry-After", `do: status, code: 429, retry_after: 7, when: before`, seesCause(429, "SERVER_BUSY"), false, false, ""},
	{"503", `do: status, code: 503, when: before`, seesCause(503, "SERVER_BUSY"), false, false, ""},

	{"a failure that is kept", `do: stored_io_error, when: before`, seesCause(500, "SERVER_FAILED"), false, true, ""},
	{"a failure that is kept although charged", `do: stored_io_error, when: after`, seesCause(500, "SERVER_FAILED"), true, true, "Authorised"},

	{"slow drip before", `do: drip, rate: 100000, when: before`, seesCause(503, "SERVER_BUSY"), false, false, ""},
	{"slow drip after", `do: drip, rate: 100000, when: after`, sees(200, "=APPROVED"), true, true, "Authorised"},

	{"bytes before", `do: garbage, when: before`, sees(200, "\x00\xff"), false, false, ""},
	{"bytes after", `do: garbage, when: after`, sees(200, "\x00\xff"), true, true, "Authorised"},
	{"an HTML page after", `do: garbage, body: html, when: after`, sees(200, "<h1>"), true, true, "Authorised"},
	{"an empty body after", `do: garbage, body: empty, when: after`, seesExactly(200, ""), true, true, "Authorised"},
	{"half an answer as if whole", `do: garbage, body: truncated, when: after`, sees(200, "merchant=TESTDEMO"), true, true, "Authorised"},
	{"half an answer, cut", `do: garbage, body: cut, when: after`, seesCut, true, true, "Authorised"},
	{"a huge body", `do: garbage, body: huge, size: 3000000, when: after`, seesHuge(3000000), true, true, "Authorised"},
	{"double fields", `do: garbage, body: duplicate_keys, when: after`, sees(200, "&result=FAILURE"), true, true, "Authorised"},
	{"a wrong content type", `do: garbage, body: content_type, when: after`, seesFormAs("application/octet-stream"), true, true, "Authorised"},
	{"a form of something else", `do: garbage, body: other, when: after`, seesExactly(200, "status=ok&items=3"), true, true, "Authorised"},

	{"a wrong amount before", `do: wrong_amount, when: before`, sees(200, "order.amount=20.00&"), false, false, ""},
	{"a wrong amount after", `do: wrong_amount, with: 1, when: after`, sees(200, "transaction.amount=0.01&"), true, true, "Authorised"},
	{"a wrong currency", `do: wrong_currency, with: USD, when: after`, sees(200, "order.currency=USD"), true, true, "Authorised"},
	{"another reference", `do: wrong_reference, when: after`, sees(200, "order.id=ref~1-other"), true, true, "Authorised"},
	{"the answer of another request", `do: wrong_reference, with: sub-2, when: after`, sees(200, "order.id=sub-2"), true, true, "Authorised"},

	{"redirected before", `do: redirect, when: before`, seesRedirect(307), false, false, ""},
	{"redirected after", `do: redirect, code: 302, when: after`, seesRedirect(302), true, true, "Authorised"},
	{"100 Continue before", `do: continue, when: before`, seesCause(503, "SERVER_BUSY"), false, false, ""},
	{"100 Continue after", `do: continue, when: after`, sees(200, "=APPROVED"), true, true, "Authorised"},
}

func seesCause(status int, cause string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || s.form(t)["error.cause"] != cause || s.form(t)["result"] != "ERROR" {
			t.Errorf("the client sees %d %s, %v; want %d with the cause %s", s.status, s.body, s.err, status, cause)
		}
	}
}

func seesFormAs(contentType string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if got := s.header.Get("Content-Type"); s.err != nil || got != contentType || s.form(t)["result"] != "SUCCESS" {
			t.Errorf("the client sees %s %q, %v; want the answer, called %s", got, s.body, s.err, contentType)
		}
	}
}

func TestNVPFaults(t *testing.T) {
	for _, tt := range nvpFaults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, sandbox.Options{})
			g.script(fmt.Sprintf(`[{match: {reference: ref~1}, times: 1, %s}]`, tt.rule))
			pay := newPay("ref", "1", "MC1")

			wait := patience
			if strings.Contains(tt.rule, "do: drop") {
				wait = time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			first, err := g.postNVP(ctx, pay.encode())
			cancel()
			tt.see(t, seen{first, err})
			g.checkLedger(t, "after the first request", tt.made, tt.result)
			look := g.ask(asking("RETRIEVE_TRANSACTION", fields{"order.id": "ref", "transaction.id": "1"})).form(t)
			if found := look["transaction.id"] == "1"; found != tt.made {
				t.Errorf("a look-up gives %v; the transaction is there: %t, want %t", look, found, tt.made)
			}
			for range 2 { // at last the gateway says what is true, and says it again
				second := g.ask(pay).form(t)
				switch {
				case strings.Contains(tt.rule, "stored_io_error"), strings.Contains(tt.rule, "code: 422"):
					if second["error.cause"] != first.form(t)["error.cause"] {
						t.Errorf("the second answer is %v, want the first's error", second)
					}
				case tt.made && second["transaction.receipt"] != look["transaction.receipt"]:
					t.Errorf("the second answer is %v, want that of the payment %v", second, look)
				case !tt.made && second.gist() != "SUCCESS APPROVED":
					t.Errorf("the second answer is %v, want an approval", second)
				}
			}
			if n := len(g.ledger()); n > 1 {
				t.Errorf("the ledger has %d payments", n)
			}
			if stats := g.stats(); stats.SameKeyOtherBody != 0 || stats.InFlight != 0 {
				t.Errorf("stats = %+v, want no other body and nothing in flight", stats)
			}
		})
	}
}

func TestNVPFaults_areMatchedByChargeAttemptAndToken(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.script(`
- {match: {reference: charge-a}, do: refuse, with: BLOCKED}
- {match: {reference: charge-b~2}, do: refuse, with: BLOCKED}
- {match: {token: SPECIAL}, do: refuse, with: BLOCKED}
- {match: {every: 7}, do: refuse, with: ABORTED}
`)
	for _, tt := range []struct{ order, transaction, token, want string }{
		{"charge-a", "1", "MC1", "FAILURE BLOCKED"}, {"charge-a", "2", "MC1", "FAILURE BLOCKED"},
		{"charge-b", "1", "MC1", "SUCCESS APPROVED"}, {"charge-b", "2", "MC1", "FAILURE BLOCKED"},
		{"charge-c", "1", "SPECIAL", "FAILURE BLOCKED"}, {"charge-d", "1", "MC1", "SUCCESS APPROVED"}, {"charge-e", "1", "MC1", "FAILURE ABORTED"},
	} {
		g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC1"}), "SUCCESS") // is not about money, so it does not count
		g.expect(t, newPay(tt.order, tt.transaction, tt.token), tt.want)
	}
}

func TestNVPFaults_ofOtherOperations(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.expect(t, newPay("order", "1", "MC1"), "SUCCESS APPROVED")
	look := asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": "1"})
	g.script(`
- {match: {reference: order~1}, operation: RETRIEVE_TRANSACTION, do: status, code: 503, times: 1}
- {match: {every: 1}, operation: RETRIEVE_TRANSACTION, when: after, do: reset, times: 1}
- {match: {reference: order}, operation: RETRIEVE_TRANSACTION, when: after, do: wrong_amount, times: 1}
- {match: {token: MC1}, operation: DELETE_TOKEN, when: after, do: reset}
- {match: {every: 1}, operation: TOKENIZE, do: refuse, with: EXTERNAL_VERIFICATION_BLOCKED}
- {match: {token: MC1}, do: refuse, with: BLOCKED}
`)
	g.expect(t, look, "SERVER_BUSY")
	if _, err := g.postNVP(context.Background(), look.encode()); err == nil {
		t.Error("the look-up was answered")
	}
	if got := g.expect(t, look, "SUCCESS APPROVED"); got["order.amount"] != "20.00" {
		t.Errorf("order.amount = %s, want a wrong one", got["order.amount"])
	}
	if got := g.expect(t, look, "SUCCESS APPROVED"); got["order.amount"] != "19.99" {
		t.Errorf("order.amount = %s, want the right one", got["order.amount"])
	}
	g.expect(t, newPay("order", "2", "MC1"), "FAILURE BLOCKED")
	g.expect(t, asking("TOKENIZE", fields{"token": "MC1", "sourceOfFunds.type": "CARD", "sourceOfFunds.provided.card.expiry.month": "1",
		"sourceOfFunds.provided.card.expiry.year": "39"}), "FAILURE EXTERNAL_VERIFICATION_BLOCKED")
	if _, err := g.postNVP(context.Background(), asking("DELETE_TOKEN", fields{"token": "MC1"}).encode()); err == nil {
		t.Error("the deletion was answered")
	}
	g.script("[]")
	g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC1"}), "INVALID_REQUEST token INVALID")
}

func TestParseScript_operations(t *testing.T) {
	rules, err := sandbox.ParseScript("f", []byte("- {match: {every: 1}, operation: TOKENIZE, do: reset}"))
	if err != nil || rules[0].Operation != "TOKENIZE" {
		t.Errorf("rules = %+v, %v", rules, err)
	}
	_, err = sandbox.ParseScript("f", []byte("- {match: {every: 1}, operation: PAYOUT, do: reset}"))
	if err == nil || !strings.Contains(err.Error(), `operation is "PAYOUT"; it is one of payments, sessions, storedPaymentMethods, disable, PAY, `) {
		t.Errorf("an unknown operation: %v", err)
	}
}

func TestHolds_stopAnNVPRequestAtEveryPoint(t *testing.T) {
	for _, tt := range points {
		t.Run(tt.point, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			match := strings.NewReplacer(`"ref"`, `"charge~1"`, `"TK"`, `"MC1"`).Replace(tt.match)
			h := g.hold(match, tt.point)
			ctx, die := context.WithCancel(context.Background())
			payer := clientOf(t, g.url) // with a connection of its own
			t.Cleanup(payer.client.CloseIdleConnections)
			pay := newPay("charge", "1", "MC1")
			got := payer.payNVPInBackground(ctx, pay)
			h = g.readHold(g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", ""))
			if !h.Arrived {
				t.Fatal("the request did not come to the point")
			}
			g.checkLedger(t, "while the request is held", tt.acted, "Authorised")
			die()
			if s := <-got; s.err == nil {
				t.Fatal("the client did not die")
			}
			g.control("DELETE", "/sandbox/holds/"+h.ID, "")
			for g.ask(pay).form(t).gist() != "SUCCESS APPROVED" { // while the first one is at work
			}
			g.checkLedger(t, "in the end", true, "Authorised")
		})
	}
}

func TestHolds_ofOneOperation(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	a := g.control("POST", "/sandbox/holds", `{"match": {"every": 1}, "operation": "RETRIEVE_TOKEN", "point": "acted"}`)
	h := g.readHold(a)
	g.expect(t, newPay("order", "1", "MC1"), "SUCCESS APPROVED")
	payer := clientOf(t, g.url)
	t.Cleanup(payer.client.CloseIdleConnections)
	got := payer.payNVPInBackground(context.Background(), asking("RETRIEVE_TOKEN", fields{"token": "MC1"}))
	if h = g.readHold(g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", "")); !h.Arrived {
		t.Error("the request did not come to the point")
	}
	g.control("DELETE", "/sandbox/holds/"+h.ID, "")
	if s := <-got; s.err != nil {
		t.Error(s.err)
	}
	for name, body := range map[string]string{
		"an unknown operation":           `{"match": {"every": 1}, "operation": "PAYOUT", "point": "acted"}`,
		"an operation at the connection": `{"match": {"every": 1}, "operation": "PAY", "point": "connected"}`,
	} {
		if a := g.control("POST", "/sandbox/holds", body); a.status != 400 {
			t.Errorf("%s: %d %s, want 400", name, a.status, a.body)
		}
	}
}

func TestTransactions_survivingAClientThatGoes(t *testing.T) {
	g := newGateway(t, sandbox.Options{Latency: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	pay := newPay("order", "1", "MC1")
	if _, err := g.postNVP(ctx, pay.encode()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the client waited: %v", err)
	}
	for g.ask(pay).form(t).gist() != "SUCCESS APPROVED" { // while the first one is at work
	}
	g.checkLedger(t, "in the end", true, "Authorised")
}

// FuzzNVP looks for a form that the gateway answers otherwise than with a form, or
// charges although it is not right.
func FuzzNVP(f *testing.F) {
	f.Add(newPay("order", "1", "MC1").encode())
	f.Add(asking("TOKENIZE", fields{"token": "MC1", "session.id": "SESSION0000000000000000000000000"}).encode())
	f.Add("apiOperation=PAY&&&=;%")
	f.Add(asking("VOID", fields{"order.id": "o", "transaction.id": "2", "transaction.targetTransactionId": "1"}).encode())
	g := newGateway(f, sandbox.Options{})
	f.Fuzz(func(t *testing.T, body string) {
		a, err := g.postNVP(context.Background(), body)
		if err != nil {
			t.Fatal(err)
		}
		values, err := url.ParseQuery(string(a.body))
		if err != nil || values.Get("result") == "" {
			t.Errorf("%q is answered %q", body, a.body)
		}
		if a.status >= 500 {
			t.Errorf("%q is answered %d %q", body, a.status, a.body)
		}
	})
}
