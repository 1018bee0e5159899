package postgres

import (
	"context"
	"fmt"
)

// storeTokens stores the tokens that are new, and reports the lines that say
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
