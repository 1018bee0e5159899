package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
)

func newTestLane(share int) *lane {
	l := newLane(Account{MerchantAccount: "DemoEU", MaxInFlight: share}, nil, 0)
	l.setShare(share)
	return l
}

func parcels(ids ...billing.ChargeID) []*parcel {
	var made []*parcel
	for _, id := range ids {
		made = append(made, &parcel{ClaimedCharge: &billing.ClaimedCharge{ID: id}, batch: &batch{}})
	}
	return made
}

var (
	good    = &billing.Settlement{Outcome: billing.OutcomeAuthorised, Counted: true}
	silence = &billing.Settlement{Outcome: billing.OutcomeUnknown}
	later   = &billing.Settlement{Outcome: billing.OutcomeNotProcessed, Stop: billing.ScopeNow}
	reject  = &billing.Settlement{Outcome: billing.OutcomeNotProcessed, Counted: true, Stop: billing.ScopeCharge}
	denied  = &billing.Settlement{Outcome: billing.OutcomeNotProcessed, Stop: billing.ScopeAccount}
)

func TestLane_StartsWithOneRequestAndAddsOneAnAnswer(t *testing.T) {
	l := newTestLane(4)
	var limits []int
	for range 6 {
		limits = append(limits, l.limit)
		l.observe(good)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 4, 4}, limits); diff != "" {
		t.Errorf("requests in flight after each answer (-want +got)\n%s", diff)
	}
}

func TestLane_HoldsNoSlotsBeforeItsFirstClaim(t *testing.T) {
	l := newLane(Account{MaxInFlight: 64}, nil, 0)
	if got := l.held(); got != 0 {
		t.Errorf("a new lane holds %d slots", got)
	}
}

func TestLane_Brakes(t *testing.T) {
	type step struct {
		answer *billing.Settlement
		want   brake
	}
	repeat := func(s step, n int) []step {
		steps := make([]step, n)
		for i := range steps {
			steps[i] = s
		}
		return steps
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"one refusal of the account stops it", []step{{good, brakeNone}, {denied, brakeStop}}},
		{"a burst of rejections stops the account", append(repeat(step{reject, brakeNone}, 4), step{reject, brakeStop})},
		{"an answer in between breaks the burst", append(append(repeat(step{reject, brakeNone}, 4), step{good, brakeNone}), repeat(step{reject, brakeNone}, 4)...)},
		{`"later" steps back at once`, []step{{good, brakeNone}, {later, brakeBackOff}}},
		{`a second "later" of the same moment changes nothing`, []step{{later, brakeBackOff}, {later, brakeNone}, {later, brakeNone}}},
		{"silence steps back after five", append(repeat(step{silence, brakeNone}, 4), step{silence, brakeBackOff})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLane(4)
			for i, s := range tt.steps {
				if got, _ := l.observe(s.answer); got != s.want {
					t.Errorf("answer %d: brake %d, want %d", i+1, got, s.want)
				}
			}
		})
	}
}

func TestLane_StepsBackLongerEachTimeAndThenGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLane(4)
		var waits []time.Duration
		for {
			brake, wait := l.observe(later)
			if brake == brakeStop {
				break
			}
			waits = append(waits, wait)
			time.Sleep(l.quiet())
		}
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Errorf("waits (-want +got)\n%s", diff)
		}
	})
}

func TestLane_HeedsTheGatewaysOwnWish(t *testing.T) {
	l := newTestLane(4)
	wish := *later
	wish.RetryAfter = time.Minute
	if _, wait := l.observe(&wish); wait != time.Minute {
		t.Errorf("waits %s, the gateway asked for a minute", wait)
	}
}

// Requests of an account with a rate leave at their departures, however many
// workers wait, and never after them: who missed one takes a later one.
func TestLane_SendsAtItsDepartures(t *testing.T) {
	const every, late = 200 * time.Millisecond, 50 * time.Millisecond
	departures := func(start time.Time, from, n int) (all []Departure) {
		for i := range n {
			at := start.Add(time.Duration(from+i) * every)
			all = append(all, Departure{From: at, Until: at.Add(late)})
		}
		return all
	}
	tests := map[string]struct {
		booked []int // how many departures from the first on, and from the fifth on
		begin  time.Duration
		want   []time.Duration
	}{
		"on time":             {[]int{4, 0}, 0, []time.Duration{0, every, 2 * every, 3 * every}},
		"a little late":       {[]int{4, 0}, late, []time.Duration{late, every, 2 * every, 3 * every}},
		"one missed":          {[]int{4, 1}, late + 1, []time.Duration{every, 2 * every, 3 * every, 5 * every}},
		"more are asked for":  {[]int{4, 0}, 2*every + late + 1, []time.Duration{3 * every, 10 * every, 11 * every, 12 * every}},
		"none were ever had":  {[]int{0, 0}, 0, []time.Duration{10 * every, 11 * every, 12 * every, 13 * every}},
		"booked out of order": {[]int{2, 2}, 0, []time.Duration{0, every, 5 * every, 6 * every}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newTestLane(4)
				l.limit = 4
				start := time.Now()
				all := parcels(1, 2, 3, 4)
				for _, p := range all {
					p.paced = true
				}
				l.book(departures(start, 5, test.booked[1]))
				l.book(departures(start, 0, test.booked[0]))
				time.Sleep(test.begin)
				l.push(nil, all)
				left := make(chan time.Duration, len(all))
				for range all {
					go func() {
						if p := l.take(func(n int) ([]Departure, bool) { return departures(start, 10, n), true }); p != nil {
							left <- time.Since(start)
						}
					}()
				}
				var got []time.Duration
				for range all {
					got = append(got, <-left)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("requests left after (-want +got)\n%s", diff)
				}
				l.close()
			})
		})
	}
}

// A charge that may no longer be sent needs no departure: it is handed out at once, to
// be given back, however slow the database is with departures.
func TestLane_WhatIsTooLateDoesNotWait(t *testing.T) {
	l := newTestLane(1)
	one := parcels(1)
	one[0].paced, one[0].SendBy = true, time.Now().Add(-time.Second)
	l.push(nil, one)
	asked := false
	taken := l.take(func(int) ([]Departure, bool) { asked = true; return nil, false })
	if taken != one[0] || asked {
		t.Errorf("took %v, and asked for a departure: %t", taken, asked)
	}
}

// Where no departure can be had before the process ends, its workers end too.
func TestLane_EndsWithoutDepartures(t *testing.T) {
	l := newTestLane(1)
	one := parcels(1)
	one[0].paced = true
	l.push(nil, one)
	if l.take(func(int) ([]Departure, bool) { return nil, false }) != nil {
		t.Error("a charge left without a departure")
	}
}

// Taking charges back out of the queue wakes the feeder, which would else wait
// for workers that have nothing to do.
func TestLane_RemovingWakesTheFeeder(t *testing.T) {
	l := newTestLane(1)
	l.push(nil, parcels(1, 2, 3))
	if l.hasRoom(0) {
		t.Fatal("a full queue has room")
	}
	if removed := l.remove(func(p *parcel) bool { return p.ID == 2 }); len(removed) != 1 || removed[0].ID != 2 {
		t.Errorf("removed %d", len(removed))
	}
	l.removeAll()
	select {
	case <-l.room:
	default:
		t.Error("nobody woke the feeder")
	}
	if !l.isIdle() {
		t.Error("the lane is not idle")
	}
}

func TestLane_CloseEndsItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLane(2)
		ended := make(chan bool, 2)
		for range 2 {
			go func() { ended <- l.take(nil) == nil }()
		}
		synctest.Wait()
		l.close()
		for range 2 {
			if !<-ended {
				t.Error("a worker got a charge from a closed lane")
			}
		}
	})
}

func TestTally_CountsEachChargeOnce(t *testing.T) {
	tally := newTally(Run{ID: 1, Items: 4})
	count := func(id billing.ChargeID, run int64, state billing.ChargeState, outcome billing.Outcome) {
		p := parcels(id)[0]
		p.RunID = run
		p.settlement = billing.Settlement{State: state, Outcome: outcome, Counted: outcome == billing.OutcomeAuthorised || outcome == billing.OutcomeRefused}
		tally.add([]*parcel{p})
	}
	count(1, 1, billing.ChargePaid, billing.OutcomeAuthorised)
	count(2, 1, billing.ChargeUnknown, billing.OutcomeUnknown)
	count(2, 1, billing.ChargeUnknown, billing.OutcomeUnknown) // a replay without an answer
	count(2, 1, billing.ChargePaid, billing.OutcomeAuthorised) // and one with
	count(3, 1, billing.ChargeDue, billing.OutcomeNotProcessed)
	count(3, 1, billing.ChargeDue, billing.OutcomeRefused)
	count(4, 1, billing.ChargePending, billing.OutcomePending)
	count(9, 7, billing.ChargePaid, billing.OutcomeAuthorised) // a replay of another run
	want := Progress{Items: 4, Charged: 2, Declined: 1, Pending: 1}
	if diff := cmp.Diff(want, tally.now()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
