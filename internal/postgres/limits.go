package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// HourLimits bound what an account may be asked for in an hour. The zero value
// bounds nothing.
type HourLimits struct {
	Charges     int64            // 0 for no limit
	AmountMinor map[string]int64 // by currency, in ISO minor units
}

// isZero reports whether nothing is bounded.
func (l HourLimits) isZero() bool { return l.Charges == 0 && len(l.AmountMinor) == 0 }

// equal compares with limits as the table has them.
func (l HourLimits) equal(charges int64, amounts []byte) bool {
	var stored map[string]int64
	return json.Unmarshal(amounts, &stored) == nil && l.Charges == charges && maps.Equal(l.AmountMinor, stored)
}

// hourLimits reads the limits of a locked account.
func (a account) hourLimits() (HourLimits, error) {
	l := HourLimits{Charges: a.MaxCharges}
	if err := json.Unmarshal(a.MaxAmount, &l.AmountMinor); err != nil {
		return l, fmt.Errorf("read hourly limits: %w", err)
	}
	return l, nil
}

// hourSoFar adds up what was claimed at a locked account in this hour.
func hourSoFar(ctx context.Context, tx *sqlx.Tx, merchantAccount string) (HourLimits, error) {
	const query = `
		SELECT currency, charges, amount_minor FROM account_hours
		 WHERE merchant_account = $1 AND hour = date_trunc('hour', clock_timestamp())`
	var rows []struct {
		Currency    string `db:"currency"`
		Charges     int64  `db:"charges"`
		AmountMinor int64  `db:"amount_minor"`
	}
	if err := tx.SelectContext(ctx, &rows, query, merchantAccount); err != nil {
		return HourLimits{}, fmt.Errorf("read this hour's charges: %w", err)
	}
	sum := HourLimits{AmountMinor: map[string]int64{}}
	for _, r := range rows {
		sum.Charges += r.Charges
		sum.AmountMinor[r.Currency] = r.AmountMinor
	}
	return sum, nil
}

// underHourLimits returns how many charges of limit may be claimed at a locked
// account in this hour. When a limit is reached the account is stopped for a
// person, with an alert: such limits are set above what is ever meant.
func underHourLimits(ctx context.Context, tx *sqlx.Tx, merchantAccount string, limits HourLimits, limit int) (int, error) {
	sum, err := hourSoFar(ctx, tx, merchantAccount)
	if err != nil {
		return 0, err
	}
	reason := ""
	if limits.Charges > 0 {
		if limit = int(min(int64(limit), limits.Charges-sum.Charges)); limit <= 0 {
			reason = fmt.Sprintf("hourly limit: %d charges", limits.Charges)
		}
	}
	for _, currency := range slices.Sorted(maps.Keys(limits.AmountMinor)) {
		if most := limits.AmountMinor[currency]; sum.AmountMinor[currency] >= most {
			reason = "hourly limit: " + billing.Money{Minor: most, Currency: currency}.String()
		}
	}
	if reason == "" {
		return limit, nil
	}
	const stop = `
		INSERT INTO sending_stops (scope, name, reason, actor, at) VALUES ('merchant_account', $1, $2, 'contauth', clock_timestamp())
		ON CONFLICT DO NOTHING`
	res, err := tx.ExecContext(ctx, stop, merchantAccount, reason)
	if err != nil {
		return 0, fmt.Errorf("pause %s: %w", merchantAccount, err)
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return 0, err // it is paused already
	}
	return 0, storeAlert(ctx, tx, "hourly_limit", merchantAccount+" was paused, "+reason)
}

// countHour adds claimed charges to this hour of a locked account.
func countHour(ctx context.Context, tx *sqlx.Tx, merchantAccount string, claimed []billing.ClaimedCharge) error {
	counts, sums := map[string]int64{}, map[string]int64{}
	for _, c := range claimed {
		counts[c.Amount.Currency]++
		sums[c.Amount.Currency] += c.Amount.Minor
	}
	const query = `
		INSERT INTO account_hours (merchant_account, hour, currency, charges, amount_minor)
		VALUES ($1, date_trunc('hour', clock_timestamp()), $2, $3, $4)
		ON CONFLICT (merchant_account, hour, currency) DO UPDATE
		   SET charges = account_hours.charges + excluded.charges, amount_minor = account_hours.amount_minor + excluded.amount_minor`
	for _, currency := range slices.Sorted(maps.Keys(counts)) {
		if _, err := tx.ExecContext(ctx, query, merchantAccount, currency, counts[currency], sums[currency]); err != nil {
			return fmt.Errorf("count this hour's charges: %w", err)
		}
	}
	return nil
}
