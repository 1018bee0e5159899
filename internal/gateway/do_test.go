package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

// bare is a request without a body, and without a key.
func bare(t *testing.T, method, address string) gateway.Request {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Request{Method: method, URL: u, Header: http.Header{"X-Api-Key": {"key"}}}
}

var methods = []string{http.MethodGet, http.MethodDelete, http.MethodPut, http.MethodPost}

func TestDo_sendsTheMethod(t *testing.T) {
	type arrived struct {
		method, uri, length, body string
		encoding                  int
	}
	tests := []struct {
		name    string
		request gateway.Request
		want    arrived
	}{
		{"a GET has no body, and no length of one", gateway.Request{Method: http.MethodGet}, arrived{method: "GET", uri: "/a?b=c%2Fd"}},
		{"a DELETE has none either", gateway.Request{Method: http.MethodDelete}, arrived{method: "DELETE", uri: "/a?b=c%2Fd"}},
		{"a PUT has its body", gateway.Request{Method: http.MethodPut, Body: []byte("body")}, arrived{method: "PUT", uri: "/a?b=c%2Fd", length: "4", body: "body"}},
		{"a POST has its body", gateway.Request{Method: http.MethodPost, Body: []byte("body")}, arrived{method: "POST", uri: "/a?b=c%2Fd", length: "4", body: "body"}},
		{"no method is POST", gateway.Request{Body: []byte("body")}, arrived{method: "POST", uri: "/a?b=c%2Fd", length: "4", body: "body"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got arrived
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				got = arrived{r.Method, r.RequestURI, r.Header.Get("Content-Length"), string(body), len(r.TransferEncoding)}
				w.Write([]byte("ok"))
			}))
			defer server.Close()
			r := tt.request
			r.URL, r.Header = bare(t, "", server.URL+"/a?b=c%2Fd").URL, http.Header{}
			answer, err := gateway.Do(t.Context(), newTransport(t, gateway.Options{}), r, 100)
			if err != nil || answer.Status != 200 || string(answer.Body) != "ok" {
				t.Fatalf("Do = %+v, %v", answer, err)
			}
			if got != tt.want {
				t.Errorf("%+v arrived, want %+v", got, tt.want)
			}
		})
	}
}

func TestPost_isAlwaysAPost(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method) }))
	defer server.Close()
	answer, err := gateway.Post(t.Context(), newTransport(t, gateway.Options{}), bare(t, http.MethodDelete, server.URL), 100)
	if err != nil || string(answer.Body) != "POST" {
		t.Errorf("Post sent %s, %v", answer.Body, err)
	}
}

// This is why Do gives a GET a body, if an empty one.
func TestNetHTTP_sendsAGETAgain(t *testing.T) {
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
		answer, err := client.Get(w.URL)
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

func TestDo_neverSendsAgain(t *testing.T) {
	for _, method := range methods {
		for name, die := range map[string]func(*gatewaytest.Exchange){"closed": (*gatewaytest.Exchange).Hangup, "reset": (*gatewaytest.Exchange).Reset} {
			t.Run(method+" on a connection that is "+name, func(t *testing.T) {
				w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
					if e.Number == 2 {
						die(e)
						return
					}
					e.Say(ok)
				})
				transport, r := newTransport(t, gateway.Options{}), bare(t, method, w.URL)
				r.Header["Idempotency-Key"] = []string{"key"}
				if _, err := gateway.Do(t.Context(), transport, r, 100); err != nil {
					t.Fatal(err)
				}
				if _, err := gateway.Do(t.Context(), transport, r, 100); !errors.Is(err, billing.ErrUnknown) {
					t.Errorf("error = %v, want ErrUnknown", err)
				}
				if n := len(w.Requests()); n != 2 {
					t.Errorf("two calls made %d requests", n)
				}
			})
		}
	}
}

func TestDo_followsNoRedirect(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		e.Say("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
	})
	for _, method := range methods {
		answer, err := gateway.Do(t.Context(), newTransport(t, gateway.Options{}), bare(t, method, w.URL), 100)
		if err != nil || answer.Status != 302 {
			t.Errorf("%s: status %d, %v", method, answer.Status, err)
		}
	}
	if n := len(w.Requests()); n != len(methods) {
		t.Errorf("%d calls made %d requests", len(methods), n)
	}
}

func TestDo_takesAnAnswerWithoutABody(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say("HTTP/1.1 204 No Content\r\n\r\n") })
	transport := newTransport(t, gateway.Options{})
	for range 3 { // on one connection
		answer, err := gateway.Do(t.Context(), transport, bare(t, http.MethodDelete, w.URL), 100)
		if err != nil || answer.Status != 204 || len(answer.Body) != 0 {
			t.Errorf("Do = %+v, %v", answer, err)
		}
	}
}

func TestDo_meanings(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	silence := func(e *gatewaytest.Exchange) { e.Hangup() }
	long := "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + strings.Repeat("x", 101)
	tests := []struct {
		name   string
		ctx    context.Context
		answer func(*gatewaytest.Exchange)
		want   error
	}{
		{"a context that ended before", ended, sayOK, billing.ErrNotSent},
		{"a hang-up instead of an answer", t.Context(), silence, billing.ErrUnknown},
		{"an answer that is no HTTP", t.Context(), func(e *gatewaytest.Exchange) { e.Say("key\r\n\r\n"); e.Hangup() }, billing.ErrUnknown},
		{"a byte more than the limit", t.Context(), func(e *gatewaytest.Exchange) { e.Say(long) }, billing.ErrUnknown},
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for _, tt := range tests {
			t.Run(method+": "+tt.name, func(t *testing.T) {
				w := gatewaytest.NewWire(t, tt.answer)
				_, err := gateway.Do(tt.ctx, newTransport(t, gateway.Options{}), bare(t, method, w.URL), 100)
				if !errors.Is(err, tt.want) {
					t.Errorf("error = %v, want %v", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "key") {
					t.Errorf("%v quotes the answer", err)
				}
			})
		}
		t.Run(method+": nobody listens", func(t *testing.T) {
			w := gatewaytest.NewWire(t, sayOK)
			w.Close()
			_, err := gateway.Do(t.Context(), newTransport(t, gateway.Options{}), bare(t, method, w.URL), 100)
			if !errors.Is(err, billing.ErrNotSent) {
				t.Errorf("error = %v, want ErrNotSent", err)
			}
		})
	}
}

// Nobody need read a body that is empty: that it was not read proves nothing.
func TestDo_distrustsASilentTransport(t *testing.T) {
	var trip roundTrip = func(*http.Request) (*http.Response, error) { return nil, io.EOF }
	_, err := gateway.Do(t.Context(), trip, bare(t, http.MethodGet, "http://127.0.0.1:1"), 100)
	if !errors.Is(err, billing.ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
}

func TestDo_takesAnotherConnectionForADeadOne(t *testing.T) {
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			w := gatewaytest.NewWire(t, sayOK)
			transport, r := newTransport(t, gateway.Options{}), bare(t, method, w.URL)
			if _, err := gateway.Do(t.Context(), transport, r, 100); err != nil {
				t.Fatal(err)
			}
			answer, err := gateway.Do(killWhenTaken(t.Context(), func(i httptrace.GotConnInfo) bool { return i.Reused }), transport, r, 100)
			if err != nil || !answer.Redialled || string(answer.Body) != "ok" {
				t.Errorf("Do = %+v, %v, want an answer over a new connection", answer, err)
			}
			if n := len(w.Requests()); n != 2 {
				t.Errorf("two calls made %d requests", n)
			}
		})
	}
}
