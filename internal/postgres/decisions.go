package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// What people decide about charges. Each decision locks the charge's row as a
// claim does, so that one of the two is first: a charge that is cancelled is not
// claimed, and one that is claimed gets a wish on its row, which the process
// that holds the lease obeys before it sends (charge protocol, steps 2 and 7).
//
// Locks are taken in one order everywhere: subscription, charges by id, token.

// lockedCharge is what a decision about a charge depends on.
type lockedCharge struct {
	ID              billing.ChargeID    `db:"id"`
	Reference       string              `db:"reference"`
	MerchantAccount string              `db:"merchant_account"`
	SubscriptionID  sql.NullInt64       `db:"subscription_id"`
	TokenID         tokens.ID           `db:"token_id"`
	State           billing.ChargeState `db:"state"`
	Reason          billing.Reason      `db:"reason"`
	Answered        int                 `db:"answered"`
	StopRequest     string              `db:"stop_request"` // "" if nobody wants it stopped
	StopReason      billing.Reason      `db:"stop_reason"`
}

const lockedChargeColumns = `
	c.id, c.reference, c.merchant_account, c.subscription_id, c.token_id, c.state, c.reason, c.answered,
	coalesce(c.stop_request, '') AS stop_request, coalesce(c.stop_reason, '') AS stop_reason`

func (c lockedCharge) String() string { return fmt.Sprintf("charge %d (%s)", c.ID, c.Reference) }

// lockCharge locks a charge against claims, settlements and other decisions. It
// waits for whoever holds it, unlike a claim, which passes it by.
func lockCharge(ctx context.Context, tx *sqlx.Tx, id billing.ChargeID) (lockedCharge, error) {
	const query = `SELECT` + lockedChargeColumns + ` FROM charges c WHERE c.id = $1 FOR UPDATE`
	var c lockedCharge
	if err := tx.GetContext(ctx, &c, query, id); err != nil {
		return c, fmt.Errorf("charge %d: %w", id, notFound(err))
	}
	return c, nil
}

// The wishes of charges.stop_request.
const (
	stopHold   = "hold"
	stopCancel = "cancel"
)

// A ruling is a decision with the words in which it is stored.
type ruling struct {
	billing.Decision
	Action string         // audit's verb: hold, release, cancel, close, pause, resume
	Reason billing.Reason // why the charge is then in its state
}

// HoldCharge keeps a due charge back until somebody releases it. One that a
// process has claimed is held if it can still be given back; ask
// scheduler.AwaitStops. It returns billing.ErrConflict for any other charge.
func (db *DB) HoldCharge(ctx context.Context, id billing.ChargeID, by billing.Decision) (billing.Stop, error) {
	r := ruling{by, "hold", billing.ReasonHeldByPerson}
	return db.decide(ctx, r, func(tx *sqlx.Tx) (billing.Stop, error) {
		c, err := lockCharge(ctx, tx, id)
		if err != nil {
			return billing.Stop{}, err
		}
		switch c.State {
		case billing.ChargeDue:
			return moveCharge(ctx, tx, c, billing.ChargeHeld, r)
		case billing.ChargeClaimed:
			return requestStop(ctx, tx, c, stopHold, r)
		}
		return billing.Stop{}, refuseDecision(c, "hold", "held")
	})
}

// CancelCharge ends a charge that is due or held: the money is no longer owed.
// One that may be at the gateway is cancelled if it turns out that it was not
// charged, and is not sent again; ask scheduler.AwaitStops. It returns
// billing.ErrConflict for a charge that is finished.
func (db *DB) CancelCharge(ctx context.Context, id billing.ChargeID, by billing.Decision) (billing.Stop, error) {
	r := ruling{by, "cancel", billing.ReasonCancelledByPerson}
	return db.decide(ctx, r, func(tx *sqlx.Tx) (billing.Stop, error) {
		c, err := lockCharge(ctx, tx, id)
		if err != nil {
			return billing.Stop{}, err
		}
		return cancelCharge(ctx, tx, c, r)
	})
}

func cancelCharge(ctx context.Context, tx *sqlx.Tx, c lockedCharge, r ruling) (billing.Stop, error) {
	switch {
	case c.State == billing.ChargeDue || c.State == billing.ChargeHeld:
		return moveCharge(ctx, tx, c, billing.ChargeCancelled, r)
	case c.State.HasOpenAttempt():
		return requestStop(ctx, tx, c, stopCancel, r)
	}
	return billing.Stop{}, refuseDecision(c, "cancel", "cancelled")
}

// ClosePaidElsewhere records that a charge which is due, held or unpaid was paid
// by other means. It returns billing.ErrConflict for a charge that is finished
// otherwise, and for one that may be at the gateway: its answer must come first.
func (db *DB) ClosePaidElsewhere(ctx context.Context, id billing.ChargeID, by billing.Decision) (billing.Stop, error) {
	r := ruling{by, "close", billing.ReasonPaidElsewhere}
	return db.decide(ctx, r, func(tx *sqlx.Tx) (billing.Stop, error) {
		c, err := lockCharge(ctx, tx, id)
		if err != nil {
			return billing.Stop{}, err
		}
		switch c.State {
		case billing.ChargeDue, billing.ChargeHeld, billing.ChargeUnpaid:
			return moveCharge(ctx, tx, c, billing.ChargePaid, r)
		}
		return billing.Stop{}, refuseDecision(c, "close", "closed")
	})
}

// ReleaseCharge makes a charge due again that is held or unpaid. It keeps the
// time of its next attempt, so that a wait which the card scheme demands is
// kept, too. Of a charge that may be at the gateway it takes back the wish to
// hold it. It returns billing.ErrConflict for other charges, and where a fact
// stands against charging: a dead token, a subscription that is paused or
// cancelled.
func (db *DB) ReleaseCharge(ctx context.Context, id billing.ChargeID, by billing.Decision) (billing.Stop, error) {
	r := ruling{by, "release", billing.ReasonReleased}
	return db.decide(ctx, r, func(tx *sqlx.Tx) (billing.Stop, error) {
		if err := shareSubscriptionOf(ctx, tx, id); err != nil {
			return billing.Stop{}, err
		}
		c, err := lockCharge(ctx, tx, id)
		if err != nil {
			return billing.Stop{}, err
		}
		switch {
		case c.State.HasOpenAttempt() && c.StopRequest == stopHold:
			if err := refuseDeadToken(ctx, tx, c); err != nil {
				return billing.Stop{}, err
			}
			return withdrawStop(ctx, tx, c, r)
		case c.State != billing.ChargeHeld && c.State != billing.ChargeUnpaid:
			return billing.Stop{}, refuseDecision(c, "release", "released")
		}
		if err := refuseSecondPayment(ctx, tx, c); err != nil {
			return billing.Stop{}, err
		}
		if err := refuseDeadToken(ctx, tx, c); err != nil {
			return billing.Stop{}, err
		}
		return moveCharge(ctx, tx, c, billing.ChargeDue, r)
	})
}

// refuseDeadToken keeps a charge from being released whose token cannot be charged.
func refuseDeadToken(ctx context.Context, tx *sqlx.Tx, c lockedCharge) error {
	token, err := shareToken(ctx, tx, c.TokenID)
	if err == nil && !token.Chargeable() {
		err = fmt.Errorf("%s cannot be released while its token is %s: reactivate or replace the token: %w", c, token, billing.ErrConflict)
	}
	return err
}

// refuseDecision says why a charge cannot be, say, held: it is in the wrong state.
func refuseDecision(c lockedCharge, verb, participle string) error {
	if c.State.HasOpenAttempt() {
		return fmt.Errorf("%s is %s, so a request may be at the gateway: wait for its answer, then %s it: %w", c, c.State, verb, billing.ErrConflict)
	}
	return fmt.Errorf("%s is %s and cannot be %s: %w", c, c.State, participle, billing.ErrConflict)
}

// decide runs a decision about one charge in a transaction.
func (db *DB) decide(ctx context.Context, r ruling, decision func(*sqlx.Tx) (billing.Stop, error)) (billing.Stop, error) {
	if err := r.Validate(); err != nil {
		return billing.Stop{}, fmt.Errorf("%s: %w", r.Action, err)
	}
	var stop billing.Stop
	err := db.inTx(ctx, r.Action, func(tx *sqlx.Tx) (err error) {
		stop, err = decision(tx)
		return err
	})
	return stop, err
}

// shareSubscriptionOf keeps a charge's subscription from being paused or
// cancelled meanwhile, and refuses if it is already.
func shareSubscriptionOf(ctx context.Context, tx *sqlx.Tx, id billing.ChargeID) error {
	const query = `
		SELECT s.reference, s.state FROM subscriptions s
		 WHERE s.id = (SELECT c.subscription_id FROM charges c WHERE c.id = $1) FOR SHARE`
	var s struct {
		Reference string                    `db:"reference"`
		State     billing.SubscriptionState `db:"state"`
	}
	switch err := notFound(tx.GetContext(ctx, &s, query, id)); {
	case err == billing.ErrNotFound:
		return nil // an unscheduled charge, or none at all
	case err != nil:
		return fmt.Errorf("lock the subscription of charge %d: %w", id, err)
	case s.State == billing.SubscriptionPaused || s.State == billing.SubscriptionCancelled:
		return fmt.Errorf("charge %d cannot be released while its subscription %s is %s: %w", id, s.Reference, s.State, billing.ErrConflict)
	}
	return nil
}

// shareToken returns a token's state, which then stays as it is until the
// transaction ends.
func shareToken(ctx context.Context, tx *sqlx.Tx, id tokens.ID) (tokens.State, error) {
	var state tokens.State
	if err := tx.GetContext(ctx, &state, `SELECT state FROM tokens WHERE id = $1 FOR SHARE`, id); err != nil {
		return "", fmt.Errorf("lock token %d: %w", id, notFound(err))
	}
	return state, nil
}

// chargeOnRecord is a charge as the audit table shows it before and after.
type chargeOnRecord struct {
	State       billing.ChargeState `json:"state"`
	Reason      billing.Reason      `json:"reason,omitempty"`
	StopRequest string              `json:"stop_request,omitempty"`
}

func auditCharge(ctx context.Context, tx *sqlx.Tx, c lockedCharge, after chargeOnRecord, r ruling) error {
	return recordAudit(ctx, tx, auditEntry{
		Actor: r.Actor, Action: r.Action, MerchantAccount: c.MerchantAccount, Reason: r.Why,
		ObjectKind: auditKindCharge, Object: strconv.FormatInt(int64(c.ID), 10),
		Before: chargeOnRecord{c.State, c.Reason, c.StopRequest}, After: after,
	})
}

// moveCharge takes a locked charge that no process holds to its next state.
func moveCharge(ctx context.Context, tx *sqlx.Tx, c lockedCharge, to billing.ChargeState, r ruling) (billing.Stop, error) {
	if !c.State.CanMove(to) {
		return billing.Stop{}, fmt.Errorf("%s is %s and cannot become %s: %w", c, c.State, to, billing.ErrConflict)
	}
	// A charge that is due has no attempt under way: the next one begins anew.
	const query = `
		UPDATE charges
		   SET state = $3, reason = $4, decided_by = $5, decided_at = clock_timestamp(),
		       finished_at = CASE WHEN $6 THEN clock_timestamp() END,
		       attempt_started_at = CASE WHEN $3 = 'due' THEN NULL ELSE attempt_started_at END
		 WHERE id = $1 AND state = $2`
	if err := expectOne(tx.ExecContext(ctx, query, c.ID, c.State, to, r.Reason, r.Actor, to.IsFinished())); err != nil {
		return billing.Stop{}, fmt.Errorf("move %s from %s to %s: %w", c, c.State, to, err)
	}
	if to.IsFinished() {
		if _, err := tx.ExecContext(ctx, `DELETE FROM open_charges WHERE charge_id = $1`, c.ID); err != nil {
			return billing.Stop{}, fmt.Errorf("close %s: %w", c, err)
		}
	}
	if err := auditCharge(ctx, tx, c, chargeOnRecord{State: to, Reason: r.Reason}, r); err != nil {
		return billing.Stop{}, err
	}
	return billing.Stop{ChargeID: c.ID, Reference: c.Reference, State: to, Answer: billing.StopDone}, nil
}

// requestStop writes on a locked charge with an open attempt that it shall be
// held or cancelled as soon as it is known not to be charged. A wish to cancel
// is stronger than one to hold.
func requestStop(ctx context.Context, tx *sqlx.Tx, c lockedCharge, request string, r ruling) (billing.Stop, error) {
	reason := r.Reason
	if c.StopRequest == stopCancel {
		request, reason = stopCancel, c.StopReason
	}
	const query = `
		UPDATE charges SET stop_request = $3, stop_reason = $4, stop_actor = $5
		 WHERE id = $1 AND state = $2`
	if err := expectOne(tx.ExecContext(ctx, query, c.ID, c.State, request, reason, r.Actor)); err != nil {
		return billing.Stop{}, fmt.Errorf("ask to %s %s: %w", request, c, err)
	}
	if err := auditCharge(ctx, tx, c, chargeOnRecord{c.State, c.Reason, request}, r); err != nil {
		return billing.Stop{}, err
	}
	stop := billing.Stop{ChargeID: c.ID, Reference: c.Reference, State: c.State, Attempt: c.Answered + 1}
	if c.State != billing.ChargeClaimed {
		stop.Answer = billing.StopTooLate
		return stop, nil
	}
	const seen = `SELECT coalesce(max(id), 0) FROM observations WHERE charge_id = $1`
	if err := tx.GetContext(ctx, &stop.Seen, seen, c.ID); err != nil {
		return billing.Stop{}, fmt.Errorf("read observations of %s: %w", c, err)
	}
	return stop, nil
}

// refuseSecondPayment keeps a charge from being sent again of which the gateway
// says that an earlier attempt was approved: a daemon closes it as paid once the
// open attempt is settled.
func refuseSecondPayment(ctx context.Context, tx *sqlx.Tx, c lockedCharge) error {
	const query = `SELECT EXISTS (SELECT FROM inbox WHERE charge_id = $1 AND kind = 'authorised' AND state IN ('stored', 'waiting'))`
	var approved bool
	if err := tx.GetContext(ctx, &approved, query, c.ID); err != nil {
		return fmt.Errorf("look for approvals of %s: %w", c, err)
	}
	if approved || c.StopReason == billing.ReasonLateApproval {
		return fmt.Errorf("%s cannot be released: the gateway says that an earlier attempt was approved, and the charge is closed as paid once the open one is settled: %w", c, billing.ErrConflict)
	}
	return nil
}

// withdrawStop takes a wish off a locked charge. If the wish had already ended
// the replays of an unknown or pending charge, they begin again.
func withdrawStop(ctx context.Context, tx *sqlx.Tx, c lockedCharge, r ruling) (billing.Stop, error) {
	if err := refuseSecondPayment(ctx, tx, c); err != nil {
		return billing.Stop{}, err
	}
	const query = `
		UPDATE charges
		   SET stop_request = NULL, stop_reason = NULL, stop_actor = NULL,
		       resolve_at = CASE WHEN f.given_up THEN clock_timestamp() ELSE resolve_at END,
		       reason = CASE WHEN NOT f.given_up THEN reason WHEN state = 'pending' THEN 'awaits_gateway' ELSE 'answer_missing' END,
		       decided_by = CASE WHEN f.given_up THEN $4 ELSE decided_by END,
		       decided_at = CASE WHEN f.given_up THEN clock_timestamp() ELSE decided_at END
		  FROM (SELECT $3::boolean AS given_up) f
		 WHERE id = $1 AND state = $2`
	givenUp := c.State != billing.ChargeClaimed && c.Reason == c.StopReason
	if err := expectOne(tx.ExecContext(ctx, query, c.ID, c.State, givenUp, r.Actor)); err != nil {
		return billing.Stop{}, fmt.Errorf("take back the wish to stop %s: %w", c, err)
	}
	if err := auditCharge(ctx, tx, c, chargeOnRecord{State: c.State}, r); err != nil {
		return billing.Stop{}, err
	}
	return billing.Stop{ChargeID: c.ID, Reference: c.Reference, State: c.State, Answer: billing.StopDone}, nil
}

// ReadStops implements scheduler.StopReader. A charge that left the claim without
// news of its attempt was given back unsent; with news, it had been sent.
func (db *DB) ReadStops(ctx context.Context, stops []billing.Stop) ([]billing.Stop, error) {
	n := len(stops)
	ids, attempts, seen := make(pq.Int64Array, n), make(pq.Int32Array, n), make(pq.Int64Array, n)
	for i, s := range stops {
		ids[i], attempts[i], seen[i] = int64(s.ChargeID), int32(s.Attempt), s.Seen
	}
	const query = `
		SELECT c.id, c.state,
		       EXISTS (SELECT FROM observations o
		                WHERE o.charge_id = c.id AND o.attempt = r.attempt AND o.id > r.seen AND o.outcome <> 'not_sent') AS sent
		  FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS r(id, attempt, seen)
		  JOIN charges c ON c.id = r.id`
	var rows []struct {
		ID    billing.ChargeID    `db:"id"`
		State billing.ChargeState `db:"state"`
		Sent  bool                `db:"sent"`
	}
	if err := db.sqlx.SelectContext(ctx, &rows, query, ids, attempts, seen); err != nil {
		return stops, fmt.Errorf("look again at %d stopped charges: %w", n, err)
	}
	read, at := slices.Clone(stops), make(map[billing.ChargeID]int, n)
	for i, s := range read {
		at[s.ChargeID] = i
	}
	for _, row := range rows {
		stop := &read[at[row.ID]]
		stop.State = row.State
		if stop.Answer == "" {
			stop.Answer = stopAnswer(row.State, row.Sent)
		}
	}
	return read, nil
}

func stopAnswer(state billing.ChargeState, sent bool) billing.StopAnswer {
	switch {
	case sent || state == billing.ChargePending || state == billing.ChargeUnknown:
		return billing.StopTooLate
	case state == billing.ChargeClaimed:
		return ""
	default:
		return billing.StopBeforeSending
	}
}
