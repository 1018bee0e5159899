package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// seen is what a plain client sees of one request.
type seen struct {
	answer
	err error
}

// A fault is a row of TestFaults: what a rule does, what the client sees of
// it, and what is true afterwards.
type fault struct {
	name string
	rule string // without match and times
	see  func(t *testing.T, s seen)
	// made is whether the first request made a payment.
	made bool
	// kept is whether the answer to the first request is kept, so that the
	// second one gets the same.
	kept bool
	// result is the result code in the ledger after the first request, where made.
	result string
}

// faults are the rows, in pairs where the side of acting matters.
var faults = []fault{
	{"refused", `do: refuse, code: 12, when: before`, sees(200, "Not enough balance"), true, true, "Refused"},
	{"refused, written as after", `do: refuse, code: 12, when: after`, sees(200, "Not enough balance"), true, true, "Refused"},
	{"a result code of the future", `do: result, with: Whatever, when: before`, sees(200, `"Whatever"`), true, true, "Whatever"},
	{"a 200 with an error result", `do: result, with: Error, when: before`, sees(200, "Acquirer Error"), true, true, "Error"},

	{"reset before", `do: reset, when: before`, seesReset, false, false, ""},
	{"reset after", `do: reset, when: after`, seesReset, true, false, "Authorised"},
	{"dropped before", `do: drop, when: before`, seesNothing, false, false, ""},
	{"dropped after", `do: drop, when: after`, seesNothing, true, false, "Authorised"},
	{"delayed before", `do: delay, wait: 1ms, when: before`, sees(200, "Authorised"), true, true, "Authorised"},
	{"delayed after", `do: delay, wait: 1ms, when: after`, sees(200, "Authorised"), true, true, "Authorised"},

	{"500 before", `do: status, code: 500, when: before`, sees(500, `"internal"`), false, false, ""},
	{"500 after", `do: status, code: 500, when: after`, sees(500, `"internal"`), true, false, "Authorised"},
	{"502 page after", `do: status, code: 502, body: html, when: after`, sees(502, "<h1>"), true, false, "Authorised"},
	{"504 without a body after", `do: status, code: 504, body: empty, when: after`, seesExactly(504, ""), true, false, "Authorised"},
	{"500 of a configuration is kept", `do: status, code: 500, error_type: configuration, error_code: "905", when: before`, sees(500, `"905"`), false, true, ""},
	{"422 is kept", `do: status, code: 422, error_code: "800", when: before`, sees(422, `"800"`), false, true, ""},
	{"422 of a key at work is not kept", `do: status, code: 422, error_code: "704", when: before`, seesTransient(422, ""), false, false, ""},
	{"401", `do: status, code: 401, when: before`, sees(401, `"000"`), false, false, ""},
	{"403", `do: status, code: 403, when: before`, sees(403, `"010"`), false, false, ""},
	{"429 without Retry-After", `do: status, code: 429, when: before`, seesTransient(429, ""), false, false, ""},
	{"429 with Retry-After", `do: status, code: 429, retry_after: 7, when: before`, seesTransient(429, "7"), false, false, ""},
	{"503 before is transient", `do: status, code: 503, when: before`, seesTransient(503, ""), false, false, ""},
	{"503 after is not", `do: status, code: 503, when: after`, seesNotTransient(503), true, false, "Authorised"},
	{"503 before, not marked", `do: status, code: 503, transient: false, when: before`, seesNotTransient(503), false, false, ""},

	{"stored IO error before", `do: stored_io_error, when: before`, sees(500, "IOException"), false, true, ""},
	{"stored IO error although charged", `do: stored_io_error, when: after`, sees(500, "IOException"), true, true, "Authorised"},

	{"slow drip before", `do: drip, rate: 100000, when: before`, seesTransient(503, ""), false, false, ""},
	{"slow drip after", `do: drip, rate: 100000, when: after`, sees(200, "Authorised"), true, true, "Authorised"},

	{"bytes before", `do: garbage, when: before`, seesNoJSON(200), false, false, ""},
	{"bytes after", `do: garbage, when: after`, seesNoJSON(200), true, false, "Authorised"},
	{"an HTML page before", `do: garbage, body: html, when: before`, sees(200, "<h1>"), false, false, ""},
	{"an HTML page after", `do: garbage, body: html, when: after`, sees(200, "<h1>"), true, false, "Authorised"},
	{"an empty body after", `do: garbage, body: empty, when: after`, seesExactly(200, ""), true, false, "Authorised"},
	{"half an answer as if whole", `do: garbage, body: truncated, when: after`, seesNoJSON(200), true, false, "Authorised"},
	{"half an answer, cut", `do: garbage, body: cut, when: after`, seesCut, true, false, "Authorised"},
	{"a huge body", `do: garbage, body: huge, size: 3000000, when: after`, seesHuge(3000000), true, false, "Authorised"},
	{"double members", `do: garbage, body: duplicate_keys, when: after`, sees(200, `"resultCode":"Refused"`), true, false, "Authorised"},
	{"a wrong content type", `do: garbage, body: content_type, when: after`, seesContentType("text/plain; charset=utf-8"), true, false, "Authorised"},
	{"JSON of something else", `do: garbage, body: other, when: after`, sees(200, `"items"`), true, false, "Authorised"},

	{"a wrong amount before", `do: wrong_amount, when: before`, sees(200, `"value":2000}`), false, false, ""},
	{"a wrong amount after", `do: wrong_amount, with: 1, when: after`, sees(200, `"value":1}`), true, false, "Authorised"},
	{"a wrong currency", `do: wrong_currency, with: USD, when: after`, sees(200, `"currency":"USD"`), true, false, "Authorised"},
	{"another reference", `do: wrong_reference, when: after`, sees(200, `"merchantReference":"ref-other"`), true, false, "Authorised"},
	{"the answer of another request", `do: wrong_reference, with: sub-2, when: after`, sees(200, `"merchantReference":"sub-2"`), true, false, "Authorised"},

	{"redirected before", `do: redirect, when: before`, seesRedirect(307), false, false, ""},
	{"redirected after", `do: redirect, code: 302, when: after`, seesRedirect(302), true, false, "Authorised"},
	{"100 Continue before", `do: continue, when: before`, seesTransient(503, ""), false, false, ""},
	{"100 Continue after", `do: continue, when: after`, sees(200, "Authorised"), true, true, "Authorised"},
}

func TestFaults(t *testing.T) {
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, sandbox.Options{})
			g.script(fmt.Sprintf(`[{match: {reference: ref}, times: 1, %s}]`, tt.rule))
			body := newCharge("ref", "TK").bytes(t)

			wait := patience
			if strings.Contains(tt.rule, "do: drop") {
				wait = time.Second
			}
			first := g.try(wait, body)
			tt.see(t, first)
			g.checkLedger(t, "after the first request", tt.made, tt.result)

			second := g.try(patience, body)
			if second.err != nil {
				t.Fatalf("the second request: %v", second.err)
			}
			switch {
			case tt.kept && !bytes.Equal(first.body, second.body):
				t.Errorf("first %s\nsecond %s\nwant the same", first.body, second.body)
			case !tt.kept && second.json(t)["resultCode"] != "Authorised":
				t.Errorf("the second answer is %s, want Authorised", second.body)
			}
			if tt.made || !tt.kept { // else nothing was made, and never will be
				g.checkLedger(t, "after the second request", true, map[bool]string{true: tt.result, false: "Authorised"}[tt.made])
			} else {
				g.checkLedger(t, "after the second request", false, "")
			}
			if stats := g.stats(); stats.SameKeyOtherBody != 0 || stats.InFlight != 0 {
				t.Errorf("stats = %+v, want no other body and nothing in flight", stats)
			}
		})
	}
}

// try sends a body once and gives up after a while.
func (g *gateway) try(wait time.Duration, body []byte) seen {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	a, err := g.post(ctx, "key", body)
	return seen{a, err}
}

func (g *gateway) checkLedger(t *testing.T, when string, made bool, result string) {
	t.Helper()
	ledger := g.ledger()
	switch {
	case !made && len(ledger) != 0:
		t.Errorf("%s the ledger has %d payments, want none", when, len(ledger))
	case made && (len(ledger) != 1 || ledger[0].ResultCode != result):
		t.Errorf("%s the ledger is %+v, want one payment, %s", when, ledger, result)
	}
}

func sees(status int, text string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || !bytes.Contains(s.body, []byte(text)) {
			t.Errorf("the client sees %d %q, %v; want %d with %q", s.status, s.body, s.err, status, text)
		}
	}
}

func seesExactly(status int, body string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || string(s.body) != body {
			t.Errorf("the client sees %d %q, %v; want %d %q", s.status, s.body, s.err, status, body)
		}
	}
}

func seesTransient(status int, retryAfter string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || s.header.Get("transient-error") != "true" || s.header.Get("Retry-After") != retryAfter {
			t.Errorf("the client sees %d %v, %v; want %d, transient-error: true, Retry-After: %q", s.status, s.header, s.err, status, retryAfter)
		}
	}
}

func seesNotTransient(status int) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || s.header.Get("transient-error") != "" {
			t.Errorf("the client sees %d %v, %v; want %d without transient-error", s.status, s.header, s.err, status)
		}
	}
}

func seesReset(t *testing.T, s seen) {
	t.Helper()
	if !errors.Is(s.err, syscall.ECONNRESET) {
		t.Errorf("the client sees %d, %v; want a connection reset", s.status, s.err)
	}
}

func seesNothing(t *testing.T, s seen) {
	t.Helper()
	if !errors.Is(s.err, context.DeadlineExceeded) {
		t.Errorf("the client sees %d, %v; want nothing until it gives up", s.status, s.err)
	}
}

func seesCut(t *testing.T, s seen) {
	t.Helper()
	if !errors.Is(s.err, io.ErrUnexpectedEOF) || len(s.body) == 0 {
		t.Errorf("the client sees %q, %v; want half an answer and its end", s.body, s.err)
	}
}

func seesNoJSON(status int) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || json.Valid(s.body) {
			t.Errorf("the client sees %d %q, %v; want %d and no JSON", s.status, s.body, s.err, status)
		}
	}
}

func seesHuge(least int) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || len(s.body) < least {
			t.Errorf("the client sees %d bytes, %v; want at least %d", len(s.body), s.err, least)
		}
	}
}

func seesContentType(want string) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if got := s.header.Get("Content-Type"); s.err != nil || got != want || !json.Valid(s.body) {
			t.Errorf("the client sees %s %q, %v; want JSON called %s", got, s.body, s.err, want)
		}
	}
}

func seesRedirect(status int) func(*testing.T, seen) {
	return func(t *testing.T, s seen) {
		t.Helper()
		if s.err != nil || s.status != status || s.header.Get("Location") == "" {
			t.Errorf("the client sees %d to %q, %v; want %d to somewhere", s.status, s.header.Get("Location"), s.err, status)
		}
	}
}

func TestFaults_aForgottenKeyIsChargedTwice(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			p := startProcess(t, dir)
			c := newCharge("ref", "TK")
			if when == "before" {
				p.pay("key", c)
			}
			p.script(`[{match: {token: TK}, do: forget_key, times: 1, when: ` + when + `}]`)
			p.pay("key", c)
			p.kill()
			again := startProcess(t, dir) // a key stays forgotten
			again.pay("key", c)
			if n := len(again.ledger()); n != 2 {
				t.Errorf("the ledger has %d payments, want 2", n)
			}
		})
	}
}

func TestFaults_matchEveryAndTimes(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.script(`
- {match: {every: 3}, when: before, do: refuse, code: 5, times: 2}
- {match: {token: SPECIAL}, when: before, do: refuse, code: 12}
`)
	for i := range 10 {
		token := "TK"
		if i == 0 {
			token = "SPECIAL"
		}
		g.pay("", newCharge(fmt.Sprint(i), token))
	}
	want := []string{"12", "", "5", "", "", "5", "", "", "", ""}
	for i, e := range g.ledger() {
		if e.RefusalReasonCode != want[i] {
			t.Errorf("request %d has refusal code %q, want %q", i+1, e.RefusalReasonCode, want[i])
		}
	}
}

func TestFaults_matchTheChargeOrOneAttempt(t *testing.T) {
	g := newGateway(t, sandbox.Options{Rules: []sandbox.Rule{
		{Match: sandbox.Match{Reference: "charge-a"}, When: sandbox.WhenBefore, Do: sandbox.ActionRefuse, Code: 2},
		{Match: sandbox.Match{Reference: "charge-b~2"}, When: sandbox.WhenBefore, Do: sandbox.ActionRefuse, Code: 2},
	}})
	for _, tt := range []struct{ charge, attempt, want string }{
		{"charge-a", "charge-a~1", "Refused"}, {"charge-a", "charge-a~2", "Refused"},
		{"charge-b", "charge-b~1", "Authorised"}, {"charge-b", "charge-b~2", "Refused"},
	} {
		got := g.pay("", newCharge(tt.attempt, "TK").with("merchantOrderReference", tt.charge)).json(t)["resultCode"]
		if got != tt.want {
			t.Errorf("%s: %v, want %s", tt.attempt, got, tt.want)
		}
	}
}

func TestPayments_forcedByTokenOrByTestData(t *testing.T) {
	tests := []struct {
		name, token string
		data        map[string]any
		status      int
		result      string // resultCode, or errorCode
		code        string // refusalReasonCode
	}{
		{"an ordinary token", "TK-1", nil, 200, "Authorised", ""},
		{"a token with a full stop", "TK.1", nil, 200, "Authorised", ""},
		{"refused by token", "TK.refuse12", nil, 200, "Refused", "12"},
		{"an error by token", "TK.refuse4", nil, 200, "Error", "4"},
		{"cancelled by token", "TK.refuse22", nil, 200, "Cancelled", "22"},
		{"an unknown cause", "TK.refuse0", nil, 200, "Error", "0"},
		{"a code that is in no table", "TK.refuse77", nil, 200, "Refused", "77"},
		{"pending by token", "TK.pending", nil, 200, "Pending", ""},
		{"received by token", "TK.received", nil, 200, "Received", ""},
		{"a result of the future", "TK.future", nil, 200, "FutureResult", "999"},
		{"no such token", "TK.notfound", nil, 422, "803", ""},
		{"no such contract", "TK.nocontract", nil, 422, "800", ""},
		{"approved by number", "TK.refuse12", map[string]any{"RequestedTestAcquirerResponseCode": 1}, 200, "Authorised", ""},
		{"pending by text", "TK", map[string]any{"RequestedTestAcquirerResponseCode": "13"}, 200, "Received", ""},
		{"refused by number", "TK", map[string]any{"RequestedTestAcquirerResponseCode": 6}, 200, "Refused", "6"},
		{"refused by text", "TK", map[string]any{"RequestedTestAcquirerResponseCode": "26"}, 200, "Refused", "26"},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCharge("ref", tt.token)
			if tt.data != nil {
				c = c.with("additionalData", tt.data)
			}
			a := g.pay("", c)
			fields := a.json(t)
			result, _ := fields["resultCode"].(string)
			if a.status != http.StatusOK {
				result, _ = fields["errorCode"].(string)
			}
			code, _ := fields["refusalReasonCode"].(string)
			if a.status != tt.status || result != tt.result || code != tt.code {
				t.Errorf("got %d %s %q, want %d %s %q", a.status, result, code, tt.status, tt.result, tt.code)
			}
		})
	}
}

// TestPayments_requestedErrors is Adyen's published contract of idempotency.
func TestPayments_requestedErrors(t *testing.T) {
	for name, ask := range map[string]func(kind, token string) charge{
		"by test data": func(kind, _ string) charge {
			return newCharge("ref", "TK").with("additionalData", map[string]any{"RequestedTestErrorResponseCode": kind})
		},
		"by token": func(_, token string) charge { return newCharge("ref", "TK."+token) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			transient := g.pay("key-1", ask("NO_CONNECTION_AVAILABLE", "noconnection"))
			seesTransient(503, "")(t, seen{answer: transient})
			if a := g.pay("key-1", newCharge("ref", "TK")); a.status != http.StatusOK {
				t.Errorf("the key was used up by a transient error: %d %s", a.status, a.body)
			}
			stored := g.pay("key-2", ask("IOEXCEPTION_RECEIVED", "ioerror"))
			seesNotTransient(500)(t, seen{answer: stored})
			if a := g.pay("key-2", newCharge("ref", "TK")); !bytes.Equal(a.body, stored.body) {
				t.Errorf("the key gives %s, want the stored error %s", a.body, stored.body)
			}
			if n := len(g.ledger()); n != 1 {
				t.Errorf("the ledger has %d payments, want 1", n)
			}
		})
	}
}
