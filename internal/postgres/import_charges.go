package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/contauth/contauth/billing"
)

// ImportCharges stores the UnscheduledCardOnFile charges of a file: new ones, and
// the differences to those that are stored. Its errors are billing.ErrInvalid if
// the file has bad rows, which were all reported then; nothing is stored.
// Importing a file again changes nothing, wherever its charges stand by then.
func (db *DB) ImportCharges(ctx context.Context, rows billing.ImportRows[billing.ImportedCharge], req billing.ImportRequest) (billing.ImportResult, error) {
	return db.runImport(ctx, "charges", req, func(job *importJob) error {
		return importCharges(ctx, job, rows)
	})
}

func importCharges(ctx context.Context, job *importJob, rows billing.ImportRows[billing.ImportedCharge]) error {
	if err := stageCharges(ctx, job, rows); err != nil {
		return err
	}
	if err := job.refuseDuplicates(ctx, "charges"); err != nil {
		return err
	}
	if err := job.storeTokens(ctx); err != nil {
		return err
	}
	if err := findChargeDifferences(ctx, job); err != nil {
		return err
	}
	if err := refuseChargeDifferences(ctx, job); err != nil {
		return err
	}
	if err := job.stopIfBad(ctx); err != nil {
		return err
	}
	if err := job.tellChanges(ctx); err != nil {
		return err
	}
	if err := lockTokens(ctx, job); err != nil {
		return err
	}
	if job.result.Changed > 0 {
		if err := changeCharges(ctx, job); err != nil {
			return err
		}
	}
	return insertCharges(ctx, job)
}

func stageCharges(ctx context.Context, job *importJob, rows billing.ImportRows[billing.ImportedCharge]) error {
	const create = `
		CREATE TEMPORARY TABLE staged (
			line integer, merchant_account text, reference text, shopper_reference text, token text, payment_method text,
			amount_minor bigint, currency text, description text, due_at timestamptz
		) ON COMMIT DROP`
	const columns = `
		line, merchant_account, reference, shopper_reference, token, payment_method,
			amount_minor, currency, description, due_at`
	return stage(ctx, job, rows, create, columns, func(c billing.ImportedCharge, v []driver.Value) {
		v[0], v[1], v[2], v[3], v[4], v[5] = int64(c.Line), c.MerchantAccount, c.Reference, c.ShopperReference, c.Token, c.PaymentMethod
		v[6], v[7], v[8], v[9] = c.Amount.Minor, c.Amount.Currency, c.Description, c.DueAt
	})
}

// What must be equal for a stored charge c with token t to be as the line g has
// it.
const (
	storedCharge   = `(t.token, t.shopper_reference, c.amount_minor, c.currency, c.due_at, c.description)`
	importedCharge = `(g.token, g.shopper_reference, g.amount_minor, g.currency, g.due_at, g.description)`
)

// findChargeDifferences fills the temporary table differences: a row for each
// field of a stored charge that the file has another value for. Those charges are
// locked against claims.
func findChargeDifferences(ctx context.Context, job *importJob) error {
	const lock = `
		WITH locked AS (
			SELECT c.id
			  FROM staged g
			  JOIN charges c ON c.merchant_account = g.merchant_account AND c.reference = g.reference
			  JOIN tokens t ON t.id = c.token_id
			 WHERE ` + storedCharge + ` <> ` + importedCharge + `
			 ORDER BY c.id
			   FOR NO KEY UPDATE OF c)
		SELECT count(*) FROM locked`
	if _, err := job.tx.ExecContext(ctx, lock); err != nil {
		return fmt.Errorf("lock charges: %w", err)
	}
	// A statement of its own: it sees what the locks waited for.
	find := `
		CREATE TEMPORARY TABLE differences ON COMMIT DROP AS
		SELECT g.line, c.id, c.merchant_account, c.reference, v.place, v.field, v.before, v.after,
		       c.state, c.answered > 0 OR c.attempt_started_at IS NOT NULL AS attempted
		  FROM staged g
		  JOIN charges c ON c.merchant_account = g.merchant_account AND c.reference = g.reference
		  JOIN tokens t ON t.id = c.token_id
		 CROSS JOIN LATERAL (VALUES
		       (1, 'shopper_reference', t.shopper_reference <> g.shopper_reference, t.shopper_reference, g.shopper_reference),
		       (2, 'token', t.token <> g.token, ` + masked(`t.token`) + `, ` + masked(`g.token`) + `),
		       (3, 'amount_minor', c.amount_minor <> g.amount_minor, c.amount_minor::text, g.amount_minor::text),
		       (4, 'currency', c.currency <> g.currency, c.currency, g.currency),
		       (5, 'due_at', c.due_at <> g.due_at, ` + instant(`c.due_at`) + `, ` + instant(`g.due_at`) + `),
		       (6, 'description', c.description <> g.description, c.description, g.description)
		       ) v (place, field, differs, before, after)
		 WHERE ` + storedCharge + ` <> ` + importedCharge + `
		   AND v.differs`
	if _, err := job.tx.ExecContext(ctx, find); err != nil {
		return fmt.Errorf("compare with what is stored: %w", err)
	}
	_, err := job.tx.ExecContext(ctx, `ANALYZE differences`)
	return err
}

// instant is the SQL for an instant as people see it.
func instant(column string) string {
	return `to_char(` + column + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`
}

// refuseChargeDifferences reports what an import may not change.
func refuseChargeDifferences(ctx context.Context, job *importJob) error {
	const query = `
		SELECT line, field AS column, after AS value,
		       CASE WHEN field = 'shopper_reference' THEN 'the charge belongs to ' || before || ' for good; want another reference for another shopper'
		            WHEN field IN ('currency', 'due_at') THEN 'is ' || before || ' and never changes; want another reference for another charge'
		            WHEN state NOT IN ('due', 'held') THEN 'is ' || before || ' and cannot change: the charge is ' || state
		            ELSE 'is ' || before || ' and cannot change after the first attempt' END AS want
		  FROM differences
		 WHERE field IN ('shopper_reference', 'currency', 'due_at')
		    OR field IN ('token', 'amount_minor') AND state NOT IN ('due', 'held')
		    OR field = 'amount_minor' AND attempted
		 ORDER BY line, place`
	return job.refuse(ctx, query)
}

// lockTokens keeps the state of the tokens of new and changed charges as it is
// until the charges are there: whoever invalidates one meanwhile waits, and then
// finds them.
func lockTokens(ctx context.Context, job *importJob) error {
	const query = `
		WITH locked AS (
			SELECT t.id
			  FROM tokens t
			 WHERE t.id IN (
			       SELECT t2.id
			         FROM staged g JOIN tokens t2 ON t2.merchant_account = g.merchant_account AND t2.token = g.token
			        WHERE NOT EXISTS (SELECT FROM charges c WHERE c.merchant_account = g.merchant_account AND c.reference = g.reference)
			           OR g.line IN (SELECT line FROM differences WHERE field = 'token'))
			   AND t.created_at < now()  -- those that this import stored nobody else can see
			 ORDER BY t.id FOR SHARE OF t)
		SELECT count(*) FROM locked`
	if _, err := job.tx.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("lock tokens: %w", err)
	}
	return nil
}

// changeCharges brings the stored charges with a difference to what the file
// says. A charge that waited for a good card becomes due with one; one that gets
// a bad card waits.
func changeCharges(ctx context.Context, job *importJob) error {
	const change = `
		UPDATE charges c
		   SET token_id = n.token_id, amount_minor = n.amount_minor, description = n.description,
		       state = n.state, reason = CASE WHEN n.state = c.state THEN c.reason WHEN n.state = 'held' THEN 'token_invalid' ELSE '' END,
		       decided_by = CASE WHEN n.state <> c.state THEN $1 ELSE c.decided_by END,
		       decided_at = CASE WHEN n.state <> c.state THEN clock_timestamp() ELSE c.decided_at END
		  FROM (SELECT d.id, t.id AS token_id, g.amount_minor, g.description,
		               CASE WHEN o.token_id = t.id THEN o.state
		                    WHEN o.state = 'due' AND t.state NOT IN ('unverified', 'valid') THEN 'held'
		                    WHEN o.state = 'held' AND o.reason IN ('token_invalid', 'token_not_found')
		                         AND t.state IN ('unverified', 'valid') THEN 'due'
		                    ELSE o.state END AS state
		          FROM (SELECT DISTINCT id, line FROM differences) d
		          JOIN staged g ON g.line = d.line
		          JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		          JOIN charges o ON o.id = d.id) n
		 WHERE c.id = n.id`
	if _, err := job.tx.ExecContext(ctx, change, job.req.Actor); err != nil {
		return fmt.Errorf("change charges: %w", err)
	}
	return job.auditChanges(ctx, "charge")
}

// insertCharges stores the charges that are new.
func insertCharges(ctx context.Context, job *importJob) error {
	const count = `
		SELECT count(*) AS new, count(*) FILTER (WHERE t.state NOT IN ('unverified', 'valid')) AS held
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 WHERE NOT EXISTS (SELECT FROM charges c WHERE c.merchant_account = g.merchant_account AND c.reference = g.reference)`
	r := &job.result
	if err := job.tx.QueryRowContext(ctx, count).Scan(&r.New, &r.Held); err != nil {
		return fmt.Errorf("count new charges: %w", err)
	}
	r.Unchanged = r.Rows - r.New - r.Changed
	if r.New == 0 {
		return nil
	}
	const insert = `
		INSERT INTO charges (token_id, amount_minor, due_at, next_attempt_at, state, reason, decided_by, currency, model,
		                     merchant_account, reference, description)
		SELECT t.id, g.amount_minor, g.due_at, g.due_at,
		       CASE WHEN t.state IN ('unverified', 'valid') THEN 'due' ELSE 'held' END,
		       CASE WHEN t.state IN ('unverified', 'valid') THEN '' ELSE 'token_invalid' END,
		       $1, g.currency, 'UnscheduledCardOnFile', g.merchant_account, g.reference, g.description
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 WHERE NOT EXISTS (SELECT FROM charges c WHERE c.merchant_account = g.merchant_account AND c.reference = g.reference)`
	return job.insert(ctx, insert, "charges_are_made_once", r.New, job.req.Actor)
}
