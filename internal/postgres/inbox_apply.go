package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

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
		if err := killToken(ctx, tx, c.TokenID, e.Code); err != nil {
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

// killToken lets nothing more be charged with a card of which its issuer reports
// fraud.
func killToken(ctx context.Context, tx *sqlx.Tx, id tokens.ID, code string) error {
	var state tokens.State
	if err := tx.GetContext(ctx, &state, `SELECT state FROM tokens WHERE id = $1`, id); err != nil {
		return fmt.Errorf("find token %d: %w", id, err)
	}
	if state == tokens.Disabled {
		return nil
	}
	_, err := applyChange(ctx, tx, id, tokens.Change{
		Kind: tokens.EventInvalid, State: tokens.Invalid, Cause: "fraud notice", Source: tokens.SourceWebhook, Actor: "gateway", Detail: code,
	})
	return err
}

// tokenPatience is how often an event about an unknown token is looked at before it
// is quarantined: for about a day, in which an import or a payment may bring it.
const tokenPatience = 100

// applyTokenEvent does what an event about a stored card says. A token that nobody
// knew is stored where its shopper is known; otherwise the event waits for one.
func applyTokenEvent(ctx context.Context, tx *sqlx.Tx, row inboxRow, e billing.Event) error {
	// Not locked here: a change of the token takes its locks in an order of its own.
	const query = `SELECT id, state FROM tokens WHERE merchant_account = $1 AND token = $2`
	var token struct {
		ID    tokens.ID    `db:"id"`
		State tokens.State `db:"state"`
	}
	err := notFound(tx.GetContext(ctx, &token, query, e.MerchantAccount, e.Token))
	if errors.Is(err, billing.ErrNotFound) && e.Kind == billing.EventTokenStored {
		token.ID, err = storeTokenOfEvent(ctx, tx, row, e)
		if err == nil {
			return closeEvent(ctx, tx, row, 0, 0, billing.VerdictSettles)
		}
		if errors.Is(err, billing.ErrConflict) { // somebody else stored it at this moment
			err = notFound(tx.GetContext(ctx, &token, query, e.MerchantAccount, e.Token))
		}
	}
	switch {
	case errors.Is(err, billing.ErrNotFound) && row.Tries < tokenPatience:
		return postponeEvent(ctx, tx, row, 0, 0, billing.VerdictWaits)
	case errors.Is(err, billing.ErrNotFound):
		return quarantineEvent(ctx, tx, row, "no_such_token")
	case err != nil:
		return fmt.Errorf("find token: %w", err)
	}
	change := tokens.Change{Source: tokens.SourceWebhook, Actor: "gateway"}
	switch {
	case e.Kind == billing.EventTokenDisabled && token.State != tokens.Disabled:
		change.Kind, change.State, change.Cause = tokens.EventDisabled, tokens.Disabled, e.Code
	case e.Kind == billing.EventTokenUpdated:
		// What changed is not in the message: the next reading tells.
		change.Kind, change.Detail = tokens.EventRead, "updated at the gateway"
	case e.Kind == billing.EventTokenStored:
		if err := completeSessionOfEvent(ctx, tx, e, token.ID); err != nil {
			return err
		}
		return closeEvent(ctx, tx, row, 0, 0, billing.VerdictKnown)
	default:
		return closeEvent(ctx, tx, row, 0, 0, billing.VerdictKnown)
	}
	if _, err := applyChange(ctx, tx, token.ID, change); err != nil {
		return err
	}
	if e.Kind == billing.EventTokenUpdated {
		if _, err := tx.ExecContext(ctx, `UPDATE cards SET read_at = NULL WHERE token_id = $1`, token.ID); err != nil {
			return fmt.Errorf("forget when token %d was read: %w", token.ID, err)
		}
	}
	return closeEvent(ctx, tx, row, 0, 0, billing.VerdictSettles)
}
