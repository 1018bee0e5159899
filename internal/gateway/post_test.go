package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func sayOK(e *gatewaytest.Exchange) { e.Say(ok) }

func newTransport(t *testing.T, o gateway.Options) http.RoundTripper {
	t.Helper()
	client := gateway.NewHTTPClient(o)
	t.Cleanup(client.CloseIdleConnections)
	return client.Transport
}

func request(t *testing.T, address string) gateway.Request {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Request{URL: u, Header: http.Header{"Idempotency-Key": {"key"}}, Body: []byte("body")}
}

// This is why Post's body cannot be rewound. If it ever fails, net/http has
// changed its mind, and the comment at Post is out of date.
func TestNetHTTP_sendsAgainUnderAKey(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		if e.Number == 2 {
			e.Hangup()
			return
		}
		e.Say(ok)
	})
	client := gateway.NewHTTPClient(gateway.Options{})
	defer client.CloseIdleConnections()
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "key")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	if n := len(w.Requests()); n != 3 {
		t.Errorf("two calls of net/http made %d requests, want 3: the second was sent again in silence", n)
	}
}

func TestPost_neverSendsAgain(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		if e.Number == 2 {
			e.Hangup()
			return
		}
		e.Say(ok)
	})
	transport, r := newTransport(t, gateway.Options{}), request(t, w.URL)
	if _, err := gateway.Post(t.Context(), transport, r, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Post(t.Context(), transport, r, 100); !errors.Is(err, billing.ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
	if n := len(w.Requests()); n != 2 {
		t.Errorf("two calls made %d requests", n)
	}
}

// killWhenTaken closes a connection at the moment that a request is given it,
// which is as late as an idle connection can die with nothing written.
func killWhenTaken(ctx context.Context, kill func(httptrace.GotConnInfo) bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if kill(i) {
			i.Conn.Close()
		}
	}})
}

func TestPost_takesAnotherConnectionForADeadOne(t *testing.T) {
	w := gatewaytest.NewWire(t, sayOK)
	transport, r := newTransport(t, gateway.Options{}), request(t, w.URL)
	if _, err := gateway.Post(t.Context(), transport, r, 100); err != nil {
		t.Fatal(err)
	}
	reused := func(i httptrace.GotConnInfo) bool { return i.Reused }
	answer, err := gateway.Post(killWhenTaken(t.Context(), reused), transport, r, 100)
	if err != nil || !answer.Redialled || string(answer.Body) != "ok" {
		t.Errorf("Post = %+v, %v, want an answer over a new connection", answer, err)
	}
	if n := len(w.Requests()); n != 2 {
		t.Errorf("two calls made %d requests", n)
	}
}

func TestPost_nothingWrittenIsNotSent(t *testing.T) {
	w := gatewaytest.NewWire(t, sayOK)
	transport, r := newTransport(t, gateway.Options{}), request(t, w.URL)
	always := func(httptrace.GotConnInfo) bool { return true }
	for _, name := range []string{"a new connection", "and another"} {
		t.Run(name, func(t *testing.T) {
			answer, err := gateway.Post(killWhenTaken(t.Context(), always), transport, r, 100)
			if !errors.Is(err, billing.ErrNotSent) || answer.Redialled {
				t.Errorf("Post = %+v, %v, want ErrNotSent at once", answer, err)
			}
		})
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// A transport that does not say when it has a connection may have sent what it read.
func TestPost_distrustsASilentTransport(t *testing.T) {
	tests := []struct {
		name  string
		trip  roundTrip
		want  error
		other error
	}{
		{"it read the body", func(r *http.Request) (*http.Response, error) {
			io.ReadAll(r.Body)
			return nil, io.EOF
		}, billing.ErrUnknown, billing.ErrNotSent},
		{"it wrote the body elsewhere", func(r *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, r.Body)
			return nil, io.EOF
		}, billing.ErrUnknown, billing.ErrNotSent},
		{"it read nothing", func(*http.Request) (*http.Response, error) { return nil, io.EOF }, billing.ErrNotSent, billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gateway.Post(t.Context(), tt.trip, request(t, "http://127.0.0.1:1"), 100)
			if !errors.Is(err, tt.want) || errors.Is(err, tt.other) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPost_boundsTheAnswer(t *testing.T) {
	chunked := func(size int) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, strings.Repeat("x", size))
	}
	measured := func(size int) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	}
	const limit = 5000
	tests := []struct {
		name, answer string
		want         int // bytes; -1 for an error
	}{
		{"an empty body", measured(0), 0},
		{"a body of the limit", measured(limit), limit},
		{"a byte more", measured(limit + 1), -1},
		{"pieces of nothing", chunked(0)[:len("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")] + "0\r\n\r\n", 0},
		{"pieces up to the limit", chunked(limit), limit},
		{"pieces of a byte more", chunked(limit + 1), -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(tt.answer) })
			answer, err := gateway.Post(t.Context(), newTransport(t, gateway.Options{}), request(t, w.URL), limit)
			if tt.want < 0 {
				if !errors.Is(err, billing.ErrUnknown) || answer.Status != 200 {
					t.Errorf("Post = status %d, %v, want 200 and ErrUnknown", answer.Status, err)
				}
				return
			}
			if err != nil || len(answer.Body) != tt.want {
				t.Errorf("Post = %d bytes, %v, want %d", len(answer.Body), err, tt.want)
			}
		})
	}
}

func TestPost_usesAConnectionAgain(t *testing.T) {
	w := gatewaytest.NewWire(t, sayOK)
	transport, dials := newTransport(t, gateway.Options{}), 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			dials++
		}
	}})
	for range 20 {
		if _, err := gateway.Post(ctx, transport, request(t, w.URL), 100); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 1 {
		t.Errorf("20 requests in turn needed %d connections", dials)
	}
}

func TestNewHTTPClient_ignoresTheProxyUnlessTold(t *testing.T) {
	direct := gateway.NewHTTPClient(gateway.Options{}).Transport.(*http.Transport)
	if direct.Proxy != nil {
		t.Error("a proxy of the environment would see every token")
	}
	told := gateway.NewHTTPClient(gateway.Options{ProxyFromEnvironment: true}).Transport.(*http.Transport)
	if told.Proxy == nil {
		t.Error("ProxyFromEnvironment does nothing")
	}
}

func TestPost_doesNotTouchTheRequest(t *testing.T) {
	w := gatewaytest.NewWire(t, sayOK)
	r := request(t, w.URL)
	if _, err := gateway.Post(t.Context(), newTransport(t, gateway.Options{}), r, 100); err != nil {
		t.Fatal(err)
	}
	if len(r.Header) != 1 || !bytes.Equal(r.Body, []byte("body")) {
		t.Errorf("the request became %+v", r)
	}
}
