package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/scheduler"
)

const runArgument = "the number of a run"

func newRunCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "run",
		Short: "Plan, start, watch and account for runs",
		Long: `A run is one batch of charges. Its plan freezes a manifest: the list of what
is to be charged. Starting it charges exactly that list, less what no longer
stands when its turn comes; the report explains every difference.`,
	},
		newRunAbortCommand(e),
		newRunApproveCommand(e),
		newRunListCommand(e),
		newRunPauseCommand(e),
		newRunPlanCommand(e),
		newRunReportCommand(e),
		newRunResumeCommand(e),
		newRunShowCommand(e),
		newRunStartCommand(e),
	)
}

// withRun opens the database for a command about one run.
func (e *env) withRun(ctx context.Context, text string, do func(*session, scheduler.RunID) error) error {
	id, err := parseRunID(text)
	if err != nil {
		return err
	}
	return e.with(ctx, func(s *session) error { return noSuchRun(id, do(s, id)) })
}

func parseRunID(text string) (scheduler.RunID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError("%q is no run: give the number that `contauth run list` shows", text)
	}
	return scheduler.RunID(id), nil
}

// noSuchRun says of an error about a run in plain words that there is none.
func noSuchRun(id scheduler.RunID, err error) error {
	return noSuch("run", strconv.FormatInt(int64(id), 10), "run list", err)
}
