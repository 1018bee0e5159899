package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

// A RunID is the number that the database gave a run.
type RunID int64

// A RunState says where a run stands; docs/state-machines.md draws it.
type RunState string

const (
	RunPlanned          RunState = "planned"           // its manifest is frozen; nothing was sent
	RunAwaitingApproval RunState = "awaiting_approval" // a person must approve the manifest's hash
	RunRunning          RunState = "running"           // its items may be claimed
	RunPaused           RunState = "paused"            // no item may be claimed until it is resumed
	RunCompleted        RunState = "completed"         // every item is accounted for
	RunAborted          RunState = "aborted"           // a person ended it; nothing more is claimed
)

var runMoves = map[RunState][]RunState{
	RunPlanned:          {RunRunning, RunAwaitingApproval, RunAborted},
	RunAwaitingApproval: {RunPlanned, RunAborted},
	RunRunning:          {RunPaused, RunCompleted, RunAborted},
	RunPaused:           {RunRunning, RunAborted},
}

// CanMove reports whether a run may go from s to next.
func (s RunState) CanMove(next RunState) bool { return slices.Contains(runMoves[s], next) }

// IsFinished reports whether a run in state s is over.
func (s RunState) IsFinished() bool { return s == RunCompleted || s == RunAborted }

// A Filter narrows the due charges that a plan takes. Its zero value takes all.
type Filter struct {
	Model           billing.RecurringProcessingModel `json:"model,omitempty"`
	MerchantAccount string                           `json:"merchant_account,omitempty"`
	Currency        string                           `json:"currency,omitempty"`
	References      []string                         `json:"references,omitempty"` // charge references, or a subscription's
	Limit           int                              `json:"limit,omitempty"`      // 0 for no limit
	// DueAgain takes only what somebody or something had in hand before: retries,
	// releases, and what an earlier run left out or postponed.
	DueAgain bool `json:"due_again,omitempty"`
}

// A Run is one batch of charges.
type Run struct {
	ID           RunID
	State        RunState
	Filter       Filter
	AsOf         time.Time         // business time up to which charges are taken, UTC
	AsOfDate     billing.LocalDate // set when asked for by date: local dates on or before it
	Items        int
	ManifestHash string // "sha256:" and hex, over the bytes of the manifest
	CreatedAt    time.Time
	CreatedBy    string
	ApprovedBy   string
	StartedAt    time.Time  // zero if it never started
	FinishedAt   time.Time  // zero if it is not over
	Reason       string     // why it was paused or aborted, or what its approval is for
	ScheduleID   ScheduleID // 0 for a run that a person planned
	Schedule     string     // the schedule's name
	FireAt       time.Time  // business time of the fire that made it
}

// A ManifestItem is one line of a run's manifest.
type ManifestItem struct {
	Position        int
	MerchantAccount string
	ChargeReference string
	Attempt         int
	AmountMinor     int64
	Currency        string
	Token           string
}

// AppendLine appends the item as the manifest's hash counts it: UTF-8, comma
// separated, ended by a line feed. No field can hold a comma: references and
// tokens are checked at import.
func (i ManifestItem) AppendLine(b []byte) []byte {
	return fmt.Appendf(b, "%d,%s,%s,%d,%d,%s,%s\n",
		i.Position, i.MerchantAccount, i.ChargeReference, i.Attempt, i.AmountMinor, i.Currency, i.Token)
}

// An Amount counts charges and their money in one currency.
type Amount struct {
	Count       int64 `json:"count"`
	AmountMinor int64 `json:"amount_minor"`
}

// Totals account for a run in one currency: every charge that was planned is
// in exactly one of the other columns, or is left to do.
type Totals struct {
	Currency  string `json:"currency"`
	Planned   Amount `json:"planned"`
	Paid      Amount `json:"paid"`
	Unpaid    Amount `json:"unpaid"`
	Retrying  Amount `json:"retrying"` // refused for now, due again later
	Pending   Amount `json:"pending"`
	Unknown   Amount `json:"unknown"`
	Held      Amount `json:"held"`
	Postponed Amount `json:"postponed"`
	Skipped   Amount `json:"skipped"` // cancelled, waived, or rejected by re-validation
	Left      Amount `json:"left"`    // not yet worked
}

// An Exclusion says how many charges of one currency were left out, or dropped
// from the manifest, for one reason.
type Exclusion struct {
	Disposition     string         `json:"disposition"` // held, postponed or skipped
	Reason          billing.Reason `json:"reason"`
	MerchantAccount string         `json:"merchant_account"`
	Currency        string         `json:"currency"`
	Amount
}

// A Report is a run's account of itself.
type Report struct {
	Run        Run
	Totals     []Totals
	Exclusions []Exclusion // of the plan, and of re-validation
	Declines   []Decline
	Stops      []AccountStop
}

// A Decline counts the refusals of a run by code.
type Decline struct {
	MerchantAccount string               `json:"merchant_account"`
	Class           billing.DeclineClass `json:"class"`
	Code            string               `json:"code"`
	Reason          string               `json:"reason"` // the gateway's words
	Count           int64                `json:"count"`
}

// An AccountStop says why a run stopped sending to a merchant account.
type AccountStop struct {
	MerchantAccount string         `json:"merchant_account"`
	Reason          billing.Reason `json:"reason"`
	Detail          string         `json:"detail"`
}
