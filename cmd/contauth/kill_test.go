package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The statements of the protocol, by a part of their text that no other has.
const (
	claimStatement  = "SET state = 'claimed'"
	settleStatement = "INSERT INTO observations (charge_id, at, attempt, counted"
	moveStatement   = "SET state = $3, decided_by"
)

// A killStep is one of the twelve steps of a charge at which a process may
// die. await lets the process run up to the step and returns how to end it:
// what stands still is let go only after the process is dead.
type killStep struct {
	name  string
	await func(t *testing.T, w *world, p func() *process) (letGo func())
	wire  bool // a gateway's dialect has a part in it
}

// atDatabase stops the process at a moment of a statement.
func atDatabase(statement string, moment pgMoment, skip int) func(*testing.T, *world, func() *process) func() {
	return func(t *testing.T, w *world, start func() *process) func() {
		trap := w.proxy.set(statement, moment, skip)
		awaitTrap(t, trap, start())
		return trap.open
	}
}

// pastDatabase is atDatabase with the answer on its way: it arrives while the
// process cannot run any more.
func pastDatabase(statement string, moment pgMoment) func(*testing.T, *world, func() *process) func() {
	return func(t *testing.T, w *world, start func() *process) func() {
		trap := w.proxy.set(statement, moment, 0)
		p := start()
		awaitTrap(t, trap, p)
		p.signal(syscall.SIGSTOP)
		trap.open()
		return func() {}
	}
}

func awaitTrap(t *testing.T, trap *pgTrap, p *process) {
	t.Helper()
	select {
	case <-trap.reached:
	case <-p.done:
		t.Fatalf("the process ended before the step:\n%s%s", p.stdout.String(), p.stderr.String())
	}
}

// atGateway stops the request at a point of the sandbox.
func atGateway(point string) func(*testing.T, *world, func() *process) func() {
	return func(t *testing.T, w *world, start func() *process) func() {
		var hold struct {
			ID string `json:"id"`
		}
		w.decode(string(w.call(http.MethodPost, "/sandbox/holds", fmt.Sprintf(`{"match":{"every":1},"point":%q}`, point))), &hold)
		start()
		w.call(http.MethodGet, "/sandbox/holds/"+hold.ID+"?wait=60s", "")
		return func() { w.call(http.MethodDelete, "/sandbox/holds/"+hold.ID, "") }
	}
}

var killSteps = []killStep{
	{"S1 before the claim", atDatabase(claimStatement, beforeStatement, 0), false},
	{"S1 in the middle, before a later claim", atDatabase(claimStatement, beforeStatement, 3), false},
	{"S3 claim sent, its commit not yet done", atDatabase(claimStatement, beforeCommit, 0), false},
	{"S3 claim committed, its answer lost", atDatabase(claimStatement, afterCommit, 0), false},
	{"S2 and S4 claim committed, nothing connected", pastDatabase(claimStatement, afterCommit), false},
	{"S5 connected, nothing sent", atGateway("connected"), true},
	{"S6 half of the request sent", atGateway("half_request"), true},
	{"S7 all sent, nothing read, not yet charged", atGateway("request_read"), true},
	{"S7 all sent, nothing read, charged", atGateway("acted"), true},
	{"S8 half of the answer read", atGateway("half_answer"), true},
	{"S9 answer read, before the record", atDatabase(settleStatement, beforeStatement, 0), true},
	{"S10 record done, its answer lost", atDatabase(settleStatement, afterStatement, 0), false},
	{"S11 after the record", pastDatabase(settleStatement, afterStatement), false},
	{"S12 everything settled, before the run is closed", atDatabase(moveStatement, beforeStatement, 1), false},
}

// torture reports whether the long forms of the tests are wanted.
func torture() bool { return os.Getenv("CONTAUTH_TORTURE") != "" }

func rounds() int {
	if torture() {
		return 5
	}
	return 1
}

func TestKill_AtEachStep(t *testing.T) {
	for _, d := range dialects {
		for _, step := range d.killSteps() {
			for round := range rounds() {
				name := d.name + " " + step.name
				if round > 0 {
					name += fmt.Sprintf(" (%d)", round+1)
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					killAndResume(t, d, step)
				})
			}
		}
	}
}

// killSteps are those at which a run of the dialect is killed: all of the first
// one's and, in the short form, of the others those that its bytes have a part in.
func (d dialect) killSteps() []killStep {
	if d.name == dialects[0].name || torture() {
		return killSteps
	}
	return slices.DeleteFunc(slices.Clone(killSteps), func(step killStep) bool { return !step.wire })
}

// killAndResume kills a run at one step, resumes it, and requires that every charge
// was made once.
func killAndResume(t *testing.T, d dialect, step killStep) {
	const n = 12
	w := newWorld(t, worldOptions{dialect: d})
	w.importCharges(n, nil)
	id := w.plan()
	var p *process
	letGo := step.await(t, w, func() *process {
		p = w.start("run", "start", id, "--yes")
		return p
	})
	p.kill()
	letGo()

	w.contauth(0, "run", "resume", id)
	w.requireChargedOnce(n)
	if run := w.report(id); run.State != "completed" || run.Totals[0].Paid.Count != n {
		t.Errorf("run after resume: %+v", run)
	}
}

// Two processes work one run, each is killed in turn, and a third ends it.
func TestKill_TwoProcessesOnOneRun(t *testing.T) {
	for round := range rounds() {
		t.Run(fmt.Sprint(round+1), func(t *testing.T) {
			t.Parallel()
			const n = 200
			d := dialects[round%len(dialects)]
			w := newWorld(t, worldOptions{dialect: d, account: "max_in_flight: 8", sandboxArgs: []string{"--latency", "20ms"}})
			w.importCharges(n, nil)
			id := w.plan()
			trap := w.proxy.set(settleStatement, beforeStatement, 2)
			first, second := w.start("run", "start", id, "--yes"), w.start("run", "start", id, "--yes")
			<-trap.reached
			first.kill()
			trap.open()
			second.signal(syscall.SIGTERM)
			second.wait()
			w.contauth(0, "run", "resume", id)
			w.requireChargedOnce(n)
		})
	}
}

// A polite stop takes no more, waits for what was sent, and leaves nothing
// claimed.
func TestInterrupt_Drains(t *testing.T) {
	t.Parallel()
	const n = 60
	w := newWorld(t, worldOptions{sandboxArgs: []string{"--latency", "50ms"}})
	w.importCharges(n, nil)
	id := w.plan()
	trap := w.proxy.set(settleStatement, beforeStatement, 1)
	p := w.start("run", "start", id, "--yes")
	awaitTrap(t, trap, p)
	p.signal(os.Interrupt)
	trap.open()
	if code := p.wait(); code != exitFailure {
		t.Fatalf("exit %d after Ctrl-C, want %d\n%s", code, exitFailure, p.stderr.String())
	}
	if !strings.Contains(p.stderr.String(), "contauth run resume "+id) {
		t.Errorf("the last line does not say how to go on:\n%s", p.stderr.String())
	}
	states := w.states()
	if states["claimed"] != 0 || states["unknown"] != 0 {
		t.Errorf("after a drain: %v, want nothing claimed or unknown", states)
	}
	if got := len(w.ledger()); got != states["paid"] {
		t.Errorf("%d charged at the gateway, %d paid in the database", got, states["paid"])
	}
	w.contauth(0, "run", "resume", id)
	w.requireChargedOnce(n)
}

// A wrong credential costs a handful of calls, not ten thousand.
func TestWrongKey_CostsAHandfulOfCalls(t *testing.T) {
	t.Parallel()
	const n = 10000
	w := newWorld(t, worldOptions{account: "max_in_flight: 64", sandboxArgs: []string{"--api-key", "another-key"}})
	w.importCharges(n, nil)
	id := w.plan()
	p := w.start("run", "start", id, "--yes")
	if code := p.wait(); code != exitRefused {
		t.Fatalf("exit %d, want %d\n%s%s", code, exitRefused, p.stdout.String(), p.stderr.String())
	}
	if got := w.states(); got["due"] != n {
		t.Errorf("states: %v, want all %d due", got, n)
	}
	var calls int
	if err := w.db.QueryRow(`SELECT count(*) FROM observations`).Scan(&calls); err != nil {
		t.Fatal(err)
	}
	if calls < 1 || calls > 5 {
		t.Errorf("%d calls to the gateway, want a handful", calls)
	}
	run := w.report(id)
	if run.Totals[0].Skipped.Count != n || run.State != "completed" {
		t.Errorf("report: %+v, want all skipped", run)
	}
}
