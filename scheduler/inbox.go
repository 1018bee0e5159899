package scheduler

import (
	"context"
	"time"
)

// An Inbox applies what gateways told unasked.
type Inbox interface {
	// ApplyEvents applies stored events whose time has come, at most limit of them,
	// and returns how many it looked at. Any number of daemons may call it at once.
	ApplyEvents(ctx context.Context, limit int) (int, error)
}

const (
	// inboxEvery is how often a daemon looks for events when there were none.
	inboxEvery = 500 * time.Millisecond
	// eventsAtOnce is how many events one look takes.
	eventsAtOnce = 200
)

// read applies events until ctx ends.
func (d *Daemon) read(ctx context.Context) {
	ticker := time.NewTicker(inboxEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		n, err := d.store.ApplyEvents(ctx, eventsAtOnce)
		if err != nil {
			d.warn(ctx, "cannot apply webhooks", err)
		}
		if n == eventsAtOnce && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}
