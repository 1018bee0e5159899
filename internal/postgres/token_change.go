package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// AddToken implements tokens.Store.
func (db *DB) AddToken(ctx context.Context, token tokens.Token, change tokens.Change) (tokens.Applied, error) {
	var applied tokens.Applied
	err := db.inTx(ctx, "add token", func(tx *sqlx.Tx) error {
		id, err := insertToken(ctx, tx, token)
		if errors.Is(err, billing.ErrConflict) {
			applied, err = existingToken(ctx, tx, token)
			return err
		}
		if err != nil {
			return err
		}
		change.State = ""
		applied, err = applyChange(ctx, tx, id, change)
		return err
	})
	return applied, err
}

// insertToken stores a token, and returns billing.ErrConflict if it is there.
func insertToken(ctx context.Context, tx *sqlx.Tx, token tokens.Token) (tokens.ID, error) {
	const insert = `
		INSERT INTO tokens (merchant_account, token, shopper_reference, payment_method, state, state_since)
		VALUES ($1, $2, $3, $4, $5, clock_timestamp())
		ON CONFLICT (token, merchant_account) DO NOTHING
		RETURNING id`
	var id tokens.ID
	err := tx.GetContext(ctx, &id, insert, token.MerchantAccount, token.Reference, token.ShopperReference, token.PaymentMethod, token.State)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, billing.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("store token: %w", err)
	}
	return id, nil
}

// existingToken is a token that the account had already.
func existingToken(ctx context.Context, tx *sqlx.Tx, token tokens.Token) (tokens.Applied, error) {
	const query = `SELECT` + tokenColumns + ` FROM tokens t LEFT JOIN cards k ON k.token_id = t.id WHERE t.token = $1 AND t.merchant_account = $2`
	var row tokenRow
	if err := tx.GetContext(ctx, &row, query, token.Reference, token.MerchantAccount); err != nil {
		return tokens.Applied{}, fmt.Errorf("read token: %w", err)
	}
	if row.ShopperReference != token.ShopperReference {
		return tokens.Applied{}, fmt.Errorf("%w shopper reference: %s is another shopper's: a token is one shopper's for good", tokens.ErrInvalid, row.token())
	}
	return tokens.Applied{Token: row.token()}, nil
}

// ApplyChange implements tokens.Store.
func (db *DB) ApplyChange(ctx context.Context, id tokens.ID, change tokens.Change) (tokens.Applied, error) {
	var applied tokens.Applied
	err := db.inTx(ctx, "change token", func(tx *sqlx.Tx) (err error) {
		applied, err = applyChange(ctx, tx, id, change)
		return err
	})
	return applied, err
}

// applyChange writes one piece of news about a token and what follows for its
// charges: the claim looks at the rows of charges alone (charge protocol, step 2).
func applyChange(ctx context.Context, tx *sqlx.Tx, id tokens.ID, change tokens.Change) (tokens.Applied, error) {
	subscriptions := withoutSubscriptions
	if change.Kind == tokens.EventReactivated {
		subscriptions = sharingSubscriptions // whether they are paused decides what becomes of their charges
	}
	locked, err := lockTokenRows(ctx, tx, []tokens.ID{id}, subscriptions)
	if err != nil {
		return tokens.Applied{}, err
	}
	before := locked[0]
	if change.State == tokens.Valid && before.State == tokens.Invalid && change.Kind != tokens.EventReactivated {
		change.State = "" // a verification that passed, and began before the token died
	}
	applied := tokens.Applied{Token: before}
	if !change.Since.IsZero() && !change.Since.Equal(before.StateSince) {
		change.State, change.Detail = "", strings.TrimSpace("old news: "+change.Cause+" "+change.Detail)
		if change.Kind = tokens.EventRead; change.Verification != nil {
			change.Kind = tokens.EventVerified
		}
	}
	if change.State != "" && change.State != before.State {
		if !before.State.CanMove(change.State) {
			return applied, fmt.Errorf("%s is %s and cannot become %s: %w", before, before.State, change.State, billing.ErrConflict)
		}
		const move = `UPDATE tokens SET state = $2, cause = $3, state_since = clock_timestamp() WHERE id = $1 RETURNING state_since`
		if err := tx.GetContext(ctx, &applied.Token.StateSince, move, id, change.State, change.Cause); err != nil {
			return applied, fmt.Errorf("move %s to %s: %w", before, change.State, err)
		}
		applied.Token.State, applied.Token.Cause = change.State, change.Cause
	}
	if err := storeCard(ctx, tx, id, change); err != nil {
		return applied, err
	}
	if err := recordTokenEvent(ctx, tx, id, applied.Token.State, change); err != nil {
		return applied, err
	}
	switch now := applied.Token.State; {
	case before.State.Chargeable() && !now.Chargeable():
		applied.Held, err = holdTokenCharges(ctx, tx, []int64{int64(id)})
	case !before.State.Chargeable() && now.Chargeable():
		applied.Released, applied.Waiting, err = releaseTokenCharges(ctx, tx, id, change)
	}
	if err != nil || change.Source != tokens.SourcePerson && change.Why == "" {
		return applied, err
	}
	return applied, recordAudit(ctx, tx, auditEntry{
		Actor: change.Actor, Action: string(change.Kind), MerchantAccount: before.MerchantAccount, Reason: change.Why,
		ObjectKind: auditKindToken, Object: strconv.FormatInt(int64(id), 10),
		Before: tokenOnRecord{before.State, before.Cause}, After: tokenOnRecord{applied.Token.State, applied.Token.Cause},
	})
}

// tokenOnRecord is a token as the audit table shows it before and after.
type tokenOnRecord struct {
	State tokens.State `json:"state"`
	Cause string       `json:"cause,omitempty"`
}

// storeCard keeps what a change tells of the card. What a gateway does not tell
// this time stays as it was.
func storeCard(ctx context.Context, tx *sqlx.Tx, id tokens.ID, change tokens.Change) error {
	if change.Details != nil {
		const query = `
			INSERT INTO cards AS k (token_id, brand, funding, last_four, expires, fingerprint, changed_at, changed_by_gateway, read_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
			ON CONFLICT (token_id) DO UPDATE
			   SET brand = coalesce(nullif(excluded.brand, ''), k.brand), funding = coalesce(nullif(excluded.funding, ''), k.funding),
			       last_four = coalesce(nullif(excluded.last_four, ''), k.last_four), expires = coalesce(excluded.expires, k.expires),
			       fingerprint = coalesce(nullif(excluded.fingerprint, ''), k.fingerprint),
			       changed_at = coalesce(excluded.changed_at, k.changed_at), changed_by_gateway = excluded.changed_by_gateway,
			       read_at = excluded.read_at`
		d := *change.Details
		expires := sql.NullTime{Time: time.Date(d.Expiry.Year, d.Expiry.Month, 1, 0, 0, 0, 0, time.UTC), Valid: !d.Expiry.IsZero()}
		changed := sql.NullTime{Time: d.ChangedAt, Valid: !d.ChangedAt.IsZero()}
		if _, err := tx.ExecContext(ctx, query, id, d.Brand, d.Funding, d.LastFour, expires, d.Fingerprint, changed, d.ChangedByGateway); err != nil {
			return fmt.Errorf("store card of token %d: %w", id, err)
		}
	}
	if v := change.Verification; v != nil && v.Strategy != "" {
		const query = `
			INSERT INTO cards (token_id, verified_at, verification_strategy, verification_result, verification_code)
			VALUES ($1, clock_timestamp(), $2, $3, $4)
			ON CONFLICT (token_id) DO UPDATE
			   SET verified_at = excluded.verified_at, verification_strategy = excluded.verification_strategy,
			       verification_result = excluded.verification_result, verification_code = excluded.verification_code`
		if _, err := tx.ExecContext(ctx, query, id, v.Strategy, v.Result, v.Code); err != nil {
			return fmt.Errorf("store verification of token %d: %w", id, err)
		}
	}
	return nil
}

func recordTokenEvent(ctx context.Context, tx *sqlx.Tx, id tokens.ID, state tokens.State, change tokens.Change) error {
	const query = `
		INSERT INTO token_events (token_id, kind, state, cause, source, actor, detail)
		VALUES ($1, $2, $3, left($4, 1000), $5, $6, left($7, 1000))`
	if _, err := tx.ExecContext(ctx, query, id, change.Kind, state, change.Cause, change.Source, change.Actor, change.Detail); err != nil {
		return fmt.Errorf("record what happened to token %d: %w", id, err)
	}
	return nil
}

// releaseTokenCharges lets the charges go that a token's invalidity held, as its
// merchant account wants it. A charge stays held whose subscription is paused, or of
// which the gateway says that an earlier attempt was approved.
func releaseTokenCharges(ctx context.Context, tx *sqlx.Tx, id tokens.ID, change tokens.Change) (released, waiting int, err error) {
	const free = `
		UPDATE charges c
		   SET state = CASE WHEN h.paused OR $3 THEN 'held' ELSE 'due' END,
		       reason = CASE WHEN h.paused THEN 'subscription_paused' WHEN $3 THEN 'token_reactivated' ELSE 'released' END,
		       attempt_started_at = CASE WHEN h.paused OR $3 THEN c.attempt_started_at END,
		       decided_by = $2, decided_at = clock_timestamp()
		  FROM (SELECT c2.id, coalesce(s.state = 'paused', false) AS paused
		          FROM open_charges o JOIN charges c2 ON c2.id = o.charge_id
		          LEFT JOIN subscriptions s ON s.id = c2.subscription_id
		         WHERE o.token_id = $1 AND c2.token_id = $1 AND c2.state = 'held' AND c2.reason IN ('token_invalid', 'token_not_found')
		           AND NOT EXISTS (SELECT FROM inbox i WHERE i.charge_id = c2.id AND i.kind = 'authorised' AND i.state IN ('stored', 'waiting'))) h
		 WHERE c.id = h.id
		RETURNING c.state`
	var states []billing.ChargeState
	byHand := change.Release == tokens.ReleaseByHand
	if err := tx.SelectContext(ctx, &states, free, id, change.Actor, byHand); err != nil {
		return 0, 0, fmt.Errorf("release charges of token %d: %w", id, err)
	}
	for _, s := range states {
		if s == billing.ChargeDue {
			released++
		} else {
			waiting++
		}
	}
	// What the gateway says was paid stays held until that is settled.
	const approved = `
		SELECT count(*) FROM open_charges o JOIN charges c ON c.id = o.charge_id
		 WHERE o.token_id = $1 AND c.token_id = $1 AND c.state = 'held' AND c.reason IN ('token_invalid', 'token_not_found')`
	var stay int
	if err := tx.GetContext(ctx, &stay, approved, id); err != nil {
		return 0, 0, fmt.Errorf("count held charges of token %d: %w", id, err)
	}
	waiting += stay
	// What is open was to be held once it is settled. That wish is over; where it had
	// ended the replays of an unknown, they begin again.
	const withdraw = `
		UPDATE charges c
		   SET stop_request = NULL, stop_reason = NULL, stop_actor = NULL,
		       resolve_at = CASE WHEN c.state <> 'claimed' AND c.reason = 'token_invalid' THEN clock_timestamp() ELSE c.resolve_at END,
		       reason = CASE WHEN c.state = 'claimed' OR c.reason <> 'token_invalid' THEN c.reason
		                     WHEN c.state = 'pending' THEN 'awaits_gateway' ELSE 'answer_missing' END
		 WHERE c.id = ANY (ARRAY(SELECT c2.id FROM open_charges o JOIN charges c2 ON c2.id = o.charge_id
		                          WHERE o.token_id = $1 AND c2.token_id = $1 AND c2.state IN ('claimed', 'pending', 'unknown')
		                            AND c2.stop_request = 'hold' AND c2.stop_reason = 'token_invalid'))`
	if _, err := tx.ExecContext(ctx, withdraw, id); err != nil {
		return 0, 0, fmt.Errorf("let open charges of token %d go on: %w", id, err)
	}
	return released, waiting, nil
}

// CountVerification implements tokens.Store.
func (db *DB) CountVerification(ctx context.Context, id tokens.ID) (int, error) {
	const query = `
		INSERT INTO cards AS k (token_id, verifications) VALUES ($1, 1)
		ON CONFLICT (token_id) DO UPDATE SET verifications = k.verifications + 1
		RETURNING verifications`
	var n int
	if err := db.sqlx.GetContext(ctx, &n, query, id); err != nil {
		return 0, fmt.Errorf("count verification of token %d: %w", id, unavailable(err))
	}
	return n, nil
}
