package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/contauth/contauth/internal/pgtest"
)

// A world is all that a real contauth process needs: a database of its own
// behind a proxy, a sandbox in a process of its own, and a configuration.
type world struct {
	t       *testing.T
	dir     string
	db      *sql.DB
	proxy   *pgProxy
	dialect dialect
	gateway string // the sandbox's base URL
	sandbox *process
	http    *http.Client
}

// patience bounds every wait of these tests. It only matters when something is
// broken: nothing waits for time to pass.
var patience = func() time.Duration {
	if torture() {
		return 15 * time.Minute // a hundred thousand webhooks, under the race detector
	}
	return 4 * time.Minute
}()

// worldOptions change the configuration of a world.
type worldOptions struct {
	dialect     dialect // default Adyen's
	account     string  // further settings of the merchant account, such as "rate_per_second: 5"
	lease       string  // default 6s: what a request may wait for after its claim is 4 s, also on a machine that is busy
	replays     string  // default [100ms, 300ms, 1s]
	sandboxArgs []string
}

func newWorld(t *testing.T, opts worldOptions) *world {
	t.Helper()
	database := pgtest.New(t)
	return newWorldOn(t, database.DSN, opts)
}

// testClient talks to the sandbox's control routes over one connection.
func testClient() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{MaxConnsPerHost: 1}}
}

var (
	dsnHost = regexp.MustCompile(`host='?([^' ]+)'?`)
	dsnUser = regexp.MustCompile(`user='?([^' ]+)'?`)
	dsnName = regexp.MustCompile(`.*dbname='?([^' ]+)'?`)
	dsnPort = regexp.MustCompile(`port='?([0-9]+)'?`)
)

func newWorldOn(t *testing.T, dsn string, opts worldOptions) *world {
	t.Helper()
	if opts.dialect.name == "" {
		opts.dialect = adyenDialect
	}
	w := &world{t: t, dialect: opts.dialect, dir: t.TempDir(), http: testClient()}
	var err error
	if w.db, err = sql.Open("postgres", dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	host, user, name := submatch(dsnHost, dsn), submatch(dsnUser, dsn), submatch(dsnName, dsn)
	port := "5432"
	if found := submatch(dsnPort, dsn); found != "" {
		port = found
	}
	w.proxy = newPGProxy(t, filepath.Join(host, ".s.PGSQL."+port))
	w.startSandbox(opts.sandboxArgs...)
	lease := opts.lease
	if lease == "" {
		lease = "6s"
	}
	account := opts.account
	if account == "" {
		account = "max_in_flight: 4"
	}
	replays := opts.replays
	if replays == "" {
		replays = "[100ms, 300ms, 1s]"
	}
	w.write("contauth.yaml", fmt.Sprintf(`
database: {url: "postgres://%s@127.0.0.1:%d/%s?sslmode=disable"}
timing: {lease: %s, gateway_timeout: 2s, claim_ahead: 500ms, replays: %s, flush: 5ms}
merchant_accounts:
  - {%s, %s}
`, user, w.proxy.port(), name, lease, replays, fmt.Sprintf(w.dialect.settings, w.gateway), account))
	return w
}

func submatch(re *regexp.Regexp, s string) string {
	if m := re.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// startSandbox starts the gateway and waits for its address.
func (w *world) startSandbox(args ...string) {
	w.t.Helper()
	w.sandbox = w.start(append([]string{"sandbox", "--listen", "127.0.0.1:0", "--data", filepath.Join(w.dir, "ledger")}, args...)...)
	line := w.sandbox.awaitLine("listening on ")
	w.gateway = strings.Fields(line[strings.Index(line, "http://"):])[0]
}

// A process is a running contauth.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string // of standard output, as they come
	stdout lockedBuffer
	stderr lockedBuffer
	done   chan struct{}
	code   int
}

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

// start starts contauth with the world's configuration. It is killed when the
// test ends, whatever happens.
func (w *world) start(args ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, cmd: exec.Command(os.Args[0], args...), lines: make(chan string, 10000), done: make(chan struct{})}
	p.cmd.Dir = w.dir
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "ADYEN_API_KEY=test-key", "MC_PASSWORD=test-password", "GOMAXPROCS=2")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		scanner := bufio.NewScanner(out)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			fmt.Fprintln(&p.stdout, scanner.Text())
			select {
			case p.lines <- scanner.Text():
			default: // nobody reads that many
			}
		}
		p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	w.t.Cleanup(p.kill)
	return p
}

// kill ends the process as a power cut would, and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) }

// wait waits for the end of the process and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT)
		<-p.done
		p.t.Fatalf("%v did not end:\n%s%s", p.cmd.Args[1:], p.stdout.String(), p.stderr.String())
		return -1
	}
}

func (p *process) awaitLine(part string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if strings.Contains(line, part) {
				return line
			}
		case <-p.done:
			p.t.Fatalf("%v ended without saying %q:\n%s%s", p.cmd.Args[1:], part, p.stdout.String(), p.stderr.String())
		case <-timeout:
			p.t.Fatalf("%v never said %q:\n%s%s", p.cmd.Args[1:], part, p.stdout.String(), p.stderr.String())
		}
	}
}

// contauth runs a command to its end and requires one of the exit codes.
func (w *world) contauth(code int, args ...string) string {
	w.t.Helper()
	p := w.start(args...)
	if got := p.wait(); got != code {
		w.t.Fatalf("contauth %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, p.stdout.String(), p.stderr.String())
	}
	return p.stdout.String()
}

// importCharges imports n unscheduled charges of tokens of their own, due long
// ago. suffix gives the i-th token its ending, which steers the sandbox.
func (w *world) importCharges(n int, suffix func(i int) string) {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("reference,merchant_account,shopper_reference,token,amount_minor,currency,due_at,description\n")
	for i := range n {
		end := ""
		if suffix != nil {
			end = suffix(i)
		}
		fmt.Fprintf(&b, "req-%d,%s,shopper-%d,%s,%d,EUR,2026-01-02T03:04:05Z,\n", i, w.dialect.account, i, w.dialect.token(i, end), 1000+i)
	}
	w.contauth(0, "import", "charges", w.write("charges.csv", b.String()))
}

// plan plans a run and returns its id.
func (w *world) plan(args ...string) string {
	w.t.Helper()
	var run runJSON
	w.decode(w.contauth(0, append([]string{"run", "plan", "--json"}, args...)...), &run)
	return fmt.Sprint(run.ID)
}

func (w *world) report(id string) runJSON {
	w.t.Helper()
	p := w.start("run", "report", id, "--json")
	p.wait()
	var run runJSON
	w.decode(p.stdout.String(), &run)
	return run
}

func (w *world) decode(text string, v any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		w.t.Fatalf("not the JSON that was promised: %v\n%s", err, text)
	}
}

// ledgerEntry is a line of the sandbox's ledger.
type ledgerEntry struct {
	Key         string    `json:"idempotency_key"`
	Reference   string    `json:"reference"`
	AmountMinor int64     `json:"amount_minor"`
	Currency    string    `json:"currency"`
	ResultCode  string    `json:"result_code"`
	At          time.Time `json:"at"`
}

func (w *world) ledger() []ledgerEntry {
	w.t.Helper()
	var entries []ledgerEntry
	lines := bufio.NewScanner(bytes.NewReader(w.call(http.MethodGet, "/sandbox/ledger", "")))
	for lines.Scan() {
		var e ledgerEntry
		w.decode(lines.Text(), &e)
		entries = append(entries, e)
	}
	return entries
}

type gatewayStats struct {
	Payments         int64 `json:"payments"`
	DuplicateKeys    int64 `json:"duplicate_keys"`
	SameKeyOtherBody int64 `json:"same_key_other_body"`
}

func (w *world) stats() gatewayStats {
	w.t.Helper()
	var s gatewayStats
	w.decode(string(w.call(http.MethodGet, "/sandbox/stats", "")), &s)
	return s
}

// call talks to the sandbox's control routes.
func (w *world) call(method, path, body string) []byte {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.gateway+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<26))
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		w.t.Fatalf("%s %s: HTTP %d: %s", method, path, resp.StatusCode, answer)
	}
	return answer
}

// states counts the charges by state.
func (w *world) states() map[string]int {
	w.t.Helper()
	rows, err := w.db.Query(`SELECT state, count(*) FROM charges GROUP BY state`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	states := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			w.t.Fatal(err)
		}
		states[state] = n
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return states
}

// requireChargedOnce fails unless the gateway authorised each of n charges
// exactly once, under one key each, and the database says the same.
func (w *world) requireChargedOnce(n int) {
	w.t.Helper()
	charged := map[string]int{}
	keys := map[string]string{}
	for _, e := range w.ledger() {
		charge, _, _ := strings.Cut(e.Reference, "~1")
		if e.ResultCode == "Authorised" {
			charged[charge]++
		}
		if other, ok := keys[e.Key]; ok && other != e.Reference {
			w.t.Errorf("key of %s and of %s is the same", e.Reference, other)
		}
		keys[e.Key] = e.Reference
	}
	for charge, times := range charged {
		if times != 1 {
			w.t.Errorf("%s was charged %d times", charge, times)
		}
	}
	if len(charged) != n {
		w.t.Errorf("%d charges at the gateway, want %d", len(charged), n)
	}
	if s := w.stats(); s.SameKeyOtherBody != 0 {
		w.t.Errorf("%d requests reused a key with another body", s.SameKeyOtherBody)
	}
	if got := w.states(); got["paid"] != n || len(got) != 1 {
		w.t.Errorf("states of the charges: %v, want %d paid", got, n)
	}
	w.requireSound()
}

// requireSound runs contauth check against the database and the ledger.
func (w *world) requireSound() {
	w.t.Helper()
	w.contauth(0, "check")
}

// paidAt lists when the gateway made its payments, in order.
func (w *world) paidAt() []time.Time {
	w.t.Helper()
	var times []time.Time
	for _, e := range w.ledger() {
		times = append(times, e.At)
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}
