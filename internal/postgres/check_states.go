package postgres

import (
	"context"
	"fmt"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// findForgottenCharges is I4.
func findForgottenCharges(ctx context.Context, c *checker, f *findings) error {
	const late = `
		SELECT 'charge ' || c.id || ' is due, but its next attempt waits until ' || (c.next_attempt_at AT TIME ZONE 'UTC')::date
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL
		   AND c.state = 'due' AND c.next_attempt_at > greatest(c.due_at, business_now() + interval '40 days')`
	// These reasons promise another look, which needs a time and a run to resolve with.
	const unresolved = `
		SELECT 'charge ' || c.id || ' is ' || c.state || ' (' || c.reason || '), but nobody will look at it again'
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL AND c.state IN ('pending', 'unknown')
		   AND (c.resolve_at IS NULL AND c.reason IN ('answer_missing', 'answer_mismatch', 'in_progress', 'lease_expired', 'awaits_gateway')
		        OR c.resolve_at IS NOT NULL AND c.run_id IS NULL)`
	// An expired lease is found through its claim, never through the charges.
	const unclaimed = `
		SELECT 'charge ' || c.id || ' is claimed, but no claim remembers it'
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL AND c.state = 'claimed'
		   AND NOT EXISTS (SELECT FROM run_items i
		                     JOIN claims k ON k.run_id = i.run_id AND k.merchant_account = i.merchant_account
		                                  AND i.position BETWEEN k.first_position AND k.last_position
		                    WHERE i.charge_id = c.id AND i.run_id = c.run_id)`
	const unexplained = `
		SELECT 'charge ' || c.id || ' is ' || c.state || ' without a reason'
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL
		   AND c.state IN ('held', 'pending', 'unknown') AND c.reason = ''`
	// Plans and claims find open charges in open_charges alone.
	const unlisted = `
		SELECT 'charge ' || c.id || ' is ' || c.state || ', but it is not among the open charges'
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL
		   AND NOT EXISTS (SELECT FROM open_charges k WHERE k.charge_id = c.id AND k.token_id = c.token_id)`
	return c.findAll(ctx, f, late, unresolved, unclaimed, unexplained, unlisted)
}

// findIllegalStates is I10.
func findIllegalStates(ctx context.Context, c *checker, f *findings) error {
	const charges = `
		SELECT 'charge ' || c.id || ' is ' || c.state || ', but ' || d.difference
		  FROM charges c
		  LEFT JOIN (SELECT o.charge_id, bool_or(o.outcome = 'authorised') AS authorised,
		                    bool_or(o.counted AND o.outcome IN ('refused', 'not_processed')) AS refused,
		                    max(o.attempt) FILTER (WHERE o.outcome = 'unknown') AS unknown,
		                    max(o.attempt) FILTER (WHERE o.outcome = 'pending') AS pending
		               FROM observations o GROUP BY o.charge_id) a ON a.charge_id = c.id
		 CROSS JOIN LATERAL (SELECT CASE
		       WHEN c.state = 'paid' AND c.reason = 'paid_elsewhere' AND a.authorised THEN 'it was authorised, too, though recorded as paid elsewhere'
		       WHEN c.state = 'paid' AND c.reason <> 'paid_elsewhere' AND a.authorised IS NOT TRUE THEN 'no approval is recorded'
		       WHEN c.state <> 'paid' AND a.authorised THEN 'an approval is recorded'
		       WHEN c.state = 'unpaid' AND a.refused IS NOT TRUE THEN 'no refusal is recorded'
		       WHEN c.state = 'unknown' AND coalesce(a.unknown, 0) <> c.answered + 1 THEN 'nothing is recorded of a lost answer'
		       WHEN c.state = 'pending' AND coalesce(a.pending, 0) <> c.answered + 1 THEN 'no such answer is recorded'
		       WHEN c.state IN ('due', 'claimed') AND c.answered > 0 AND a.refused IS NOT TRUE THEN 'no answer is recorded that allows another attempt'
		       END AS difference) d
		 WHERE ($1 = '' OR c.merchant_account = $1) AND d.difference IS NOT NULL`
	if err := c.findAll(ctx, f, charges); err != nil {
		return err
	}
	return findIllegalMoves(ctx, c, f)
}

// findIllegalMoves compares the moves on record with the tables of legal ones.
func findIllegalMoves(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT a.object_kind, a.before ->> 'state' AS from_state, a.after ->> 'state' AS to_state, count(*) AS count, min(a.object) AS object
		  FROM audit a
		 WHERE ($1 = '' OR a.merchant_account = $1)
		   AND a.object_kind IN ('charge', 'subscription', 'run') AND a.before ->> 'state' <> a.after ->> 'state'
		 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`
	var moves []struct {
		Kind   string `db:"object_kind"`
		From   string `db:"from_state"`
		To     string `db:"to_state"`
		Count  int    `db:"count"`
		Object string `db:"object"`
	}
	if err := c.tx.SelectContext(ctx, &moves, query, c.req.MerchantAccount); err != nil {
		return err
	}
	for _, m := range moves {
		if !canMove(m.Kind, m.From, m.To) {
			f.add(m.Count, fmt.Sprintf("%s %s went from %s to %s, which is no legal move", m.Kind, m.Object, m.From, m.To))
		}
	}
	return nil
}

func canMove(kind, from, to string) bool {
	switch kind {
	case auditKindCharge:
		return billing.ChargeState(from).CanMove(billing.ChargeState(to))
	case auditKindSubscription:
		return billing.SubscriptionState(from).CanMove(billing.SubscriptionState(to))
	default:
		return scheduler.RunState(from).CanMove(scheduler.RunState(to))
	}
}

// findStandstill is I16. The grace is what a resolver may need to notice.
func findStandstill(ctx context.Context, c *checker, f *findings) error {
	const leases = `
		SELECT 'charge ' || c.id || ' is claimed, but its lease ended at ' || to_char(c.lease_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
		  FROM charges c
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL
		   AND c.state = 'claimed' AND c.lease_until < clock_timestamp() - interval '30 seconds'`
	if err := c.findAll(ctx, f, leases); err != nil {
		return err
	}
	const runs = `
		SELECT 'run ' || r.id || ' is running, but nobody has worked it since '
		       || to_char(coalesce(r.progress_at, r.started_at, r.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
		  FROM runs r
		 WHERE r.state = 'running'
		   AND coalesce(r.progress_at, r.started_at, r.created_at) < clock_timestamp() - 2 * make_interval(secs => $1)`
	return c.find(ctx, f, runs, c.req.Lease.Seconds())
}
