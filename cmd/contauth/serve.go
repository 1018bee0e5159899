package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/scheduler"
)

func newServeCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Stay up: fire schedules, work runs, resolve what is unknown",
		Long: `Fires the schedules of the database, works every running run, resolves unknown
charges, and stays up until it is told to stop. Any number of daemons may serve
one database: they share every run, and together keep each account's rate.

SIGTERM and Ctrl-C stop it: it takes no more, waits for what was sent, gives back
what was not, and ends within 30 seconds.`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.with(cmd.Context(), func(s *session) error { return e.serve(cmd.Context(), s) })
		},
	}
}

// drainLimit is how long a daemon may take to stop. Supervisors wait about as
// long before they kill.
const drainLimit = 30 * time.Second

// daemonLogger writes to standard error what is worth telling a colleague.
func (e *env) daemonLogger() hclog.Logger {
	level := hclog.Info
	if e.verbose {
		level = hclog.Debug
	}
	return hclog.New(&hclog.LoggerOptions{Name: "contauth", Level: level, Output: e.stderr})
}

func (e *env) serve(ctx context.Context, s *session) error {
	limitMemory(e.lookup, runMemory(s.inFlight()))
	logger := e.daemonLogger()
	runner, err := s.newRunner(ctx, logger, func(o *scheduler.Options) { o.Drain, o.OutageLimit = drainLimit, s.config.Guards.OutageLimit })
	if err != nil {
		return err
	}
	logger.Info("serving", "version", programVersion(), "merchant_accounts", len(s.config.MerchantAccounts))
	err = scheduler.NewDaemon(s.db, runner, logger).Run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serve: %w", err)
	}
	logger.Info("stopped")
	return nil
}
