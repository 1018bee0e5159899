package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/migrations"
)

const (
	// readyFor is how long an answer about readiness is given again: whoever asks
	// more often must not make work for the database.
	readyFor = time.Second
	// readyTimeout is how long the database may take to say that it is there.
	readyTimeout = 2 * time.Second
	// maxClockSkew is how far this machine's clock may be from the database's: log
	// lines and what the database says must fit together.
	maxClockSkew = 5 * time.Second
)

// A readiness says whether a daemon does its work.
type readiness struct {
	health   func(context.Context) (postgres.Health, error)
	own      []migrations.Step // of this program
	draining func() bool

	mu      sync.Mutex
	askedAt time.Time
	fault   error
}

func (s *session) newReadiness(ctx context.Context, draining func() bool) (*readiness, error) {
	own, err := migrations.Status(ctx, s.db.SQL())
	if err != nil {
		return nil, err
	}
	return &readiness{health: s.db.Health, own: own, draining: draining}, nil
}

// check returns nil, or in words for a person why the daemon is not ready.
func (r *readiness) check(ctx context.Context) error {
	if r.draining() {
		return fmt.Errorf("this process is stopping")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.askedAt.IsZero() || time.Since(r.askedAt) >= readyFor {
		r.fault = r.ask(ctx)
		r.askedAt = time.Now()
	}
	return r.fault
}

func (r *readiness) ask(ctx context.Context) error {
	// The answer is for those who ask next, too, and outlives this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	before := time.Now()
	health, err := r.health(ctx)
	after := time.Now()
	if err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	if err := migrationFault(r.own, health.Migrations); err != nil {
		return err
	}
	return skewFault(health.Clock, before, after)
}

// skewFault compares the database's clock with this machine's before and after it
// was read.
func skewFault(clock, before, after time.Time) error {
	skew := max(before.Sub(clock), clock.Sub(after))
	if skew >= maxClockSkew {
		return fmt.Errorf("the clocks of this machine and of the database differ by %s: set both by NTP", skew.Round(100*time.Millisecond))
	}
	return nil
}

// migrationFault says in one line what keeps a program with its own migrations
// from a database that has these; nil if they are the same.
func migrationFault(own []migrations.Step, has []int64) error {
	for _, step := range own {
		if !slices.Contains(has, step.Version) {
			return fmt.Errorf("the database lacks migration %s: run `contauth migrate up`", filepath.Base(step.Name))
		}
	}
	for _, version := range has {
		if !slices.ContainsFunc(own, func(s migrations.Step) bool { return s.Version == version }) {
			return fmt.Errorf("the database has migration %04d, which this program does not know: use the newer contauth that made it", version)
		}
	}
	return nil
}
