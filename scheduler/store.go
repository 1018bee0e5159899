package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/contauth/contauth/billing"
)

// ErrUnavailable says that the database could not do what it was asked at this
// moment: nothing is wrong with the request. What was asked may have happened.
var ErrUnavailable = errors.New("database unavailable")

// A ProcessID names one start of a process that claims charges.
type ProcessID int64

// A ClaimID names one claim: a batch of charges leased together, which is on
// record until the answer to the last of them is committed.
type ClaimID int64

// A Store keeps runs and charges. Every method is one transaction; none is
// open while a gateway is called.
type Store interface {
	// StartRun moves a planned or paused run to running; a running run is
	// joined. It returns billing.ErrConflict for one that awaits approval or is over.
	StartRun(ctx context.Context, id RunID, actor string) (Run, error)
	// FinishRun moves a running run to completed if every item is accounted
	// for, and reports whether it is now over.
	FinishRun(ctx context.Context, id RunID) (bool, error)
	// RunAccounts lists the merchant accounts of a run's manifest, and those that
	// have something to resolve from other runs, with no positions.
	RunAccounts(ctx context.Context, id RunID) ([]RunAccount, error)

	// Accounts lists every merchant account of the database.
	Accounts(ctx context.Context) ([]Account, error)
	// RunningRuns lists the runs in state running, the oldest first.
	RunningRuns(ctx context.Context) ([]Run, error)

	// ClaimDue leases the next charges of a manifest to this process.
	ClaimDue(ctx context.Context, req ClaimRequest) (ClaimResult, error)
	// ReadClaim reads back a claim whose commit was not answered. It returns
	// billing.ErrNotFound if the claim never happened.
	ReadClaim(ctx context.Context, req ClaimRequest) (ClaimResult, error)
	// LeftOver counts a run's items at one account that are neither answered nor
	// given a reason.
	LeftOver(ctx context.Context, id RunID, merchantAccount string) (LeftOver, error)
	// GiveBack returns claimed charges of which no byte was sent, each only if
	// its lease number still stands, and forgets the settled claims.
	GiveBack(ctx context.Context, charges []billing.ClaimedCharge, settled []ClaimID) error
	// Settle records what was learnt, whoever holds the leases now, and moves the
	// charges that still stand where the attempts left them. It forgets the settled
	// claims, and may reorder settlements. After ErrUnavailable or
	// billing.ErrUnknown, call it again; any other error says that one of the
	// settlements can never be stored.
	Settle(ctx context.Context, settlements []*billing.Settlement, settled []ClaimID) (SettleResult, error)
	// ReleaseSlots gives up this process's share of an account's max_in_flight.
	ReleaseSlots(ctx context.Context, process ProcessID, merchantAccount string) error

	// ExpireLeases turns claimed charges whose lease ran out into unknown ones
	// and returns how many.
	ExpireLeases(ctx context.Context, limit int) (int, error)
	// AccountsToResolve lists the merchant accounts with a charge that the resolver
	// should look at now.
	AccountsToResolve(ctx context.Context) ([]string, error)
	// ClaimReplays leases unknown and pending charges whose time has come to be
	// sent again with the same key and bytes, after checking that they still may.
	ClaimReplays(ctx context.Context, req ReplayRequest) (ClaimResult, error)

	// Reserve takes the next n departures from the account's rate.
	Reserve(ctx context.Context, merchantAccount string, n int) ([]Departure, error)
	// BackOff keeps every process from claiming at the account for a while.
	BackOff(ctx context.Context, merchantAccount string, wait time.Duration) error
	// StopAccount ends the account's part of a run: what is not at the gateway
	// is skipped or postponed for the reason.
	StopAccount(ctx context.Context, id RunID, stop AccountStop, disposition string) error
	// Control reads, once a second, what must stop: which of the runs are still
	// running, sending stops, and which of the given unsent charges a person wants
	// stopped. It marks that the runs are being worked.
	Control(ctx context.Context, runs []RunID, unsent []billing.ChargeID) (Control, error)
	// OpenUnknown says when the next unknown of a run, at these accounts, will be sent again
	// automatically within the first steps, and how many there are.
	OpenUnknown(ctx context.Context, id RunID, senders []Sender, steps int) (OpenUnknown, error)
	// CountCanary counts the answers of the first items of a run at one account, up
	// to a position.
	CountCanary(ctx context.Context, id RunID, merchantAccount string, end int) (CanaryCounts, error)
	// CloseCanary lets the rest follow, or with a reason pauses the run.
	CloseCanary(ctx context.Context, id RunID, merchantAccount, reason string) error
	// BusinessNow is the business time of the installation.
	BusinessNow(ctx context.Context) (time.Time, error)
}

// An Account is a merchant account as the one who sends to it must know it.
type Account struct {
	MerchantAccount string `db:"merchant_account"`
	Gateway         string `db:"gateway"`
	MaxInFlight     int    `db:"max_in_flight"`
}

// A RunAccount is one merchant account's part of a manifest: positions First
// to Last.
type RunAccount struct {
	Account
	First int `db:"first"`
	Last  int `db:"last"`
}

// A ClaimRequest asks for the charges at positions (After, After+Limit] of a
// run's manifest at one account.
type ClaimRequest struct {
	Token           uuid.UUID // made by the caller, so that an unanswered commit can be looked up
	Process         ProcessID
	RunID           RunID
	MerchantAccount string
	After           int
	Last            int // the account's last position
	Limit           int
	WireVersion     int
	Endpoint        string // where this process sends the account's requests
	Lease           time.Duration
	ClaimAhead      time.Duration // at most what leaves in this time is claimed
	SlotsHeld       int           // how many requests this process lets be in flight now
}

// A ClaimResult is what a claim got.
type ClaimResult struct {
	ID       ClaimID // 0 if no charge was claimed
	Charges  []billing.ClaimedCharge
	Position int // the window's end: the next claim goes on after it
	Slots    int // how many requests this process may have in flight from now on
	// Wait says that nothing may be claimed for this long: back-off, rate, or
	// other processes using every slot.
	Wait time.Duration
	// Paced says that the account has a rate: each request needs a departure.
	Paced bool
	// Departures are one for each charge; none after a claim that was read back.
	Departures []Departure
	// Halt says why nothing may be claimed at all; empty if it may.
	Halt billing.Reason
	// RunState is the run's state as the claim saw it.
	RunState RunState
}

// A Departure is a moment at which one request may leave, taken from the
// account's rate: not before From, and not after Until, when it would come too
// close to another process's. On this process's monotonic clock.
type Departure struct {
	From, Until time.Time
}

// LeftOver says what a pass over a manifest left.
type LeftOver struct {
	Items         int
	FirstPosition int           // of the items that are due; 0 if none is
	Claimed       int           // leased to some process now
	LeaseEnds     time.Duration // until the latest of those leases ends
}

// A SettleResult says what did not go the usual way.
type SettleResult struct {
	Known          int // the same news was known already
	Contradictions int // other news was known: an alert was stored
}

// A ReplayRequest asks for unknown and pending charges whose time has come.
type ReplayRequest struct {
	Process         ProcessID
	MerchantAccount string
	WireVersion     int
	Endpoint        string // as in ClaimRequest
	Lease           time.Duration
	Limit           int
	SlotsHeld       int // as in ClaimRequest
}

// A Sender says what this process can send again: an account's attempts that
// were written by one version.
type Sender struct {
	MerchantAccount string
	WireVersion     int
}

// OpenUnknown says how many unknown charges of a run will be sent again soon.
type OpenUnknown struct {
	Count int
	Next  time.Duration // until the first of them is due
}

// Control is what people and other processes want of this one.
type Control struct {
	Running []RunID // of the runs that were asked about
	Stops   []SendingStop
	Stopped []billing.ChargeID // of the unsent: a person wants these stopped
}

// A SendingStop is one row of the kill switch.
type SendingStop struct {
	Scope  string // all, merchant_account or gateway
	Name   string
	Reason string
}
