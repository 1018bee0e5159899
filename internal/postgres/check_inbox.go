package postgres

import "context"

// findForgottenEvents is I15.
func findForgottenEvents(ctx context.Context, c *checker, f *findings) error {
	const unread = `
		SELECT 'webhook ' || i.id || ' (' || i.code || ') was stored at ' || to_char(i.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || ', and no daemon has looked at it'
		  FROM inbox i
		 WHERE ($1 = '' OR i.merchant_account = $1) AND i.state = 'stored' AND i.tries = 0
		   AND i.next_try_at < clock_timestamp() - interval '1 hour'`
	const idle = `
		SELECT 'webhook ' || i.id || ' (' || i.code || ') waits for an open attempt of charge ' || i.charge_id || ', which is ' || c.state
		  FROM inbox i JOIN charges c ON c.id = i.charge_id
		 WHERE ($1 = '' OR i.merchant_account = $1) AND i.state = 'waiting'
		   AND c.state NOT IN ('claimed', 'pending', 'unknown') AND i.next_try_at < clock_timestamp() - interval '1 hour'`
	const unsigned = `
		SELECT 'webhook ' || i.id || ' (' || i.code || ') had an effect, though nobody signed it'
		  FROM inbox i
		 WHERE ($1 = '' OR i.merchant_account = $1) AND i.state = 'applied' AND NOT i.signed`
	return c.findAll(ctx, f, unread, idle, unsigned)
}
