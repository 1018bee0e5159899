package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// How the subscriptions of tokens are locked with them.
const (
	withoutSubscriptions = ""
	sharingSubscriptions = "FOR SHARE"
	movingSubscriptions  = "FOR NO KEY UPDATE"
)

// lockTokenRows locks tokens, in the order of their ids, with all that a change of them
// may touch: nobody else changes them or makes charges of them, and each open charge
// stays where it is, so that none is overlooked between two states. The tokens come
// in the order of their ids.
func lockTokenRows(ctx context.Context, tx *sqlx.Tx, ids []tokens.ID, subscriptions string) ([]tokens.Token, error) {
	numbers := make(pq.Int64Array, len(ids))
	for i, id := range ids {
		numbers[i] = int64(id)
	}
	var locked []tokens.Token
	err := yielding(ctx, tx, func() error {
		locked = nil
		if subscriptions != withoutSubscriptions {
			query := `
				SELECT FROM subscriptions s
				 WHERE s.id IN (SELECT s2.id FROM subscriptions s2 WHERE s2.token_id = ANY ($1) AND s2.state NOT IN ('cancelled', 'completed')
				                UNION SELECT c.subscription_id FROM open_charges o JOIN charges c ON c.id = o.charge_id WHERE o.token_id = ANY ($1))
				 ORDER BY s.next_charge_at, s.id ` + subscriptions // as plans do
			if _, err := tx.ExecContext(ctx, query, numbers); err != nil {
				return fmt.Errorf("lock subscriptions: %w", err)
			}
		}
		const charges = `
			SELECT FROM open_charges o JOIN charges c ON c.id = o.charge_id WHERE o.token_id = ANY ($1) ORDER BY c.id FOR UPDATE OF c`
		if _, err := tx.ExecContext(ctx, charges, numbers); err != nil {
			return fmt.Errorf("lock charges: %w", err)
		}
		// Not FOR UPDATE: that would keep out whoever only refers to the token.
		const query = `
			SELECT id, merchant_account, token, shopper_reference, payment_method, state, state_since, cause
			  FROM tokens WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`
		var rows []tokenRow
		if err := tx.SelectContext(ctx, &rows, query, numbers); err != nil {
			return fmt.Errorf("lock tokens: %w", err)
		}
		for _, row := range rows {
			locked = append(locked, row.token())
		}
		// Until now, others could make charges of them.
		if _, err := tx.ExecContext(ctx, charges, numbers); err != nil {
			return fmt.Errorf("lock new charges: %w", err)
		}
		return nil
	})
	if err == nil && len(locked) != len(ids) {
		err = fmt.Errorf("lock tokens %d: %w", ids, billing.ErrNotFound)
	}
	return locked, err
}

// yielding takes locks that somebody else may take in another order. Where one is
// not to be had soon, it lets go of those it has taken and begins again: of two that
// wait for each other it is always the one that gives way, and long before Postgres
// would end either for a deadlock.
func yielding(ctx context.Context, tx *sqlx.Tx, lock func() error) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT locks`); err != nil {
		return fmt.Errorf("take locks: %w", err)
	}
	for try := 1; ; try++ {
		if _, err := tx.ExecContext(ctx, `SET LOCAL lock_timeout = '200ms'`); err != nil {
			return fmt.Errorf("take locks: %w", err)
		}
		err := lock()
		if err == nil {
			_, err = tx.ExecContext(ctx, `SET LOCAL lock_timeout = DEFAULT; RELEASE SAVEPOINT locks`)
			return err
		}
		// What was locked before the savepoint is not let go of: somebody who waits for
		// that ends this only if the whole transaction does.
		if !isBusy(err) || try == mostYields || ctx.Err() != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT locks`); err != nil {
			return fmt.Errorf("let go of locks: %w", err)
		}
	}
}

// mostYields is how often locks are tried for: about five seconds.
const mostYields = 25

// isBusy reports whether a lock was not to be had.
func isBusy(err error) bool {
	const deadlock, timeout = "40P01", "55P03"
	pqErr := pq.As(err)
	return pqErr != nil && (pqErr.Code == deadlock || pqErr.Code == timeout)
}
