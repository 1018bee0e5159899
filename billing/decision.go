package billing

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Decision is a person's, or a program's on a person's behalf: who decided,
// and why in their own words. It is kept in the audit table for good.
type Decision struct {
	Actor string
	Why   string
}

// Validate returns ErrInvalid unless the decision says who and why.
func (d Decision) Validate() error {
	const longest = 500
	switch {
	case strings.TrimSpace(d.Actor) == "":
		return fmt.Errorf("%w decision: it does not say who decided", ErrInvalid)
	case strings.TrimSpace(d.Why) == "":
		return fmt.Errorf("%w decision: it does not say why", ErrInvalid)
	case len(d.Why) > longest:
		return fmt.Errorf("%w decision: its reason has more than %d bytes", ErrInvalid, longest)
	}
	return nil
}

// A StopAnswer says what came of the wish that a charge not be sent to its
// gateway (charge protocol, step 7).
type StopAnswer string

const (
	StopDone          StopAnswer = "done"                   // nobody was charging it: the wish holds from now on
	StopBeforeSending StopAnswer = "stopped_before_sending" // a process had claimed it and gave it back unsent
	StopTooLate       StopAnswer = "already_at_gateway"     // the request may have left: its answer will be recorded
)

// A Stop is one charge that somebody wants stopped, and what came of it.
type Stop struct {
	ChargeID  ChargeID
	Reference string
	State     ChargeState
	Answer    StopAnswer // empty while it is not known yet

	// Attempt is the attempt that was open when the wish was stored, and Seen
	// the newest observation of the charge that was known then: a later one
	// tells that the request left.
	Attempt int
	Seen    int64
}

// A StopReader looks again at charges that somebody wants stopped.
type StopReader interface {
	// ReadStops returns stops with their present states, and with the answers
	// that are known by now.
	ReadStops(ctx context.Context, stops []Stop) ([]Stop, error)
}

const (
	// StopWait is how long a process that lives may take to give back what it
	// has claimed but not sent: it looks once a second.
	StopWait = 2500 * time.Millisecond
	stopPoll = 100 * time.Millisecond
)

// AwaitStops waits, no longer than StopWait, until every stop has its answer. A
// charge that is still claimed then counts as already at the gateway: only its
// process could tell, and that waits for an answer, or died.
func AwaitStops(ctx context.Context, reader StopReader, stops []Stop) ([]Stop, error) {
	deadline := time.NewTimer(StopWait)
	defer deadline.Stop()
	ticker := time.NewTicker(stopPoll)
	defer ticker.Stop()
	for !allAnswered(stops) {
		select {
		case <-ctx.Done():
			return stops, ctx.Err()
		case <-deadline.C:
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

func allAnswered(stops []Stop) bool {
	for _, s := range stops {
		if s.Answer == "" {
			return false
		}
	}
	return true
}

func assumeSent(stops []Stop) []Stop {
	for i := range stops {
		if stops[i].Answer == "" {
			stops[i].Answer = StopTooLate
		}
	}
	return stops
}
