package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// dirVariable makes the test binary a sandbox with its ledger in that
// directory, in a process of its own that a test may kill.
const dirVariable = "CONTAUTH_SANDBOX_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		if err := serveForTest(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveForTest serves until standard input ends: a test that dies takes its
// sandbox with it.
func serveForTest(dir string) error {
	server, err := sandbox.New(sandbox.Options{DataDir: dir})
	if err != nil {
		return err
	}
	listener, err := sandbox.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		stop()
	}()
	return server.Serve(ctx, listener)
}

// A process is a sandbox in a process of its own.
type process struct {
	*gateway
	cmd  *exec.Cmd
	once sync.Once
}

// startProcess starts a sandbox on dir and ends it with the test.
func startProcess(t testing.TB, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, "GOGC=400")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the sandbox did not start: %v", err)
	}
	p.gateway = clientOf(t, url[:len(url)-1])
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.once.Do(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait() // the error says that it was killed
	})
}

func TestServer_isWholeAfterKill(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	answers := payUntilKilled(t, first)
	second := startProcess(t, dir)

	inLedger := make(map[string]entry)
	psps := make(map[string]bool)
	for _, e := range second.ledger() {
		if _, twice := inLedger[e.IdempotencyKey]; twice || psps[e.PSPReference] {
			t.Errorf("key %s or pspReference %s is in the ledger twice", e.IdempotencyKey, e.PSPReference)
		}
		inLedger[e.IdempotencyKey], psps[e.PSPReference] = e, true
	}
	payments := second.stats().Payments
	if payments != int64(len(inLedger)) {
		t.Errorf("stats say %d payments, the ledger has %d", payments, len(inLedger))
	}
	for key, body := range answers {
		if _, found := inLedger[key]; !found {
			t.Errorf("the payment with key %s was answered and is not in the ledger", key)
		}
		if again := second.pay(key, newCharge("ref-"+key, "TK")); !bytes.Equal(again.body, body) {
			t.Errorf("key %s: answered %s before the kill, %s after it", key, body, again.body)
		}
	}
	if stats := second.stats(); stats.Payments != payments || stats.SameKeyOtherBody != 0 || stats.DuplicateKeys < int64(len(answers)) {
		t.Errorf("after sending %d again, stats = %+v", len(answers), stats)
	}
}

// payUntilKilled pays from eight goroutines, kills the sandbox when 500
// payments are answered, and returns all answers by key.
func payUntilKilled(t *testing.T, p *process) map[string][]byte {
	t.Helper()
	var (
		mu      sync.Mutex
		answers = make(map[string][]byte)
		clients sync.WaitGroup
	)
	for worker := range 8 {
		clients.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("k-%d-%d", worker, i)
				a, err := p.post(context.Background(), key, newCharge("ref-"+key, "TK").bytes(t))
				if err != nil {
					return // killed
				}
				mu.Lock()
				answers[key] = a.body
				enough := len(answers) == 500
				mu.Unlock()
				if enough {
					p.kill()
				}
			}
		})
	}
	clients.Wait()
	return answers
}

func TestNew_cutsOffATornRecord(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	for i := range 3 {
		first.pay(fmt.Sprintf("key-%d", i), newCharge(fmt.Sprintf("ref-%d", i), "TK"))
	}
	before := first.ledger()
	first.kill()
	file := filepath.Join(dir, "ledger.log")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The last record ends somewhere in its middle, at every interesting place.
	for _, missing := range []int{1, 7, 100, 400} {
		t.Run(fmt.Sprintf("%d bytes are missing", missing), func(t *testing.T) {
			torn := t.TempDir()
			if err := os.WriteFile(filepath.Join(torn, "ledger.log"), whole[:len(whole)-missing], 0o600); err != nil {
				t.Fatal(err)
			}
			g := newGateway(t, sandbox.Options{DataDir: torn})
			if diff := cmp.Diff(before[:2], g.ledger()); diff != "" {
				t.Errorf("ledger (-want +got):\n%s", diff)
			}
			g.pay("key-2", newCharge("ref-2", "TK"))
			if n := len(g.ledger()); n != 3 {
				t.Errorf("after paying again the ledger has %d payments, want 3", n)
			}
		})
	}
}

func TestNew_refusesADirectoryItCannotTrust(t *testing.T) {
	used := t.TempDir()
	newGateway(t, sandbox.Options{DataDir: used})

	damaged := t.TempDir()
	first := startProcess(t, damaged)
	for i := range 3 {
		first.pay("", newCharge(strconv.Itoa(i), "TK"))
	}
	first.kill()
	file := filepath.Join(damaged, "ledger.log")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "ledger.log"), []byte("something else that is longer than the start of a ledger\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"in use": used, "damaged in the middle": damaged, "another file": foreign, "no directory": ""} {
		t.Run(name, func(t *testing.T) {
			server, err := sandbox.New(sandbox.Options{DataDir: dir})
			if err == nil {
				server.Close()
				t.Error("New took it")
			}
		})
	}
}

// BenchmarkPayment measures a payment over loopback HTTP from 64 connections,
// each with a key of its own, at a sandbox in a process of its own. cpu-µs/op is
// what that process spent: at most 35 is promised.
func BenchmarkPayment(b *testing.B) {
	p := startProcess(b, b.TempDir())
	body := newCharge("sub-000042~2027-01~1", "TKN4W8ZD6V2HJ3K7").bytes(b)
	for i := range 64 { // open the connections
		payForBenchmark(b, p, "warm-"+strconv.Itoa(i), body)
	}
	before := p.stats()
	b.ResetTimer()
	var workers sync.WaitGroup
	for worker := range 64 {
		workers.Go(func() {
			for i := worker; i < b.N; i += 64 {
				payForBenchmark(b, p, "a-key-as-long-as-ours-are-which-is-43-"+strconv.Itoa(i), body)
			}
		})
	}
	workers.Wait()
	b.StopTimer()
	after := p.stats()
	if got := after.Payments - before.Payments; got != int64(b.N) {
		b.Fatalf("%d payments in the ledger, want %d", got, b.N)
	}
	b.ReportMetric((after.CPUSeconds-before.CPUSeconds)*1e6/float64(b.N), "cpu-µs/op")
}

func payForBenchmark(b *testing.B, p *process, key string, body []byte) {
	a, err := p.post(context.Background(), key, body)
	if err != nil || a.status != http.StatusOK {
		b.Errorf("pay: %d %v", a.status, err)
	}
}
