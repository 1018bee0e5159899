package billing

import (
	"slices"
	"time"

	"github.com/contauth/contauth/tokens"
)

// A ChargeID is the number that the database gave a charge.
type ChargeID int64

// A RecurringProcessingModel says why the cardholder is charged while absent.
// The words are Adyen's, which the schemes' rules follow.
type RecurringProcessingModel string

const (
	ModelSubscription          RecurringProcessingModel = "Subscription"          // a fixed schedule; the amount may vary
	ModelUnscheduledCardOnFile RecurringProcessingModel = "UnscheduledCardOnFile" // an event, such as a top-up, without a schedule
)

// A ChargeState says where a charge stands; docs/state-machines.md draws it.
type ChargeState string

const (
	ChargeDue       ChargeState = "due"       // waits for its time, or for its next attempt
	ChargeClaimed   ChargeState = "claimed"   // leased to one process until its lease ends
	ChargePending   ChargeState = "pending"   // the gateway accepted it and will tell later
	ChargeUnknown   ChargeState = "unknown"   // perhaps sent, no answer: only the resolver may move it
	ChargeHeld      ChargeState = "held"      // deliberately not charged now, with a reason
	ChargePaid      ChargeState = "paid"      // authorised, or paid elsewhere
	ChargeUnpaid    ChargeState = "unpaid"    // refused for good; a person or a new card may release it
	ChargeCancelled ChargeState = "cancelled" // no longer owed
	ChargeWaived    ChargeState = "waived"    // deliberately never charged
)

// chargeMoves is every move that a charge may make. docs/state-machines.md is
// drawn from it and a test walks it.
var chargeMoves = map[ChargeState][]ChargeState{
	ChargeDue:     {ChargeClaimed, ChargeHeld, ChargeCancelled, ChargeWaived, ChargePaid},
	ChargeClaimed: {ChargeDue, ChargePending, ChargeUnknown, ChargePaid, ChargeUnpaid, ChargeHeld},
	ChargeUnknown: {ChargePaid, ChargeUnpaid, ChargeDue, ChargeHeld, ChargePending},
	ChargePending: {ChargePaid, ChargeUnpaid, ChargeDue, ChargeHeld},
	ChargeHeld:    {ChargeDue, ChargeCancelled, ChargeWaived, ChargePaid},
	ChargeUnpaid:  {ChargeDue, ChargePaid},
}

// ChargeStates are all states, in the order of a charge's life.
func ChargeStates() []ChargeState {
	return []ChargeState{ChargeDue, ChargeClaimed, ChargePending, ChargeUnknown, ChargeHeld, ChargePaid, ChargeUnpaid, ChargeCancelled, ChargeWaived}
}

// Moves are the states that a charge in state s may go to.
func (s ChargeState) Moves() []ChargeState { return slices.Clone(chargeMoves[s]) }

// CanMove reports whether a charge may go from s to next.
func (s ChargeState) CanMove(next ChargeState) bool { return slices.Contains(chargeMoves[s], next) }

// IsFinished reports whether nothing more is planned for a charge in state s.
// A person's release or a late answer may still move it from unpaid.
func (s ChargeState) IsFinished() bool {
	switch s {
	case ChargePaid, ChargeUnpaid, ChargeCancelled, ChargeWaived:
		return true
	default:
		return false
	}
}

// HasOpenAttempt reports whether a request for the charge may be on its way.
func (s ChargeState) HasOpenAttempt() bool {
	return s == ChargeClaimed || s == ChargePending || s == ChargeUnknown
}

// A Charge is the money owed for one cycle of a subscription, or for one
// unscheduled request.
type Charge struct {
	ID              ChargeID
	Reference       string // unique in its merchant account: the request's own, or <subscription>~<cycle>
	MerchantAccount string
	Subscription    string // the subscription's reference; empty for an unscheduled charge
	Cycle           int    // 0 for an unscheduled charge
	PeriodStart     LocalDate
	PeriodEnd       LocalDate // exclusive
	Model           RecurringProcessingModel
	Token           tokens.Token
	Amount          Money
	State           ChargeState
	Reason          Reason
	DueAt           time.Time // when the money fell due, UTC; never changes
	NextAttemptAt   time.Time // business time from which a run may take it, UTC
	Answered        int       // attempts with a definite answer
}

// A ClaimedCharge is a charge leased to this process, with all that enters its
// request. It is the written-ahead intent of one attempt: the same row always
// makes the same bytes.
type ClaimedCharge struct {
	ID               ChargeID
	Reference        string
	MerchantAccount  string
	Model            RecurringProcessingModel
	Amount           Money
	TokenID          tokens.ID
	Token            string // the gateway's id of the stored payment method
	ShopperReference string
	PaymentMethod    string
	ReturnURL        string // as it was when the attempt was first claimed
	Attempt          int
	LeaseNo          int
	RunID            int64
	Replays          int       // how often the resolver has sent this attempt again
	Pending          bool      // the gateway said it accepted this attempt; a replay asks for the result
	BusinessNow      time.Time // the run's business time: waits count from it

	// SendBy is the last moment at which a request may start, so that it ends
	// before the lease does; on this process's monotonic clock.
	SendBy time.Time
}
