package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// A TokenSession is one that was opened so that a shopper stores a payment method.
type TokenSession struct {
	ID               int64     `db:"id"`
	MerchantAccount  string    `db:"merchant_account"`
	Reference        string    `db:"reference"` // ours: it comes back with the gateway's webhooks
	ShopperReference string    `db:"shopper_reference"`
	AmountMinor      int64     `db:"amount_minor"`
	Currency         string    `db:"currency"`
	Model            string    `db:"model"`
	GatewaySession   string    `db:"gateway_session"`
	State            string    `db:"state"`  // open, authorised, refused or completed
	Detail           string    `db:"detail"` // the gateway's words about a refusal
	TokenID          tokens.ID `db:"token_id"`
	OpenedBy         string    `db:"opened_by"`
	OpenedAt         time.Time `db:"opened_at"`
	ExpiresAt        time.Time `db:"expires_at"`
}

const tokenSessionColumns = `
	id, merchant_account, reference, shopper_reference, amount_minor, currency, model, gateway_session, state, detail,
	coalesce(token_id, 0) AS token_id, opened_by, opened_at, expires_at`

// BeginTokenSession writes down a session before the gateway is asked to open it:
// what the gateway tells later must find its shopper.
func (db *DB) BeginTokenSession(ctx context.Context, s TokenSession) error {
	const query = `
		INSERT INTO token_sessions (merchant_account, reference, purpose, shopper_reference, amount_minor, currency, model, opened_by, expires_at)
		VALUES ($1, $2, 'create', $3, $4, $5, $6, $7, clock_timestamp() + interval '1 day')`
	_, err := db.sqlx.ExecContext(ctx, query, s.MerchantAccount, s.Reference, s.ShopperReference, s.AmountMinor, s.Currency, s.Model, s.OpenedBy)
	if err != nil {
		return fmt.Errorf("begin token session: %w", unavailable(err))
	}
	return nil
}

// OpenedTokenSession adds what the gateway said when it opened a session.
func (db *DB) OpenedTokenSession(ctx context.Context, account, reference string, opened tokens.Session) error {
	const query = `
		UPDATE token_sessions SET gateway_session = $3, expires_at = coalesce($4, expires_at)
		 WHERE merchant_account = $1 AND reference = $2`
	expires := sql.NullTime{Time: opened.Expires, Valid: !opened.Expires.IsZero()}
	if err := expectOne(db.sqlx.ExecContext(ctx, query, account, reference, opened.ID, expires)); err != nil {
		return fmt.Errorf("note token session: %w", unavailable(err))
	}
	return nil
}

// FindTokenSessions returns the latest sessions of a shopper, or of all of them.
func (db *DB) FindTokenSessions(ctx context.Context, shopper string, limit int) ([]TokenSession, error) {
	const query = `SELECT` + tokenSessionColumns + ` FROM token_sessions WHERE $1 = '' OR shopper_reference = $1 ORDER BY id DESC LIMIT $2`
	var sessions []TokenSession
	if err := db.sqlx.SelectContext(ctx, &sessions, query, shopper, limit); err != nil {
		return nil, fmt.Errorf("list token sessions: %w", unavailable(err))
	}
	return sessions, nil
}

// lockTokenSession finds the session of an event, by our own reference, which the
// gateway's signature covers.
func lockTokenSession(ctx context.Context, tx *sqlx.Tx, account, reference string) (TokenSession, error) {
	const query = `SELECT` + tokenSessionColumns + ` FROM token_sessions WHERE merchant_account = $1 AND reference = $2 AND reference <> '' FOR UPDATE`
	var s TokenSession
	if err := tx.GetContext(ctx, &s, query, account, reference); err != nil {
		return s, notFound(err)
	}
	return s, nil
}

// applySessionEvent does what the result of a session's payment says. It reports
// false if the event is of no session.
func applySessionEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, e billing.Event) (bool, error) {
	if !e.Kind.IsPayment() {
		return false, nil
	}
	if isVerification(e.Reference) {
		return true, closeEvent(ctx, tx, row, 0, 0, billing.VerdictKnown)
	}
	s, err := lockTokenSession(ctx, tx, e.MerchantAccount, e.Reference)
	if errors.Is(err, billing.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find token session: %w", err)
	}
	state := "authorised"
	if e.Kind == billing.EventRefused {
		state = "refused"
	}
	const query = `
		UPDATE token_sessions SET state = $2, detail = $3, ended_at = clock_timestamp()
		 WHERE id = $1 AND (state = 'open' OR state = 'refused' AND $2 = 'authorised')`
	moved, err := affected(tx.ExecContext(ctx, query, s.ID, state, clip(e.Refusal.RefusalReason)))
	if err != nil {
		return false, fmt.Errorf("end token session: %w", err)
	}
	verdict := billing.VerdictKnown
	if moved > 0 {
		verdict = billing.VerdictSettles
	}
	return true, closeEvent(ctx, tx, row, 0, 0, verdict)
}

// isVerification reports whether a payment is the one of nothing by which a card was
// verified: whoever asked has the answer. No attempt of a charge is called so.
func isVerification(reference string) bool {
	return strings.HasPrefix(reference, "verify-") && !strings.Contains(reference, "~")
}

// clip keeps a gateway's words short. Half a character is none that Postgres stores.
func clip(text string) string {
	if len(text) > 300 {
		return strings.ToValidUTF8(text[:300], "")
	}
	return text
}

// storeTokenOfEvent stores the token that an event brings. Its shopper is the
// session's, or the event's own where a signature vouches for it; without one, or
// where the two differ, it returns billing.ErrNotFound: nobody pays for another. A
// token that was stored after a payment has been verified by it.
func storeTokenOfEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, e billing.Event) (tokens.ID, error) {
	var shopper string
	if err := tx.GetContext(ctx, &shopper, `SELECT shopper_reference FROM inbox WHERE id = $1`, row.ID); err != nil {
		return 0, fmt.Errorf("read the shopper of event %d: %w", row.ID, err)
	}
	s, err := lockTokenSession(ctx, tx, e.MerchantAccount, e.Reference)
	switch {
	case err == nil && shopper != "" && shopper != s.ShopperReference:
		return 0, billing.ErrNotFound
	case err == nil:
		shopper = s.ShopperReference
	case !errors.Is(err, billing.ErrNotFound):
		return 0, fmt.Errorf("find token session: %w", err)
	}
	if tokens.ValidateShopperReference(shopper) != nil || tokens.ValidateReference(e.Token) != nil {
		return 0, billing.ErrNotFound
	}
	token := tokens.Token{
		MerchantAccount: e.MerchantAccount, ShopperReference: shopper, Reference: e.Token,
		PaymentMethod: tokens.DefaultPaymentMethod, State: tokens.Valid,
	}
	id, err := insertToken(ctx, tx, token)
	if err != nil {
		return 0, err
	}
	if err := recordTokenEvent(ctx, tx, id, tokens.Valid, tokens.Change{
		Kind: tokens.EventCreated, Source: tokens.SourceWebhook, Actor: "gateway", Detail: e.Code,
	}); err != nil {
		return 0, err
	}
	return id, completeTokenSession(ctx, tx, s.ID, id)
}

// completeSessionOfEvent notes that the token of an event, which was known before,
// is what a session of the same shopper brought.
func completeSessionOfEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, id tokens.ID) error {
	s, err := lockTokenSession(ctx, tx, e.MerchantAccount, e.Reference)
	if errors.Is(err, billing.ErrNotFound) || err == nil && s.TokenID != 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find token session: %w", err)
	}
	var own bool
	if err := tx.GetContext(ctx, &own, `SELECT shopper_reference = $2 FROM tokens WHERE id = $1`, id, s.ShopperReference); err != nil || !own {
		return err
	}
	return completeTokenSession(ctx, tx, s.ID, id)
}

func completeTokenSession(ctx context.Context, tx *sqlx.Tx, session int64, id tokens.ID) error {
	const query = `UPDATE token_sessions SET state = 'completed', token_id = $2, ended_at = clock_timestamp() WHERE id = $1`
	if _, err := tx.ExecContext(ctx, query, session, id); err != nil {
		return fmt.Errorf("complete token session: %w", err)
	}
	return nil
}
