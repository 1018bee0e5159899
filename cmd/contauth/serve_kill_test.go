package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve starts a daemon that listens nowhere.
func (w *world) serve() *process {
	w.t.Helper()
	p := w.start("serve", "--listen", "")
	p.awaitServing()
	return p
}

// awaitServing waits until a daemon says that it serves.
func (p *process) awaitServing() {
	p.t.Helper()
	p.awaitError("serving")
}

// awaitError waits until a part of standard error is there.
func (p *process) awaitError(part string) {
	p.t.Helper()
	await(p.t, fmt.Sprintf("%v to say %q", p.cmd.Args[1:], part), func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("%v ended without saying %q:\n%s", p.cmd.Args[1:], part, p.stderr.String())
		default:
		}
		return strings.Contains(p.stderr.String(), part)
	})
}

// await polls until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Millisecond) // a poll, not a wait for time to pass
	}
}

// count reads one number from the database.
func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// importDueInTurn imports n charges that fall due one after the other, gap apart,
// from a moment of business time on.
func (w *world) importDueInTurn(n int, from time.Time, gap time.Duration) {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("reference,merchant_account,shopper_reference,token,amount_minor,currency,due_at,description\n")
	for i := range n {
		fmt.Fprintf(&b, "req-%d,DemoEU,shopper-%d,TK%06d,%d,EUR,%s,\n", i, i, i, 1000+i, from.Add(time.Duration(i)*gap).UTC().Format(time.RFC3339))
	}
	w.contauth(0, "import", "charges", w.write("charges.csv", b.String()))
}

// Three daemons share a schedule that fires every second, and one of them is
// killed every few seconds: every fire is accounted for, no charge is made
// twice, and none is missed.
func TestServe_ThreeDaemonsUnderKills(t *testing.T) {
	t.Parallel()
	fires, killEvery := 12, 3*time.Second
	if torture() {
		fires = 200
	}
	n := 4 * fires
	w := newWorld(t, worldOptions{account: "max_in_flight: 8", sandboxArgs: []string{"--latency", "20ms"}})
	start := time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
	w.importDueInTurn(n, start.Add(time.Second), 250*time.Millisecond)
	daemons := []*process{w.serve(), w.serve(), w.serve()}
	w.contauth(0, "clock", "set", start.Format(time.RFC3339))
	w.contauth(0, "schedule", "add", "--name", "every-second", "--cron", "@every 1s", "--zone", "UTC", "--model", "UnscheduledCardOnFile", "--catch-up", "all")

	fired := func() int {
		return w.count(`SELECT coalesce(sum(f.fires), 0) FROM fires f JOIN schedules s ON s.id = f.schedule_id WHERE s.name = 'every-second'`)
	}
	last := time.Now()
	await(t, fmt.Sprintf("%d fires", fires), func() bool {
		if time.Since(last) > killEvery {
			last = time.Now()
			i := rand.IntN(len(daemons))
			daemons[i].kill()
			daemons[i] = w.serve()
		}
		return fired() >= fires
	})
	// What falls due after the last wanted fire is taken by later ones.
	await(t, "every charge to be paid", func() bool { return w.states()["paid"] == n })
	w.contauth(0, "schedule", "pause", "every-second", "--reason", "the test is over")
	for _, d := range daemons {
		d.signal(syscall.SIGTERM)
		if code := d.wait(); code != exitDone {
			t.Errorf("a daemon ended with exit %d:\n%s", code, d.stderr.String())
		}
	}
	var seconds int
	if err := w.db.QueryRow(`SELECT extract(epoch FROM fired_until - created_at)::integer FROM schedules WHERE name = 'every-second'`).Scan(&seconds); err != nil {
		t.Fatal(err)
	}
	if got := fired(); got != seconds {
		t.Errorf("%d fires on record in %d seconds", got, seconds)
	}
	if twice := w.count(`SELECT count(*) FROM (SELECT FROM runs WHERE schedule_id IS NOT NULL GROUP BY schedule_id, fire_at HAVING count(*) > 1) r`); twice != 0 {
		t.Errorf("%d fires have more than one run", twice)
	}
	if open := w.count(`SELECT count(*) FROM runs WHERE state NOT IN ('completed', 'aborted')`); open != 0 {
		t.Errorf("%d runs are unfinished", open)
	}
	w.requireChargedOnce(n)
}

// A daemon that is stopped past its lease and goes on does no harm: its charges
// were resolved by another, under the same keys.
func TestServe_StoppedPastItsLease(t *testing.T) {
	t.Parallel()
	const n = 60
	w := newWorld(t, worldOptions{account: "max_in_flight: 4", lease: "4s", sandboxArgs: []string{"--latency", "50ms"}})
	w.importCharges(n, nil)
	first := w.serve()
	id := w.plan()
	trap := w.proxy.set(claimStatement, afterCommit, 0)
	w.contauth(0, "clock") // the database answers
	w.startRun(id)
	awaitTrap(t, trap, first)
	first.signal(syscall.SIGSTOP)
	trap.open()
	second := w.serve()
	await(t, "another daemon to charge everything", func() bool { return w.states()["paid"] == n })
	first.signal(syscall.SIGCONT)
	for _, p := range []*process{first, second} {
		p.signal(syscall.SIGTERM)
		p.wait()
	}
	w.requireChargedOnce(n)
}

// startRun lets the daemons have a planned run.
func (w *world) startRun(id string) {
	w.t.Helper()
	if _, err := w.db.Exec(`UPDATE runs SET state = 'running', started_at = now(), decided_by = 'test' WHERE id = $1`, id); err != nil {
		w.t.Fatal(err)
	}
}

// Three daemons at five requests a second keep that rate together, and a pause,
// a hold, a cancel and an abort are in force within two seconds for what is not
// yet sent.
func TestServe_ThreeDaemonsKeepTheRateAndObey(t *testing.T) {
	t.Parallel()
	const n, rate = 400, 5
	w := newWorld(t, worldOptions{account: "max_in_flight: 8, rate_per_second: 5"})
	w.importCharges(n, nil)
	daemons := []*process{w.serve(), w.serve(), w.serve()}
	id := w.plan()
	w.startRun(id)
	await(t, "the first payments", func() bool { return w.stats().Payments >= 10 })

	// Charges far from their turn, and charges that a daemon has in hand.
	asked := map[string]time.Time{}
	stop := func(verb, reference string) {
		asked[reference] = time.Now()
		p := w.start("charges", verb, reference, "--reason", "not this one")
		if code := p.wait(); code != 0 && !strings.Contains(p.stderr.String(), "is paid") {
			t.Errorf("%s of %s: exit %d\n%s", verb, reference, code, p.stderr.String())
		}
	}
	stop("hold", "req-399")
	stop("cancel", "req-398")
	const inHand = `SELECT reference FROM charges WHERE state = 'claimed' ORDER BY id DESC LIMIT 1`
	for _, verb := range []string{"hold", "cancel"} {
		var reference string
		await(t, "a charge in hand", func() bool { return w.db.QueryRow(inHand).Scan(&reference) == nil })
		stop(verb, reference)
	}
	w.contauth(0, "pause", "--merchant-account", "DemoEU", "--reason", "something is wrong")
	paused := time.Now()
	w.awaitStillness()
	before, after := w.paidAround(paused.Add(inForce))
	if len(after) > 0 {
		t.Errorf("%d payments later than %s after the pause, the first by %s", len(after), inForce, after[0].Sub(paused))
	}
	done := int64(len(before))
	w.contauth(0, "unpause", "--merchant-account", "DemoEU", "--reason", "it was nothing")

	second := w.plan()
	w.startRun(second)
	await(t, "payments to go on", func() bool { return w.stats().Payments > done+5 })
	w.contauth(0, "run", "abort", second, "--reason", "wrong list")
	aborted := time.Now()
	w.awaitStillness()
	if _, after := w.paidAround(aborted.Add(inForce)); len(after) > 0 {
		t.Errorf("%d payments later than %s after the abort, the first by %s", len(after), inForce, after[0].Sub(aborted))
	}
	for _, p := range daemons {
		p.signal(syscall.SIGTERM)
		p.wait()
	}
	// That no second holds more departures is tested to the nanosecond where they
	// are reserved and where they are made (TestReserve, TestLane). Here the gateway
	// looks at its own clock, and a busy machine may bring two requests nearer to
	// each other on their way.
	const onTheWay = 100 * time.Millisecond
	if most := mostWithin(w.paidAt(), time.Second-onTheWay); most > rate {
		t.Errorf("%d payments within a second, the limit is %d", most, rate)
	}
	if most := mostWithin(w.paidAt(), 5*time.Second); most > 5*rate {
		t.Errorf("%d payments within five seconds, the limit is %d a second", most, rate)
	}
	if got := w.states(); got["claimed"]+got["unknown"] != 0 || got["held"] == 0 || got["cancelled"] == 0 {
		t.Errorf("states after all daemons stopped: %v", got)
	}
	for _, e := range w.ledger() {
		reference := strings.TrimSuffix(e.Reference, "~1")
		if at, ok := asked[reference]; ok && e.At.After(at.Add(inForce)) {
			t.Errorf("%s was sent %s after it was to be stopped", e.Reference, e.At.Sub(at))
		}
		if w.count(`SELECT count(*) FROM charges WHERE reference = $1 AND state IN ('held', 'cancelled')`, reference) > 0 {
			t.Errorf("%s was held or cancelled, and sent", e.Reference)
		}
	}
	w.requireSound()
}

// inForce is the promise: a stop holds for whatever is not sent by then.
const inForce = 2 * time.Second

// awaitStillness waits until no payment has been made for longer than a stop may
// take to be in force.
func (w *world) awaitStillness() {
	w.t.Helper()
	var last int64 = -1
	since := time.Now()
	await(w.t, "payments to stop", func() bool {
		if now := w.stats().Payments; now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > inForce+time.Second
	})
}

// paidAround splits the moments of all payments at one of them.
func (w *world) paidAround(moment time.Time) (before, after []time.Time) {
	w.t.Helper()
	all := w.paidAt()
	i, _ := slices.BinarySearchFunc(all, moment, time.Time.Compare)
	return all[:i], all[i:]
}

// mostWithin is the largest number of moments within a window.
func mostWithin(times []time.Time, window time.Duration) int {
	most, from := 0, 0
	for i := range times {
		for times[i].Sub(times[from]) >= window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// While a gateway is out of reach a daemon tries again, less and less often, and
// goes on by itself when it is back; past the limit the rest is held for a person.
func TestServe_Outage(t *testing.T) {
	t.Parallel()
	const n = 30
	w := newWorld(t, worldOptions{})
	w.importCharges(n, nil)
	w.call("PUT", "/sandbox/script", "- {match: {every: 1}, when: before, do: status, code: 503}\n")
	daemon := w.serve()
	w.startRun(w.plan())
	daemon.awaitError("stepping back")
	w.call("PUT", "/sandbox/script", "[]\n")
	await(t, "every charge to be paid", func() bool { return w.states()["paid"] == n })
	daemon.signal(syscall.SIGTERM)
	daemon.wait()
	w.requireChargedOnce(n)
}

func TestServe_OutagePastItsLimit(t *testing.T) {
	t.Parallel()
	const n = 30
	w := newWorld(t, worldOptions{})
	config := w.read("contauth.yaml")
	w.write("contauth.yaml", config+"guards: {outage_limit: 1s}\n")
	w.importCharges(n, nil)
	w.call("PUT", "/sandbox/script", "- {match: {every: 1}, when: before, do: status, code: 503}\n")
	daemon := w.serve()
	id := w.plan()
	w.startRun(id)
	await(t, "the rest to be held", func() bool { return w.states()["held"] == n })
	await(t, "the run to end", func() bool { return w.report(id).State == "completed" })
	if run := w.report(id); run.Totals[0].Held.Count != n {
		t.Errorf("the report: %+v", run.Totals[0])
	}
	daemon.signal(syscall.SIGTERM)
	daemon.wait()
	if got := w.stats().Payments; got != 0 {
		t.Errorf("%d payments were made", got)
	}
	w.requireSound()
}

// The first charges of a run go ahead; when too many of them are declined the run
// is paused, and a person who resumes it lets the rest follow.
func TestServe_CanaryPausesTheRun(t *testing.T) {
	t.Parallel()
	const n, canary = 40, 6
	w := newWorld(t, worldOptions{})
	w.write("contauth.yaml", w.read("contauth.yaml")+fmt.Sprintf("guards: {canary_items: %d, max_decline_rate: 0.4}\n", canary))
	w.importCharges(n, func(i int) string {
		if i < canary && i%2 == 0 {
			return ".refuse12"
		}
		return ""
	})
	daemons := []*process{w.serve(), w.serve()}
	id := w.plan()
	w.startRun(id)
	await(t, "the run to be paused", func() bool { return w.report(id).State == "paused" })
	if got := w.stats().Payments; got != canary {
		t.Errorf("%d charges went ahead, want %d", got, canary)
	}
	if run := w.report(id); !strings.Contains(run.Reason, "3 of the first 6 answers were declined") {
		t.Errorf("the reason: %q", run.Reason)
	}
	for _, d := range daemons {
		d.signal(syscall.SIGTERM)
		d.wait()
	}
	w.contauth(exitDeclined, "run", "resume", id)
	if got := w.states()["paid"]; got != n-canary/2 {
		t.Errorf("%d are paid after the resume, want %d", got, n-canary/2)
	}
	w.requireSound()
}

// Each complete day is told once to a dead-man's switch, whatever the number of daemons.
func TestServe_TellsOfEachCompleteDay(t *testing.T) {
	t.Parallel()
	told := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.URL.Path }))
	t.Cleanup(server.Close)
	w := newWorld(t, worldOptions{})
	w.write("contauth.yaml", w.read("contauth.yaml")+fmt.Sprintf("guards: {dead_man_url: %q}\n", server.URL+"/alive"))
	w.contauth(0, "clock") // stores the merchant account
	if _, err := w.db.Exec(`UPDATE instance SET created_at = now() - interval '4 days'`); err != nil {
		t.Fatal(err)
	}
	w.serve()
	w.serve()
	days := w.count(`SELECT count(*) FROM generate_series((now() - interval '4 days')::date, (now() - interval '36 hours')::date, interval '1 day')`)
	await(t, "every day to be complete", func() bool { return w.count(`SELECT count(*) FROM days WHERE complete`) >= days })
	await(t, "every day to be told", func() bool { return len(told) >= days })
	if len(told) != days {
		t.Errorf("%d days were told, want %d", len(told), days)
	}
}

// A daemon goes on when the next release's migration has added to the schema, and
// leaves attempts alone that another wire version began; a command of this release
// that starts on the newer schema refuses.
func TestServe_GoesOnAcrossAnAdditiveMigration(t *testing.T) {
	t.Parallel()
	const n = 20
	w := newWorld(t, worldOptions{})
	w.importCharges(n, nil)
	id := w.plan()
	daemon := w.serve()
	for _, step := range []string{
		`ALTER TABLE charges ADD COLUMN of_the_next_release text NOT NULL DEFAULT ''`,
		`CREATE TABLE things_of_the_next_release (id bigint PRIMARY KEY)`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`,
		// One attempt of the next release's is open, and its time has come.
		`UPDATE charges SET state = 'unknown', reason = 'answer_missing', attempt_started_at = now(), wire_version = 2, resolve_at = now(),
		        account_settings_id = (SELECT settings_id FROM merchant_accounts), run_id = (SELECT max(id) FROM runs), decided_by = 'test'
		  WHERE reference = 'req-0'`,
	} {
		if _, err := w.db.Exec(step); err != nil {
			t.Fatal(err)
		}
	}
	w.startRun(id)
	await(t, "the others to be paid", func() bool { return w.states()["paid"] == n-1 })
	await(t, "the run to end", func() bool { return w.count(`SELECT count(*) FROM runs WHERE state = 'completed'`) == 1 })
	if got := w.states()["unknown"]; got != 1 {
		t.Errorf("states %v: the attempt of another wire version was touched", w.states())
	}
	p := w.start("run", "list")
	if code := p.wait(); code != exitFailure || !strings.Contains(p.stderr.String(), "9999") {
		t.Errorf("a command of this release on the newer schema: exit %d\n%s", code, p.stderr.String())
	}
	daemon.signal(syscall.SIGTERM)
	if code := daemon.wait(); code != exitDone {
		t.Errorf("the daemon ended with exit %d:\n%s", code, daemon.stderr.String())
	}
}
