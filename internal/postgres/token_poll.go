package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/contauth/contauth/tokens"
)

// TokensToRead takes tokens of some accounts whose gateway was not asked about them
// for a while, those first that are due soonest. It notes that they are being read,
// so that no other daemon asks too.
func (db *DB) TokensToRead(ctx context.Context, accounts []string, within, fresh time.Duration, limit int) ([]tokens.ID, error) {
	now, err := db.BusinessNow(ctx)
	if err != nil {
		return nil, err
	}
	// Until when is a value, and no call of a function, so that Postgres sees how few
	// subscriptions are due by then.
	const query = `
		WITH due AS (
			SELECT u.token_id, min(u.at) AS at
			  FROM (SELECT s.token_id, s.next_charge_at AS at FROM subscriptions s
			         WHERE s.next_charge_at < $2
			        UNION ALL
			        SELECT c.token_id, c.next_attempt_at FROM open_charges o JOIN charges c ON c.id = o.charge_id
			         WHERE c.state IN ('due', 'held') AND c.next_attempt_at < $2) u
			 GROUP BY u.token_id),
		     stale AS (
			SELECT t.id, d.at FROM due d JOIN tokens t ON t.id = d.token_id LEFT JOIN cards k ON k.token_id = t.id
			 WHERE t.merchant_account = ANY ($1) AND t.state <> 'disabled'
			   AND (k.read_at IS NULL OR k.read_at < clock_timestamp() - make_interval(secs => $3))
			 ORDER BY d.at, t.id LIMIT $4),
		     taken AS (
			INSERT INTO cards AS k (token_id, read_at) SELECT id, clock_timestamp() FROM stale ORDER BY id
			ON CONFLICT (token_id) DO UPDATE SET read_at = excluded.read_at
			   WHERE k.read_at IS NULL OR k.read_at < clock_timestamp() - make_interval(secs => $3)
			RETURNING token_id)
		SELECT s.id FROM taken x JOIN stale s ON s.id = x.token_id ORDER BY s.at, s.id`
	var ids []tokens.ID
	if err := db.sqlx.SelectContext(ctx, &ids, query, pq.Array(accounts), now.Add(within), fresh.Seconds(), limit); err != nil {
		return nil, fmt.Errorf("find tokens to read: %w", unavailable(err))
	}
	return ids, nil
}

// TokensUnread implements tokens.PollStore.
func (db *DB) TokensUnread(ctx context.Context, ids []tokens.ID) error {
	const query = `
		UPDATE cards SET read_at = NULL
		 WHERE token_id = ANY (ARRAY(SELECT token_id FROM cards WHERE token_id = ANY ($1) ORDER BY token_id FOR NO KEY UPDATE))`
	if _, err := db.sqlx.ExecContext(ctx, query, pq.Array(ids)); err != nil {
		return fmt.Errorf("give %d unread tokens back: %w", len(ids), unavailable(err))
	}
	return nil
}
