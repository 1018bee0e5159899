package httpserver

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A Caller says who may call a route.
type Caller string

const (
	// Public is for anybody: the route tells nothing and changes nothing.
	Public Caller = "public"
	// Probe is for supervisors and Prometheus: from a loopback or private address,
	// and not through a proxy, behind which anybody may be.
	Probe Caller = "probe"
	// Gateway is for payment gateways: the handler itself checks who is calling.
	Gateway Caller = "gateway"
)

// A Route is one thing that a server answers to.
type Route struct {
	Pattern string // as net/http.ServeMux wants it, with a method: "GET /healthz"
	Caller  Caller
	Handler http.Handler
	MaxBody int64 // of a request, in bytes; 0 means that no body is read
}

// validate returns what is wrong with a route. Without a method a route would
// answer to all of them, and without a caller to everybody.
func (r Route) validate() error {
	method, path, _ := strings.Cut(r.Pattern, " ")
	switch {
	case method == "" || strings.Contains(method, "/") || !strings.HasPrefix(path, "/"):
		return fmt.Errorf("httpserver: route %q: want a method and a path", r.Pattern)
	case r.Caller != Public && r.Caller != Probe && r.Caller != Gateway:
		return fmt.Errorf("httpserver: route %q does not say who may call it", r.Pattern)
	case r.Handler == nil:
		return fmt.Errorf("httpserver: route %q has no handler", r.Pattern)
	}
	return nil
}

// handler is the route's own, behind its guards.
func (r Route) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.Caller == Probe && !isNear(req) {
			http.Error(w, "this is for this machine and its network", http.StatusForbidden)
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, r.MaxBody)
		r.Handler.ServeHTTP(w, req)
	})
}

// isNear reports whether a request came straight from a loopback or private
// address.
func isNear(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	address = address.Unmap()
	return address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast()
}
