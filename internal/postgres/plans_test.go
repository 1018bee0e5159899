package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// Claiming, settling and resolving look everything up by a key, whatever the
// tables hold: with 50,000 due charges, 150,000 paid ones and an older manifest,
// no table is read from end to end.
func TestPlans_ReadNoWholeTable(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`
		WITH t AS (INSERT INTO tokens (merchant_account, token, shopper_reference)
		           SELECT 'DemoEU', 'BULK' || i, 'shopper-' || i FROM generate_series(1, 50000) i RETURNING id)
		INSERT INTO charges (token_id, amount_minor, due_at, next_attempt_at, decided_by, currency, model, merchant_account, reference, state, finished_at)
		SELECT id, 1000, now() - interval '1 day', now() - interval '1 day', 'test', 'EUR', 'UnscheduledCardOnFile', 'DemoEU', id || '-' || n,
		       CASE n WHEN 1 THEN 'due' ELSE 'paid' END, CASE WHEN n > 1 THEN now() END
		  FROM t, generate_series(1, 4) n`)
	var report scheduler.Report
	for range 2 { // with the items of an earlier plan about
		var err error
		if report, err = d.db.PlanRun(context.Background(), scheduler.PlanRequest{Actor: "mia", Filter: scheduler.Filter{Limit: 30000}}); err != nil {
			t.Fatal(err)
		}
	}
	if report.Run.Items != 30000 {
		t.Fatalf("%d items planned", report.Run.Items)
	}
	d.exec(`ANALYZE`)
	if _, err := d.db.StartRun(context.Background(), report.Run.ID, "mia"); err != nil {
		t.Fatal(err)
	}
	var ids []billing.ChargeID
	if err := d.sql.Select(&ids, `SELECT id FROM charges WHERE state = 'due' ORDER BY id LIMIT 500`); err != nil {
		t.Fatal(err)
	}
	claim := scheduler.ClaimRequest{RunID: report.Run.ID, MerchantAccount: "DemoEU", After: 20000, Process: d.process, Lease: time.Minute, WireVersion: 1}
	tests := []struct {
		name, plan string
		index      string // that it must use
	}{
		{"claim", d.db.ExplainClaim(t, claim, 20500), "open_charges_by_token"},
		{"settle one answer", d.db.ExplainSettle(t, ids[:1]), "open_charges_pkey"},
		{"settle 500 answers", d.db.ExplainSettle(t, ids), "open_charges_pkey"},
		{"resolve", d.db.ExplainReplays(t), "charges_to_resolve"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, table := range []string{"charges", "open_charges", "run_items", "tokens", "observations"} {
				if strings.Contains(tt.plan, "Seq Scan on "+table) {
					t.Errorf("it reads all of %s:\n%s", table, tt.plan)
				}
			}
			if strings.HasPrefix(tt.name, "settle") && strings.Contains(tt.plan, "Bitmap Heap Scan on charges") {
				t.Errorf("it locks charges in the order of their places:\n%s", tt.plan)
			}
			if tt.name == "resolve" && strings.Contains(tt.plan, "Index Scan using charges_pkey on charges c2") {
				t.Errorf("it walks all charges in the order of their ids:\n%s", tt.plan)
			}
			if !strings.Contains(tt.plan, tt.index) {
				t.Errorf("it does not use %s:\n%s", tt.index, tt.plan)
			}
		})
	}
	t.Run("next cycles", func(t *testing.T) {
		d.exec(`
			INSERT INTO subscriptions (token_id, amount_minor, anchor, next_charge_at, first_cycle, next_cycle, interval_count, interval_unit,
			                           currency, decided_by, timezone, merchant_account, reference)
			SELECT id, 1000, '2026-01-31T09:00', now(), 1, 1, 1, 'month', 'EUR', 'test', 'UTC', 'DemoEU', 'sub-' || id FROM tokens`)
		d.exec(`ANALYZE subscriptions`)
		if plan := d.db.ExplainNextCycles(t, 1000); strings.Contains(plan, "Seq Scan on subscriptions") {
			t.Errorf("it reads every subscription:\n%s", plan)
		}
	})
	// A claim's work grows with its window, not with the window's square: no step
	// of it sees more rows than a few for each charge.
	t.Run("the claim's steps", func(t *testing.T) {
		const window, few = 1000, 5
		settings := get[int](d, `SELECT settings_id FROM merchant_accounts`)
		plan := d.db.AnalyzeClaim(t, claim, settings, claim.After+window)
		for _, line := range strings.Split(plan, "\n") {
			rows, loops := 0, 1
			if _, actual, found := strings.Cut(line, "(actual "); found {
				if _, err := fmt.Sscanf(actual, "rows=%d loops=%d", &rows, &loops); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
			if _, removed, found := strings.Cut(line, "Rows Removed by Join Filter: "); found {
				if _, err := fmt.Sscan(removed, &rows); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
			if rows*loops > few*window {
				t.Errorf("%d rows for %d charges in %q", rows*loops, window, line)
			}
		}
		if !strings.Contains(plan, fmt.Sprintf("(actual rows=%d loops=1)", window)) {
			t.Error("nothing was claimed")
		}
		if t.Failed() {
			t.Log(plan)
		}
	})
}
