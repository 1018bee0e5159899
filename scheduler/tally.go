package scheduler

import (
	"sync"

	"github.com/contauth/contauth/billing"
)

// Progress counts what a process has done for a run so far.
type Progress struct {
	Items    int64 // of the manifest
	Charged  int64
	Declined int64
	Pending  int64
	Unknown  int64 // now; a replay may still settle them
	Rejected int64 // the gateway answered without trying
}

// Done is how many charges have been answered for.
func (p Progress) Done() int64 { return p.Charged + p.Declined + p.Pending + p.Unknown + p.Rejected }

// A tally adds up the answers of one run as they are committed.
type tally struct {
	run RunID

	mu       sync.Mutex
	progress Progress
	open     map[billing.ChargeID]billing.ChargeState // pending and unknown ones, which may be counted again
}

func newTally(run Run) *tally {
	return &tally{run: run.ID, progress: Progress{Items: int64(run.Items)}, open: map[billing.ChargeID]billing.ChargeState{}}
}

// add counts a group. Replays may belong to other runs: those are left out.
func (t *tally) add(group []*parcel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range group {
		if RunID(p.RunID) != t.run {
			continue
		}
		switch t.open[p.ID] {
		case billing.ChargePending:
			t.progress.Pending--
		case billing.ChargeUnknown:
			t.progress.Unknown--
		}
		delete(t.open, p.ID)
		switch s := &p.settlement; {
		case s.State == billing.ChargePending:
			t.progress.Pending++
			t.open[p.ID] = s.State
		case s.State == billing.ChargeUnknown:
			t.progress.Unknown++
			t.open[p.ID] = s.State
		case s.Outcome == billing.OutcomeAuthorised:
			t.progress.Charged++
		case s.Outcome == billing.OutcomeRefused:
			t.progress.Declined++
		case s.Counted:
			t.progress.Rejected++
		}
	}
}

func (t *tally) now() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.progress
}
