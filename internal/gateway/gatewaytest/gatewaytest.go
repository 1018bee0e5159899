// Package gatewaytest is what every implementation of billing.Gateway must
// keep, as one suite, and the scripted end of a connection to test it with.
package gatewaytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
)

// A Dialect is what the suite must know of one gateway.
type Dialect struct {
	// New returns a gateway that talks to baseURL only, with a timeout of its
	// own, if any, above a minute.
	New func(t *testing.T, baseURL string) billing.Gateway
	// Request is a charge that the gateway takes.
	Request billing.ChargeRequest
	// Key finds the idempotency key of a request on the wire.
	Key func(Recorded) string
	// Approve answers Request as the gateway would: the head and body of
	// an HTTP answer that keeps the connection.
	Approve func(Recorded) string
	// Secrets are texts that must never stand in an error or a reply, such as
	// the credentials given by New; the token and the shopper are added.
	Secrets []string
	// Echo makes an answer out of text, in every field whose words an error could
	// repeat; nil means JSON.
	Echo func(text string) (contentType, body string)
}

// limit ends a case that should have ended by itself.
const limit = 20 * time.Second

// Run checks the promises of billing.Gateway against d.
func Run(t *testing.T, d Dialect) {
	d.Secrets = append([]string{d.Request.Token, d.Request.ShopperReference}, d.Secrets...)
	t.Run("one key charges once", d.oneKeyChargesOnce)
	t.Run("the same request makes the same bytes", d.sameBytes)
	t.Run("many goroutines charge at once", d.concurrent)
	t.Run("a kept connection that dies under a request", d.dyingConnection)
	t.Run("errors", d.errors)
	t.Run("no secret in any error", d.noSecret)
	t.Run("an amount in a currency that does not exist", d.unknownCurrency)
}

func (d Dialect) charge(t *testing.T, g billing.Gateway) (billing.Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return g.Charge(ctx, d.Request)
}

func (d Dialect) mustCharge(t *testing.T, g billing.Gateway) billing.Reply {
	t.Helper()
	reply, err := d.charge(t, g)
	if err != nil {
		t.Fatalf("Charge: %v", err)
	}
	if reply.Outcome != billing.OutcomeAuthorised {
		t.Fatalf("Outcome = %q, want authorised", reply.Outcome)
	}
	return reply
}

func (d Dialect) approve(e *Exchange) { e.Say(d.Approve(e.Recorded)) }

func (d Dialect) oneKeyChargesOnce(t *testing.T) {
	charged := map[string]int{} // the gateway's view: once a key
	var mu sync.Mutex
	w := NewWire(t, func(e *Exchange) {
		mu.Lock()
		charged[d.Key(e.Recorded)]++
		mu.Unlock()
		d.approve(e)
	})
	g := d.New(t, w.URL)
	first, again := d.mustCharge(t, g), d.mustCharge(t, g)
	if first != again {
		t.Errorf("the same charge answered\n%+v, then\n%+v", first, again)
	}
	if want := d.Request.Key; len(charged) != 1 || charged[want] != 2 {
		t.Errorf("keys on the wire = %v, want %q twice", charged, want)
	}
	if n := len(w.Requests()); n != 2 {
		t.Errorf("two calls made %d requests", n)
	}
}

func (d Dialect) sameBytes(t *testing.T) {
	w := NewWire(t, d.approve)
	first := d.mustCharge(t, d.New(t, w.URL))
	d.mustCharge(t, d.New(t, w.URL))
	got := w.Requests()
	if !bytes.Equal(got[0].Body, got[1].Body) {
		t.Errorf("bodies differ:\n%s\n%s", got[0].Body, got[1].Body)
	}
	if first.RequestHash != sha256.Sum256(got[0].Body) {
		t.Error("RequestHash is not the SHA-256 of the body that was sent")
	}
}

func (d Dialect) concurrent(t *testing.T) {
	w := NewWire(t, d.approve)
	g := d.New(t, w.URL)
	var all sync.WaitGroup
	const workers, charges = 8, 20
	for range workers {
		all.Go(func() {
			for range charges {
				if _, err := d.charge(t, g); err != nil {
					t.Errorf("Charge: %v", err)
				}
			}
		})
	}
	all.Wait()
	if n := len(w.Requests()); n != workers*charges {
		t.Errorf("%d calls made %d requests", workers*charges, n)
	}
}

// dyingConnection is the case that net/http repairs by sending again.
func (d Dialect) dyingConnection(t *testing.T) {
	for name, die := range map[string]func(*Exchange){"closed": (*Exchange).Hangup, "reset": (*Exchange).Reset} {
		t.Run(name, func(t *testing.T) {
			w := NewWire(t, func(e *Exchange) {
				if e.Number == 2 {
					die(e)
					return
				}
				d.approve(e)
			})
			g := d.New(t, w.URL)
			d.mustCharge(t, g)
			if _, err := d.charge(t, g); !errors.Is(err, billing.ErrUnknown) {
				t.Errorf("error = %v, want ErrUnknown", err)
			}
			if n := len(w.Requests()); n != 2 {
				t.Errorf("two calls made %d requests: one was sent again", n)
			}
			d.mustCharge(t, g) // and the next one is not disturbed
		})
	}
}

func (d Dialect) errors(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	tests := []struct {
		name   string
		ctx    context.Context
		answer func(*Exchange) // nil: nobody listens
		want   error
	}{
		{"nobody listens", t.Context(), nil, billing.ErrNotSent},
		{"a context that ended before", ended, d.approve, billing.ErrNotSent},
		{"a hang-up before the answer", t.Context(), (*Exchange).Hangup, billing.ErrUnknown},
		{"a reset before the answer", t.Context(), (*Exchange).Reset, billing.ErrUnknown},
		{"an answer that is no HTTP", t.Context(), func(e *Exchange) { e.Say("hello\r\n\r\n"); e.Hangup() }, billing.ErrUnknown},
		{"half of an answer", t.Context(), func(e *Exchange) {
			whole := d.Approve(e.Recorded)
			e.Say(whole[:len(whole)-1])
			e.Hangup()
		}, billing.ErrUnknown},
		{"an empty answer", t.Context(), func(e *Exchange) { e.Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }, billing.ErrUnknown},
		{"a page for people", t.Context(), func(e *Exchange) {
			e.Say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>")
		}, billing.ErrUnknown},
		{"a bad gateway", t.Context(), func(e *Exchange) { e.Say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") }, billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := "http://" + deafAddress(t)
			if tt.answer != nil {
				url = NewWire(t, tt.answer).URL
			}
			ctx, cancel := context.WithTimeout(tt.ctx, limit)
			defer cancel()
			reply, err := d.New(t, url).Charge(ctx, d.Request)
			checkMeaning(t, err, tt.want)
			if reply.RequestHash == [32]byte{} {
				t.Error("RequestHash is empty, although bytes were made")
			}
		})
	}
	t.Run("a deadline while the gateway thinks", func(t *testing.T) {
		arrived := make(chan struct{})
		w := NewWire(t, func(e *Exchange) { close(arrived); e.Hold() })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { <-arrived; cancel() }()
		_, err := d.New(t, w.URL).Charge(ctx, d.Request)
		checkMeaning(t, err, billing.ErrUnknown)
	})
}

// checkMeaning fails unless err has the one meaning want, and no other.
func checkMeaning(t *testing.T, err, want error) {
	t.Helper()
	var processed *billing.NotProcessedError
	if errors.As(err, &processed) {
		t.Errorf("error = %v: the gateway never said that it did not try", err)
	}
	for _, meaning := range []error{billing.ErrNotSent, billing.ErrUnknown} {
		if errors.Is(err, meaning) != (meaning == want) {
			t.Errorf("error = %v, want %v", err, want)
		}
	}
}

// deafAddress returns an address at which nobody listens.
func deafAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// echoJSON is close enough to JSON.
func echoJSON(text string) (contentType, body string) {
	text = fmt.Sprintf("%q", text)
	return "application/json", fmt.Sprintf(`{"message":%s,"errorCode":%s,"resultCode":%s,"refusalReason":%s}`, text, text, text, text)
}

// noSecret lets the gateway throw back at us everything that we sent.
func (d Dialect) noSecret(t *testing.T) {
	if d.Echo == nil {
		d.Echo = echoJSON
	}
	for _, status := range []int{200, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503} {
		t.Run(fmt.Sprintf("an echo with status %d", status), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var echo strings.Builder
				r.Write(&echo)
				contentType, body := d.Echo(echo.String())
				w.Header().Set("Content-Type", contentType)
				w.Header().Set("Location", "/"+d.Secrets[0])
				w.WriteHeader(status)
				io.WriteString(w, body)
			}))
			defer server.Close()
			d.checkSilent(t, server.URL)
		})
	}
	t.Run("an echo that is no HTTP", func(t *testing.T) {
		w := NewWire(t, func(e *Exchange) {
			e.Say(strings.Join(d.Secrets, " ") + string(e.Body) + "\r\n\r\n")
			e.Hangup()
		})
		d.checkSilent(t, w.URL)
	})
	t.Run("an echo in a header", func(t *testing.T) {
		w := NewWire(t, func(e *Exchange) {
			e.Say("HTTP/1.1 200 " + d.Secrets[0] + "\r\n" + d.Secrets[0] + "\r\nContent-Length: " + d.Secrets[0] + "\r\n\r\n")
			e.Hangup()
		})
		d.checkSilent(t, w.URL)
	})
}

func (d Dialect) checkSilent(t *testing.T, url string) {
	t.Helper()
	reply, err := d.charge(t, d.New(t, url))
	if err == nil {
		t.Fatalf("an echo was taken for an answer: %+v", reply)
	}
	for _, text := range []string{fmt.Sprintf("%v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%+v", reply)} {
		for _, s := range d.Secrets {
			if strings.Contains(text, s) {
				t.Errorf("%q is in %s", s, text)
			}
		}
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		for _, s := range d.Secrets {
			if strings.Contains(cause.Error(), s) {
				t.Errorf("%q is in the cause %v", s, cause)
			}
		}
	}
}

func (d Dialect) unknownCurrency(t *testing.T) {
	g := d.New(t, "http://"+deafAddress(t))
	if err := g.CheckAmount(d.Request.Amount); err != nil {
		t.Errorf("CheckAmount(%v) = %v", d.Request.Amount, err)
	}
	if err := g.CheckAmount(billing.Money{Minor: 100, Currency: "XXQ"}); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("CheckAmount of XXQ = %v, want ErrInvalid", err)
	}
}
