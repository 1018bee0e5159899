package scheduler

import (
	"context"
	"time"
)

// replaysAtOnce is how many unknown charges of an account one look takes.
const replaysAtOnce = 50

// resolve looks, about once a second, for leases that ran out and for unknown
// charges whose time has come, whichever run they belong to. Their replays go
// through the same lanes as other requests.
func (w *work) resolve(ctx, hard context.Context) {
	every := time.Second
	if len(w.opts.Replays) > 0 {
		every = min(every, max(w.opts.Replays[0]/2, 10*time.Millisecond))
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		w.resolveOnce(ctx, hard)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *work) resolveOnce(ctx, hard context.Context) {
	if n, err := w.store.ExpireLeases(ctx, 100); err != nil {
		if ctx.Err() == nil {
			w.logger.Warn("cannot look for expired leases", "error", err)
		}
		return
	} else if n > 0 {
		w.logger.Info("leases of a stopped process ran out; asking the gateway again", "charges", n)
	}
	for _, l := range w.lanes {
		if stopped, _ := l.stopReason(); stopped != nil || l.quiet() > 0 {
			continue
		}
		before := time.Now()
		res, err := w.store.ClaimReplays(ctx, ReplayRequest{
			Process: w.process, MerchantAccount: l.account.MerchantAccount, WireVersion: l.collector.WireVersion(),
			Endpoint: l.collector.Endpoint(), Lease: w.opts.Lease, Limit: replaysAtOnce, SlotsHeld: l.held(),
		})
		if err != nil {
			if ctx.Err() == nil {
				w.logger.Warn("cannot look for unknown charges", "error", err)
			}
			return
		}
		l.setShare(res.Slots)
		if len(res.Charges) > 0 {
			if parcels := w.newParcels(res, before, time.Now()); !l.push(parcels) {
				w.flusher.returnUnsent(hard, parcels)
			}
		}
	}
}

// awaitReplays waits until no unknown charge of the run has a replay of the
// first steps before it.
func (w *work) awaitReplays(ctx context.Context) {
	for ctx.Err() == nil {
		w.flusher.awaitSaved(ctx)
		var senders []Sender
		busy := false
		for _, l := range w.lanes {
			if stopped, _ := l.stopReason(); stopped == nil {
				senders = append(senders, Sender{l.account.MerchantAccount, l.collector.WireVersion()})
				busy = busy || !l.isIdle()
			}
		}
		open, err := w.store.OpenUnknown(ctx, w.run.ID, senders, len(w.opts.Replays))
		if err == nil && open.Count == 0 && !busy {
			return
		}
		sleep(ctx, min(max(open.Next, 20*time.Millisecond), 500*time.Millisecond))
	}
}
