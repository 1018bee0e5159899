package postgres_test

import (
	"context"
	"testing"

	"github.com/contauth/contauth/billing"
)

// Of two answers to one charge in a group, the one that does not move it may
// contradict the other: that must not be lost.
func TestSettle_ComparesTheAnswersOfAGroup(t *testing.T) {
	tests := []struct {
		name    string
		second  billing.Outcome
		attempt int
		alerts  int
	}{
		{"the same answer twice", billing.OutcomeAuthorised, 1, 0},
		{"authorised and refused", billing.OutcomeRefused, 1, 2},
		{"two attempts authorised", billing.OutcomeAuthorised, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.charge()
			claimed := d.claim(id)
			first := billing.Settle(&claimed, billing.Reply{Outcome: billing.OutcomeAuthorised}, nil, nil)
			claimed.Attempt = tt.attempt
			second := billing.Settle(&claimed, billing.Reply{Outcome: tt.second, Class: billing.DeclineHard}, nil, nil)
			result, err := d.db.Settle(context.Background(), []*billing.Settlement{&second, &first}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := get[int](d, `SELECT count(*) FROM alerts WHERE kind = 'contradiction'`); got != tt.alerts || result.Contradictions != tt.alerts {
				t.Errorf("%d alerts, %d contradictions, want %d", got, result.Contradictions, tt.alerts)
			}
			if got := d.stands(id); got != "paid" {
				t.Errorf("the charge is %q", got)
			}
		})
	}
}
