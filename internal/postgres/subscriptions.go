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

// A SubscriptionListing is a subscription as lists show it.
type SubscriptionListing struct {
	billing.Subscription
	Token        tokens.Token
	Reason       billing.Reason // of its state; empty while it is active
	Timezone     string         // as stored; Calendar is zero if this machine does not know it
	NextChargeAt time.Time      // instant of NextCycle, UTC; zero if there is none
}

// subscriptionListingRow is a subscriptionRow with what only readers want.
type subscriptionListingRow struct {
	subscriptionRow
	FirstCycle       int          `db:"first_cycle"`
	NextChargeAt     sql.NullTime `db:"next_charge_at"`
	Description      string       `db:"description"`
	Token            string       `db:"token"`
	ShopperReference string       `db:"shopper_reference"`
	PaymentMethod    string       `db:"payment_method"`
	TokenCause       string       `db:"token_cause"`
}

const subscriptionListingQuery = `
	SELECT` + subscriptionRowColumns + `, s.first_cycle, s.next_charge_at, s.description,
	       t.token, t.shopper_reference, t.payment_method, t.cause AS token_cause
	  FROM subscriptions s JOIN tokens t ON t.id = s.token_id`

func (r subscriptionListingRow) listing() SubscriptionListing {
	calendar, err := r.calendar()
	if err != nil {
		calendar = billing.Calendar{} // the list still shows the row; Timezone says what is wrong
	}
	l := SubscriptionListing{
		Subscription: billing.Subscription{
			ID: r.ID, MerchantAccount: r.MerchantAccount, Reference: r.Reference, TokenID: r.TokenID,
			Amount:   billing.Money{Minor: r.AmountMinor, Currency: r.Currency},
			Calendar: calendar, Description: r.Description, State: r.State,
			FirstCycle: r.FirstCycle, NextCycle: r.NextCycle,
		},
		Token: tokens.Token{
			ID: r.TokenID, MerchantAccount: r.MerchantAccount, ShopperReference: r.ShopperReference, Reference: r.Token,
			PaymentMethod: r.PaymentMethod, State: r.TokenState, Cause: r.TokenCause,
		},
		Reason: r.Reason, Timezone: r.Timezone,
	}
	if r.NextChargeAt.Valid {
		l.NextChargeAt = r.NextChargeAt.Time.UTC()
	}
	return l
}

// FindSubscriptions streams the subscriptions that filter selects, in the order
// of their ids. An error ends the stream.
func (db *DB) FindSubscriptions(ctx context.Context, filter billing.SubscriptionFilter) iter.Seq2[SubscriptionListing, error] {
	var where conditions
	where.addIf(filter.After > 0, "s.id > %s", filter.After)
	where.addIf(filter.MerchantAccount != "", "s.merchant_account = %s", filter.MerchantAccount)
	where.addIf(filter.State != "", "s.state = %s", filter.State)
	query := subscriptionListingQuery + where.clause() + ` ORDER BY s.id` + where.limit(filter.Limit)
	return stream(ctx, db, "list subscriptions", query, where.args, subscriptionListingRow.listing)
}

// FindSubscription returns the one subscription with a reference. An empty
// merchantAccount stands for any; billing.ErrInvalid tells that more than one
// has such a subscription.
func (db *DB) FindSubscription(ctx context.Context, reference, merchantAccount string) (SubscriptionListing, error) {
	// The join lets the unique index on (merchant_account, reference) serve both.
	const query = subscriptionListingQuery + `
		  JOIN merchant_accounts a ON a.id = s.merchant_account
		 WHERE s.reference = $1 AND ($2 = '' OR a.id = $2)
		 ORDER BY s.merchant_account LIMIT 2`
	var rows []subscriptionListingRow
	if err := db.sqlx.SelectContext(ctx, &rows, query, reference, merchantAccount); err != nil {
		return SubscriptionListing{}, fmt.Errorf("find subscription: %w", err)
	}
	switch len(rows) {
	case 0:
		return SubscriptionListing{}, fmt.Errorf("subscription: %w", billing.ErrNotFound)
	case 1:
		return rows[0].listing(), nil
	}
	return SubscriptionListing{}, fmt.Errorf("%w reference: more than one merchant account has such a subscription (%s, %s): say which with --merchant-account",
		billing.ErrInvalid, rows[0].MerchantAccount, rows[1].MerchantAccount)
}

// A SubscriptionDetail is all that is on record about one subscription, except
// its charges: list them with a billing.ChargeFilter.
type SubscriptionDetail struct {
	SubscriptionListing
	DecidedBy string
	DecidedAt time.Time
	Audit     []AuditEntry
}

// ShowSubscription returns what is on record about a subscription.
func (db *DB) ShowSubscription(ctx context.Context, id billing.SubscriptionID) (SubscriptionDetail, error) {
	var detail SubscriptionDetail
	err := db.inSnapshot(ctx, "show subscription", func(tx *sqlx.Tx) (err error) {
		var row struct {
			subscriptionListingRow
			DecidedBy string    `db:"decided_by"`
			DecidedAt time.Time `db:"decided_at"`
		}
		const query = `SELECT l.*, s.decided_by, s.decided_at FROM (` + subscriptionListingQuery + ` WHERE s.id = $1) l JOIN subscriptions s ON s.id = l.id`
		if err := tx.GetContext(ctx, &row, query, id); err != nil {
			return fmt.Errorf("subscription %d: %w", id, notFound(err))
		}
		detail = SubscriptionDetail{SubscriptionListing: row.listing(), DecidedBy: row.DecidedBy, DecidedAt: row.DecidedAt.UTC()}
		detail.Audit, err = findAudit(ctx, tx, auditKindSubscription, subscriptionObject(id))
		return err
	})
	return detail, err
}

func subscriptionObject(id billing.SubscriptionID) string { return strconv.FormatInt(int64(id), 10) }

// A SubscriptionChange is what a decision about a subscription did.
type SubscriptionChange struct {
	ID              billing.SubscriptionID
	Reference       string
	MerchantAccount string
	State           billing.SubscriptionState
	// Charges are those that the decision touched. Ask scheduler.AwaitStops about
	// those without an answer.
	Charges []billing.Stop
	// Waived counts the cycles that fell due while it was paused and became
	// waived charges just now.
	Waived int
}

// PauseSubscription stops the charging of a subscription until it is resumed.
// Cycles that fall due meanwhile are waived, on record; those that fell due
// before the pause, charged or not, are owed and become held charges. A claimed
// charge is held if it can still be given back; one that may be at the gateway
// goes its way. It returns billing.ErrConflict unless the subscription is active
// or past due.
func (db *DB) PauseSubscription(ctx context.Context, id billing.SubscriptionID, by billing.Decision) (SubscriptionChange, error) {
	r := ruling{by, "pause", billing.ReasonSubscriptionPaused}
	return db.decideSubscription(ctx, id, r, billing.SubscriptionPaused, func(tx *sqlx.Tx, c lockedCharge) (billing.Stop, error) {
		return pauseCharge(ctx, tx, c, r)
	})
}

func pauseCharge(ctx context.Context, tx *sqlx.Tx, c lockedCharge, r ruling) (billing.Stop, error) {
	switch c.State {
	case billing.ChargeDue:
		return moveCharge(ctx, tx, c, billing.ChargeHeld, r)
	case billing.ChargeClaimed:
		return requestStop(ctx, tx, c, stopHold, r)
	}
	return billing.Stop{}, errUntouched
}

// stopDisputedSubscription pauses a subscription, in the transaction of the news
// that the shopper or the issuer objects to a charge of it. Its due charges are
// held for a reason of their own: resuming the subscription releases none of them.
func stopDisputedSubscription(ctx context.Context, tx *sqlx.Tx, id billing.SubscriptionID, by billing.Decision) error {
	sub, err := lockSubscription(ctx, tx, id)
	if err != nil || !sub.State.CanMove(billing.SubscriptionPaused) {
		return err // paused or over already: nothing of it is charged
	}
	r := ruling{by, "pause", billing.ReasonDisputed}
	_, err = ruleSubscription(ctx, tx, sub, r, billing.SubscriptionPaused, func(tx *sqlx.Tx, c lockedCharge) (billing.Stop, error) {
		return pauseCharge(ctx, tx, c, r)
	})
	return err
}

// CancelSubscription ends a subscription for good, and with it every charge
// that is not finished. One that may be at the gateway is cancelled if it turns
// out that it was not charged, and is not sent again. It returns
// billing.ErrConflict for a subscription that is over.
func (db *DB) CancelSubscription(ctx context.Context, id billing.SubscriptionID, by billing.Decision) (SubscriptionChange, error) {
	r := ruling{by, "cancel", billing.ReasonSubscriptionCancelled}
	return db.decideSubscription(ctx, id, r, billing.SubscriptionCancelled, func(tx *sqlx.Tx, c lockedCharge) (billing.Stop, error) {
		return cancelCharge(ctx, tx, c, r)
	})
}

// ResumeSubscription lets a paused subscription charge again from its next
// cycle on, on the dates it always had. Charges that the pause held become due,
// or stay held if their token died. It returns billing.ErrConflict unless the
// subscription is paused.
func (db *DB) ResumeSubscription(ctx context.Context, id billing.SubscriptionID, by billing.Decision) (SubscriptionChange, error) {
	r := ruling{by, "resume", billing.ReasonReleased}
	return db.decideSubscription(ctx, id, r, billing.SubscriptionActive, func(tx *sqlx.Tx, c lockedCharge) (billing.Stop, error) {
		return resumeCharge(ctx, tx, c, r)
	})
}

func resumeCharge(ctx context.Context, tx *sqlx.Tx, c lockedCharge, r ruling) (billing.Stop, error) {
	switch {
	case c.State.HasOpenAttempt() && c.StopRequest == stopHold && c.StopReason == billing.ReasonSubscriptionPaused:
		token, err := shareToken(ctx, tx, c.TokenID)
		if err != nil {
			return billing.Stop{}, err
		}
		if !token.Chargeable() {
			return requestStop(ctx, tx, c, stopHold, ruling{r.Decision, r.Action, billing.ReasonTokenInvalid})
		}
		stop, err := withdrawStop(ctx, tx, c, r)
		if errors.Is(err, billing.ErrConflict) {
			return billing.Stop{}, errUntouched // an earlier attempt of it was approved
		}
		return stop, err
	case c.State != billing.ChargeHeld || c.Reason != billing.ReasonSubscriptionPaused:
		return billing.Stop{}, errUntouched
	}
	token, err := shareToken(ctx, tx, c.TokenID)
	if err != nil {
		return billing.Stop{}, err
	}
	if !token.Chargeable() {
		return keepHeld(ctx, tx, c, r)
	}
	return moveCharge(ctx, tx, c, billing.ChargeDue, r)
}

// keepHeld gives a charge that the pause held the reason that holds it now.
func keepHeld(ctx context.Context, tx *sqlx.Tx, c lockedCharge, r ruling) (billing.Stop, error) {
	const query = `
		UPDATE charges SET reason = 'token_invalid', decided_by = $2, decided_at = clock_timestamp()
		 WHERE id = $1 AND state = 'held' AND reason = 'subscription_paused'`
	if err := expectOne(tx.ExecContext(ctx, query, c.ID, r.Actor)); err != nil {
		return billing.Stop{}, fmt.Errorf("keep %s held: %w", c, err)
	}
	after := chargeOnRecord{State: c.State, Reason: billing.ReasonTokenInvalid}
	if err := auditCharge(ctx, tx, c, after, r); err != nil {
		return billing.Stop{}, err
	}
	return billing.Stop{ChargeID: c.ID, Reference: c.Reference, State: c.State, Answer: billing.StopDone}, nil
}

// errUntouched says that a decision about a subscription leaves a charge alone.
var errUntouched = errors.New("not concerned")

// decideSubscription takes a subscription to another state and applies the
// decision to each of its open charges. The row's lock keeps plans away, so that
// no cycle can become a charge past the decision. Before it changes anything,
// the cycles up to business now become charges as the old state wants them: what
// fell due yesterday does not depend on when somebody planned.
func (db *DB) decideSubscription(ctx context.Context, id billing.SubscriptionID, r ruling, to billing.SubscriptionState,
	decision func(*sqlx.Tx, lockedCharge) (billing.Stop, error)) (SubscriptionChange, error) {
	if err := r.Validate(); err != nil {
		return SubscriptionChange{}, fmt.Errorf("%s: %w", r.Action, err)
	}
	var change SubscriptionChange
	err := db.inTx(ctx, r.Action, func(tx *sqlx.Tx) error {
		sub, err := lockSubscription(ctx, tx, id)
		if err != nil {
			return err
		}
		if !sub.State.CanMove(to) || to == billing.SubscriptionActive && sub.State != billing.SubscriptionPaused {
			return fmt.Errorf("subscription %s is %s and cannot become %s: %w", sub.Reference, sub.State, to, billing.ErrConflict)
		}
		change, err = ruleSubscription(ctx, tx, sub, r, to, decision)
		return err
	})
	return change, err
}

// ruleSubscription carries a decision out for a locked subscription.
func ruleSubscription(ctx context.Context, tx *sqlx.Tx, sub subscriptionRow, r ruling, to billing.SubscriptionState,
	decision func(*sqlx.Tx, lockedCharge) (billing.Stop, error)) (SubscriptionChange, error) {
	next, waived, err := catchUpCycles(ctx, tx, sub)
	if err != nil && !(to == billing.SubscriptionCancelled && errors.Is(err, billing.ErrInvalid)) {
		return SubscriptionChange{}, err // a calendar that cannot be read must not keep anyone from cancelling
	}
	change := SubscriptionChange{ID: sub.ID, Reference: sub.Reference, MerchantAccount: sub.MerchantAccount, Waived: waived}
	if change.Charges, err = decideOpenCharges(ctx, tx, sub.ID, decision); err != nil {
		return change, err
	}
	if err := moveSubscription(ctx, tx, sub, to, r); err != nil {
		return change, err
	}
	if to != billing.SubscriptionCancelled {
		if err := storeNextCycles(ctx, tx, []nextCycle{next}); err != nil {
			return change, err
		}
	}
	return change, tx.GetContext(ctx, &change.State, `SELECT state FROM subscriptions WHERE id = $1`, sub.ID)
}

// lockSubscription locks a subscription against plans and other decisions.
func lockSubscription(ctx context.Context, tx *sqlx.Tx, id billing.SubscriptionID) (subscriptionRow, error) {
	// Its token is read when it is locked: joined in one statement, a subscription
	// that changed its token meanwhile would look as if it were not there.
	if _, err := tx.ExecContext(ctx, `SELECT FROM subscriptions WHERE id = $1 FOR UPDATE`, id); err != nil {
		return subscriptionRow{}, fmt.Errorf("lock subscription %d: %w", id, err)
	}
	const query = `
		SELECT` + subscriptionRowColumns + `
		  FROM subscriptions s JOIN tokens t ON t.id = s.token_id
		 WHERE s.id = $1`
	var sub subscriptionRow
	if err := tx.GetContext(ctx, &sub, query, id); err != nil {
		return sub, fmt.Errorf("subscription %d: %w", id, notFound(err))
	}
	return sub, nil
}

// catchUpCycles makes charges of a locked subscription's cycles up to business
// now, and returns where it stands then and how many were waived for a pause.
func catchUpCycles(ctx context.Context, tx *sqlx.Tx, sub subscriptionRow) (nextCycle, int, error) {
	var now time.Time
	if err := tx.GetContext(ctx, &now, `SELECT business_now()`); err != nil {
		return nextCycle{}, 0, fmt.Errorf("read business time: %w", err)
	}
	var err error
	if sub.TokenState, err = shareToken(ctx, tx, sub.TokenID); err != nil {
		return nextCycle{}, 0, err
	}
	rows, next, err := cycleRows(sub, now, 0)
	if err != nil {
		return next, 0, err
	}
	if _, err := insertCycles(ctx, tx, rows); err != nil {
		return next, 0, err
	}
	waived := 0
	for _, row := range rows {
		if row.Reason == billing.ReasonSubscriptionPaused {
			waived++
		}
	}
	return next, waived, nil
}

// subscriptionOnRecord is a subscription as the audit table shows it before and
// after.
type subscriptionOnRecord struct {
	State billing.SubscriptionState `json:"state"`
}

func moveSubscription(ctx context.Context, tx *sqlx.Tx, sub subscriptionRow, to billing.SubscriptionState, r ruling) error {
	reason := r.Reason
	if to == billing.SubscriptionActive {
		reason = billing.ReasonNone
	}
	const query = `
		UPDATE subscriptions
		   SET state = $3, reason = $4, decided_by = $5, decided_at = clock_timestamp(),
		       next_charge_at = CASE WHEN $3 = 'cancelled' THEN NULL ELSE next_charge_at END
		 WHERE id = $1 AND state = $2`
	if err := expectOne(tx.ExecContext(ctx, query, sub.ID, sub.State, to, reason, r.Actor)); err != nil {
		return fmt.Errorf("move subscription %s to %s: %w", sub.Reference, to, err)
	}
	return recordAudit(ctx, tx, auditEntry{
		Actor: r.Actor, Action: r.Action, MerchantAccount: sub.MerchantAccount, Reason: r.Why,
		ObjectKind: auditKindSubscription, Object: subscriptionObject(sub.ID),
		Before: subscriptionOnRecord{sub.State}, After: subscriptionOnRecord{to},
	})
}

// decideOpenCharges locks the unfinished charges of a subscription in the order
// of their ids, and applies the decision to each.
func decideOpenCharges(ctx context.Context, tx *sqlx.Tx, id billing.SubscriptionID,
	decision func(*sqlx.Tx, lockedCharge) (billing.Stop, error)) ([]billing.Stop, error) {
	const query = `
		SELECT` + lockedChargeColumns + `
		  FROM charges c WHERE c.subscription_id = $1 AND c.finished_at IS NULL
		 ORDER BY c.id FOR UPDATE`
	var charges []lockedCharge
	if err := tx.SelectContext(ctx, &charges, query, id); err != nil {
		return nil, fmt.Errorf("lock the charges of subscription %d: %w", id, err)
	}
	var stops []billing.Stop
	for _, c := range charges {
		stop, err := decision(tx, c)
		if errors.Is(err, errUntouched) {
			continue
		}
		if err != nil {
			return nil, err
		}
		stops = append(stops, stop)
	}
	return stops, nil
}
