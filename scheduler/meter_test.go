package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func TestRunner_LoadOfNobodyAtWork(t *testing.T) {
	r := NewRunner(nil, 1, nil, Options{}, hclog.NewNullLogger())
	if diff := cmp.Diff(Load{}, r.Load()); diff != "" {
		t.Errorf("load (-want +got):\n%s", diff)
	}
	r.opts.Meter.Answered("DemoEU", good, time.Second) // nobody watches, and nothing breaks
}

func TestRunner_Load(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRunner(nil, 1, nil, Options{}, hclog.NewNullLogger())
		c := r.newCrew(nil)
		for _, account := range []string{"DemoUS", "DemoEU"} {
			c.lanes[account] = newLane(Account{MerchantAccount: account, MaxInFlight: 4}, nil, time.Hour)
		}
		busy := c.lanes["DemoEU"]
		busy.setShare(4)
		busy.push(nil, parcels(1, 2, 3))
		busy.take(nil)
		c.lanes["DemoUS"].setShare(2)
		c.lanes["DemoUS"].observe(later)
		time.Sleep(30 * time.Second)
		c.flusher.hand(parcels(4)[0])
		r.atWork.Store(c)
		want := Load{Unwritten: 1, Lanes: []LaneLoad{
			{MerchantAccount: "DemoEU", Queued: 2, InFlight: 1, Limit: 1, Share: 4},
			{MerchantAccount: "DemoUS", Limit: 1, Share: 2, Outage: 30 * time.Second},
		}}
		if diff := cmp.Diff(want, r.Load()); diff != "" {
			t.Errorf("load (-want +got):\n%s", diff)
		}
		c.lanes["DemoUS"].observe(good)
		if got := r.Load().Lanes[1].Outage; got != 0 {
			t.Errorf("the gateway answers, and the outage lasts %s", got)
		}
	})
}
