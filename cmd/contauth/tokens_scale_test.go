//go:build scale

package main

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

// TestScaleTokens verifies 100,000 tokens at a rate, is interrupted twice on the way,
// once by Ctrl-C and once by a kill, and looks at the rate and at its memory.
func TestScaleTokens(t *testing.T) {
	const n, perSecond, most = 100_000, 250, 64 << 20
	w := newTokenWorld(t, "")
	w.contauth(0, "tokens", "list") // stores the merchant account
	if _, err := w.db.Exec(`
		INSERT INTO tokens (merchant_account, token, shopper_reference)
		SELECT 'DemoMC', 'MC' || lpad(i::text, 8, '0'), 'shopper-' || i FROM generate_series(1, $1) i`, n); err != nil {
		t.Fatal(err)
	}
	verify := func(args ...string) *process {
		return w.start(append([]string{"tokens", "verify", "--rate", fmt.Sprint(perSecond)}, args...)...)
	}
	p := verify("--unverified")
	w.awaitVerifications(n / 10)
	p.signal(os.Interrupt)
	if code := p.wait(); code != exitFailure {
		t.Fatalf("Ctrl-C: exit %d\n%s", code, p.stderr.String())
	}
	p = verify("--job", "1")
	w.awaitVerifications(n / 5)
	p.kill()

	p = verify("--job", "1")
	w.awaitVerifications(n / 4)
	done, started := w.verificationsDone(), time.Now()
	w.awaitVerifications(n - 2000)
	rate := float64(w.verificationsDone()-done) / time.Since(started).Seconds()
	usage := peakMemory(t, p.cmd.Process.Pid)
	if code := p.wait(); code != exitDone {
		t.Fatalf("exit %d\n%s", code, p.stderr.String())
	}
	t.Logf("%.0f tokens a second of %d; %d MiB at most", rate, perSecond, usage>>20)
	if rate < 0.9*perSecond || rate > 1.01*perSecond {
		t.Errorf("%.0f tokens a second, want %d", rate, perSecond)
	}
	if usage > most {
		t.Errorf("%d MiB, want at most %d", usage>>20, most>>20)
	}
	says(t, p.stdout.String(), "100000 of 100000 tokens asked about by BASIC")
}

// peakMemory is the most memory that a process ever had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	if _, err := fmt.Sscanf(submatch(peakLine, string(status)), "%d", &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

var peakLine = regexp.MustCompile(`VmHWM:\s+([0-9]+) kB`)
