package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/httpserver"
	"github.com/contauth/contauth/internal/metrics"
	"github.com/contauth/contauth/scheduler"
)

func newServeCommand(e *env) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Stay up: fire schedules, work runs, resolve what is unknown",
		Long: `Fires the schedules of the database, works every running run, resolves unknown
charges, and stays up until it is told to stop. Any number of daemons may serve
one database: they share every run, and together keep each account's rate.

It answers at serve.listen: /healthz (alive), /readyz (does its work, or why
not) and /metrics (Prometheus); and with profiles at serve.private_listen.

SIGTERM and Ctrl-C stop it: it takes no more, waits for what was sent, gives back
what was not, and ends within 30 seconds. A second one ends it at once; what was
sent is then known by a replay. SIGHUP reads log.level again.`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := e.loadConfig()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("listen") {
				cfg.Serve.Listen = address
				if err := cfg.Validate(); err != nil {
					return usageError("%w", err)
				}
			}
			// First of all: a port in use must leave nothing half-started.
			open, err := listen(cfg.Serve)
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			defer open.close()
			s, err := e.openWith(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer s.close()
			return e.serve(cmd.Context(), s, open)
		},
	}
	cmd.Flags().StringVar(&address, "listen", "", "`ADDRESS` to listen on instead of serve.listen; \"\" listens nowhere")
	return cmd
}

// A daemon stops within 30 seconds: its runs first, then its server. Supervisors
// wait about as long before they kill.
const (
	drainLimit = 26 * time.Second
	stopLimit  = 2 * time.Second
)

// profileTimeout is how long a profile may take.
const profileTimeout = 5 * time.Minute

// listeners are the addresses that a daemon has taken; nil where it has none.
type listeners struct{ public, private net.Listener }

func listen(cfg config.Serve) (open listeners, err error) {
	if cfg.Listen != "" {
		if open.public, err = httpserver.Listen(cfg.Listen); err != nil {
			return listeners{}, fmt.Errorf("serve.listen: %w", err)
		}
	}
	if cfg.PrivateListen != "" {
		if open.private, err = httpserver.Listen(cfg.PrivateListen); err != nil {
			open.close()
			return listeners{}, fmt.Errorf("serve.private_listen: %w", err)
		}
	}
	return open, nil
}

func (l listeners) close() {
	for _, one := range []net.Listener{l.public, l.private} {
		if one != nil {
			one.Close()
		}
	}
}

// daemonLogger writes to standard error what is worth telling a colleague.
func (e *env) daemonLogger(cfg config.Log) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "contauth", Level: e.logLevel(cfg), JSONFormat: cfg.Format == config.LogJSON, Output: e.stderr,
	})
}

func (e *env) logLevel(cfg config.Log) hclog.Level {
	level := hclog.LevelFromString(cfg.Level)
	if e.verbose {
		level = min(level, hclog.Debug)
	}
	return level
}

func (e *env) serve(ctx context.Context, s *session, open listeners) error {
	if err := s.requireBinding(ctx); err != nil {
		return err
	}
	limitMemory(e.lookup, runMemory(s.inFlight()))
	logger := e.daemonLogger(s.config.Log)
	counts := metrics.New(programVersion(), s.accountIDs(), logger)
	runner, err := s.newRunner(ctx, logger, func(o *scheduler.Options) {
		o.Drain, o.OutageLimit, o.Meter = drainLimit, s.config.Guards.OutageLimit, counts
	})
	if err != nil {
		return err
	}
	working, stopWorking := context.WithCancelCause(ctx)
	defer stopWorking(nil)
	ready, err := s.newReadiness(ctx, func() bool { return working.Err() != nil })
	if err != nil {
		return err
	}
	counts.Watch(metrics.Sources{Load: runner.Load, Figures: s.db.NewFigureReader().Read, Ready: ready.check, Pool: s.db.SQL()})
	routes, err := s.routes(ready, counts, logger)
	if err != nil {
		return err
	}

	// The server outlives the work: whoever asks during a stop is told so.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	defer others.Wait()
	defer stopServing()
	if err := serveRoutes(serving, &others, open.public, httpserver.Options{Routes: routes, Logger: logger}, stopWorking); err != nil {
		return err
	}
	private := httpserver.Options{Routes: httpserver.Profiles(), Logger: logger, WriteTimeout: profileTimeout}
	if err := serveRoutes(serving, &others, open.private, private, stopWorking); err != nil {
		return err
	}
	polling, stopPolling := context.WithCancel(working)
	defer stopPolling() // before the others are waited for
	poller, err := s.newPoller(polling, logger)
	if err != nil {
		return err
	}
	if poller != nil {
		// It moves no money: it ends at the first word, and the drain need not wait.
		others.Go(func() { poller.Run(polling) })
	}
	others.Go(e.heedHangUps(serving, logger))
	others.Go(endAtSecondSignal(serving, logger))

	logger.Info("serving", "version", programVersion(), "merchant_accounts", len(s.config.MerchantAccounts))
	opts := scheduler.DaemonOptions{Figures: s.db.NewFigureReader().Read}
	if url := s.config.Guards.DeadManURL; !url.IsEmpty() {
		opts.DayCompleted = tellDeadMan(url)
	}
	err = scheduler.NewDaemon(s.db, runner, opts, logger).Run(working)
	if ctx.Err() == nil && working.Err() != nil {
		err = context.Cause(working)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serve: %w", err)
	}
	logger.Info("stopped")
	return nil
}

// serveRoutes answers on l, if there is one, until ctx ends. Should that fail
// before, it calls failed.
func serveRoutes(ctx context.Context, group *sync.WaitGroup, l net.Listener, opts httpserver.Options, failed context.CancelCauseFunc) error {
	if l == nil {
		return nil
	}
	opts.StopWithin = stopLimit
	server, err := httpserver.New(opts)
	if err != nil {
		return err
	}
	opts.Logger.Info("listening", "address", l.Addr())
	group.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			failed(err)
		}
	})
	return nil
}

// routes are all that a daemon answers to at serve.listen.
func (s *session) routes(ready *readiness, counts *metrics.Metrics, logger hclog.Logger) ([]httpserver.Route, error) {
	routes := []httpserver.Route{
		{Pattern: "GET /healthz", Caller: httpserver.Public, Handler: httpserver.Alive()},
		{Pattern: "GET /readyz", Caller: httpserver.Probe, Handler: httpserver.Ready(ready.check)},
		{Pattern: "GET /metrics", Caller: httpserver.Probe, Handler: counts.Handler()},
	}
	more, err := s.gatewayRoutes(logger)
	return append(routes, more...), err
}

// accountIDs are the merchant accounts of the configuration.
func (s *session) accountIDs() []string {
	var ids []string
	for _, a := range s.config.MerchantAccounts {
		ids = append(ids, a.ID)
	}
	return ids
}

// endAtSecondSignal returns a loop that ends the process at the second signal to
// stop: the first one ends the context of main. What was sent is known to the
// gateway under its key, and comes back by a replay.
func endAtSecondSignal(ctx context.Context, logger hclog.Logger) func() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return func() {
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
		}
		logger.Warn("ended at once by a second signal")
		os.Exit(exitFailure)
	}
}

// heedHangUps returns a loop that reads the log level again on each SIGHUP, until
// ctx ends.
func (e *env) heedHangUps(ctx context.Context, logger hclog.Logger) func() {
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	return func() {
		defer signal.Stop(hangUps)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangUps:
				e.readLogLevel(logger)
			}
		}
	}
}

// readLogLevel takes over the log level of the configuration as it is now, and
// nothing else of it.
func (e *env) readLogLevel(logger hclog.Logger) {
	cfg, err := e.loadConfig()
	if err != nil {
		logger.Error("the log level stays as it is", "error", err)
		return
	}
	level := e.logLevel(cfg.Log)
	logger.SetLevel(level)
	logger.Log(max(level, hclog.Info), "log level read again", "level", level) // told at any level
}
