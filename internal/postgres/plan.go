package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

var _ scheduler.Planner = (*DB)(nil)

// errPreview rolls a preview back after it has done all that a plan does.
var errPreview = errors.New("preview")

// subscriptionsPerCommit is how many subscriptions one transaction of a plan
// turns into charges.
const subscriptionsPerCommit = 5000

// cyclesPerPass bounds the charges that one subscription makes in one pass, so
// that a book with years to catch up does not fill the memory.
const cyclesPerPass = 100

// PlanRun makes cycles due up to the asked time into charges, and the matching
// due charges into a manifest. A preview runs the same code in one transaction
// and rolls it back. See scheduler.Planner.
func (db *DB) PlanRun(ctx context.Context, req scheduler.PlanRequest) (scheduler.Report, error) {
	if req.ShopperDayLimit == 0 {
		req.ShopperDayLimit = db.shopperDayLimit
	}
	var report scheduler.Report
	now, err := db.BusinessNow(ctx)
	if err != nil {
		return report, err
	}
	if !req.Preview {
		// In commits of their own: an interrupted plan has lost nothing, since
		// a cycle becomes a charge only once.
		each := func(work func(*sqlx.Tx) error) error { return db.inTx(ctx, "plan charges", work) }
		if err := makeCharges(ctx, each, req, now); err != nil {
			return report, err
		}
	}
	err = db.inTx(ctx, "plan run", func(tx *sqlx.Tx) (err error) {
		if req.Preview {
			inside := func(work func(*sqlx.Tx) error) error { return work(tx) }
			if err := makeCharges(ctx, inside, req, now); err != nil {
				return err
			}
		}
		id, err := makeRun(ctx, tx, req, now)
		if err != nil {
			return err
		}
		if report, err = reportRun(ctx, tx, id); err != nil {
			return err
		}
		if req.Preview {
			return errPreview
		}
		if req.Fire == nil {
			return nil
		}
		if len(report.Totals) == 0 {
			return errNothingDue
		}
		if err := closeFire(ctx, tx, req.Fire, id); err != nil {
			return err
		}
		return requireApproval(ctx, tx, req, &report)
	})
	switch {
	case errors.Is(err, errPreview):
		report.Run.ID = 0
		err = nil
	case errors.Is(err, errNothingDue):
		report.Run.ID = 0
		err = db.inTx(ctx, "plan run", func(tx *sqlx.Tx) error { return closeFire(ctx, tx, req.Fire, 0) })
	}
	return report, err
}

// errNothingDue rolls back the run of a fire that would charge and hold nothing.
var errNothingDue = errors.New("nothing due")

// requireApproval lets a run wait for a person whose totals are above the limits
// of its schedule.
func requireApproval(ctx context.Context, tx *sqlx.Tx, req scheduler.PlanRequest, report *scheduler.Report) error {
	reason := approvalReason(req, report.Totals)
	if reason == "" || report.Run.State != scheduler.RunPlanned {
		return nil
	}
	if req.Caps.Exceeded(report.Totals) != "" {
		if err := storeAlert(ctx, tx, "run_above_cap", fmt.Sprintf("run %d of schedule %s awaits approval, %s", report.Run.ID, req.Fire.Schedule.Name, reason)); err != nil {
			return err
		}
	}
	if err := moveRun(ctx, tx, report.Run, scheduler.RunAwaitingApproval, req.Actor, reason); err != nil {
		return err
	}
	report.Run.State, report.Run.Reason = scheduler.RunAwaitingApproval, reason
	return nil
}

// makeCharges turns every due cycle into a charge, a few thousand subscriptions
// a transaction. Subscriptions that others lock are left to the end; the last
// pass waits for them: a skipped subscription is a missed shopper.
func makeCharges(ctx context.Context, inTx func(func(*sqlx.Tx) error) error, req scheduler.PlanRequest, now time.Time) error {
	passes := []string{"SKIP LOCKED", ""}
	if req.Preview {
		// One transaction: it must take its locks in one order.
		passes = passes[1:]
	}
	for _, locking := range passes {
		for more := true; more; {
			err := inTx(func(tx *sqlx.Tx) (err error) {
				more, err = makeSomeCharges(ctx, tx, req, now, locking)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// makeSomeCharges does one chunk and reports whether there may be more: the
// chunk was full, or a subscription has more cycles than a pass makes.
func makeSomeCharges(ctx context.Context, tx *sqlx.Tx, req scheduler.PlanRequest, now time.Time, locking string) (more bool, err error) {
	until := req.AsOf.Until(now)
	subs, err := lockDueSubscriptions(ctx, tx, req, now, locking)
	if err != nil {
		return false, err
	}
	var rows []newCycle
	var next []nextCycle
	for _, sub := range subs {
		horizon := until
		if sub.Environment != "test" && !req.Preview && !req.Ahead && now.Before(until) {
			horizon = now
		}
		cycles, stands, err := cycleRows(sub.subscriptionRow, horizon, cyclesPerPass)
		if err != nil {
			if err := parkSubscription(ctx, tx, sub.subscriptionRow, err); err != nil {
				return false, err
			}
			continue
		}
		more = more || len(cycles) == cyclesPerPass
		rows, next = append(rows, cycles...), append(next, stands)
	}
	if _, err := insertCycles(ctx, tx, rows); err != nil {
		return false, err
	}
	if len(next) > 0 {
		if err := storeNextCycles(ctx, tx, next); err != nil {
			return false, err
		}
	}
	return more || len(subs) == subscriptionsPerCommit, nil
}

// A dueSubscription is one with a cycle that is due.
type dueSubscription struct {
	subscriptionRow
	Environment string `db:"environment"`
}

// lockDueSubscriptions locks the next subscriptions with a cycle that is due,
// and then their tokens.
//
// Those are two statements. Where the first waits for a lock, Postgres looks at
// the subscription as it is then, but at joined rows as they were: one that an
// import gave another token meanwhile would fall out of the join, and out of the
// plan.
func lockDueSubscriptions(ctx context.Context, tx *sqlx.Tx, req scheduler.PlanRequest, now time.Time, locking string) ([]dueSubscription, error) {
	// Live accounts have no future: their cycles become charges when their time
	// has come, not because somebody looks ahead.
	lock := `
		SELECT s.id
		  FROM subscriptions s
		  JOIN merchant_accounts a ON a.id = s.merchant_account
		 WHERE s.next_charge_at <= $1
		   AND (a.environment = 'test' OR s.next_charge_at <= $2 OR $5)
		   AND ($3 = '' OR s.merchant_account = $3)
		 ORDER BY s.next_charge_at, s.id
		 LIMIT $4
		   FOR NO KEY UPDATE OF s ` + locking
	var ids pq.Int64Array
	if err := tx.SelectContext(ctx, &ids, lock, req.AsOf.Until(now), now, req.Filter.MerchantAccount, subscriptionsPerCommit, req.Preview || req.Ahead); err != nil {
		return nil, fmt.Errorf("lock due subscriptions: %w", err)
	}
	const read = `
		SELECT` + subscriptionRowColumns + `, a.environment
		  FROM subscriptions s
		  JOIN tokens t ON t.id = s.token_id
		  JOIN merchant_accounts a ON a.id = s.merchant_account
		 WHERE s.id = ANY ($1)
		 ORDER BY s.next_charge_at, s.id
		   FOR SHARE OF t`
	var subs []dueSubscription
	if err := tx.SelectContext(ctx, &subs, read, ids); err != nil {
		return nil, fmt.Errorf("read due subscriptions: %w", err)
	}
	return subs, nil
}

// parkSubscription takes a subscription whose dates cannot be computed out of
// the plan, on record, so that the others go on.
func parkSubscription(ctx context.Context, tx *sqlx.Tx, sub subscriptionRow, cause error) error {
	const park = `
		UPDATE subscriptions
		   SET state = 'paused', reason = $2, decided_by = 'plan', decided_at = clock_timestamp(), next_charge_at = NULL
		 WHERE id = $1`
	if _, err := tx.ExecContext(ctx, park, sub.ID, billing.ReasonCalendarInvalid); err != nil {
		return fmt.Errorf("park subscription %s: %w", sub.Reference, err)
	}
	const alert = `INSERT INTO alerts (kind, detail) VALUES ('calendar_invalid', $1)`
	if _, err := tx.ExecContext(ctx, alert, cause.Error()); err != nil {
		return fmt.Errorf("store alert: %w", err)
	}
	return recordAudit(ctx, tx, auditEntry{
		Actor: "plan", Action: "park_subscription", MerchantAccount: sub.MerchantAccount, ObjectKind: "subscription",
		Object: subscriptionObject(sub.ID), Reason: cause.Error(),
	})
}

// makeRun stores a run with its manifest and with what it leaves out.
func makeRun(ctx context.Context, tx *sqlx.Tx, req scheduler.PlanRequest, now time.Time) (scheduler.RunID, error) {
	// Two plans at once could both take a charge of one token for one day.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('contauth plan'))`); err != nil {
		return 0, fmt.Errorf("wait for other plans: %w", err)
	}
	filter, err := json.Marshal(req.Filter)
	if err != nil {
		return 0, fmt.Errorf("store filter: %w", err)
	}
	state := scheduler.RunPlanned
	if req.NeedsApproval {
		state = scheduler.RunAwaitingApproval
	}
	var asOfDate *string
	if !req.AsOf.Date.IsZero() {
		text := req.AsOf.Date.String()
		asOfDate = &text
	}
	const insert = `
		INSERT INTO runs (state, model, filter, as_of, as_of_date, business_day, created_by, decided_by, items, manifest_hash,
		                  schedule_id, fire_at, catch_up)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 0, 'sha256:' || repeat('0', 64), $8, $9, $10)
		RETURNING id`
	var id scheduler.RunID
	var scheduleID *scheduler.ScheduleID
	var fireAt *time.Time
	if req.Fire != nil {
		scheduleID, fireAt = &req.Fire.Schedule.ID, &req.Fire.FireAt
	}
	until := req.AsOf.Until(now)
	err = tx.GetContext(ctx, &id, insert, state, req.Filter.Model, string(filter), until, asOfDate, req.AsOf.BusinessDay(now).String(), req.Actor,
		scheduleID, fireAt, req.CatchUp)
	if violates(err, "run_is_made_once_a_fire") {
		return 0, fmt.Errorf("the fire has a run already: %w", billing.ErrConflict)
	}
	if err != nil {
		return 0, fmt.Errorf("store run: %w", err)
	}
	if err := catchUp(ctx, tx, id, req, until); err != nil {
		return 0, err
	}
	if err := findCandidates(ctx, tx, id, req, until, asOfDate); err != nil {
		return 0, err
	}
	if err := freezeManifest(ctx, tx, id, req.Filter.Limit); err != nil {
		return 0, err
	}
	if err := hashManifest(ctx, tx, id); err != nil {
		return 0, err
	}
	return id, recordAudit(ctx, tx, auditEntry{
		Actor: req.Actor, Action: "run_planned", ObjectKind: "run", Object: fmt.Sprint(id), After: req.Filter,
	})
}

// findCandidates lists the charges that a run is about in a temporary table,
// each with the reason why it cannot be in the manifest, if there is one.
func findCandidates(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time, asOfDate *string) error {
	if err := findBusyTokens(ctx, tx, id); err != nil {
		return err
	}
	// A charge may be charged on this business day unless another charge of its
	// token is open, is older, or was in a manifest of the same day.
	const query = `
		CREATE TEMPORARY TABLE candidates ON COMMIT DROP AS
		WITH matching AS (
		         SELECT c.id, c.token_id, c.merchant_account, c.amount_minor, c.currency, c.answered, c.due_at, c.state,
		                CASE WHEN c.state = 'held' THEN c.reason
		                     WHEN o.token_id IS NOT NULL THEN 'same_card'
		                     WHEN d.token_id IS NOT NULL AND (d.first_charge <> c.id OR d.last_charge <> c.id) THEN 'catch_up'
		                     END AS reason
		           FROM open_charges k
		           JOIN charges c ON c.id = k.charge_id
		           LEFT JOIN subscriptions s ON s.id = c.subscription_id
		           JOIN merchant_accounts a ON a.id = c.merchant_account
		           LEFT JOIN open_tokens o ON o.token_id = c.token_id
		           LEFT JOIN day_tokens d ON d.token_id = c.token_id
		          WHERE c.next_attempt_at <= $1
		            -- A wait after a refusal is not cut short by the hours that a date takes to end everywhere.
		            AND (c.answered = 0 OR $2::date IS NULL OR c.next_attempt_at <= ($2::date + 1)::timestamp AT TIME ZONE 'UTC')
		            AND c.state IN ('due', 'held') AND c.stop_request IS NULL
		            AND ($2::date IS NULL OR coalesce(c.period_start, (c.due_at AT TIME ZONE 'UTC')::date) <= $2::date)
		            AND ($3 = '' OR c.model = $3)
		            AND ($4 = '' OR c.merchant_account = $4)
		            AND ($5 = '' OR c.currency = $5)
		            AND (cardinality($6::text[]) = 0 OR c.reference = ANY ($6) OR s.reference = ANY ($6))
		            AND (a.environment = 'test' OR c.next_attempt_at <= business_now() OR $7)
		            -- Due again: refused, given back or released (each leaves a reason), or left out by an earlier run.
		            AND (NOT $8 OR c.answered > 0 OR c.reason <> ''
		                 OR EXISTS (SELECT FROM run_items i
		                             WHERE i.charge_id = c.id AND i.run_id <> $9 AND i.disposition IS NOT NULL AND i.reason <> 'run_aborted')
		                 OR EXISTS (SELECT FROM run_exclusions x WHERE x.charge_id = c.id AND x.run_id <> $9 AND x.disposition = 'postponed'))
		            -- A schedule leaves alone what another run has in its manifest, above all one
		            -- that awaits approval or was paused. What a person planned and never started
		            -- holds up nobody.
		            AND (NOT $10 OR NOT EXISTS (
		                 SELECT FROM run_items i JOIN runs r ON r.id = i.run_id
		                  WHERE i.charge_id = c.id AND i.run_id <> $9 AND i.disposition IS NULL AND i.answered = c.answered
		                    AND r.state NOT IN ('completed', 'aborted') AND (r.state <> 'planned' OR r.schedule_id IS NOT NULL))))
		SELECT id, token_id, merchant_account, amount_minor, currency, answered, due_at, state,
		       CASE WHEN reason IS NOT NULL THEN reason
		            WHEN row_number() OVER (PARTITION BY token_id, reason IS NULL ORDER BY due_at, id) > 1 THEN 'catch_up' END AS reason
		  FROM matching`
	references := req.Filter.References
	if references == nil {
		references = []string{}
	}
	if _, err := tx.ExecContext(ctx, query, until, asOfDate, req.Filter.Model, req.Filter.MerchantAccount,
		req.Filter.Currency, references, req.Preview || req.Ahead, req.Filter.DueAgain, id, req.Fire != nil); err != nil {
		return fmt.Errorf("find due charges: %w", err)
	}
	return limitShoppers(ctx, tx, id, req.ShopperDayLimit)
}

// limitShoppers leaves out what would be more than a shopper may be charged for on
// the run's business day, whatever the cards: a mistake in a book must not reach
// one person many times.
func limitShoppers(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, limit int) error {
	if limit == 0 {
		return nil
	}
	const query = `
		WITH today AS (
			SELECT i.merchant_account, t.shopper_reference, count(DISTINCT i.charge_id) AS charges
			  FROM runs r JOIN run_items i ON i.run_id = r.id JOIN tokens t ON t.id = i.token_id
			 WHERE r.business_day = (SELECT business_day FROM runs WHERE id = $1) AND r.id <> $1
			   AND r.state <> 'aborted' AND i.disposition IS NULL AND i.charge_id NOT IN (SELECT id FROM candidates)
			 GROUP BY 1, 2)
		UPDATE candidates k SET reason = 'shopper_limit'
		  FROM (SELECT c.id, coalesce(d.charges, 0) + row_number() OVER (PARTITION BY c.merchant_account, t.shopper_reference ORDER BY c.due_at, c.id) AS place
		          FROM candidates c
		          JOIN tokens t ON t.id = c.token_id
		          LEFT JOIN today d ON d.merchant_account = c.merchant_account AND d.shopper_reference = t.shopper_reference
		         WHERE c.reason IS NULL) p
		 WHERE p.id = k.id AND p.place > $2`
	if _, err := tx.ExecContext(ctx, query, id, limit); err != nil {
		return fmt.Errorf("limit charges by shopper: %w", err)
	}
	return nil
}

// findBusyTokens lists, in temporary tables, the tokens with an open charge and
// those in another manifest of the run's business day. They are tables with a
// key and not part of a larger statement, because the planner must know how many
// there are: believing in a handful, it compared each charge with each of them.
func findBusyTokens(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID) error {
	const tables = `
		CREATE TEMPORARY TABLE open_tokens (token_id bigint PRIMARY KEY) ON COMMIT DROP;
		CREATE TEMPORARY TABLE day_tokens (token_id bigint PRIMARY KEY, first_charge bigint NOT NULL, last_charge bigint NOT NULL) ON COMMIT DROP`
	if _, err := tx.ExecContext(ctx, tables); err != nil {
		return fmt.Errorf("make tables of busy tokens: %w", err)
	}
	const open = `
		INSERT INTO open_tokens
		SELECT DISTINCT c.token_id FROM open_charges k JOIN charges c ON c.id = k.charge_id
		 WHERE c.state IN ('claimed', 'pending', 'unknown')`
	if _, err := tx.ExecContext(ctx, open); err != nil {
		return fmt.Errorf("find tokens with an open charge: %w", err)
	}
	const sameDay = `
		INSERT INTO day_tokens
		SELECT i.token_id, min(i.charge_id), max(i.charge_id)
		  FROM runs r JOIN run_items i ON i.run_id = r.id
		 WHERE r.business_day = (SELECT business_day FROM runs WHERE id = $1) AND r.id <> $1
		   AND r.state <> 'aborted' AND i.disposition IS NULL
		 GROUP BY i.token_id`
	if _, err := tx.ExecContext(ctx, sameDay, id); err != nil {
		return fmt.Errorf("find tokens in other manifests of the day: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `ANALYZE open_tokens, day_tokens`); err != nil {
		return fmt.Errorf("analyse busy tokens: %w", err)
	}
	return nil
}

// freezeManifest makes the chosen candidates the run's items, the oldest first
// where there is a limit, and stores why the others are left out.
func freezeManifest(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, limit int) error {
	const items = `
		INSERT INTO run_items (run_id, merchant_account, position, charge_id, amount_minor, token_id, answered)
		SELECT $1, merchant_account, row_number() OVER (ORDER BY merchant_account, due_at, id), id, amount_minor, token_id, answered
		  FROM (SELECT * FROM candidates WHERE reason IS NULL ORDER BY due_at, id LIMIT nullif($2, 0)) chosen`
	if _, err := tx.ExecContext(ctx, items, id, limit); err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	const left = `
		INSERT INTO run_exclusions (run_id, charge_id, amount_minor, currency, disposition, reason)
		SELECT $1, id, amount_minor, currency, CASE WHEN state = 'held' THEN 'held' ELSE 'postponed' END, reason
		  FROM candidates WHERE reason IS NOT NULL`
	if _, err := tx.ExecContext(ctx, left, id); err != nil {
		return fmt.Errorf("store what the plan leaves out: %w", err)
	}
	// The next statements join a million fresh rows: without this they would be
	// planned as if there were a thousand.
	if _, err := tx.ExecContext(ctx, `ANALYZE run_items`); err != nil {
		return fmt.Errorf("analyse manifest: %w", err)
	}
	return nil
}

// hashManifest counts and hashes the manifest's lines, as WriteManifest writes them.
func hashManifest(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID) error {
	rows, err := tx.QueryxContext(ctx, manifestQuery, id)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	hash := sha256.New()
	if err := writeManifest(rows, hash); err != nil {
		return err
	}
	const store = `
		UPDATE runs SET manifest_hash = $2, items = (SELECT count(*) FROM run_items WHERE run_id = $1) WHERE id = $1`
	if _, err := tx.ExecContext(ctx, store, id, "sha256:"+hex.EncodeToString(hash.Sum(nil))); err != nil {
		return fmt.Errorf("store manifest hash: %w", err)
	}
	return nil
}
