package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

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
