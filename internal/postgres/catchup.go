package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// catchUp carries out a schedule's policy for the cycles that were missed while
// no daemon ran, and holds those that its blackout left no day for. What is due
// again was in somebody's hand before, and not missed.
func catchUp(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time) error {
	if req.Filter.DueAgain {
		return nil
	}
	if !req.MissedBefore.IsZero() {
		if err := decideMissed(ctx, tx, id, req, until); err != nil {
			return err
		}
	}
	return holdBlackedOut(ctx, tx, id, req, until)
}

// holdBlackedOut holds the cycles whose whole period lies on the days without
// charges just before a fire: no charge is moved out of its period.
func holdBlackedOut(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time) error {
	if req.Fire == nil || req.Fire.Schedule.Blackout.IsZero() {
		return nil
	}
	zone, err := billing.LoadZone(req.Fire.Schedule.Zone)
	if err != nil {
		return fmt.Errorf("schedule %s: %w", req.Fire.Schedule.Name, err)
	}
	today := zone.Date(req.Fire.FireAt)
	first := req.Fire.Schedule.Blackout.CoveredBefore(today)
	if first.Equal(today) {
		return nil
	}
	req.MissedBefore = until // missed or not
	return holdMissed(ctx, tx, id, req, until, `period_start >= ($8::date[])[1] AND period_end <= ($8::date[])[2]`,
		pq.Array([]string{first.String(), today.String()}), billing.ReasonBlackout)
}

// decideMissed decides on missed cycles. Those that it leaves alone stay due: the
// oldest is charged first, and one a token and business day.
func decideMissed(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time) error {
	switch req.CatchUp {
	case scheduler.CatchUpFew:
		if err := holdMissed(ctx, tx, id, req, until, `due_at < $8`, until.Add(-scheduler.CatchUpAge), billing.ReasonCatchUpTooOld); err != nil {
			return err
		}
		return holdMissed(ctx, tx, id, req, until, `place > $8`, scheduler.CatchUpFewCycles, billing.ReasonCatchUpFew)
	case scheduler.CatchUpAsk:
		return holdMissed(ctx, tx, id, req, until, `$8`, true, billing.ReasonCatchUpAsk)
	case scheduler.CatchUpNone:
		return waiveMissed(ctx, tx, id, req, until, `$8`, billing.ReasonCatchUpNone)
	case scheduler.CatchUpLatest:
		return waiveMissed(ctx, tx, id, req, until, `$8 AND later`, billing.ReasonCatchUpLatest)
	}
	return nil
}

// missedCycles are the charges of cycles ($2) that were missed ($1) and match the
// run's filter ($3 to $7), with their place among those of their subscription,
// and whether a later cycle of it is due. A charge that was in a manifest, or
// that a person decided on, was not missed.
const missedCycles = `
	SELECT m.*, row_number() OVER (PARTITION BY m.subscription_id ORDER BY m.cycle) AS place,
	       EXISTS (SELECT FROM charges l
	                WHERE l.subscription_id = m.subscription_id AND l.cycle > m.cycle AND l.state = 'due' AND l.next_attempt_at <= $2) AS later
	  FROM (SELECT c.id, c.subscription_id, c.cycle, c.due_at, c.amount_minor, c.currency, c.period_start, c.period_end
	          FROM open_charges k
	          JOIN charges c ON c.id = k.charge_id
	          JOIN subscriptions s ON s.id = c.subscription_id
	         WHERE c.state = 'due' AND c.due_at <= $1 AND c.answered = 0 AND c.attempt_started_at IS NULL
	           AND c.stop_request IS NULL AND c.decided_by = 'plan'
	           AND ($3 = '' OR c.model = $3)
	           AND ($4 = '' OR c.merchant_account = $4)
	           AND ($5 = '' OR c.currency = $5)
	           AND (cardinality($6::text[]) = 0 OR c.reference = ANY ($6) OR s.reference = ANY ($6))
	           AND NOT EXISTS (SELECT FROM run_items i WHERE i.charge_id = c.id AND i.run_id <> $7)
	           ORDER BY c.id FOR UPDATE OF c) m`

func missedArguments(id scheduler.RunID, req scheduler.PlanRequest, until time.Time, also any) []any {
	references := req.Filter.References
	if references == nil {
		references = []string{}
	}
	return []any{req.MissedBefore, until, string(req.Filter.Model), req.Filter.MerchantAccount, req.Filter.Currency, references, id, also}
}

// holdMissed holds the missed cycles that a condition on them and $8 chooses.
func holdMissed(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time, condition string, value any, reason billing.Reason) error {
	query := `
		UPDATE charges c
		   SET state = 'held', reason = $9, decided_by = $10, decided_at = clock_timestamp()
		 WHERE c.id = ANY (ARRAY(SELECT id FROM (` + missedCycles + `) missed WHERE ` + condition + `))`
	if _, err := tx.ExecContext(ctx, query, append(missedArguments(id, req, until, value), reason, req.Actor)...); err != nil {
		return fmt.Errorf("hold missed cycles: %w", err)
	}
	return nil
}

// waiveMissed waives the missed cycles that a condition chooses, and lists them
// with what the plan leaves out.
func waiveMissed(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, req scheduler.PlanRequest, until time.Time, condition string, reason billing.Reason) error {
	query := `
		WITH waived AS (
			UPDATE charges c
			   SET state = 'waived', reason = $9, decided_by = $10, decided_at = clock_timestamp(), finished_at = clock_timestamp()
			 WHERE c.id = ANY (ARRAY(SELECT id FROM (` + missedCycles + `) missed WHERE ` + condition + `))
			RETURNING c.id, c.amount_minor, c.currency),
		     closed AS (DELETE FROM open_charges WHERE charge_id = ANY (ARRAY(SELECT id FROM waived)))
		INSERT INTO run_exclusions (run_id, charge_id, amount_minor, currency, disposition, reason)
		SELECT $7, id, amount_minor, currency, 'skipped', $9 FROM waived`
	if _, err := tx.ExecContext(ctx, query, append(missedArguments(id, req, until, true), reason, req.Actor)...); err != nil {
		return fmt.Errorf("waive missed cycles: %w", err)
	}
	return nil
}
