package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// The changes that an import may want of a charge, as they race a claim.
var importedChanges = []struct {
	name   string
	of     string // the file's kind
	change func(*billing.Money, *string)
	first  string // amount and token if the import is first
	bad    string // what the import says if the claim is first; empty if it leaves the charge alone
}{
	{"amount of a charge", "charges", func(amount *billing.Money, _ *string) { amount.Minor = 4321 },
		"4321 OLD", `line 2, column amount_minor, "4321": is 1234 and cannot change: the charge is claimed`},
	{"token of a charge", "charges", func(_ *billing.Money, token *string) { *token = "THE-NEW-TOKEN" },
		"1234 THE-NEW-TOKEN", `line 2, column token, "…OKEN": is … and cannot change: the charge is claimed`},
	{"amount of a subscription", "subscriptions", func(amount *billing.Money, _ *string) { amount.Minor = 4321 }, "4321 OLD", ""},
	{"token of a subscription", "subscriptions", func(_ *billing.Money, token *string) { *token = "THE-NEW-TOKEN" }, "1234 THE-NEW-TOKEN", ""},
}

// An importRace is a due charge in a run, and a file that changes it.
type importRace struct {
	*desk
	id      billing.ChargeID
	request scheduler.ClaimRequest
	start   func() <-chan importEnd // starts the import
}

type importEnd struct {
	imported
	err error
}

func newImportRace(t *testing.T, kind string, change func(*billing.Money, *string)) *importRace {
	t.Helper()
	r := &importRace{desk: newDesk(t)}
	var run func(context.Context, *imported) (billing.ImportResult, error)
	request := (&book{t: t}).request
	amount, token := billing.Money{Minor: 1234, Currency: "EUR"}, "OLD"
	change(&amount, &token)
	switch kind {
	case "charges":
		r.id = r.charge()
		row := topUp(2, get[string](r.desk, `SELECT reference FROM charges`))
		row.Amount, row.Token, row.ShopperReference = amount, token, get[string](r.desk, `SELECT shopper_reference FROM tokens`)
		row.DueAt = time.Date(2026, time.January, 31, 9, 0, 0, 0, time.UTC)
		run = func(ctx context.Context, got *imported) (billing.ImportResult, error) {
			return r.db.ImportCharges(ctx, good([]billing.ImportedCharge{row}), request(got))
		}
	case "subscriptions":
		sub := r.subscription("sub", "2026-01-31T09:00")
		r.id = r.chargeOf(sub)
		row := monthly(2, "sub", func(s *billing.ImportedSubscription) {
			s.Calendar.Anchor = must(billing.ParseLocalDateTime("2026-01-31T09:00"))
		})
		row.Amount, row.Token, row.ShopperReference = amount, token, get[string](r.desk, `SELECT shopper_reference FROM tokens`)
		run = func(ctx context.Context, got *imported) (billing.ImportResult, error) {
			return r.db.ImportSubscriptions(ctx, good([]billing.ImportedSubscription{row}), request(got))
		}
	}
	r.exec(`UPDATE tokens SET token = 'OLD'`)
	r.request = r.claimRequest(r.run(r.id))
	r.start = func() <-chan importEnd {
		end := make(chan importEnd, 1)
		go func() {
			var e importEnd
			e.Result, e.err = run(context.Background(), &e.imported)
			end <- e
		}()
		return end
	}
	return r
}

// owes returns the charge's amount and token.
func (r *importRace) owes() string {
	r.t.Helper()
	return get[string](r.desk, `SELECT c.amount_minor || ' ' || t.token FROM charges c JOIN tokens t ON t.id = c.token_id WHERE c.id = $1`, r.id)
}

// An import that has the row's lock is first: the run does not charge what its
// manifest did not say.
func TestRace_anImportBeforeAClaim(t *testing.T) {
	t.Parallel()
	for _, tt := range importedChanges {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newImportRace(t, tt.of, tt.change)
			claimer := openDB(t, r.dsn)

			// The import has changed the row and stands before its audit row.
			unblock := r.block("audit")
			end := r.start()
			r.waitForWaiters(1)
			if result, err := claimer.ClaimDue(t.Context(), r.request); err != nil || len(result.Charges) != 0 {
				t.Fatalf("claimed %d charges under an import's lock, error %v", len(result.Charges), err)
			}
			unblock()
			if e := <-end; e.err != nil || e.Result.Changed != 1 {
				t.Fatalf("import: %+v, error %v", e.imported, e.err)
			}
			if result, err := claimer.ClaimDue(t.Context(), r.request); err != nil || len(result.Charges) != 0 {
				t.Errorf("claimed %d charges that differ from the manifest, error %v", len(result.Charges), err)
			}
			if got := r.owes() + " " + r.stands(r.id); got != tt.first+" due" {
				t.Errorf("charge is %q, want %q", got, tt.first+" due")
			}
			if get[int](r.desk, `SELECT count(*) FROM run_items WHERE disposition IS NOT NULL`) != 1 {
				t.Error("the run does not say why the charge was left out")
			}
		})
	}
}

// A claim that has the row's lock is first: the import waits, and then leaves the
// charge as the request has it.
func TestRace_aClaimBeforeAnImport(t *testing.T) {
	t.Parallel()
	for _, tt := range importedChanges {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newImportRace(t, tt.of, tt.change)
			claimer := openDB(t, r.dsn)
			claimer.Prepare(t)

			// The claim has leased the row and stands before it remembers the batch.
			unblock := r.block("claims")
			type claim struct {
				result scheduler.ClaimResult
				err    error
			}
			claimed := make(chan claim, 1)
			go func() {
				result, err := claimer.ClaimDue(context.Background(), r.request)
				claimed <- claim{result, err}
			}()
			r.waitForWaiters(1)
			end := r.start()
			r.waitForWaiters(2)
			unblock()
			if got := <-claimed; got.err != nil || len(got.result.Charges) != 1 {
				t.Fatalf("claimed %d charges, error %v", len(got.result.Charges), got.err)
			}
			e := <-end
			var bad []string
			if tt.bad != "" {
				bad = []string{tt.bad}
			}
			if diff := cmp.Diff(bad, e.Bad); diff != "" {
				t.Errorf("bad rows (-want +got):\n%s", diff)
			}
			if refused := errors.Is(e.err, billing.ErrInvalid); refused != (tt.bad != "") || !refused && e.err != nil {
				t.Errorf("error %v with bad rows %q", e.err, e.Bad)
			}
			if e.Result.Charges != 0 {
				t.Errorf("%d charges followed the file, want none", e.Result.Charges)
			}
			if got := r.owes() + " " + r.stands(r.id); got != "1234 OLD claimed" {
				t.Errorf("charge is %q, want %q", got, "1234 OLD claimed")
			}
		})
	}
}

// Whatever a file changes, importing it again changes nothing.
func TestImport_twiceIsOnce(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	lines := rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 8, rapid.ID[int])
	token := func(rt *rapid.T, reference string) string {
		return fmt.Sprint("TOKEN-", reference, "-", rapid.IntRange(0, 2).Draw(rt, "token"))
	}
	rapid.Check(t, func(rt *rapid.T) {
		var subscriptions []billing.ImportedSubscription
		for i, n := range lines.Draw(rt, "subscriptions") {
			subscriptions = append(subscriptions, monthly(i+2, fmt.Sprint("S", n), func(s *billing.ImportedSubscription) {
				s.Token = token(rt, s.Reference)
				s.Amount.Minor = rapid.Int64Range(0, 3).Draw(rt, "amount")
				s.Description = rapid.SampledFrom([]string{"", "bread", `a "b" \N`}).Draw(rt, "description")
				s.Calendar.Interval.Count = rapid.IntRange(1, 2).Draw(rt, "interval count")
				s.Calendar.MaxCycles = rapid.IntRange(0, 2).Draw(rt, "max cycles")
				if rapid.Bool().Draw(rt, "ends") {
					s.Calendar.EndsOn = s.Calendar.Anchor.Date.AddDays(rapid.IntRange(0, 70).Draw(rt, "ends on"))
				}
			}))
		}
		var charges []billing.ImportedCharge
		for i, n := range lines.Draw(rt, "charges") {
			charges = append(charges, topUp(i+2, fmt.Sprint("C", n), func(c *billing.ImportedCharge) {
				c.Token = token(rt, c.Reference)
				c.Amount.Minor = rapid.Int64Range(1, 3).Draw(rt, "amount")
				c.Description = rapid.SampledFrom([]string{"", "bread"}).Draw(rt, "description")
			}))
		}
		b.subscriptions(subscriptions...)
		b.charges(charges...)
		before := b.everything()
		for what, again := range map[string]imported{
			"subscriptions": b.subscriptions(subscriptions...), "charges": b.charges(charges...),
		} {
			want := imported{Result: billing.ImportResult{Rows: again.Result.Rows, Unchanged: again.Result.Rows}}
			if diff := cmp.Diff(want, again); diff != "" {
				rt.Errorf("%s again (-want +got):\n%s", what, diff)
			}
		}
		if diff := cmp.Diff(before, b.everything()); diff != "" {
			rt.Errorf("database (-before +after):\n%s", diff)
		}
	})
}
