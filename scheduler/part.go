package scheduler

import (
	"context"
	"sync"

	"github.com/contauth/contauth/billing"
)

// A part is one merchant account's part of a run, in the hands of one process.
type part struct {
	lane        *lane
	first, last int           // positions in the manifest
	ended       chan struct{} // closed when nothing more of the part is sent
	idle        chan struct{} // signalled when nothing of the part is on its way

	mu          sync.Mutex
	onTheWay    int          // charges queued, in flight, or being given back
	stopped     *AccountStop // why nothing more is sent; nil while it works
	disposition string       // what becomes of the items of a stopped part
	yielded     bool         // to other processes
}

func newPart(l *lane, first, last int) *part {
	return &part{lane: l, first: first, last: last, ended: make(chan struct{}), idle: make(chan struct{}, 1)}
}

// enter counts charges that are on their way from now on.
func (p *part) enter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onTheWay += n
}

// leave says that a charge was answered for or given back. A replay belongs to
// no part.
func (p *part) leave() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onTheWay--; p.onTheWay == 0 {
		select {
		case p.idle <- struct{}{}:
		default: // it is signalled already
		}
	}
}

// awaitIdle waits until nothing of the part is on its way. It reports false if
// ctx ended first.
func (p *part) awaitIdle(ctx context.Context) bool {
	for !p.isIdle() {
		select {
		case <-ctx.Done():
			return false
		case <-p.idle:
		}
	}
	return true
}

func (p *part) isIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.onTheWay == 0
}

// stop ends the part, for the first reason that is given, and reports whether
// this call did it.
func (p *part) stop(reason billing.Reason, detail, disposition string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped != nil || p.yielded {
		return false
	}
	p.stopped = &AccountStop{MerchantAccount: p.lane.account.MerchantAccount, Reason: reason, Detail: detail}
	p.disposition = disposition
	close(p.ended)
	return true
}

// yield lets this process do nothing more for the part, which is left to others.
func (p *part) yield() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped == nil && !p.yielded {
		p.yielded = true
		close(p.ended)
	}
}

// stopReason returns why the part ended and what becomes of its items, or nil.
func (p *part) stopReason() (*AccountStop, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped, p.disposition
}

// isStopped reports whether nothing more of the part is sent.
func (p *part) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped != nil || p.yielded
}
