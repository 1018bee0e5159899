package scheduler_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// fakeStopReader gives its answers one look after the other, and repeats the
// last.
type fakeStopReader struct {
	looks [][]billing.Stop
	err   error
}

func (f *fakeStopReader) ReadStops(context.Context, []billing.Stop) ([]billing.Stop, error) {
	look := f.looks[0]
	if len(f.looks) > 1 {
		f.looks = f.looks[1:]
	}
	return look, f.err
}

func TestAwaitStops(t *testing.T) {
	stop := func(state billing.ChargeState, answer billing.StopAnswer) []billing.Stop {
		return []billing.Stop{{ChargeID: 1, State: state, Answer: answer}}
	}
	waiting := stop(billing.ChargeClaimed, "")
	tests := []struct {
		name   string
		asked  []billing.Stop
		looks  [][]billing.Stop
		want   []billing.Stop
		within time.Duration
	}{
		{"nothing to wait for", stop(billing.ChargeHeld, billing.StopDone), nil, stop(billing.ChargeHeld, billing.StopDone), 0},
		{"no charge at all", nil, nil, nil, 0},
		{"given back after a second", waiting, [][]billing.Stop{
			waiting, waiting, waiting, waiting, waiting, waiting, waiting, waiting, waiting, stop(billing.ChargeHeld, billing.StopBeforeSending),
		}, stop(billing.ChargeHeld, billing.StopBeforeSending), time.Second},
		{"never heard of again", waiting, [][]billing.Stop{waiting}, stop(billing.ChargeClaimed, billing.StopTooLate), scheduler.StopWait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, err := scheduler.AwaitStops(t.Context(), &fakeStopReader{looks: tt.looks}, append([]billing.Stop(nil), tt.asked...))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("stops (-want +got):\n%s", diff)
				}
				if took := time.Since(began); took != tt.within {
					t.Errorf("took %s, want %s", took, tt.within)
				}
			})
		})
	}
}

func TestAwaitStops_endsWithItsContextAndWithErrors(t *testing.T) {
	waiting := []billing.Stop{{ChargeID: 1, State: billing.ChargeClaimed}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := scheduler.AwaitStops(ctx, &fakeStopReader{looks: [][]billing.Stop{waiting}}, waiting); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
		broken := errors.New("database gone")
		if _, err := scheduler.AwaitStops(t.Context(), &fakeStopReader{looks: [][]billing.Stop{waiting}, err: broken}, waiting); !errors.Is(err, broken) {
			t.Errorf("error %v, want the reader's", err)
		}
	})
}
