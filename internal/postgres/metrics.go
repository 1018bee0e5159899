package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// Health is what the database says of itself.
type Health struct {
	Clock      time.Time // real time
	Migrations []int64   // those it has, in order
}

// Health asks the database for its clock and its migrations.
func (db *DB) Health(ctx context.Context) (Health, error) {
	const query = `
		SELECT clock_timestamp() AS clock, version_id
		  FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY version_id`
	var rows []struct {
		Clock   time.Time `db:"clock"`
		Version int64     `db:"version_id"`
	}
	if err := db.sqlx.SelectContext(ctx, &rows, query); err != nil {
		return Health{}, fmt.Errorf("read health: %w", unavailable(err))
	}
	var h Health
	for _, row := range rows {
		h.Clock = row.Clock
		h.Migrations = append(h.Migrations, row.Version)
	}
	h.Migrations = slices.Compact(h.Migrations)
	return h, nil
}

// A FigureReader reads scheduler.Figures. What is open may be very much, so each
// reading looks at a bounded number of open charges and goes on where the one
// before ended. It is for one goroutine at a time.
type FigureReader struct {
	db    *DB
	slice int // open charges a reading

	after  billing.ChargeID // where the next reading goes on
	part   openFigures      // of the pass that is under way
	whole  openFigures      // of the last pass that came to its end
	passed bool             // one came to its end
}

// openAtOnce is how many open charges a reading looks at: less than a tenth of a
// second's work for the database.
const openAtOnce = 20_000

// NewFigureReader returns a reader that begins a pass over the open charges.
func (db *DB) NewFigureReader() *FigureReader { return &FigureReader{db: db, slice: openAtOnce} }

// openFigures are what was seen of the open charges. The times are moments, since
// a pass takes a while.
type openFigures struct {
	open         []scheduler.OpenFigure
	unknown      []scheduler.UnknownFigure
	unknownSince time.Time // real time; zero if none is unknown
	lateSince    time.Time // business time; zero if none is late
}

// Read returns the figures of now.
func (r *FigureReader) Read(ctx context.Context) (scheduler.Figures, error) {
	var f scheduler.Figures
	err := r.db.inSnapshot(ctx, "read figures", func(tx *sqlx.Tx) error {
		// Each statement has an index to go by. Statistics lag behind a large import,
		// and must not talk the planner into reading a table from end to end. Nobody
		// waits for these figures: other processors are left to the charges.
		if _, err := tx.ExecContext(ctx, `
			SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
			SET LOCAL max_parallel_workers_per_gather = 0`); err != nil {
			return err
		}
		now, err := readClock(ctx, tx)
		if err != nil {
			return err
		}
		for _, read := range []func(context.Context, *sqlx.Tx, Clock, *scheduler.Figures) error{readWaiting, readRuns, readClaims, readBackOffs, readInbox, readAlerts} {
			if err := read(ctx, tx, now, &f); err != nil {
				return err
			}
		}
		if err := r.readOpen(ctx, tx, now); err != nil {
			return err
		}
		if r.passed {
			r.whole.fill(&f, now)
		}
		return nil
	})
	return f, err
}

func (o openFigures) fill(f *scheduler.Figures, now Clock) {
	f.OpenKnown, f.OpenCharges, f.Unknown = true, o.open, o.unknown
	f.UnknownOldest, f.DueLag = since(o.unknownSince, now.Real), since(o.lateSince, now.Business)
}

// since is how long ago a moment was; 0 for the zero time and for the future.
func since(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

func readWaiting(ctx context.Context, tx *sqlx.Tx, now Clock, f *scheduler.Figures) error {
	const query = `
		SELECT (SELECT next_charge_at FROM subscriptions WHERE next_charge_at IS NOT NULL ORDER BY next_charge_at, id LIMIT 1) AS cycle,
		       least((SELECT fire_at FROM fires WHERE outcome IN ('to_plan', 'coalesced') ORDER BY fire_at LIMIT 1),
		             (SELECT min(next_fire_at) FROM schedules WHERE state = 'active')) AS fire`
	var row struct {
		Cycle sql.NullTime `db:"cycle"`
		Fire  sql.NullTime `db:"fire"`
	}
	if err := tx.GetContext(ctx, &row, query); err != nil {
		return fmt.Errorf("read what waits: %w", err)
	}
	f.CycleLag, f.FireLag = since(row.Cycle.Time, now.Business), since(row.Fire.Time, now.Business)
	return nil
}

func readRuns(ctx context.Context, tx *sqlx.Tx, now Clock, f *scheduler.Figures) error {
	const query = `
		SELECT state, count(*) AS count,
		       min(coalesce(progress_at, started_at, created_at)) FILTER (WHERE state = 'running') AS worked_at
		  FROM runs WHERE state NOT IN ('completed', 'aborted') GROUP BY state ORDER BY state`
	var rows []struct {
		scheduler.RunFigure
		WorkedAt sql.NullTime `db:"worked_at"`
	}
	if err := tx.SelectContext(ctx, &rows, query); err != nil {
		return fmt.Errorf("count runs: %w", err)
	}
	for _, row := range rows {
		f.Runs = append(f.Runs, row.RunFigure)
		f.RunIdle = max(f.RunIdle, since(row.WorkedAt.Time, now.Real))
	}
	return nil
}

func readClaims(ctx context.Context, tx *sqlx.Tx, now Clock, f *scheduler.Figures) error {
	const query = `SELECT count(*) AS claims, min(lease_until) AS first_end FROM claims`
	var row struct {
		Claims   int          `db:"claims"`
		FirstEnd sql.NullTime `db:"first_end"`
	}
	if err := tx.GetContext(ctx, &row, query); err != nil {
		return fmt.Errorf("count claims: %w", err)
	}
	f.Claims, f.LeaseOverdue = row.Claims, since(row.FirstEnd.Time, now.Real)
	return nil
}

func readBackOffs(ctx context.Context, tx *sqlx.Tx, now Clock, f *scheduler.Figures) error {
	const query = `SELECT id, backoff_until FROM merchant_accounts ORDER BY id`
	var rows []struct {
		ID    string    `db:"id"`
		Until time.Time `db:"backoff_until"`
	}
	if err := tx.SelectContext(ctx, &rows, query); err != nil {
		return fmt.Errorf("read back-offs: %w", err)
	}
	for _, row := range rows {
		f.Accounts = append(f.Accounts, scheduler.AccountFigure{MerchantAccount: row.ID, BackOff: since(now.Real, row.Until)})
	}
	return nil
}

// countedAtMost is where counting ends: more of what should not be there at all
// is not news, and must not be work.
const countedAtMost = 20_000

func readInbox(ctx context.Context, tx *sqlx.Tx, now Clock, f *scheduler.Figures) error {
	const query = `
		SELECT state, count(*) AS count, min(received_at) AS oldest
		  FROM ((SELECT state, received_at FROM inbox WHERE next_try_at IS NOT NULL ORDER BY next_try_at, id LIMIT $1)
		        UNION ALL
		        (SELECT state, received_at FROM inbox WHERE state = 'quarantined' LIMIT $1)) open
		 GROUP BY state`
	var rows []struct {
		State  string    `db:"state"`
		Count  int       `db:"count"`
		Oldest time.Time `db:"oldest"`
	}
	if err := tx.SelectContext(ctx, &rows, query, countedAtMost); err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	for _, state := range []string{"stored", "waiting", "quarantined"} {
		figure := scheduler.InboxFigure{State: state}
		for _, row := range rows {
			if row.State == state {
				figure.Count, figure.Oldest = row.Count, since(row.Oldest, now.Real)
			}
		}
		f.Inbox = append(f.Inbox, figure)
	}
	return nil
}

func readAlerts(ctx context.Context, tx *sqlx.Tx, _ Clock, f *scheduler.Figures) error {
	const query = `SELECT count(*) FROM (SELECT FROM alerts WHERE closed_at IS NULL LIMIT $1) open`
	if err := tx.GetContext(ctx, &f.Alerts, query, countedAtMost); err != nil {
		return fmt.Errorf("count alerts: %w", err)
	}
	return nil
}

// What a run has in its manifest is not late: it waits for its turn. LIMIT and
// OFFSET make the planner look each open charge up, and its items: else it walks all
// charges, finished or not, or reads all manifests.
const (
	openSliceQuery = `
		SELECT coalesce(max(charge_id), 0) AS last, count(*) AS count
		  FROM (SELECT charge_id FROM open_charges WHERE charge_id > $1 ORDER BY charge_id LIMIT $2) k`
	openFiguresQuery = `
		SELECT c.merchant_account, c.state,
		       CASE c.state WHEN 'unknown' THEN c.currency::text ELSE '' END AS currency,
		       CASE c.state WHEN 'unknown' THEN c.reason ELSE '' END AS reason,
		       count(*) AS count, sum(c.amount_minor)::bigint AS amount_minor,
		       min(c.attempt_started_at) FILTER (WHERE c.state = 'unknown') AS unknown_since,
		       min(c.next_attempt_at) FILTER (WHERE c.state = 'due' AND c.next_attempt_at <= $3
		           AND NOT EXISTS (SELECT FROM run_items i JOIN runs r ON r.id = i.run_id
		                            WHERE i.charge_id = c.id AND i.disposition IS NULL AND r.state NOT IN ('completed', 'aborted') OFFSET 0)) AS late_since
		  FROM open_charges k
		 CROSS JOIN LATERAL (SELECT id, merchant_account, state, reason, currency, amount_minor, attempt_started_at, next_attempt_at, finished_at
		                       FROM charges WHERE id = k.charge_id LIMIT 1) c
		 WHERE k.charge_id > $1 AND k.charge_id <= $2 AND c.finished_at IS NULL
		 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4`
)

// openRow is what a slice of the open charges has of one kind.
type openRow struct {
	scheduler.UnknownFigure
	State        billing.ChargeState `db:"state"`
	UnknownSince sql.NullTime        `db:"unknown_since"`
	LateSince    sql.NullTime        `db:"late_since"`
}

// readOpen looks at the next slice of the open charges. At their end a pass is
// whole, and the next one begins.
func (r *FigureReader) readOpen(ctx context.Context, tx *sqlx.Tx, now Clock) error {
	var slice struct {
		Last  billing.ChargeID `db:"last"`
		Count int              `db:"count"`
	}
	if err := tx.GetContext(ctx, &slice, openSliceQuery, r.after, r.slice); err != nil {
		return fmt.Errorf("find open charges: %w", err)
	}
	if slice.Count > 0 {
		var rows []openRow
		if err := tx.SelectContext(ctx, &rows, openFiguresQuery, r.after, slice.Last, now.Business); err != nil {
			return fmt.Errorf("count open charges: %w", err)
		}
		for _, row := range rows {
			r.part.add(row)
		}
	}
	if r.after = slice.Last; slice.Count < r.slice {
		r.whole, r.passed = r.part, true
		r.after, r.part = 0, openFigures{}
	}
	return nil
}

func (o *openFigures) add(row openRow) {
	i := slices.IndexFunc(o.open, func(f scheduler.OpenFigure) bool {
		return f.MerchantAccount == row.MerchantAccount && f.State == row.State
	})
	if i < 0 {
		i, o.open = len(o.open), append(o.open, scheduler.OpenFigure{MerchantAccount: row.MerchantAccount, State: row.State})
	}
	o.open[i].Count += row.Count
	o.lateSince = earlier(o.lateSince, row.LateSince)
	if row.State != billing.ChargeUnknown {
		return
	}
	o.unknownSince = earlier(o.unknownSince, row.UnknownSince)
	i = slices.IndexFunc(o.unknown, func(f scheduler.UnknownFigure) bool {
		return f.MerchantAccount == row.MerchantAccount && f.Currency == row.Currency && f.Reason == row.Reason
	})
	if i < 0 {
		o.unknown = append(o.unknown, row.UnknownFigure)
		return
	}
	o.unknown[i].Count += row.Count
	o.unknown[i].AmountMinor += row.AmountMinor
}

func earlier(t time.Time, other sql.NullTime) time.Time {
	if other.Valid && (t.IsZero() || other.Time.Before(t)) {
		return other.Time
	}
	return t
}
