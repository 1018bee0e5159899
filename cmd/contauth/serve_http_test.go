package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/contauth/contauth/internal/httpserver"
	"github.com/contauth/contauth/internal/logtest"
	"github.com/contauth/contauth/internal/metrics"
)

func TestRoutes_sayWhoMayCall(t *testing.T) {
	logger := logtest.New(t)
	routes, err := (&session{}).routes(&readiness{}, metrics.New("", nil, logger), logger)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]httpserver.Caller{"GET /healthz": httpserver.Public, "GET /readyz": httpserver.Probe, "GET /metrics": httpserver.Probe}
	for _, route := range append(routes, httpserver.Profiles()...) {
		if route.Caller == "" {
			t.Errorf("%s does not say who may call it", route.Pattern)
		}
		if caller, known := want[route.Pattern]; known && caller != route.Caller {
			t.Errorf("%s is for %s, want %s", route.Pattern, route.Caller, caller)
		}
		delete(want, route.Pattern)
	}
	if len(want) > 0 {
		t.Errorf("routes are missing: %v", want)
	}
	if _, err := httpserver.New(httpserver.Options{Routes: routes, Logger: logger}); err != nil {
		t.Error(err)
	}
}

var listening = regexp.MustCompile(`listening: address=(\S+)`)

// serveHTTP starts a daemon that listens, and returns where.
func (w *world) serveHTTP() (p *process, url string) {
	w.t.Helper()
	p = w.start("serve", "--listen", "127.0.0.1:0")
	p.awaitServing()
	return p, "http://" + submatch(listening, p.stderr.String())
}

// ask asks a daemon. Without an answer the status is 0.
func (w *world) ask(url string) (int, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// awaitAnswer polls until a daemon answers so.
func (w *world) awaitAnswer(url string, status int, part string) {
	w.t.Helper()
	await(w.t, url+" to say "+part, func() bool {
		got, body := w.ask(url)
		return got == status && strings.Contains(body, part)
	})
}

// edit replaces a part of the configuration.
func (w *world) edit(old, replacement string) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "contauth.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("contauth.yaml", strings.Replace(string(text), old, replacement, 1))
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(query, args...); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
}

func TestServe_AnswersProbes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.importCharges(1, nil)
	id := w.plan()
	p, url := w.serveHTTP()
	w.awaitAnswer(url+"/healthz", 200, "alive")
	w.awaitAnswer(url+"/readyz", 200, "ready")
	for _, name := range []string{"contauth_ready 1", "contauth_fire_lag_seconds", "contauth_due_lag_seconds", `contauth_runs{state="running"} 0`, `contauth_lane_queued{merchant_account="DemoEU"} 0`, "contauth_build_info"} {
		w.awaitAnswer(url+"/metrics", 200, "\n"+name)
	}
	w.exec(`UPDATE runs SET state = 'running' WHERE id = $1`, id)
	w.awaitAnswer(url+"/metrics", 200, `contauth_answers_total{class="",merchant_account="DemoEU",outcome="authorised"} 1`)
	w.awaitAnswer(url+"/metrics", 200, `contauth_attempt_duration_seconds_count{merchant_account="DemoEU"} 1`)
	// A migration that another version made.
	w.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
	w.awaitAnswer(url+"/readyz", 503, "the database has migration 9999, which this program does not know")
	w.awaitAnswer(url+"/healthz", 200, "alive")
	w.exec(`DELETE FROM goose_db_version WHERE version_id = 9999`)
	w.awaitAnswer(url+"/readyz", 200, "ready")

	w.edit("\ndatabase:", "\nlog: {level: debug}\ndatabase:")
	p.signal(syscall.SIGHUP)
	p.awaitError("log level read again: level=debug")
	w.edit("log: {level: debug}", "log: {level: loud}")
	p.signal(syscall.SIGHUP)
	p.awaitError("the log level stays as it is")
	w.awaitAnswer(url+"/healthz", 200, "alive")
	p.awaitError(`route="GET /healthz" status=200`) // at debug

	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitDone || !strings.Contains(p.stderr.String(), "stopped") {
		t.Errorf("exit %d:\n%s", code, p.stderr.String())
	}
}

// One signal lets what was sent be answered, a second one does not.
func TestServe_Stops(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		latency string // of the gateway
		signals int
		code    int
		paid    int
	}{
		{"one signal drains", "5s", 1, exitDone, 1},
		{"a second one ends it at once", "30s", 2, exitFailure, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{account: "max_in_flight: 1", sandboxArgs: []string{"--latency", tt.latency}})
			w.edit("lease: 6s, gateway_timeout: 2s", "lease: 90s, gateway_timeout: 40s")
			w.importCharges(2, nil)
			id := w.plan()
			p, url := w.serveHTTP()
			w.exec(`UPDATE runs SET state = 'running' WHERE id = $1`, id)
			w.awaitAnswer(url+"/metrics", 200, `contauth_lane_in_flight{merchant_account="DemoEU"} 1`)
			p.signal(syscall.SIGTERM)
			w.awaitAnswer(url+"/readyz", 503, "not ready: this process is stopping")
			if tt.signals > 1 {
				p.signal(syscall.SIGTERM)
			}
			if code := p.wait(); code != tt.code {
				t.Errorf("exit %d, want %d:\n%s", code, tt.code, p.stderr.String())
			}
			if got := w.states()["paid"]; got != tt.paid {
				t.Errorf("%d charges are paid, want %d", got, tt.paid)
			}
		})
	}
}

// What keeps a daemon from working is told in one line, before anything starts.
func TestServe_RefusesToStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	w := newWorld(t, worldOptions{})
	newest := w.count(`SELECT max(version_id) FROM goose_db_version`)
	tests := []struct {
		name  string
		given string // to the database
		after string
		args  []string
		code  int
		want  string
	}{
		{"a port in use", "", "", []string{"--listen", taken}, exitFailure,
			"contauth: serve: serve.listen: cannot listen on " + taken + ": bind: address already in use\n"},
		{"a port that is none", "", "", []string{"--listen", "here"}, exitUsage,
			`contauth: serve.listen (CONTAUTH_SERVE_LISTEN): "here" is no address: write HOST:PORT, such as 127.0.0.1:8080, or "" to listen nowhere` + "\n"},
		{"a database one migration ahead", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`,
			`DELETE FROM goose_db_version WHERE version_id = 9999`, []string{"--listen", ""}, exitFailure,
			"contauth: the database has migration 9999, which this program does not know: use the newer contauth that made it\n"},
		{"a database one migration behind", `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`,
			`INSERT INTO goose_db_version (version_id, is_applied) VALUES (` + strconv.Itoa(newest) + `, true)`, []string{"--listen", ""}, exitFailure,
			"contauth: the database lacks migration 00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.given != "" {
				w.exec(tt.given)
				defer w.exec(tt.after)
			}
			p := w.start(append([]string{"serve"}, tt.args...)...)
			code := p.wait()
			if got := p.stderr.String(); code != tt.code || !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("exit %d and %q, want %d and %q", code, got, tt.code, tt.want)
			}
			if n := w.count(`SELECT count(*) FROM processes`); n != 0 {
				t.Errorf("%d processes have registered", n)
			}
		})
	}
}
