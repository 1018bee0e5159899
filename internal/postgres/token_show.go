package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/tokens"
)

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
