package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

// A Meter counts what a process learns, for those who watch it. It is called for
// every answer by every sender at once: it must take no time, and keep nothing it
// is handed.
type Meter interface {
	// Answered counts what a request led to, and how long it took.
	Answered(merchantAccount string, s *billing.Settlement, took time.Duration)
}

// unmetered is the Meter of a process that nobody watches.
type unmetered struct{}

func (unmetered) Answered(string, *billing.Settlement, time.Duration) {}

// A Load is what one process has in hand at one moment.
type Load struct {
	Lanes     []LaneLoad // by merchant account
	Unwritten int64      // answers that are not committed yet
}

// A LaneLoad is what one process has in hand for one merchant account.
type LaneLoad struct {
	MerchantAccount string
	Queued          int           // claimed, and not sent yet
	InFlight        int           // requests without an answer
	Limit           int           // requests that may be in flight now
	Share           int           // of the account's max_in_flight, for this process
	Outage          time.Duration // since when the gateway could not be reached; 0 if it can be
}

// Load returns what the runner has in hand. Anybody may call it at any time.
func (r *Runner) Load() Load {
	c := r.atWork.Load()
	if c == nil {
		return Load{}
	}
	var load Load
	for _, l := range c.lanes {
		load.Lanes = append(load.Lanes, l.load())
	}
	slices.SortFunc(load.Lanes, func(a, b LaneLoad) int { return cmp.Compare(a.MerchantAccount, b.MerchantAccount) })
	load.Unwritten = c.flusher.unwritten()
	return load
}

func (l *lane) load() LaneLoad {
	l.mu.Lock()
	defer l.mu.Unlock()
	load := LaneLoad{
		MerchantAccount: l.account.MerchantAccount,
		Queued:          len(l.queue), InFlight: l.inFlight, Limit: l.limit, Share: l.share,
	}
	if l.backOffs > 0 {
		load.Outage = time.Since(l.outageSince)
	}
	return load
}

func (f *flusher) unwritten() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handed - f.done
}

// Figures are what the database says about the whole book, whoever works it.
type Figures struct {
	// OpenKnown says whether OpenCharges, Unknown, UnknownOldest and DueLag are
	// known yet: where very much is open, reading it takes several times.
	OpenKnown   bool
	OpenCharges []OpenFigure
	Unknown     []UnknownFigure
	// UnknownOldest is how long ago the oldest attempt of them was started.
	UnknownOldest time.Duration
	// DueLag is by how much, in business time, the oldest due charge is late that
	// is in no unfinished run.
	DueLag time.Duration
	// CycleLag is by how much, in business time, the oldest cycle is late that is
	// no charge yet.
	CycleLag time.Duration
	// FireLag is by how much, in business time, the oldest fire is late that has no
	// run yet.
	FireLag time.Duration

	Runs []RunFigure // those that are not finished
	// RunIdle is for how long nobody has worked the running run that was left alone
	// the longest.
	RunIdle time.Duration

	Claims       int           // batches of leased charges
	LeaseOverdue time.Duration // how long ago the first of their leases ended; 0 if none has

	Accounts []AccountFigure
	Inbox    []InboxFigure // events that are not applied
	Alerts   int           // that nobody closed
}

// An OpenFigure counts charges that are not finished.
type OpenFigure struct {
	MerchantAccount string              `db:"merchant_account"`
	State           billing.ChargeState `db:"state"`
	Count           int64               `db:"count"`
}

// An UnknownFigure counts unknown charges and their money.
type UnknownFigure struct {
	MerchantAccount string         `db:"merchant_account"`
	Currency        string         `db:"currency"`
	Reason          billing.Reason `db:"reason"`
	Count           int64          `db:"count"`
	AmountMinor     int64          `db:"amount_minor"`
}

// A RunFigure counts runs.
type RunFigure struct {
	State RunState `db:"state"`
	Count int      `db:"count"`
}

// An AccountFigure says how all processes together treat a merchant account.
type AccountFigure struct {
	MerchantAccount string
	BackOff         time.Duration // for how long nothing more is claimed
}

// An InboxFigure counts events.
type InboxFigure struct {
	State  string // stored, waiting or quarantined
	Count  int
	Oldest time.Duration // since it arrived
}
