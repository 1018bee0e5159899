package postgres_test

import (
	"context"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// Where Postgres waits for a row's lock, it looks at that row as it is then, but
// at joined rows as they were. Whoever changes what a row refers to must not make
// it fall out of what waits.

// whileOpen runs change in a transaction, starts work, waits until it waits for a
// lock, and commits.
func (d *desk) whileOpen(change string, work func()) {
	d.t.Helper()
	tx := d.sql.MustBegin()
	defer tx.Rollback() // without effect after the commit
	tx.MustExec(change)
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	d.waitForWaiters(1)
	if err := tx.Commit(); err != nil {
		d.t.Fatal(err)
	}
	<-done
}

func TestPlan_WaitsForASubscriptionThatGetsAnotherToken(t *testing.T) {
	for _, preview := range []bool{false, true} {
		t.Run(map[bool]string{false: "plan", true: "preview"}[preview], func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.subscription("sub", "2026-01-31T09:00")
			d.token()
			var report scheduler.Report
			var err error
			d.whileOpen(`UPDATE subscriptions SET token_id = (SELECT max(id) FROM tokens)`, func() {
				report, err = d.db.PlanRun(context.Background(), scheduler.PlanRequest{Actor: "mia", Preview: preview})
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.Run.Items != 1 {
				t.Errorf("%d items planned, want the subscription's", report.Run.Items)
			}
		})
	}
}

func TestSettle_DoesNotHoldAChargeThatGotAnotherToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	dead, saved := d.charge(), d.charge()
	d.exec(`UPDATE charges SET token_id = (SELECT token_id FROM charges WHERE id = $1) WHERE id = $2`, dead, saved)
	d.token()
	claimed := d.claim(dead)
	refused := billing.Settle(&claimed, billing.Reply{Outcome: billing.OutcomeRefused, Class: billing.DeclineTokenInvalid, RefusalCode: "6"}, nil, nil)
	d.whileOpen(`UPDATE charges SET token_id = (SELECT max(id) FROM tokens) WHERE state = 'due'`, func() {
		if _, err := d.db.Settle(context.Background(), []*billing.Settlement{&refused}, nil); err != nil {
			t.Error(err)
		}
	})
	if got := d.stands(dead); got != "held token_invalid" {
		t.Errorf("the charge of the dead token is %q", got)
	}
	if got := d.stands(saved); got != "due" {
		t.Errorf("the charge with a new token is %q, want due", got)
	}
}

func TestClaimDue_WaitsForAnAccountThatGetsOtherSettings(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	request := d.claimRequest(d.run(d.charge()))
	d.db.Prepare(t)
	var result scheduler.ClaimResult
	var err error
	d.whileOpen(`
		WITH s AS (INSERT INTO account_settings (merchant_account, base_url, return_url)
		           SELECT merchant_account, base_url, 'https://other.invalid/' FROM account_settings RETURNING id)
		UPDATE merchant_accounts SET settings_id = (SELECT id FROM s)`, func() {
		result, err = d.db.ClaimDue(context.Background(), request)
	})
	if err != nil || len(result.Charges) != 1 || result.Charges[0].ReturnURL != "https://other.invalid/" {
		t.Errorf("claimed %+v, error %v", result.Charges, err)
	}
}

func TestSyncAccounts_WaitsForAnAccountThatGetsOtherSettings(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.claim(d.charge()) // an open attempt: its endpoint must not change
	var err error
	d.whileOpen(`
		WITH s AS (INSERT INTO account_settings (merchant_account, base_url, return_url)
		           SELECT merchant_account, base_url, 'https://other.invalid/' FROM account_settings RETURNING id)
		UPDATE merchant_accounts SET settings_id = (SELECT id FROM s)`, func() {
		err = d.db.SyncAccounts(context.Background(), []postgres.AccountSettings{{
			ID: "DemoEU", Gateway: "adyen", Environment: "test", BaseURL: "http://127.0.0.1:2/elsewhere",
			ReturnURL: "https://example.invalid/", MaxInFlight: 64,
		}})
	})
	if err == nil {
		t.Error("an account with an open attempt was sent elsewhere")
	}
}

func TestPauseSubscription_WaitsForAnotherToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.subscription("sub", "2026-01-31T09:00")
	d.token()
	var err error
	d.whileOpen(`UPDATE subscriptions SET token_id = (SELECT max(id) FROM tokens)`, func() {
		_, err = d.db.PauseSubscription(context.Background(), id, by("holiday"))
	})
	if err != nil {
		t.Error(err)
	}
}
