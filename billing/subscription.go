package billing

import (
	"fmt"
	"slices"

	"github.com/contauth/contauth/tokens"
)

// A SubscriptionID is our own number of a subscription.
type SubscriptionID int64

// A Subscription is an agreement to charge a token the same amount again and
// again, at the times its calendar gives.
//
// Its identity is (MerchantAccount, Reference); a cycle's is (subscription,
// number of the cycle), never a date, so that no change of dates can create or
// lose one.
type Subscription struct {
	ID              SubscriptionID
	MerchantAccount string
	Reference       string // the merchant's own name of it: ValidateReference
	TokenID         tokens.ID
	Amount          Money // what one cycle costs
	Calendar        Calendar
	Description     string
	State           SubscriptionState
	// FirstCycle is the first cycle that is charged by us. Earlier ones are on
	// record as waived: they fell before the import.
	FirstCycle int
	// NextCycle is the first cycle that has not become a charge yet.
	NextCycle int
}

// A SubscriptionState says whether a subscription makes charges;
// docs/state-machines.md draws it.
type SubscriptionState string

const (
	SubscriptionActive    SubscriptionState = "active"    // cycles become charges when they fall due
	SubscriptionPaused    SubscriptionState = "paused"    // by a person, or by a dispute; cycles that fall due are waived, on record
	SubscriptionPastDue   SubscriptionState = "past_due"  // a charge of it is unpaid, and nothing will try it again by itself (no command of this version sets it)
	SubscriptionCancelled SubscriptionState = "cancelled" // for good
	SubscriptionCompleted SubscriptionState = "completed" // all cycles up to its end have become charges
)

// subscriptionMoves is the whole truth about legal moves: the test and the
// drawing in docs/ are made from it.
var subscriptionMoves = map[SubscriptionState][]SubscriptionState{
	SubscriptionActive:  {SubscriptionPaused, SubscriptionPastDue, SubscriptionCancelled, SubscriptionCompleted},
	SubscriptionPaused:  {SubscriptionActive, SubscriptionPastDue, SubscriptionCancelled, SubscriptionCompleted},
	SubscriptionPastDue: {SubscriptionActive, SubscriptionPaused, SubscriptionCancelled, SubscriptionCompleted},
	// A later import may move the end of a subscription further away.
	SubscriptionCompleted: {SubscriptionActive},
	SubscriptionCancelled: {},
}

// CanMove reports whether a subscription may go from s to next.
func (s SubscriptionState) CanMove(next SubscriptionState) bool {
	return slices.Contains(subscriptionMoves[s], next)
}

// UnmarshalText implements encoding.TextUnmarshaler and refuses words that are
// no state.
func (s *SubscriptionState) UnmarshalText(text []byte) error {
	if _, ok := subscriptionMoves[SubscriptionState(text)]; !ok {
		return fmt.Errorf("%w subscription state: want active, paused, past_due, cancelled or completed", ErrInvalid)
	}
	*s = SubscriptionState(text)
	return nil
}
