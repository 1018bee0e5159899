package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options are what a Server is made of. Zero times mean the defaults.
type Options struct {
	Routes       []Route
	Logger       hclog.Logger
	WriteTimeout time.Duration // from the end of a request's header to the end of its answer; default 30s
	StopWithin   time.Duration // how long a stop waits for requests at work; default 5s
}

// The times and sizes that no caller may exceed. Whoever is slower is no
// supervisor and no gateway.
const (
	headerTimeout       = 5 * time.Second
	readTimeout         = 15 * time.Second
	defaultWriteTimeout = 30 * time.Second
	idleTimeout         = time.Minute
	maxHeader           = 16 << 10
	defaultStopWithin   = 5 * time.Second
)

// A Server answers to its routes, and to nothing else.
type Server struct {
	http       *http.Server
	logger     hclog.Logger
	stopWithin time.Duration
}

// New returns a server for the routes. It returns an error for a route that does
// not say who may call it.
func New(opts Options) (*Server, error) {
	mux := http.NewServeMux()
	for _, route := range opts.Routes {
		if err := route.validate(); err != nil {
			return nil, err
		}
		mux.Handle(route.Pattern, route.handler())
	}
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = defaultWriteTimeout
	}
	if opts.StopWithin == 0 {
		opts.StopWithin = defaultStopWithin
	}
	s := &Server{logger: opts.Logger.Named("http"), stopWithin: opts.StopWithin}
	s.http = &http.Server{
		Handler:           s.guard(mux),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: opts.WriteTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		// What clients do wrong before there is a request is worth a line to those who look for it.
		ErrorLog: s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	return s, nil
}

// Listen takes an address, so that one in use is known before anything starts.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		// The system's own words name the address a second time.
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return l, nil
}

// Serve answers on l until ctx ends. Then it takes no more, waits a bounded time
// for requests at work, and returns nil. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stopped := make(chan error, 1)
	go func() { stopped <- s.http.Serve(l) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.stopWithin)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.logger.Warn("requests were cut off by the stop", "error", err)
		s.http.Close()
	}
	<-stopped
	return nil
}

// guard is around everything: headers for browsers, a line for each request, and
// an end for panics.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &answer{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				s.contain(answer, r, p)
			}
			if answer.status == 0 {
				answer.status = http.StatusOK // what net/http sends for a handler that wrote nothing
			}
			// Paths and bodies may hold what must not be logged; a pattern never does.
			s.logger.Debug("request", "method", r.Method, "route", r.Pattern, "status", answer.status, "from", r.RemoteAddr, "took", time.Since(began))
		}()
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(answer, r)
	})
}

// contain answers for a handler that panicked. If a part of its answer has left,
// the caller must not take it for the whole.
func (s *Server) contain(w *answer, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.logger.Error("a request panicked", "route", r.Pattern, "panic", p, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// An answer remembers how a request was answered.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(text []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(text)
}

// Unwrap lets net/http find what the embedded writer can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
