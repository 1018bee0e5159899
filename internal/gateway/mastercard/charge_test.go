package mastercard_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/internal/gateway/mastercard"
)

var (
	authorized = approved.with("transaction.type", "AUTHORIZATION", "order.status", "AUTHORIZED")
	captured   = approved.with("transaction.type", "CAPTURE", "transaction.id", "2c")
)

// capturing is a client of the two-step operation at w.
func capturing(t *testing.T, w *gatewaytest.Wire) *mastercard.Client {
	t.Helper()
	o := testOptions(w.URL)
	o.Operation = mastercard.AuthorizeCapture
	return newClientWith(t, o)
}

// operations are what was asked of w, in order.
func operations(t *testing.T, w *gatewaytest.Wire) string {
	t.Helper()
	var all []string
	for _, r := range w.Requests() {
		f := parse(t, r.Body)
		all = append(all, f["apiOperation"]+" "+f["transaction.id"])
	}
	return strings.Join(all, ", ")
}

// What the two steps mean together: money is known to have moved only when both
// were approved, and known not to move only when the first says so.
func TestCharge_authorizesThenCaptures(t *testing.T) {
	const both = "AUTHORIZE 2, CAPTURE 2c"
	say := func(status int, f form) func(*gatewaytest.Exchange) {
		return func(e *gatewaytest.Exchange) { e.Say(httpAnswer(status, f.String())) }
	}
	yes := say(201, authorized)
	tests := []struct {
		name               string
		authorize, capture func(*gatewaytest.Exchange)
		want               any // billing.Outcome, notProcessed or an error
		asked              string
	}{
		{"both approved", yes, say(201, captured), billing.OutcomeAuthorised, both},
		{"the capture is accepted", yes, say(201, captured.with("result", "PENDING", "response.gatewayCode", "PENDING")), billing.OutcomePending, both},
		{"the authorisation is refused", say(201, refused.with("transaction.type", "AUTHORIZATION")), nil, billing.OutcomeRefused, "AUTHORIZE 2"},
		{"the authorisation is accepted", say(201, authorized.with("result", "PENDING")), nil, billing.OutcomePending, "AUTHORIZE 2"},
		{"the authorisation is partial", say(201, authorized.with("response.gatewayCode", "PARTIALLY_APPROVED")), nil, billing.ErrUnknown, "AUTHORIZE 2"},
		{"the authorisation is unknown", say(201, authorized.with("result", "UNKNOWN")), nil, billing.ErrUnknown, "AUTHORIZE 2"},
		{"the authorisation is wrong", say(400, fault("INVALID_REQUEST", "error.field", "order.amount")), nil,
			notProcessed{scope: billing.ScopeCharge, counted: true, code: "INVALID_REQUEST"}, "AUTHORIZE 2"},
		{"the authorisation is not answered", (*gatewaytest.Exchange).Hangup, nil, billing.ErrUnknown, "AUTHORIZE 2"},
		{"the authorisation is a payment", say(201, approved), nil, billing.ErrMismatch, "AUTHORIZE 2"},
		{"the capture is refused", yes, say(201, refused.with("transaction.type", "CAPTURE", "transaction.id", "2c")), billing.ErrUnknown, both},
		{"the capture is unknown", yes, say(201, captured.with("result", "UNKNOWN")), billing.ErrUnknown, both},
		{"the capture is wrong", yes, say(400, fault("INVALID_REQUEST", "error.field", "transaction.amount")), billing.ErrUnknown, both},
		{"the capture is not allowed", yes, say(401, fault("INVALID_REQUEST")), billing.ErrUnknown, both},
		{"the capture is too much", yes, say(429, form{}), billing.ErrUnknown, both},
		{"the capture meets a lock", yes, say(201, captured.with("result", "FAILURE", "response.gatewayCode", "LOCK_FAILURE")), billing.ErrInProgress, both},
		{"the capture is not answered", yes, (*gatewaytest.Exchange).Hangup, billing.ErrUnknown, both},
		{"the capture is of another amount", yes, say(201, captured.with("transaction.amount", "9.99")), billing.ErrMismatch, both},
		{"the capture is an authorisation", yes, say(201, authorized.with("transaction.id", "2c")), billing.ErrMismatch, both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
				if parse(t, e.Body)["apiOperation"] == "AUTHORIZE" {
					tt.authorize(e)
					return
				}
				tt.capture(e)
			})
			reply, err := capturing(t, w).Charge(t.Context(), testRequest())
			if got := operations(t, w); got != tt.asked {
				t.Errorf("asked %s, want %s", got, tt.asked)
			}
			if want := sha256.Sum256(w.Requests()[0].Body); reply.RequestHash != want {
				t.Error("RequestHash is not that of the first request")
			}
			reply.RequestHash = [32]byte{}
			switch want := tt.want.(type) {
			case billing.Outcome:
				if err != nil || reply.Outcome != want {
					t.Errorf("Charge = %+v, %v, want %s", reply, err, want)
				}
			case notProcessed:
				checkNotProcessed(t, err, billing.NotProcessedError{Scope: want.scope, Counted: want.counted, Code: want.code, Status: 400})
			case error:
				checkUnknown(t, err, want)
				if reply != (billing.Reply{}) {
					t.Errorf("reply = %+v beside an error", reply)
				}
				if tt.asked == both && !strings.Contains(err.Error(), "authorised, but its capture") {
					t.Errorf("error = %v does not say how far it came", err)
				}
			}
			checkSilent(t, err)
		})
	}
}

// Between the two steps the gateway goes away: no byte of the capture left, and
// still the whole is anything but not sent.
func TestCharge_captureThatCannotBeSentIsUnknown(t *testing.T) {
	var w *gatewaytest.Wire
	w = gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		e.Say(strings.Replace(httpAnswer(201, authorized.String()), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		go w.Close()
		e.Hold()
	})
	_, err := capturing(t, w).Charge(t.Context(), testRequest())
	checkUnknown(t, err, billing.ErrUnknown)
}

// The reference is unique for the merchant, and the same however it was learnt.
func TestCharge_namesTheTransactionThatTookTheMoney(t *testing.T) {
	w := saying(t, approved)
	paid, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
	if err != nil || paid.GatewayReference != "sub_000042~9/2" || paid.ResultCode != "SUCCESS" {
		t.Errorf("PAY = %+v, %v", paid, err)
	}
	found, err := newClient(t, w.URL).Find(t.Context(), testRequest())
	paid.RequestHash = [32]byte{}
	if err != nil || found != paid {
		t.Errorf("Find = %+v, %v, want what Charge said: %+v", found, err, paid)
	}
	two := answering(t, func(asked form) string {
		if asked["transaction.id"] == "2c" {
			return httpAnswer(201, captured.String())
		}
		return httpAnswer(201, authorized.String())
	})
	taken, err := capturing(t, two).Charge(t.Context(), testRequest())
	if err != nil || taken.GatewayReference != "sub_000042~9/2" {
		t.Errorf("AUTHORIZE and CAPTURE = %+v, %v", taken, err)
	}
}

// A ledger of what the gateway did under each pair of ids, as the gateway keeps it:
// the identical request is answered as the first was, and acts once.
type ledger map[string]form

func (l ledger) answer(asked form) form {
	id := asked["order.id"] + "/" + asked["transaction.id"]
	if asked["apiOperation"] == "RETRIEVE_TRANSACTION" {
		if f, ok := l[id]; ok {
			return f
		}
		return fault("INVALID_REQUEST", "error.field", "transaction.id", "error.validationType", "INVALID")
	}
	if _, ok := l[id]; !ok {
		kind := map[string]string{"PAY": "PAYMENT", "AUTHORIZE": "AUTHORIZATION", "CAPTURE": "CAPTURE"}[asked["apiOperation"]]
		l[id] = approved.with("transaction.id", asked["transaction.id"], "transaction.type", kind)
	}
	return l[id]
}

// Wherever a charge is cut off, looking it up and, where that finds nothing,
// sending it again ends with the money taken once.
func TestCharge_isTakenOnceWhereverItIsCut(t *testing.T) {
	for _, operation := range []mastercard.Operation{mastercard.Pay, mastercard.AuthorizeCapture} {
		for cut := 1; cut <= 4; cut++ {
			for _, acted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, request %d, acted %t", operation, cut, acted), func(t *testing.T) {
					book := ledger{}
					w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
						asked := parse(t, e.Body)
						if e.Number != cut {
							e.Say(httpAnswer(201, book.answer(asked).String()))
							return
						}
						if acted {
							book.answer(asked)
						}
						e.Hangup()
					})
					o := testOptions(w.URL)
					o.Operation = operation
					client := newClientWith(t, o)
					reply, err := client.Charge(t.Context(), testRequest())
					for i := 0; err != nil && i < 5; i++ {
						if reply, err = client.Find(t.Context(), testRequest()); errors.Is(err, billing.ErrNotFound) {
							reply, err = client.Charge(t.Context(), testRequest())
						}
					}
					if err != nil || reply.Outcome != billing.OutcomeAuthorised {
						t.Fatalf("ended with %+v, %v", reply, err)
					}
					taken := 0
					for _, f := range book {
						if f["transaction.type"] == "PAYMENT" || f["transaction.type"] == "CAPTURE" {
							taken++
						}
					}
					if taken != 1 {
						t.Errorf("taken %d times: %v", taken, book)
					}
				})
			}
		}
	}
}
