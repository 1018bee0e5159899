package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// A VerificationJobID is our own number of a verification job.
type VerificationJobID int64

// A VerificationJob is many verifications that somebody asked for at once.
type VerificationJob struct {
	ID        VerificationJobID `db:"id"`
	Strategy  tokens.Strategy   `db:"strategy"`
	Currency  string            `db:"currency"`
	Selection string            `db:"selection"` // which tokens, in the words of the command
	Actor     string            `db:"actor"`
	Reason    string            `db:"reason"`
	CreatedAt time.Time         `db:"created_at"`
	Items     int               `db:"items"`
	Done      int               `db:"done"`
	Results   []VerificationCount
}

// A VerificationCount is how many tokens of a job had a result.
type VerificationCount struct {
	Result tokens.VerificationResult `db:"result"`
	Count  int                       `db:"count"`
}

// PreviewVerification counts, by merchant account, the tokens that a job would ask
// about: those of the filter that can still be charged.
func (db *DB) PreviewVerification(ctx context.Context, filter TokenFilter) (map[string]int, error) {
	where := verifiable(filter)
	query := `SELECT t.merchant_account, count(*) FROM tokens t LEFT JOIN cards k ON k.token_id = t.id` + where.clause() + ` GROUP BY 1`
	rows, err := db.sqlx.QueryxContext(ctx, query, where.args...)
	if err != nil {
		return nil, fmt.Errorf("count tokens to verify: %w", unavailable(err))
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var account string
		var n int
		if err := rows.Scan(&account, &n); err != nil {
			return nil, fmt.Errorf("count tokens to verify: %w", err)
		}
		counts[account] = n
	}
	return counts, rows.Err()
}

func verifiable(filter TokenFilter) *conditions {
	where := filter.where()
	where.terms = append(where.terms, "t.state IN ('unverified', 'valid')")
	return where
}

// CreateVerificationJob notes the tokens of a filter that shall be verified.
func (db *DB) CreateVerificationJob(ctx context.Context, filter TokenFilter, job VerificationJob) (VerificationJobID, int, error) {
	var id VerificationJobID
	items := 0
	err := db.inTx(ctx, "create verification job", func(tx *sqlx.Tx) error {
		const insert = `INSERT INTO verification_jobs (strategy, currency, selection, actor, reason) VALUES ($1, $2, $3, $4, $5) RETURNING id`
		if err := tx.GetContext(ctx, &id, insert, job.Strategy, job.Currency, job.Selection, job.Actor, job.Reason); err != nil {
			return err
		}
		where := verifiable(filter)
		query := `INSERT INTO verification_items (job_id, token_id) SELECT ` + where.parameter(id) +
			`, t.id FROM tokens t LEFT JOIN cards k ON k.token_id = t.id` + where.clause()
		var err error
		items, err = affected(tx.ExecContext(ctx, query, where.args...))
		return err
	})
	return id, items, err
}

// TakeVerifications takes the next tokens of a job, whoever else works on it, for as
// long as patience says.
func (db *DB) TakeVerifications(ctx context.Context, id VerificationJobID, limit int, patience time.Duration) ([]tokens.Token, error) {
	const query = `
		WITH taken AS (
			UPDATE verification_items i SET taken_until = clock_timestamp() + make_interval(secs => $3)
			  FROM (SELECT job_id, token_id FROM verification_items
			         WHERE job_id = $1 AND done_at IS NULL AND (taken_until IS NULL OR taken_until < clock_timestamp())
			         ORDER BY token_id LIMIT $2 FOR UPDATE SKIP LOCKED) n
			 WHERE i.job_id = n.job_id AND i.token_id = n.token_id
			RETURNING i.token_id)
		SELECT t.id, t.merchant_account, t.state FROM taken x JOIN tokens t ON t.id = x.token_id ORDER BY t.id`
	var rows []struct {
		ID              tokens.ID    `db:"id"`
		MerchantAccount string       `db:"merchant_account"`
		State           tokens.State `db:"state"`
	}
	if err := db.sqlx.SelectContext(ctx, &rows, query, id, limit, patience.Seconds()); err != nil {
		return nil, fmt.Errorf("take verifications: %w", unavailable(err))
	}
	taken := make([]tokens.Token, len(rows))
	for i, r := range rows {
		taken[i] = tokens.Token{ID: r.ID, MerchantAccount: r.MerchantAccount, State: r.State}
	}
	return taken, nil
}

// FinishVerification says what a token's verification found; with an empty result
// it gives the token back to the job.
func (db *DB) FinishVerification(ctx context.Context, id VerificationJobID, token tokens.ID, result tokens.VerificationResult) error {
	const query = `
		UPDATE verification_items
		   SET result = $3, done_at = CASE WHEN $3 <> '' THEN clock_timestamp() END, taken_until = NULL
		 WHERE job_id = $1 AND token_id = $2`
	if err := expectOne(db.sqlx.ExecContext(ctx, query, id, token, result)); err != nil {
		return fmt.Errorf("finish verification: %w", unavailable(err))
	}
	return nil
}

// FindVerificationJob returns how far a job is; 0 is the latest one.
func (db *DB) FindVerificationJob(ctx context.Context, id VerificationJobID) (VerificationJob, error) {
	const query = `
		SELECT j.id, j.strategy, j.currency, j.selection, j.actor, j.reason, j.created_at,
		       (SELECT count(*) FROM verification_items i WHERE i.job_id = j.id) AS items,
		       (SELECT count(*) FROM verification_items i WHERE i.job_id = j.id AND i.done_at IS NOT NULL) AS done
		  FROM verification_jobs j WHERE j.id = $1 OR $1 = 0 ORDER BY j.id DESC LIMIT 1`
	var job VerificationJob
	if err := db.sqlx.GetContext(ctx, &job, query, id); err != nil {
		return job, fmt.Errorf("verification job %d: %w", id, unavailable(notFound(err)))
	}
	const results = `
		SELECT result, count(*) AS count FROM verification_items
		 WHERE job_id = $1 AND done_at IS NOT NULL GROUP BY result ORDER BY count DESC, result`
	if err := db.sqlx.SelectContext(ctx, &job.Results, results, job.ID); err != nil {
		return job, fmt.Errorf("results of verification job %d: %w", job.ID, unavailable(err))
	}
	job.CreatedAt = job.CreatedAt.UTC()
	return job, nil
}

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

// ForgetShopper removes a shopper for good: charges that are not sent are cancelled,
// subscriptions end, and tokens are switched off. What was charged stays on record.
// It returns the tokens, which are still to be removed at their gateways, and
// billing.ErrConflict while a request of the shopper's may be at a gateway.
// EraseShopper is the last step.
func (db *DB) ForgetShopper(ctx context.Context, shopper string, by billing.Decision) ([]tokens.Token, error) {
	if err := by.Validate(); err != nil {
		return nil, fmt.Errorf("forget: %w", err)
	}
	own, err := db.shopperTokens(ctx, shopper)
	if err != nil {
		return nil, err
	}
	if len(own) == 0 {
		const named = `SELECT EXISTS (SELECT FROM token_sessions WHERE shopper_reference = $1)`
		var session bool
		if err := db.sqlx.GetContext(ctx, &session, named, shopper); err != nil {
			return nil, fmt.Errorf("look for sessions: %w", unavailable(err))
		}
		if !session {
			return nil, fmt.Errorf("shopper: %w", billing.ErrNotFound)
		}
	}
	if err := db.endShopper(ctx, shopper, by); err != nil {
		return nil, err
	}
	for i, token := range own {
		if token.State == tokens.Disabled {
			continue
		}
		applied, err := db.ApplyChange(ctx, token.ID, tokens.Change{
			Kind: tokens.EventErased, State: tokens.Disabled, Cause: "its shopper was deleted",
			Source: tokens.SourcePerson, Actor: by.Actor, Why: by.Why,
		})
		if err != nil {
			return nil, err
		}
		own[i] = applied.Token
	}
	// Until the last token was off, a plan, an import or a claim may have found one.
	return own, db.endShopper(ctx, shopper, by)
}

func (db *DB) shopperTokens(ctx context.Context, shopper string) ([]tokens.Token, error) {
	var own []tokens.Token
	for listing, err := range db.FindTokens(ctx, TokenFilter{Shopper: shopper}) {
		if err != nil {
			return nil, err
		}
		own = append(own, listing.Token)
	}
	return own, nil
}

// endShopper cancels what of a shopper is still to come.
func (db *DB) endShopper(ctx context.Context, shopper string, by billing.Decision) error {
	if err := refuseWhileAtGateway(ctx, db.sqlx, shopper); err != nil {
		return err
	}
	const subscriptions = `
		SELECT s.id FROM subscriptions s JOIN tokens t ON t.id = s.token_id
		 WHERE t.shopper_reference = $1 AND s.state NOT IN ('cancelled', 'completed') ORDER BY s.id`
	var ids []billing.SubscriptionID
	if err := db.sqlx.SelectContext(ctx, &ids, subscriptions, shopper); err != nil {
		return fmt.Errorf("list subscriptions: %w", unavailable(err))
	}
	for _, id := range ids {
		if _, err := db.CancelSubscription(ctx, id, by); err != nil {
			return err
		}
	}
	const charges = `
		SELECT c.id FROM open_charges o JOIN charges c ON c.id = o.charge_id JOIN tokens t ON t.id = c.token_id
		 WHERE t.shopper_reference = $1 AND c.state IN ('due', 'held') ORDER BY c.id`
	var due []billing.ChargeID
	if err := db.sqlx.SelectContext(ctx, &due, charges, shopper); err != nil {
		return fmt.Errorf("list charges: %w", unavailable(err))
	}
	for _, id := range due {
		if _, err := db.CancelCharge(ctx, id, by); err != nil {
			return err
		}
	}
	return nil
}

// EraseShopper puts an opaque name in the place of a shopper's, wherever it stands,
// once the tokens are gone at their gateways. It returns billing.ErrConflict while
// one of them is not switched off, or an open attempt has the name in its bytes.
func (db *DB) EraseShopper(ctx context.Context, shopper string) error {
	return db.inTx(ctx, "erase shopper", func(tx *sqlx.Tx) error {
		var ids []tokens.ID
		if err := tx.SelectContext(ctx, &ids, `SELECT id FROM tokens WHERE shopper_reference = $1 ORDER BY id`, shopper); err != nil {
			return fmt.Errorf("find tokens: %w", err)
		}
		locked, err := lockTokenRows(ctx, tx, ids, withoutSubscriptions)
		if err != nil {
			return err
		}
		for _, token := range locked {
			if token.State != tokens.Disabled {
				return fmt.Errorf("%s is %s: forget the shopper first: %w", token, token.State, billing.ErrConflict)
			}
		}
		if err := refuseWhileAtGateway(ctx, tx, shopper); err != nil {
			return err
		}
		// A session without a shopper brings no token, and an event without one waits.
		for _, query := range []string{
			`UPDATE tokens SET shopper_reference = 'erased-' || id WHERE shopper_reference = $1`,
			`UPDATE token_sessions SET shopper_reference = '' WHERE shopper_reference = $1`,
			`UPDATE inbox SET shopper_reference = '' WHERE shopper_reference = $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, shopper); err != nil {
				return err
			}
		}
		return nil
	})
}

// refuseWhileAtGateway returns billing.ErrConflict while a request of the shopper's may
// be at a gateway.
func refuseWhileAtGateway(ctx context.Context, q sqlx.QueryerContext, shopper string) error {
	const query = `
		SELECT c.reference FROM open_charges o JOIN charges c ON c.id = o.charge_id JOIN tokens t ON t.id = c.token_id
		 WHERE t.shopper_reference = $1 AND c.state IN ('claimed', 'pending', 'unknown') ORDER BY c.id LIMIT 5`
	var open []string
	if err := sqlx.SelectContext(ctx, q, &open, query, shopper); err != nil {
		return fmt.Errorf("look for open charges: %w", unavailable(err))
	}
	if len(open) > 0 {
		return fmt.Errorf("%s may be at the gateway: wait for the answer: %w", strings.Join(open, ", "), billing.ErrConflict)
	}
	return nil
}
