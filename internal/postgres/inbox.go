package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// The inbox: events are stored before they are acknowledged, and applied later,
// by the rules of billing.Event, under the lock of the charge's row.

var _ scheduler.Inbox = (*DB)(nil)

// StoreEvents stores the events of one delivery, all or none. An event that is
// stored already is counted, and nothing else: gateways deliver at least once.
func (db *DB) StoreEvents(ctx context.Context, gateway string, events []billing.Event) error {
	n := len(events)
	var (
		accounts, kinds, codes, references, originals, ours = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		currencies, tokenTexts, shoppers, documents         = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		amounts                                             = make(pq.Int64Array, n)
		signed                                              = make(pq.BoolArray, n)
		digests                                             = make(pq.ByteaArray, n)
	)
	for i, e := range events {
		accounts[i], kinds[i], codes[i] = e.MerchantAccount, string(e.Kind), e.Code
		references[i], originals[i], ours[i] = e.GatewayReference, e.OriginalReference, e.Reference
		amounts[i], currencies[i] = e.Amount.Minor, e.Amount.Currency
		tokenTexts[i], shoppers[i], documents[i], signed[i] = e.Token, e.ShopperReference, string(e.Document), e.Signed
		digests[i] = eventDigest(gateway, e)
	}
	const query = `
		INSERT INTO inbox (gateway, merchant_account, kind, code, gateway_reference, original_reference, reference,
		                   amount_minor, currency, token, shopper_reference, signed, document, digest, state, next_try_at)
		SELECT DISTINCT ON (r.digest) $1, r.merchant_account, r.kind, r.code, r.gateway_reference, r.original_reference, r.reference,
		       r.amount_minor, r.currency, r.token, r.shopper_reference, r.signed, r.document::jsonb, r.digest,
		       CASE r.kind WHEN 'other' THEN 'kept' ELSE 'stored' END, CASE r.kind WHEN 'other' THEN NULL ELSE clock_timestamp() END
		  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[],
		              $10::text[], $11::text[], $12::boolean[], $13::text[], $14::bytea[])
		    AS r(merchant_account, kind, code, gateway_reference, original_reference, reference, amount_minor, currency,
		         token, shopper_reference, signed, document, digest)
		 ORDER BY r.digest
		ON CONFLICT (digest) DO UPDATE SET times_received = inbox.times_received + 1`
	if _, err := db.sqlx.ExecContext(ctx, query, gateway, accounts, kinds, codes, references, originals, ours, amounts, currencies,
		tokenTexts, shoppers, signed, documents, digests); err != nil {
		return fmt.Errorf("store %d events: %w", n, unavailable(err))
	}
	return nil
}

// eventDigest names what makes two deliveries one event: other fields, even its
// date, may differ between them.
func eventDigest(gateway string, e billing.Event) []byte {
	hash := sha256.New()
	for _, field := range []string{gateway, e.MerchantAccount, string(e.Kind), e.Code, e.GatewayReference, e.OriginalReference, e.Token} {
		hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field))))
		hash.Write([]byte(field))
	}
	return hash.Sum(nil)
}

// inboxRow is a stored event that is to be applied.
type inboxRow struct {
	ID                int64             `db:"id"`
	Kind              billing.EventKind `db:"kind"`
	Code              string            `db:"code"`
	MerchantAccount   string            `db:"merchant_account"`
	GatewayReference  string            `db:"gateway_reference"`
	OriginalReference string            `db:"original_reference"`
	Reference         string            `db:"reference"`
	AmountMinor       int64             `db:"amount_minor"`
	Currency          string            `db:"currency"`
	Token             string            `db:"token"`
	Class             string            `db:"class"`
	RefusalReason     string            `db:"refusal_reason"`
	Tries             int               `db:"tries"`
}

const inboxColumns = `
	i.id, i.kind, i.code, i.merchant_account, i.gateway_reference, i.original_reference, i.reference, i.amount_minor, i.currency, i.token,
	coalesce(i.document ->> 'class', '') AS class, coalesce(i.document ->> 'reason', '') AS refusal_reason, i.tries`

func (r inboxRow) event() billing.Event {
	return billing.Event{
		Kind: r.Kind, Code: r.Code, MerchantAccount: r.MerchantAccount, GatewayReference: r.GatewayReference,
		OriginalReference: r.OriginalReference, Reference: r.Reference, Signed: true, Token: r.Token,
		Amount:  billing.Money{Minor: r.AmountMinor, Currency: r.Currency},
		Refusal: billing.Reply{Class: billing.DeclineClass(r.Class), RefusalReason: r.RefusalReason},
	}
}

// ApplyEvents implements scheduler.Inbox. Events that say what is known, as most
// do, are applied together; each of the others has a transaction of its own, so
// that one that fails holds up no other.
func (db *DB) ApplyEvents(ctx context.Context, limit int) (int, error) {
	if found, err := db.finds(ctx, `SELECT EXISTS (SELECT FROM inbox WHERE next_try_at <= clock_timestamp())`); !found || err != nil {
		return 0, err
	}
	known, err := db.applyKnown(ctx, limit)
	if err != nil || known == limit {
		return known, err
	}
	for n := known; ; n++ {
		if n == limit {
			return n, nil
		}
		more, err := db.applyNext(ctx)
		if !more || err != nil {
			return n, err
		}
	}
}

// applyKnown closes approvals of attempts that are paid as they say. What its
// pattern misses, applyNext applies: see billing.Event.Attempt.
func (db *DB) applyKnown(ctx context.Context, limit int) (int, error) {
	const query = `
		WITH next AS MATERIALIZED (
			SELECT id, merchant_account, reference, gateway_reference, amount_minor, currency FROM inbox
			 WHERE next_try_at <= (SELECT clock_timestamp()) AND kind = 'authorised' AND reference ~ '^.+~[1-9][0-9]{0,5}$'
			 ORDER BY next_try_at, id LIMIT $1 FOR UPDATE SKIP LOCKED),
		     known AS (
			SELECT n.id, c.id AS charge_id, c.answered
			  FROM next n
			 CROSS JOIN LATERAL (SELECT c.id, c.answered FROM charges c
			                      WHERE c.merchant_account = n.merchant_account AND c.reference = regexp_replace(n.reference, '~[0-9]+$', '')
			                        AND c.state = 'paid' AND c.answered = substring(n.reference FROM '[0-9]+$')::integer
			                        AND c.amount_minor = n.amount_minor AND c.currency = n.currency) c
			 WHERE EXISTS (SELECT FROM observations o
			                WHERE o.charge_id = c.id AND o.attempt = c.answered AND o.outcome = 'authorised' AND o.gateway_reference = n.gateway_reference))
		UPDATE inbox i
		   SET state = 'applied', verdict = 'known', charge_id = k.charge_id, attempt = k.answered, next_try_at = NULL, applied_at = clock_timestamp()
		  FROM known k WHERE i.id = k.id
		RETURNING i.merchant_account, i.gateway_reference`
	var payments []paymentName
	if err := db.sqlx.SelectContext(ctx, &payments, query, limit); err != nil {
		return 0, fmt.Errorf("apply known events: %w", unavailable(err))
	}
	return len(payments), unavailable(recallEvents(ctx, db.sqlx, payments))
}

// applyNext applies the event that waits longest. It reports false if there is none.
//
// An event that cannot be applied waits, with the reason: the next one must not
// wait for it.
func (db *DB) applyNext(ctx context.Context) (bool, error) {
	hot, err := db.prepared(ctx)
	if err != nil {
		return false, fmt.Errorf("apply events: %w", err)
	}
	found := false
	var row inboxRow
	err = db.inTx(ctx, "apply event", func(tx *sqlx.Tx) error {
		const next = `
			SELECT` + inboxColumns + ` FROM inbox i
			 WHERE i.next_try_at <= (SELECT clock_timestamp())
			 ORDER BY i.next_try_at, i.id LIMIT 1 FOR UPDATE SKIP LOCKED`
		if err := tx.GetContext(ctx, &row, next); errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return fmt.Errorf("take event: %w", err)
		}
		found = true
		return hot.applyEvent(ctx, tx, row)
	})
	if err == nil || !found || ctx.Err() != nil {
		return found, err
	}
	db.logger.Error("an event cannot be applied; it is tried again", "event", row.ID, "code", row.Code, "error", err)
	const wait = `
		UPDATE inbox SET tries = tries + 1, reason = $2, next_try_at = clock_timestamp() + make_interval(secs => $3)
		 WHERE id = $1 AND next_try_at IS NOT NULL`
	if _, err := db.sqlx.ExecContext(ctx, wait, row.ID, err.Error(), waitForEvent(row).Seconds()); err != nil {
		return found, fmt.Errorf("postpone event %d: %w", row.ID, unavailable(err))
	}
	return found, nil
}

// waitForEvent is how long an event waits before it is looked at again: twice as
// long each time, up to a quarter of an hour.
func waitForEvent(row inboxRow) time.Duration {
	return min(time.Second<<min(row.Tries, 10), 15*time.Minute)
}

func (hot *hotStatements) applyEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow) error {
	e := row.event()
	if e.Token != "" && !e.Kind.IsPayment() {
		return applyTokenEvent(ctx, tx, row, e)
	}
	charge, attempt, err := findEventCharge(ctx, tx, e)
	if errors.Is(err, billing.ErrNotFound) {
		if done, err := applySessionEvent(ctx, tx, row, e); done || err != nil {
			return err
		}
		return quarantineEvent(ctx, tx, row, "no_such_charge")
	}
	if err != nil {
		return err
	}
	verdict := e.Judge(attempt, charge.standing())
	switch verdict {
	case billing.VerdictSettles:
		err = hot.settleByEvent(ctx, tx, e, charge, attempt)
	case billing.VerdictPays:
		err = payByEvent(ctx, tx, e, charge, attempt)
	case billing.VerdictStops:
		err = stopForEvent(ctx, tx, e, charge, attempt)
	case billing.VerdictReverses:
		err = reverseByEvent(ctx, tx, e, charge)
	case billing.VerdictAlerts:
		err = alertByEvent(ctx, tx, e, charge, attempt)
	case billing.VerdictMismatch:
		if err := alertByEvent(ctx, tx, e, charge, attempt); err != nil {
			return err
		}
		return quarantineEvent(ctx, tx, row, "does_not_fit_the_charge")
	}
	if err != nil {
		return err
	}
	if verdict == billing.VerdictWaits || verdict == billing.VerdictStops {
		return postponeEvent(ctx, tx, row, charge.ID, attempt, verdict)
	}
	if err := closeEvent(ctx, tx, row, charge.ID, attempt, verdict); err != nil {
		return err
	}
	if e.Kind.IsPayment() {
		return recallEvents(ctx, tx, []paymentName{{e.MerchantAccount, e.GatewayReference}})
	}
	return nil
}

// closeEvent says what became of an event.
func closeEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, id billing.ChargeID, attempt int, verdict billing.Verdict) error {
	const query = `
		UPDATE inbox SET state = 'applied', verdict = $2, reason = '', charge_id = nullif($3, 0), attempt = nullif($4, 0),
		                 next_try_at = NULL, applied_at = clock_timestamp(), tries = tries + 1
		 WHERE id = $1`
	if _, err := tx.ExecContext(ctx, query, row.ID, verdict, id, attempt); err != nil {
		return fmt.Errorf("close event %d: %w", row.ID, err)
	}
	return nil
}

// postponeEvent looks at an event again after a while.
func postponeEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, id billing.ChargeID, attempt int, verdict billing.Verdict) error {
	const query = `
		UPDATE inbox SET state = 'waiting', verdict = $2, charge_id = nullif($3, 0), attempt = nullif($4, 0), tries = tries + 1,
		                 next_try_at = clock_timestamp() + make_interval(secs => $5)
		 WHERE id = $1`
	if _, err := tx.ExecContext(ctx, query, row.ID, verdict, id, attempt, waitForEvent(row).Seconds()); err != nil {
		return fmt.Errorf("postpone event %d: %w", row.ID, err)
	}
	return nil
}

// quarantineEvent puts aside an event that fits nothing, until a person or
// another event brings it back.
func quarantineEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, reason string) error {
	const query = `
		UPDATE inbox SET state = 'quarantined', reason = $2, next_try_at = NULL, tries = tries + 1 WHERE id = $1`
	if _, err := tx.ExecContext(ctx, query, row.ID, reason); err != nil {
		return fmt.Errorf("quarantine event %d: %w", row.ID, err)
	}
	return nil
}

// A paymentName is what a gateway calls a payment.
type paymentName struct {
	MerchantAccount  string `db:"merchant_account"`
	GatewayReference string `db:"gateway_reference"`
}

// recallEvents lets the events be looked at again that came before the payments
// they are about were known.
func recallEvents(ctx context.Context, q sqlx.ExecerContext, payments []paymentName) error {
	accounts, references := make(pq.StringArray, len(payments)), make(pq.StringArray, len(payments))
	for i, p := range payments {
		accounts[i], references[i] = p.MerchantAccount, p.GatewayReference
	}
	if len(payments) == 0 {
		return nil
	}
	const query = `
		UPDATE inbox i SET state = 'stored', reason = '', next_try_at = clock_timestamp()
		  FROM unnest($1::text[], $2::text[]) AS p (merchant_account, gateway_reference)
		 WHERE i.state = 'quarantined' AND i.reason = 'no_such_charge'
		   AND i.original_reference = p.gateway_reference AND i.merchant_account = p.merchant_account`
	if _, err := q.ExecContext(ctx, query, accounts, references); err != nil {
		return fmt.Errorf("recall events: %w", err)
	}
	return nil
}
