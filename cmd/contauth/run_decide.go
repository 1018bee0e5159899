package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

func newRunApproveCommand(e *env) *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve the manifest of a run that waits for it",
		Args:  exactArgs(1, runArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if err := s.db.ApproveRun(cmd.Context(), id, hash, e.actor); err != nil {
					return err
				}
				return e.printState(cmd.Context(), s, id)
			})
		},
	}
	cmd.Flags().StringVar(&hash, "manifest-hash", "", "approve only if the manifest has this `HASH`")
	return cmd
}

func newRunPauseCommand(e *env) *cobra.Command {
	return newRunDecisionCommand(e, (*postgres.DB).PauseRun, &cobra.Command{
		Use:   "pause ID --reason TEXT",
		Short: "Keep a running run from taking more until it is resumed",
	})
}

func newRunAbortCommand(e *env) *cobra.Command {
	return newRunDecisionCommand(e, (*postgres.DB).AbortRun, &cobra.Command{
		Use:   "abort ID --reason TEXT",
		Short: "End a run: what was sent is finished, nothing more is taken",
	})
}

// decideRun is one of the database's decisions about a run.
type decideRun func(db *postgres.DB, ctx context.Context, id scheduler.RunID, actor, reason string) error

// newRunDecisionCommand completes a command that decides about one run.
func newRunDecisionCommand(e *env, decide decideRun, cmd *cobra.Command) *cobra.Command {
	var why string
	cmd.Args = exactArgs(1, runArgument)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseRunID(args[0])
		if err != nil {
			return err
		}
		return e.withDecision(cmd.Context(), why, func(s *session, by billing.Decision) error {
			if err := decide(s.db, cmd.Context(), id, by.Actor, by.Why); err != nil {
				return noSuchRun(id, err)
			}
			return e.printState(cmd.Context(), s, id)
		})
	}
	addReasonFlag(cmd, &why)
	return cmd
}

// printState says in a line how a run stands after a command changed it.
func (e *env) printState(ctx context.Context, s *session, id scheduler.RunID) error {
	report, err := s.db.ReportRun(ctx, id)
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(newReportJSON(report))
	}
	fmt.Fprintf(e.stdout, "Run %d is %s.\n", id, report.Run.State)
	return nil
}
