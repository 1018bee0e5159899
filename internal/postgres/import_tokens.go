package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// An ImportedToken is what one line of a file says about a token. A payment
// method, and details, that the file does not tell are empty.
type ImportedToken struct {
	Line int // in the file, from 1
	tokens.Token
	Details tokens.Details
}

// ImportTokens stores the tokens of a file: new ones, which are unverified, and
// the differences to what is known of the others' cards. Its errors are
// billing.ErrInvalid if the file has bad rows, which were all reported then;
// nothing is stored. Importing a file again changes nothing. What happens with a
// token's charges is no business of a file.
func (db *DB) ImportTokens(ctx context.Context, rows billing.ImportRows[ImportedToken], req billing.ImportRequest) (billing.ImportResult, error) {
	return db.runImport(ctx, "tokens", req, func(job *importJob) error {
		return importTokens(ctx, job, rows)
	})
}

func importTokens(ctx context.Context, job *importJob, rows billing.ImportRows[ImportedToken]) error {
	if err := stageTokens(ctx, job, rows); err != nil {
		return err
	}
	if err := job.refuseDuplicates(ctx, "tokens"); err != nil {
		return err
	}
	if err := refuseForms(ctx, job); err != nil {
		return err
	}
	if err := job.storeTokens(ctx); err != nil {
		return err
	}
	r := &job.result
	r.New = r.NewTokens
	if r.New < r.Rows && job.duplicatesUnchecked {
		// None was known, and yet one is not new.
		if err := job.findDuplicates(ctx); err != nil {
			return err
		}
	}
	if err := job.stopIfBad(ctx); err != nil {
		return err
	}
	if err := findCardDifferences(ctx, job); err != nil {
		return err
	}
	if err := job.tellChanges(ctx); err != nil {
		return err
	}
	r.Unchanged = r.Rows - r.New - r.Changed
	if r.Changed > 0 {
		if err := changeCards(ctx, job); err != nil {
			return err
		}
	}
	if r.New == 0 {
		return nil
	}
	return insertCards(ctx, job)
}

func stageTokens(ctx context.Context, job *importJob, rows billing.ImportRows[ImportedToken]) error {
	const create = `
		CREATE TEMPORARY TABLE staged (
			line integer, merchant_account text, token text, shopper_reference text, payment_method text,
			brand text, last_four text, expires date
		) ON COMMIT DROP`
	const columns = `line, merchant_account, token, shopper_reference, payment_method, brand, last_four, expires`
	return stage(ctx, job, rows, create, columns, func(t ImportedToken, v []driver.Value) {
		v[0], v[1], v[2], v[3], v[4] = int64(t.Line), t.MerchantAccount, t.Reference, t.ShopperReference, t.PaymentMethod
		v[5], v[6], v[7] = t.Details.Brand, t.Details.LastFour, nil
		if expiry := t.Details.Expiry; !expiry.IsZero() {
			v[7] = expiry.String() + "-01"
		}
	})
}

// refuseForms reports the tokens that their gateway cannot have issued.
func refuseForms(ctx context.Context, job *importJob) error {
	query := `
		SELECT g.line, 'token' AS column, ` + masked(`g.token`) + ` AS value,
		       'want 1 to 40 letters and digits: the Mastercard Gateway has no other tokens' AS want
		  FROM staged g
		  JOIN merchant_accounts a ON a.id = g.merchant_account AND a.gateway = 'mastercard'
		 WHERE length(g.token) > 40 OR g.token ~ '[^A-Za-z0-9]'
		 ORDER BY g.line`
	return job.refuse(ctx, query)
}

// storeTokens stores the tokens of subscriptions or charges that are new, and reports the lines that say
// something else about a token than what is known of it.
func (j *importJob) storeTokens(ctx context.Context) error {
	stored, err := j.insertTokens(ctx)
	if err != nil {
		return fmt.Errorf("store tokens: %w", err)
	}
	j.result.NewTokens = stored
	if err := j.analyse(ctx, "tokens", stored); err != nil {
		return err
	}
	if stored == j.result.Rows {
		return nil // each line brought a token of its own: nothing else is known of any
	}
	return j.refuseContradictions(ctx)
}

// refuseContradictions reports the lines that say something else about a token
// than what is known of it and never changes.
func (j *importJob) refuseContradictions(ctx context.Context) error {
	const contradictions = `
		SELECT g.line, v.col AS column, v.value, v.want
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 CROSS JOIN LATERAL (VALUES
		       ('token', '', g.shopper_reference <> t.shopper_reference,
		        'belongs to another shopper reference: a token is one shopper''s for good'),
		       ('payment_method', g.payment_method, g.payment_method NOT IN ('', t.payment_method),
		        'the token is known with payment method ' || t.payment_method)) v (col, value, wrong, want)
		 WHERE (g.shopper_reference <> t.shopper_reference OR g.payment_method NOT IN ('', t.payment_method))
		   AND v.wrong
		 ORDER BY g.line, v.col`
	return j.refuse(ctx, contradictions)
}

// insertTokens stores the tokens that are new and returns how many were. Most
// files name each of them once, and storing them as if this one did takes half
// the time; where it turns out otherwise, it begins again.
func (j *importJob) insertTokens(ctx context.Context) (int, error) {
	const insert = `
		INSERT INTO tokens (merchant_account, token, shopper_reference, payment_method)
		SELECT g.merchant_account, g.token, g.shopper_reference, coalesce(nullif(g.payment_method, ''), 'scheme')
		  FROM staged g
		 WHERE NOT EXISTS (SELECT FROM tokens t WHERE t.merchant_account = g.merchant_account AND t.token = g.token)`
	if _, err := j.tx.ExecContext(ctx, `SAVEPOINT tokens`); err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	stored, err := j.exec(ctx, insert)
	if !violates(err, "tokens_are_stored_once") {
		return stored, err
	}
	if _, err := j.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT tokens`); err != nil {
		return 0, fmt.Errorf("begin again: %w", err)
	}
	// Lines that name the payment method come first: the others take what they get.
	stored = 0
	for _, unnamed := range []bool{false, true} {
		n, err := j.exec(ctx, insert+` AND (g.payment_method = '') = $1 ON CONFLICT (token, merchant_account) DO NOTHING`, unnamed)
		if err != nil {
			return 0, err
		}
		stored += n
	}
	return stored, nil
}

// masked is the SQL for what people see of a token, as tokens.Token's
// MaskedReference has it.
func masked(column string) string {
	return `CASE WHEN length(` + column + `) < 12 THEN '…' ELSE '…' || right(` + column + `, 4) END`
}
