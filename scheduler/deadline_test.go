package scheduler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadline(t *testing.T) {
	const timeout = time.Minute
	tests := []struct {
		name  string
		first time.Duration // how long the first request lasts
		want  error         // why it ended, if it was ended
	}{
		{"a request in time", timeout - 1, nil},
		{"a request that takes too long", timeout, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				var d deadline
				defer d.close()
				ctx := d.begin(parent, timeout)
				time.Sleep(tt.first)
				synctest.Wait()
				if got := context.Cause(ctx); !errors.Is(got, tt.want) {
					t.Errorf("the first request ended by %v, want %v", got, tt.want)
				}
				d.end()
				time.Sleep(2 * timeout) // nothing runs between two requests

				ctx = d.begin(parent, timeout)
				time.Sleep(timeout - 1)
				synctest.Wait()
				if err := ctx.Err(); err != nil {
					t.Errorf("the second request ended too early: %v", err)
				}
				time.Sleep(1)
				synctest.Wait()
				if got := context.Cause(ctx); got != context.DeadlineExceeded {
					t.Errorf("the second request ended by %v", got)
				}
				d.end()

				ctx = d.begin(parent, timeout)
				cancel()
				if ctx.Err() == nil {
					t.Error("a request outlives what bounds them all")
				}
				d.end()
			})
		})
	}
}
