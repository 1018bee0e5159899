package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// ReportRun returns a run's account of itself, as things stand now.
func (db *DB) ReportRun(ctx context.Context, id scheduler.RunID) (scheduler.Report, error) {
	return reportRun(ctx, db.sqlx, id)
}

func reportRun(ctx context.Context, q sqlx.ExtContext, id scheduler.RunID) (scheduler.Report, error) {
	var report scheduler.Report
	var row runRow
	if err := sqlx.GetContext(ctx, q, &row, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id); err != nil {
		return report, fmt.Errorf("run %d: %w", id, notFound(err))
	}
	var err error
	if report.Run, err = row.run(); err != nil {
		return report, err
	}
	if report.Totals, err = runTotals(ctx, q, id); err != nil {
		return report, err
	}
	if report.Exclusions, err = runExclusions(ctx, q, id); err != nil {
		return report, err
	}
	if report.Declines, err = runDeclines(ctx, q, id); err != nil {
		return report, err
	}
	const stops = `SELECT merchant_account, reason, detail FROM run_account_stops WHERE run_id = $1 ORDER BY 1`
	var stopRows []struct {
		MerchantAccount string `db:"merchant_account"`
		Reason          string `db:"reason"`
		Detail          string `db:"detail"`
	}
	if err := sqlx.SelectContext(ctx, q, &stopRows, stops, id); err != nil {
		return report, fmt.Errorf("read stopped accounts of run %d: %w", id, err)
	}
	for _, s := range stopRows {
		report.Stops = append(report.Stops, scheduler.AccountStop{MerchantAccount: s.MerchantAccount, Reason: billing.Reason(s.Reason), Detail: s.Detail})
	}
	return report, nil
}

// runTotals sums a manifest by what became of each item: its own disposition,
// else its charge's state. What the plan left out is added to its column.
func runTotals(ctx context.Context, q sqlx.ExtContext, id scheduler.RunID) ([]scheduler.Totals, error) {
	const query = `
		SELECT c.currency, i.amount_minor IS NOT NULL AS planned, count(*) AS count, sum(i.amount_minor) AS amount_minor,
		       CASE WHEN i.disposition IS NOT NULL THEN i.disposition
		            WHEN c.state IN ('cancelled', 'waived') THEN 'skipped'
		            WHEN c.state = 'due' AND c.answered > i.answered THEN 'retrying'
		            WHEN c.state IN ('due', 'claimed') THEN 'left'
		            ELSE c.state END AS what
		  FROM run_items i JOIN charges c ON c.id = i.charge_id
		 WHERE i.run_id = $1
		 GROUP BY 1, 2, 5
		UNION ALL
		SELECT currency, false, count(*), sum(amount_minor), disposition
		  FROM run_exclusions WHERE run_id = $1
		 GROUP BY 1, 5`
	var rows []struct {
		Currency    string `db:"currency"`
		Planned     bool   `db:"planned"`
		Count       int64  `db:"count"`
		AmountMinor int64  `db:"amount_minor"`
		What        string `db:"what"`
	}
	if err := sqlx.SelectContext(ctx, q, &rows, query, id); err != nil {
		return nil, fmt.Errorf("sum run %d: %w", id, err)
	}
	byCurrency := map[string]*scheduler.Totals{}
	for _, r := range rows {
		t := byCurrency[r.Currency]
		if t == nil {
			t = &scheduler.Totals{Currency: r.Currency}
			byCurrency[r.Currency] = t
		}
		columns := map[string]*scheduler.Amount{
			"paid": &t.Paid, "unpaid": &t.Unpaid, "retrying": &t.Retrying, "pending": &t.Pending, "unknown": &t.Unknown,
			"held": &t.Held, "postponed": &t.Postponed, "skipped": &t.Skipped, "left": &t.Left,
		}
		add(columns[r.What], r.Count, r.AmountMinor)
		if r.Planned {
			add(&t.Planned, r.Count, r.AmountMinor)
		}
	}
	totals := make([]scheduler.Totals, 0, len(byCurrency))
	for _, t := range byCurrency {
		totals = append(totals, *t)
	}
	slices.SortFunc(totals, func(a, b scheduler.Totals) int { return cmp.Compare(a.Currency, b.Currency) })
	return totals, nil
}

func add(a *scheduler.Amount, count, minor int64) {
	a.Count += count
	a.AmountMinor += minor
}

func runExclusions(ctx context.Context, q sqlx.ExtContext, id scheduler.RunID) ([]scheduler.Exclusion, error) {
	const query = `
		SELECT disposition, reason, merchant_account, currency, count(*) AS count, sum(amount_minor) AS amount_minor
		  FROM (SELECT i.disposition, i.reason, i.merchant_account, c.currency, i.amount_minor
		          FROM run_items i JOIN charges c ON c.id = i.charge_id
		         WHERE i.run_id = $1 AND i.disposition IS NOT NULL
		        UNION ALL
		        SELECT x.disposition, x.reason, c.merchant_account, x.currency, x.amount_minor
		          FROM run_exclusions x JOIN charges c ON c.id = x.charge_id
		         WHERE x.run_id = $1) e
		 GROUP BY 1, 2, 3, 4
		 ORDER BY 1, 2, 3, 4`
	var rows []struct {
		Disposition     string `db:"disposition"`
		Reason          string `db:"reason"`
		MerchantAccount string `db:"merchant_account"`
		Currency        string `db:"currency"`
		Count           int64  `db:"count"`
		AmountMinor     int64  `db:"amount_minor"`
	}
	if err := sqlx.SelectContext(ctx, q, &rows, query, id); err != nil {
		return nil, fmt.Errorf("list what run %d left out: %w", id, err)
	}
	exclusions := make([]scheduler.Exclusion, 0, len(rows))
	for _, r := range rows {
		exclusions = append(exclusions, scheduler.Exclusion{
			Disposition: r.Disposition, Reason: billing.Reason(r.Reason), MerchantAccount: r.MerchantAccount, Currency: r.Currency,
			Amount: scheduler.Amount{Count: r.Count, AmountMinor: r.AmountMinor},
		})
	}
	return exclusions, nil
}

func runDeclines(ctx context.Context, q sqlx.ExtContext, id scheduler.RunID) ([]scheduler.Decline, error) {
	const query = `
		SELECT i.merchant_account, o.class, o.refusal_code AS code, max(o.refusal_reason) AS reason, count(DISTINCT o.charge_id) AS count
		  FROM run_items i
		  JOIN observations o ON o.charge_id = i.charge_id AND o.attempt = i.answered + 1
		 WHERE i.run_id = $1 AND o.run_id = $1 AND o.outcome = 'refused'
		 GROUP BY 1, 2, 3
		 ORDER BY 5 DESC, 1, 2, 3`
	var rows []struct {
		MerchantAccount string `db:"merchant_account"`
		Class           string `db:"class"`
		Code            string `db:"code"`
		Reason          string `db:"reason"`
		Count           int64  `db:"count"`
	}
	if err := sqlx.SelectContext(ctx, q, &rows, query, id); err != nil {
		return nil, fmt.Errorf("count declines of run %d: %w", id, err)
	}
	declines := make([]scheduler.Decline, 0, len(rows))
	for _, r := range rows {
		declines = append(declines, scheduler.Decline{
			MerchantAccount: r.MerchantAccount, Class: billing.DeclineClass(r.Class), Code: r.Code, Reason: r.Reason, Count: r.Count,
		})
	}
	return declines, nil
}
