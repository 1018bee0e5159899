package metrics

import (
	"context"
	"database/sql"
	"net/http"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// Metrics counts what a process learns, and shows it together with what others
// know. It implements scheduler.Meter.
type Metrics struct {
	registry *prometheus.Registry
	logger   hclog.Logger
	answers  *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

var _ scheduler.Meter = (*Metrics)(nil)

// New returns the metrics of a process of this version that sends to these
// merchant accounts.
func New(version string, merchantAccounts []string, logger hclog.Logger) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		logger:   logger.Named("metrics"),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "contauth_answers_total",
			Help: "What requests of this process led to, by outcome and, for refusals, by decline class.",
		}, []string{"merchant_account", "outcome", "class"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "contauth_attempt_duration_seconds",
			Help:    "How long requests of this process took, from sending to the last byte of the answer.",
			Buckets: []float64{.025, .05, .1, .2, .4, .8, 1.5, 3, 6, 12, 30, 60},
		}, []string{"merchant_account"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "contauth_build_info", Help: "Always 1; the labels tell what this process is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.answers, m.took, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, account := range merchantAccounts {
		m.announce(account)
	}
	return m
}

// announce shows an account's counters at 0 before anything happened: a rate needs
// a number to begin with.
func (m *Metrics) announce(merchantAccount string) {
	m.took.WithLabelValues(merchantAccount)
	for _, outcome := range []billing.Outcome{billing.OutcomeAuthorised, billing.OutcomePending, billing.OutcomeNotSent, billing.OutcomeNotProcessed, billing.OutcomeUnknown} {
		m.answers.WithLabelValues(merchantAccount, string(outcome), string(billing.DeclineNone))
	}
	for _, class := range []billing.DeclineClass{billing.DeclineSoft, billing.DeclineHard, billing.DeclineTokenInvalid, billing.DeclineFraud, billing.DeclineTechnical, billing.DeclineConfig} {
		m.answers.WithLabelValues(merchantAccount, string(billing.OutcomeRefused), string(class))
	}
}

// Answered implements scheduler.Meter.
func (m *Metrics) Answered(merchantAccount string, s *billing.Settlement, took time.Duration) {
	m.answers.WithLabelValues(merchantAccount, string(s.Outcome), string(s.Reply.Class)).Inc()
	m.took.WithLabelValues(merchantAccount).Observe(took.Seconds())
}

// Sources are asked when somebody looks.
type Sources struct {
	Load    func() scheduler.Load                            // of this process
	Figures func(context.Context) (scheduler.Figures, error) // of the database; one call at a time
	Ready   func(context.Context) error                      // as /readyz answers
	Pool    *sql.DB
}

// Watch adds what the sources tell. It is called once.
func (m *Metrics) Watch(s Sources) {
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "contauth_ready", Help: "1 if this process does its work, as /readyz answers; else 0.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), figuresTimeout)
		defer cancel()
		if s.Ready(ctx) != nil {
			return 0
		}
		return 1
	})
	m.registry.MustRegister(ready, loadCollector{s.Load}, newBook(s.Figures, m.logger), collectors.NewDBStatsCollector(s.Pool, "contauth"))
}

// maxScrapes is how many may look at once; each waits for the same reading.
const maxScrapes = 4

// Handler answers with all metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
		ErrorLog: m.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
	})
}
