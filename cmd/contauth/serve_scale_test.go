//go:build scale

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/bench"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/secret"
)

// TestScaleServe_Idle starts a daemon on a million subscriptions of which none is
// due, and watches how soon it is ready and what it uses while it waits.
func TestScaleServe_Idle(t *testing.T) {
	const subscriptions, soon, share, watched = 1_000_000, 2 * time.Second, 0.01, 20 * time.Second
	w := newWorld(t, worldOptions{replays: "[5s, 30s, 2m]"}) // with the usual waits
	w.contauth(0, "subscriptions", "list")                   // stores the merchant account
	book := bench.Book{DB: w.db, Name: "idle", Accounts: []string{"DemoEU"}}
	if err := book.AddSubscriptions(t.Context(), subscriptions); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(`UPDATE subscriptions SET next_charge_at = next_charge_at + interval '20 days'`); err != nil {
		t.Fatal(err)
	}
	if err := book.Vacuum(t.Context()); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	daemon := w.start("serve", "--listen", "127.0.0.1:0")
	daemon.awaitError("listening")
	ready := "http://" + submatch(listening, daemon.stderr.String()) + "/readyz"
	await(t, "the daemon to be ready", func() bool {
		resp, err := http.Get(ready)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	took := time.Since(started)
	t.Logf("ready after %s", took.Round(time.Millisecond))
	if took > soon {
		t.Errorf("it took %s to be ready, want %s", took, soon)
	}
	time.Sleep(2 * time.Second) // what starting cost is not waiting
	before := processorTime(t, daemon.cmd.Process.Pid)
	time.Sleep(watched)
	used := processorTime(t, daemon.cmd.Process.Pid) - before
	t.Logf("%.2f %% of a core in %s", 100*used.Seconds()/watched.Seconds(), watched)
	if used.Seconds()/watched.Seconds() > share {
		t.Errorf("an idle daemon used %s in %s", used, watched)
	}
}

// processorTime is what a process has used so far.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	used, err := bench.ProcessTree{Proc: os.DirFS("/proc"), PID: pid}.CPU()
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// TestScaleServe_Webhooks delivers 500 events a second to a daemon that applies
// them, and looks at how soon they are acknowledged.
func TestScaleServe_Webhooks(t *testing.T) {
	const perSecond, seconds, most = 500, 20, 200 * time.Millisecond
	w, daemon := newWebhookWorld(t, "")
	const n = perSecond * seconds
	w.importCharges(n, nil)
	w.startRun(w.plan())
	await(t, "every charge to be paid", func() bool { return w.states()["paid"] == n })
	w.delivered()

	key, err := adyen.NewWebhookKey(secret.New(webhookKeyText))
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + submatch(listening, daemon.stderr.String()) + "/webhooks/adyen"
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	took := make([]time.Duration, n)
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	var sending sync.WaitGroup
	for i := range n {
		<-ticker.C
		sending.Go(func() {
			text := fmt.Sprintf("REFUND%010d::DemoEU:req-%d~1:100:EUR:REFUND:true", i, i)
			body := fmt.Sprintf(`{"live":"false","notificationItems":[{"NotificationRequestItem":{"pspReference":"REFUND%010d","merchantAccountCode":"DemoEU",
				"merchantReference":"req-%d~1","amount":{"value":100,"currency":"EUR"},"eventCode":"REFUND","success":"true","additionalData":{"hmacSignature":%q}}}]}`,
				i, i, key.Sign([]byte(text)))
			start := time.Now()
			if err := deliver(t.Context(), client, address, body); err != nil {
				t.Errorf("event %d: %v", i, err)
			}
			took[i] = time.Since(start)
		})
	}
	sending.Wait()
	slices.Sort(took)
	t.Logf("acknowledged after: median %s, p99 %s, at most %s", took[n/2], took[n*99/100], took[n-1])
	if p99 := took[n*99/100]; p99 > most {
		t.Errorf("p99 %s, want at most %s", p99, most)
	}
	w.delivered()
	if got := w.count(`SELECT count(*) FROM charge_reversals WHERE refunded_minor = 100`); got != n {
		t.Errorf("%d refunds on record, want %d", got, n)
	}
}

func deliver(ctx context.Context, client *http.Client, address, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth("adyen", "open sesame")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}
