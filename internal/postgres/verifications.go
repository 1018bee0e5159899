package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

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
