package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/postgres"
)

func newClockCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clock",
		Short: "Show business time, or move it for a trial",
		Long: `Show the time that decides what is due.

It is the database's own clock, unless a test clock was set. A test clock is one
row in the database, so that all processes share it; leases, the life of keys
and rates never follow it. It is refused while a live merchant account is
configured.`,
		Example: `  contauth clock
  contauth clock set 2027-01-31T09:00:00Z --speed 3600
  contauth clock advance 24h
  contauth clock reset`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.clock(cmd.Context(), (*postgres.DB).Clock)
		},
	}
	cmd.AddCommand(newClockSetCommand(e), newClockAdvanceCommand(e), newClockResetCommand(e))
	return cmd
}

// clock does something with the clock and prints it.
func (e *env) clock(ctx context.Context, do func(*postgres.DB, context.Context) (postgres.Clock, error)) error {
	return e.with(ctx, func(s *session) error {
		c, err := do(s.db, ctx)
		if errors.Is(err, postgres.ErrLive) {
			return refusedError("%w", err)
		}
		if err != nil {
			return err
		}
		return e.printClock(c)
	})
}

func newClockSetCommand(e *env) *cobra.Command {
	var speed float64
	cmd := &cobra.Command{
		Use:   "set TIME",
		Short: "Let business time begin at an instant",
		Args:  exactArgs(1, "a TIME like 2027-01-31T09:00:00Z"),
		RunE: func(cmd *cobra.Command, args []string) error {
			start, err := time.Parse(time.RFC3339, args[0])
			if err != nil {
				return usageError("clock set: %q is no instant: want one like 2027-01-31T09:00:00Z", args[0])
			}
			return e.clock(cmd.Context(), func(db *postgres.DB, ctx context.Context) (postgres.Clock, error) {
				return db.SetTestClock(ctx, start, speed, e.actor)
			})
		},
	}
	cmd.Flags().Float64Var(&speed, "speed", 1, "seconds of business time in a second; 0 stands still")
	return cmd
}

func newClockAdvanceCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "advance DURATION",
		Short: "Move business time forward",
		Args:  exactArgs(1, "a DURATION like 24h or 90m"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[0])
			if err != nil || d <= 0 {
				return usageError("clock advance: %q is no duration forward: want one like 24h or 90m", args[0])
			}
			return e.clock(cmd.Context(), func(db *postgres.DB, ctx context.Context) (postgres.Clock, error) {
				return db.AdvanceTestClock(ctx, d, e.actor)
			})
		},
	}
}

func newClockResetCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "reset",
		Short: "Let business time be the database's clock again",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.clock(cmd.Context(), func(db *postgres.DB, ctx context.Context) (postgres.Clock, error) {
				return db.ResetTestClock(ctx, e.actor)
			})
		},
	}
}

// clockJSON is the clock as --json shows it.
type clockJSON struct {
	Business time.Time `json:"business"`
	Real     time.Time `json:"real"`
	Test     bool      `json:"test"`
	Speed    float64   `json:"speed"`
}

func (e *env) printClock(c postgres.Clock) error {
	if e.json {
		return e.printJSON(clockJSON(c))
	}
	if !c.Test {
		_, err := fmt.Fprintf(e.stdout, "Business time is %s, the database's clock.\n", instant(c.Business))
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "Business time is %s, a test clock at speed %g; the database's clock says %s.\n", instant(c.Business), c.Speed, instant(c.Real))
	return err
}
