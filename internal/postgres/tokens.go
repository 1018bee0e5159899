package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

var (
	_ tokens.Store     = (*DB)(nil)
	_ tokens.PollStore = (*DB)(nil)
)

// tokenRow is a token with what is known of its card.
type tokenRow struct {
	ID               tokens.ID    `db:"id"`
	MerchantAccount  string       `db:"merchant_account"`
	Token            string       `db:"token"`
	ShopperReference string       `db:"shopper_reference"`
	PaymentMethod    string       `db:"payment_method"`
	State            tokens.State `db:"state"`
	StateSince       time.Time    `db:"state_since"`
	Cause            string       `db:"cause"`
	ReturnURL        string       `db:"return_url"`
	Subscriptions    int          `db:"subscriptions"`
	cardRow
}

// cardRow is a row of cards, or none.
type cardRow struct {
	Brand            string                    `db:"brand"`
	Funding          string                    `db:"funding"`
	LastFour         string                    `db:"last_four"`
	Expires          sql.NullTime              `db:"expires"`
	Fingerprint      string                    `db:"fingerprint"`
	ChangedAt        sql.NullTime              `db:"changed_at"`
	ChangedByGateway bool                      `db:"changed_by_gateway"`
	ReadAt           sql.NullTime              `db:"read_at"`
	VerifiedAt       sql.NullTime              `db:"verified_at"`
	Strategy         tokens.Strategy           `db:"verification_strategy"`
	Result           tokens.VerificationResult `db:"verification_result"`
	Code             string                    `db:"verification_code"`
}

const tokenColumns = `
	t.id, t.merchant_account, t.token, t.shopper_reference, t.payment_method, t.state, t.state_since, t.cause,
	coalesce(k.brand, '') AS brand, coalesce(k.funding, '') AS funding, coalesce(k.last_four, '') AS last_four, k.expires,
	coalesce(k.fingerprint, '') AS fingerprint, k.changed_at, coalesce(k.changed_by_gateway, false) AS changed_by_gateway,
	k.read_at, k.verified_at, coalesce(k.verification_strategy, '') AS verification_strategy,
	coalesce(k.verification_result, '') AS verification_result, coalesce(k.verification_code, '') AS verification_code`

// usersOfToken counts the subscriptions that charge a token and have not ended.
const usersOfToken = `(SELECT count(*) FROM subscriptions s WHERE s.token_id = t.id AND s.state NOT IN ('cancelled', 'completed')) AS subscriptions`

func (r tokenRow) token() tokens.Token {
	return tokens.Token{
		ID: r.ID, MerchantAccount: r.MerchantAccount, ShopperReference: r.ShopperReference, Reference: r.Token,
		PaymentMethod: r.PaymentMethod, State: r.State, StateSince: r.StateSince.UTC(), Cause: r.Cause,
	}
}

func (r cardRow) details() tokens.Details {
	d := tokens.Details{
		Brand: r.Brand, Funding: r.Funding, LastFour: r.LastFour, Fingerprint: r.Fingerprint, ChangedByGateway: r.ChangedByGateway,
	}
	if r.Expires.Valid {
		d.Expiry = tokens.Expiry{Year: r.Expires.Time.Year(), Month: r.Expires.Time.Month()}
	}
	if r.ChangedAt.Valid {
		d.ChangedAt = r.ChangedAt.Time.UTC()
	}
	return d
}

// A TokenListing is a token as lists show it.
type TokenListing struct {
	tokens.Token
	Details       tokens.Details
	ReadAt        time.Time // when the gateway was last asked about it; zero for never
	VerifiedAt    time.Time
	Verification  tokens.Verification // the last one, without the gateway's words
	Subscriptions int                 // that charge it and have not ended
}

func (r tokenRow) listing() TokenListing {
	return TokenListing{
		Token: r.token(), Details: r.details(), ReadAt: utc(r.ReadAt), VerifiedAt: utc(r.VerifiedAt), Subscriptions: r.Subscriptions,
		Verification: tokens.Verification{Strategy: r.Strategy, Result: r.Result, Code: r.Code},
	}
}

// A TokenFilter selects tokens. The zero value selects all.
type TokenFilter struct {
	MerchantAccount string
	State           tokens.State
	Shopper         string
	Unverified      bool      // nobody verified it
	ExpiresBefore   time.Time // the card is no longer good at this moment; business time
	DueBefore       time.Time // something is due with it before this business time
	After           tokens.ID
	Limit           int
}

func (f TokenFilter) where() *conditions {
	var where conditions
	where.addIf(f.After > 0, "t.id > %s", f.After)
	where.addIf(f.MerchantAccount != "", "t.merchant_account = %s", f.MerchantAccount)
	where.addIf(f.State != "", "t.state = %s", f.State)
	where.addIf(f.Shopper != "", "t.shopper_reference = %s", f.Shopper)
	where.addIf(f.Unverified, "t.state = %s AND k.verified_at IS NULL", tokens.Unverified)
	where.addIf(!f.ExpiresBefore.IsZero(), "(k.expires + interval '1 month') AT TIME ZONE 'UTC' <= %s", f.ExpiresBefore)
	where.addIf(!f.DueBefore.IsZero(), `t.id IN (SELECT s.token_id FROM subscriptions s WHERE s.next_charge_at < %[1]s
	                                            UNION SELECT c.token_id FROM open_charges o JOIN charges c ON c.id = o.charge_id
	                                                   WHERE c.state IN ('due', 'held') AND c.next_attempt_at < %[1]s)`, f.DueBefore)
	return &where
}

// FindTokens streams the tokens that filter selects, in the order of their ids. An
// error ends the stream.
func (db *DB) FindTokens(ctx context.Context, filter TokenFilter) iter.Seq2[TokenListing, error] {
	where := filter.where()
	query := `SELECT` + tokenColumns + `, ` + usersOfToken + `, '' AS return_url FROM tokens t LEFT JOIN cards k ON k.token_id = t.id` +
		where.clause() + ` ORDER BY t.id` + where.limit(filter.Limit)
	return stream(ctx, db, "list tokens", query, where.args, tokenRow.listing)
}

// FindToken finds a token by the gateway's name of it, or by our own number.
// account may be empty if the name is of one account alone.
func (db *DB) FindToken(ctx context.Context, name, account string) (TokenListing, error) {
	number, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		number = 0
	}
	query := `SELECT` + tokenColumns + `, ` + usersOfToken + `, '' AS return_url
		  FROM tokens t LEFT JOIN cards k ON k.token_id = t.id
		 WHERE (t.token = $1 OR t.id = $2) AND ($3 = '' OR t.merchant_account = $3)
		 ORDER BY t.token = $1 DESC LIMIT 3`
	var rows []tokenRow
	if err := db.sqlx.SelectContext(ctx, &rows, query, name, number, account); err != nil {
		return TokenListing{}, fmt.Errorf("find token: %w", unavailable(err))
	}
	named := 0
	for _, r := range rows {
		if r.Token == name {
			named++
		}
	}
	switch {
	case len(rows) == 0:
		return TokenListing{}, fmt.Errorf("find token: %w", billing.ErrNotFound)
	case named > 1:
		return TokenListing{}, fmt.Errorf("%w token: more than one merchant account has it: give --merchant-account", billing.ErrInvalid)
	}
	return rows[0].listing(), nil
}

// ReadToken implements tokens.Store.
func (db *DB) ReadToken(ctx context.Context, id tokens.ID) (tokens.Record, error) {
	query := `SELECT` + tokenColumns + `, ` + usersOfToken + `, s.return_url
		  FROM tokens t LEFT JOIN cards k ON k.token_id = t.id
		  JOIN merchant_accounts a ON a.id = t.merchant_account JOIN account_settings s ON s.id = a.settings_id
		 WHERE t.id = $1`
	var row tokenRow
	if err := db.sqlx.GetContext(ctx, &row, query, id); err != nil {
		return tokens.Record{}, fmt.Errorf("token %d: %w", id, unavailable(notFound(err)))
	}
	return tokens.Record{Token: row.token(), Details: row.details(), ReturnURL: row.ReturnURL, Subscriptions: row.Subscriptions}, nil
}

// TokenNamed implements tokens.Store.
func (db *DB) TokenNamed(ctx context.Context, account, reference string) (tokens.Token, bool, error) {
	const query = `
		SELECT id, merchant_account, token, shopper_reference, payment_method, state, state_since, cause
		  FROM tokens WHERE token = $2 AND merchant_account = $1`
	var row tokenRow
	switch err := notFound(db.sqlx.GetContext(ctx, &row, query, account, reference)); {
	case errors.Is(err, billing.ErrNotFound):
		return tokens.Token{}, false, nil
	case err != nil:
		return tokens.Token{}, false, fmt.Errorf("find token by its name: %w", unavailable(err))
	}
	return row.token(), true, nil
}
