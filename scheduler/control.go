package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

var errRunStopped = errors.New("the run was paused or aborted")

// controlEvery is how often a process reads what must stop; twice this and a
// round trip is the longest that a stop takes.
const controlEvery = time.Second

// control reads once a second what people and other processes want, and takes
// it out of what is not yet sent.
func (w *work) control(ctx, hard context.Context, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(controlEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if w.report != nil {
			w.report(w.tally.now())
		}
		var unsent []billing.ChargeID
		for _, l := range w.lanes {
			unsent = l.unsent(unsent)
		}
		control, err := w.store.Control(ctx, w.run.ID, unsent)
		if err != nil {
			if ctx.Err() == nil {
				w.logger.Warn("cannot read what must stop", "error", err)
			}
			continue
		}
		if control.RunState != RunRunning {
			stop(errRunStopped)
			return
		}
		w.obey(hard, control)
	}
}

func (w *work) obey(ctx context.Context, control Control) {
	for _, l := range w.lanes {
		for _, s := range control.Stops {
			if s.Scope == "all" || s.Scope == "merchant_account" && s.Name == l.account.MerchantAccount || s.Scope == "gateway" && s.Name == l.account.Gateway {
				w.stopLane(ctx, l, billing.ReasonAccountPaused, s.Reason, "postponed")
			}
		}
		if len(control.Stopped) > 0 {
			w.flusher.returnUnsent(ctx, l.remove(func(p *parcel) bool { return slices.Contains(control.Stopped, p.ID) }))
		}
	}
}
