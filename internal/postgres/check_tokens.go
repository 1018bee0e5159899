package postgres

import "context"

// findDeadTokens is I17. What was claimed when its token died has the wish to stop
// it, which its process obeys before it sends.
func findDeadTokens(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT 'charge ' || c.id || ' is ' || c.state || ', but its token ' || t.id || ' is ' || t.state
		  FROM charges c JOIN tokens t ON t.id = c.token_id
		 WHERE ($1 = '' OR c.merchant_account = $1) AND c.finished_at IS NULL
		   AND (c.state = 'due' OR c.state = 'claimed' AND c.stop_request IS NULL)
		   AND t.state NOT IN ('unverified', 'valid')`
	return c.findAll(ctx, f, query)
}
