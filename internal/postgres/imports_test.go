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
		Token: "A-TOKEN-OF-" + reference, Amount: billing.Money{Minor: 1250, Currency: "EUR"},
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
		Token: "A-TOKEN-OF-" + reference, Amount: billing.Money{Minor: 990, Currency: "EUR"},
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
		"A1 A-TOKEN-OF-A1 scheme unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 1 1 2027-01-31 08:00:00 active mia ",
		"A2 A-TOKEN-OF-A2 scheme unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 3 3 2027-03-31 07:00:00 active mia ",
		"A3 A-TOKEN-OF-A3 sepadirectdebit unverified 1250 EUR 2027-01-31 09:00:00 Europe/Berlin 3 3 completed mia a year of bread, \"fresh\"\\",
	})
	b.want("audit", b.table(`SELECT actor || ' ' || action || ' ' || object || ' ' || (after->>'sha256') || ' ' || (after->'result'->>'waived') FROM audit`),
		[]string{"mia import_subscriptions book.csv 0123 4"})
}

func TestImportSubscriptions_againChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	file := []billing.ImportedSubscription{monthly(2, "A1"), monthly(3, "A2", func(s *billing.ImportedSubscription) {
		s.Calendar.MaxCycles, s.PaymentMethod = 3, "scheme"
	})}
	b.subscriptions(file...)
	before := b.everything()
	for i := range file { // another day: the import's own date is later
		file[i].FirstCycle = 2
	}
	got := b.subscriptions(file...)
	if diff := cmp.Diff(imported{Result: billing.ImportResult{Rows: 2, Unchanged: 2}}, got); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	b.want("database", b.everything(), before)
}

// charge makes a charge of the first cycle of a subscription, as a plan does.
func (b *book) charge(reference, state, reason string) {
	b.t.Helper()
	b.exec(`
		INSERT INTO charges (subscription_id, token_id, amount_minor, due_at, next_attempt_at, cycle, period_start, period_end,
		                     state, reason, decided_by, currency, model, merchant_account, reference, finished_at)
		SELECT s.id, s.token_id, s.amount_minor, s.next_charge_at, s.next_charge_at, 1, '2027-01-31', '2027-02-28',
		       $2, $3, 'plan', s.currency, 'Subscription', s.merchant_account, s.reference || '~1', CASE $2 WHEN 'paid' THEN now() END
		  FROM subscriptions s WHERE s.reference = $1`, reference, state, reason)
}

func TestImportSubscriptions_changes(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	references := []string{"A1", "A2", "A3", "A4"}
	var file []billing.ImportedSubscription
	for i, r := range references {
		file = append(file, monthly(i+2, r))
	}
	b.subscriptions(file...)
	b.charge("A1", "due", "")
	b.charge("A2", "paid", "")
	b.charge("A3", "held", "token_invalid")
	file[0].Amount.Minor, file[0].Description = 1490, "new price"
	file[1].Amount.Minor = 1490
	file[2].Token = "ANOTHER-TOKEN-3"
	file[3].Calendar.Zone = must(billing.LoadZone("Asia/Tokyo"))

	for _, dry := range []bool{true, false} {
		before := b.everything()
		var got imported
		req := b.request(&got)
		req.DryRun = dry
		result, err := b.db.ImportSubscriptions(t.Context(), good(file), req)
		if err != nil {
			t.Fatal(err)
		}
		want := billing.ImportResult{Rows: 4, Changed: 4, NewTokens: 1, Charges: 2, DryRun: dry}
		if diff := cmp.Diff(want, result); diff != "" {
			t.Errorf("dry run %t (-want +got):\n%s", dry, diff)
		}
		b.want("differences", got.Changes, []string{
			`2 A1 amount_minor: "1250" → "1490"`,
			`2 A1 description: "" → "new price"`,
			`3 A2 amount_minor: "1250" → "1490"`,
			`4 A3 token: "…F-A3" → "…EN-3"`,
			`5 A4 timezone: "Europe/Berlin" → "Asia/Tokyo"`,
		})
		if dry {
			b.want("database after a dry run", b.everything(), before)
		}
	}
	b.want("charges", b.table(`
		SELECT concat_ws(' ', c.reference, c.amount_minor, t.token, c.state, c.reason)
		  FROM charges c JOIN tokens t ON t.id = c.token_id ORDER BY c.reference`), []string{
		"A1~1 1490 A-TOKEN-OF-A1 due ",
		"A2~1 1250 A-TOKEN-OF-A2 paid ",
		"A3~1 1250 ANOTHER-TOKEN-3 due ",
	})
	b.want("moved subscription", b.table(`SELECT timezone || ' ' || (next_charge_at AT TIME ZONE 'UTC') FROM subscriptions WHERE reference = 'A4'`),
		[]string{"Asia/Tokyo 2027-01-31 00:00:00"})
	b.want("audit", b.table(`SELECT s.reference || ' ' || a.before || ' ' || a.after FROM audit a JOIN subscriptions s ON s.id::text = a.object WHERE a.action = 'import_subscription_change' AND s.reference = 'A2'`),
		[]string{`A2 {"amount_minor": "1250"} {"amount_minor": "1490"}`})
}

func TestImportSubscriptions_movesTheEnd(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	s := monthly(2, "A1", func(s *billing.ImportedSubscription) { s.FirstCycle = 3 })
	state := func() []string {
		return b.table(`SELECT concat_ws(' ', state, next_cycle, next_charge_at AT TIME ZONE 'UTC') FROM subscriptions`)
	}
	b.subscriptions(s)
	s.Calendar.MaxCycles = 2
	b.subscriptions(s)
	b.want("end before the next cycle", state(), []string{"completed 3"})
	s.Calendar.MaxCycles = 4
	b.subscriptions(s)
	b.want("end behind the next cycle", state(), []string{"active 3 2027-03-31 07:00:00"})
	b.exec(`UPDATE subscriptions SET state = 'cancelled', reason = 'cancelled_by_person', next_charge_at = NULL`)
	s.Calendar.MaxCycles = 0
	b.subscriptions(s)
	b.want("a cancelled subscription stays so", state(), []string{"cancelled 3"})
}

func TestImportSubscriptions_badRows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		line billing.ImportedSubscription
		want string
	}{
		{"a reference is there twice", monthly(9, "A1"), `line 9, column reference, "A1": is on line 3 already, for the same merchant account`},
		{"a token of another shopper", monthly(9, "A9", func(s *billing.ImportedSubscription) { s.Token = "A-TOKEN-OF-A1" }),
			`line 9, column token: belongs to another shopper reference: a token is one shopper's for good`},
		{"another payment method of a known token", monthly(9, "OLD", func(s *billing.ImportedSubscription) { s.PaymentMethod = "paypal" }),
			`line 9, column payment_method, "paypal": the token is known with payment method scheme`},
		{"another shopper", monthly(9, "OLD", func(s *billing.ImportedSubscription) { s.ShopperReference, s.Token = "shopper-9", "TOKEN-9" }),
			`line 9, column shopper_reference, "shopper-9": the subscription belongs to shopper-OLD for good; want another reference for another shopper`},
		{"another anchor after a charge", monthly(9, "OLD", func(s *billing.ImportedSubscription) {
			s.Calendar.Anchor = must(billing.ParseLocalDateTime("2027-01-30T09:00"))
		}), `line 9, column anchor, "2027-01-30T09:00:00": is 2027-01-31T09:00:00 and cannot change, since the subscription has charges; want a new subscription`},
		{"another currency after a charge", monthly(9, "OLD", func(s *billing.ImportedSubscription) { s.Amount.Currency = "USD" }),
			`line 9, column currency, "USD": is EUR and cannot change, since the subscription has charges; want a new subscription`},
	}
	b := newBook(t)
	b.subscriptions(monthly(2, "OLD"))
	b.charge("OLD", "due", "")
	before := b.everything()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.subscriptions(monthly(3, "A1"), tt.line)
			b.want("bad rows", got.Bad, []string{tt.want})
			if got.Result.Bad != 1 {
				t.Errorf("%d bad rows counted, want 1", got.Result.Bad)
			}
			b.want("database", b.everything(), before)
		})
	}
}

func TestImportCharges(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference, state, cause) VALUES ('DemoEU', 'A-TOKEN-OF-C2', 'shopper-C2', 'invalid', 'refusal 7')`)
	file := []billing.ImportedCharge{topUp(2, "C1"), topUp(3, "C2"), topUp(4, "C3")}
	got := b.charges(file...)
	if diff := cmp.Diff(billing.ImportResult{Rows: 3, New: 3, NewTokens: 2, Held: 1}, got.Result); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	state := func() []string {
		return b.table(`SELECT concat_ws(' ', c.reference, c.amount_minor, c.state, c.reason, t.token) FROM charges c JOIN tokens t ON t.id = c.token_id ORDER BY 1`)
	}
	b.want("charges", state(), []string{"C1 990 due  A-TOKEN-OF-C1", "C2 990 held token_invalid A-TOKEN-OF-C2", "C3 990 due  A-TOKEN-OF-C3"})

	before := b.everything()
	got = b.charges(file...)
	if diff := cmp.Diff(billing.ImportResult{Rows: 3, Unchanged: 3}, got.Result); diff != "" {
		t.Errorf("second import (-want +got):\n%s", diff)
	}
	b.want("database", b.everything(), before)

	file[0].Amount.Minor, file[1].Token = 1090, "A-BETTER-TOKEN"
	b.charges(file...)
	b.want("changed charges", state(), []string{"C1 1090 due  A-TOKEN-OF-C1", "C2 990 due  A-BETTER-TOKEN", "C3 990 due  A-TOKEN-OF-C3"})

	b.exec(`UPDATE charges SET answered = 1 WHERE reference = 'C1'`)
	b.exec(`UPDATE charges SET state = 'paid', finished_at = now() WHERE reference = 'C3'`)
	file[0].Amount.Minor, file[1].DueAt, file[2].Token = 1190, file[1].DueAt.Add(time.Hour), "A-TOKEN-OF-C9"
	b.want("what cannot change", b.charges(file...).Bad, []string{
		`line 2, column amount_minor, "1190": is 1090 and cannot change after the first attempt`,
		`line 3, column due_at, "2027-01-31T09:00:00Z": is 2027-01-31T08:00:00Z and never changes; want another reference for another charge`,
		`line 4, column token, "…F-C9": is …F-C3 and cannot change: the charge is paid`,
	})
}
