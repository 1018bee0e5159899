package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// The kinds of objects that audit rows are about.
const (
	auditKindCharge       = "charge"
	auditKindSubscription = "subscription"
	auditKindSendingStop  = "sending_stop"
	auditKindTestClock    = "test_clock"
	auditKindSchedule     = "schedule"
	auditKindInbox        = "inbox"
	auditKindInstance     = "instance"
	auditKindToken        = "token"
)

// An auditEntry is one row of the audit table. Before and After become JSON
// objects; leave one nil where there was, or is, nothing.
type auditEntry struct {
	Actor           string
	Action          string // verb, such as "hold"
	MerchantAccount string // empty if it is about more than one
	ObjectKind      string
	Object          string // its number, or its name where it has none
	Reason          string // in the actor's own words; may be empty
	Before, After   any
}

// recordAudit adds an entry in the transaction of the deed itself: neither is
// ever there without the other.
func recordAudit(ctx context.Context, tx *sqlx.Tx, e auditEntry) error {
	before, err := auditJSON(e.Before)
	if err != nil {
		return err
	}
	after, err := auditJSON(e.After)
	if err != nil {
		return err
	}
	const query = `
		INSERT INTO audit (at, actor, action, merchant_account, object_kind, object, reason, before, after)
		VALUES (clock_timestamp(), $1, $2, nullif($3, ''), $4, $5, $6, $7, $8)`
	if _, err := tx.ExecContext(ctx, query, e.Actor, e.Action, e.MerchantAccount, e.ObjectKind, e.Object,
		e.Reason, before, after); err != nil {
		return fmt.Errorf("write audit of %s %s: %w", e.ObjectKind, e.Object, err)
	}
	return nil
}

func auditJSON(value any) (*string, error) {
	if value == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode audit: %w", err)
	}
	text := string(encoded)
	return &text, nil
}

// An AuditEntry is who did what, when and why, as it is on record.
type AuditEntry struct {
	At     time.Time       `db:"at"`
	Actor  string          `db:"actor"`
	Action string          `db:"action"`
	Reason string          `db:"reason"` // in the actor's own words
	Before json.RawMessage `db:"before"` // a JSON object, or nil
	After  json.RawMessage `db:"after"`
}

// findAudit returns what is on record about one object, oldest first.
func findAudit(ctx context.Context, tx *sqlx.Tx, kind, object string) ([]AuditEntry, error) {
	const query = `
		SELECT at, actor, action, reason, coalesce(before, 'null') AS before, coalesce(after, 'null') AS after
		  FROM audit WHERE object_kind = $1 AND object = $2 ORDER BY id`
	var entries []AuditEntry
	if err := tx.SelectContext(ctx, &entries, query, kind, object); err != nil {
		return nil, fmt.Errorf("read audit of %s %s: %w", kind, object, err)
	}
	return entries, nil
}

// inSnapshot runs a reading that sees everything as it stood at one moment.
func (db *DB) inSnapshot(ctx context.Context, doing string, work func(tx *sqlx.Tx) error) error {
	tx, err := db.sqlx.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("%s: begin: %w", doing, err)
	}
	defer tx.Rollback() // it wrote nothing
	if err := work(tx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
