package postgres

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/pgtest"
	"github.com/contauth/contauth/tokens"
)

// monthEnd is a subscription of 12.34 EUR on the last day of each month at 09:00
// in Berlin.
func monthEnd() subscriptionRow {
	return subscriptionRow{
		ID: 7, TokenID: 8, TokenState: tokens.Valid, AmountMinor: 1234, Currency: "EUR", MerchantAccount: "DemoEU", Reference: "gym",
		Anchor: time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC), Timezone: "Europe/Berlin", IntervalUnit: billing.Month, IntervalCount: 1,
		State: billing.SubscriptionActive, NextCycle: 1,
	}
}

func TestCycleRows(t *testing.T) {
	end := time.Date(2027, 3, 31, 9, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		change func(*subscriptionRow)
		until  time.Time
		most   int
		want   []string // reference, period, due, state, reason
		next   string   // cycle and instant
	}{
		{name: "month ends are counted from the anchor", until: end, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
			"gym~2 2027-02-28/2027-03-31 2027-02-28T08:00:00Z due",
			"gym~3 2027-03-31/2027-04-30 2027-03-31T07:00:00Z due",
		}, next: "4 2027-04-30T07:00:00Z"},
		{name: "the instant itself is due", until: time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC), want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "a moment earlier is not", until: time.Date(2027, 1, 31, 7, 59, 59, 0, time.UTC), next: "1 2027-01-31T08:00:00Z"},
		{name: "no more than was asked for", until: end, most: 1, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "the last cycle", change: func(s *subscriptionRow) { s.MaxCycles = 1 }, until: end, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
		}, next: "2 never"},
		{name: "the last date", change: func(s *subscriptionRow) { d := time.Date(2027, 2, 27, 0, 0, 0, 0, time.UTC); s.EndsOn = &d }, until: end, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
		}, next: "2 never"},
		{name: "a pause waives", change: func(s *subscriptionRow) {
			s.State, s.Reason = billing.SubscriptionPaused, billing.ReasonSubscriptionPaused
		}, until: end, most: 1, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z waived subscription_paused",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "nothing to charge", change: func(s *subscriptionRow) { s.AmountMinor = 0 }, until: end, most: 1, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z waived nothing_due",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "a dead token holds", change: func(s *subscriptionRow) { s.TokenState = tokens.Invalid }, until: end, most: 1, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z held token_invalid",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "an unverified token is charged, past due or not", change: func(s *subscriptionRow) {
			s.TokenState, s.State = tokens.Unverified, billing.SubscriptionPastDue
		}, until: end, most: 1, want: []string{
			"gym~1 2027-01-31/2027-02-28 2027-01-31T08:00:00Z due",
		}, next: "2 2027-02-28T08:00:00Z"},
		{name: "a cancelled one has no more", change: func(s *subscriptionRow) { s.State = billing.SubscriptionCancelled }, until: end, next: "1 never"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sub := monthEnd()
			if tt.change != nil {
				tt.change(&sub)
			}
			rows, next, err := cycleRows(sub, tt.until, tt.most)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rows {
				line := fmt.Sprintf("%s %s/%s %s %s", r.Reference, r.PeriodStart, r.PeriodEnd, r.DueAt.Format(time.RFC3339), r.State)
				if r.Reason != "" {
					line += " " + string(r.Reason)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("cycles (-want +got):\n%s", diff)
			}
			stands := fmt.Sprintf("%d never", next.Cycle)
			if !next.DueAt.IsZero() {
				stands = fmt.Sprintf("%d %s", next.Cycle, next.DueAt.Format(time.RFC3339))
			}
			if stands != tt.next {
				t.Errorf("next cycle %q, want %q", stands, tt.next)
			}
		})
	}
}

func TestCycleRows_tellWhatTheyCannotRead(t *testing.T) {
	for name, change := range map[string]func(*subscriptionRow){
		"unknown zone": func(s *subscriptionRow) { s.Timezone = "Mars/Olympus" },
		"no interval":  func(s *subscriptionRow) { s.IntervalCount = 0 },
		"ends before it begins": func(s *subscriptionRow) {
			d := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			s.EndsOn = &d
		},
	} {
		t.Run(name, func(t *testing.T) {
			sub := monthEnd()
			change(&sub)
			if _, _, err := cycleRows(sub, time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), 0); !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("error %v, want billing.ErrInvalid", err)
			}
		})
	}
}

// storeMonthEnd stores monthEnd with its token, and returns it as it is read.
func storeMonthEnd(t testing.TB, db *DB) subscriptionRow {
	t.Helper()
	account := AccountSettings{ID: "DemoEU", Gateway: "adyen", Environment: "test", BaseURL: "http://127.0.0.1:1", ReturnURL: "https://example.invalid/", MaxInFlight: 1}
	if err := db.SyncAccounts(t.Context(), []AccountSettings{account}); err != nil {
		t.Fatal(err)
	}
	const store = `
		WITH t AS (INSERT INTO tokens (merchant_account, token, shopper_reference, state) VALUES ('DemoEU', 'TOKEN1', 'shopper-1', 'valid') RETURNING id)
		INSERT INTO subscriptions (token_id, amount_minor, currency, anchor, next_charge_at, first_cycle, next_cycle,
		                           interval_unit, interval_count, decided_by, timezone, merchant_account, reference)
		SELECT id, 1234, 'EUR', '2027-01-31T09:00', '2027-01-31T08:00:00Z', 1, 1, 'month', 1, 'mia', 'Europe/Berlin', 'DemoEU', 'gym' FROM t`
	if _, err := db.sqlx.Exec(store); err != nil {
		t.Fatal(err)
	}
	var sub subscriptionRow
	const read = `SELECT` + subscriptionRowColumns + ` FROM subscriptions s JOIN tokens t ON t.id = s.token_id`
	if err := db.sqlx.Get(&sub, read); err != nil {
		t.Fatal(err)
	}
	return sub
}

func openTestDB(t testing.TB) *DB {
	t.Helper()
	db, err := Open(t.Context(), pgtest.New(t).DSN, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// What is stored is what was computed, once, also the second time.
func TestInsertCycles(t *testing.T) {
	t.Parallel()
	db := openTestDB(t)
	sub := storeMonthEnd(t, db)
	want := monthEnd()
	want.ID, want.TokenID = sub.ID, sub.TokenID
	if diff := cmp.Diff(want, sub); diff != "" {
		t.Errorf("subscription as read (-want +got):\n%s", diff)
	}
	sub.MaxCycles = 6000 // two statements
	rows, next, err := cycleRows(sub, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), 0)
	if err != nil || len(rows) != 6000 || !next.DueAt.IsZero() {
		t.Fatalf("%d cycles, next %v, error %v; want 6000 and none", len(rows), next, err)
	}
	rows[0].State, rows[0].Reason = billing.ChargeWaived, billing.ReasonNothingDue
	for _, want := range []int{6000, 0} {
		err := db.inTx(t.Context(), "test", func(tx *sqlx.Tx) error {
			n, err := insertCycles(t.Context(), tx, rows)
			if n != want {
				t.Errorf("%d cycles are new, want %d", n, want)
			}
			if err != nil {
				return err
			}
			return storeNextCycles(t.Context(), tx, []nextCycle{next})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for c, err := range db.FindCharges(t.Context(), billing.ChargeFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		r := rows[i]
		want := billing.Charge{
			ID: c.ID, Reference: r.Reference, MerchantAccount: "DemoEU", Subscription: "gym", Cycle: r.Cycle,
			PeriodStart: r.PeriodStart, PeriodEnd: r.PeriodEnd, Model: billing.ModelSubscription,
			Token:  tokens.Token{ID: sub.TokenID, MerchantAccount: "DemoEU", ShopperReference: "shopper-1", Reference: "TOKEN1", PaymentMethod: "scheme", State: tokens.Valid},
			Amount: r.Amount, State: r.State, Reason: r.Reason, DueAt: r.DueAt, NextAttemptAt: r.DueAt,
		}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Fatalf("cycle %d as read (-want +got):\n%s", r.Cycle, diff)
		}
		i++
	}
	if i != len(rows) {
		t.Errorf("%d charges, want %d", i, len(rows))
	}
	var stands string
	if err := db.sqlx.Get(&stands, `SELECT state || ' ' || next_cycle || ' ' || coalesce(next_charge_at::text, 'never') FROM subscriptions`); err != nil {
		t.Fatal(err)
	}
	if want := "completed 6001 never"; stands != want {
		t.Errorf("subscription is %q, want %q", stands, want)
	}
}

func BenchmarkInsertCycles(b *testing.B) {
	db := openTestDB(b)
	sub := storeMonthEnd(b, db)
	for b.Loop() {
		rows, next, err := cycleRows(sub, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), cyclesPerInsert)
		if err != nil {
			b.Fatal(err)
		}
		sub.NextCycle = next.Cycle
		if err := db.inTx(b.Context(), "bench", func(tx *sqlx.Tx) error {
			_, err := insertCycles(b.Context(), tx, rows)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*cyclesPerInsert)/b.Elapsed().Seconds(), "rows/s")
}
