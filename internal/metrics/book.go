package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contauth/contauth/scheduler"
)

// The database is asked this often at most, however often somebody looks, and
// has this long to answer.
const (
	figuresEvery   = 15 * time.Second
	figuresTimeout = 5 * time.Second
)

var (
	dueLag        = describe("due_lag_seconds", "By how much, in business time, the oldest due charge is late that is in no unfinished run.")
	cycleLag      = describe("cycle_lag_seconds", "By how much, in business time, the oldest cycle is late that is no charge yet.")
	fireLag       = describe("fire_lag_seconds", "By how much, in business time, the oldest fire of a schedule is late that has no run yet.")
	openCharges   = describe("open_charges", "Charges that are not finished.", "merchant_account", "state")
	unknownCount  = describe("unknown_charges", "Charges that the gateway may or may not have charged.", "merchant_account", "currency", "reason")
	unknownAmount = describe("unknown_amount_minor", "Money of unknown charges, in ISO 4217 minor units.", "merchant_account", "currency", "reason")
	unknownOldest = describe("unknown_oldest_seconds", "How long ago the oldest attempt with an unknown outcome was started.")
	runs          = describe("runs", "Runs that are not finished.", "state")
	runIdle       = describe("run_idle_seconds", "For how long nobody has worked the running run that was left alone the longest.")
	claims        = describe("claims_open", "Batches of leased charges.")
	leaseOverdue  = describe("lease_overdue_seconds", "How long ago the first of the open leases ended; 0 if none has.")
	backOff       = describe("account_backoff_seconds", "For how long no process claims for the account.", "merchant_account")
	inboxEvents   = describe("inbox_events", "Webhook events that are not applied; counting ends at 20,000.", "state")
	inboxOldest   = describe("inbox_oldest_seconds", "How long ago the oldest of them arrived.", "state")
	alertsOpen    = describe("alerts_open", "Alerts of the database that nobody closed; counting ends at 20,000.")
	figuresFailed = describe("figures_failed", "1 if the database could not be asked for these figures; else 0.")
)

// A book shows what the database says about it.
type book struct {
	read   func(context.Context) (scheduler.Figures, error)
	logger hclog.Logger

	mu      sync.Mutex
	readAt  time.Time
	figures scheduler.Figures
	err     error
}

func newBook(read func(context.Context) (scheduler.Figures, error), logger hclog.Logger) *book {
	return &book{read: read, logger: logger}
}

// latest returns the figures of the last reading, after a new one if that is old.
// Figures of a reading that failed are none: old ones would look like new ones.
func (b *book) latest() (scheduler.Figures, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readAt.IsZero() || time.Since(b.readAt) >= figuresEvery {
		ctx, cancel := context.WithTimeout(context.Background(), figuresTimeout)
		defer cancel()
		b.readAt = time.Now()
		if b.figures, b.err = b.read(ctx); b.err != nil {
			b.logger.Warn("cannot read figures for metrics", "error", b.err)
		}
	}
	return b.figures, b.err
}

// Describe implements prometheus.Collector.
func (*book) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		dueLag, cycleLag, fireLag, openCharges, unknownCount, unknownAmount, unknownOldest, runs, runIdle,
		claims, leaseOverdue, backOff, inboxEvents, inboxOldest, alertsOpen, figuresFailed,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (b *book) Collect(metrics chan<- prometheus.Metric) {
	f, err := b.latest()
	if err != nil {
		metrics <- gauge(figuresFailed, 1)
		return
	}
	metrics <- gauge(figuresFailed, 0)
	metrics <- gauge(cycleLag, f.CycleLag.Seconds())
	metrics <- gauge(fireLag, f.FireLag.Seconds())
	metrics <- gauge(runIdle, f.RunIdle.Seconds())
	metrics <- gauge(claims, float64(f.Claims))
	metrics <- gauge(leaseOverdue, f.LeaseOverdue.Seconds())
	metrics <- gauge(alertsOpen, float64(f.Alerts))
	for _, a := range f.Accounts {
		metrics <- gauge(backOff, a.BackOff.Seconds(), a.MerchantAccount)
	}
	for _, i := range f.Inbox {
		metrics <- gauge(inboxEvents, float64(i.Count), i.State)
		metrics <- gauge(inboxOldest, i.Oldest.Seconds(), i.State)
	}
	collectRuns(metrics, f.Runs)
	if f.OpenKnown {
		collectOpen(metrics, f)
	}
}

// collectRuns shows each state, also with 0: an absent number is none.
func collectRuns(metrics chan<- prometheus.Metric, figures []scheduler.RunFigure) {
	for _, state := range []scheduler.RunState{scheduler.RunPlanned, scheduler.RunAwaitingApproval, scheduler.RunRunning, scheduler.RunPaused} {
		count := 0
		for _, r := range figures {
			if r.State == state {
				count = r.Count
			}
		}
		metrics <- gauge(runs, float64(count), string(state))
	}
}

func collectOpen(metrics chan<- prometheus.Metric, f scheduler.Figures) {
	metrics <- gauge(dueLag, f.DueLag.Seconds())
	metrics <- gauge(unknownOldest, f.UnknownOldest.Seconds())
	for _, o := range f.OpenCharges {
		metrics <- gauge(openCharges, float64(o.Count), o.MerchantAccount, string(o.State))
	}
	for _, u := range f.Unknown {
		metrics <- gauge(unknownCount, float64(u.Count), u.MerchantAccount, u.Currency, string(u.Reason))
		metrics <- gauge(unknownAmount, float64(u.AmountMinor), u.MerchantAccount, u.Currency, string(u.Reason))
	}
}
