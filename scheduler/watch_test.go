package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFigures_Late(t *testing.T) {
	tests := []struct {
		name    string
		figures Figures
		want    []string
	}{
		{"nothing", Figures{OpenKnown: true}, nil},
		{"a fire that is just planned", Figures{FireLag: time.Minute}, nil},
		{"a fire without a run", Figures{FireLag: time.Hour}, []string{"there is no run when there should be one"}},
		{"figures that are not read yet", Figures{DueLag: 100 * time.Hour, UnknownOldest: 100 * time.Hour}, nil},
		{"old unknowns and due charges", Figures{OpenKnown: true, DueLag: 48 * time.Hour, UnknownOldest: 2 * time.Hour,
			Unknown: []UnknownFigure{{MerchantAccount: "DemoEU", Currency: "EUR", Count: 2, AmountMinor: 2500}}},
			[]string{"charges are due and in no run", "outcomes are unknown"}},
		{"cycles and a run", Figures{CycleLag: 48 * time.Hour, RunIdle: time.Hour},
			[]string{"cycles are due and no plan has taken them", "a running run stands still"}},
	}
	for _, tt := range tests {
		var got []string
		for _, l := range tt.figures.late() {
			got = append(got, l.what)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
