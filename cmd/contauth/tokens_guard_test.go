package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// A copy of a database asks no gateway for a live account, and changes nothing first.
func TestTokens_liveAccountNeedsBinding(t *testing.T) {
	d := newTokenDesk(t)
	text, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	live := string(text) + `  - {id: LiveMC, gateway: mastercard, environment: live, merchant_id: SHOP, base_url: "https://127.0.0.1:1/api/nvp/version/100", api_password: "password"}` + "\n"
	if err := os.WriteFile(d.file, []byte(live), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("tokens list")
	d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference, state, cause) VALUES
	        ('LiveMC', '9000000000000005', 'shopper-5', 'valid', ''), ('LiveMC', '9000000000000006', 'shopper-6', 'invalid', 'INVALID');
	        INSERT INTO charges (token_id, amount_minor, currency, merchant_account, reference, model, due_at, next_attempt_at, decided_by)
	        SELECT id, 500, 'EUR', 'LiveMC', 'live-' || id, 'UnscheduledCardOnFile', '2026-01-31T09:00:00Z', '2026-01-31T09:00:00Z', 'mia' FROM tokens WHERE merchant_account = 'LiveMC'`)
	before := d.stored()
	for _, line := range []string{
		"tokens add --merchant-account LiveMC --shopper shopper-9 --session " + testSession,
		"tokens verify 9000000000000005",
		"tokens verify --merchant-account LiveMC",
		"tokens reactivate 9000000000000006 --reason test --session " + testSession,
		"tokens disable 9000000000000005 --reason test",
		"tokens sync 9000000000000005",
		"tokens sync --merchant-account LiveMC",
		"tokens forget-shopper shopper-5 --reason test",
	} {
		_, stderr, code := d.types(line)
		if code != exitRefused || !strings.Contains(stderr, "contauth doctor --bind") {
			t.Errorf("contauth %s: exit code %d, %s", line, code, stderr)
		}
		if after := d.stored(); after != before {
			t.Errorf("contauth %s: stored %s, before it was %s", line, after, before)
		}
	}

	s := d.session()
	ctx := context.Background()
	poller, err := s.newPoller(ctx, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ids, err := poller.Store.TokensToRead(ctx, []string{"LiveMC"}, pollWithin, pollFresh, 10)
	if err != nil || len(ids) > 0 {
		t.Errorf("a daemon would read %d tokens of a live account, %v", len(ids), err)
	}
	d.must("doctor --bind --reason test")
	if ids, err = poller.Store.TokensToRead(ctx, []string{"LiveMC"}, pollWithin, pollFresh, 10); err != nil || len(ids) == 0 {
		t.Errorf("bound, a daemon would read %d tokens, %v", len(ids), err)
	}
}

// Two accounts at one address and with one password are still two.
func TestLiveKey_namesTheMerchant(t *testing.T) {
	d := newTokenDesk(t)
	s := d.session()
	account, _ := s.account("DemoMC")
	other := account
	other.MerchantID = "TESTOTHER"
	if liveKey(account).Reveal() == liveKey(other).Reveal() {
		t.Error("another merchant has the same credential")
	}
	other = account
	other.ClientCert = "certificate.pem"
	if liveKey(account).Reveal() == liveKey(other).Reveal() {
		t.Error("a certificate in place of the password is the same credential")
	}
}
