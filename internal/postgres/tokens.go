package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

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

// A TokenDetail is all that is on record about a token.
type TokenDetail struct {
	TokenListing
	CreatedAt time.Time
	Events    []tokens.Event // oldest first
	Audit     []AuditEntry
	// What was charged with it: attempts with an outcome, the first and the last.
	Authorised, Refused int
	FirstUsed, LastUsed time.Time // zero for never
	Open                int       // charges of it that are not finished
	Held                int       // of these, held
	SameCard            []tokens.ID
}

// ShowToken returns all that is on record about a token.
func (db *DB) ShowToken(ctx context.Context, id tokens.ID) (TokenDetail, error) {
	var detail TokenDetail
	err := db.inSnapshot(ctx, "show token", func(tx *sqlx.Tx) error {
		var row struct {
			tokenRow
			CreatedAt time.Time `db:"created_at"`
		}
		const query = `SELECT` + tokenColumns + `, ` + usersOfToken + `, t.created_at
			  FROM tokens t LEFT JOIN cards k ON k.token_id = t.id WHERE t.id = $1`
		if err := tx.GetContext(ctx, &row, query, id); err != nil {
			return fmt.Errorf("token %d: %w", id, notFound(err))
		}
		detail.TokenListing, detail.CreatedAt = row.listing(), row.CreatedAt.UTC()
		if err := readTokenUse(ctx, tx, id, &detail); err != nil {
			return err
		}
		var err error
		if detail.Events, err = readTokenEvents(ctx, tx, id); err != nil {
			return err
		}
		const same = `SELECT token_id FROM cards WHERE fingerprint = $1 AND fingerprint <> '' AND token_id <> $2 ORDER BY token_id LIMIT 20`
		if err := tx.SelectContext(ctx, &detail.SameCard, same, row.Fingerprint, id); err != nil {
			return fmt.Errorf("find the same card: %w", err)
		}
		detail.Audit, err = findAudit(ctx, tx, auditKindToken, strconv.FormatInt(int64(id), 10))
		return err
	})
	return detail, err
}

func readTokenUse(ctx context.Context, tx *sqlx.Tx, id tokens.ID, detail *TokenDetail) error {
	const query = `
		SELECT count(*) FILTER (WHERE u.outcome = 'authorised') AS authorised, count(*) FILTER (WHERE u.outcome = 'refused') AS refused,
		       min(u.at) AS first_used, max(u.at) AS last_used
		  FROM (SELECT DISTINCT ON (o.charge_id, o.attempt) o.outcome, o.at
		          FROM observations o JOIN charges c ON c.id = o.charge_id
		         WHERE c.token_id = $1 AND o.outcome IN ('authorised', 'refused')
		         ORDER BY o.charge_id, o.attempt, o.outcome) u`
	var use struct {
		Authorised int          `db:"authorised"`
		Refused    int          `db:"refused"`
		First      sql.NullTime `db:"first_used"`
		Last       sql.NullTime `db:"last_used"`
	}
	if err := tx.GetContext(ctx, &use, query, id); err != nil {
		return fmt.Errorf("read use of token %d: %w", id, err)
	}
	detail.Authorised, detail.Refused, detail.FirstUsed, detail.LastUsed = use.Authorised, use.Refused, utc(use.First), utc(use.Last)
	const open = `
		SELECT count(*) AS open, count(*) FILTER (WHERE c.state = 'held') AS held
		  FROM open_charges o JOIN charges c ON c.id = o.charge_id WHERE o.token_id = $1 AND c.token_id = $1 AND c.finished_at IS NULL`
	return tx.QueryRowxContext(ctx, open, id).Scan(&detail.Open, &detail.Held)
}

func readTokenEvents(ctx context.Context, tx *sqlx.Tx, id tokens.ID) ([]tokens.Event, error) {
	const query = `SELECT at, kind, state, cause, source, actor, detail FROM token_events WHERE token_id = $1 ORDER BY id`
	var rows []struct {
		At     time.Time        `db:"at"`
		Kind   tokens.EventKind `db:"kind"`
		State  tokens.State     `db:"state"`
		Cause  string           `db:"cause"`
		Source tokens.Source    `db:"source"`
		Actor  string           `db:"actor"`
		Detail string           `db:"detail"`
	}
	if err := tx.SelectContext(ctx, &rows, query, id); err != nil {
		return nil, fmt.Errorf("read timeline of token %d: %w", id, err)
	}
	events := make([]tokens.Event, len(rows))
	for i, r := range rows {
		events[i] = tokens.Event{At: r.At.UTC(), Kind: r.Kind, State: r.State, Cause: r.Cause, Source: r.Source, Actor: r.Actor, Detail: r.Detail}
	}
	return events, nil
}

func affected(result sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
