package scheduler

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
)

// Options are the times and sizes of a Runner. Zero values mean the defaults
// of DefaultOptions.
type Options struct {
	Lease          time.Duration   // how long a claimed charge belongs to this process
	GatewayTimeout time.Duration   // the longest a request may take, answer included
	ClaimAhead     time.Duration   // how much work, in time, is claimed before it is sent
	Flush          time.Duration   // how long an answer waits for company before it is written
	Replays        []time.Duration // waits before an unknown attempt is sent again
	ClaimSize      int             // charges a claim at most
	FlushSize      int             // answers a commit at most
	Drain          time.Duration   // how long a stop may take, from the moment that claiming ends
	// OutageLimit is how long a gateway may be out of reach before what it should
	// be sent is held for a person. 0 means to give up after a few tries, and to
	// postpone it.
	OutageLimit time.Duration
	Canary      Canary // what is sent first of each run
	// Repair is called while the database is away, such as to start a private one again.
	Repair func(context.Context) error
	// Meter is told of every answer. nil counts nothing.
	Meter Meter
}

// DefaultOptions are those of a production system.
func DefaultOptions() Options {
	return Options{
		Lease: 90 * time.Second, GatewayTimeout: 60 * time.Second, ClaimAhead: 2 * time.Second,
		Flush: 20 * time.Millisecond, Replays: []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute},
		ClaimSize: 1000, FlushSize: 500,
	}
}

// withDefaults fills what is zero.
func (o Options) withDefaults() Options {
	d := DefaultOptions()
	setDefault(&o.Lease, d.Lease)
	setDefault(&o.GatewayTimeout, d.GatewayTimeout)
	setDefault(&o.ClaimAhead, d.ClaimAhead)
	setDefault(&o.Flush, d.Flush)
	setDefault(&o.ClaimSize, d.ClaimSize)
	setDefault(&o.Drain, o.GatewayTimeout+writingTime)
	setDefault(&o.FlushSize, d.FlushSize)
	if o.Meter == nil {
		o.Meter = unmetered{}
	}
	if o.Replays == nil {
		o.Replays = d.Replays
	}
	return o
}

// writingTime is how long the writing down of the last answers may take.
const writingTime = 30 * time.Second

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// A Runner works runs: it claims their charges, sends them through bounded
// workers, and settles the answers in groups.
type Runner struct {
	store      Store
	process    ProcessID
	collectors map[string]*billing.Collector // by merchant account
	opts       Options
	logger     hclog.Logger
	atWork     atomic.Pointer[crew] // the latest, for Load
}

// NewRunner returns the runner of one process. collectors has one entry for
// each merchant account that this process can send to.
func NewRunner(store Store, process ProcessID, collectors map[string]*billing.Collector, opts Options, logger hclog.Logger) *Runner {
	return &Runner{store: store, process: process, collectors: collectors, opts: opts.withDefaults(), logger: logger.Named("runner")}
}

// A Result says how working a run ended.
type Result struct {
	Completed   bool // every item is accounted for
	Interrupted bool // the context ended first, or a person paused or aborted the run
	Stops       []AccountStop
	Progress    Progress
}

// Work starts or joins a run and works it to its end: first what a dead
// process left, then the manifest, then the unknown charges by the first
// replays. When ctx ends it takes no more, lets what was sent be answered, and
// gives back what was not sent. report, if any, is called about once a second.
func (r *Runner) Work(ctx context.Context, id RunID, actor string, report func(Progress)) (result Result, err error) {
	run, err := r.store.StartRun(ctx, id, actor)
	if err != nil {
		return Result{}, err
	}
	accounts, err := r.store.RunAccounts(ctx, id)
	if err != nil {
		return Result{}, err
	}
	var sendTo []Account
	for _, a := range accounts {
		sendTo = append(sendTo, a.Account)
	}
	c := r.newCrew(sendTo)
	if err := c.needsLanes(id, accounts); err != nil {
		return Result{}, err
	}
	w := c.newWork(run, accounts, report)
	err = c.run(ctx, func(soft, hard context.Context) (err error) {
		result, err = w.do(soft, hard)
		return err
	})
	return result, err
}

// lookEvery is how often a serving process looks for runs to work.
const lookEvery = time.Second

// Serve works every running run, whoever started it, and resolves what is
// unknown, until ctx ends. Any number of processes may serve: they share each
// run's charges, and each account's rate.
func (r *Runner) Serve(ctx context.Context) error {
	accounts, err := r.store.Accounts(ctx)
	if err != nil {
		return err
	}
	c := r.newCrew(accounts)
	return c.run(ctx, c.workAll)
}
