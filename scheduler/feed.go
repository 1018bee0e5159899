package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/contauth/contauth/billing"
)

// feed claims a part of the manifest, pass after pass, until every item is
// accounted for or the part is stopped. It stays about one batch ahead of the
// workers.
func (w *work) feed(ctx, hard context.Context, p *part) error {
	position := p.first - 1
	if !w.run.StartedAt.IsZero() {
		position = p.last // it was worked before: first see what is left
	}
	var speed pace
	canary := w.opts.Canary.end(p.first, p.last)
	for ctx.Err() == nil && !p.isStopped() {
		if position >= canary && canary < p.last && position < p.last {
			if passed, err := w.judgeCanary(ctx, p, canary); !passed || err != nil {
				return err
			}
			canary = p.last
		}
		if position >= p.last {
			next, done, err := w.endPass(ctx, p)
			if done || err != nil {
				return err
			}
			position = next
			continue
		}
		size := w.claimSize(p.lane, speed.perSecond(p.lane.answered.Load(), time.Now()))
		next, err := w.claimInTurn(ctx, hard, p, position, canary, size)
		if err != nil {
			return err
		}
		position = next
	}
	return nil
}

// claimInTurn claims once the lane has room and no other run's feeder claims, no
// further than a last position. It returns the position to go on after.
func (w *work) claimInTurn(ctx, hard context.Context, p *part, after, last, size int) (int, error) {
	select {
	case <-ctx.Done():
		return after, nil
	case <-p.ended:
		return after, nil
	case p.lane.turn <- struct{}{}:
		defer func() { <-p.lane.turn }()
	}
	if !w.awaitRoom(ctx, p, size) {
		return after, nil
	}
	return w.claim(ctx, hard, p, after, last, size)
}

// claimSize is how many charges leave within the claim-ahead time at the
// present pace: at least as many as may be in flight, at most a full claim.
func (w *work) claimSize(l *lane, perSecond float64) int {
	l.mu.Lock()
	least := max(1, l.limit)
	l.mu.Unlock()
	return min(w.opts.ClaimSize, max(least, int(perSecond*w.opts.ClaimAhead.Seconds())))
}

// awaitRoom waits until the queue is shorter than a claim and no back-off
// holds. It reports false when the part has ended.
func (w *work) awaitRoom(ctx context.Context, p *part, size int) bool {
	for ctx.Err() == nil && !p.isStopped() {
		if wait := p.lane.quiet(); wait > 0 {
			sleep(ctx, min(wait, longestSleep))
			continue
		}
		if p.lane.hasRoom(size - 1) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-p.ended:
		case <-p.lane.room:
		}
	}
	return false
}

// claim claims one window, no further than a last position, and returns the
// position to go on after.
func (w *work) claim(ctx, hard context.Context, p *part, after, last, size int) (int, error) {
	req := w.newClaimRequest(p, after, last, size)
	before := time.Now()
	res, err := w.store.ClaimDue(ctx, req)
	if err != nil {
		if ctx.Err() != nil {
			return after, nil
		}
		if res, err = w.readBack(ctx, req, err); err != nil {
			return after, err
		}
	}
	p.lane.setShare(res.Slots)
	switch {
	case res.Halt == billing.ReasonEndpointChanged && w.shared:
		// Only this process is wrong about the endpoint: the others work on.
		w.logger.Error("this process is configured with another base_url than the database has: it sends nothing to the account", "merchant_account", p.lane.account.MerchantAccount)
		p.yield()
		return after, nil
	case res.Halt != "":
		w.stopPart(hard, p, res.Halt, "", "postponed")
		return after, nil
	case res.Wait > 0:
		sleep(ctx, min(res.Wait, longestSleep))
		return after, nil
	case res.RunState != RunRunning:
		w.stop(errRunStopped)
		return after, nil
	}
	if len(res.Charges) > 0 {
		p.lane.book(res.Departures)
		if slow := time.Since(before); slow > w.opts.Lease-w.opts.GatewayTimeout {
			w.logger.Warn("the database answers too slowly for timing.lease: what was claimed is given back unsent", "took", slow.Round(time.Millisecond))
		}
		if parcels := w.newParcels(p, res, before); !p.lane.push(p, parcels) {
			w.flusher.returnUnsent(hard, parcels)
		}
	}
	return res.Position, nil
}

// readBack finds out what became of a claim that failed: an error at COMMIT
// may hide a success. A claim that cannot be read back in time is left to its
// leases.
func (w *work) readBack(ctx context.Context, req ClaimRequest, cause error) (ClaimResult, error) {
	for try := 0; errors.Is(cause, ErrUnavailable); try++ {
		w.logger.Warn("claiming waits for the database", "error", cause)
		if !waitForDatabase(ctx, w.opts.Repair, w.logger, try) {
			break
		}
		res, err := w.store.ReadClaim(ctx, req)
		switch {
		case err == nil:
			return res, nil
		case errors.Is(err, billing.ErrNotFound):
			// It never happened: the caller claims the same window again.
			return ClaimResult{Position: req.After, Slots: req.SlotsHeld, RunState: RunRunning}, nil
		default:
			cause = err
		}
	}
	if ctx.Err() != nil {
		return ClaimResult{Position: req.After, Slots: req.SlotsHeld, RunState: RunRunning}, nil
	}
	return ClaimResult{}, cause
}

// longestSleep is how long a lane sleeps before it looks whether it was stopped.
const longestSleep = time.Second

// idleWait is how long a pass that found nothing waits before the next one.
const idleWait = 200 * time.Millisecond

// endPass waits for what is on its way, and says where the next pass begins,
// or that none is needed. Items that are leased to others are waited for:
// their answers count for this run too, and what their owners drop comes back.
func (w *work) endPass(ctx context.Context, p *part) (next int, done bool, err error) {
	if !p.awaitIdle(ctx) {
		return 0, true, nil
	}
	w.flusher.awaitSaved(ctx)
	left, err := w.store.LeftOver(ctx, w.run.ID, p.lane.account.MerchantAccount)
	switch {
	case ctx.Err() != nil:
		return 0, true, nil
	case errors.Is(err, ErrUnavailable):
		return p.last, !waitForDatabase(ctx, w.opts.Repair, w.logger, 0), nil
	case err != nil:
		return 0, true, err
	case left.Items == 0:
		return 0, true, nil
	case left.FirstPosition > 0:
		sleep(ctx, idleWait)
		return left.FirstPosition - 1, false, nil
	default:
		if left.LeaseEnds > time.Second {
			w.logger.Info("waiting for charges that another process holds", "charges", left.Claimed, "at_most", left.LeaseEnds.Round(time.Second))
		}
		sleep(ctx, min(max(left.LeaseEnds, idleWait), time.Second))
		return p.last, false, nil
	}
}
