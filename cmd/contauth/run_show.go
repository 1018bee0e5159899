package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/scheduler"
)

func newRunShowCommand(e *env) *cobra.Command {
	var manifest bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a run, or with --manifest exactly the bytes that its hash covers",
		Long: `Shows how a run stands: its totals, what was not charged and what was declined.
It is the account that run report gives, but the exit code is 0 however the run
went.`,
		Args: exactArgs(1, runArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if manifest {
					return e.printManifest(cmd.Context(), s, id)
				}
				report, err := s.db.ReportRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				return e.printReport(report)
			})
		},
	}
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the manifest: position,merchant_account,charge_reference,attempt,amount_minor,currency,token")
	return cmd
}

func (e *env) printManifest(ctx context.Context, s *session, id scheduler.RunID) error {
	out := bufio.NewWriter(e.stdout)
	if err := s.db.WriteManifest(ctx, id, out); err != nil {
		return err
	}
	return out.Flush()
}

func newRunReportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "report ID",
		Short: "Account for every item of a run, and tell by the exit code how it went",
		Long: `Accounts for every item of a run, by currency and reason. It prints what run show
prints, and its exit code says how the run went: 5 if outcomes are unknown, else
4 if charges were declined, else 3 if nothing was due, else 0.`,
		Args: exactArgs(1, runArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				report, err := s.db.ReportRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				e.exit = exitCode(report)
				return e.printReport(report)
			})
		},
	}
}
