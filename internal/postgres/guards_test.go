package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/scheduler"
)

var chief = billing.Decision{Actor: "mia", Why: "we compared it with the gateway"}

// A live account is charged by no database but the one that a person bound.
func TestClaimDue_LiveAccountsNeedABoundDatabase(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`UPDATE merchant_accounts SET environment = 'live'`)
	id := d.charge()
	run := d.run(id)
	claim := func() scheduler.ClaimResult {
		t.Helper()
		return d.claimDue(d.claimRequest(run))
	}
	live := []postgres.LiveCredential{{MerchantAccount: "DemoEU", Key: secret.New("live-key")}}
	if got := claim(); got.Halt != billing.ReasonNotBound || len(got.Charges) != 0 {
		t.Fatalf("an unbound database claimed: %+v", got)
	}
	if b, err := d.db.Binding(t.Context(), live); err != nil || b.Bound || !slices.Contains(b.Changes, "nobody has bound it yet") {
		t.Errorf("binding %+v, error %v", b, err)
	}
	if err := d.db.Bind(t.Context(), live, chief); err != nil {
		t.Fatal(err)
	}
	if b, err := d.db.Binding(t.Context(), live); err != nil || !b.Bound || b.BoundBy != "mia" {
		t.Errorf("binding %+v, error %v", b, err)
	}

	changes := []struct{ name, query, says string }{
		{"another cluster", `UPDATE instance_binding SET system_identifier = '7'`, "another cluster"},
		{"a restored backup or a failover", `UPDATE instance_binding SET timeline = timeline + 1`, "timeline"},
		{"another database", `UPDATE instance_binding SET database_oid = database_oid + 1`, "another database"},
		{"a copied data directory", `UPDATE instance_binding SET place = 'socket /elsewhere'`, "it is at"},
	}
	for _, change := range changes {
		if err := d.db.Bind(t.Context(), live, chief); err != nil {
			t.Fatal(err)
		}
		d.exec(change.query)
		if got := claim(); got.Halt != billing.ReasonNotBound {
			t.Errorf("%s: claimed %+v", change.name, got)
		}
		if b, err := d.db.Binding(t.Context(), live); err != nil || b.Bound || !strings.Contains(strings.Join(b.Changes, "; "), change.says) {
			t.Errorf("%s: binding %+v, error %v", change.name, b, err)
		}
	}
	if err := d.db.Bind(t.Context(), live, chief); err != nil {
		t.Fatal(err)
	}
	other := []postgres.LiveCredential{{MerchantAccount: "DemoEU", Key: secret.New("another-key")}}
	if b, err := d.db.Binding(t.Context(), other); err != nil || b.Bound {
		t.Errorf("other credentials: binding %+v, error %v", b, err)
	}
	if got := claim(); len(got.Charges) != 1 {
		t.Errorf("the bound database did not claim: %+v", got)
	}
	if got := get[int](d, `SELECT count(*) FROM audit WHERE action = 'bind' AND actor = 'mia'`); got != 6 {
		t.Errorf("%d bindings in the audit table", got)
	}
}

// An hourly limit stops the account for a person, at the charge where it is reached.
func TestClaimDue_HourlyLimits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		limit   string
		claimed int
	}{
		{"of charges", `UPDATE merchant_accounts SET max_charges_per_hour = 3`, 3},
		{"of money, seen once it is reached", `UPDATE merchant_accounts SET max_money_per_hour = '{"EUR": 2000}'`, 2},
		{"of another currency", `UPDATE merchant_accounts SET max_money_per_hour = '{"USD": 1}'`, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.exec(tt.limit)
			var ids []billing.ChargeID
			for range 5 {
				ids = append(ids, d.charge())
			}
			run := d.run(ids...)
			claimed, halted := 0, false
			for position := 0; position < 5 && !halted; {
				req := d.claimRequest(run)
				req.After, req.Limit = position, 2
				if tt.claimed == 3 {
					req.Limit = 5
				}
				got := d.claimDue(req)
				claimed += len(got.Charges)
				position, halted = got.Position, got.Halt != ""
			}
			if claimed != tt.claimed {
				t.Errorf("%d charges were claimed, want %d", claimed, tt.claimed)
			}
			wantStops := 1
			if tt.claimed == 5 {
				wantStops = 0
			}
			if got := get[int](d, `SELECT count(*) FROM sending_stops WHERE name = 'DemoEU' AND actor = 'contauth'`); got != wantStops {
				t.Errorf("%d stops, want %d", got, wantStops)
			}
			if got := get[int](d, `SELECT count(*) FROM alerts WHERE kind = 'hourly_limit'`); got != wantStops {
				t.Errorf("%d alerts, want %d", got, wantStops)
			}
		})
	}
}

func TestCountCanary(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var ids []billing.ChargeID
	for range 4 {
		ids = append(ids, d.charge())
	}
	run := d.run(ids...)
	judge := func(end int) scheduler.CanaryCounts {
		t.Helper()
		v, err := d.db.CountCanary(t.Context(), run, "DemoEU", end)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := judge(2); got != (scheduler.CanaryCounts{Open: 2}) {
		t.Errorf("before: %+v", got)
	}
	req := d.claimRequest(run)
	req.Limit = 2
	claimed := d.claimDue(req).Charges
	d.settle(claimed[0], billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	if got := judge(2); got != (scheduler.CanaryCounts{Open: 1, Answered: 1, Declined: 1}) {
		t.Errorf("after one answer: %+v", got)
	}
	d.settle(claimed[1], billing.OutcomeAuthorised, billing.ChargePaid, "")
	if got := judge(2); got != (scheduler.CanaryCounts{Answered: 2, Declined: 1}) {
		t.Errorf("after both: %+v", got)
	}
	if err := d.db.CloseCanary(t.Context(), run, "DemoEU", "half were declined"); err != nil {
		t.Fatal(err)
	}
	if got := get[string](d, `SELECT state || ' ' || reason FROM runs WHERE id = $1`, run); got != "paused half were declined" {
		t.Errorf("the run is %s", got)
	}
	if _, err := d.db.StartRun(t.Context(), run, "mia"); err != nil {
		t.Fatal(err)
	}
	if got := judge(2); !got.Decided {
		t.Errorf("a person resumed the run, and the canary is judged again: %+v", got)
	}
	if err := d.db.CloseCanary(t.Context(), run, "DemoEU", "late"); err != nil {
		t.Fatal(err)
	}
	if got := get[string](d, `SELECT state FROM runs WHERE id = $1`, run); got != "running" {
		t.Errorf("a second judge made the run %s", got)
	}
}

// Everything that fell due on a day is in one column, and what nobody looked at
// is told in count and money.
func TestReportDay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	day, err := billing.ParseLocalDate("2026-01-31")
	if err != nil {
		t.Fatal(err)
	}
	report := func() scheduler.DayReport {
		t.Helper()
		r, err := d.db.ReportDay(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := report(); !got.IsComplete() || len(got.Currencies) != 0 {
		t.Errorf("an empty day: %+v", got)
	}
	paid, retrying, held, untouched := d.charge(), d.charge(), d.charge(), d.charge()
	d.settle(d.claim(paid), billing.OutcomeAuthorised, billing.ChargePaid, "")
	d.settle(d.claim(retrying), billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	d.must(hold, held)
	d.exec(`UPDATE charges SET decided_by = 'import' WHERE id = $1`, untouched)
	other := d.charge()
	d.exec(`UPDATE charges SET due_at = '2026-02-01T00:00:00Z' WHERE id = $1`, other)
	got := report().Currencies[0]
	one := scheduler.Amount{Count: 1, AmountMinor: 1234}
	if got.Paid != one || got.Retrying != one || got.Held != one || got.Untouched != one || got.Expected != (scheduler.Amount{Count: 4, AmountMinor: 4 * 1234}) {
		t.Errorf("%+v", got)
	}
	r := report()
	if r.IsComplete() || r.Missing() != "1 due on 2026-01-31, 12.34 EUR, were in no run" {
		t.Errorf("missing: %q", r.Missing())
	}
	if first, err := d.db.CloseDay(t.Context(), r); err != nil || first {
		t.Errorf("an incomplete day is complete: %t, %v", first, err)
	}
	d.exec(`INSERT INTO run_exclusions (run_id, charge_id, amount_minor, currency, disposition, reason) VALUES ($1, $2, 1234, 'EUR', 'postponed', 'same_card')`, d.run(), untouched)
	for i, want := range []bool{true, false} {
		if first, err := d.db.CloseDay(t.Context(), report()); err != nil || first != want {
			t.Errorf("close %d: first %t, error %v", i+1, first, err)
		}
	}
}

// A cycle that no plan has made into a charge counts as missing.
func TestReportDay_Unplanned(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.setClock("2027-03-15T12:00:00Z")
	d.subscription("gym", "2027-01-31T09:00")
	d.exec(`UPDATE subscriptions SET next_charge_at = '2027-01-31T08:00:00Z', next_cycle = 1, first_cycle = 1`)
	for _, tt := range []struct {
		day   string
		count int64
	}{{"2027-01-30", 0}, {"2027-01-31", 1}, {"2027-02-28", 1}, {"2027-03-01", 0}} {
		day, err := billing.ParseLocalDate(tt.day)
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.db.ReportDay(t.Context(), day)
		if err != nil {
			t.Fatal(err)
		}
		var got int64
		for _, c := range r.Currencies {
			got += c.Unplanned.Count
		}
		if got != tt.count || r.IsComplete() != (tt.count == 0) {
			t.Errorf("%s: %d unplanned, complete %t", tt.day, got, r.IsComplete())
		}
	}
}

func TestDayToClose(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`UPDATE instance SET created_at = '2027-03-10T00:00:00Z'`)
	next := func() string {
		t.Helper()
		day, ok, err := d.db.DayToClose(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		return day.String()
	}
	d.setClock("2027-03-12T11:59:00Z") // the 11th is not over in the west
	if got := next(); got != "2027-03-10" {
		t.Errorf("first %s", got)
	}
	for _, day := range []string{"2027-03-10", "2027-03-11"} {
		date, err := billing.ParseLocalDate(day)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.db.CloseDay(t.Context(), scheduler.DayReport{Day: date}); err != nil {
			t.Fatal(err)
		}
		if day == "2027-03-10" {
			if got := next(); got != "none" {
				t.Errorf("before the 11th is over: %s", got)
			}
			d.setClock("2027-03-12T12:01:00Z")
			if got := next(); got != "2027-03-11" {
				t.Errorf("after it is over: %s", got)
			}
		}
	}
	if got := next(); got != "none" {
		t.Errorf("in the end %s", got)
	}
}

// No more of a shopper's charges than the limit are taken on one business day,
// whatever the cards; the others are postponed with the reason.
func TestPlanRun_LimitsChargesByShopper(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 5 {
		d.charge()
	}
	d.exec(`UPDATE tokens SET shopper_reference = 'shopper-of-all'`)
	other := d.charge()
	report := d.plan(scheduler.PlanRequest{Actor: "mia", ShopperDayLimit: 2})
	if report.Run.Items != 3 {
		t.Fatalf("%d items, want two of one shopper and one of another", report.Run.Items)
	}
	if got := get[int](d, `SELECT count(*) FROM run_exclusions WHERE run_id = $1 AND reason = 'shopper_limit' AND disposition = 'postponed'`, report.Run.ID); got != 3 {
		t.Errorf("%d charges are postponed, want 3", got)
	}
	if got := get[int](d, `SELECT count(*) FROM run_items WHERE charge_id = $1`, other); got != 1 {
		t.Error("another shopper's charge was left out")
	}
	if _, err := d.db.StartRun(t.Context(), report.Run.ID, "mia"); err != nil {
		t.Fatal(err)
	}
	req := d.claimRequest(report.Run.ID)
	for _, c := range d.claimDue(req).Charges {
		d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, "")
	}
	if again := d.plan(scheduler.PlanRequest{Actor: "mia", ShopperDayLimit: 2}); again.Run.Items != 0 {
		t.Errorf("%d more on the same day", again.Run.Items)
	}
}
