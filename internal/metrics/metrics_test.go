package metrics_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/logtest"
	"github.com/contauth/contauth/internal/metrics"
	"github.com/contauth/contauth/scheduler"
)

// full has something of everything.
var full = scheduler.Figures{
	OpenKnown:     true,
	OpenCharges:   []scheduler.OpenFigure{{MerchantAccount: "DemoEU", State: billing.ChargeDue, Count: 7}, {MerchantAccount: "DemoEU", State: billing.ChargeUnknown, Count: 2}},
	Unknown:       []scheduler.UnknownFigure{{MerchantAccount: "DemoEU", Currency: "EUR", Reason: billing.ReasonAnswerMissing, Count: 2, AmountMinor: 2468}},
	UnknownOldest: time.Minute, DueLag: 2 * time.Minute, CycleLag: 3 * time.Minute, FireLag: 4 * time.Minute,
	Runs: []scheduler.RunFigure{{State: scheduler.RunRunning, Count: 1}}, RunIdle: 5 * time.Second,
	Claims: 3, LeaseOverdue: 6 * time.Second,
	Accounts: []scheduler.AccountFigure{{MerchantAccount: "DemoEU", BackOff: 8 * time.Second}},
	Inbox:    []scheduler.InboxFigure{{State: "stored", Count: 4, Oldest: 9 * time.Second}, {State: "quarantined", Count: 1, Oldest: time.Hour}},
	Alerts:   5,
}

var fullLoad = scheduler.Load{Unwritten: 6, Lanes: []scheduler.LaneLoad{
	{MerchantAccount: "DemoEU", Queued: 10, InFlight: 4, Limit: 5, Share: 64, Outage: 90 * time.Second},
}}

// watched returns metrics whose sources say what is given.
func watched(t *testing.T, s metrics.Sources) *metrics.Metrics {
	t.Helper()
	m := metrics.New("v1.2.3", []string{"DemoEU"}, logtest.New(t))
	pool, err := sql.Open("postgres", "host=/nowhere sslmode=disable") // asked for its sizes only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	if s.Pool = pool; s.Load == nil {
		s.Load = func() scheduler.Load { return fullLoad }
	}
	if s.Figures == nil {
		s.Figures = func(context.Context) (scheduler.Figures, error) { return full, nil }
	}
	if s.Ready == nil {
		s.Ready = func(context.Context) error { return nil }
	}
	m.Watch(s)
	return m
}

// scrape returns what /metrics answers.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// expect looks for whole lines.
func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMetrics_ShowWhatTheSourcesSay(t *testing.T) {
	m := watched(t, metrics.Sources{})
	m.Answered("DemoEU", &billing.Settlement{Outcome: billing.OutcomeAuthorised}, 300*time.Millisecond)
	m.Answered("DemoEU", &billing.Settlement{Outcome: billing.OutcomeRefused, Reply: billing.Reply{Class: billing.DeclineSoft}}, 3*time.Second)
	expect(t, scrape(t, m),
		`contauth_answers_total{class="",merchant_account="DemoEU",outcome="authorised"} 1`,
		`contauth_answers_total{class="soft",merchant_account="DemoEU",outcome="refused"} 1`,
		`contauth_answers_total{class="fraud",merchant_account="DemoEU",outcome="refused"} 0`,
		`contauth_attempt_duration_seconds_bucket{merchant_account="DemoEU",le="0.4"} 1`,
		`contauth_attempt_duration_seconds_count{merchant_account="DemoEU"} 2`,
		`contauth_ready 1`,
		`contauth_lane_queued{merchant_account="DemoEU"} 10`,
		`contauth_lane_in_flight{merchant_account="DemoEU"} 4`,
		`contauth_lane_limit{merchant_account="DemoEU"} 5`,
		`contauth_lane_share{merchant_account="DemoEU"} 64`,
		`contauth_account_outage_seconds{merchant_account="DemoEU"} 90`,
		`contauth_answers_unwritten 6`,
		`contauth_open_charges{merchant_account="DemoEU",state="due"} 7`,
		`contauth_unknown_charges{currency="EUR",merchant_account="DemoEU",reason="answer_missing"} 2`,
		`contauth_unknown_amount_minor{currency="EUR",merchant_account="DemoEU",reason="answer_missing"} 2468`,
		`contauth_unknown_oldest_seconds 60`,
		`contauth_due_lag_seconds 120`,
		`contauth_cycle_lag_seconds 180`,
		`contauth_fire_lag_seconds 240`,
		`contauth_runs{state="running"} 1`,
		`contauth_runs{state="paused"} 0`,
		`contauth_run_idle_seconds 5`,
		`contauth_claims_open 3`,
		`contauth_lease_overdue_seconds 6`,
		`contauth_account_backoff_seconds{merchant_account="DemoEU"} 8`,
		`contauth_inbox_events{state="stored"} 4`,
		`contauth_inbox_oldest_seconds{state="quarantined"} 3600`,
		`contauth_alerts_open 5`,
		`contauth_figures_failed 0`,
		`go_sql_in_use_connections{db_name="contauth"} 0`,
	)
}

// What is not known is left out: a 0 would be good news.
func TestMetrics_LeaveOutWhatIsNotKnown(t *testing.T) {
	tests := []struct {
		name    string
		figures scheduler.Figures
		err     error
		failed  string
		absent  []string
	}{
		{"no reading succeeded", scheduler.Figures{}, errors.New("database away"), "1", []string{"contauth_due_lag", "contauth_unknown", "contauth_fire_lag", "contauth_alerts_open"}},
		{"the first pass over what is open is not over", scheduler.Figures{}, nil, "0", []string{"contauth_due_lag", "contauth_unknown", "contauth_open_charges"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := scrape(t, watched(t, metrics.Sources{
				Figures: func(context.Context) (scheduler.Figures, error) { return tt.figures, tt.err },
				Ready:   func(context.Context) error { return tt.err },
			}))
			expect(t, text, "contauth_figures_failed "+tt.failed, "contauth_answers_unwritten 6")
			for _, name := range tt.absent {
				if strings.Contains(text, "\n"+name) {
					t.Errorf("%s is there:\n%s", name, text)
				}
			}
			if ready := strings.Contains(text, "contauth_ready 1\n"); ready != (tt.err == nil) {
				t.Errorf("ready: %v", ready)
			}
		})
	}
}

// However often somebody looks, the database is asked once in 15 seconds.
func TestMetrics_AskTheDatabaseSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		book := metrics.NewBook(func(ctx context.Context) (scheduler.Figures, error) {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("the database may take as long as it wants")
			}
			asked.Add(1)
			return full, nil
		}, logtest.New(t))
		for _, step := range []struct {
			wait time.Duration
			want int32
		}{{0, 1}, {0, 1}, {14 * time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {time.Minute, 3}} {
			time.Sleep(step.wait)
			for range 3 {
				go book.Latest()
			}
			synctest.Wait()
			if got := asked.Load(); got != step.want {
				t.Errorf("asked %d times, want %d", got, step.want)
			}
		}
	})
}

// Every answer is counted by its sender: that must cost nothing worth a thought.
func TestAnswered_AllocatesNothing(t *testing.T) {
	m := metrics.New("", []string{"DemoEU"}, logtest.New(t))
	s := &billing.Settlement{Outcome: billing.OutcomeRefused, Reply: billing.Reply{Class: billing.DeclineSoft}}
	if n := testing.AllocsPerRun(100, func() { m.Answered("DemoEU", s, time.Second) }); n != 0 {
		t.Errorf("%v allocations an answer", n)
	}
}

func BenchmarkAnswered(b *testing.B) {
	m := metrics.New("", []string{"DemoEU"}, logtest.New(b))
	s := &billing.Settlement{Outcome: billing.OutcomeRefused, Reply: billing.Reply{Class: billing.DeclineSoft}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Answered("DemoEU", s, time.Second)
		}
	})
}
