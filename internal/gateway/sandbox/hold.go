package sandbox

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Point is a place in the life of a request at which the sandbox can hold it.
type Point string

const (
	// PointConnected is a connection that was accepted and of which nothing was
	// read. What the client sends meanwhile waits in the kernel.
	PointConnected Point = "connected"
	// PointHalfRequest is a request of which half the body was read. The other
	// half waits in the kernel or in the connection's buffer.
	PointHalfRequest Point = "half_request"
	// PointRequestRead is a request that was read whole. Its key is in use, but
	// no payment is made and nothing is answered.
	PointRequestRead Point = "request_read"
	// PointActed is a payment that stands in the ledger. Nothing is answered.
	PointActed Point = "acted"
	// PointHalfAnswer is an answer of which half the body was sent.
	PointHalfAnswer Point = "half_answer"
)

var allPoints = []Point{PointConnected, PointHalfRequest, PointRequestRead, PointActed, PointHalfAnswer}

// A hold stops one request, the first that matches and comes to its point.
type hold struct {
	id        string
	match     Match
	operation string // as Rule.Operation
	point     Point

	turns    turns         // of requests that came to the point, for Match.Every
	taken    bool          // by a request on its way to the point
	arrived  chan struct{} // closed when a request is held
	released chan struct{} // closed when it may go on
	free     sync.Once

	request    atomic.Pointer[request] // what is held; nil where nothing was read
	clientGone atomic.Bool
}

func (h *hold) release() { h.free.Do(func() { close(h.released) }) }

// holds are the holds that wait for a request or hold one.
type holds struct {
	waiting atomic.Int32 // so that a request without any hold pays one load

	mu     sync.Mutex
	last   int
	all    []*hold // oldest first
	closed bool
}

// add registers a hold.
func (hs *holds) add(match Match, operation string, point Point) (*hold, error) {
	if !slices.Contains(allPoints, point) {
		return nil, fmt.Errorf("point is %q; it is one of %s", point, oneOf(allPoints))
	}
	if (point == PointConnected || point == PointHalfRequest) && (match.Every == 0 || operation != "") {
		return nil, fmt.Errorf("at the point %s the request is not known yet: match needs every, and no operation", point)
	}
	if err := checkOperation(operation); err != nil {
		return nil, err
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.closed {
		return nil, fmt.Errorf("the sandbox is closing")
	}
	hs.last++
	h := &hold{id: strconv.Itoa(hs.last), match: match, operation: operation, point: point, arrived: make(chan struct{}), released: make(chan struct{})}
	hs.all = append(hs.all, h)
	hs.waiting.Add(1)
	return h, nil
}

// find returns the hold with that id, or nil.
func (hs *holds) find(id string) *hold {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if i := hs.index(id); i >= 0 {
		return hs.all[i]
	}
	return nil
}

func (hs *holds) index(id string) int {
	return slices.IndexFunc(hs.all, func(h *hold) bool { return h.id == id })
}

// remove ends a hold: what it holds goes on. It returns nil if there is none.
func (hs *holds) remove(id string) *hold {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	i := hs.index(id)
	if i < 0 {
		return nil
	}
	h := hs.all[i]
	hs.all = slices.Delete(hs.all, i, i+1)
	if !h.taken {
		hs.waiting.Add(-1)
	}
	h.release()
	return h
}

// close ends all holds and allows no more.
func (hs *holds) close() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.closed = true
	for _, h := range hs.all {
		h.release()
	}
}

// holding reports whether a request is held, or was.
func (h *hold) holding() bool {
	select {
	case <-h.arrived:
		return true
	default:
		return false
	}
}

// take returns the oldest hold for a request at point, or nil; whoever gets
// one calls its stop. req is nil where the request is not known yet.
func (hs *holds) take(point Point, req *request) *hold {
	if hs.waiting.Load() == 0 {
		return nil
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	var taken *hold
	for _, h := range hs.all {
		if h.point != point || h.taken {
			continue
		}
		if h.matches(req) && taken == nil {
			taken, h.taken = h, true
			hs.waiting.Add(-1)
			if req != nil {
				copied := *req
				h.request.Store(&copied)
			}
		}
	}
	return taken
}

// matches counts a request that came to the point, and reports whether h is for it.
func (h *hold) matches(req *request) bool {
	if req == nil {
		h.turns.all++
		return h.turns.all%int64(h.match.Every) == 0
	}
	n, meant := h.turns.next(req).isMeant(h.operation, req)
	return meant && h.match.matches(req, n)
}

// stop says that a request is held, and returns when the hold is ended or the
// client is gone. A gateway does not stop working because nobody listens any
// more, so in both cases the request then goes on as usual.
func (h *hold) stop(ctx context.Context) {
	close(h.arrived)
	select {
	case <-h.released:
	case <-ctx.Done():
		h.clientGone.Store(true)
	}
}

// wait returns when a request is held, or the hold is ended, or after d.
func (h *hold) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-h.arrived:
	case <-h.released:
	case <-timer.C:
	case <-ctx.Done():
	}
}
