package httpserver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
)

// Alive answers that the process is there, whatever else is not.
func Alive() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
}

// Ready answers whether the process does its work, and if not, why.
func Ready(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := check(r.Context()); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
}

// Profiles are the routes of net/http/pprof. They show what the process holds:
// they are for a loopback address alone.
func Profiles() []Route {
	return []Route{
		{Pattern: "GET /debug/pprof/", Caller: Probe, Handler: http.HandlerFunc(pprof.Index)},
		{Pattern: "GET /debug/pprof/cmdline", Caller: Probe, Handler: http.HandlerFunc(pprof.Cmdline)},
		{Pattern: "GET /debug/pprof/profile", Caller: Probe, Handler: http.HandlerFunc(pprof.Profile)},
		{Pattern: "GET /debug/pprof/symbol", Caller: Probe, Handler: http.HandlerFunc(pprof.Symbol)},
		{Pattern: "GET /debug/pprof/trace", Caller: Probe, Handler: http.HandlerFunc(pprof.Trace)},
	}
}
