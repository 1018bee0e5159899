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
	"github.com/contauth/contauth/tokens"
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

// eventCharge is a locked charge that an event is about.
type eventCharge struct {
	lockedCharge
	AmountMinor  int64     `db:"amount_minor"`
	Currency     string    `db:"currency"`
	LeaseNo      int       `db:"lease_no"`
	RunID        int64     `db:"run_id"`
	ReplayComing bool      `db:"replay_coming"`
	BusinessNow  time.Time `db:"business_now"`

	authorised []int // attempts with an approval on record
}

func (c eventCharge) amount() billing.Money {
	return billing.Money{Minor: c.AmountMinor, Currency: c.Currency}
}

func (c eventCharge) standing() billing.Standing {
	return billing.Standing{
		State: c.State, Answered: c.Answered, Amount: c.amount(), ReplayComing: c.ReplayComing, Authorised: c.authorised,
	}
}

// findEventCharge finds and locks the charge of an event: by our own reference
// or, for what was done to a payment, by the payment's event.
func findEventCharge(ctx context.Context, tx *sqlx.Tx, e billing.Event) (eventCharge, int, error) {
	reference, attempt, ok := e.Attempt()
	if c, err := lockEventCharge(ctx, tx, e.MerchantAccount, reference); ok && !errors.Is(err, billing.ErrNotFound) {
		return c, attempt, err
	}
	if e.OriginalReference == "" {
		return eventCharge{}, 0, billing.ErrNotFound
	}
	const original = `
		SELECT reference FROM inbox
		 WHERE gateway_reference = $1 AND merchant_account = $2 AND kind IN ('authorised', 'refused') AND reference <> ''
		 ORDER BY id LIMIT 1`
	var payment billing.Event
	if err := tx.GetContext(ctx, &payment.Reference, original, e.OriginalReference, e.MerchantAccount); err != nil {
		return eventCharge{}, 0, notFound(err)
	}
	if reference, attempt, ok = payment.Attempt(); !ok {
		return eventCharge{}, 0, billing.ErrNotFound
	}
	c, err := lockEventCharge(ctx, tx, e.MerchantAccount, reference)
	return c, attempt, err
}

// lockEventCharge locks a charge, its subscription first: the order in which
// everybody takes these locks.
func lockEventCharge(ctx context.Context, tx *sqlx.Tx, merchantAccount, reference string) (eventCharge, error) {
	const subscription = `
		SELECT FROM subscriptions
		 WHERE id = (SELECT subscription_id FROM charges WHERE merchant_account = $1 AND reference = $2)
		   FOR NO KEY UPDATE`
	if _, err := tx.ExecContext(ctx, subscription, merchantAccount, reference); err != nil {
		return eventCharge{}, fmt.Errorf("lock subscription: %w", err)
	}
	const query = `
		SELECT` + lockedChargeColumns + `, c.amount_minor, c.currency, c.lease_no, coalesce(c.run_id, 0) AS run_id,
		       c.state = 'unknown' AND c.resolve_at IS NOT NULL AND c.stop_request IS NULL AS replay_coming, business_now() AS business_now
		  FROM charges c WHERE c.merchant_account = $1 AND c.reference = $2 FOR UPDATE`
	var c eventCharge
	if err := tx.GetContext(ctx, &c, query, merchantAccount, reference); err != nil {
		return c, notFound(err)
	}
	const approvals = `SELECT DISTINCT attempt FROM observations WHERE charge_id = $1 AND outcome = 'authorised' ORDER BY 1`
	if err := tx.SelectContext(ctx, &c.authorised, approvals, c.ID); err != nil {
		return c, fmt.Errorf("read approvals of %s: %w", c, err)
	}
	return c, nil
}

// settleByEvent takes an event for the answer to the open attempt, by the very
// statement that settles API answers.
func (hot *hotStatements) settleByEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge, attempt int) error {
	reply := billing.Reply{Outcome: billing.OutcomeAuthorised, GatewayReference: e.GatewayReference, ResultCode: e.Code}
	if e.Kind == billing.EventRefused {
		reply.Outcome, reply.Class, reply.RefusalReason = billing.OutcomeRefused, e.Refusal.Class, e.Refusal.RefusalReason
	}
	claimed := billing.ClaimedCharge{
		ID: c.ID, TokenID: c.TokenID, RunID: c.RunID, Attempt: attempt, LeaseNo: c.LeaseNo,
		BusinessNow: c.BusinessNow.UTC(), Pending: c.State == billing.ChargePending,
	}
	s := billing.Settle(&claimed, reply, nil, nil)
	s.Source = billing.SourceWebhook
	s.TokenCause = "" // nobody vouches for a refusal's words: this charge is held, the token stays
	group := []*billing.Settlement{&s}
	var stayed []int64
	if err := tx.StmtxContext(ctx, hot.settle).SelectContext(ctx, &stayed, settleArguments(group, nil)...); err != nil {
		return fmt.Errorf("settle %s by an event: %w", c, err)
	}
	if len(stayed) > 0 {
		return fmt.Errorf("settle %s by an event: it is %s with %d answered: %w", c, c.State, c.Answered, billing.ErrConflict)
	}
	return nil
}

// payByEvent closes a charge whose earlier attempt was approved after all: its
// retries end.
func payByEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge, attempt int) error {
	const move = `
		UPDATE charges
		   SET state = 'paid', reason = 'late_approval', decided_by = 'gateway', decided_at = clock_timestamp(), finished_at = clock_timestamp(),
		       attempt_started_at = NULL
		 WHERE id = $1 AND state IN ('due', 'held', 'unpaid')`
	if err := expectOne(tx.ExecContext(ctx, move, c.ID)); err != nil {
		return fmt.Errorf("close %s as paid: %w", c, err)
	}
	const close = `DELETE FROM open_charges WHERE charge_id = $1`
	if _, err := tx.ExecContext(ctx, close, c.ID); err != nil {
		return fmt.Errorf("close %s as paid: %w", c, err)
	}
	if err := observeEvent(ctx, tx, e, c, attempt); err != nil {
		return err
	}
	return storeChargeAlert(ctx, tx, "late_approval", c.ID, fmt.Sprintf("attempt %d was approved (%s) after it counted as refused: the charge is paid and no longer retried", attempt, e.GatewayReference))
}

// observeEvent puts an approval on record that does not answer the open attempt.
func observeEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge, attempt int) error {
	const query = `
		INSERT INTO observations (charge_id, at, run_id, attempt, counted, source, outcome, gateway_reference, result_code)
		VALUES ($1, clock_timestamp(), nullif($2, 0), $3, false, 'webhook', 'authorised', $4, $5)`
	if _, err := tx.ExecContext(ctx, query, c.ID, c.RunID, attempt, e.GatewayReference, e.Code); err != nil {
		return fmt.Errorf("record approval of %s: %w", c, err)
	}
	return nil
}

// stopForEvent keeps an open attempt from being sent, because an earlier one was
// approved.
func stopForEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge, attempt int) error {
	const query = `
		UPDATE charges SET stop_request = 'hold', stop_reason = 'late_approval', stop_actor = 'gateway'
		 WHERE id = $1 AND stop_request IS DISTINCT FROM 'cancel' AND stop_reason IS DISTINCT FROM 'late_approval'`
	res, err := tx.ExecContext(ctx, query, c.ID)
	if err != nil {
		return fmt.Errorf("stop %s: %w", c, err)
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return err
	}
	return storeChargeAlert(ctx, tx, "late_approval", c.ID, fmt.Sprintf("attempt %d was approved (%s) after it counted as refused, while attempt %d is open: that one is sent no more",
		attempt, e.GatewayReference, c.Answered+1))
}

// alertByEvent tells a person about news that fits nothing else. An approval is
// put on record whatever follows: money moved.
func alertByEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge, attempt int) error {
	kind := "contradiction"
	switch {
	case e.Kind == billing.EventAuthorised && e.Amount == c.amount() && attempt <= c.Answered+1:
		kind = "paid_twice"
		if c.State != billing.ChargePaid {
			kind = "paid_though_over"
		}
		if err := observeEvent(ctx, tx, e, c, attempt); err != nil {
			return err
		}
	case e.Kind == billing.EventCaptureFailed:
		kind = "capture_failed"
	}
	return storeChargeAlert(ctx, tx, kind, c.ID, fmt.Sprintf("%s says %s of attempt %d, %s (%s), and the charge is %s with %d answered",
		e.Code, e.Kind, attempt, e.Amount, e.GatewayReference, c.State, c.Answered))
}

func storeChargeAlert(ctx context.Context, tx *sqlx.Tx, kind string, id billing.ChargeID, detail string) error {
	const query = `INSERT INTO alerts (kind, charge_id, detail) VALUES ($1, $2, $3)`
	if _, err := tx.ExecContext(ctx, query, kind, id, detail); err != nil {
		return fmt.Errorf("store alert: %w", err)
	}
	return nil
}

// reverseByEvent adds up what was taken back of a charge, and stops its
// subscription, and for fraud its card, if the shopper or the issuer objects.
func reverseByEvent(ctx context.Context, tx *sqlx.Tx, e billing.Event, c eventCharge) error {
	const read = `SELECT` + inboxColumns + ` FROM inbox i WHERE i.charge_id = $1 AND i.state = 'applied' AND i.kind NOT IN ('authorised', 'refused')`
	var rows []inboxRow
	if err := tx.SelectContext(ctx, &rows, read, c.ID); err != nil {
		return fmt.Errorf("read events of %s: %w", c, err)
	}
	events := []billing.Event{e}
	for _, row := range rows {
		events = append(events, row.event())
	}
	reversed := billing.Reverse(events, c.amount())
	const store = `
		INSERT INTO charge_reversals (charge_id, refunded_minor, disputed_minor) VALUES ($1, $2, $3)
		ON CONFLICT (charge_id) DO UPDATE
		   SET refunded_minor = excluded.refunded_minor, disputed_minor = excluded.disputed_minor, updated_at = clock_timestamp()`
	if _, err := tx.ExecContext(ctx, store, c.ID, reversed.RefundedMinor, reversed.DisputedMinor); err != nil {
		return fmt.Errorf("store what was taken back of %s: %w", c, err)
	}
	if !e.Kind.Stops() {
		return nil
	}
	by := billing.Decision{Actor: "gateway", Why: e.Code}
	if e.Kind == billing.EventFraudNotice {
		if err := invalidateTokens(ctx, tx, []int64{int64(c.TokenID)}, []string{"fraud notice"}); err != nil {
			return err
		}
	}
	if err := storeChargeAlert(ctx, tx, string(e.Kind), c.ID, fmt.Sprintf("%s of %s (%s)", e.Code, e.Amount, e.GatewayReference)); err != nil {
		return err
	}
	if !c.SubscriptionID.Valid {
		return nil
	}
	return stopDisputedSubscription(ctx, tx, billing.SubscriptionID(c.SubscriptionID.Int64), by)
}

// tokenPatience is how often an event about an unknown token is looked at before it
// is quarantined: for about a day, in which an import or a payment may bring it.
const tokenPatience = 100

// applyTokenEvent does what an event about a stored card says.
func applyTokenEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, e billing.Event) error {
	const query = `SELECT id, state FROM tokens WHERE merchant_account = $1 AND token = $2 FOR UPDATE`
	var token struct {
		ID    tokens.ID    `db:"id"`
		State tokens.State `db:"state"`
	}
	if err := tx.GetContext(ctx, &token, query, e.MerchantAccount, e.Token); errors.Is(err, sql.ErrNoRows) {
		if row.Tries < tokenPatience {
			return postponeEvent(ctx, tx, row, 0, 0, billing.VerdictWaits)
		}
		return quarantineEvent(ctx, tx, row, "no_such_token")
	} else if err != nil {
		return fmt.Errorf("find token: %w", err)
	}
	verdict := billing.VerdictKnown
	if e.Kind == billing.EventTokenDisabled && token.State != tokens.Disabled {
		verdict = billing.VerdictSettles
		const disable = `UPDATE tokens SET state = 'disabled', cause = $2, state_since = clock_timestamp() WHERE id = $1`
		if _, err := tx.ExecContext(ctx, disable, token.ID, e.Code); err != nil {
			return fmt.Errorf("disable token: %w", err)
		}
		if err := holdTokenCharges(ctx, tx, []int64{int64(token.ID)}); err != nil {
			return err
		}
	}
	return closeEvent(ctx, tx, row, 0, 0, verdict)
}
