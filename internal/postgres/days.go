package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// daysBack is how many days a daemon that was away accounts for afterwards.
const daysBack = 40

// DayToClose returns the oldest local day, over everywhere (12 hours after its
// end in UTC), that is not known to be complete. An incomplete one is looked at
// once an hour.
func (db *DB) DayToClose(ctx context.Context) (billing.LocalDate, bool, error) {
	const query = `
		SELECT d.day::date
		  FROM instance i,
		       generate_series(greatest((i.created_at AT TIME ZONE 'UTC')::date, (business_now() AT TIME ZONE 'UTC')::date - $1::integer),
		                       (business_now() AT TIME ZONE 'UTC' - interval '36 hours')::date, interval '1 day') AS d (day)
		  LEFT JOIN days k ON k.day = d.day::date
		 WHERE k.day IS NULL OR NOT k.complete AND k.checked_at < clock_timestamp() - interval '1 hour'
		 ORDER BY 1 LIMIT 1`
	var day time.Time
	if err := db.sqlx.GetContext(ctx, &day, query, daysBack); errors.Is(err, sql.ErrNoRows) {
		return billing.LocalDate{}, false, nil
	} else if err != nil {
		return billing.LocalDate{}, false, fmt.Errorf("look for days to account for: %w", unavailable(err))
	}
	return billing.LocalDateOf(day.UTC()), true, nil
}

// ReportDay accounts for what fell due on one local day: cycles by the day on
// which their period begins, requests by their due date in UTC.
func (db *DB) ReportDay(ctx context.Context, day billing.LocalDate) (scheduler.DayReport, error) {
	report := scheduler.DayReport{Day: day}
	err := db.inSnapshot(ctx, "account for a day", func(tx *sqlx.Tx) error {
		if err := takeTime(ctx, tx); err != nil {
			return err
		}
		totals := map[string]*scheduler.DayTotals{}
		if err := addCharges(ctx, tx, day, totals); err != nil {
			return err
		}
		if err := addUnplanned(ctx, tx, day, totals); err != nil {
			return err
		}
		for _, currency := range slices.Sorted(maps.Keys(totals)) {
			report.Currencies = append(report.Currencies, *totals[currency])
		}
		return nil
	})
	return report, err
}

func totalsOf(totals map[string]*scheduler.DayTotals, currency string) *scheduler.DayTotals {
	if totals[currency] == nil {
		totals[currency] = &scheduler.DayTotals{Currency: currency}
	}
	return totals[currency]
}

func addCharges(ctx context.Context, tx *sqlx.Tx, day billing.LocalDate, totals map[string]*scheduler.DayTotals) error {
	// A local day begins up to 14 hours before, and ends up to 12 hours after, the
	// day in UTC.
	const query = `
		SELECT currency, place, count(*) AS count, sum(amount_minor) AS amount_minor
		  FROM (SELECT c.currency, c.amount_minor,
		               CASE WHEN c.state IN ('paid', 'unpaid', 'held', 'waived', 'cancelled', 'unknown') THEN c.state
		                    WHEN c.state IN ('claimed', 'pending') THEN 'pending'
		                    WHEN c.answered > 0 THEN 'retrying'
		                    WHEN EXISTS (SELECT FROM run_items i JOIN runs r ON r.id = i.run_id
		                                  WHERE i.charge_id = c.id AND i.disposition IS NULL AND i.answered = c.answered
		                                    AND r.state NOT IN ('completed', 'aborted')) THEN 'in_run'
		                    WHEN c.reason <> '' OR EXISTS (SELECT FROM run_items i WHERE i.charge_id = c.id AND i.disposition IS NOT NULL)
		                      OR EXISTS (SELECT FROM run_exclusions x WHERE x.charge_id = c.id) THEN 'postponed'
		                    ELSE 'untouched' END AS place
		          FROM charges c
		         WHERE c.due_at >= ($1::date - 1)::timestamp AT TIME ZONE 'UTC' AND c.due_at < ($1::date + 2)::timestamp AT TIME ZONE 'UTC'
		           AND coalesce(c.period_start, (c.due_at AT TIME ZONE 'UTC')::date) = $1::date) due
		 GROUP BY currency, place`
	var rows []struct {
		Currency    string `db:"currency"`
		Place       string `db:"place"`
		Count       int64  `db:"count"`
		AmountMinor int64  `db:"amount_minor"`
	}
	if err := tx.SelectContext(ctx, &rows, query, day.String()); err != nil {
		return fmt.Errorf("add up the charges of %s: %w", day, err)
	}
	for _, r := range rows {
		t := totalsOf(totals, r.Currency)
		amount := scheduler.Amount{Count: r.Count, AmountMinor: r.AmountMinor}
		column := map[string]*scheduler.Amount{
			"paid": &t.Paid, "unpaid": &t.Unpaid, "retrying": &t.Retrying, "pending": &t.Pending, "unknown": &t.Unknown, "held": &t.Held,
			"waived": &t.Waived, "cancelled": &t.Cancelled, "postponed": &t.Postponed, "in_run": &t.InRun, "untouched": &t.Untouched,
		}[r.Place]
		*column = amount
		add(&t.Expected, amount.Count, amount.AmountMinor)
	}
	return nil
}

// addUnplanned counts the cycles that began on the day and are no charges yet,
// because no plan came by: of each subscription that is behind, its calendar
// tells.
func addUnplanned(ctx context.Context, tx *sqlx.Tx, day billing.LocalDate, totals map[string]*scheduler.DayTotals) error {
	const query = `
		SELECT` + subscriptionRowColumns + `
		  FROM subscriptions s JOIN tokens t ON t.id = s.token_id
		 WHERE s.next_charge_at < ($1::date + 2)::timestamp AT TIME ZONE 'UTC' AND s.next_charge_at IS NOT NULL
		   AND s.state NOT IN ('cancelled', 'completed')`
	rows, err := tx.QueryxContext(ctx, query, day.String())
	if err != nil {
		return fmt.Errorf("look for cycles without a charge: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var sub subscriptionRow
		if err := rows.StructScan(&sub); err != nil {
			return fmt.Errorf("look for cycles without a charge: %w", err)
		}
		calendar, err := sub.calendar()
		if err != nil {
			continue // its own next plan parks it, with an alert
		}
		n := max(sub.NextCycle, calendar.FirstCycleOn(day))
		if date, ok := calendar.Date(n); ok && date.Equal(day) {
			t := totalsOf(totals, sub.Currency)
			amount := scheduler.Amount{Count: 1, AmountMinor: sub.AmountMinor}
			add(&t.Unplanned, amount.Count, amount.AmountMinor)
			add(&t.Expected, amount.Count, amount.AmountMinor)
		}
	}
	return rows.Err()
}

// CloseDay stores a day's report. It reports whether this call was the first to
// find the day complete.
func (db *DB) CloseDay(ctx context.Context, report scheduler.DayReport) (bool, error) {
	text, err := json.Marshal(report)
	if err != nil {
		return false, fmt.Errorf("store the account of %s: %w", report.Day, err)
	}
	const query = `
		INSERT INTO days (day, complete, report, checked_at) VALUES ($1, $2, $3, clock_timestamp())
		ON CONFLICT (day) DO UPDATE SET complete = excluded.complete, report = excluded.report, checked_at = excluded.checked_at
		 WHERE NOT days.complete`
	res, err := db.sqlx.ExecContext(ctx, query, report.Day.String(), report.IsComplete(), string(text))
	if err != nil {
		return false, fmt.Errorf("store the account of %s: %w", report.Day, unavailable(err))
	}
	n, err := res.RowsAffected()
	return n == 1 && report.IsComplete(), err
}
