package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
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
	// Repair is called while the database is away, such as to start a private one again.
	Repair func(context.Context) error
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
	setDefault(&o.FlushSize, d.FlushSize)
	if o.Replays == nil {
		o.Replays = d.Replays
	}
	return o
}

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

// flushers is how many groups of answers may be committing at once: while one
// waits for its commit the next one fills.
const flushers = 2

// drainTime bounds the writing down of answers after everything has stopped.
const drainTime = 30 * time.Second

// Work starts or joins a run and works it to its end: first what a dead
// process left, then the manifest, then the unknown charges by the first
// replays. When ctx ends it takes no more, lets what was sent be answered, and
// gives back what was not sent. report, if any, is called about once a second.
func (r *Runner) Work(ctx context.Context, id RunID, actor string, report func(Progress)) (Result, error) {
	run, err := r.store.StartRun(ctx, id, actor)
	if err != nil {
		return Result{}, err
	}
	accounts, err := r.store.RunAccounts(ctx, id)
	if err != nil {
		return Result{}, err
	}
	w := &work{Runner: r, run: run, tally: newTally(run), report: report, logger: r.logger.With("run_id", id)}
	for _, account := range accounts {
		collector := r.collectors[account.MerchantAccount]
		if collector == nil && account.Last == 0 {
			continue // only something to resolve, which another process can
		}
		if collector == nil {
			return Result{}, fmt.Errorf("merchant account %s of run %d is not configured here: add it to merchant_accounts: %w",
				account.MerchantAccount, id, billing.ErrInvalid)
		}
		w.lanes = append(w.lanes, newLane(account, collector))
	}
	return w.do(ctx)
}

// work is one run in the hands of one process.
type work struct {
	*Runner
	run     Run
	lanes   []*lane
	flusher *flusher
	tally   *tally
	report  func(Progress)
	logger  hclog.Logger
}

func (w *work) do(ctx context.Context) (Result, error) {
	// hard outlives ctx: what was sent is answered and written down.
	hard, cancelHard := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelHard()
	soft, stop := context.WithCancelCause(ctx) // ends claiming and starting calls
	defer stop(nil)

	w.flusher = newFlusher(w.store, w.logger, w.opts, w.tally)
	var writing, sending, steering, feeding sync.WaitGroup
	for range flushers {
		writing.Go(func() { w.flusher.run(hard) })
	}
	for _, l := range w.lanes {
		for range l.account.MaxInFlight {
			sending.Go(func() { w.send(hard, l) })
		}
	}
	steering.Go(func() { w.control(soft, hard, stop) })
	steering.Go(func() { w.resolve(soft, hard) })
	for _, l := range w.lanes {
		feeding.Go(func() {
			if err := w.feed(soft, hard, l); err != nil && soft.Err() == nil {
				stop(err)
			}
		})
	}
	// From the moment that claiming ends, everything has a bounded time to end.
	stopClock := context.AfterFunc(soft, func() {
		time.AfterFunc(w.opts.GatewayTimeout+drainTime, cancelHard)
	})
	defer stopClock()
	feeding.Wait()
	if soft.Err() == nil {
		w.awaitReplays(soft)
	}
	cause := context.Cause(soft)
	stop(nil)
	steering.Wait()

	w.drain(hard)
	sending.Wait()
	close(w.flusher.answers)
	writing.Wait()
	return w.finish(hard, cause)
}

// drain gives back what was not sent and lets the workers end.
func (w *work) drain(ctx context.Context) {
	for _, l := range w.lanes {
		l.close()
	}
	for _, l := range w.lanes {
		w.flusher.returnUnsent(ctx, l.removeAll())
	}
}

func (w *work) finish(ctx context.Context, cause error) (Result, error) {
	result := Result{Progress: w.tally.now()}
	for _, l := range w.lanes {
		if stopped, disposition := l.stopReason(); stopped != nil {
			// Once more, for what came back unsent after the stop.
			if err := w.store.StopAccount(ctx, w.run.ID, *stopped, disposition); err != nil {
				return result, err
			}
			result.Stops = append(result.Stops, *stopped)
		}
		if err := w.store.ReleaseSlots(ctx, w.process, l.account.MerchantAccount); err != nil {
			return result, err
		}
	}
	if claims := w.flusher.takeSettled(); len(claims) > 0 {
		if err := w.store.GiveBack(ctx, nil, claims); err != nil {
			return result, err
		}
	}
	switch {
	case cause == nil:
	case errors.Is(cause, errRunStopped):
		result.Interrupted = true
		_, err := w.store.FinishRun(ctx, w.run.ID) // accounts for what came back, if it was aborted
		return result, err
	case errors.Is(cause, context.Canceled):
		result.Interrupted = true
		return result, nil
	default:
		return result, cause
	}
	var err error
	result.Completed, err = w.store.FinishRun(ctx, w.run.ID)
	return result, err
}

// send is one worker: it sends charges of a lane, one at a time.
func (w *work) send(ctx context.Context, l *lane) {
	var d deadline
	defer d.close()
	for p := l.take(); p != nil; p = l.take() {
		now := time.Now()
		if now.After(p.SendBy) {
			// Too little of the lease is left for a whole request.
			w.flusher.returnUnsent(ctx, []*parcel{p})
			l.done()
			continue
		}
		p.settlement = l.collector.Collect(d.begin(ctx, w.opts.GatewayTimeout), p.ClaimedCharge)
		d.end()
		w.heed(ctx, l, &p.settlement)
		w.flusher.hand(p)
		l.done()
	}
}

// heed does what an answer demands of the whole account.
func (w *work) heed(ctx context.Context, l *lane, s *billing.Settlement) {
	brake, wait := l.observe(s)
	switch brake {
	case brakeBackOff:
		w.logger.Warn("stepping back from the gateway", "merchant_account", l.account.MerchantAccount, "wait", wait, "error", s.Detail)
		if err := w.store.BackOff(ctx, l.account.MerchantAccount, wait); err != nil {
			w.logger.Warn("other processes could not be told to step back", "error", err)
		}
		w.flusher.returnUnsent(ctx, l.removeAll())
	case brakeStop:
		reason, disposition := billing.ReasonAccountRefused, "skipped"
		if s.Stop == billing.ScopeNow || s.Outcome == billing.OutcomeUnknown {
			reason, disposition = billing.ReasonGatewayUnavailable, "postponed"
		}
		w.stopLane(ctx, l, reason, s.Detail, disposition)
	}
}

func (w *work) stopLane(ctx context.Context, l *lane, reason billing.Reason, detail, disposition string) {
	if !l.stop(reason, detail, disposition) {
		return
	}
	w.logger.Error("nothing more is sent to this account in this run", "merchant_account", l.account.MerchantAccount, "reason", reason, "error", detail)
	w.flusher.returnUnsent(ctx, l.removeAll())
	stopped, _ := l.stopReason()
	if err := w.store.StopAccount(ctx, w.run.ID, *stopped, disposition); err != nil {
		w.logger.Warn("the stop is stored when the run ends", "error", err)
	}
	l.signalRoom()
}

// newParcels makes parcels of a claim's charges. claimed is the moment before
// the claim was sent: the lease cannot have begun earlier.
func (w *work) newParcels(res ClaimResult, claimed, answered time.Time) []*parcel {
	b := &batch{id: res.ID}
	b.open.Store(int32(len(res.Charges)))
	made := make([]parcel, len(res.Charges))
	parcels := make([]*parcel, len(res.Charges))
	for i := range res.Charges {
		c := &res.Charges[i]
		c.SendBy = claimed.Add(w.opts.Lease - w.opts.GatewayTimeout)
		if res.SendEvery > 0 {
			c.SendAt = answered.Add(res.SendAfter + time.Duration(i)*res.SendEvery)
		}
		made[i] = parcel{ClaimedCharge: c, batch: b}
		parcels[i] = &made[i]
	}
	return parcels
}

// newClaimRequest asks for the next charges of a lane's part of the manifest.
func (w *work) newClaimRequest(l *lane, after, size int) ClaimRequest {
	return ClaimRequest{
		Token: uuid.Must(uuid.NewV7()), Process: w.process, RunID: w.run.ID, MerchantAccount: l.account.MerchantAccount,
		After: after, Last: l.account.Last, Limit: size, WireVersion: l.collector.WireVersion(), Endpoint: l.collector.Endpoint(),
		Lease: w.opts.Lease, ClaimAhead: w.opts.ClaimAhead, SlotsHeld: l.held(),
	}
}
