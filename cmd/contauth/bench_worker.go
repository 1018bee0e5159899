package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/bench"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/scheduler"
)

// newBenchWorkerCommand is what contauth bench starts for each thing that it
// measures: a process of the same kind for the pipeline and for its peers.
func newBenchWorkerCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:    "bench-worker",
		Short:  "One measured process of contauth bench",
		Hidden: true,
		Args:   exactArgs(0, "a job on standard input"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var job bench.Job
			if err := json.NewDecoder(e.stdin).Decode(&job); err != nil {
				return usageError("bench-worker: read the job: %w", err)
			}
			sample, err := e.benchWork(cmd.Context(), job)
			if err != nil {
				return err
			}
			return e.printJSON(sample)
		},
	}
}

func (e *env) benchWork(ctx context.Context, job bench.Job) (bench.Sample, error) {
	if job.CPUProfile != "" {
		file, err := os.Create(job.CPUProfile)
		if err != nil {
			return bench.Sample{}, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return bench.Sample{}, err
		}
		defer pprof.StopCPUProfile()
	}
	limitMemory(e.lookup, runMemory(job.Series.InFlight)) // the pipeline and its peers alike
	switch job.Series.Kind {
	case bench.KindRun:
		return e.benchRun(ctx, job)
	case bench.KindCeiling:
		return benchCeiling(ctx, e, job)
	case bench.KindBare:
		return benchBare(ctx, e, job)
	case bench.KindNaive:
		return e.benchNaive(ctx, job)
	case bench.KindPlan:
		return e.benchPlan(ctx, job)
	}
	return bench.Sample{}, usageError("bench-worker: %q is no kind of job", job.Series.Kind)
}

func newMeter(job bench.Job) *bench.Meter {
	server := bench.ProcessTree{Proc: os.DirFS("/proc"), PID: job.Server}
	return &bench.Meter{Warm: job.Warm, Window: job.Window, Probe: server.Probe}
}

// benchRun works a run as run start does, until the window is full.
func (e *env) benchRun(ctx context.Context, job bench.Job) (bench.Sample, error) {
	s, err := e.openWith(ctx, benchConfig(job.DSN, job.BaseURL, job.Accounts, job.Series.InFlight))
	if err != nil {
		return bench.Sample{}, err
	}
	defer s.close()
	runner, err := s.newRunner(ctx, e.logger(), nil)
	if err != nil {
		return bench.Sample{}, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	meter := newMeter(job)
	if !job.Series.Whole {
		meter.Stop = stop
	} else {
		meter.Window = 24 * time.Hour // it ends when the run does
	}
	meter.Begin()
	result, err := runner.Work(working, scheduler.RunID(job.RunID), "bench", func(p scheduler.Progress) {
		meter.Observe(time.Now(), p.Done())
	})
	done := result.Progress.Done()
	span := meter.End(time.Now(), done)
	if err != nil {
		return bench.Sample{}, err
	}
	if p := result.Progress; p.Charged != done {
		return bench.Sample{}, fmt.Errorf("of %d charges %d were declined, %d unknown and %d rejected: the sandbox charges all of them", done, p.Declined, p.Unknown, p.Rejected)
	}
	return bench.NewSample(done, span), nil
}

// A ceilingClient posts charges that no database knows.
type ceilingClient struct {
	gateways []billing.Gateway
	accounts []config.MerchantAccount
	prefix   string
}

func newCeilingClient(e *env, job bench.Job) *ceilingClient {
	// Any account may for a moment have all that is in flight: none dials anew.
	inFlight := job.Series.InFlight * len(job.Accounts)
	c := &ceilingClient{prefix: job.Prefix, accounts: benchConfig("", job.BaseURL, job.Accounts, inFlight).MerchantAccounts}
	for _, a := range c.accounts {
		c.gateways = append(c.gateways, newGateway(a, e.logger()))
	}
	return c
}

// keyLength is that of a derived idempotency key.
const keyLength = 43

// request makes the request number n. It has the size of a real one, and less
// work in it: no key is derived.
func (c *ceilingClient) request(n int64) billing.ChargeRequest {
	account := &c.accounts[n%int64(len(c.accounts))]
	number := strconv.FormatInt(1_000_000_000+n, 10)
	reference := c.prefix + number
	return billing.ChargeRequest{
		Key:             reference + strings.Repeat("k", max(0, keyLength-len(reference))),
		MerchantAccount: account.ID, Reference: reference, Attempt: 1,
		Amount: billing.Money{Minor: 100 + n%9900, Currency: "EUR"}, Token: "TOKEN0" + number,
		ShopperReference: "shopper-" + number, PaymentMethod: "scheme",
		Model: billing.ModelUnscheduledCardOnFile, ReturnURL: account.ReturnURL,
	}
}

func (c *ceilingClient) charge(ctx context.Context, n int64) error {
	reply, err := c.gateways[n%int64(len(c.gateways))].Charge(ctx, c.request(n))
	if err == nil && reply.Outcome != billing.OutcomeAuthorised {
		err = fmt.Errorf("payment %d is %s", n, reply.Outcome)
	}
	return err
}

// benchCeiling is what the real client does without a database.
func benchCeiling(ctx context.Context, e *env, job bench.Job) (bench.Sample, error) {
	client := newCeilingClient(e, job)
	return drive(ctx, job, client.charge)
}

// benchBare is what net/http does without a client.
func benchBare(ctx context.Context, e *env, job bench.Job) (bench.Sample, error) {
	c := newCeilingClient(e, job)
	var recorder bench.Recorder
	client := adyen.New(&http.Client{Transport: &recorder}, adyen.Options{
		MerchantAccount: c.accounts[0].ID, BaseURL: job.BaseURL, APIKey: c.accounts[0].APIKey,
	}, e.logger())
	if _, err := client.Charge(ctx, c.request(0)); recorder.URL == nil {
		return bench.Sample{}, fmt.Errorf("prepare a body: %w", err)
	}
	bare := bench.Bare{
		Transport: gateway.NewHTTPClient(gateway.Options{MaxConns: job.Series.InFlight}).Transport,
		URL:       recorder.URL, Header: recorder.Header, Body: recorder.Body, KeyPrefix: job.Prefix + "bare-key-",
	}
	return drive(ctx, job, bare.Post)
}

// benchNaive charges one by one.
func (e *env) benchNaive(ctx context.Context, job bench.Job) (bench.Sample, error) {
	cfg := benchConfig(job.DSN, job.BaseURL, job.Accounts, job.Series.InFlight*len(job.Accounts))
	s, err := e.openWith(ctx, cfg)
	if err != nil {
		return bench.Sample{}, err
	}
	collectors, err := s.collectors(ctx, e.logger())
	s.close()
	if err != nil {
		return bench.Sample{}, err
	}
	db, err := sql.Open("postgres", job.DSN)
	if err != nil {
		return bench.Sample{}, err
	}
	defer db.Close()
	db.SetMaxOpenConns(job.Series.InFlight)
	db.SetMaxIdleConns(job.Series.InFlight)
	naive := bench.Naive{DB: db, Collectors: collectors, RunID: job.RunID}
	if err := naive.Prepare(ctx); err != nil {
		return bench.Sample{}, err
	}
	return drive(ctx, job, func(ctx context.Context, _ int64) error { return naive.Charge(ctx) })
}

// benchPlan makes due cycles into charges. The plan's filter wants none of
// them, so that hardly anything but their making is timed.
func (e *env) benchPlan(ctx context.Context, job bench.Job) (bench.Sample, error) {
	s, err := e.openWith(ctx, benchConfig(job.DSN, nowhere, job.Accounts, len(job.Accounts)))
	if err != nil {
		return bench.Sample{}, err
	}
	defer s.close()
	count := func() (n int64, err error) {
		const query = `SELECT count(*) FROM charges WHERE subscription_id IS NOT NULL`
		if err := s.db.SQL().QueryRowContext(ctx, query).Scan(&n); err != nil {
			return 0, fmt.Errorf("count cycles: %w", err)
		}
		return n, nil
	}
	before, err := count()
	if err != nil {
		return bench.Sample{}, err
	}
	meter := newMeter(job)
	meter.Begin()
	_, err = s.db.PlanRun(ctx, scheduler.PlanRequest{
		Actor: "bench", AsOf: scheduler.AsOf{Instant: job.AsOf.UTC()},
		Filter: scheduler.Filter{Model: billing.ModelUnscheduledCardOnFile},
	})
	ended := time.Now()
	if err != nil {
		return bench.Sample{}, err
	}
	after, err := count()
	if err != nil {
		return bench.Sample{}, err
	}
	return bench.NewSample(after-before, meter.End(ended, after-before)), nil
}

// drive measures do.
func drive(ctx context.Context, job bench.Job, do func(context.Context, int64) error) (bench.Sample, error) {
	done, span, err := bench.Drive(ctx, job.Series.InFlight, newMeter(job), do)
	return bench.NewSample(done, span), err
}
