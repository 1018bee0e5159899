package scheduler

import (
	"context"
	"time"
)

// A deadline bounds the requests of one worker, one after the other, with one
// context and one timer. A context for each request would be entered into, and
// struck off, one list that all the workers share.
//
// The zero value is ready.
type deadline struct {
	ctx    context.Context // of the request now, or the next; nil if it must be made
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// begin returns the context of a request that may last as long as timeout and
// no longer than parent, which is the same for all of a worker's requests. Once
// the time is up its cause is context.DeadlineExceeded.
func (d *deadline) begin(parent context.Context, timeout time.Duration) context.Context {
	if d.ctx != nil {
		d.timer.Reset(timeout)
		return d.ctx
	}
	ctx, cancel := context.WithCancelCause(parent)
	d.ctx, d.cancel = ctx, cancel
	d.timer = time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })
	return ctx
}

// end says that the request is over. One that ran out of time ends its context
// for good.
func (d *deadline) end() {
	if !d.timer.Stop() {
		d.close()
	}
}

// close frees what the deadline holds.
func (d *deadline) close() {
	if d.ctx != nil {
		d.timer.Stop()
		d.cancel(nil)
		d.ctx = nil
	}
}
