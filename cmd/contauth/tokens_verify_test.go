package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/contauth/contauth/tokens"
)

// verificationsDone counts the tokens of a job that were asked about.
func (w *world) verificationsDone() int {
	w.t.Helper()
	var done int
	if err := w.db.QueryRow(`SELECT count(*) FROM verification_items WHERE done_at IS NOT NULL`).Scan(&done); err != nil {
		w.t.Fatal(err)
	}
	return done
}

// awaitVerifications waits until some tokens of a job were asked about.
func (w *world) awaitVerifications(n int) {
	w.t.Helper()
	for end := time.Now().Add(patience); w.verificationsDone() < n; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d were never asked about", n)
		}
	}
}

// A job can be cut short by --limit, by Ctrl-C and by a crash, and goes on where it
// stopped.
func TestTokens_verifyManyGoesOn(t *testing.T) {
	const n = 160
	w := newTokenWorld(t, "")
	w.importCharges(n, nil)
	says(t, w.contauth(0, "tokens", "verify", "--unverified", "--preview", "--strategy", "ACQUIRER", "--currency", "EUR"), "160 tokens by ACQUIRER", "DemoMC", "scheme see and count")
	if w.verificationsDone() != 0 || len(w.contauth(0, "tokens", "sessions")) == 0 {
		t.Error("a preview asks")
	}

	says(t, w.contauth(0, "tokens", "verify", "--unverified", "--rate", "500", "--limit", "60", "--reason", "before the weekend"), "job 1: 60 of 160 tokens")

	p := w.start("tokens", "verify", "--job", "1", "--rate", "40")
	w.awaitVerifications(70)
	p.signal(os.Interrupt)
	if code := p.wait(); code != exitFailure {
		t.Errorf("Ctrl-C: exit %d", code)
	}
	says(t, p.stderr.String(), "nothing is lost: contauth tokens verify --job 1 goes on")

	p = w.start("tokens", "verify", "--job", "1", "--rate", "40")
	w.awaitVerifications(90)
	p.kill()
	var job verificationJobJSON
	w.decode(w.contauth(0, "tokens", "verify", "--job", "1", "--rate", "200", "--json"), &job)
	if job.Done != n || job.Results[tokens.VerificationPassedBasic] != n {
		t.Errorf("job %+v, want %d passed", job, n)
	}
	w.contauth(exitNothingDue, "tokens", "verify", "--unverified")
	says(t, w.contauth(0, "tokens", "show", "1"), "BASIC: the card has a number of the right format")
}

// What a job finds decides: a dead card is known, and its charge held, before the
// money is due.
func TestTokens_verifyManyFinds(t *testing.T) {
	w := newTokenWorld(t, "verification_currency: EUR, rate_per_second: 50")
	good, expired, declined := w.addToken("shopper-1", "visa-1"), w.addToken("shopper-2", "visa-2"), w.addToken("shopper-3", "mastercard-1")
	w.gatewaySays(expired.Token, `{"expiry": "04/27"}`)
	w.gatewaySays(declined.Token, `{"expiry": "05/39"}`)
	for i, token := range []tokenJSON{good, expired, declined} {
		w.charge(fmt.Sprintf("due-%d", i), token)
	}
	said := w.contauth(exitDeclined, "tokens", "verify", "--due-within", "7d", "--strategy", "ACQUIRER")
	says(t, said, "3 of 3 tokens", "was verified by its issuer", "has expired", "declined by its issuer", "1 token is invalid now. 1 charge is held.")
	for i, want := range []string{"due", "held token_invalid", "due"} {
		if got := w.stateOf(fmt.Sprintf("due-%d", i)); got != want {
			t.Errorf("charge %d is %s, want %s", i, got, want)
		}
	}
	w.contauth(0, "pause", "--all", "--reason", "test")
	says(t, w.refuses("tokens", "verify", fmt.Sprint(good.ID)), "paused", "contauth unpause")
	says(t, w.refuses("tokens", "verify", "--merchant-account", "DemoMC"), "job 2 stopped, 2 tokens are left", "paused")
}

// A gateway out of reach ends a job, and costs no token its turn.
func TestTokens_verifyManyWithoutGateway(t *testing.T) {
	w := newTokenWorld(t, "")
	w.importCharges(30, nil)
	w.sandbox.kill()
	p := w.start("tokens", "verify", "--unverified", "--rate", "500")
	if code := p.wait(); code != exitFailure {
		t.Errorf("exit %d", code)
	}
	says(t, p.stderr.String(), "job 1 stopped, 30 tokens are left", "in a row", "contauth tokens verify --job 1 goes on")
	if n := w.verificationsDone(); n != 0 {
		t.Errorf("%d tokens lost their turn", n)
	}
}
