package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// A TokenReplacement says what moved to another token.
type TokenReplacement struct {
	Old, New      tokens.Token
	Subscriptions int
	Charges       int // that were due or held, and are charged with the new token
	Released      int // of these: were held for the old token, and are due
	AtGateway     int // open ones, which keep the old token until they are answered
}

// ReplaceToken lets another token of the same shopper charge every subscription
// of one, and every charge of it that no process holds ("replace everywhere").
// Charges that the old token's invalidity held become due. It returns
// billing.ErrConflict if the new one cannot be charged.
func (db *DB) ReplaceToken(ctx context.Context, old, next tokens.ID, by billing.Decision) (TokenReplacement, error) {
	if err := by.Validate(); err != nil {
		return TokenReplacement{}, fmt.Errorf("replace: %w", err)
	}
	var done TokenReplacement
	err := db.inTx(ctx, "replace token", func(tx *sqlx.Tx) (err error) {
		done, err = replaceToken(ctx, tx, old, next, by)
		return err
	})
	return done, err
}

func replaceToken(ctx context.Context, tx *sqlx.Tx, old, next tokens.ID, by billing.Decision) (TokenReplacement, error) {
	var done TokenReplacement
	if old == next {
		return done, fmt.Errorf("a token cannot replace itself: %w", billing.ErrConflict)
	}
	locked, err := lockTokenRows(ctx, tx, []tokens.ID{old, next}, movingSubscriptions)
	if err != nil {
		return done, err
	}
	done.Old, done.New = locked[0], locked[1]
	if done.Old.ID != old {
		done.Old, done.New = done.New, done.Old
	}
	if err := done.check(); err != nil {
		return done, err
	}
	const subscriptions = `UPDATE subscriptions SET token_id = $2 WHERE token_id = $1 AND state NOT IN ('cancelled', 'completed')`
	if done.Subscriptions, err = affected(tx.ExecContext(ctx, subscriptions, old, next)); err != nil {
		return done, fmt.Errorf("move subscriptions: %w", err)
	}
	const charges = `
		UPDATE charges c
		   SET token_id = $2,
		       state = CASE WHEN h.freed THEN 'due' ELSE c.state END,
		       reason = CASE WHEN h.freed THEN 'released' WHEN h.paused THEN 'subscription_paused' ELSE c.reason END,
		       attempt_started_at = CASE WHEN h.freed OR c.state = 'due' THEN NULL ELSE c.attempt_started_at END,
		       decided_by = $3, decided_at = clock_timestamp()
		  FROM (SELECT c2.id, f.was_dead AND s.state IS DISTINCT FROM 'paused' AS freed, f.was_dead AND s.state = 'paused' AS paused
		          FROM open_charges o JOIN charges c2 ON c2.id = o.charge_id LEFT JOIN subscriptions s ON s.id = c2.subscription_id
		         CROSS JOIN LATERAL (SELECT c2.state = 'held' AND c2.reason IN ('token_invalid', 'token_not_found', 'token_reactivated') AS was_dead) f
		         WHERE o.token_id = $1 AND c2.token_id = $1 AND c2.state IN ('due', 'held')
		           AND NOT EXISTS (SELECT FROM inbox i WHERE i.charge_id = c2.id AND i.kind = 'authorised' AND i.state IN ('stored', 'waiting'))) h
		 WHERE c.id = h.id
		RETURNING h.freed`
	var freed []bool
	if err := tx.SelectContext(ctx, &freed, charges, old, next, by.Actor); err != nil {
		return done, fmt.Errorf("move charges: %w", err)
	}
	done.Charges = len(freed)
	for _, f := range freed {
		if f {
			done.Released++
		}
	}
	const open = `
		SELECT count(*) FROM open_charges o JOIN charges c ON c.id = o.charge_id
		 WHERE o.token_id = $1 AND c.token_id = $1 AND c.state IN ('claimed', 'pending', 'unknown')`
	if err := tx.GetContext(ctx, &done.AtGateway, open, old); err != nil {
		return done, fmt.Errorf("count open charges: %w", err)
	}
	return done, done.record(ctx, tx, by)
}

// check says why one token may not take over from the other.
func (r TokenReplacement) check() error {
	switch {
	case r.Old.MerchantAccount != r.New.MerchantAccount:
		return fmt.Errorf("%s is of merchant account %s, and %s of %s: a subscription is charged at one account: %w",
			r.Old, r.Old.MerchantAccount, r.New, r.New.MerchantAccount, billing.ErrConflict)
	case r.Old.ShopperReference != r.New.ShopperReference:
		return fmt.Errorf("%s and %s are of different shoppers: nobody pays for another: %w", r.Old, r.New, billing.ErrConflict)
	case !r.New.State.Chargeable():
		return fmt.Errorf("%s is %s and cannot be charged: %w", r.New, r.New.State, billing.ErrConflict)
	}
	return nil
}

// record writes the replacement to the timelines of both tokens, and to the audit.
func (r TokenReplacement) record(ctx context.Context, tx *sqlx.Tx, by billing.Decision) error {
	for _, event := range []struct {
		token  tokens.Token
		detail string
	}{
		{r.Old, fmt.Sprintf("%s took over %d subscriptions and %d charges", r.New, r.Subscriptions, r.Charges)},
		{r.New, fmt.Sprintf("took over %d subscriptions and %d charges of %s", r.Subscriptions, r.Charges, r.Old)},
	} {
		if err := recordTokenEvent(ctx, tx, event.token.ID, event.token.State, tokens.Change{
			Kind: tokens.EventReplaced, Source: tokens.SourcePerson, Actor: by.Actor, Detail: event.detail,
		}); err != nil {
			return err
		}
	}
	return recordAudit(ctx, tx, auditEntry{
		Actor: by.Actor, Action: "replace", MerchantAccount: r.Old.MerchantAccount, Reason: by.Why,
		ObjectKind: auditKindToken, Object: strconv.FormatInt(int64(r.Old.ID), 10),
		Before: map[string]int64{"token_id": int64(r.Old.ID)}, After: map[string]int64{"token_id": int64(r.New.ID)},
	})
}
