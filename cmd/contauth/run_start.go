package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func newRunStartCommand(e *env) *cobra.Command {
	var flags planFlags
	var caps capFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "start [ID]",
		Short: "Charge a planned run, or plan one and charge it",
		Long: `Charges the manifest of run ID. Without an ID it plans a run from the filter
flags first. It shows the plan and needs --yes to charge. Ctrl-C stops taking
more, waits for what was sent, and leaves the rest for run resume.`,
		Args: optionalArg(runArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := caps.parse(); err != nil {
				return err
			}
			find, err := flags.planOrFind(e, args)
			if err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				report, err := find(cmd.Context(), s)
				if err != nil {
					return err
				}
				return e.startRun(cmd.Context(), s, report, &caps, yes)
			})
		},
	}
	flags.register(cmd)
	caps.register(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "charge, without asking again")
	return cmd
}

// planOrFind returns what gives the run to start: the one that an argument
// names, or a new one that the flags describe.
func (f *planFlags) planOrFind(e *env, args []string) (func(context.Context, *session) (scheduler.Report, error), error) {
	if len(args) == 1 {
		id, err := parseRunID(args[0])
		return func(ctx context.Context, s *session) (scheduler.Report, error) {
			report, err := s.db.ReportRun(ctx, id)
			return report, noSuchRun(id, err)
		}, err
	}
	req, err := f.request(e)
	return func(ctx context.Context, s *session) (scheduler.Report, error) { return s.db.PlanRun(ctx, req) }, err
}

// startRun shows a plan and works it, if it may be. The report that follows a
// start shows what is not charged, and of an empty run all there is to show.
func (e *env) startRun(ctx context.Context, s *session, plan scheduler.Report, caps *capFlags, yes bool) error {
	id, items := plan.Run.ID, plan.Run.Items
	if !e.json && items > 0 {
		e.printPlannedTotals(plan, false)
		if !yes {
			e.printExclusions(plan.Exclusions)
		}
	}
	if err := s.mayStart(ctx, plan, caps); err != nil {
		return err
	}
	if items > 0 && !yes {
		return refusedError("nothing was charged: add --yes to charge run %d (contauth run start %d --yes)", id, id)
	}
	return e.work(ctx, s, id)
}

func newRunResumeCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "resume ID",
		Short: "Go on with a run, whatever stopped it",
		Long: `Goes on with a run that was paused, interrupted or crashed. What a dead
process had claimed is resolved first: its leases must run out, then the same
requests are sent again under their own keys, which charges nobody twice.`,
		Args: exactArgs(1, runArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				report, err := s.db.ReportRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				if report.Run.State.IsFinished() {
					return fmt.Errorf("run %d is %s: there is nothing to resume", id, report.Run.State)
				}
				if err := s.mayStart(cmd.Context(), report, &capFlags{}); err != nil {
					return err
				}
				return e.work(cmd.Context(), s, id)
			})
		},
	}
}

// work works a run to its end, reports it, and sets the exit code.
func (e *env) work(ctx context.Context, s *session, id scheduler.RunID) error {
	limitMemory(e.lookup, runMemory(s.inFlight()))
	runner, err := s.newRunner(ctx, e.logger(), nil)
	if err != nil {
		return err
	}
	progress := e.newProgress()
	result, err := runner.Work(ctx, id, e.actor, progress.update)
	progress.stop(result.Progress)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	report, err := s.db.ReportRun(ctx, id)
	if err != nil {
		return err
	}
	if err := e.printReport(report); err != nil {
		return err
	}
	e.exit = exitCode(report)
	if result.Interrupted && !report.Run.State.IsFinished() {
		return fmt.Errorf("run %d stopped before its end; nothing is lost: contauth run resume %d", id, id)
	}
	return stopsError(result.Stops)
}

// stopsError says which accounts the run gave up and why, in one line. A
// gateway that cannot be reached is a failure; one that refuses us is a guard.
func stopsError(stops []scheduler.AccountStop) error {
	if len(stops) == 0 {
		return nil
	}
	code := exitRefused
	var told []string
	for _, stop := range stops {
		told = append(told, fmt.Sprintf("%s: %s%s", stop.MerchantAccount, stop.Reason.Sentence(), detail(stop.Detail)))
		if stop.Reason == billing.ReasonGatewayUnavailable {
			code = exitFailure
		}
	}
	return &exitError{code, fmt.Errorf("nothing more was sent to %s", strings.Join(told, "; "))}
}

func detail(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
