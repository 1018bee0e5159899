package billing

import (
	"fmt"
	"strings"
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
