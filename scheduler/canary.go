package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Canary is the first part of a run at each account. If too many of its charges
// are declined, the run is paused for a person before the others are sent. The
// zero value sends all at once.
type Canary struct {
	Items          int     // of each account's part; or
	Share          float64 // of each account's part, 0 to 1, where that is more
	MaxDeclineRate float64 // of the canary's answers, 0 to 1
}

// end returns the last position of a part's canary, or its last one where there
// is no canary.
func (c Canary) end(first, last int) int {
	items := last - first + 1
	n := max(c.Items, int(float64(items)*c.Share))
	if n <= 0 || n >= items {
		return last
	}
	return first + n - 1
}

// CanaryCounts says how the canary of a part did so far.
type CanaryCounts struct {
	Open     int  // charges that are due, or on their way
	Answered int  // approved or declined
	Declined int  // of those
	Silent   int  // sent, and without an answer: unknown, pending or not processed
	Decided  bool // somebody, or an earlier look, let the run go on
}

// fault says in words why the rest must not follow, or "".
func (v CanaryCounts) fault(most float64) string {
	switch {
	case v.Answered == 0 && v.Silent > 0:
		return fmt.Sprintf("none of the first %d charges has an answer", v.Silent)
	case v.Answered > 0 && float64(v.Declined)/float64(v.Answered) > most:
		return fmt.Sprintf("%d of the first %d answers were declined, more than %.0f %%", v.Declined, v.Answered, 100*most)
	}
	return ""
}

// canaryPoll is how often a process looks whether others have answers of the canary.
const canaryPoll = 500 * time.Millisecond

// judgeCanary waits for the answers of a part's canary and decides whether the
// rest may follow. It reports false if the run was paused or has ended.
func (w *work) judgeCanary(ctx context.Context, p *part, end int) (bool, error) {
	if !p.awaitIdle(ctx) {
		return false, nil
	}
	w.flusher.awaitSaved(ctx)
	account := p.lane.account.MerchantAccount
	for ctx.Err() == nil && !p.isStopped() {
		v, err := w.store.CountCanary(ctx, w.run.ID, account, end)
		switch {
		case errors.Is(err, ErrUnavailable):
			waitForDatabase(ctx, w.opts.Repair, w.logger, 0)
			continue
		case err != nil:
			return false, err
		case v.Decided:
			return true, nil
		case v.Open > 0:
			sleep(ctx, canaryPoll)
			continue
		}
		reason := v.fault(w.opts.Canary.MaxDeclineRate)
		if reason != "" {
			reason = "canary at " + account + ": " + reason
			w.logger.Error("a run is paused after its canary", "merchant_account", account, "declined", v.Declined, "answered", v.Answered, "silent", v.Silent)
		}
		if err := w.store.CloseCanary(ctx, w.run.ID, account, reason); err != nil {
			return false, err
		}
		return reason == "", nil
	}
	return false, nil
}
