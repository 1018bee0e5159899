package bench

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// ChargePrefix begins the reference of every charge of a book.
const ChargePrefix = "bench-"

// A Book is a database full of charges and subscriptions to measure with.
// Everything is made in SQL, set by set: a book of a million takes a minute.
type Book struct {
	DB       *sql.DB
	Name     BookName // in the references, so that books can share a gateway
	Accounts []string // merchant accounts that the charges are spread over
}

// AddCharges makes n unscheduled charges that are due now, each on a token of
// its own, numbered from first.
func (b Book) AddCharges(ctx context.Context, first, n int) error {
	const query = `
		WITH t AS (
			INSERT INTO tokens (merchant_account, token, shopper_reference, state)
			SELECT ($3::text[])[1 + n % cardinality($3::text[])],
			       upper(substr(md5(n::text), 1, 8)) || to_char(n, 'FM00000000'),
			       'shopper-' || to_char(n, 'FM000000000'), 'valid'
			  FROM generate_series($1::bigint, $2::bigint) AS n
			RETURNING id, merchant_account, shopper_reference)
		INSERT INTO charges (token_id, amount_minor, currency, merchant_account, reference, model, due_at, next_attempt_at, decided_by)
		SELECT id, 100 + id % 9900, 'EUR', merchant_account, $4 || substr(shopper_reference, 9),
		       'UnscheduledCardOnFile', due, due, 'bench'
		  FROM t, LATERAL (SELECT now() - interval '1 day' + id * interval '1 millisecond' AS due) d`
	if _, err := b.DB.ExecContext(ctx, query, first, first+n-1, pq.StringArray(b.Accounts), ChargePrefix+string(b.Name)+"-"); err != nil {
		return fmt.Errorf("make %d charges: %w", n, err)
	}
	return nil
}

// Due counts the charges that are due, and all.
func (b Book) Due(ctx context.Context) (due, all int, err error) {
	const query = `SELECT count(*) FILTER (WHERE finished_at IS NULL AND state = 'due'), count(*) FROM charges`
	if err := b.DB.QueryRowContext(ctx, query).Scan(&due, &all); err != nil {
		return 0, 0, fmt.Errorf("count charges: %w", err)
	}
	return due, all, nil
}

// AddSubscriptions makes n monthly subscriptions whose first cycle is due.
func (b Book) AddSubscriptions(ctx context.Context, n int) error {
	const query = `
		WITH t AS (
			INSERT INTO tokens (merchant_account, token, shopper_reference, state)
			SELECT ($2::text[])[1 + n % cardinality($2::text[])],
			       'SUB' || to_char(n, 'FM0000000000000'), 'subscriber-' || to_char(n, 'FM000000000'), 'valid'
			  FROM generate_series(1, $1::bigint) AS n
			RETURNING id, merchant_account, shopper_reference)
		INSERT INTO subscriptions (token_id, amount_minor, currency, merchant_account, reference, interval_unit, interval_count,
		                           anchor, timezone, first_cycle, next_cycle, next_charge_at, decided_by)
		SELECT id, 999, 'EUR', merchant_account, 'sub-' || substr(shopper_reference, 12), 'month', 1,
		       local, zone, 1, 1, local AT TIME ZONE zone, 'bench'
		  FROM t, LATERAL (SELECT (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '2 days') + id % 24 * interval '1 hour' AS local,
		                          (ARRAY['Europe/Amsterdam', 'America/New_York', 'Asia/Kolkata', 'UTC'])[1 + id % 4] AS zone) d`
	if _, err := b.DB.ExecContext(ctx, query, n, pq.StringArray(b.Accounts)); err != nil {
		return fmt.Errorf("make %d subscriptions: %w", n, err)
	}
	return nil
}

// ForgetRuns empties the manifests of all runs, none of which may be running. Most of a measured
// run's items are left when its time is up; the vacuum of millions of them would
// take its share of all that is measured later.
func (b Book) ForgetRuns(ctx context.Context) error {
	if _, err := b.DB.ExecContext(ctx, `TRUNCATE run_items, run_exclusions`); err != nil {
		return fmt.Errorf("forget runs: %w", err)
	}
	return nil
}

// Vacuum vacuums and analyses every table and brings the disk up to date, so that
// none of it falls into a measurement.
func (b Book) Vacuum(ctx context.Context) error {
	for _, query := range []string{`VACUUM (ANALYZE)`, `CHECKPOINT`} {
		if _, err := b.DB.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("vacuum the book: %w", err)
		}
	}
	return nil
}

// Now is the database's clock.
func (b Book) Now(ctx context.Context) (now time.Time, err error) {
	if err := b.DB.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return now, fmt.Errorf("read the database's clock: %w", err)
	}
	return now, nil
}

// Paid returns the references of the charges that a run charged since a moment
// of the database's clock.
func (b Book) Paid(ctx context.Context, runID int64, since time.Time) (references []string, err error) {
	const query = `SELECT reference FROM charges WHERE run_id = $1 AND state = 'paid' AND finished_at >= $2`
	rows, err := b.DB.QueryContext(ctx, query, runID, since)
	if err != nil {
		return nil, fmt.Errorf("read paid charges: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var reference string
		if err := rows.Scan(&reference); err != nil {
			return nil, fmt.Errorf("read paid charges: %w", err)
		}
		references = append(references, reference)
	}
	return references, rows.Err()
}
