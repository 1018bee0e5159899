package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
)

// work is one run in the hands of one process.
type work struct {
	*crew
	run    Run
	parts  []*part // at the accounts that this process can send to
	tally  *tally
	report func(Progress)
	logger hclog.Logger
	shared bool                    // other processes are expected to work the run
	stop   context.CancelCauseFunc // ends claiming; set before anybody sees the work
}

func (c *crew) newWork(run Run, accounts []RunAccount, report func(Progress)) *work {
	w := &work{crew: c, run: run, tally: newTally(run), report: report, logger: c.logger.With("run_id", run.ID)}
	for _, account := range accounts {
		if l := c.lanes[account.MerchantAccount]; l != nil && account.Last > 0 {
			w.parts = append(w.parts, newPart(l, account.First, account.Last))
		}
	}
	return w
}

// do works the run until every item is accounted for, it is stopped, or soft
// ends. What it sent is then answered and written down, and what it did not send
// is given back.
func (w *work) do(soft, hard context.Context) (Result, error) {
	ctx, stop := context.WithCancelCause(soft)
	defer stop(nil)
	w.stop = stop
	w.begin(w)
	defer w.end(w)

	var feeding sync.WaitGroup
	for _, p := range w.parts {
		feeding.Go(func() {
			if err := w.feed(ctx, hard, p); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	feeding.Wait()
	if !w.shared && ctx.Err() == nil {
		w.awaitReplays(ctx)
	}
	var cause error
	if soft.Err() == nil {
		cause = context.Cause(ctx)
	}
	stop(nil)
	for _, p := range w.parts {
		w.giveBack(hard, p.lane.remove(func(q *parcel) bool { return q.part == p }))
	}
	for _, p := range w.parts {
		p.awaitIdle(hard)
	}
	w.flusher.awaitSaved(hard)
	return w.finish(soft, hard, cause)
}

// finish accounts for the run after everything of it has been written down.
func (w *work) finish(soft, hard context.Context, cause error) (Result, error) {
	result := Result{Progress: w.tally.now()}
	if hard.Err() != nil {
		result.Interrupted = true
		return result, nil
	}
	for _, p := range w.parts {
		if stopped, disposition := p.stopReason(); stopped != nil {
			// Once more, for what came back unsent after the stop.
			if err := w.store.StopAccount(hard, w.run.ID, *stopped, disposition); err != nil {
				return result, err
			}
			result.Stops = append(result.Stops, *stopped)
		}
	}
	switch {
	case soft.Err() != nil:
		result.Interrupted = true
		return result, nil
	case errors.Is(cause, errRunStopped):
		result.Interrupted = true
		_, err := w.store.FinishRun(hard, w.run.ID) // accounts for what came back, if it was aborted
		return result, err
	case cause != nil:
		return result, cause
	}
	var err error
	result.Completed, err = w.store.FinishRun(hard, w.run.ID)
	return result, err
}

// stopPart ends a part and accounts for the items that nobody holds.
func (w *work) stopPart(ctx context.Context, p *part, reason billing.Reason, detail, disposition string) {
	if !p.stop(reason, detail, disposition) {
		return
	}
	w.logger.Error("nothing more is sent to this account in this run", "merchant_account", p.lane.account.MerchantAccount, "reason", reason, "error", detail)
	w.giveBack(ctx, p.lane.remove(func(q *parcel) bool { return q.part == p }))
	stopped, _ := p.stopReason()
	if err := w.store.StopAccount(ctx, w.run.ID, *stopped, disposition); err != nil {
		w.logger.Warn("the stop is stored when the run ends", "error", err)
	}
}

// needsLanes returns an error that names an account of the run to which this
// process cannot send.
func (c *crew) needsLanes(id RunID, accounts []RunAccount) error {
	for _, account := range accounts {
		if account.Last > 0 && c.lanes[account.MerchantAccount] == nil {
			return fmt.Errorf("merchant account %s of run %d is not configured here: add it to merchant_accounts: %w",
				account.MerchantAccount, id, billing.ErrInvalid)
		}
	}
	return nil
}
