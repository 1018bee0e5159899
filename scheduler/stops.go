package scheduler

import (
	"context"
	"time"

	"github.com/contauth/contauth/billing"
)

// A StopReader looks again at charges that somebody wants stopped.
type StopReader interface {
	// ReadStops returns stops with their present states, and with the answers
	// that are known by now.
	ReadStops(ctx context.Context, stops []billing.Stop) ([]billing.Stop, error)
}

const (
	// StopWait is how long a process that lives may take to give back what it
	// has claimed but not sent: it looks every controlEvery, and then needs a
	// round trip or two.
	StopWait = 2*controlEvery + 500*time.Millisecond
	stopPoll = 100 * time.Millisecond
)

// AwaitStops waits, no longer than StopWait, until every stop has its answer. A
// charge that is still claimed then counts as already at the gateway: only its
// process could tell, and that waits for an answer, or died.
func AwaitStops(ctx context.Context, reader StopReader, stops []billing.Stop) ([]billing.Stop, error) {
	patience := time.NewTimer(StopWait)
	defer patience.Stop()
	ticker := time.NewTicker(stopPoll)
	defer ticker.Stop()
	for !allAnswered(stops) {
		select {
		case <-ctx.Done():
			return stops, ctx.Err()
		case <-patience.C:
			return assumeSent(stops), nil
		case <-ticker.C:
		}
		var err error
		if stops, err = reader.ReadStops(ctx, stops); err != nil {
			return stops, err
		}
	}
	return stops, nil
}

func allAnswered(stops []billing.Stop) bool {
	for _, s := range stops {
		if s.Answer == "" {
			return false
		}
	}
	return true
}

func assumeSent(stops []billing.Stop) []billing.Stop {
	for i := range stops {
		if stops[i].Answer == "" {
			stops[i].Answer = billing.StopTooLate
		}
	}
	return stops
}
