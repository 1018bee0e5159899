package postgres

import "context"

// findSecondAttempts is I5. The open attempt of a charge is the charge's own
// row, so there is at most one; it must not stand beside an approved one.
func findSecondAttempts(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT 'charge ' || c.id || ' has ' || a.approved || ' approved attempts'
		       || CASE WHEN c.state IN ('claimed', 'pending', 'unknown') THEN ' and one that is ' || c.state ELSE '' END
		  FROM (SELECT charge_id, count(DISTINCT attempt) AS approved
		          FROM observations WHERE outcome = 'authorised' GROUP BY charge_id) a
		  JOIN charges c ON c.id = a.charge_id
		 WHERE ($1 = '' OR c.merchant_account = $1)
		   AND a.approved + (c.state IN ('claimed', 'pending', 'unknown'))::integer > 1`
	return c.findAll(ctx, f, query)
}

// findWrongAttempts is I6.
func findWrongAttempts(ctx context.Context, c *checker, f *findings) error {
	const numbers = `
		SELECT 'charge ' || c.id || ' has ' || c.answered || ' answered attempts, but answers are recorded of ' ||
		       CASE WHEN a.charge_id IS NULL THEN 'none' ELSE a.count || ', up to number ' || a.highest END
		  FROM charges c
		  LEFT JOIN (SELECT charge_id, count(DISTINCT attempt) AS count, max(attempt) AS highest
		               FROM observations WHERE counted GROUP BY charge_id) a ON a.charge_id = c.id
		 WHERE ($1 = '' OR c.merchant_account = $1)
		   AND (coalesce(a.count, 0) <> c.answered OR coalesce(a.highest, 0) <> c.answered)`
	const ahead = `
		SELECT 'charge ' || c.id || ' has news of attempt ' || max(o.attempt) || ', but ' || c.answered || ' answered attempts'
		  FROM observations o JOIN charges c ON c.id = o.charge_id
		 WHERE ($1 = '' OR c.merchant_account = $1) AND o.attempt > c.answered + 1
		 GROUP BY c.id, c.answered`
	const orphans = `
		SELECT 'news is recorded of charge ' || o.charge_id || ', which does not exist'
		  FROM observations o
		 WHERE $1 = '' AND NOT EXISTS (SELECT FROM charges c WHERE c.id = o.charge_id)
		 GROUP BY o.charge_id`
	if err := c.findAll(ctx, f, numbers, ahead, orphans); err != nil || !c.hasLedger() {
		return err
	}
	const keyOfMany = `
		SELECT 'one key stands for ' || count(DISTINCT (l.charge_reference, l.attempt)) || ' attempts at the gateway: '
		       || string_agg(l.psp_reference, ', ')
		  FROM check_ledger l
		 GROUP BY l.merchant_account, l.idempotency_key HAVING count(DISTINCT (l.charge_reference, l.attempt)) > 1`
	const otherKey = `
		SELECT ` + ledgerItem + ` || ' came with a key that is not derived from it'
		  FROM check_ledger l WHERE NOT l.own_key`
	if err := c.find(ctx, f, keyOfMany); err != nil {
		return err
	}
	return c.find(ctx, f, otherKey)
}

// findChangedRequests is I7: by the hashes of what was sent, and by what the
// gateway counted.
func findChangedRequests(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT 'charge ' || o.charge_id || ', attempt ' || o.attempt || ' was sent in ' || count(DISTINCT o.request_hash) || ' forms'
		  FROM (SELECT charge_id, attempt FROM observations GROUP BY charge_id, attempt HAVING count(*) > 1) again
		  JOIN observations o USING (charge_id, attempt)
		  JOIN charges c ON c.id = o.charge_id
		 WHERE ($1 = '' OR c.merchant_account = $1)
		   AND o.request_hash <> decode(repeat('00', 32), 'hex') -- nothing was sent
		 GROUP BY o.charge_id, o.attempt HAVING count(DISTINCT o.request_hash) > 1`
	if err := c.findAll(ctx, f, query); err != nil {
		return err
	}
	for _, ledger := range c.req.Ledgers {
		if n := ledger.SameKeyOtherBody; n != nil && *n > 0 {
			f.add(int(*n), "the gateway saw a known key with other bytes")
		}
	}
	return nil
}

// findChangedMoney is I11.
func findChangedMoney(ctx context.Context, c *checker, f *findings) error {
	// An item stands for an attempt that its run made. One that never reached the
	// gateway leaves the amount free to change.
	const items = `
		SELECT DISTINCT 'charge ' || c.id || ', attempt ' || o.attempt || ' was planned by run ' || i.run_id || ' with '
		       || i.amount_minor || ', but the charge is of ' || c.amount_minor || ' minor units of ' || c.currency
		  FROM run_items i
		  JOIN charges c ON c.id = i.charge_id
		  JOIN observations o ON o.charge_id = c.id AND o.run_id = i.run_id AND o.attempt = i.answered + 1
		 WHERE ($1 = '' OR c.merchant_account = $1) AND i.amount_minor <> c.amount_minor
		   AND (o.counted OR o.outcome IN ('authorised', 'refused', 'pending', 'unknown'))`
	if err := c.findAll(ctx, f, items); err != nil || !c.hasLedger() {
		return err
	}
	const ledger = `
		SELECT 'charge ' || c.id || ', attempt ' || l.attempt || ' is of ' || l.amount_minor || ' ' || l.currency || ' at the gateway, but of '
		       || c.amount_minor || ' ' || c.currency || ' here, in minor units'
		  FROM check_ledger l JOIN charges c ON c.id = l.charge_id
		 WHERE (l.amount_minor, l.currency) <> (c.amount_minor, c.currency)`
	return c.find(ctx, f, ledger)
}
