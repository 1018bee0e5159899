package sandbox_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// lines reads one of the routes that give JSON lines, as the ledger does.
func (g *gateway) lines(path string) []entry {
	g.t.Helper()
	in := json.NewDecoder(bytes.NewReader(g.control("GET", path, "").body))
	in.DisallowUnknownFields()
	var entries []entry
	for in.More() {
		var e entry
		if err := in.Decode(&e); err != nil {
			g.t.Fatalf("%s: %v", path, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// change returns a CAPTURE or REFUND.
func change(operation, order, transaction, amount string) fields {
	return asking(operation, fields{"order.id": order, "transaction.id": transaction, "transaction.amount": amount, "transaction.currency": "EUR"})
}

func void(order, transaction, target string) fields {
	return asking("VOID", fields{"order.id": order, "transaction.id": transaction, "transaction.targetTransactionId": target})
}

// totals are an order's money: authorized, captured, refunded, and its status.
func (g *gateway) totals(order string) [4]string {
	g.t.Helper()
	f := g.ask(asking("RETRIEVE_ORDER", fields{"order.id": order})).form(g.t)
	return [4]string{f["totalAuthorizedAmount"], f["totalCapturedAmount"], f["totalRefundedAmount"], f["status"]}
}

func TestOrders_totalsAreTrue(t *testing.T) {
	authorize := newPay("order", "1", "MC1").with("apiOperation", "AUTHORIZE")
	type step struct {
		ask    fields
		want   string
		totals [4]string
	}
	const approved, no = "SUCCESS APPROVED", "INVALID_REQUEST transaction.amount INVALID"
	tests := []struct {
		name  string
		steps []step
	}{
		{"authorized, then captured in parts", []step{
			{authorize, approved, [4]string{"19.99", "0.00", "0.00", "AUTHORIZED"}},
			{change("CAPTURE", "order", "2", "10.00"), approved, [4]string{"19.99", "10.00", "0.00", "PARTIALLY_CAPTURED"}},
			{change("CAPTURE", "order", "3", "10.00"), no, [4]string{"19.99", "10.00", "0.00", "PARTIALLY_CAPTURED"}},
			{change("CAPTURE", "order", "3", "9.99"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
		}},
		{"paid, then refunded in parts", []step{
			{newPay("order", "1", "MC1"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{change("REFUND", "order", "2", "20.00"), no, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{change("REFUND", "order", "2", "5"), approved, [4]string{"19.99", "19.99", "5.00", "PARTIALLY_REFUNDED"}},
			{change("REFUND", "order", "3", "14.99"), approved, [4]string{"19.99", "19.99", "19.99", "REFUNDED"}},
			{change("REFUND", "order", "4", "0.01"), no, [4]string{"19.99", "19.99", "19.99", "REFUNDED"}},
		}},
		{"paid, then void", []step{
			{newPay("order", "1", "MC1"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{void("order", "2", "1"), approved, [4]string{"0.00", "0.00", "0.00", "CANCELLED"}},
			{void("order", "3", "1"), "INVALID_REQUEST transaction.targetTransactionId INVALID", [4]string{"0.00", "0.00", "0.00", "CANCELLED"}},
			{void("order", "3", "2"), "INVALID_REQUEST transaction.targetTransactionId INVALID", [4]string{"0.00", "0.00", "0.00", "CANCELLED"}},
			{change("REFUND", "order", "3", "1.00"), no, [4]string{"0.00", "0.00", "0.00", "CANCELLED"}},
		}},
		{"a capture and a refund are void", []step{
			{authorize, approved, [4]string{"19.99", "0.00", "0.00", "AUTHORIZED"}},
			{change("CAPTURE", "order", "2", "19.99"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{change("REFUND", "order", "3", "1.00"), approved, [4]string{"19.99", "19.99", "1.00", "PARTIALLY_REFUNDED"}},
			{void("order", "4", "3"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{void("order", "5", "2"), approved, [4]string{"19.99", "0.00", "0.00", "AUTHORIZED"}},
			{void("order", "6", "1"), approved, [4]string{"0.00", "0.00", "0.00", "CANCELLED"}},
		}},
		{"declined, then paid on the same order", []step{
			{newPay("order", "1", "MC1xDECLINED"), "FAILURE DECLINED", [4]string{"0.00", "0.00", "0.00", "FAILED"}},
			{change("CAPTURE", "order", "2", "1.00"), no, [4]string{"0.00", "0.00", "0.00", "FAILED"}},
			{void("order", "2", "1"), "INVALID_REQUEST transaction.targetTransactionId INVALID", [4]string{"0.00", "0.00", "0.00", "FAILED"}},
			{newPay("order", "2", "MC1"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
		}},
		{"nothing saves an order from being paid twice", []step{
			{newPay("order", "1", "MC1"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{newPay("order", "2", "MC1"), approved, [4]string{"39.98", "39.98", "0.00", "CAPTURED"}},
		}},
		{"paid in part", []step{
			{newPay("order", "1", "MC1xPARTIALLYAPPROVED"), "SUCCESS PARTIALLY_APPROVED", [4]string{"9.99", "9.99", "0.00", "CAPTURED"}},
		}},
		{"another currency", []step{
			{newPay("order", "1", "MC1"), approved, [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{newPay("order", "2", "MC1").with("order.currency", "USD"), "INVALID_REQUEST order.currency INVALID", [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
			{change("REFUND", "order", "2", "1.00").with("transaction.currency", "USD"), "INVALID_REQUEST transaction.currency INVALID", [4]string{"19.99", "19.99", "0.00", "CAPTURED"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			for _, s := range tt.steps {
				got := g.expect(t, s.ask, s.want)
				if got["result"] == "SUCCESS" && got["order.totalCapturedAmount"] != s.totals[1] {
					t.Errorf("%s is answered with %s captured, want %s", s.ask["apiOperation"], got["order.totalCapturedAmount"], s.totals[1])
				}
				if totals := g.totals("order"); totals != s.totals {
					t.Errorf("after %s %s the order is %v, want %v", s.ask["apiOperation"], s.ask["transaction.id"], totals, s.totals)
				}
			}
		})
	}
}

func TestOrders_changesOfNothing(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.expect(t, change("CAPTURE", "order", "1", "1.00"), "INVALID_REQUEST order.id INVALID")
	g.expect(t, void("order", "1", "1"), "INVALID_REQUEST order.id INVALID")
	g.expect(t, asking("RETRIEVE_ORDER", fields{"order.id": "order"}), "INVALID_REQUEST order.id INVALID")
	g.expect(t, asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": "1"}), "INVALID_REQUEST transaction.id INVALID")
}

func TestOrders_aChangeIsKeptLikeAPayment(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.ask(newPay("order", "1", "MC1"))
	refund := change("REFUND", "order", "2", "5.00")
	first := g.ask(refund)
	if again := g.ask(refund); !bytes.Equal(first.body, again.body) {
		t.Errorf("first %s\nagain %s\nwant the same", first.body, again.body)
	}
	g.expect(t, change("REFUND", "order", "2", "6.00"), "INVALID_REQUEST transaction.id INVALID")
	g.script("- {match: {reference: order~3}, do: refuse, with: DECLINED}")
	g.expect(t, change("REFUND", "order", "3", "1.00"), "FAILURE DECLINED")
	if totals := g.totals("order"); totals[2] != "5.00" {
		t.Errorf("refunded %s, want 5.00 once", totals[2])
	}
	if n := len(g.ledger()); n != 1 {
		t.Errorf("the ledger has %d payments, want 1: a refund is none", n)
	}
	changes := g.lines("/sandbox/modifications")
	if len(changes) != 2 || changes[0].ResultCode != "Refunded" || changes[0].AmountMinor != 500 || changes[1].ResultCode != "Refused" {
		t.Errorf("modifications = %+v, want a refund of 500 and a refused one", changes)
	}
	if stats := g.stats(); stats.Payments != 1 || stats.DuplicateKeys != 2 || stats.SameKeyOtherBody != 1 {
		t.Errorf("stats = %+v", stats)
	}
}

func TestVerify_checksACardWithoutMoney(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	verify := asking("VERIFY", fields{"order.id": "order", "transaction.id": "1", "order.currency": "EUR", "sourceOfFunds.token": "MC1"})
	got := g.expect(t, verify, "SUCCESS APPROVED")
	if got["transaction.type"] != "VERIFICATION" || got["order.status"] != "VERIFIED" || got["order.totalAuthorizedAmount"] != "0.00" {
		t.Errorf("answer = %v", got)
	}
	g.expect(t, verify, "SUCCESS APPROVED") // kept
	g.expect(t, verify.with("order.currency", ""), "INVALID_REQUEST order.currency MISSING")
	g.expect(t, verify.with("order.id", "order-2").with("sourceOfFunds.token", "MC1xDECLINED"), "FAILURE DECLINED")
	if len(g.ledger()) != 0 || len(g.lines("/sandbox/verifications")) != 2 {
		t.Errorf("ledger %v, verifications %v; want none and 2", g.ledger(), g.lines("/sandbox/verifications"))
	}
	if stats := g.stats(); stats.Payments != 0 || stats.Verifications != 2 {
		t.Errorf("stats = %+v, want 2 verifications and no payment", stats)
	}
}

func TestRetrieve_tellsWhatWasMade(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	paid := g.expect(t, newPay("order", "1", "MC1xDECLINED61"), "FAILURE DECLINED")
	look := asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": "1"})
	got := g.expect(t, look.with("correlationId", "c"), "FAILURE DECLINED")
	for _, name := range []string{"transaction.receipt", "order.amount", "response.acquirerCode", "timeOfRecord", "sourceOfFunds.token"} {
		if got[name] != paid[name] {
			t.Errorf("%s = %q, answered %q", name, got[name], paid[name])
		}
	}
	if got["correlationId"] != "c" {
		t.Errorf("correlationId = %q", got["correlationId"])
	}
	g.expect(t, look.with("transaction.id", "2"), "INVALID_REQUEST transaction.id INVALID")
	g.expect(t, look.with("merchant", "TESTOTHER").with("apiUsername", "merchant.TESTOTHER"), "INVALID_REQUEST transaction.id INVALID")
	g.expect(t, newPay("order", "2", "MC1"), "SUCCESS APPROVED")
	order := g.expect(t, asking("RETRIEVE_ORDER", fields{"order.id": "order"}), "SUCCESS")
	for name, want := range map[string]string{
		"id": "order", "amount": "19.99", "currency": "EUR", "status": "CAPTURED", "totalCapturedAmount": "19.99",
		"transaction[0].result": "FAILURE", "transaction[0].transaction.id": "1", "transaction[0].transaction.type": "PAYMENT",
		"transaction[0].response.gatewayCode": "DECLINED", "transaction[1].result": "SUCCESS", "transaction[1].transaction.id": "2",
	} {
		if order[name] != want {
			t.Errorf("%s = %q, want %q", name, order[name], want)
		}
	}
	if stats := g.stats(); stats.Payments != 2 || stats.DuplicateKeys != 0 {
		t.Errorf("stats = %+v: a look-up is no payment", stats)
	}
}

func TestResolutions_decideWhatWasOpen(t *testing.T) {
	tests := []struct {
		name, token, becomes string
		result, ledger       string
		captured             string
	}{
		{"unknown, and approved after all", "MC1xUNKNOWN", "APPROVED", "SUCCESS", "Authorised", "19.99"},
		{"unknown, and declined after all", "MC1xUNKNOWN", "DECLINED", "FAILURE", "Refused", "0.00"},
		{"pending, and approved", "MC1xPENDING", "APPROVED_PENDING_SETTLEMENT", "SUCCESS", "Authorised", "19.99"},
		{"pending, and no funds", "MC1xPENDING", "INSUFFICIENT_FUNDS", "FAILURE", "Refused", "0.00"},
		{"submitted, and approved in part", "MC1xSUBMITTED", "PARTIALLY_APPROVED", "SUCCESS", "PartiallyAuthorised", "9.99"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			p := startProcess(t, dir)
			pay := newPay("charge", "1", tt.token)
			first := p.ask(pay)
			p.ask(newPay("charge-2", "1", "MC2"))
			before := p.ledger()
			look := asking("RETRIEVE_TRANSACTION", fields{"order.id": "charge", "transaction.id": "1"})
			if got := p.ask(look).form(t); got.gist() != first.form(t).gist() {
				t.Errorf("before it is decided a look-up gives %s", got.gist())
			}
			p.tell("POST", "/sandbox/resolutions", `{"reference": "charge~1", "gateway_code": "`+tt.becomes+`"}`)
			check := func(g *gateway) {
				t.Helper()
				got := g.expect(t, look, tt.result+" "+tt.becomes)
				if got["order.totalCapturedAmount"] != tt.captured || got["transaction.receipt"] != first.form(t)["transaction.receipt"] {
					t.Errorf("the look-up gives %v, want %s captured and the same receipt", got, tt.captured)
				}
				if order := g.ask(asking("RETRIEVE_ORDER", fields{"order.id": "charge"})).form(t); order["transaction[0].result"] != tt.result || order["totalCapturedAmount"] != tt.captured {
					t.Errorf("the order is %v", order)
				}
				ledger := g.ledger()
				if len(ledger) != 2 || ledger[0].ResultCode != tt.ledger || !ledger[0].At.Equal(before[0].At) || ledger[0].PSPReference != before[0].PSPReference {
					t.Errorf("the ledger is %+v, want the payment in its old place, %s", ledger, tt.ledger)
				}
				if again := g.ask(pay); !bytes.Equal(again.body, first.body) {
					t.Errorf("sent again it is answered %s, want what was answered first", again.body)
				}
			}
			check(p.gateway)
			p.kill()
			check(startProcess(t, dir).gateway)
		})
	}
}

func TestResolutions_wrongOnesAreRefused(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.ask(newPay("open", "1", "MC1xUNKNOWN"))
	g.ask(newPay("done", "1", "MC1"))
	g.ask(newPay("open", "1", "MC1xUNKNOWN").with("merchant", "TESTOTHER").with("apiUsername", "merchant.TESTOTHER"))
	g.pay("key", newCharge("adyens~1", "TK.pending"))
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"of nothing":              {`{"reference": "other~1", "gateway_code": "APPROVED"}`, 404},
		"of Adyen's":              {`{"reference": "adyens~1", "gateway_code": "APPROVED"}`, 404},
		"of what is decided":      {`{"reference": "done~1", "gateway_code": "DECLINED"}`, 409},
		"of two":                  {`{"reference": "open~1", "gateway_code": "DECLINED"}`, 409},
		"to what nobody knows":    {`{"reference": "open~1", "gateway_code": "MAYBE"}`, 400},
		"to what is open again":   {`{"reference": "open~1", "gateway_code": "PENDING"}`, 400},
		"with an unknown field":   {`{"reference": "open~1", "code": "APPROVED"}`, 400},
		"of one of two merchants": {`{"merchant_account": "TESTOTHER", "reference": "open~1", "gateway_code": "APPROVED"}`, 200},
		"of another merchant":     {`{"merchant_account": "TESTTHIRD", "reference": "open~1", "gateway_code": "APPROVED"}`, 404},
	} {
		if a := g.control("POST", "/sandbox/resolutions", tt.body); a.status != tt.want || !json.Valid(a.body) {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, tt.want)
		}
	}
	g.tell("POST", "/sandbox/resolutions", `{"merchant_account": "TESTDEMO", "reference": "open~1", "gateway_code": "DECLINED"}`)
	again := g.control("POST", "/sandbox/resolutions", `{"merchant_account": "TESTDEMO", "reference": "open~1", "gateway_code": "APPROVED"}`)
	if again.status != http.StatusConflict {
		t.Errorf("decided twice: %d", again.status)
	}
}
