package main

import "testing"

// The connection to Postgres breaks at a moment and comes back at once; the
// process lives. An unanswered COMMIT says neither yes nor no: the process
// reads back and goes on, without anyone's help.
func TestCut_UnansweredStatements(t *testing.T) {
	tests := []struct {
		name      string
		statement string
		moment    pgMoment
	}{
		{"before the claim", claimStatement, beforeStatement},
		{"claim sent, its commit not done", claimStatement, beforeCommit},
		{"claim committed, its answer lost", claimStatement, afterCommit},
		{"before the record", settleStatement, beforeStatement},
		{"record committed, its answer lost", settleStatement, afterStatement},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const n = 30
			w := newWorld(t, worldOptions{lease: "10s", sandboxArgs: []string{"--latency", "5ms"}})
			w.importCharges(n, nil)
			id := w.plan()
			trap := w.proxy.set(tt.statement, tt.moment, 1)
			p := w.start("run", "start", id, "--yes")
			awaitTrap(t, trap, p)
			w.proxy.cut()
			trap.open()
			if code := p.wait(); code != exitDone {
				t.Fatalf("exit %d, want %d\n%s%s", code, exitDone, p.stdout.String(), p.stderr.String())
			}
			w.requireChargedOnce(n)
			var known int
			if err := w.db.QueryRow(`SELECT count(*) FROM alerts`).Scan(&known); err != nil || known != 0 {
				t.Errorf("%d alerts (%v), want none", known, err)
			}
		})
	}
}
