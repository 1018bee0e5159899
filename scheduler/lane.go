package scheduler

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/contauth/contauth/billing"
)

// A batch is the charges of one claim. Its row in the database goes with its
// last answer.
type batch struct {
	id   ClaimID // 0 for replays, whose lease is on the charge alone
	open atomic.Int32
}

// A parcel is one claimed charge on its way through this process.
type parcel struct {
	*billing.ClaimedCharge
	batch      *batch
	part       *part // nil for a replay, whichever run its charge is of
	paced      bool  // it needs a departure
	settlement billing.Settlement
}

// A lane is one process's way to a merchant account: what is claimed and not yet
// sent, for whichever runs, and how many requests may be in flight.
//
// It starts with one request at a time and allows one more with each answer,
// up to its share of max_in_flight: a wrong credential costs one call, not
// sixty-four.
type lane struct {
	account     Account
	collector   *billing.Collector
	outageLimit time.Duration // as in Options
	turn        chan struct{} // held by the one feeder that claims; the others wait

	mu       sync.Mutex
	changed  *sync.Cond // queue, limit, inFlight or closed changed
	queue    []*parcel
	inFlight int
	limit    int // requests that may be in flight now
	share    int // this process's share of max_in_flight; none before the first claim
	closed   bool
	lowWater int           // claim more when the queue is no longer than this
	room     chan struct{} // wakes the feeder: the queue is low

	departures  []Departure // with a rate: unused ones, the earliest first
	reserving   bool        // a worker is asking for more of them
	quietUntil  time.Time   // no claim before this moment
	backOffs    int         // in a row, without an answer in between
	outageSince time.Time   // the first of them
	rejections  int         // answers in a row that the gateway gave without trying
	silences    int         // requests in a row without a readable answer

	answered atomic.Int64 // all answers, for the pace
}

func newLane(account Account, collector *billing.Collector, outageLimit time.Duration) *lane {
	l := &lane{account: account, collector: collector, outageLimit: outageLimit, turn: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// push adds claimed charges, all of one part or of none, to the queue. It
// refuses them, and reports false, if meanwhile the part was stopped or the lane
// must keep quiet.
func (l *lane) push(of *part, parcels []*parcel) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || time.Now().Before(l.quietUntil) {
		return false
	}
	if of != nil {
		if of.isStopped() {
			return false
		}
		of.enter(len(parcels))
	}
	l.queue = append(l.queue, parcels...)
	l.changed.Broadcast()
	return true
}

// take returns the next charge to send, or nil when the lane is closed. It
// waits for a charge, for a free place in flight, and at an account with a rate
// for a departure; reserve gets more of them where they have passed unused. If it
// reports false, take returns nil. A charge that may no longer be sent comes without
// waiting. The caller must call done.
func (l *lane) take(reserve func(n int) ([]Departure, bool)) *parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil
		}
		if len(l.queue) > 0 && l.inFlight < l.limit {
			next := l.queue[0]
			wait := time.Duration(0)
			late := !next.SendBy.IsZero() && time.Now().After(next.SendBy) // it is given back, and needs none
			if next.paced && !late {
				departure, ok := l.nextDeparture()
				if !ok {
					if !l.bookMore(reserve) {
						return nil
					}
					continue
				}
				wait = time.Until(departure.From)
			}
			if wait <= 0 {
				l.queue[0] = nil
				l.queue = l.queue[1:]
				l.inFlight++
				if next.paced && !late {
					l.departures = l.departures[1:]
				}
				if len(l.queue) <= l.lowWater {
					l.signalRoom()
				}
				return next
			}
			timer := time.AfterFunc(wait, func() {
				l.mu.Lock() // not before Wait below has begun
				defer l.mu.Unlock()
				l.changed.Broadcast()
			})
			l.changed.Wait()
			timer.Stop()
			continue
		}
		l.changed.Wait()
	}
}

// done says that a charge from take is no longer in flight.
func (l *lane) done(p *parcel) {
	l.mu.Lock()
	l.inFlight--
	l.mu.Unlock()
	l.changed.Signal() // one place, one worker
	p.part.leave()
}

// signalRoom wakes the feeder.
func (l *lane) signalRoom() {
	select {
	case l.room <- struct{}{}:
	default: // it is awake already
	}
}

// close lets every worker of the lane end.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.changed.Broadcast()
}

// book adds departures.
func (l *lane) book(departures []Departure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.departures = append(l.departures, departures...)
	slices.SortFunc(l.departures, func(a, b Departure) int { return a.From.Compare(b.From) })
}

// nextDeparture is the earliest that can still be made. One that was missed is
// gone: to leave later would be to leave together with another process's.
func (l *lane) nextDeparture() (Departure, bool) {
	now := time.Now()
	for len(l.departures) > 0 && now.After(l.departures[0].Until) {
		l.departures = l.departures[1:]
	}
	if len(l.departures) == 0 {
		return Departure{}, false
	}
	return l.departures[0], true
}

// bookMore gets departures for what is in the queue. One worker asks, without
// the lock; the others wait for it. It reports what reserve reported.
func (l *lane) bookMore(reserve func(n int) ([]Departure, bool)) bool {
	if l.reserving {
		l.changed.Wait()
		return true
	}
	l.reserving = true
	n := len(l.queue)
	l.mu.Unlock()
	departures, ok := reserve(n)
	if len(departures) > 0 {
		l.book(departures)
	}
	l.mu.Lock()
	l.reserving = false
	l.changed.Broadcast()
	return ok
}

// setShare takes over this process's share of max_in_flight.
func (l *lane) setShare(share int) {
	l.mu.Lock()
	l.share = share
	l.limit = min(l.limit, share)
	if share > 0 && l.limit == 0 {
		l.limit = 1
	}
	l.mu.Unlock()
	l.changed.Broadcast()
}

// held is how many requests may be in flight as far as others must assume.
func (l *lane) held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.inFlight, l.share)
}

// unsent lists the charges that are still in the queue.
func (l *lane) unsent(ids []billing.ChargeID) []billing.ChargeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.queue {
		ids = append(ids, p.ID)
	}
	return ids
}

// remove takes the charges that match out of the queue.
func (l *lane) remove(match func(*parcel) bool) []*parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	var removed, kept []*parcel
	for _, p := range l.queue {
		if match(p) {
			removed = append(removed, p)
		} else {
			kept = append(kept, p)
		}
	}
	l.queue = kept
	if len(removed) > 0 {
		l.signalRoom()
	}
	return removed
}

// removeAll empties the queue.
func (l *lane) removeAll() []*parcel { return l.remove(func(*parcel) bool { return true }) }

// isIdle reports whether nothing is queued or in flight.
func (l *lane) isIdle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0 && l.inFlight == 0
}

// quiet returns how long nothing may be claimed.
func (l *lane) quiet() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.quietUntil)
}

// hasRoom reports whether the queue is at most low long. If it is not, room is
// signalled once it is.
func (l *lane) hasRoom(low int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lowWater = low
	return len(l.queue) <= low
}

// How much bad news in a row ends an account's part of a run.
const (
	maxRejections = 5 // "not processed" for the charge or its token: more is the account's fault
	maxSilences   = 5 // no readable answer: then it is the gateway, and we step back
	maxBackOffs   = 5
)

// A brake is what the lane must do after an answer.
type brake int

const (
	brakeNone brake = iota
	brakeBackOff
	brakeStop
)

// observe learns from an answer how the account is doing.
func (l *lane) observe(s *billing.Settlement) (brake, time.Duration) {
	l.answered.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.Stop == billing.ScopeAccount:
		return l.giveUp()
	case s.Stop == billing.ScopeNow:
		return l.stepBack(s.RetryAfter)
	case s.Outcome == billing.OutcomeUnknown:
		if l.silences++; l.silences >= maxSilences {
			l.silences = 0
			return l.stepBack(0)
		}
	case s.Outcome == billing.OutcomeNotProcessed:
		if l.rejections++; l.rejections >= maxRejections {
			return l.giveUp()
		}
	default:
		l.rejections, l.silences, l.backOffs = 0, 0, 0
		if l.limit < l.share {
			l.limit++
			l.changed.Signal()
		}
	}
	return brakeNone, 0
}

// stepBack starts again with one request at a time, after a wait that doubles
// each time. Answers that arrive during a wait do not prolong it.
func (l *lane) stepBack(wish time.Duration) (brake, time.Duration) {
	now := time.Now()
	if now.Before(l.quietUntil) {
		return brakeNone, 0
	}
	// A wait that ended long ago belongs to another outage: others may have had
	// answers since.
	if now.Sub(l.quietUntil) > 2*longestBackOff {
		l.backOffs = 0
	}
	if l.backOffs++; l.backOffs == 1 {
		l.outageSince = now
	}
	if l.outageLimit > 0 && now.Sub(l.outageSince) >= l.outageLimit || l.outageLimit == 0 && l.backOffs >= maxBackOffs {
		return l.giveUp()
	}
	wait := max(wish, min(firstBackOff<<min(l.backOffs-1, 10), longestBackOff))
	l.quietUntil = now.Add(wait)
	l.limit = 1
	return brakeBackOff, wait
}

// giveUp stops the runs of now at this account. The next ones begin as the first
// did, with one request, after a rest.
func (l *lane) giveUp() (brake, time.Duration) {
	l.quietUntil = time.Now().Add(restAfterStop)
	l.limit, l.backOffs, l.rejections, l.silences = 1, 0, 0, 0
	return brakeStop, 0
}

const (
	// firstBackOff is the first wait after the gateway could not be reached or
	// asked us to stay away; it doubles with each further one, up to
	// longestBackOff.
	firstBackOff   = time.Second
	longestBackOff = time.Minute
	// restAfterStop is how long an account is left alone whose runs were stopped.
	restAfterStop = time.Minute
)

// A pace measures how many answers a second a lane gets.
type pace struct {
	since time.Time
	count int64
	rate  float64
}

// perSecond returns the rate over about the last second.
func (p *pace) perSecond(answered int64, now time.Time) float64 {
	if elapsed := now.Sub(p.since); p.since.IsZero() || elapsed >= 250*time.Millisecond {
		if !p.since.IsZero() {
			p.rate = float64(answered-p.count) / elapsed.Seconds()
		}
		p.since, p.count = now, answered
	}
	return p.rate
}

// sleep waits, or less if ctx ends. It reports whether it waited the whole time.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
