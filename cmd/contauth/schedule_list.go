package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

func newScheduleListCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List schedules by name, with their next fire and what became of the last",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.with(cmd.Context(), func(s *session) error { return e.printSchedules(cmd.Context(), s) })
		},
	}
}

func (e *env) printSchedules(ctx context.Context, s *session) error {
	schedules, err := s.db.Schedules(ctx)
	if err != nil {
		return err
	}
	if len(schedules) == 0 && !e.json {
		_, err := fmt.Fprintln(e.stdout, "No schedules: `contauth schedule add` makes one.")
		return err
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Name", "State", "Cron", "Zone", "Next, local", "Next, UTC", "Takes", "Catch-up", "Limits", "Last fire"})
	for _, schedule := range schedules {
		fires, err := s.db.FireRecords(ctx, schedule.ID, 1)
		if err != nil {
			return err
		}
		if e.json {
			if err := e.printJSON(newScheduleJSON(schedule, append([]postgres.FireRecord{}, fires...))); err != nil {
				return err
			}
			continue
		}
		last := ""
		if len(fires) > 0 {
			last = instant(fires[0].FireAt) + ": " + fireOutcome(fires[0])
		}
		next := nextFire(schedule)
		t.AppendRow(table.Row{
			schedule.Name, schedule.State, schedule.Cron, schedule.Zone, localTime(next, schedule.Zone), instant(next),
			filterText(schedule.Filter), schedule.CatchUp, allLimits(schedule), last,
		})
	}
	if !e.json {
		t.SuppressEmptyColumns()
		t.Render()
	}
	return nil
}

// filterText shows what a schedule's runs take.
func filterText(f scheduler.Filter) string {
	text := "all that is due"
	if f.DueAgain {
		text = "what is due again"
	}
	for _, part := range []string{string(f.Model), f.MerchantAccount, f.Currency} {
		if part != "" {
			text += ", " + part
		}
	}
	if f.Limit > 0 {
		text += fmt.Sprintf(", at most %d", f.Limit)
	}
	return text
}

// allLimits shows in a cell what lets a schedule's runs wait for approval.
func allLimits(s scheduler.Schedule) string {
	text := ""
	add := func(what string) {
		if text != "" {
			text += "\n"
		}
		text += what
	}
	if s.NeedsApproval {
		add("each is approved")
	}
	if !s.ApproveAbove.IsZero() {
		add("approved above " + limitsText(s.ApproveAbove))
	}
	if !s.Caps.IsZero() {
		add("cap " + limitsText(s.Caps))
	}
	return text
}
