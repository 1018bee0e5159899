package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/migrations"
)

func TestReadiness(t *testing.T) {
	own := []migrations.Step{{Version: 1, Name: "0001_a.sql"}, {Version: 2, Name: "0002_b.sql"}}
	tests := []struct {
		name     string
		has      []int64
		skew     time.Duration // of the database's clock
		err      error
		draining bool
		want     string // a part of the reason; "" if it is ready
	}{
		{"all is well", []int64{1, 2}, 0, nil, false, ""},
		{"the database is away", nil, 0, errors.New("connection refused"), false, "the database does not answer: connection refused"},
		{"one migration behind", []int64{1}, 0, nil, false, "the database lacks migration 0002_b.sql: run `contauth migrate up`"},
		{"one ahead", []int64{1, 2, 3}, 0, nil, false, "the database has migration 0003, which this program does not know"},
		{"clocks nearly the same", []int64{1, 2}, 4900 * time.Millisecond, nil, false, ""},
		{"the database's clock is ahead", []int64{1, 2}, 5 * time.Second, nil, false, "the clocks of this machine and of the database differ by 5s"},
		{"it is behind", []int64{1, 2}, -time.Hour, nil, false, "the clocks of this machine and of the database differ by 1h0m0s"},
		{"the process stops", []int64{1, 2}, 0, nil, true, "this process is stopping"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &readiness{own: own, draining: func() bool { return tt.draining }, health: func(context.Context) (postgres.Health, error) {
					return postgres.Health{Clock: time.Now().Add(tt.skew), Migrations: tt.has}, tt.err
				}}
				err := r.check(t.Context())
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

// A slow answer is no skew: the clock may have been read at any moment of it.
func TestSkewFault_ASlowAnswer(t *testing.T) {
	before := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
	after := before.Add(8 * time.Second)
	for _, clock := range []time.Time{before, after, before.Add(-4 * time.Second), after.Add(4 * time.Second)} {
		if err := skewFault(clock, before, after); err != nil {
			t.Errorf("%s: %v", clock, err)
		}
	}
}

// Whoever asks often makes no work for the database.
func TestReadiness_AsksOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := &readiness{draining: func() bool { return false }, health: func(ctx context.Context) (postgres.Health, error) {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("the database may take as long as it wants")
			}
			asked++
			return postgres.Health{Clock: time.Now()}, nil
		}}
		for range 20 { // two seconds
			if err := r.check(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if asked != 2 {
			t.Errorf("asked %d times in two seconds", asked)
		}
	})
}
