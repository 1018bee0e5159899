package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/contauth/contauth/billing"
)

// findMissingCycles is I3. Cycles are charges from the first one to the one
// before the next. Only a cancelled subscription may have charges beyond: what
// was due by then became charges, to be cancelled with it.
func findMissingCycles(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT 'subscription ' || s.id || ': cycles ' || s.first_cycle || ' to ' || s.next_cycle - 1 || ' should be charges, but '
		       || coalesce(a.count || ' are, from ' || a.lowest || ' to ' || a.highest, 'none is')
		  FROM subscriptions s
		  LEFT JOIN (SELECT subscription_id, count(*) AS count, min(cycle) AS lowest, max(cycle) AS highest
		               FROM charges WHERE subscription_id IS NOT NULL GROUP BY subscription_id) a ON a.subscription_id = s.id
		 WHERE ($1 = '' OR s.merchant_account = $1)
		   AND (coalesce(a.lowest, s.first_cycle) <> s.first_cycle
		        OR coalesce(a.count, 0) <> coalesce(a.highest, s.first_cycle - 1) - s.first_cycle + 1
		        OR coalesce(a.highest, s.first_cycle - 1) < s.next_cycle - 1
		        OR coalesce(a.highest, s.first_cycle - 1) > s.next_cycle - 1 AND s.state <> 'cancelled')`
	if err := c.findAll(ctx, f, query); err != nil {
		return err
	}
	return findWrongDays(ctx, c, f)
}

// findWrongDays compares each subscription's next date with the calendar's.
func findWrongDays(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT` + subscriptionRowColumns + `, s.next_charge_at
		  FROM subscriptions s JOIN tokens t ON t.id = s.token_id
		 WHERE ($1 = '' OR s.merchant_account = $1) AND s.state <> 'cancelled'`
	rows, err := c.tx.QueryxContext(ctx, query, c.req.MerchantAccount)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var sub struct {
			subscriptionRow
			NextChargeAt sql.NullTime `db:"next_charge_at"`
		}
		if err := rows.StructScan(&sub); err != nil {
			return err
		}
		if fault := wrongDay(sub.subscriptionRow, sub.NextChargeAt); fault != "" {
			f.add(1, fmt.Sprintf("subscription %d %s", sub.ID, fault))
		}
	}
	return rows.Err()
}

// wrongDay says what is wrong with the instant of a subscription's next cycle.
func wrongDay(sub subscriptionRow, stored sql.NullTime) string {
	calendar, err := sub.calendar()
	if err != nil {
		if sub.State == billing.SubscriptionPaused && sub.Reason == billing.ReasonCalendarInvalid {
			return "" // parked, on record, until somebody looks
		}
		return "has dates that cannot be computed"
	}
	_, hasNext := calendar.Date(sub.NextCycle)
	switch {
	case !hasNext && stored.Valid:
		return fmt.Sprintf("would be charged for cycle %d, which it does not have", sub.NextCycle)
	case !hasNext && sub.State == billing.SubscriptionActive:
		return "is active, but has no cycle left"
	case !hasNext:
		return ""
	case sub.State == billing.SubscriptionPaused && sub.Reason == billing.ReasonCalendarInvalid:
		return "" // parked on a machine that did not know its zone
	case !stored.Valid:
		return fmt.Sprintf("is %s, but nothing will charge its cycle %d", sub.State, sub.NextCycle)
	}
	if due := calendar.DueAt(sub.NextCycle); !due.Equal(stored.Time) {
		return fmt.Sprintf("has cycle %d at %s, but its calendar says %s", sub.NextCycle,
			stored.Time.UTC().Format(time.RFC3339), due.Format(time.RFC3339))
	}
	return ""
}
