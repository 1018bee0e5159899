package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/pgtest"
)

// Postgres dies in the middle of a run and comes back. The run goes on by
// itself: what was sent is written down once the database is there again.
func TestKill_Postgres(t *testing.T) {
	for round := range rounds() {
		t.Run(fmt.Sprint(round+1), func(t *testing.T) {
			t.Parallel()
			const n = 120
			server := pgtest.NewServer(t, pgtest.Options{})
			w := newWorldOn(t, server.New(t).DSN, worldOptions{lease: "10s", sandboxArgs: []string{"--latency", "10ms"}})
			w.importCharges(n, nil)
			id := w.plan()
			trap := w.proxy.set(settleStatement, []pgMoment{beforeStatement, afterStatement}[round%2], 2)
			p := w.start("run", "start", id, "--yes")
			awaitTrap(t, trap, p)
			server.Kill(t)
			trap.open()
			w.proxy.cut()
			server.Ensure(t)
			if code := p.wait(); code != exitDone {
				// A process may give up when Postgres is away for long; nothing is lost.
				t.Logf("exit %d: %s", code, p.stderr.String())
				w.contauth(0, "run", "resume", id)
			}
			w.requireChargedOnce(n)
		})
	}
}

// People cancel charges while a run is charging them. A cancel that was
// acknowledged before the request left always wins: the gateway never sees it.
func TestCancel_RacesTheRun(t *testing.T) {
	for round := range rounds() {
		t.Run(fmt.Sprint(round+1), func(t *testing.T) {
			t.Parallel()
			const n = 60
			w := newWorld(t, worldOptions{account: "max_in_flight: 2", sandboxArgs: []string{"--latency", "40ms"}})
			w.importCharges(n, nil)
			id := w.plan()
			trap := w.proxy.set(settleStatement, beforeStatement, 0)
			p := w.start("run", "start", id, "--yes")
			awaitTrap(t, trap, p)
			trap.open()

			victims := rand.Perm(n)[:6]
			answers := make([]string, len(victims))
			var cancelling sync.WaitGroup
			for i, victim := range victims {
				cancelling.Go(func() {
					c := w.start("charges", "cancel", fmt.Sprintf("req-%d", victim), "--reason", "the shopper asked", "--json")
					<-c.done
					answers[i] = c.stdout.String()
				})
			}
			cancelling.Wait()
			p.wait()

			asked := map[string]bool{}
			for _, e := range w.ledger() {
				asked[strings.SplitN(e.Reference, "~", 2)[0]] = true
			}
			cancelled := 0
			for i, victim := range victims {
				reference := fmt.Sprintf("req-%d", victim)
				stopped := strings.Contains(answers[i], `"done"`) || strings.Contains(answers[i], `"stopped_before_sending"`)
				if stopped {
					cancelled++
				}
				if stopped && asked[reference] {
					t.Errorf("%s was acknowledged as cancelled (%s) and yet asked for", reference, strings.TrimSpace(answers[i]))
				}
				if !stopped && !asked[reference] {
					t.Errorf("%s was not stopped (%s) and yet never asked for", reference, strings.TrimSpace(answers[i]))
				}
			}
			if got := w.states(); got["paid"] != n-cancelled || got["cancelled"] != cancelled {
				t.Errorf("states %v, want %d paid and %d cancelled", got, n-cancelled, cancelled)
			}
			w.requireSound()
		})
	}
}

// A person aborts a run while it is charging: what was sent is finished,
// nothing more is taken, and every item is accounted for.
func TestAbort_RacesTheRun(t *testing.T) {
	for round := range rounds() {
		t.Run(fmt.Sprint(round+1), func(t *testing.T) {
			t.Parallel()
			const n = 200
			w := newWorld(t, worldOptions{account: "max_in_flight: 2", sandboxArgs: []string{"--latency", "40ms"}})
			w.importCharges(n, nil)
			id := w.plan()
			trap := w.proxy.set(settleStatement, beforeStatement, 0)
			p := w.start("run", "start", id, "--yes")
			awaitTrap(t, trap, p)
			trap.open()
			w.contauth(0, "run", "abort", id, "--reason", "wrong list")
			p.wait()
			run := w.report(id)
			total := run.Totals[0]
			if run.State != "aborted" || total.Left.Count != 0 || total.Paid.Count+total.Skipped.Count != n {
				t.Errorf("after the abort: %+v", run)
			}
			if got := int64(len(w.ledger())); got != total.Paid.Count || got == n {
				t.Errorf("%d charged at the gateway, %d paid in the report, %d in the manifest", got, total.Paid.Count, n)
			}
			w.requireSound()
		})
	}
}

// Processes together keep the account's rate.
func TestRate_IsKeptByAllProcesses(t *testing.T) {
	t.Parallel()
	const n, rate = 60, 20
	w := newWorld(t, worldOptions{account: "max_in_flight: 8, rate_per_second: 20"})
	w.importCharges(n, nil)
	id := w.plan()
	var working sync.WaitGroup
	for range 3 {
		p := w.start("run", "start", id, "--yes")
		working.Go(func() { <-p.done })
	}
	working.Wait()
	w.requireChargedOnce(n)
	// Requests leave at reserved moments. What the network and the machine add
	// can push two together, so the window is judged with a little slack.
	times := w.paidAt()
	for i := range times {
		j := i
		for j < len(times) && times[j].Sub(times[i]) < time.Second {
			j++
		}
		if j-i > rate+rate/4 {
			t.Errorf("%d requests within a second of %s, the rate is %d", j-i, times[i], rate)
			break
		}
	}
	if took := times[len(times)-1].Sub(times[0]); took < time.Duration(n-1-rate/4)*time.Second/rate {
		t.Errorf("%d requests took %s at %d a second", n, took, rate)
	}
}
