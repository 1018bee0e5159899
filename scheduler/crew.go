package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/contauth/contauth/billing"
)

// A crew is what one process works with, whichever runs there are: a lane to
// each merchant account with its senders, and the writers of answers. Runs share
// them, because the account's requests in flight and its rate are shared.
type crew struct {
	*Runner
	lanes   map[string]*lane // by merchant account
	flusher *flusher

	mu    sync.Mutex
	works map[RunID]*work // the runs that are being worked
}

func (r *Runner) newCrew(accounts []Account) *crew {
	c := &crew{Runner: r, lanes: map[string]*lane{}, works: map[RunID]*work{}}
	c.flusher = newFlusher(r.store, r.logger, r.opts, c.count)
	for _, account := range accounts {
		if collector := r.collectors[account.MerchantAccount]; collector != nil {
			c.lanes[account.MerchantAccount] = newLane(account, collector, r.opts.OutageLimit)
		}
	}
	return c
}

// flushers is how many groups of answers may be committing at once: while one
// waits for its commit the next one fills.
const flushers = 2

// run keeps the crew at its places until task ends. task must end when its first
// context does, and no longer claim. The second context lasts longer: what was
// sent is answered and written down, what was not sent is given back.
func (c *crew) run(ctx context.Context, task func(soft, hard context.Context) error) error {
	c.atWork.Store(c)
	hard, cancelHard := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelHard()
	soft, stop := context.WithCancel(ctx)
	defer stop()
	// From the moment that claiming ends, everything has a bounded time to end.
	stopClock := context.AfterFunc(soft, func() { time.AfterFunc(c.opts.Drain, cancelHard) })
	defer stopClock()

	var writing, sending, steering sync.WaitGroup
	for range flushers {
		writing.Go(func() { c.flusher.run(hard) })
	}
	for _, l := range c.lanes {
		for range l.account.MaxInFlight {
			sending.Go(func() { c.send(hard, l) })
		}
	}
	steering.Go(func() { c.control(soft, hard) })
	steering.Go(func() { c.resolve(soft, hard) })
	err := task(soft, hard)
	stop()
	steering.Wait()

	for _, l := range c.lanes {
		l.close()
	}
	for _, l := range c.lanes {
		c.giveBack(hard, l.removeAll())
	}
	sending.Wait()
	close(c.flusher.answers)
	writing.Wait()
	if err != nil || hard.Err() != nil {
		return err // what is left undone ends with its leases
	}
	return c.release(hard)
}

// release gives up what the process holds at the accounts.
func (c *crew) release(ctx context.Context) error {
	for account := range c.lanes {
		if err := c.store.ReleaseSlots(ctx, c.process, account); err != nil {
			return err
		}
	}
	if claims := c.flusher.takeSettled(); len(claims) > 0 {
		return c.store.GiveBack(ctx, nil, claims)
	}
	return nil
}

// begin and end tell which runs are being worked.
func (c *crew) begin(w *work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.works[w.run.ID] = w
}

func (c *crew) end(w *work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.works, w.run.ID)
}

// working lists the runs that are being worked.
func (c *crew) working() []*work {
	c.mu.Lock()
	defer c.mu.Unlock()
	works := make([]*work, 0, len(c.works))
	for _, w := range c.works {
		works = append(works, w)
	}
	return works
}

// count adds committed answers to the tallies of their runs.
func (c *crew) count(group []*parcel) {
	for _, w := range c.working() {
		w.tally.add(group)
	}
}

// send is one worker: it sends charges of a lane, one at a time.
func (c *crew) send(ctx context.Context, l *lane) {
	var d deadline
	defer d.close()
	reserve := func(n int) ([]Departure, bool) { return c.reserve(ctx, l, n) }
	for p := l.take(reserve); p != nil; p = l.take(reserve) {
		now := time.Now()
		if now.After(p.SendBy) {
			// Too little of the lease is left for a whole request.
			c.flusher.returnUnsent(ctx, []*parcel{p})
			l.done(p)
			continue
		}
		p.settlement = l.collector.Collect(d.begin(ctx, c.opts.GatewayTimeout), p.ClaimedCharge)
		d.end()
		c.opts.Meter.Answered(l.account.MerchantAccount, &p.settlement, time.Since(now))
		c.heed(ctx, l, &p.settlement)
		c.flusher.hand(p)
		l.done(p)
	}
}

// reserve takes further departures for a lane whose own passed unused, since the
// gateway or this process was slow. It reports false when ctx has ended.
func (c *crew) reserve(ctx context.Context, l *lane, n int) ([]Departure, bool) {
	departures, err := c.store.Reserve(ctx, l.account.MerchantAccount, n)
	if err != nil {
		c.logger.Warn("the rate waits for the database", "merchant_account", l.account.MerchantAccount, "error", err)
		return nil, sleep(ctx, time.Second)
	}
	return departures, true
}

// heed does what an answer demands of the whole account.
func (c *crew) heed(ctx context.Context, l *lane, s *billing.Settlement) {
	brake, wait := l.observe(s)
	switch brake {
	case brakeBackOff:
		c.logger.Warn("stepping back from the gateway", "merchant_account", l.account.MerchantAccount, "wait", wait, "error", s.Detail)
		if err := c.store.BackOff(ctx, l.account.MerchantAccount, wait); err != nil {
			c.logger.Warn("other processes could not be told to step back", "error", err)
		}
		c.giveBack(ctx, l.removeAll())
	case brakeStop:
		reason, disposition := billing.ReasonAccountRefused, "skipped"
		if s.Stop == billing.ScopeNow || s.Outcome == billing.OutcomeUnknown {
			reason, disposition = billing.ReasonGatewayUnavailable, "postponed"
			if c.opts.OutageLimit > 0 {
				disposition = "held"
			}
		}
		c.stopAccount(ctx, l, reason, s.Detail, disposition)
	}
}

// stopAccount ends every run's part at an account.
func (c *crew) stopAccount(ctx context.Context, l *lane, reason billing.Reason, detail, disposition string) {
	c.giveBack(ctx, l.removeAll())
	for _, w := range c.working() {
		for _, p := range w.parts {
			if p.lane == l {
				w.stopPart(ctx, p, reason, detail, disposition)
			}
		}
	}
}

// giveBack returns charges that were taken out of the queue unsent.
func (c *crew) giveBack(ctx context.Context, parcels []*parcel) {
	if len(parcels) == 0 {
		return
	}
	c.flusher.returnUnsent(ctx, parcels)
	for _, p := range parcels {
		p.part.leave()
	}
}

// newParcels makes parcels of a claim's charges, for a part of a run or, as
// replays, for none. claimed is the moment before the claim was sent: the lease
// cannot have begun earlier.
func (c *crew) newParcels(of *part, res ClaimResult, claimed time.Time) []*parcel {
	b := &batch{id: res.ID}
	b.open.Store(int32(len(res.Charges)))
	made := make([]parcel, len(res.Charges))
	parcels := make([]*parcel, len(res.Charges))
	for i := range res.Charges {
		charge := &res.Charges[i]
		charge.SendBy = claimed.Add(c.opts.Lease - c.opts.GatewayTimeout)
		made[i] = parcel{ClaimedCharge: charge, batch: b, part: of, paced: res.Paced}
		parcels[i] = &made[i]
	}
	return parcels
}

// newClaimRequest asks for the next charges of a part.
func (w *work) newClaimRequest(p *part, after, last, size int) ClaimRequest {
	l := p.lane
	return ClaimRequest{
		Token: uuid.Must(uuid.NewV7()), Process: w.process, RunID: w.run.ID, MerchantAccount: l.account.MerchantAccount,
		After: after, Last: last, Limit: size, WireVersion: l.collector.WireVersion(), Endpoint: l.collector.Endpoint(),
		Lease: w.opts.Lease, ClaimAhead: w.opts.ClaimAhead, SlotsHeld: l.held(),
	}
}

// errRunStopped says that a run is no longer running: a person paused or
// aborted it, or another process finished it.
var errRunStopped = errors.New("the run is no longer running")
