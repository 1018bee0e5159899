package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// payNVPUntilKilled pays from eight goroutines, kills the sandbox when enough
// payments are answered, and returns all answers by order.
func payNVPUntilKilled(t *testing.T, p *process, enough int) map[string][]byte {
	t.Helper()
	var (
		mu      sync.Mutex
		answers = make(map[string][]byte)
		clients sync.WaitGroup
	)
	for worker := range 8 {
		clients.Go(func() {
			for i := 0; ; i++ {
				order := fmt.Sprintf("o-%d-%d", worker, i)
				a, err := p.postNVP(context.Background(), newPay(order, "1", "MC1").encode())
				if err != nil {
					return // killed
				}
				mu.Lock()
				answers[order] = a.body
				if len(answers) == enough {
					p.kill()
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return answers
}

func TestServer_isWholeAfterKillInBothDialects(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	first.pay("adyens", newCharge("ref", "TK"))
	answers := payNVPUntilKilled(t, first, 300)
	second := startProcess(t, dir)

	inLedger := make(map[string]entry)
	for _, e := range second.ledger() {
		if _, twice := inLedger[e.IdempotencyKey]; twice {
			t.Errorf("key %s is in the ledger twice", e.IdempotencyKey)
		}
		inLedger[e.IdempotencyKey] = e
	}
	payments := second.stats().Payments
	if payments != int64(len(inLedger)) {
		t.Errorf("stats say %d payments, the ledger has %d", payments, len(inLedger))
	}
	for order, body := range answers {
		e, found := inLedger["TESTDEMO/"+order+"/1"]
		if !found {
			t.Errorf("the payment of order %s was answered and is not in the ledger", order)
		}
		if again := second.ask(newPay(order, "1", "MC1")); !bytes.Equal(again.body, body) {
			t.Errorf("order %s: answered %s before the kill, %s after it", order, body, again.body)
		}
		look := second.ask(asking("RETRIEVE_TRANSACTION", fields{"order.id": order, "transaction.id": "1"})).form(t)
		if look.gist() != "SUCCESS APPROVED" || e.PSPReference != order+"/1" || look["order.totalCapturedAmount"] != "19.99" {
			t.Errorf("order %s: a look-up gives %v", order, look)
		}
	}
	if stats := second.stats(); stats.Payments != payments || stats.SameKeyOtherBody != 0 || stats.DuplicateKeys < int64(len(answers)) {
		t.Errorf("after sending %d again, stats = %+v", len(answers), stats)
	}
}

// All that the gateway remembers is the same after a kill, told again in the same
// bytes: orders, tokens and sessions.
func TestServer_remembersWhatItTold(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	session := first.shopper("visa-1")
	token := first.store(t, "", "mastercard-1")
	first.ask(tokenize("MC7", first.shopper("amex-1")))
	first.ask(asking("DELETE_TOKEN", fields{"token": "MC8"}))
	first.ask(newPay("order", "1", token).with("apiOperation", "AUTHORIZE"))
	first.ask(change("CAPTURE", "order", "2", "10.00"))
	first.ask(change("REFUND", "order", "3", "2.00"))
	first.ask(void("order", "4", "3"))
	first.ask(newPay("order", "5", "MC1xDECLINED"))
	first.script("- {match: {every: 1}, do: stored_io_error, when: before, times: 1}\n- {match: {every: 1}, do: stored_io_error, when: after, times: 1}")
	first.ask(newPay("failed", "1", "MC1"))
	first.ask(newPay("failed", "2", "MC1"))
	questions := []fields{
		asking("RETRIEVE_ORDER", fields{"order.id": "order"}), asking("RETRIEVE_ORDER", fields{"order.id": "failed"}),
		asking("RETRIEVE_TOKEN", fields{"token": token}), asking("RETRIEVE_TOKEN", fields{"token": "MC7"}), asking("RETRIEVE_TOKEN", fields{"token": "MC8"}),
		asking("RETRIEVE_SESSION", fields{"session.id": session["session.id"]}),
		newPay("failed", "1", "MC1"), newPay("failed", "2", "MC1"), newPay("order", "1", token).with("apiOperation", "AUTHORIZE"),
	}
	for i := range 5 {
		questions = append(questions, asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": fmt.Sprint(i + 1)}))
	}
	told := func(p *process) (all []string) {
		for _, q := range questions {
			all = append(all, string(p.ask(q).body))
		}
		return all
	}
	before := told(first)
	ledger, changes := first.ledger(), first.lines("/sandbox/modifications")
	first.kill()
	second := startProcess(t, dir)
	if diff := cmp.Diff(before, told(second)); diff != "" {
		t.Errorf("what is told after the kill (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(ledger, second.ledger()); diff != "" {
		t.Errorf("ledger (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(changes, second.lines("/sandbox/modifications")); diff != "" {
		t.Errorf("modifications (-before +after):\n%s", diff)
	}
	second.expect(t, tokenize("", session), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	receipt := second.expect(t, newPay("new", "1", token), "SUCCESS APPROVED")["transaction.receipt"]
	for _, answer := range before { // numbers go on where they ended
		if strings.Contains(answer, receipt) {
			t.Errorf("receipt %s is there twice", receipt)
		}
	}
}

func TestNew_cutsOffATornTransaction(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	first.ask(newPay("order", "1", "MC1xDECLINED"))
	first.ask(newPay("order", "2", "MC1"))
	before := first.ledger()
	first.kill()
	whole, err := os.ReadFile(filepath.Join(dir, "ledger.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range []int{1, 7, 600, 1200} {
		t.Run(fmt.Sprintf("%d bytes are missing", missing), func(t *testing.T) {
			torn := t.TempDir()
			if err := os.WriteFile(filepath.Join(torn, "ledger.log"), whole[:len(whole)-missing], 0o600); err != nil {
				t.Fatal(err)
			}
			g := newGateway(t, sandbox.Options{DataDir: torn})
			if diff := cmp.Diff(before[:1], g.ledger()); diff != "" {
				t.Errorf("ledger (-want +got):\n%s", diff)
			}
			g.expect(t, asking("RETRIEVE_TRANSACTION", fields{"order.id": "order", "transaction.id": "2"}), "INVALID_REQUEST transaction.id INVALID")
			g.expect(t, newPay("order", "2", "MC1"), "SUCCESS APPROVED")
			if totals := g.totals("order"); totals[1] != "19.99" {
				t.Errorf("the order is %v", totals)
			}
		})
	}
}

// The ledger never has a whole number of a card, nor of a bank account.
func TestServer_keepsNoNumbers(t *testing.T) {
	dir := t.TempDir()
	g := newGateway(t, sandbox.Options{DataDir: dir})
	g.store(t, "", "mastercard-1")
	const ach = "sourceOfFunds.provided.ach."
	g.ask(asking("TOKENIZE", fields{
		"sourceOfFunds.type": "ACH", ach + "accountType": "CONSUMER_CHECKING", ach + "bankAccountHolder": "A. Name",
		ach + "bankAccountNumber": "9876543210", ach + "routingNumber": "026009593", ach + "secCode": "PPD",
	}))
	g.ask(newPay("o", "1", "MC1").with("sourceOfFunds.provided.card.number", "5123450000000008"))
	text, err := os.ReadFile(filepath.Join(dir, "ledger.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"5123450000000008", "9876543210", "hush"} {
		if bytes.Contains(text, []byte(number)) {
			t.Errorf("the ledger has %s", number)
		}
	}
}
