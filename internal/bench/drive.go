package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// observeEvery is how often Drive shows its meter what was done.
const observeEvery = 100 * time.Millisecond

// ErrNoMore says that there is no more work to do. It ends a worker and is no
// error of Drive.
var ErrNoMore = errors.New("no more work")

// Drive keeps so many workers busy with do, one piece of work each at a time,
// until the meter's window is full, and returns how many pieces were done. do
// gets a number of its own, from 1. The first error ends all.
//
// It sets the meter's Stop.
func Drive(ctx context.Context, workers int, m *Meter, do func(ctx context.Context, n int64) error) (int64, Span, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var given, done atomic.Int64
	var full atomic.Bool
	m.Stop = func() { full.Store(true) }
	m.Begin()
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for !full.Load() && ctx.Err() == nil {
				switch err := do(ctx, given.Add(1)); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrNoMore):
					return
				default:
					cancel(err)
					return
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		working.Wait()
		close(ended)
	}()
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			m.Observe(now, done.Load())
		case <-ended:
			return done.Load(), m.End(time.Now(), done.Load()), context.Cause(ctx)
		}
	}
}
