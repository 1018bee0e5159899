package mastercard_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

// notProcessed is the error of an answer that says that nothing was tried.
type notProcessed struct {
	scope      billing.Scope
	counted    bool
	code       string
	retryAfter int
}

// Every error that the gateway has, and what it means for the money.
func TestCharge_errors(t *testing.T) {
	invalid := func(pairs ...string) form { return fault("INVALID_REQUEST", pairs...) }
	onField := func(name, kind string) form {
		return invalid("error.field", name, "error.validationType", kind, "error.explanation", "words")
	}
	counted := notProcessed{scope: billing.ScopeCharge, counted: true, code: "INVALID_REQUEST"}
	account := notProcessed{scope: billing.ScopeAccount, code: "INVALID_REQUEST"}
	tests := []struct {
		name   string
		status int
		answer form
		want   any // notProcessed or an error
	}{
		{"a value that did not pass", 400, onField("order.amount", "INVALID"), counted},
		{"the same with status 200", 200, onField("order.amount", "INVALID"), counted},
		{"a mandatory field absent", 400, onField("agreement.expiryDate", "MISSING"), counted},
		{"no field named", 400, invalid("error.explanation", "words"), counted},
		{"nothing but the cause", 400, invalid(), counted},
		{"the token", 400, onField("sourceOfFunds.token", "INVALID"), notProcessed{scope: billing.ScopeToken, counted: true, code: "INVALID_REQUEST"}},
		{"an expiry that the token lacks", 400, onField("sourceOfFunds.provided.card.expiry.month", "MISSING"), counted},

		{"wrong credentials, by the status", 401, invalid("error.explanation", "Invalid credentials."), account},
		{"wrong credentials, by the words", 200, invalid("error.explanation", "Invalid credentials."), account},
		{"401 and no words", 401, invalid(), account},
		{"403 and no words", 403, invalid(), account},
		{"a privilege that is missing", 400, invalid("error.explanation", "Authenticated entity not authorised to perform operation for target entity"), account},
		{"PAY is not enabled", 400, onField("apiOperation", "INVALID"), account},
		{"the user name", 400, onField("apiUsername", "INVALID"), account},
		{"the password", 400, onField("apiPassword", "MISSING"), account},
		{"the merchant", 400, onField("merchant", "INVALID"), account},
		{"MERCHANT is not enabled", 400, onField("transaction.source", "INVALID"), account},
		{"a field that this version does not have", 400, onField("agreement.amountVariability", "UNSUPPORTED"), account},
		{"a firewall's rule", 403, fault("REQUEST_REJECTED", "error.supportCode", "4711"), notProcessed{scope: billing.ScopeAccount, code: "REQUEST_REJECTED"}},
		{"a firewall's rule with status 200", 200, fault("REQUEST_REJECTED"), notProcessed{scope: billing.ScopeAccount, code: "REQUEST_REJECTED"}},

		{"order.id, perhaps used before", 400, onField("order.id", "INVALID"), billing.ErrUnknown},
		{"transaction.id, perhaps used before", 400, onField("transaction.id", "INVALID"), billing.ErrUnknown},
		{"order.reference, perhaps used before", 400, onField("order.reference", "INVALID"), billing.ErrUnknown},
		{"transaction.reference, perhaps used before", 400, onField("transaction.reference", "INVALID"), billing.ErrUnknown},
		{"a server without resources", 503, fault("SERVER_BUSY", "error.explanation", "words"), billing.ErrUnknown},
		{"a server without resources, 429", 429, fault("SERVER_BUSY"), billing.ErrUnknown},
		{"a server that failed", 500, fault("SERVER_FAILED", "error.supportCode", "4711"), billing.ErrUnknown},
		{"a server that failed, 401", 401, fault("SERVER_FAILED"), billing.ErrUnknown},
		{"a cause that is new", 400, fault("MOON_PHASE"), billing.ErrUnknown},
		{"no cause", 400, form{"result": "ERROR"}, billing.ErrUnknown},
		{"an error about another order", 400, onField("order.amount", "INVALID").with("order.id", "sub_7~1"), billing.ErrMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkAnswer(t, tt.status, tt.answer.String(), nil, tt.want)
		})
	}
}

// Statuses without a body that can be read.
func TestCharge_bareStatuses(t *testing.T) {
	account, now := notProcessed{scope: billing.ScopeAccount}, notProcessed{scope: billing.ScopeNow}
	tests := []struct {
		name    string
		status  int
		body    string
		headers []string
		want    any
	}{
		{"200", 200, "", nil, billing.ErrUnknown},
		{"201", 201, "", nil, billing.ErrUnknown},
		{"204", 204, "", nil, billing.ErrUnknown},
		{"301 moved", 301, "", []string{"Location: /elsewhere"}, billing.ErrUnknown},
		{"302 found", 302, "", []string{"Location: /elsewhere"}, billing.ErrUnknown},
		{"307 would keep the method", 307, "", []string{"Location: /elsewhere"}, billing.ErrUnknown},
		{"400", 400, "", nil, billing.ErrUnknown},
		{"401 wrong credentials", 401, "", nil, account},
		{"403 forbidden", 403, "<html>Forbidden</html>", nil, account},
		{"404 wrong address", 404, "", nil, account},
		{"405 wrong method", 405, "", nil, account},
		{"408 timed out", 408, "", nil, billing.ErrUnknown},
		{"409", 409, "", nil, billing.ErrUnknown},
		{"413 too large", 413, "", nil, account},
		{"422", 422, "", nil, billing.ErrUnknown},
		{"429 with Retry-After", 429, "", []string{"Retry-After: 7"}, notProcessed{scope: billing.ScopeNow, retryAfter: 7}},
		{"429 with an absurd Retry-After", 429, "", []string{"Retry-After: 99999999"}, notProcessed{scope: billing.ScopeNow, retryAfter: 3600}},
		{"429 with a negative Retry-After", 429, "", []string{"Retry-After: -5"}, now},
		{"429 with a Retry-After that is no number", 429, "", []string{"Retry-After: soon"}, now},
		{"429 without Retry-After", 429, "", nil, now},
		{"500", 500, "", nil, billing.ErrUnknown},
		{"500 in JSON", 500, `{"error":{"cause":"SERVER_FAILED"},"result":"ERROR"}`, nil, billing.ErrUnknown},
		{"502 bad gateway", 502, "<html>", nil, billing.ErrUnknown},
		{"503 with Retry-After", 503, "", []string{"Retry-After: 3"}, billing.ErrUnknown},
		{"503 said to be transient, in another gateway's words", 503, "", []string{"Transient-Error: true"}, billing.ErrUnknown},
		{"504 timed out", 504, "", nil, billing.ErrUnknown},
		{"599 no status at all", 599, "", nil, billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkAnswer(t, tt.status, tt.body, tt.headers, tt.want) })
	}
}

// A body with a result wins over whatever the status says.
func TestCharge_believesTheBodyFirst(t *testing.T) {
	for _, status := range []int{200, 201, 202, 400, 401, 404, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := answering(t, func(form) string { return httpAnswer(status, approved.String()) })
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			if err != nil || reply.Outcome != billing.OutcomeAuthorised {
				t.Errorf("Charge = %+v, %v, want authorised", reply, err)
			}
		})
	}
}

func checkAnswer(t *testing.T, status int, body string, headers []string, want any) {
	t.Helper()
	w := answering(t, func(form) string { return httpAnswer(status, body, headers...) })
	reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
	if reply.Outcome != "" || reply.RequestHash == [32]byte{} {
		t.Errorf("reply = %+v, want the hash alone", reply)
	}
	switch want := want.(type) {
	case notProcessed:
		checkNotProcessed(t, err, billing.NotProcessedError{
			Scope: want.scope, Counted: want.counted, Status: status, Code: want.code, RetryAfter: want.retryAfter,
		})
	case error:
		checkUnknown(t, err, want)
	}
	requests := 1
	if no, ok := want.(notProcessed); ok && no.scope == billing.ScopeToken {
		requests = 2 // the token is read
	}
	if n := len(w.Requests()); n != requests {
		t.Errorf("%d requests were sent", n)
	}
}

// What the gateway says is kept for people, on one line and without secrets.
func TestCharge_tellsTheGatewaysWords(t *testing.T) {
	request := testRequest()
	words := fmt.Sprintf("Value '%s' is invalid.\r\nSent by %s with %s, in full: %s", request.Token, request.ShopperReference, testPassword,
		url.Values{"apiPassword": {testPassword}, "agreement.id": {request.ShopperReference}}.Encode())
	w := saying(t, fault("INVALID_REQUEST", "error.field", "sourceOfFunds.token", "error.validationType", "INVALID", "error.explanation", words))
	_, err := newClient(t, w.URL).Charge(t.Context(), request)
	checkSilent(t, err, url.QueryEscape(testPassword), url.QueryEscape(request.ShopperReference), "\n")
	for _, want := range []string{"sub_000042~9~2", "INVALID_REQUEST", "sourceOfFunds.token INVALID", "is invalid. Sent by [removed] with [removed]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
}

// Faults at which the gateway may have acted: after each only a look-up can tell.
func TestCharge_faultsAfterActing(t *testing.T) {
	head := "HTTP/1.1 201 Created\r\nContent-Type: text/plain;charset=UTF-8\r\n"
	answer := func(text string) func(*gatewaytest.Exchange) {
		return func(e *gatewaytest.Exchange) { e.Say(text) }
	}
	changed := func(pairs ...string) func(*gatewaytest.Exchange) {
		return answer(httpAnswer(201, approved.with(pairs...).String()))
	}
	plain := func(f form) string { return f.String() }
	tests := []struct {
		name string
		act  func(*gatewaytest.Exchange)
		want error
	}{
		// These two end only by the caller's deadline.
		{"timeout after the charge", (*gatewaytest.Exchange).Hold, billing.ErrUnknown},
		{"half of the head, then silence", func(e *gatewaytest.Exchange) { e.Say("HTTP/1.1 201 C"); e.Hold() }, billing.ErrUnknown},
		// These end by themselves.
		{"reset after the charge", (*gatewaytest.Exchange).Reset, billing.ErrUnknown},
		{"half of the body", func(e *gatewaytest.Exchange) {
			whole := httpAnswer(201, plain(approved))
			e.Say(whole[:len(whole)-20])
			e.Hangup()
		}, billing.ErrUnknown},
		{"a body cut off in a name, of the length it says", answer(httpAnswer(201, plain(approved)+"&response.gatewa")), billing.ErrUnknown},
		{"a body cut off in an escape", answer(httpAnswer(201, plain(approved)+"&x=%2")), billing.ErrUnknown},
		{"a page of HTML", answer(httpAnswer(201, "<html><a href=\"/?a=b&result=SUCCESS\">x</a></html>")), billing.ErrUnknown},
		{"JSON", answer(httpAnswer(201, `{"result":"SUCCESS","response":{"gatewayCode":"APPROVED"}}`)), billing.ErrUnknown},
		{"an empty body", answer(httpAnswer(201, "")), billing.ErrUnknown},
		{"a body said to be huge (1 GiB)", answer(head + "Content-Length: 1073741824\r\n\r\n{"), billing.ErrUnknown},
		{"a byte more than a mebibyte", answer(httpAnswer(201, plain(approved)+"&x="+strings.Repeat("x", 1<<20))), billing.ErrUnknown},
		{"no result", changed("result", ""), billing.ErrUnknown},
		{"two results", answer(httpAnswer(201, plain(approved)+"&result=FAILURE")), billing.ErrUnknown},
		{"two results that agree", answer(httpAnswer(201, plain(approved)+"&result=SUCCESS")), billing.ErrUnknown},
		{"two results, one spelt with an escape", answer(httpAnswer(201, plain(approved)+"&%72esult=SUCCESS")), billing.ErrUnknown},
		{"bytes that are not UTF-8", changed("response.acquirerMessage", "\xff"), billing.ErrUnknown},
		{"a result that does not exist", changed("result", "APPROVED"), billing.ErrUnknown},
		{"result UNKNOWN", changed("result", "UNKNOWN", "response.gatewayCode", "UNKNOWN"), billing.ErrUnknown},
		{"result UNKNOWN without ids", answer(httpAnswer(201, "result=UNKNOWN")), billing.ErrUnknown},
		{"result UNKNOWN about another order", changed("result", "UNKNOWN", "order.id", "sub_7~1"), billing.ErrMismatch},
		{"approved without order.id", changed("order.id", ""), billing.ErrUnknown},
		{"approved without transaction.id", changed("transaction.id", ""), billing.ErrUnknown},
		{"refused without order.id", answer(httpAnswer(201, refused.with("order.id", "").String())), billing.ErrUnknown},
		{"pending without transaction.id", changed("result", "PENDING", "transaction.id", ""), billing.ErrUnknown},
		{"approved without a code", changed("response.gatewayCode", ""), billing.ErrUnknown},
		{"another order", changed("order.id", "sub_000042~8"), billing.ErrMismatch},
		{"another attempt", changed("transaction.id", "1"), billing.ErrMismatch},
		{"another attempt, a refusal", answer(httpAnswer(201, refused.with("transaction.id", "1").String())), billing.ErrMismatch},
		{"another merchant", changed("merchant", "TESTOTHER"), billing.ErrMismatch},
		{"another kind of transaction", changed("transaction.type", "VERIFICATION"), billing.ErrMismatch},
		{"an authorisation where a payment was asked for", changed("transaction.type", "AUTHORIZATION"), billing.ErrMismatch},
		{"wrong order.amount", changed("order.amount", "29.99"), billing.ErrMismatch},
		{"wrong transaction.amount", changed("transaction.amount", "1.99"), billing.ErrMismatch},
		{"wrong order.currency", changed("order.currency", "USD"), billing.ErrMismatch},
		{"wrong transaction.currency", changed("transaction.currency", "USD"), billing.ErrMismatch},
		{"a part of a cent", changed("order.amount", "19.991"), billing.ErrUnknown},
		{"an amount that is no number", changed("order.amount", "1.999E1"), billing.ErrUnknown},
		{"an amount with a sign", changed("order.amount", "-19.99"), billing.ErrUnknown},
		{"an amount without digits behind its point", changed("order.amount", "19."), billing.ErrUnknown},
	}
	const endless, shortTime, longTime = 2, 100 * time.Millisecond, 20 * time.Second
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			timeout := longTime
			if i < endless {
				timeout = shortTime
			}
			w := gatewaytest.NewWire(t, tt.act)
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			reply, err := newClient(t, w.URL).Charge(ctx, testRequest())
			checkUnknown(t, err, tt.want)
			if errors.Is(err, context.DeadlineExceeded) != (timeout == shortTime) {
				t.Errorf("error = %v: ended by the deadline, or not, against what the case says", err)
			}
			if reply.Outcome != "" || reply.RequestHash == [32]byte{} {
				t.Errorf("reply = %+v, want the hash alone", reply)
			}
			if n := len(w.Requests()); n != 1 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

// What an answer may look like and still be understood.
func TestCharge_toleratesWhatGrows(t *testing.T) {
	tests := []struct {
		name string
		body string
	}{
		{"a line break at the end", approved.String() + "\r\n"},
		{"an ampersand at the end", approved.String() + "&"},
		{"fields that are new", approved.with("order.moonPhase", "FULL", "x[12].y[0].z-1_a", "").String()},
		{"values that are new", approved.with("sourceOfFunds.provided.card.brand", "MOON_CARD", "transaction.type", "MOON_PAYMENT").String()},
		{"an index in brackets, not escaped", approved.String() + "&risk.response.rule[1].name=AVS"},
		{"spaces as %20", strings.ReplaceAll(approved.with("response.acquirerMessage", "Approved or completed").String(), "+", "%20")},
		{"amounts without their zeros", approved.with("order.amount", "19.990", "transaction.amount", "19.99000").String()},
		{"no amounts", approved.with("order.amount", "", "order.currency", "", "transaction.amount", "", "transaction.currency", "").String()},
		{"no merchant and no type", approved.with("merchant", "", "transaction.type", "").String()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(form) string { return httpAnswer(201, tt.body) })
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			if err != nil || reply.Outcome != billing.OutcomeAuthorised {
				t.Errorf("Charge = %+v, %v, want authorised", reply, err)
			}
		})
	}
}

// Some statuses need no body to be understood, and with a body cut off neither.
func TestCharge_statusWithoutItsBody(t *testing.T) {
	for _, status := range []int{401, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
				e.Say(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\nresult=SUC", status))
				e.Hangup()
			})
			_, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			var no *billing.NotProcessedError
			if !errors.As(err, &no) || no.Counted {
				t.Errorf("error = %v, want not processed, not counted", err)
			}
		})
	}
}
