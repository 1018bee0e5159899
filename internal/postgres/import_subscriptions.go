package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
)

// ImportSubscriptions stores the subscriptions of a file: new ones, and the
// differences to those that are stored. Its errors are billing.ErrInvalid if the
// file has bad rows, which were all reported then; nothing is stored. Importing a
// file again changes nothing.
func (db *DB) ImportSubscriptions(ctx context.Context, rows billing.ImportRows[billing.ImportedSubscription], req billing.ImportRequest) (billing.ImportResult, error) {
	return db.runImport(ctx, "subscriptions", req, func(job *importJob) error {
		return importSubscriptions(ctx, job, rows)
	})
}

func importSubscriptions(ctx context.Context, job *importJob, rows billing.ImportRows[billing.ImportedSubscription]) error {
	if err := stageSubscriptions(ctx, job, rows); err != nil {
		return err
	}
	if err := job.refuseDuplicates(ctx, "subscriptions"); err != nil {
		return err
	}
	if err := job.storeTokens(ctx); err != nil {
		return err
	}
	if err := findSubscriptionDifferences(ctx, job); err != nil {
		return err
	}
	if err := refuseSubscriptionDifferences(ctx, job); err != nil {
		return err
	}
	if err := job.stopIfBad(ctx); err != nil {
		return err
	}
	if err := job.tellChanges(ctx); err != nil {
		return err
	}
	if job.result.Changed > 0 {
		if err := changeSubscriptions(ctx, job); err != nil {
			return err
		}
	}
	return insertSubscriptions(ctx, job)
}

func stageSubscriptions(ctx context.Context, job *importJob, rows billing.ImportRows[billing.ImportedSubscription]) error {
	const create = `
		CREATE TEMPORARY TABLE staged (
			line integer, merchant_account text, reference text, shopper_reference text, token text, payment_method text,
			amount_minor bigint, currency text, description text,
			interval_unit text, interval_count integer, anchor timestamp, timezone text, max_cycles integer, ends_on date,
			first_cycle integer, first_due_at timestamptz, waived integer
		) ON COMMIT DROP`
	const columns = `
		line, merchant_account, reference, shopper_reference, token, payment_method,
			amount_minor, currency, description,
			interval_unit, interval_count, anchor, timezone, max_cycles, ends_on,
			first_cycle, first_due_at, waived`
	return stage(ctx, job, rows, create, columns, func(s billing.ImportedSubscription, v []driver.Value) {
		v[0], v[1], v[2], v[3], v[4], v[5] = int64(s.Line), s.MerchantAccount, s.Reference, s.ShopperReference, s.Token, s.PaymentMethod
		v[6], v[7], v[8] = s.Amount.Minor, s.Amount.Currency, s.Description
		v[9], v[10], v[11], v[12] = string(s.Calendar.Interval.Unit), int64(s.Calendar.Interval.Count), s.Calendar.Anchor.String(), s.Calendar.Zone.String()
		v[13], v[14] = nil, nil
		if s.Calendar.MaxCycles > 0 {
			v[13] = int64(s.Calendar.MaxCycles)
		}
		if !s.Calendar.EndsOn.IsZero() {
			v[14] = s.Calendar.EndsOn.String()
		}
		v[15], v[16], v[17] = int64(s.FirstCycle), nil, int64(s.Waived)
		if !s.FirstDueAt.IsZero() {
			v[16] = s.FirstDueAt
		}
	})
}

// sameSubscription is what must be equal for a stored subscription s with token t
// to be as the line g has it.
const (
	storedSubscription = `(t.token, t.shopper_reference, s.amount_minor, s.currency, s.interval_unit, s.interval_count,
		s.anchor, s.timezone, coalesce(s.max_cycles, 0), coalesce(s.ends_on, 'infinity'), s.description)`
	importedSubscription = `(g.token, g.shopper_reference, g.amount_minor, g.currency, g.interval_unit, g.interval_count,
		g.anchor, g.timezone, coalesce(g.max_cycles, 0), coalesce(g.ends_on, 'infinity'), g.description)`
)

// findSubscriptionDifferences fills the temporary table differences: a row for
// each field of a stored subscription that the file has another value for. Those
// subscriptions are locked, so that no plan makes charges of them meanwhile.
func findSubscriptionDifferences(ctx context.Context, job *importJob) error {
	const lock = `
		WITH locked AS (
			SELECT s.id
			  FROM staged g
			  JOIN subscriptions s ON s.merchant_account = g.merchant_account AND s.reference = g.reference
			  JOIN tokens t ON t.id = s.token_id
			 WHERE ` + storedSubscription + ` <> ` + importedSubscription + `
			 ORDER BY s.id
			   FOR NO KEY UPDATE OF s)
		SELECT count(*) FROM locked`
	if _, err := job.tx.ExecContext(ctx, lock); err != nil {
		return fmt.Errorf("lock subscriptions: %w", err)
	}
	// A statement of its own: it sees what the locks waited for.
	find := `
		CREATE TEMPORARY TABLE differences ON COMMIT DROP AS
		SELECT g.line, s.id, s.merchant_account, s.reference, v.place, v.field, v.before, v.after,
		       EXISTS (SELECT FROM charges c WHERE c.subscription_id = s.id) AS charged
		  FROM staged g
		  JOIN subscriptions s ON s.merchant_account = g.merchant_account AND s.reference = g.reference
		  JOIN tokens t ON t.id = s.token_id
		 CROSS JOIN LATERAL (VALUES
		       (1, 'shopper_reference', t.shopper_reference <> g.shopper_reference, t.shopper_reference, g.shopper_reference),
		       (2, 'token', t.token <> g.token, ` + masked(`t.token`) + `, ` + masked(`g.token`) + `),
		       (3, 'amount_minor', s.amount_minor <> g.amount_minor, s.amount_minor::text, g.amount_minor::text),
		       (4, 'currency', s.currency <> g.currency, s.currency, g.currency),
		       (5, 'interval_unit', s.interval_unit <> g.interval_unit, s.interval_unit, g.interval_unit),
		       (6, 'interval_count', s.interval_count <> g.interval_count, s.interval_count::text, g.interval_count::text),
		       (7, 'anchor', s.anchor <> g.anchor, to_char(s.anchor, 'YYYY-MM-DD"T"HH24:MI:SS'), to_char(g.anchor, 'YYYY-MM-DD"T"HH24:MI:SS')),
		       (8, 'timezone', s.timezone <> g.timezone, s.timezone, g.timezone),
		       (9, 'max_cycles', s.max_cycles IS DISTINCT FROM g.max_cycles, coalesce(s.max_cycles::text, ''), coalesce(g.max_cycles::text, '')),
		       (10, 'ends_on', s.ends_on IS DISTINCT FROM g.ends_on, coalesce(s.ends_on::text, ''), coalesce(g.ends_on::text, '')),
		       (11, 'description', s.description <> g.description, s.description, g.description)
		       ) v (place, field, differs, before, after)
		 WHERE ` + storedSubscription + ` <> ` + importedSubscription + `
		   AND v.differs`
	if _, err := job.tx.ExecContext(ctx, find); err != nil {
		return fmt.Errorf("compare with what is stored: %w", err)
	}
	_, err := job.tx.ExecContext(ctx, `ANALYZE differences`)
	return err
}

// refuseSubscriptionDifferences reports what an import may not change.
func refuseSubscriptionDifferences(ctx context.Context, job *importJob) error {
	const query = `
		SELECT line, field AS column, after AS value,
		       CASE WHEN field = 'shopper_reference' THEN 'the subscription belongs to ' || before || ' for good; want another reference for another shopper'
		            ELSE 'is ' || before || ' and cannot change, since the subscription has charges; want a new subscription' END AS want
		  FROM differences
		 WHERE field = 'shopper_reference'
		    OR charged AND field IN ('currency', 'interval_unit', 'interval_count', 'anchor', 'timezone')
		 ORDER BY line, place`
	return job.refuse(ctx, query)
}

// changeSubscriptions brings the stored subscriptions with a difference to what
// the file says, and the charges of them that can follow.
func changeSubscriptions(ctx context.Context, job *importJob) error {
	if err := changeChargesOfSubscriptions(ctx, job); err != nil {
		return err
	}
	// Without a charge the calendar may be another one: then the first cycle is
	// that of a new subscription.
	const change = `
		UPDATE subscriptions s
		   SET token_id = t.id, amount_minor = g.amount_minor, currency = g.currency, description = g.description,
		       interval_unit = g.interval_unit, interval_count = g.interval_count, anchor = g.anchor, timezone = g.timezone,
		       max_cycles = g.max_cycles, ends_on = g.ends_on,
		       first_cycle = CASE WHEN d.moved THEN g.first_cycle ELSE s.first_cycle END,
		       next_cycle = CASE WHEN d.moved THEN g.first_cycle ELSE s.next_cycle END
		  FROM (SELECT id, line, bool_or(field IN ('interval_unit', 'interval_count', 'anchor', 'timezone')) AS moved
		          FROM differences GROUP BY id, line) d
		  JOIN staged g ON g.line = d.line
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 WHERE s.id = d.id`
	if _, err := job.tx.ExecContext(ctx, change); err != nil {
		return fmt.Errorf("change subscriptions: %w", err)
	}
	if err := moveEnds(ctx, job); err != nil {
		return err
	}
	return job.auditChanges(ctx, "subscription")
}

// changeChargesOfSubscriptions gives the charges of changed subscriptions the
// new amount, if they never had an attempt, and the new card, unless an attempt is
// open. Charges that waited for a good card become due with one; those that get
// a bad one wait.
func changeChargesOfSubscriptions(ctx context.Context, job *importJob) error {
	const lock = `
		WITH locked AS (
			SELECT c.id FROM charges c
			 WHERE c.subscription_id IN (SELECT id FROM differences WHERE field IN ('token', 'amount_minor'))
			   AND c.state IN ('due', 'held')
			 ORDER BY c.id FOR NO KEY UPDATE),
		locked_tokens AS (
			SELECT t.id FROM differences d
			  JOIN staged g ON g.line = d.line
			  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
			 WHERE d.field = 'token'
			 ORDER BY t.id FOR SHARE OF t)
		SELECT (SELECT count(*) FROM locked), (SELECT count(*) FROM locked_tokens)`
	if _, err := job.tx.ExecContext(ctx, lock); err != nil {
		return fmt.Errorf("lock charges: %w", err)
	}
	const change = `
		WITH u AS (
		UPDATE charges c
		   SET token_id = n.token_id, amount_minor = n.amount_minor, state = n.state, reason = n.reason,
		       finished_at = CASE n.state WHEN 'waived' THEN clock_timestamp() END,
		       decided_by = CASE WHEN n.state <> c.state THEN $1 ELSE c.decided_by END,
		       decided_at = CASE WHEN n.state <> c.state THEN clock_timestamp() ELSE c.decided_at END
		  FROM (SELECT o.id, t.id AS token_id, a.amount_minor,
		               CASE WHEN a.amount_minor = 0 THEN 'waived'
		                    WHEN o.state = 'due' AND t.state NOT IN ('unverified', 'valid') THEN 'held'
		                    WHEN r.released THEN 'due' ELSE o.state END AS state,
		               CASE WHEN a.amount_minor = 0 THEN 'nothing_due'
		                    WHEN o.state = 'due' AND t.state NOT IN ('unverified', 'valid') THEN 'token_invalid'
		                    WHEN r.released THEN '' ELSE o.reason END AS reason
		          FROM (SELECT DISTINCT id, line FROM differences WHERE field IN ('token', 'amount_minor')) d
		          JOIN staged g ON g.line = d.line
		          JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		          JOIN charges o ON o.subscription_id = d.id AND o.state IN ('due', 'held')
		         CROSS JOIN LATERAL (SELECT CASE WHEN o.answered = 0 AND o.attempt_started_at IS NULL
		                                         THEN g.amount_minor ELSE o.amount_minor END AS amount_minor) a
		         CROSS JOIN LATERAL (SELECT o.state = 'held' AND o.reason IN ('token_invalid', 'token_not_found')
		                                    AND o.token_id <> t.id AND t.state IN ('unverified', 'valid') AS released) r) n
		 WHERE c.id = n.id AND c.state IN ('due', 'held')
		   AND (c.token_id, c.amount_minor, c.state) <> (n.token_id, n.amount_minor, n.state)
		RETURNING c.id, c.finished_at),
		f AS (DELETE FROM open_charges WHERE charge_id IN (SELECT id FROM u WHERE finished_at IS NOT NULL))
		SELECT count(*) FROM u`
	if err := job.tx.GetContext(ctx, &job.result.Charges, change, job.req.Actor); err != nil {
		return fmt.Errorf("change charges of subscriptions: %w", err)
	}
	return nil
}

// endsPerPage bounds what is in memory while ends are moved.
const endsPerPage = 5000

// moveEnds finds out, for each subscription whose calendar or end changed, when
// its next cycle is now. One that has none is completed; one that has one again
// goes on.
func moveEnds(ctx context.Context, job *importJob) error {
	const query = `
		SELECT` + subscriptionRowColumns + `
		  FROM subscriptions s JOIN tokens t ON t.id = s.token_id
		 WHERE s.id > $1 AND s.state <> 'cancelled'
		   AND s.id IN (SELECT id FROM differences
		                 WHERE field IN ('interval_unit', 'interval_count', 'anchor', 'timezone', 'max_cycles', 'ends_on'))
		 ORDER BY s.id LIMIT $2`
	for after := billing.SubscriptionID(0); ; {
		var page []subscriptionRow
		if err := job.tx.SelectContext(ctx, &page, query, after, endsPerPage); err != nil {
			return fmt.Errorf("read changed calendars: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		if err := moveEndsOf(ctx, job, page); err != nil {
			return err
		}
		after = page[len(page)-1].ID
	}
}

func moveEndsOf(ctx context.Context, job *importJob, page []subscriptionRow) error {
	ids, dues := make(pq.Int64Array, len(page)), make(pq.Int64Array, len(page))
	for i, row := range page {
		calendar, err := row.calendar()
		if err != nil {
			return err
		}
		ids[i], dues[i] = int64(row.ID), noInstant
		if _, ok := calendar.Date(row.NextCycle); ok {
			dues[i] = calendar.DueAt(row.NextCycle).Unix()
		}
	}
	const query = `
		UPDATE subscriptions s
		   SET next_charge_at = to_timestamp(nullif(r.due_at, $3)), state = n.state,
		       reason = CASE WHEN n.state = s.state THEN s.reason ELSE '' END,
		       decided_by = CASE WHEN n.state = s.state THEN s.decided_by ELSE $4 END,
		       decided_at = CASE WHEN n.state = s.state THEN s.decided_at ELSE clock_timestamp() END
		  FROM unnest($1::bigint[], $2::bigint[]) AS r (id, due_at)
		  JOIN subscriptions o ON o.id = r.id
		 CROSS JOIN LATERAL (SELECT CASE WHEN o.state = 'active' AND r.due_at = $3 THEN 'completed'
		                                 WHEN o.state = 'completed' AND r.due_at <> $3 THEN 'active'
		                                 ELSE o.state END AS state) n
		 WHERE s.id = r.id`
	if _, err := job.tx.ExecContext(ctx, query, ids, dues, int64(noInstant), job.req.Actor); err != nil {
		return fmt.Errorf("move ends of subscriptions: %w", err)
	}
	return nil
}

// insertSubscriptions stores the subscriptions that are new.
func insertSubscriptions(ctx context.Context, job *importJob) error {
	const insert = `
		INSERT INTO subscriptions (token_id, amount_minor, anchor, next_charge_at, first_cycle, next_cycle, max_cycles,
		                           interval_count, ends_on, interval_unit, currency, state, decided_by, timezone,
		                           merchant_account, reference, description)
		SELECT t.id, g.amount_minor, g.anchor, g.first_due_at, g.first_cycle, g.first_cycle, g.max_cycles,
		       g.interval_count, g.ends_on, g.interval_unit, g.currency,
		       CASE WHEN g.first_due_at IS NULL THEN 'completed' ELSE 'active' END, $1, g.timezone,
		       g.merchant_account, g.reference, g.description
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 WHERE NOT EXISTS (SELECT FROM subscriptions s WHERE s.merchant_account = g.merchant_account AND s.reference = g.reference)`
	const count = `
		SELECT count(*) AS new, coalesce(sum(g.waived), 0) AS waived, count(*) FILTER (WHERE g.first_due_at IS NULL) AS completed
		  FROM staged g
		 WHERE NOT EXISTS (SELECT FROM subscriptions s WHERE s.merchant_account = g.merchant_account AND s.reference = g.reference)`
	r := &job.result
	if err := job.tx.QueryRowContext(ctx, count).Scan(&r.New, &r.Waived, &r.Completed); err != nil {
		return fmt.Errorf("count new subscriptions: %w", err)
	}
	r.Unchanged = r.Rows - r.New - r.Changed
	if r.New == 0 {
		return nil
	}
	return job.insert(ctx, insert, "subscriptions_are_stored_once", r.New, job.req.Actor)
}
