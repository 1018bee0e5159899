package mastercard_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

func TestFind_asksWithoutMovingMoney(t *testing.T) {
	w := saying(t, approved)
	if _, err := newClient(t, w.URL).Find(t.Context(), testRequest()); err != nil {
		t.Fatal(err)
	}
	const want = "apiOperation=RETRIEVE_TRANSACTION&merchant=TESTDEMOMC&order.id=sub_000042~9&transaction.id=2" +
		"&apiUsername=merchant.TESTDEMOMC&apiPassword=d3b07384d113%2Bedec49eaa6238ad5ff0"
	if diff := cmp.Diff(want, string(w.Requests()[0].Body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// What a look-up may answer, and what it says about the attempt.
func TestFind(t *testing.T) {
	onField := func(name string) form {
		return fault("INVALID_REQUEST", "error.field", name, "error.validationType", "INVALID", "error.explanation", "words")
	}
	account, now := notProcessed{scope: billing.ScopeAccount}, notProcessed{scope: billing.ScopeNow}
	tests := []struct {
		name   string
		status int
		body   string
		want   any // billing.Outcome, notProcessed or an error
	}{
		{"paid", 200, approved.String(), billing.OutcomeAuthorised},
		{"refused: a failure that was stored is no failed look-up", 200, refused.String(), billing.OutcomeRefused},
		{"timed out at the acquirer", 200, refused.with("response.gatewayCode", "TIMED_OUT").String(), billing.OutcomeRefused},
		{"still in process", 200, approved.with("result", "PENDING", "response.gatewayCode", "SUBMITTED").String(), billing.OutcomePending},
		{"the gateway does not know either", 200, approved.with("result", "UNKNOWN", "response.gatewayCode", "UNKNOWN").String(), billing.ErrUnknown},
		{"a part was taken", 200, approved.with("response.gatewayCode", "PARTIALLY_APPROVED").String(), billing.ErrUnknown},
		{"the order was locked: the same ids again", 200, refused.with("response.gatewayCode", "LOCK_FAILURE").String(), billing.ErrNotFound},
		{"no such order", 400, onField("order.id").String(), billing.ErrNotFound},
		{"no such transaction", 400, onField("transaction.id").String(), billing.ErrNotFound},
		{"no such transaction, with status 200", 200, onField("transaction.id").String(), billing.ErrNotFound},
		{"nothing named: a look-up has nothing else to be wrong", 400, fault("INVALID_REQUEST", "error.explanation", "words").String(), billing.ErrNotFound},
		{"404 that the gateway explains", 404, onField("something").String(), billing.ErrNotFound},
		{"another field", 400, onField("correlationId").String(), billing.ErrUnknown},
		{"the operation is not enabled", 400, onField("apiOperation").String(), account},
		{"wrong credentials", 401, fault("INVALID_REQUEST", "error.explanation", "Invalid credentials.").String(), account},
		{"a firewall's rule", 403, fault("REQUEST_REJECTED").String(), account},
		{"a server without resources", 503, fault("SERVER_BUSY").String(), billing.ErrUnknown},
		{"a server that failed", 500, fault("SERVER_FAILED").String(), billing.ErrUnknown},
		{"a cause that is new", 400, fault("MOON_PHASE").String(), billing.ErrUnknown},
		{"401 without a body", 401, "", account},
		{"404 without a body: a wrong address", 404, "", account},
		{"429 without a body", 429, "", now},
		{"503 without a body", 503, "", billing.ErrUnknown},
		{"a page for people", 200, "<html></html>", billing.ErrUnknown},
		{"another order", 200, approved.with("order.id", "sub_7~1").String(), billing.ErrMismatch},
		{"another attempt", 200, approved.with("transaction.id", "1").String(), billing.ErrMismatch},
		{"another amount", 200, approved.with("order.amount", "1.00").String(), billing.ErrMismatch},
		{"no ids", 200, approved.with("order.id", "", "transaction.id", "").String(), billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(form) string { return httpAnswer(tt.status, tt.body) })
			reply, err := newClient(t, w.URL).Find(t.Context(), testRequest())
			checkFound(t, reply, err, tt.want)
		})
	}
}

// A look-up makes no attempt, so nothing of it counts and nothing has a hash.
func checkFound(t *testing.T, reply billing.Reply, err error, want any) {
	t.Helper()
	if reply.RequestHash != ([32]byte{}) {
		t.Error("a look-up has the hash of an attempt")
	}
	var no *billing.NotProcessedError
	if errors.As(err, &no) && no.Counted {
		t.Errorf("error = %v counts", err)
	}
	checkSilent(t, err)
	switch want := want.(type) {
	case billing.Outcome:
		if err != nil || reply.Outcome != want || (want == billing.OutcomeRefused) != (reply.Class != "") {
			t.Errorf("Find = %+v, %v, want %s", reply, err, want)
		}
	case notProcessed:
		if !errors.As(err, &no) || no.Scope != want.scope || errors.Is(err, billing.ErrNotFound) || errors.Is(err, billing.ErrUnknown) {
			t.Errorf("Find: %v, want not processed, %s", err, want.scope)
		}
	case error:
		if want == billing.ErrNotFound {
			if !errors.Is(err, want) || errors.Is(err, billing.ErrUnknown) || errors.As(err, &no) {
				t.Errorf("Find: %v, want ErrNotFound alone", err)
			}
			return
		}
		checkUnknown(t, err, want)
	}
}

func TestFind_withoutAnAnswer(t *testing.T) {
	w := gatewaytest.NewWire(t, (*gatewaytest.Exchange).Hangup)
	client := newClient(t, w.URL)
	if _, err := client.Find(t.Context(), testRequest()); !errors.Is(err, billing.ErrUnknown) || errors.Is(err, billing.ErrNotFound) {
		t.Errorf("Find = %v, want ErrUnknown", err)
	}
	w.Close()
	if _, err := client.Find(t.Context(), testRequest()); !errors.Is(err, billing.ErrNotSent) || errors.Is(err, billing.ErrNotFound) {
		t.Errorf("Find = %v, want ErrNotSent", err)
	}
}

// The capture is what tells of the money, and the authorisation whether it can
// still come.
func TestFind_bothSteps(t *testing.T) {
	missing := fault("INVALID_REQUEST", "error.field", "transaction.id")
	const first, both = "RETRIEVE_TRANSACTION 2c", "RETRIEVE_TRANSACTION 2c, RETRIEVE_TRANSACTION 2"
	tests := []struct {
		name               string
		capture, authorize form
		want               any
		asked              string
	}{
		{"captured", captured, nil, billing.OutcomeAuthorised, first},
		{"the capture is in process", captured.with("result", "PENDING"), nil, billing.OutcomePending, first},
		{"the capture is unknown", captured.with("result", "UNKNOWN"), nil, billing.ErrUnknown, first},
		{"the capture was refused", refused.with("transaction.id", "2c", "transaction.type", "CAPTURE"), nil, billing.ErrUnknown, first},
		{"the look-up of the capture failed", fault("SERVER_FAILED"), nil, billing.ErrUnknown, first},
		{"wrong credentials", fault("INVALID_REQUEST", "error.explanation", "Invalid credentials."), nil, notProcessed{scope: billing.ScopeAccount}, first},
		{"authorised and not captured: the sequence again", missing, authorized, billing.ErrNotFound, both},
		{"the capture met a lock: the sequence again", captured.with("result", "FAILURE", "response.gatewayCode", "LOCK_FAILURE"), authorized, billing.ErrNotFound, both},
		{"the authorisation was refused", missing, refused.with("transaction.type", "AUTHORIZATION"), billing.OutcomeRefused, both},
		{"the authorisation is in process", missing, authorized.with("result", "PENDING"), billing.OutcomePending, both},
		{"the authorisation is unknown", missing, authorized.with("result", "UNKNOWN"), billing.ErrUnknown, both},
		{"neither is known", missing, missing, billing.ErrNotFound, both},
		{"the look-up of the authorisation failed", missing, fault("SERVER_BUSY"), billing.ErrUnknown, both},
		{"a payment stands in the authorisation's place", missing, approved, billing.ErrMismatch, both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(asked form) string {
				if asked["transaction.id"] == "2c" {
					return httpAnswer(200, tt.capture.String())
				}
				return httpAnswer(200, tt.authorize.String())
			})
			reply, err := capturing(t, w).Find(t.Context(), testRequest())
			checkFound(t, reply, err, tt.want)
			if got := operations(t, w); got != tt.asked {
				t.Errorf("asked %s, want %s", got, tt.asked)
			}
		})
	}
}
