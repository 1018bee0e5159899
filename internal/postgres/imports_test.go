package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/pgtest"
	"github.com/contauth/contauth/internal/postgres"
)

// A book is a database that files are imported into, with two merchant accounts.
type book struct {
	t   *testing.T
	db  *postgres.DB
	sql *sqlx.DB
}

func newBook(t *testing.T) *book {
	t.Helper()
	db, err := postgres.Open(t.Context(), pgtest.New(t).DSN, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var accounts []postgres.AccountSettings
	for _, id := range []string{"DemoEU", "DemoUS"} {
		accounts = append(accounts, postgres.AccountSettings{ID: id, Gateway: "adyen", Environment: "test",
			BaseURL: "http://127.0.0.1:1/adyen/v71", ReturnURL: "https://example.invalid/", MaxInFlight: 4})
	}
	if err := db.SyncAccounts(t.Context(), accounts); err != nil {
		t.Fatal(err)
	}
	return &book{t: t, db: db, sql: sqlx.NewDb(db.SQL(), "postgres")}
}

// An imported is what came of an import.
type imported struct {
	Result  billing.ImportResult
	Bad     []string
	Changes []string
}

func (b *book) request(got *imported) billing.ImportRequest {
	return billing.ImportRequest{
		Actor: "mia", File: "book.csv", Hash: func() string { return "0123" },
		Bad: func(row billing.BadRow) error { got.Bad = append(got.Bad, row.Error()); return nil },
		Changed: func(c billing.ImportChange) error {
			got.Changes = append(got.Changes, fmt.Sprintf("%d %s %s: %q → %q", c.Line, c.Reference, c.Field, c.Before, c.After))
			return nil
		},
	}
}

func (b *book) subscriptions(rows ...billing.ImportedSubscription) imported {
	b.t.Helper()
	var got imported
	var err error
	got.Result, err = b.db.ImportSubscriptions(b.t.Context(), good(rows), b.request(&got))
	b.checkError(err, got)
	return got
}

func (b *book) charges(rows ...billing.ImportedCharge) imported {
	b.t.Helper()
	var got imported
	var err error
	got.Result, err = b.db.ImportCharges(b.t.Context(), good(rows), b.request(&got))
	b.checkError(err, got)
	return got
}

// checkError fails unless an import fails exactly when it has bad rows.
func (b *book) checkError(err error, got imported) {
	b.t.Helper()
	if bad := len(got.Bad) > 0; bad != errors.Is(err, billing.ErrInvalid) || !bad && err != nil {
		b.t.Fatalf("import: error %v with bad rows %q", err, got.Bad)
	}
}

func good[Row any](rows []Row) billing.ImportRows[Row] {
	return func(yield func(Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// table returns a query's rows, each as its values in order.
func (b *book) table(query string, args ...any) []string {
	b.t.Helper()
	rows, err := b.sql.QueryContext(b.t.Context(), query, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			b.t.Fatal(err)
		}
		all = append(all, line)
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *book) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.sql.ExecContext(b.t.Context(), query, args...); err != nil {
		b.t.Fatal(err)
	}
}

// everything is all that imports write, without what the clock alone decides.
func (b *book) everything() []string {
	return slices.Concat(
		b.table(`SELECT to_jsonb(t)::text FROM tokens t ORDER BY id`),
		b.table(`SELECT to_jsonb(s)::text FROM subscriptions s ORDER BY id`),
		b.table(`SELECT to_jsonb(c)::text FROM charges c ORDER BY id`))
}

func (b *book) want(what string, got, want []string) {
	b.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s: unlike wanted (-want +got):\n%s", what, diff)
	}
}

// monthly is a subscription from 31 January 2027 on, whose first cycle is due.
func monthly(line int, reference string, change ...func(*billing.ImportedSubscription)) billing.ImportedSubscription {
	s := billing.ImportedSubscription{
		Line: line, MerchantAccount: "DemoEU", Reference: reference, ShopperReference: "shopper-" + reference,
		Token: "TOKEN-OF-" + reference, Amount: billing.Money{Minor: 1250, Currency: "EUR"},
		Calendar: billing.Calendar{
			Anchor: must(billing.ParseLocalDateTime("2027-01-31T09:00")), Zone: must(billing.LoadZone("Europe/Berlin")),
			Interval: billing.Interval{Unit: billing.Month, Count: 1},
		},
		FirstCycle: 1,
	}
	for _, c := range change {
		c(&s)
	}
	if _, ok := s.Calendar.Date(s.FirstCycle); ok {
		s.FirstDueAt = s.Calendar.DueAt(s.FirstCycle)
	}
	return s
}

func topUp(line int, reference string, change ...func(*billing.ImportedCharge)) billing.ImportedCharge {
	c := billing.ImportedCharge{
		Line: line, MerchantAccount: "DemoEU", Reference: reference, ShopperReference: "shopper-" + reference,
		Token: "TOKEN-OF-" + reference, Amount: billing.Money{Minor: 990, Currency: "EUR"},
		DueAt: time.Date(2027, time.January, 31, 8, 0, 0, 0, time.UTC),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestImportSubscriptions_new(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	got := b.subscriptions(
		monthly(2, "A1"),
		monthly(3, "A2", func(s *billing.ImportedSubscription) { s.FirstCycle, s.Waived = 3, 2 }),
		monthly(4, "A3", func(s *billing.ImportedSubscription) {
			s.Calendar.MaxCycles, s.FirstCycle, s.Waived = 2, 3, 2
			s.PaymentMethod, s.Description = "sepadirectdebit", "a year of bread, \"fresh\"\\"
		}),
	)
	want := imported{Result: billing.ImportResult{Rows: 3, New: 3, NewTokens: 3, Waived: 4, Completed: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	b.want("subscriptions", b.table(`
		SELECT concat_ws(' ', s.reference, t.token, t.payment_method, t.state, s.amount_minor, s.currency, s.anchor, s.timezone, s.first_cycle,
		                 s.next_cycle, s.next_charge_at AT TIME ZONE 'UTC', s.state, s.decided_by, s.description)
		  FROM subscriptions s JOIN tokens t ON t.id = s.token_id ORDER BY s.reference`), []string{
		"A1 TOKEN-OF-A1 scheme unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 1 1 2027-01-31 08:00:00 active mia ",
		"A2 TOKEN-OF-A2 scheme unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 3 3 2027-03-31 07:00:00 active mia ",
		"A3 TOKEN-OF-A3 sepadirectdebit unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 3 3 completed mia a year of bread, \"fresh\"\\",
	})
	b.want("audit", b.table(`SELECT actor || ' ' || action || ' ' || object || ' ' || (after->>'sha256') || ' ' || (after->'result'->>'waived') FROM audit`),
		[]string{"mia import_subscriptions book.csv 0123 4"})
}
