package httpserver_test

import (
	"bytes"
	"context"
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

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/contauth/contauth/internal/httpserver"
	"github.com/contauth/contauth/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves routes on a loopback port until the test ends, and returns where.
func start(t *testing.T, opts httpserver.Options) (url string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	url, stopped := startUntil(t, ctx, opts)
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return url
}

func startUntil(t *testing.T, ctx context.Context, opts httpserver.Options) (url string, stopped chan error) {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = logtest.New(t)
	}
	server, err := httpserver.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped = make(chan error, 1)
	go func() { stopped <- server.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), stopped
}

// client keeps no connection open: none may outlive the test.
func client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

// ask sends one request and returns the status and the body.
func ask(t *testing.T, req *http.Request) (int, string, http.Header) {
	t.Helper()
	resp, err := client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body)), resp.Header
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestNew_refusesRoutesThatSayTooLittle(t *testing.T) {
	ok := httpserver.Alive()
	tests := []struct {
		name  string
		route httpserver.Route
		want  string
	}{
		{"no caller", httpserver.Route{Pattern: "GET /x", Handler: ok}, "does not say who may call it"},
		{"an unknown caller", httpserver.Route{Pattern: "GET /x", Caller: "friends", Handler: ok}, "does not say who may call it"},
		{"no method", httpserver.Route{Pattern: "/x", Caller: httpserver.Public, Handler: ok}, "want a method and a path"},
		{"no path", httpserver.Route{Pattern: "GET", Caller: httpserver.Public, Handler: ok}, "want a method and a path"},
		{"no handler", httpserver.Route{Pattern: "GET /x", Caller: httpserver.Public}, "has no handler"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := httpserver.New(httpserver.Options{Routes: []httpserver.Route{tt.route}, Logger: hclog.NewNullLogger()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestServer_answers(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprintf(w, "%s", body)
	})
	url := start(t, httpserver.Options{Routes: []httpserver.Route{
		{Pattern: "GET /healthz", Caller: httpserver.Public, Handler: httpserver.Alive()},
		{Pattern: "GET /readyz", Caller: httpserver.Probe, Handler: httpserver.Ready(func(context.Context) error { return errors.New("the database is away") })},
		{Pattern: "GET /probe", Caller: httpserver.Probe, Handler: httpserver.Ready(func(context.Context) error { return nil })},
		{Pattern: "POST /hook", Caller: httpserver.Gateway, Handler: echo, MaxBody: 8},
		{Pattern: "POST /silent", Caller: httpserver.Gateway, Handler: echo},
		{Pattern: "GET /panic", Caller: httpserver.Public, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") })},
	}})
	tests := []struct {
		name         string
		method, path string
		body         string
		proxied      bool
		status       int
		want         string
	}{
		{"alive", "GET", "/healthz", "", false, 200, "alive"},
		{"alive for anybody", "GET", "/healthz", "", true, 200, "alive"},
		{"ready", "GET", "/probe", "", false, 200, "ready"},
		{"a probe through a proxy may be anybody's", "GET", "/probe", "", true, 403, "this is for this machine and its network"},
		{"not ready, with the reason", "GET", "/readyz", "", false, 503, "not ready: the database is away"},
		{"a gateway may come through a proxy", "POST", "/hook", "12345678", true, 200, "12345678"},
		{"a body that is too large", "POST", "/hook", "123456789", false, 413, "http: request body too large"},
		{"a body where none belongs", "POST", "/silent", "1", false, 413, "http: request body too large"},
		{"another method", "GET", "/hook", "", false, 405, "Method Not Allowed"},
		{"another path", "GET", "/admin", "", false, 404, "404 page not found"},
		{"a panic ends its request alone", "GET", "/panic", "", false, 500, "Internal Server Error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(t, tt.method, url+tt.path, tt.body)
			if tt.proxied {
				req.Header.Set("X-Forwarded-For", "203.0.113.7")
			}
			status, body, header := ask(t, req)
			if status != tt.status || body != tt.want {
				t.Errorf("got %d %q, want %d %q", status, body, tt.status, tt.want)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
				if got := header.Get(name); got != want && !(tt.status >= 400 && name == "Cache-Control") { // net/http drops it from errors
					t.Errorf("header %s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// Whoever is far away learns nothing from a probe.
func TestProbe_isForTheNeighbourhood(t *testing.T) {
	tests := []struct {
		from   string
		status int
	}{
		{"127.0.0.1:5000", 200},
		{"[::1]:5000", 200},
		{"10.1.2.3:5000", 200},
		{"[::ffff:192.168.0.4]:5000", 200},
		{"[fd00::1]:5000", 200},
		{"[fe80::1%eth0]:5000", 200},
		{"203.0.113.7:5000", 403},
		{"[2001:db8::1]:5000", 403},
		{"", 403},
	}
	route := httpserver.Route{Pattern: "GET /probe", Caller: httpserver.Probe, Handler: httpserver.Alive()}
	handler, err := httpserver.Handler(httpserver.Options{Routes: []httpserver.Route{route}, Logger: logtest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.from, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/probe", nil)
			req.RemoteAddr = tt.from
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
		})
	}
}

// A lockedBuffer is written by handlers and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestServer_logsNoBodies(t *testing.T) {
	var log lockedBuffer
	ctx, stop := context.WithCancel(t.Context())
	url, stopped := startUntil(t, ctx, httpserver.Options{
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &log}),
		Routes: []httpserver.Route{
			{Pattern: "POST /hook/{name}", Caller: httpserver.Gateway, MaxBody: 100, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })},
			{Pattern: "GET /panic", Caller: httpserver.Public, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") })},
		},
	})
	ask(t, request(t, "POST", url+"/hook/hush?q=hush", "hush"))
	ask(t, request(t, "GET", url+"/panic", ""))
	stop()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`method=POST route="POST /hook/{name}" status=200`, `a request panicked`, `panic=oops`, "status=500"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "hush") {
		t.Errorf("the log shows what was sent:\n%s", log.String())
	}
}

// A stop waits for a request at work, and not for ever.
func TestServer_stop(t *testing.T) {
	tests := []struct {
		name   string
		within time.Duration
		want   string // of the answer; "" if it is cut off
	}{
		{"a request at work is answered", 20 * time.Second, "done"},
		{"one that takes too long is cut off", time.Millisecond, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			var handling sync.WaitGroup
			handling.Add(1)
			slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				defer handling.Done()
				close(entered)
				<-leave
				fmt.Fprint(w, "done")
			})
			ctx, stop := context.WithCancel(t.Context())
			url, stopped := startUntil(t, ctx, httpserver.Options{
				StopWithin: tt.within, Routes: []httpserver.Route{{Pattern: "GET /slow", Caller: httpserver.Public, Handler: slow}},
			})
			answered := make(chan string, 1)
			req := request(t, "GET", url+"/slow", "")
			go func() {
				resp, err := client().Do(req)
				if err != nil {
					answered <- ""
					return
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				answered <- string(body)
			}()
			<-entered
			stop()
			if tt.want != "" {
				close(leave)
			}
			if err := <-stopped; err != nil {
				t.Errorf("Serve: %v", err)
			}
			if got := <-answered; got != tt.want {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
			if tt.want == "" {
				close(leave)
			}
			handling.Wait()
			if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
				t.Error("it still listens")
			}
		})
	}
}

func TestListen_aPortInUse(t *testing.T) {
	l, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = httpserver.Listen(l.Addr().String())
	want := fmt.Sprintf("cannot listen on %s: bind: address already in use", l.Addr())
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestProfiles(t *testing.T) {
	url := start(t, httpserver.Options{Routes: httpserver.Profiles()})
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "httpserver", "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		status, body, _ := ask(t, request(t, "GET", url+path, ""))
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %.80q, want 200 and %q", path, status, body, want)
		}
	}
}
