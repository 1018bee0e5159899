package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// shownFires is how many of the last fires a schedule shows, if not told.
const shownFires = 10

func newScheduleShowCommand(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a schedule, and what became of its last fires",
		Args:  exactArgs(1, scheduleArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usageError("--limit: %d is negative", limit)
			}
			return e.with(cmd.Context(), func(s *session) error { return e.showSchedule(cmd.Context(), s, args[0], limit) })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", shownFires, "show at most `N` of the last fires")
	return cmd
}

func (e *env) showSchedule(ctx context.Context, ses *session, name string, limit int) error {
	s, _, err := ses.db.FindSchedule(ctx, name)
	fault := timesFault(err)
	if err != nil && !errors.Is(err, billing.ErrInvalid) {
		return noSuchSchedule(name, err)
	}
	fires, err := ses.db.FireRecords(ctx, s.ID, limit)
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(newScheduleJSON(s, append([]postgres.FireRecord{}, fires...)))
	}
	each := ""
	if s.NeedsApproval {
		each = "each run"
	}
	next := nextFire(s)
	fmt.Fprintf(e.stdout, "Schedule %s\n", s.Name)
	e.printFacts([][2]string{
		{"State", string(s.State)},
		{"Why", s.Reason},
		{"Fault", fault},
		{"Cron", s.Cron},
		{"Zone", s.Zone},
		{"Next, local", localTime(next, s.Zone)},
		{"Next, UTC", instant(next)},
		{"No charges on", blackoutText(s.Blackout)},
		{"Takes", filterText(s.Filter)},
		{"Catch-up", fmt.Sprintf("%s: %s", s.CatchUp, catchUpSentences[s.CatchUp])},
		{"Approval", each},
		{"Approval above", limitsText(s.ApproveAbove)},
		{"Cap", limitsText(s.Caps)},
		{"Created", instant(s.CreatedAt) + " by " + s.CreatedBy},
	}...)
	if len(fires) == 0 {
		_, err := fmt.Fprintln(e.stdout, "\nIt has not fired yet.")
		return err
	}
	fmt.Fprintln(e.stdout, "\nLast fires")
	t := e.newTable()
	t.AppendHeader(table.Row{"UTC", "Local", "What became of it"})
	for _, f := range fires {
		t.AppendRow(table.Row{instant(f.FireAt), localTime(f.FireAt, s.Zone), fireOutcome(f)})
	}
	t.Render()
	return nil
}

// catchUpSentences say what becomes of cycles that were missed.
var catchUpSentences = map[scheduler.CatchUp]string{
	scheduler.CatchUpFew: fmt.Sprintf("the oldest %d missed cycles of a subscription are charged, one a day; the others, and those older than %d days, wait for a person",
		scheduler.CatchUpFewCycles, int(scheduler.CatchUpAge.Hours()/24)),
	scheduler.CatchUpAll:    "missed cycles are charged, the oldest first, one a day",
	scheduler.CatchUpLatest: "the latest cycle is charged, missed ones before it are waived",
	scheduler.CatchUpNone:   "missed cycles are waived",
	scheduler.CatchUpAsk:    "missed cycles wait for a person",
}
