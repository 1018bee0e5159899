package scheduler

import (
	"context"
	"sync"
	"time"
)

// retryAfter is how long a serving process leaves a run alone that it could not
// work, or of which only others can work the rest.
const retryAfter = 10 * time.Second

// A roster says which runs a serving process has in hand, and which it leaves
// alone for a while.
type roster struct {
	mu     sync.Mutex
	inHand map[RunID]bool
	rest   map[RunID]time.Time // not before these moments
}

func newRoster() *roster { return &roster{inHand: map[RunID]bool{}, rest: map[RunID]time.Time{}} }

// take reports whether the run is to be worked now, and notes that it is.
func (r *roster) take(id RunID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inHand[id] || time.Now().Before(r.rest[id]) {
		return false
	}
	r.inHand[id] = true
	return true
}

// drop takes the run out of hand; one that is not finished rests.
func (r *roster) drop(id RunID, finished bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inHand, id)
	delete(r.rest, id)
	if !finished {
		r.rest[id] = time.Now().Add(retryAfter)
	}
}

// workAll works every running run until soft ends.
func (c *crew) workAll(soft, hard context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	hand := newRoster()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for try := 0; soft.Err() == nil; {
		runs, err := c.store.RunningRuns(soft)
		if err != nil {
			if soft.Err() == nil {
				c.logger.Warn("cannot look for running runs", "error", err)
				waitForDatabase(soft, c.opts.Repair, c.logger, try)
				try++
			}
			continue
		}
		try = 0
		for _, run := range runs {
			if hand.take(run.ID) {
				working.Go(func() { hand.drop(run.ID, c.workOne(soft, hard, run)) })
			}
		}
		select {
		case <-soft.Done():
		case <-ticker.C:
		}
	}
	return nil
}

// workOne works a run and reports whether this process has nothing more to do
// for it.
func (c *crew) workOne(soft, hard context.Context, run Run) bool {
	accounts, err := c.store.RunAccounts(soft, run.ID)
	if err != nil {
		return c.cannotWork(soft, run, err)
	}
	if missing := c.needsLanes(run.ID, accounts); missing != nil {
		c.logger.Warn("a part of a run is left to other processes", "run_id", run.ID, "error", missing)
	}
	w := c.newWork(run, accounts, nil)
	w.shared = true
	result, err := w.do(soft, hard)
	if err != nil {
		return c.cannotWork(soft, run, err)
	}
	if result.Completed {
		p := result.Progress
		c.logger.Info("run completed", "run_id", run.ID, "charged", p.Charged, "declined", p.Declined, "pending", p.Pending, "unknown", p.Unknown)
	}
	return result.Completed || result.Interrupted
}

func (c *crew) cannotWork(soft context.Context, run Run, err error) bool {
	if soft.Err() == nil {
		c.logger.Error("cannot work a run", "run_id", run.ID, "error", err)
	}
	return false
}
