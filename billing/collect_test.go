package billing

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fakeGateway answers as told, and notes what it was asked.
type fakeGateway struct {
	Gateway
	charge, find func() (Reply, error)
	asked        []string
}

func (g *fakeGateway) Charge(context.Context, ChargeRequest) (Reply, error) {
	g.asked = append(g.asked, "charge")
	return g.charge()
}

// A findingGateway is one that can look up.
type findingGateway struct{ *fakeGateway }

func (g findingGateway) Find(context.Context, ChargeRequest) (Reply, error) {
	g.asked = append(g.asked, "find")
	return g.find()
}

func TestCollect_LooksUpBeforeItSendsAgain(t *testing.T) {
	says := func(r Reply, err error) func() (Reply, error) { return func() (Reply, error) { return r, err } }
	authorised := Reply{Outcome: OutcomeAuthorised}
	refused := Reply{Outcome: OutcomeRefused, Class: DeclineHard}
	missing := says(Reply{}, ErrNotFound)
	tests := map[string]struct {
		replays int
		find    func() (Reply, error)
		charge  func() (Reply, error)
		asked   []string
		want    ChargeState
		counted bool
		stop    Scope
	}{
		"the first time there is nothing to look up":           {0, missing, says(authorised, nil), []string{"charge"}, ChargePaid, true, ""},
		"found and authorised":                                 {1, says(authorised, nil), nil, []string{"find"}, ChargePaid, true, ""},
		"found and refused":                                    {1, says(refused, nil), nil, []string{"find"}, ChargeUnpaid, true, ""},
		"found and still at work":                              {2, says(Reply{Outcome: OutcomePending}, nil), nil, []string{"find"}, ChargePending, false, ""},
		"not found, then authorised":                           {1, missing, says(authorised, nil), []string{"find", "charge"}, ChargePaid, true, ""},
		"not found, then no answer":                            {1, missing, says(Reply{}, ErrUnknown), []string{"find", "charge"}, ChargeUnknown, false, ""},
		"not found, then not sent":                             {1, missing, says(Reply{}, ErrNotSent), []string{"find", "charge"}, ChargeUnknown, false, ScopeNow},
		"not found, and turned away, which is not the first's": {1, missing, says(Reply{}, &NotProcessedError{Status: 400, Counted: true, Scope: ScopeCharge}), []string{"find", "charge"}, ChargeUnknown, false, ScopeCharge},
		"not found, then refused":                              {1, missing, says(refused, nil), []string{"find", "charge"}, ChargeUnpaid, true, ""},
		"the look-up had no answer":                            {1, says(Reply{}, ErrUnknown), nil, []string{"find"}, ChargeUnknown, false, ""},
		"the look-up was not sent":                             {1, says(Reply{}, ErrNotSent), nil, []string{"find"}, ChargeUnknown, false, ScopeNow},
		"the look-up was refused, which is not the attempt's":  {1, says(Reply{}, &NotProcessedError{Status: 422, Counted: true, Scope: ScopeCharge}), nil, []string{"find"}, ChargeUnknown, false, ScopeCharge},
		"the look-up's credentials were refused":               {1, says(Reply{}, &NotProcessedError{Status: 401, Scope: ScopeAccount}), nil, []string{"find"}, ChargeUnknown, false, ScopeAccount},
		"the look-up found another payment":                    {1, says(Reply{}, ErrMismatch), nil, []string{"find"}, ChargeUnknown, false, ""},
	}
	keyer := NewAttemptKeyer(make([]byte, 32), "mastercard", "test")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := findingGateway{&fakeGateway{find: tt.find, charge: tt.charge}}
			c := NewCollector(g, keyer, []time.Duration{time.Second})
			s := c.Collect(t.Context(), &ClaimedCharge{ID: 1, Attempt: 1, Replays: tt.replays})
			if diff := cmp.Diff(tt.asked, g.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if s.State != tt.want || s.Counted != tt.counted || s.Stop != tt.stop {
				t.Errorf("state %q, counted %t, stop %q; want %q, %t, %q", s.State, s.Counted, s.Stop, tt.want, tt.counted, tt.stop)
			}
		})
	}
	t.Run("a gateway that cannot look up is asked again", func(t *testing.T) {
		g := &fakeGateway{charge: says(authorised, nil)}
		if s := NewCollector(g, keyer, nil).Collect(t.Context(), &ClaimedCharge{ID: 1, Attempt: 1, Replays: 1}); s.State != ChargePaid {
			t.Errorf("state %q", s.State)
		}
	})
	t.Run("a panic in a look-up is no answer", func(t *testing.T) {
		g := findingGateway{&fakeGateway{find: func() (Reply, error) { panic(errors.New("oh")) }}}
		if s := NewCollector(g, keyer, nil).Collect(t.Context(), &ClaimedCharge{ID: 1, Attempt: 1, Replays: 1}); s.State != ChargeUnknown {
			t.Errorf("state %q", s.State)
		}
	})
}
