package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// An InboxEvent is a stored webhook event, for people.
type InboxEvent struct {
	ID                int64             `db:"id"`
	ReceivedAt        time.Time         `db:"received_at"`
	TimesReceived     int               `db:"times_received"`
	Gateway           string            `db:"gateway"`
	MerchantAccount   string            `db:"merchant_account"`
	Kind              billing.EventKind `db:"kind"`
	Code              string            `db:"code"` // the gateway's own word
	GatewayReference  string            `db:"gateway_reference"`
	OriginalReference string            `db:"original_reference"`
	Reference         string            `db:"reference"` // <charge>~<attempt>
	AmountMinor       int64             `db:"amount_minor"`
	Currency          string            `db:"currency"`
	Signed            bool              `db:"signed"`
	State             string            `db:"state"` // stored, waiting, applied, kept or quarantined
	Verdict           billing.Verdict   `db:"verdict"`
	Reason            string            `db:"reason"`
	ChargeID          billing.ChargeID  `db:"charge_id"` // 0 if it is about none
	Attempt           int               `db:"attempt"`
	Tries             int               `db:"tries"`
	Document          json.RawMessage   `db:"document"`
}

const inboxEventQuery = `
	SELECT id, received_at, times_received, gateway, merchant_account, kind, code, gateway_reference, original_reference, reference,
	       amount_minor, currency, signed, state, verdict, reason, coalesce(charge_id, 0) AS charge_id, coalesce(attempt, 0) AS attempt,
	       tries, document
	  FROM inbox`

// An EventFilter chooses stored events. Its zero value chooses all.
type EventFilter struct {
	State           string
	MerchantAccount string
	Code            string
	Reference       string // of a payment: ours or the gateway's
	Limit           int    // 0 for no limit
}

// FindEvents streams stored webhook events, the newest first. An error ends the
// stream.
func (db *DB) FindEvents(ctx context.Context, filter EventFilter) iter.Seq2[InboxEvent, error] {
	var where conditions
	where.addIf(filter.State != "", "state = %s", filter.State)
	where.addIf(filter.MerchantAccount != "", "merchant_account = %s", filter.MerchantAccount)
	where.addIf(filter.Code != "", "code = %s", filter.Code)
	where.addIf(filter.Reference != "", "%s IN (reference, gateway_reference, original_reference)", filter.Reference)
	query := inboxEventQuery + where.clause() + ` ORDER BY id DESC` + where.limit(filter.Limit)
	return stream(ctx, db, "list webhooks", query, where.args, func(e InboxEvent) InboxEvent { return e })
}

// FindEvent returns one stored event, or billing.ErrNotFound.
func (db *DB) FindEvent(ctx context.Context, id int64) (InboxEvent, error) {
	var e InboxEvent
	if err := db.sqlx.GetContext(ctx, &e, inboxEventQuery+` WHERE id = $1`, id); err != nil {
		return e, fmt.Errorf("webhook event %d: %w", id, notFound(err))
	}
	return e, nil
}

// ReplayEvents lets events be applied again: those with an id, or with no ids all
// that are quarantined. What is applied already changes nothing the second time.
// It returns how many events are looked at again.
func (db *DB) ReplayEvents(ctx context.Context, ids []int64, by billing.Decision) (int, error) {
	if err := by.Validate(); err != nil {
		return 0, fmt.Errorf("replay webhooks: %w", err)
	}
	n := 0
	err := db.inTx(ctx, "replay webhooks", func(tx *sqlx.Tx) error {
		const query = `
			UPDATE inbox SET state = 'stored', reason = '', tries = 0, next_try_at = clock_timestamp()
			 WHERE kind <> 'other' AND (id = ANY ($1) OR cardinality($1::bigint[]) = 0 AND state = 'quarantined')
			RETURNING id`
		if ids == nil {
			ids = []int64{}
		}
		var replayed []int64
		if err := tx.SelectContext(ctx, &replayed, query, ids); err != nil {
			return fmt.Errorf("find events: %w", err)
		}
		if n = len(replayed); n == 0 {
			return fmt.Errorf("none of these events is there and has an effect (`contauth webhooks list` shows them): %w", billing.ErrNotFound)
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: by.Actor, Action: "replay", ObjectKind: auditKindInbox, Object: fmt.Sprint(n, " events"), Reason: by.Why,
			After: map[string]any{"ids": replayed},
		})
	})
	return n, err
}
