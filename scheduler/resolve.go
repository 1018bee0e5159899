package scheduler

import (
	"context"
	"slices"
	"time"
)

// replaysAtOnce is how many unknown charges of an account one look takes.
const replaysAtOnce = 50

// resolve looks, about once a second, for leases that ran out and for unknown
// charges whose time has come, whichever run they belong to. Their replays go
// through the same lanes as other requests.
func (c *crew) resolve(ctx, hard context.Context) {
	every := time.Second
	if len(c.opts.Replays) > 0 {
		every = min(every, max(c.opts.Replays[0]/2, 10*time.Millisecond))
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		c.resolveOnce(ctx, hard)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *crew) resolveOnce(ctx, hard context.Context) {
	if n, err := c.store.ExpireLeases(ctx, 100); err != nil {
		if ctx.Err() == nil {
			c.logger.Warn("cannot look for expired leases", "error", err)
		}
		return
	} else if n > 0 {
		c.logger.Info("leases of a stopped process ran out; asking the gateway again", "charges", n)
	}
	accounts, err := c.store.AccountsToResolve(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.logger.Warn("cannot look for unknown charges", "error", err)
		}
		return
	}
	for _, account := range accounts {
		l := c.lanes[account]
		if l == nil || l.quiet() > 0 {
			continue
		}
		before := time.Now()
		res, err := c.store.ClaimReplays(ctx, ReplayRequest{
			Process: c.process, MerchantAccount: l.account.MerchantAccount, WireVersion: l.collector.WireVersion(),
			Endpoint: l.collector.Endpoint(), Lease: c.opts.Lease, Limit: replaysAtOnce, SlotsHeld: l.held(),
		})
		if err != nil {
			if ctx.Err() == nil {
				c.logger.Warn("cannot look for unknown charges", "error", err)
			}
			return
		}
		l.setShare(res.Slots)
		if len(res.Charges) > 0 {
			l.book(res.Departures)
			if parcels := c.newParcels(nil, res, before); !l.push(nil, parcels) {
				c.flusher.returnUnsent(hard, parcels)
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
			if !slices.ContainsFunc(w.parts, func(p *part) bool { return p.lane == l && p.isStopped() }) {
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
