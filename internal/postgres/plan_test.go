package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func (d *desk) plan(req scheduler.PlanRequest) scheduler.Report {
	d.t.Helper()
	req.Actor = "mia"
	report, err := d.db.PlanRun(context.Background(), req)
	if err != nil {
		d.t.Fatal(err)
	}
	return report
}

func asOf(text string) scheduler.AsOf {
	a, err := scheduler.ParseAsOf(text)
	if err != nil {
		panic(err)
	}
	return a
}

// manifest lists a run's charges by reference.
func (d *desk) manifest(report scheduler.Report) []string {
	d.t.Helper()
	var references []string
	if err := d.sql.Select(&references, `
		SELECT c.reference FROM run_items i JOIN charges c ON c.id = i.charge_id WHERE i.run_id = $1 ORDER BY i.position`, report.Run.ID); err != nil {
		d.t.Fatal(err)
	}
	return references
}

// A charge falls due by its local date, whichever side of midnight UTC is on.
func TestPlanRun_TakesCyclesByTheirLocalDate(t *testing.T) {
	tests := []struct {
		name string
		zone string
		asOf string
		want int // cycles taken, of a monthly subscription from 31 January 2026 09:00 local
	}{
		{"the day before in Berlin", "Europe/Berlin", "2026-01-30", 0},
		{"the day itself in Berlin", "Europe/Berlin", "2026-01-31", 1},
		{"the day itself, far east", "Pacific/Kiritimati", "2026-01-31", 1},
		{"the day before, far east, though its instant lies on that day", "Pacific/Kiritimati", "2026-01-30", 0},
		{"the day itself, far west, though its instant may lie on the next", "Pacific/Pago_Pago", "2026-01-31", 1},
		{"by instant, a second early", "Europe/Berlin", "2026-01-31T07:59:59Z", 0},
		{"by instant, on time", "Europe/Berlin", "2026-01-31T08:00:00Z", 1},
		{"the end of February", "Europe/Berlin", "2026-02-28", 1}, // one a token and business day; the other waits
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.subscription("sub-1", "2026-01-31T09:00")
			zone, err := billing.LoadZone(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			anchor, _ := billing.ParseLocalDateTime("2026-01-31T09:00")
			d.exec(`UPDATE subscriptions SET timezone = $2, next_charge_at = $3 WHERE id = $1`, id, tt.zone, zone.Instant(anchor))
			report := d.plan(scheduler.PlanRequest{AsOf: asOf(tt.asOf)})
			if report.Run.Items != tt.want {
				t.Errorf("%d items, want %d", report.Run.Items, tt.want)
			}
		})
	}
}

// Missed months are caught up one a day, the oldest first, each with its reason.
func TestPlanRun_CatchesUpOneADay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscription("sub-1", "2026-01-31T09:00")
	wants := []struct {
		day       string
		items     []string
		postponed int64
	}{
		{"2026-04-10", []string{"sub-1~1"}, 2},
		{"2026-04-10", []string{"sub-1~1"}, 2}, // planned again: the same charge, not another one
		{"2026-04-11", []string{"sub-1~1"}, 2}, // nobody has charged it yet
	}
	for _, want := range wants {
		report := d.plan(scheduler.PlanRequest{AsOf: asOf(want.day)})
		if diff := cmp.Diff(want.items, d.manifest(report)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", want.day, diff)
		}
		if got := report.Totals[0].Postponed.Count; got != want.postponed {
			t.Errorf("%s: %d postponed, want %d", want.day, got, want.postponed)
		}
	}
	first := billing.ChargeID(get[int64](d, `SELECT id FROM charges WHERE reference = 'sub-1~1'`))
	d.settle(d.claim(first), billing.OutcomeAuthorised, billing.ChargePaid, "")
	// The day that charged it has had its charge of this token; the next takes the next.
	if report := d.plan(scheduler.PlanRequest{AsOf: asOf("2026-04-11")}); report.Run.Items != 0 {
		t.Errorf("a second charge of the token on one business day: %v", d.manifest(report))
	}
	if diff := cmp.Diff([]string{"sub-1~2"}, d.manifest(d.plan(scheduler.PlanRequest{AsOf: asOf("2026-04-12")}))); diff != "" {
		t.Errorf("the next day (-want +got)\n%s", diff)
	}
}

func TestPlanRun_PreviewStoresNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscription("sub-1", "2026-01-31T09:00")
	d.charge()
	count := func() string {
		return get[string](d, `
			SELECT concat_ws(' ', (SELECT count(*) FROM runs), (SELECT count(*) FROM run_items), (SELECT count(*) FROM charges),
			                 (SELECT sum(next_cycle) FROM subscriptions), (SELECT count(*) FROM audit))`)
	}
	before := count()
	preview := d.plan(scheduler.PlanRequest{AsOf: asOf("2026-02-01"), Preview: true})
	if after := count(); after != before {
		t.Errorf("a preview left something: %s before, %s after", before, after)
	}
	plan := d.plan(scheduler.PlanRequest{AsOf: asOf("2026-02-01")})
	if diff := cmp.Diff(preview.Totals, plan.Totals); diff != "" || preview.Run.Items != plan.Run.Items {
		t.Errorf("the plan differs from its preview (-preview +plan)\n%s", diff)
	}
	if preview.Run.ID != 0 || plan.Run.ID == 0 {
		t.Errorf("ids: preview %d, plan %d", preview.Run.ID, plan.Run.ID)
	}
}

func TestPlanRun_Filters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscription("sub-1", "2026-01-31T09:00")
	d.subscription("sub-2", "2026-01-31T09:00")
	d.exec(`UPDATE subscriptions SET currency = 'JPY' WHERE reference = 'sub-2'`)
	topup := get[string](d, `SELECT reference FROM charges WHERE id = $1`, d.charge())
	tests := []struct {
		name   string
		filter scheduler.Filter
		want   []string
	}{
		{"everything", scheduler.Filter{}, []string{topup, "sub-1~1", "sub-2~1"}},
		{"a model", scheduler.Filter{Model: billing.ModelUnscheduledCardOnFile}, []string{topup}},
		{"the other model", scheduler.Filter{Model: billing.ModelSubscription}, []string{"sub-1~1", "sub-2~1"}},
		{"a currency", scheduler.Filter{Currency: "JPY"}, []string{"sub-2~1"}},
		{"a merchant account", scheduler.Filter{MerchantAccount: "Other"}, nil},
		{"a subscription's reference", scheduler.Filter{References: []string{"sub-1"}}, []string{"sub-1~1"}},
		{"a charge's reference", scheduler.Filter{References: []string{topup}}, []string{topup}},
		{"an empty list", scheduler.Filter{References: []string{"nobody"}}, nil},
		{"a limit takes the oldest", scheduler.Filter{Model: billing.ModelSubscription, Limit: 1}, []string{"sub-1~1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			report := d.plan(scheduler.PlanRequest{AsOf: asOf("2026-02-01"), Filter: tt.filter})
			got := d.manifest(report)
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The hash is over exactly the bytes that are shown.
func TestPlanRun_HashesItsManifest(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.manyCharges(20)
	report := d.plan(scheduler.PlanRequest{})
	var manifest bytes.Buffer
	if err := d.db.WriteManifest(context.Background(), report.Run.ID, &manifest); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(manifest.Bytes())); report.Run.ManifestHash != want {
		t.Errorf("hash %s, the bytes give %s", report.Run.ManifestHash, want)
	}
	if lines := bytes.Count(manifest.Bytes(), []byte("\n")); lines != 20 {
		t.Errorf("%d lines, want 20", lines)
	}
	// It tells what was planned, whatever becomes of the charges.
	d.exec(`UPDATE charges SET amount_minor = 1, token_id = (SELECT min(id) FROM tokens)`)
	var later bytes.Buffer
	if err := d.db.WriteManifest(context.Background(), report.Run.ID, &later); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(manifest.Bytes(), later.Bytes()) {
		t.Error("the manifest changed with the charges")
	}
}

// Many plans at once make each cycle one charge, and never put two charges of
// one token on one day.
func TestPlanRun_ManyAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 30 {
		d.subscription(fmt.Sprintf("sub-%d", i), "2026-01-31T09:00")
	}
	var planning sync.WaitGroup
	for range 4 {
		planning.Go(func() {
			if _, err := d.db.PlanRun(context.Background(), scheduler.PlanRequest{AsOf: asOf("2026-03-31"), Actor: "mia"}); err != nil {
				t.Error(err)
			}
		})
	}
	planning.Wait()
	if got := get[int](d, `SELECT count(*) FROM charges`); got != 90 {
		t.Errorf("%d charges, want three for each subscription", got)
	}
	twice := get[int](d, `
		SELECT count(*) FROM (SELECT i.token_id FROM run_items i GROUP BY i.token_id HAVING count(DISTINCT i.charge_id) > 1) x`)
	if twice != 0 {
		t.Errorf("%d tokens have two charges in the manifests of one day", twice)
	}
}

// A subscription whose dates cannot be computed is parked with its reason, and
// the others go on.
func TestPlanRun_ParksWhatItCannotRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	bad := d.subscription("sub-bad", "2026-01-31T09:00")
	d.subscription("sub-good", "2026-01-31T09:00")
	d.exec(`UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = $1`, bad)
	report := d.plan(scheduler.PlanRequest{AsOf: asOf("2026-02-01")})
	if diff := cmp.Diff([]string{"sub-good~1"}, d.manifest(report)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := get[string](d, `SELECT state || ' ' || reason FROM subscriptions WHERE id = $1`, bad); got != "paused calendar_invalid" {
		t.Errorf("the bad one is %s", got)
	}
	if got := get[int](d, `SELECT count(*) FROM alerts`); got != 1 {
		t.Errorf("%d alerts, want 1", got)
	}
}

// Nobody can charge a live account ahead of its time; a preview may look.
func TestPlanRun_LiveAccountsHaveNoFuture(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.subscription("sub-1", "2026-01-31T09:00")
	d.exec(`UPDATE merchant_accounts SET environment = 'live'`)
	now := get[time.Time](d, `SELECT now()`)
	due := get[int](d, `SELECT count(*) FROM generate_series(0, 600) n WHERE timestamp '2026-01-31 08:00' + n * interval '1 month' <= now()`)
	d.plan(scheduler.PlanRequest{AsOf: scheduler.AsOf{Instant: now.AddDate(1, 0, 0)}})
	if got := get[int](d, `SELECT count(*) FROM charges`); got != due {
		t.Errorf("%d charges exist, %d cycles have fallen due", got, due)
	}
	if got := get[int](d, `SELECT count(*) FROM charges c JOIN run_items i ON i.charge_id = c.id WHERE c.due_at > now()`); got != 0 {
		t.Errorf("%d charges of the future in the manifest", got)
	}
}
