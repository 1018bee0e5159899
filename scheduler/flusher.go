package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
)

// A flusher writes answers down in groups. Its channel is bounded: when the
// database does not keep up, workers wait with their answers and nothing more
// is sent.
type flusher struct {
	store   Store
	logger  hclog.Logger
	size    int           // answers a group at most
	wait    time.Duration // how long the first answer waits for company
	repair  func(context.Context) error
	answers chan *parcel
	count   func([]*parcel) // told of each group that is committed

	gathering sync.Mutex // held by who takes answers from the channel

	mu      sync.Mutex
	settled []ClaimID // batches whose last answer is committed; their rows can go
	handed  int64     // answers handed in
	done    int64     // answers committed, or given up
	saved   *sync.Cond
}

func newFlusher(store Store, logger hclog.Logger, opts Options, count func([]*parcel)) *flusher {
	f := &flusher{
		store: store, logger: logger, size: opts.FlushSize, wait: opts.Flush, repair: opts.Repair,
		answers: make(chan *parcel, 2*opts.FlushSize), count: count,
	}
	f.saved = sync.NewCond(&f.mu)
	return f
}

// hand takes over an answer. It blocks while the database is behind.
func (f *flusher) hand(p *parcel) {
	f.mu.Lock()
	f.handed++
	f.mu.Unlock()
	f.answers <- p
}

// awaitSaved returns when every answer handed in so far is committed, or ctx
// has ended.
func (f *flusher) awaitSaved(ctx context.Context) {
	wake := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.saved.Broadcast()
	})
	defer wake()
	f.mu.Lock()
	defer f.mu.Unlock()
	for until := f.handed; f.done < until && ctx.Err() == nil; {
		f.saved.Wait()
	}
}

// run writes groups until the channel is closed and empty. It goes on while
// the database is away, until ctx ends; what it could not write then is known
// to the gateway under the attempt's key, and comes back by a replay.
func (f *flusher) run(ctx context.Context) {
	group := make([]*parcel, 0, f.size)
	for {
		group = f.gather(group[:0])
		if len(group) == 0 {
			return // closed
		}
		f.settle(ctx, group)
		f.mu.Lock()
		f.done += int64(len(group))
		f.mu.Unlock()
		f.saved.Broadcast()
	}
}

// gather waits for an answer and adds what arrives within the wait, up to a full
// group. One flusher gathers while the other one writes: together they would make
// two groups of half the size. The group is empty once the channel is closed.
func (f *flusher) gather(group []*parcel) []*parcel {
	f.gathering.Lock()
	defer f.gathering.Unlock()
	first, open := <-f.answers
	if !open {
		return group
	}
	group = append(group, first)
	timer := time.NewTimer(f.wait)
	defer timer.Stop()
	for len(group) < f.size {
		var p *parcel
		var open bool
		select {
		case p, open = <-f.answers: // what is there already, without the price of the timer
		default:
			select {
			case p, open = <-f.answers:
			case <-timer.C:
				return group
			}
		}
		if !open {
			return group
		}
		group = append(group, p)
	}
	return group
}

// settle commits a group. A group that the database refuses is split until the
// one answer that it cannot take stands alone: the others must not wait for it.
func (f *flusher) settle(ctx context.Context, group []*parcel) {
	settlements := make([]*billing.Settlement, len(group))
	for i, p := range group {
		settlements[i] = &p.settlement
	}
	claims := f.takeSettled()
	for try := 0; ; try++ {
		_, err := f.store.Settle(ctx, settlements, claims)
		switch {
		case err == nil:
			f.committed(group)
			return
		case errors.Is(err, ErrUnavailable) || errors.Is(err, billing.ErrUnknown):
			f.logger.Warn("answers wait for the database", "answers", len(group), "error", err)
			if !waitForDatabase(ctx, f.repair, f.logger, try) {
				f.logger.Error("answers not recorded; replays will bring them back", "answers", len(group), "error", err)
				return
			}
		case len(group) == 1:
			f.logger.Error("an answer cannot be recorded; a replay will bring it back",
				"charge_id", group[0].ID, "attempt", group[0].Attempt, "error", err)
			return
		default:
			f.giveBackSettled(claims)
			f.settle(ctx, group[:len(group)/2])
			f.settle(ctx, group[len(group)/2:])
			return
		}
	}
}

func (f *flusher) committed(group []*parcel) {
	f.count(group)
	for _, p := range group {
		f.close(p.batch)
	}
}

// close counts one charge of a batch as settled.
func (f *flusher) close(b *batch) {
	if b.open.Add(-1) == 0 && b.id != 0 {
		f.giveBackSettled([]ClaimID{b.id})
	}
}

func (f *flusher) takeSettled() []ClaimID {
	f.mu.Lock()
	defer f.mu.Unlock()
	claims := f.settled
	f.settled = nil
	return claims
}

func (f *flusher) giveBackSettled(claims []ClaimID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = append(f.settled, claims...)
}

// returnUnsent gives charges back of which no byte was sent. Replays stay as
// they are: their lease ends by itself and the resolver takes them again.
func (f *flusher) returnUnsent(ctx context.Context, parcels []*parcel) {
	var given []billing.ClaimedCharge
	for _, p := range parcels {
		if p.batch.id != 0 {
			given = append(given, *p.ClaimedCharge)
		}
	}
	for try := 0; len(given) > 0; try++ {
		err := f.store.GiveBack(ctx, given, nil)
		if err == nil {
			break
		}
		f.logger.Warn("unsent charges wait for the database", "charges", len(given), "error", err)
		if !errors.Is(err, ErrUnavailable) || !waitForDatabase(ctx, f.repair, f.logger, try) {
			return // their leases run out
		}
	}
	for _, p := range parcels {
		f.close(p.batch)
	}
}

// waitForDatabase waits longer with each try and lets the caller's repair bring the
// database back. It reports false once ctx has ended.
func waitForDatabase(ctx context.Context, repair func(context.Context) error, logger hclog.Logger, try int) bool {
	if !sleep(ctx, min(50*time.Millisecond<<min(try, 6), 2*time.Second)) {
		return false
	}
	if repair != nil {
		if err := repair(ctx); err != nil {
			logger.Warn("database not back yet", "error", err)
		}
	}
	return true
}
