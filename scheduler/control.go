package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

// controlEvery is how often a process reads what must stop; twice this and a
// round trip is the longest that a stop takes.
const controlEvery = time.Second

// control reads once a second what people and other processes want, and takes
// it out of what is not yet sent.
func (c *crew) control(ctx, hard context.Context) {
	ticker := time.NewTicker(controlEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		works := c.working()
		runs := make([]RunID, 0, len(works))
		for _, w := range works {
			runs = append(runs, w.run.ID)
			if w.report != nil {
				w.report(w.tally.now())
			}
		}
		var unsent []billing.ChargeID
		for _, l := range c.lanes {
			unsent = l.unsent(unsent)
		}
		control, err := c.store.Control(ctx, runs, unsent)
		if err != nil {
			if ctx.Err() == nil {
				c.logger.Warn("cannot read what must stop", "error", err)
			}
			continue
		}
		for _, w := range works {
			if !slices.Contains(control.Running, w.run.ID) {
				w.stop(errRunStopped)
			}
		}
		c.obey(hard, control)
	}
}

func (c *crew) obey(ctx context.Context, control Control) {
	for _, l := range c.lanes {
		for _, s := range control.Stops {
			if s.Scope == "all" || s.Scope == "merchant_account" && s.Name == l.account.MerchantAccount || s.Scope == "gateway" && s.Name == l.account.Gateway {
				c.stopAccount(ctx, l, billing.ReasonAccountPaused, s.Reason, "postponed")
			}
		}
		if len(control.Stopped) > 0 {
			c.giveBack(ctx, l.remove(func(p *parcel) bool { return slices.Contains(control.Stopped, p.ID) }))
		}
	}
}
