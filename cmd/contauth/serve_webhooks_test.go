package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// webhookKeyText signs the sandbox's webhooks in these tests.
const webhookKeyText = "E6B7AD574C7FCED96DD0B0074877DD045A7D494497BB71CEBA61C1CA46412D18"

// newWebhookWorld is a world whose sandbox sends signed webhooks to a daemon.
// Unknown attempts are not sent again in time: only a webhook can settle them.
func newWebhookWorld(t *testing.T, account string, sandboxArgs ...string) (*world, *process) {
	t.Helper()
	dir := t.TempDir()
	key, password := &world{t: t, dir: dir}, &world{t: t, dir: dir}
	keyFile, passwordFile := key.write("webhook.key", webhookKeyText), password.write("webhook.password", "open sesame")
	w := newWorld(t, worldOptions{
		account: fmt.Sprintf(`max_in_flight: 8, webhook_user: adyen, webhook_password: "file:%s", webhook_keys: ["file:%s"]%s`, passwordFile, keyFile, account),
		replays: "[1h]",
		sandboxArgs: append([]string{
			"--webhook-url", "http://127.0.0.1:1/", "--webhook-key", "file:" + keyFile, "--webhook-user", "adyen",
			"--webhook-password", "file:" + passwordFile, "--webhook-retry", "50ms",
		}, sandboxArgs...),
	})
	daemon := w.start("serve", "--listen", "127.0.0.1:0")
	daemon.awaitServing()
	w.call(http.MethodPut, "/sandbox/webhooks/url", fmt.Sprintf(`{"url":"http://%s/webhooks/adyen"}`, submatch(listening, daemon.stderr.String())))
	return w, daemon
}

// webhookCounts are those of GET /sandbox/webhooks.
type webhookCounts struct {
	Made           int `json:"made"`
	Accepted       int `json:"accepted"`
	Waiting        int `json:"waiting"`
	Abandoned      int `json:"abandoned"`
	Forged         int `json:"forged"`
	ForgedAccepted int `json:"forged_accepted"`
}

func (w *world) webhooks() webhookCounts {
	w.t.Helper()
	var c webhookCounts
	w.decode(string(w.call(http.MethodGet, "/sandbox/webhooks", "")), &c)
	return c
}

// delivered waits until the sandbox has no webhook left to send and no event is
// left to apply.
func (w *world) delivered() {
	w.t.Helper()
	await(w.t, "webhooks to be delivered", func() bool { return w.webhooks().Waiting == 0 })
	await(w.t, "events to be applied", func() bool { return w.count(`SELECT count(*) FROM inbox WHERE state = 'stored'`) == 0 })
}

// Webhooks settle what the API answer left unknown, whether they come before it,
// late, many times or out of order; forgeries among them change nothing.
func TestServe_WebhooksSettleWhatTheAnswerLost(t *testing.T) {
	t.Parallel()
	// The long form goes in parts, so that the sandbox's queue of webhooks never fills.
	n, part, copies, forged := 60, 60, "3", "0.5"
	if torture() {
		n, part, copies, forged = 10_000, 2_000, "10", "1"
	}
	// Every third answer is lost after the payment was made.
	script := (&world{t: t, dir: t.TempDir()}).write("script.yaml", "- {match: {every: 3}, when: after, do: reset}\n")
	w, daemon := newWebhookWorld(t, "", "--script", script, "--webhook-duplicate", copies, "--webhook-duplicate-within", "500ms",
		"--webhook-reorder", "7", "--webhook-delay-up-to", "300ms", "--webhook-forge", forged)
	for done := part; done <= n; done += part {
		w.importCharges(done, nil)
		w.startRun(w.plan())
		await(t, "every charge to be paid", func() bool { return w.states()["paid"] == done })
		w.delivered()
	}
	if lost := w.count(`SELECT count(*) FROM observations WHERE outcome = 'unknown'`); lost < n/4 {
		t.Errorf("only %d answers were lost", lost)
	}
	if by := w.count(`SELECT count(*) FROM observations WHERE source = 'webhook' AND outcome = 'authorised'`); by < n/4 {
		t.Errorf("only %d charges were settled by webhooks", by)
	}
	counts := w.webhooks()
	if counts.Made != n || counts.Abandoned != 0 {
		t.Errorf("the sandbox did not tell of every payment: %+v", counts)
	}
	if counts.Forged == 0 || counts.ForgedAccepted != 0 {
		t.Errorf("forgeries: %+v", counts)
	}
	if got := w.count(`SELECT count(*) FROM inbox WHERE state <> 'applied'`); got != 0 {
		t.Errorf("%d events are not applied:\n%s", got, w.contauth(0, "webhooks", "list", "--limit", "5"))
	}
	daemon.signal(syscall.SIGTERM)
	if code := daemon.wait(); code != exitDone {
		t.Errorf("the daemon ended with exit %d", code)
	}
	w.requireChargedOnce(n)
}

// What is done to a payment later reaches its charge: refunds and their failures,
// disputes and their reversal.
func TestServe_WebhooksOfModifications(t *testing.T) {
	t.Parallel()
	w, _ := newWebhookWorld(t, "")
	w.importCharges(4, nil)
	w.startRun(w.plan())
	await(t, "every charge to be paid", func() bool { return w.states()["paid"] == 4 })
	w.delivered()
	send := func(code string, charge int, minor int, more string) {
		t.Helper()
		w.call(http.MethodPost, "/sandbox/webhooks", fmt.Sprintf(`{"code":%q,"reference":"req-%d~1","amount_minor":%d%s}`, code, charge, minor, more))
	}
	send("REFUND", 0, 400, "")
	send("REFUND", 1, 500, "")
	send("REFUND_FAILED", 1, 500, "")
	send("NOTIFICATION_OF_CHARGEBACK", 2, 1002, "")
	send("CHARGEBACK", 2, 1002, "")
	send("CAPTURE_FAILED", 3, 1003, "")
	w.delivered()
	rows := []struct {
		charge             string
		refunded, disputed int
	}{{"req-0", 400, 0}, {"req-1", 0, 0}, {"req-2", 0, 1002}}
	for _, r := range rows {
		got := w.count(`SELECT refunded_minor * 1000000 + disputed_minor FROM charge_reversals r JOIN charges c ON c.id = r.charge_id WHERE c.reference = $1`, r.charge)
		if want := r.refunded*1_000_000 + r.disputed; got != want {
			t.Errorf("%s: refunded and disputed %d, want %d", r.charge, got, want)
		}
	}
	if got := w.count(`SELECT count(*) FROM alerts WHERE kind = 'capture_failed'`); got != 1 {
		t.Errorf("%d alerts of a failed capture", got)
	}
	out := w.contauth(0, "webhooks", "list", "--code", "CHARGEBACK", "--json")
	if !strings.Contains(out, `"verdict":"reverses"`) {
		t.Errorf("webhooks list: %s", out)
	}
	if got := w.states(); got["paid"] != 4 {
		t.Errorf("states %v", got)
	}
	w.requireSound()
}
