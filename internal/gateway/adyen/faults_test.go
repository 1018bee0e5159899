package adyen_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

// shortTime is a deadline for answers that never end.
const shortTime = 150 * time.Millisecond

// longTime is a deadline that no answer meets.
const longTime = 20 * time.Second

// notProcessed is the error of an answer that says that nothing was tried.
type notProcessed struct {
	scope      billing.Scope
	counted    bool
	code       string
	retryAfter int
}

// Every status that Adyen can answer with, and what it means for the money.
func TestCharge_statuses(t *testing.T) {
	fault := func(code, kind string) string {
		return fmt.Sprintf(`{"status":0,"errorCode":%q,"message":"words","errorType":%q}`, code, kind)
	}
	account, now := notProcessed{scope: billing.ScopeAccount}, notProcessed{scope: billing.ScopeNow}
	tests := []struct {
		name    string
		status  int
		body    string
		headers []string
		want    any // notProcessed or an error
	}{
		{"301 moved", 301, "", []string{"Location: /elsewhere"}, account},
		{"302 found", 302, "", []string{"Location: /elsewhere"}, billing.ErrUnknown},
		{"302 to nowhere", 302, "", []string{"Location: :"}, billing.ErrUnknown},
		{"307 would keep the method", 307, "", []string{"Location: /elsewhere"}, billing.ErrUnknown},
		{"400 not understood", 400, fault("702", "validation"), nil, notProcessed{scope: billing.ScopeAccount, code: "702"}},
		{"401 wrong API key", 401, fault("000", "security"), nil, notProcessed{scope: billing.ScopeAccount, code: "000"}},
		{"401 without a body", 401, "", nil, account},
		{"403 role missing", 403, fault("010", "security"), nil, notProcessed{scope: billing.ScopeAccount, code: "010"}},
		{"403 wrong merchant account", 403, fault("901", "security"), nil, notProcessed{scope: billing.ScopeAccount, code: "901"}},
		{"404 wrong address", 404, "", nil, account},
		{"405 wrong method", 405, "", nil, account},
		{"406 not acceptable", 406, "", nil, account},
		{"408 timed out", 408, "", nil, billing.ErrUnknown},
		{"409 in progress", 409, fault("704", "validation"), nil, billing.ErrInProgress},
		{"409 in progress, transient", 409, fault("704", "validation"), []string{"Transient-Error: true"}, billing.ErrInProgress},
		{"409 of another kind", 409, fault("999", "validation"), nil, billing.ErrUnknown},
		{"413 too large", 413, "", nil, account},
		{"418 no status of Adyen's", 418, fault("999", "validation"), nil, billing.ErrUnknown},
		{"422 in progress", 422, fault("704", "validation"), nil, billing.ErrInProgress},
		{"422 return URL missing", 422, fault("14_030", "validation"), nil, notProcessed{scope: billing.ScopeCharge, counted: true, code: "14_030"}},
		{"422 code with leading zeros", 422, fault("000", "validation"), nil, notProcessed{scope: billing.ScopeCharge, counted: true, code: "000"}},
		{"422 contract not found", 422, fault("800", "validation"), nil, notProcessed{scope: billing.ScopeToken, counted: true, code: "800"}},
		{"422 token not found", 422, fault("803", "validation"), nil, notProcessed{scope: billing.ScopeToken, counted: true, code: "803"}},
		{"422 wrong merchant account", 422, fault("901", "security"), nil, notProcessed{scope: billing.ScopeAccount, counted: true, code: "901"}},
		{"422 rate limited", 422, fault("705", "validation"), nil, notProcessed{scope: billing.ScopeNow, code: "705"}},
		{"422 without a body", 422, "", nil, billing.ErrUnknown},
		{"422 whose body is cut", 422, `{"errorCode":"704"`, nil, billing.ErrUnknown},
		{"422 with two codes", 422, `{"errorCode":"100","errorCode":"704"}`, nil, billing.ErrUnknown},
		{"422 without a code", 422, `{"message":"words"}`, nil, billing.ErrUnknown},
		{"429 with Retry-After", 429, "", []string{"Retry-After: 7"}, notProcessed{scope: billing.ScopeNow, retryAfter: 7}},
		{"429 with Retry-After as a date", 429, "", []string{"Date: Sun, 31 Jan 2027 09:00:00 GMT", "Retry-After: Sun, 31 Jan 2027 09:01:30 GMT"}, notProcessed{scope: billing.ScopeNow, retryAfter: 90}},
		{"429 with a date long past", 429, "", []string{"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT"}, now},
		{"429 with an absurd Retry-After", 429, "", []string{"Retry-After: 99999999"}, notProcessed{scope: billing.ScopeNow, retryAfter: 3600}},
		{"429 with a negative Retry-After", 429, "", []string{"Retry-After: -5"}, now},
		{"429 without Retry-After", 429, "", nil, now},
		{"500 internal", 500, fault("000", "internal"), nil, billing.ErrUnknown},
		{"500 internal, transient", 500, fault("000", "internal"), []string{"Transient-Error: true"}, billing.ErrUnknown},
		{"500 validation", 500, fault("702", "validation"), nil, notProcessed{scope: billing.ScopeCharge, counted: true, code: "702"}},
		{"500 configuration", 500, fault("905", "configuration"), nil, notProcessed{scope: billing.ScopeCharge, counted: true, code: "905"}},
		{"500 security", 500, fault("000", "security"), nil, notProcessed{scope: billing.ScopeCharge, counted: true, code: "000"}},
		{"500 without a body", 500, "", nil, billing.ErrUnknown},
		{"500 with two types", 500, `{"errorCode":"1","errorType":"validation","errorType":"internal"}`, nil, billing.ErrUnknown},
		{"501 not implemented", 501, "", nil, account},
		{"502 bad gateway", 502, "", nil, billing.ErrUnknown},
		{"503 transient", 503, fault("703", "internal"), []string{"Transient-Error: true"}, notProcessed{scope: billing.ScopeNow, code: "703"}},
		{"503 transient with Retry-After", 503, "", []string{"transient-error: true", "Retry-After: 3"}, notProcessed{scope: billing.ScopeNow, retryAfter: 3}},
		{"503 not transient", 503, fault("703", "internal"), []string{"Transient-Error: false"}, billing.ErrUnknown},
		{"503 silent", 503, "", nil, billing.ErrUnknown},
		{"504 timed out", 504, "", nil, billing.ErrUnknown},
		{"599 no status at all", 599, "", nil, billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(tt.status, tt.body, tt.headers...)) })
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			if reply.Outcome != "" || reply.RequestHash == [32]byte{} {
				t.Errorf("reply = %+v, want the hash alone", reply)
			}
			switch want := tt.want.(type) {
			case notProcessed:
				checkNotProcessed(t, err, billing.NotProcessedError{
					Scope: want.scope, Counted: want.counted, Status: tt.status, Code: want.code, RetryAfter: want.retryAfter,
				})
			case error:
				checkUnknown(t, err, want)
			}
			if n := len(w.Requests()); n != 1 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

// checkUnknown fails unless err is want, the plainest that it can be.
func checkUnknown(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || errors.Is(err, billing.ErrNotSent) {
		t.Errorf("error = %v, want %v", err, want)
	}
	for _, special := range []error{billing.ErrMismatch, billing.ErrInProgress} {
		if want == billing.ErrUnknown && errors.Is(err, special) {
			t.Errorf("error = %v, want no more than %v", err, want)
		}
	}
}

// Faults at which the gateway may have acted: after each of them only a look
// with the same key can tell.
func TestCharge_faultsAfterActing(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	answer := func(text string) func(*gatewaytest.Exchange) {
		return func(e *gatewaytest.Exchange) { e.Say(text) }
	}
	tests := []struct {
		name string
		act  func(*gatewaytest.Exchange)
		want error
	}{
		// These end only by the caller's deadline.
		{"timeout after the charge", (*gatewaytest.Exchange).Hold, billing.ErrUnknown},
		{"half of the head, then silence", func(e *gatewaytest.Exchange) { e.Say("HTTP/1.1 200 O"); e.Hold() }, billing.ErrUnknown},
		{"slow drip", drip, billing.ErrUnknown},
		{"409 whose body never ends", func(e *gatewaytest.Exchange) {
			e.Say("HTTP/1.1 409 Conflict\r\nContent-Length: 100\r\n\r\n{")
			e.Hold()
		}, billing.ErrUnknown},
		// These end by themselves.
		{"reset after the charge", (*gatewaytest.Exchange).Reset, billing.ErrUnknown},
		{"half of the head", func(e *gatewaytest.Exchange) { e.Say("HTTP/1.1 200 O"); e.Hangup() }, billing.ErrUnknown},
		{"half of the body", func(e *gatewaytest.Exchange) {
			e.Say(strings.TrimSuffix(httpAnswer(200, approved), `2"}`))
			e.Hangup()
		}, billing.ErrUnknown},
		{"truncated JSON of the length it says", answer(httpAnswer(200, approved[:60])), billing.ErrUnknown},
		{"wrong content type", answer(strings.Replace(httpAnswer(200, approved), "application/json", "text/plain", 1)), billing.ErrUnknown},
		{"no content type", answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(approved), approved)), billing.ErrUnknown},
		{"a page of HTML", answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"), billing.ErrUnknown},
		{"a page of HTML that says JSON", answer(head + "Content-Length: 6\r\n\r\n<html>"), billing.ErrUnknown},
		{"an empty body", answer(head + "Content-Length: 0\r\n\r\n"), billing.ErrUnknown},
		{"no body at all (204)", answer("HTTP/1.1 204 No Content\r\n\r\n"), billing.ErrUnknown},
		{"a part of a body (206)", answer(httpAnswer(206, approved)), billing.ErrUnknown},
		{"a body said to be huge (1 GiB)", answer(head + "Content-Length: 1073741824\r\n\r\n{"), billing.ErrUnknown},
		{"a huge body without a length", sayForEver, billing.ErrUnknown},
		{"a huge head", func(e *gatewaytest.Exchange) {
			e.Say(head + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")
		}, billing.ErrUnknown},
		{"two result codes", answer(httpAnswer(200, strings.Replace(approved, `{`, `{"resultCode":"Refused",`, 1))), billing.ErrUnknown},
		{"two amounts", answer(httpAnswer(200, strings.Replace(approved, `{`, `{"amount":{"currency":"EUR","value":1999},`, 1))), billing.ErrUnknown},
		{"two values in one amount", answer(httpAnswer(200, strings.Replace(approved, `"value"`, `"value":1999,"value"`, 1))), billing.ErrUnknown},
		{"two references, one spelt with an escape", answer(httpAnswer(200, strings.Replace(approved, `{`, `{"merchantR\u0065ference":"sub_000042~9~2",`, 1))), billing.ErrUnknown},
		{"wrong currency", answer(httpAnswer(200, strings.Replace(approved, "EUR", "USD", 1))), billing.ErrMismatch},
		{"wrong amount", answer(httpAnswer(200, strings.Replace(approved, "1999", "2999", 1))), billing.ErrMismatch},
		{"amount with a fraction", answer(httpAnswer(200, strings.Replace(approved, "1999", "1999.0", 1))), billing.ErrUnknown},
		{"amount without a currency", answer(httpAnswer(200, strings.Replace(approved, `"currency":"EUR",`, "", 1))), billing.ErrUnknown},
		{"other reference", answer(httpAnswer(200, strings.Replace(approved, "~9~2", "~9~1", 1))), billing.ErrMismatch},
		{"answer of another request, a refusal", answer(httpAnswer(200, `{"resultCode":"Refused","refusalReasonCode":"2","merchantReference":"sub_7~1~1"}`)), billing.ErrMismatch},
		{"approved without our reference", answer(httpAnswer(200, `{"resultCode":"Authorised","pspReference":"P"}`)), billing.ErrUnknown},
		{"refused without our reference", answer(httpAnswer(200, `{"resultCode":"Refused","refusalReasonCode":"2"}`)), billing.ErrUnknown},
		{"approved without a pspReference", answer(httpAnswer(200, `{"resultCode":"Authorised","merchantReference":"sub_000042~9~2"}`)), billing.ErrUnknown},
		{"no result code", answer(httpAnswer(200, `{"pspReference":"P","merchantReference":"sub_000042~9~2"}`)), billing.ErrUnknown},
		{"a result code that does not exist", answer(httpAnswer(200, strings.Replace(approved, "Authorised", "Approved", 1))), billing.ErrUnknown},
		{"part of the amount", answer(httpAnswer(200, strings.Replace(approved, "Authorised", "PartiallyAuthorised", 1))), billing.ErrUnknown},
		{"authentication only", answer(httpAnswer(200, strings.Replace(approved, "Authorised", "AuthenticationFinished", 1))), billing.ErrUnknown},
		{"200 with an error's body", answer(httpAnswer(200, `{"status":500,"errorCode":"000","errorType":"internal"}`)), billing.ErrUnknown},
	}
	const endless = 4
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

// sayForEver answers with pieces that never end.
func sayForEver(e *gatewaytest.Exchange) {
	e.Say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	piece := []byte(fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10)))
	for {
		if _, err := e.Write(piece); err != nil {
			return
		}
	}
}

// drip answers a byte at a time, each well within any read timeout.
func drip(e *gatewaytest.Exchange) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, b := range []byte(httpAnswer(200, approved)) {
		<-tick.C
		if _, err := e.Write([]byte{b}); err != nil {
			return
		}
	}
}

// Some statuses need no body to be understood.
func TestCharge_statusWithoutItsBody(t *testing.T) {
	for _, status := range []int{401, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
				e.Say(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\n{", status))
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

func TestCharge_takesAnAnswerBehind100Continue(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		e.Say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + httpAnswer(200, approved))
	})
	reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
	if err != nil || reply.Outcome != billing.OutcomeAuthorised {
		t.Errorf("Charge = %+v, %v, want authorised", reply, err)
	}
}

// Faults before a byte of the request was written: nothing can have happened.
func TestCharge_faultsBeforeSending(t *testing.T) {
	trusted := func(s *httptest.Server) gateway.Options {
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		return gateway.Options{RootCAs: pool}
	}
	tests := []struct {
		name   string
		client func(t *testing.T) billing.Gateway
	}{
		{"DNS failure", func(t *testing.T) billing.Gateway { return newClient(t, "http://gateway.invalid") }},
		{"connection refused", func(t *testing.T) billing.Gateway { return newClient(t, "http://"+closedAddress(t)) }},
		{"no TLS where TLS should be", func(t *testing.T) billing.Gateway {
			w := gatewaytest.NewWire(t, (*gatewaytest.Exchange).Hangup)
			return newClient(t, strings.Replace(w.URL, "http:", "https:", 1))
		}},
		{"reset before anything was sent", func(t *testing.T) billing.Gateway {
			return newClient(t, "https://"+resettingAddress(t))
		}},
		{"a certificate that nobody signed", func(t *testing.T) billing.Gateway { return newClient(t, tlsServer(t, nil).URL) }},
		{"an expired certificate", func(t *testing.T) billing.Gateway {
			certificate, pool := expiredCertificate(t)
			return newClientWith(t, gateway.Options{RootCAs: pool}, tlsServer(t, &tls.Config{Certificates: []tls.Certificate{certificate}}).URL)
		}},
		{"a certificate with another name", func(t *testing.T) billing.Gateway {
			s := tlsServer(t, nil)
			return newClientWith(t, trusted(s), strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
		}},
		{"TLS older than 1.2", func(t *testing.T) billing.Gateway {
			s := tlsServer(t, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
			return newClientWith(t, trusted(s), s.URL)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			reply, err := tt.client(t).Charge(ctx, testRequest())
			if !errors.Is(err, billing.ErrNotSent) || errors.Is(err, billing.ErrUnknown) {
				t.Errorf("error = %v, want ErrNotSent", err)
			}
			if reply.RequestHash == [32]byte{} {
				t.Error("RequestHash is empty, although bytes were made")
			}
		})
	}
}

// tlsServer approves everything over TLS, and fails the test if it is asked.
func tlsServer(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request arrived")
	}))
	s.TLS = config
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// resettingAddress resets each connection that it is offered, once the first
// byte of the handshake is there.
func resettingAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestCharge_overTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("protocol = %s, want HTTP/1.1", r.Proto)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(approved))
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	reply, err := newClientWith(t, gateway.Options{RootCAs: pool}, s.URL).Charge(t.Context(), testRequest())
	if err != nil || !bytes.Equal([]byte(reply.GatewayReference), []byte("CNTA7QX2M4PL9R60")) {
		t.Errorf("Charge = %+v, %v", reply, err)
	}
}
