package scheduler

import (
	"sync/atomic"

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

// A tally adds up answers as they are committed.
type tally struct {
	items                                         int64
	charged, declined, pending, unknown, rejected atomic.Int64
}

func (t *tally) add(p *parcel) {
	if p.Replays > 0 {
		t.unknown.Add(-1)
	}
	switch s := &p.settlement; s.Outcome {
	case billing.OutcomeAuthorised:
		t.charged.Add(1)
	case billing.OutcomeRefused:
		t.declined.Add(1)
	case billing.OutcomePending:
		t.pending.Add(1)
	case billing.OutcomeUnknown:
		t.unknown.Add(1)
	case billing.OutcomeNotProcessed:
		if s.Counted {
			t.rejected.Add(1)
		}
	}
}

func (t *tally) progress() Progress {
	return Progress{
		Items: t.items, Charged: t.charged.Load(), Declined: t.declined.Load(), Pending: t.pending.Load(),
		Unknown: max(0, t.unknown.Load()), Rejected: t.rejected.Load(),
	}
}
