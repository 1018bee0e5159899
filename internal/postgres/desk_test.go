package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

func TestFindCharges_filters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	sub := d.subscription("gym", "2027-01-31T09:00")
	cycle := d.chargeOf(sub) // begins on 2026-01-31
	topup, held := d.charge(), d.charge()
	d.exec(`UPDATE charges SET due_at = '2026-02-01T23:30:00Z' WHERE id = $1`, topup)
	d.must(hold, held)
	run := d.run(topup, held)
	day := func(text string) billing.LocalDate {
		date, err := billing.ParseLocalDate(text)
		if err != nil {
			t.Fatal(err)
		}
		return date
	}
	tests := []struct {
		name   string
		filter billing.ChargeFilter
		want   []billing.ChargeID
	}{
		{"all", billing.ChargeFilter{}, []billing.ChargeID{cycle, topup, held}},
		{"of a run", billing.ChargeFilter{RunID: int64(run)}, []billing.ChargeID{topup, held}},
		{"of a subscription", billing.ChargeFilter{Subscription: sub}, []billing.ChargeID{cycle}},
		{"in a state", billing.ChargeFilter{State: billing.ChargeHeld}, []billing.ChargeID{held}},
		{"of a day: a cycle's date, or a request's in UTC", billing.ChargeFilter{Day: day("2026-01-31")}, []billing.ChargeID{cycle, held}},
		{"of another day", billing.ChargeFilter{Day: day("2026-02-01")}, []billing.ChargeID{topup}},
		{"of an account", billing.ChargeFilter{MerchantAccount: "DemoEU"}, []billing.ChargeID{cycle, topup, held}},
		{"of an account without any", billing.ChargeFilter{MerchantAccount: "DemoUS"}, nil},
		{"the first page", billing.ChargeFilter{Limit: 2}, []billing.ChargeID{cycle, topup}},
		{"the next page", billing.ChargeFilter{Limit: 2, After: topup}, []billing.ChargeID{held}},
		{"everything at once", billing.ChargeFilter{RunID: int64(run), State: billing.ChargeHeld, Day: day("2026-01-31"), MerchantAccount: "DemoEU", Limit: 5, After: cycle},
			[]billing.ChargeID{held}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []billing.ChargeID
			for c, err := range d.db.FindCharges(t.Context(), tt.filter) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, c.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("charges (-want +got):\n%s", diff)
			}
		})
	}
}

// A reader who stops early, or whose context ends, gives the connection back.
func TestFindCharges_letsGo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 3 {
		d.charge()
	}
	for range 20 { // more often than there are connections
		for range d.db.FindCharges(t.Context(), billing.ChargeFilter{}) {
			break
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range d.db.FindCharges(over, billing.ChargeFilter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	}
}

func TestFindChargeID(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first, second := d.charge(), d.charge()
	d.exec(`UPDATE charges SET reference = $2::text WHERE id = $1`, second, first) // a reference that is another's number
	reference := get[string](d, `SELECT reference FROM charges WHERE id = $1`, first)
	tests := []struct {
		name, text, account string
		want                billing.ChargeID
		err                 error
	}{
		{"by reference", reference, "", first, nil},
		{"by number", fmt.Sprint(second), "", second, nil},
		{"by a number that is another's reference", fmt.Sprint(first), "", 0, billing.ErrInvalid},
		{"by a reference that is another's number", fmt.Sprint(first), "DemoEU", second, nil},
		{"of another account", reference, "DemoUS", 0, billing.ErrNotFound},
		{"unknown", "nothing", "", 0, billing.ErrNotFound},
		{"beyond all numbers", "99999999999999999999", "", 0, billing.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := d.db.FindChargeID(t.Context(), tt.text, tt.account)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d, error %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestShowCharge(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	d.settle(d.claim(id), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	left := d.run()
	d.exec(`INSERT INTO run_exclusions (run_id, charge_id, amount_minor, currency, disposition, reason) VALUES ($1, $2, 1234, 'EUR', 'postponed', 'catch_up')`, left, id)
	got, err := d.db.ShowCharge(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := []postgres.ChargeRun{
		{RunID: 1, State: "running", Position: 1},
		{RunID: int64(left), State: "running", Disposition: "postponed", Reason: billing.ReasonCatchUp},
	}
	if diff := cmp.Diff(want, got.Runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if len(got.Observations) != 1 || got.Observations[0].Outcome != billing.OutcomeRefused || got.Observations[0].Attempt != 1 {
		t.Errorf("observations %+v, want one refusal of attempt 1", got.Observations)
	}
	if _, err := d.db.ShowCharge(t.Context(), 999); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("unknown charge: error %v, want billing.ErrNotFound", err)
	}
}

func TestPauseSending(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		scope postgres.StopScope
		err   error
	}{
		{"everything", postgres.StopScope{Scope: postgres.StopAll}, nil},
		{"the account", postgres.StopScope{Scope: postgres.StopMerchantAccount, Name: "DemoEU"}, nil},
		{"its gateway", postgres.StopScope{Scope: postgres.StopGateway, Name: "adyen"}, nil},
		{"an account that is not there", postgres.StopScope{Scope: postgres.StopMerchantAccount, Name: "DemoUS"}, billing.ErrNotFound},
		{"a gateway that nobody uses", postgres.StopScope{Scope: postgres.StopGateway, Name: "mastercard"}, billing.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			claimed, due := d.claim(d.charge()), d.charge()
			stops, err := d.db.PauseSending(t.Context(), tt.scope, by("fire"))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			if len(stops) != 1 || stops[0].ChargeID != claimed.ID {
				t.Errorf("stops %v, want the claimed charge", stops)
			}
			request := d.claimRequest(d.run(due))
			if result, err := d.db.ClaimDue(t.Context(), request); err != nil || result.Halt != billing.ReasonAccountPaused {
				t.Errorf("claim halts with %q, error %v; want %q", result.Halt, err, billing.ReasonAccountPaused)
			}
			if err := d.db.GiveBack(t.Context(), []billing.ClaimedCharge{claimed}, nil); err != nil {
				t.Fatal(err)
			}
			if stops, err = d.db.ReadStops(t.Context(), stops); err != nil || stops[0].Answer != billing.StopBeforeSending || stops[0].State != billing.ChargeDue {
				t.Errorf("stop %+v, error %v; want due, stopped before sending", stops[0], err)
			}
			if _, err := d.db.PauseSending(t.Context(), tt.scope, by("again")); !errors.Is(err, billing.ErrConflict) {
				t.Errorf("a second pause: error %v, want billing.ErrConflict", err)
			}
			if err := d.db.UnpauseSending(t.Context(), tt.scope, by("fire is out")); err != nil {
				t.Fatal(err)
			}
			if result, err := d.db.ClaimDue(t.Context(), request); err != nil || len(result.Charges) != 1 {
				t.Errorf("claimed %d charges, error %v; want 1", len(result.Charges), err)
			}
			if err := d.db.UnpauseSending(t.Context(), tt.scope, by("again")); !errors.Is(err, billing.ErrNotFound) {
				t.Errorf("a second unpause: error %v, want billing.ErrNotFound", err)
			}
			if n := get[int](d, `SELECT count(*) FROM audit WHERE object_kind = 'sending_stop'`); n != 2 {
				t.Errorf("%d audit rows, want 2", n)
			}
		})
	}
}

func TestPauseSending_onlyItsScope(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
	if _, err := d.db.PauseSending(t.Context(), postgres.StopScope{Scope: postgres.StopGateway, Name: "mastercard"}, by("fire")); err != nil {
		t.Fatal(err)
	}
	d.claim(d.charge()) // fails if it is halted
	stops, err := d.db.StandingStops(t.Context())
	if err != nil || len(stops) != 1 || stops[0].Name != "mastercard" || stops[0].Actor != "mia" || stops[0].Reason != "fire" {
		t.Errorf("standing %+v, error %v; want the one of mastercard", stops, err)
	}
}

func TestTestClock(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at := time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	steps := []struct {
		name string
		do   func() (postgres.Clock, error)
		want time.Time // zero: the database's own clock
	}{
		{"at first", func() (postgres.Clock, error) { return d.db.Clock(t.Context()) }, time.Time{}},
		{"set", func() (postgres.Clock, error) { return d.db.SetTestClock(t.Context(), at, 0, "mia") }, at},
		{"advance", func() (postgres.Clock, error) { return d.db.AdvanceTestClock(t.Context(), 24*time.Hour, "mia") }, at.Add(24 * time.Hour)},
		{"set back", func() (postgres.Clock, error) { return d.db.SetTestClock(t.Context(), at, 0, "mia") }, at},
		{"reset", func() (postgres.Clock, error) { return d.db.ResetTestClock(t.Context(), "mia") }, time.Time{}},
	}
	for _, step := range steps {
		c, err := step.do()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.want.IsZero() {
			if c.Test || c.Business.Sub(c.Real).Abs() > time.Second {
				t.Errorf("%s: %+v, want the database's clock", step.name, c)
			}
			continue
		}
		if !c.Test || !c.Business.Equal(step.want) {
			t.Errorf("%s: %+v, want %s", step.name, c, step.want)
		}
	}
	if n := get[int](d, `SELECT count(*) FROM audit WHERE object_kind = 'test_clock'`); n != 4 {
		t.Errorf("%d audit rows, want 4", n)
	}
}

func TestTestClock_runs(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at := time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	if _, err := d.db.SetTestClock(t.Context(), at, 3600, "mia"); err != nil {
		t.Fatal(err)
	}
	d.exec(`UPDATE test_clock SET set_at = set_at - interval '10 seconds'`)
	c, err := d.db.AdvanceTestClock(t.Context(), time.Hour, "mia")
	if err != nil || c.Speed != 3600 || c.Business.Before(at.Add(11*time.Hour)) {
		t.Errorf("clock %+v, error %v; want speed 3600 and at least eleven hours later", c, err)
	}
}

func TestTestClock_isRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at := time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	for _, speed := range []float64{-1, postgres.MaxClockSpeed + 1} {
		if _, err := d.db.SetTestClock(t.Context(), at, speed, "mia"); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("speed %g: error %v, want billing.ErrInvalid", speed, err)
		}
	}
	if _, err := d.db.AdvanceTestClock(t.Context(), -time.Hour, "mia"); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("advance backwards: error %v, want billing.ErrInvalid", err)
	}
	d.exec(`UPDATE merchant_accounts SET environment = 'live'`)
	if _, err := d.db.SetTestClock(t.Context(), at, 1, "mia"); !errors.Is(err, postgres.ErrLive) {
		t.Errorf("set with a live account: error %v, want ErrLive", err)
	}
	if _, err := d.db.AdvanceTestClock(t.Context(), time.Hour, "mia"); !errors.Is(err, postgres.ErrLive) {
		t.Errorf("advance with a live account: error %v, want ErrLive", err)
	}
	if _, err := d.db.ResetTestClock(t.Context(), "mia"); err != nil {
		t.Errorf("reset with a live account: %v", err)
	}
	if n := get[int](d, `SELECT count(*) FROM test_clock`); n != 0 {
		t.Error("a test clock was set all the same")
	}
}
