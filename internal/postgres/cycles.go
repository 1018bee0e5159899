package postgres

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// Cycles become charges here, for plans and for whoever else must account for
// the cycles of a subscription up to a moment, such as a person who resumes it.
// The database keeps what was agreed; which dates follow from it, billing.Calendar
// alone says.

// subscriptionRow is a subscription with all that its next charges depend on.
// Select subscriptionRowColumns from subscriptions s and its tokens t.
type subscriptionRow struct {
	ID              billing.SubscriptionID    `db:"id"`
	TokenID         tokens.ID                 `db:"token_id"`
	TokenState      tokens.State              `db:"token_state"`
	AmountMinor     int64                     `db:"amount_minor"`
	Currency        string                    `db:"currency"`
	MerchantAccount string                    `db:"merchant_account"`
	Reference       string                    `db:"reference"`
	Anchor          time.Time                 `db:"anchor"` // what clocks in Timezone show, as if they were in UTC
	Timezone        string                    `db:"timezone"`
	IntervalUnit    billing.IntervalUnit      `db:"interval_unit"`
	IntervalCount   int                       `db:"interval_count"`
	MaxCycles       int                       `db:"max_cycles"` // 0 for no limit
	EndsOn          *time.Time                `db:"ends_on"`
	State           billing.SubscriptionState `db:"state"`
	Reason          billing.Reason            `db:"reason"` // of State; empty while it is active
	NextCycle       int                       `db:"next_cycle"`
}

const subscriptionRowColumns = `
	s.id, s.token_id, t.state AS token_state, s.amount_minor, s.currency, s.merchant_account, s.reference,
	s.anchor, s.timezone, s.interval_unit, s.interval_count, coalesce(s.max_cycles, 0) AS max_cycles, s.ends_on,
	s.state, s.reason, s.next_cycle`

// calendar returns the subscription's dates, or billing.ErrInvalid if the row
// cannot have any, for example because this machine does not know its zone.
func (s subscriptionRow) calendar() (billing.Calendar, error) {
	zone, err := billing.LoadZone(s.Timezone)
	if err != nil {
		return billing.Calendar{}, fmt.Errorf("subscription %s: %w", s.Reference, err)
	}
	c := billing.Calendar{
		Anchor:    billing.LocalDateTimeOf(s.Anchor.UTC()),
		Zone:      zone,
		Interval:  billing.Interval{Unit: s.IntervalUnit, Count: s.IntervalCount},
		MaxCycles: s.MaxCycles,
	}
	if s.EndsOn != nil {
		c.EndsOn = billing.LocalDateOf(s.EndsOn.UTC())
	}
	if err := c.Validate(); err != nil {
		return billing.Calendar{}, fmt.Errorf("subscription %s: %w", s.Reference, err)
	}
	return c, nil
}

// decideCycle says how a charge for one cycle begins its life.
func (s subscriptionRow) decideCycle() (billing.ChargeState, billing.Reason) {
	switch {
	case s.AmountMinor == 0:
		return billing.ChargeWaived, billing.ReasonNothingDue
	case s.State == billing.SubscriptionPaused && s.Reason != billing.ReasonCalendarInvalid: // those were owed all the time
		return billing.ChargeWaived, billing.ReasonSubscriptionPaused
	case !s.TokenState.Chargeable():
		return billing.ChargeHeld, billing.ReasonTokenInvalid
	default:
		return billing.ChargeDue, billing.ReasonNone
	}
}

// A newCycle is a charge that a cycle of a subscription becomes.
type newCycle struct {
	SubscriptionID  billing.SubscriptionID
	TokenID         tokens.ID
	TokenState      tokens.State
	Amount          billing.Money
	MerchantAccount string
	Reference       string // <subscription>~<cycle>
	Cycle           int
	PeriodStart     billing.LocalDate
	PeriodEnd       billing.LocalDate // exclusive
	DueAt           time.Time
	State           billing.ChargeState
	Reason          billing.Reason
}

// A nextCycle is where a subscription stands after its cycles became charges.
type nextCycle struct {
	SubscriptionID billing.SubscriptionID
	Cycle          int       // the first that is no charge yet
	DueAt          time.Time // its instant; zero if the calendar has no such cycle
}

// cycleRows returns the charges for the cycles of sub that fall due up to and
// including until, at most the first most of them (0 for no limit), and where
// sub stands after them. It touches nothing. A subscription that is cancelled or
// completed has none. The error is a billing.ErrInvalid about sub alone: others
// must not wait for it.
func cycleRows(sub subscriptionRow, until time.Time, most int) ([]newCycle, nextCycle, error) {
	next := nextCycle{SubscriptionID: sub.ID, Cycle: sub.NextCycle}
	if sub.State == billing.SubscriptionCancelled || sub.State == billing.SubscriptionCompleted {
		return nil, next, nil
	}
	calendar, err := sub.calendar()
	if err != nil {
		return nil, next, err
	}
	var rows []newCycle
	state, reason := sub.decideCycle()
	for {
		if _, ok := calendar.Date(next.Cycle); !ok {
			next.DueAt = time.Time{}
			return rows, next, nil
		}
		next.DueAt = calendar.DueAt(next.Cycle)
		if next.DueAt.After(until) || most > 0 && len(rows) == most {
			return rows, next, nil
		}
		start, end := calendar.Period(next.Cycle)
		rows = append(rows, newCycle{
			SubscriptionID: sub.ID, TokenID: sub.TokenID, TokenState: sub.TokenState,
			Amount:          billing.Money{Minor: sub.AmountMinor, Currency: sub.Currency},
			MerchantAccount: sub.MerchantAccount, Reference: billing.CycleReference(sub.Reference, next.Cycle),
			Cycle: next.Cycle, PeriodStart: start, PeriodEnd: end, DueAt: next.DueAt,
			State: state, Reason: reason,
		})
		next.Cycle++
	}
}

// cyclesPerInsert keeps one statement's arrays within a few hundred kilobytes.
const cyclesPerInsert = 5000

// insertCycles stores cycles as charges, and returns how many were new: a cycle
// that is a charge already stays as it is. The caller holds the row locks of
// their subscriptions and has the tokens' rows FOR SHARE, so that no fact that
// forbids a charge can slip in between.
func insertCycles(ctx context.Context, tx *sqlx.Tx, rows []newCycle) (int, error) {
	inserted := 0
	for len(rows) > 0 {
		chunk := rows[:min(len(rows), cyclesPerInsert)]
		rows = rows[len(chunk):]
		n, err := insertCycleChunk(ctx, tx, chunk)
		if err != nil {
			return 0, fmt.Errorf("store %d cycles as charges: %w", len(chunk), err)
		}
		inserted += n
	}
	return inserted, nil
}

func insertCycleChunk(ctx context.Context, tx *sqlx.Tx, rows []newCycle) (int, error) {
	n := len(rows)
	var (
		subscriptions, tokenIDs, amounts = make(pq.Int64Array, n), make(pq.Int64Array, n), make(pq.Int64Array, n)
		cycles                           = make(pq.Int32Array, n)
		starts, ends, dues               = make(pq.Int64Array, n), make(pq.Int64Array, n), make(pq.Int64Array, n)
		currencies, accounts, references = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		states, reasons                  = make(pq.StringArray, n), make(pq.StringArray, n)
	)
	for i, r := range rows {
		subscriptions[i], tokenIDs[i], amounts[i], cycles[i] = int64(r.SubscriptionID), int64(r.TokenID), r.Amount.Minor, int32(r.Cycle)
		starts[i], ends[i], dues[i] = epochDay(r.PeriodStart), epochDay(r.PeriodEnd), r.DueAt.Unix()
		currencies[i], accounts[i], references[i] = r.Amount.Currency, r.MerchantAccount, r.Reference
		states[i], reasons[i] = string(r.State), string(r.Reason)
	}
	// Days and seconds travel as numbers, which Postgres reads faster than dates.
	const query = `
		INSERT INTO charges (subscription_id, token_id, amount_minor, currency, merchant_account, reference, model,
		                     cycle, period_start, period_end, due_at, next_attempt_at,
		                     state, reason, decided_by, finished_at)
		SELECT r.subscription_id, r.token_id, r.amount_minor, r.currency, r.merchant_account, r.reference, 'Subscription',
		       r.cycle, date '1970-01-01' + r.period_start::integer, date '1970-01-01' + r.period_end::integer,
		       to_timestamp(r.due_at), to_timestamp(r.due_at),
		       r.state, r.reason, 'plan', CASE r.state WHEN 'waived' THEN clock_timestamp() END
		  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[],
		              $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
		    AS r(subscription_id, token_id, amount_minor, cycle, period_start, period_end, due_at,
		         currency, merchant_account, reference, state, reason)
		ON CONFLICT (subscription_id, cycle) WHERE subscription_id IS NOT NULL DO NOTHING`
	res, err := tx.ExecContext(ctx, query, subscriptions, tokenIDs, amounts, cycles, starts, ends, dues,
		currencies, accounts, references, states, reasons)
	if err != nil {
		return 0, err
	}
	inserted, err := res.RowsAffected()
	return int(inserted), err
}

func epochDay(d billing.LocalDate) int64 {
	const secondsPerDay = 24 * 60 * 60
	return d.UTC().Unix() / secondsPerDay // exact, also before 1970: midnights are multiples of a day
}

// noInstant stands for "no next cycle" where an instant travels as a number.
const noInstant = math.MinInt64

// storeNextCyclesQuery finds the subscriptions by the array of ids: joined with the
// numbers alone, the planner read every subscription for each chunk.
const storeNextCyclesQuery = `
	UPDATE subscriptions s
	   SET next_cycle = r.cycle, next_charge_at = to_timestamp(nullif(r.due_at, $4)),
	       state = CASE WHEN r.due_at = $4 AND s.state = 'active' THEN 'completed' ELSE s.state END,
	       reason = CASE WHEN r.due_at = $4 AND s.state = 'active' THEN '' ELSE s.reason END,
	       decided_by = CASE WHEN r.due_at = $4 AND s.state = 'active' THEN 'plan' ELSE s.decided_by END,
	       decided_at = CASE WHEN r.due_at = $4 AND s.state = 'active' THEN clock_timestamp() ELSE s.decided_at END
	  FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS r(id, cycle, due_at)
	 WHERE s.id = ANY ($1) AND s.id = r.id AND s.next_cycle <= r.cycle AND s.state NOT IN ('cancelled', 'completed')`

// storeNextCycles moves subscriptions on to their next cycle. An active one
// without a next cycle is completed; one that is paused or past due keeps its
// state, which is the more important news. The caller holds the row locks.
func storeNextCycles(ctx context.Context, tx *sqlx.Tx, next []nextCycle) error {
	n := len(next)
	ids, cycles, dues := make(pq.Int64Array, n), make(pq.Int32Array, n), make(pq.Int64Array, n)
	for i, s := range next {
		ids[i], cycles[i], dues[i] = int64(s.SubscriptionID), int32(s.Cycle), noInstant
		if !s.DueAt.IsZero() {
			dues[i] = s.DueAt.Unix()
		}
	}
	if _, err := tx.ExecContext(ctx, storeNextCyclesQuery, ids, cycles, dues, int64(noInstant)); err != nil {
		return fmt.Errorf("move %d subscriptions to their next cycle: %w", n, err)
	}
	return nil
}
