package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

func newScheduleCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "schedule",
		Short: "Say when runs are made, of what, and who must approve them",
		Long: `A schedule makes a run each time that it fires. contauth serve fires schedules;
a change takes effect within seconds. docs/schedules.md tells what catch-up,
blackouts, approval and caps do.`,
		Example: `  contauth schedule next --cron '30 2 * * *' --zone Europe/Berlin --count 3
  contauth schedule add --name monthly --cron '0 9 * * *' --zone Europe/Berlin --model Subscription
  contauth schedule list`,
	},
		newScheduleAddCommand(e),
		newScheduleEditCommand(e),
		newScheduleListCommand(e),
		newScheduleNextCommand(e),
		newScheduleDecisionCommand(e, (*postgres.DB).PauseSchedule, scheduler.SchedulePaused, &cobra.Command{
			Use:   "pause NAME --reason TEXT",
			Short: "Let a schedule skip its fires until it is resumed; its runs go on",
		}),
		newScheduleDecisionCommand(e, (*postgres.DB).RemoveSchedule, scheduler.ScheduleRemoved, &cobra.Command{
			Use:   "remove NAME --reason TEXT",
			Short: "End a schedule for good; its runs keep its name",
		}),
		newScheduleDecisionCommand(e, (*postgres.DB).ResumeSchedule, scheduler.ScheduleActive, &cobra.Command{
			Use:   "resume NAME --reason TEXT",
			Short: "Let a paused schedule fire again; what fell due meanwhile was missed",
		}),
		newScheduleShowCommand(e),
	)
}

const scheduleArgument = "the NAME of a schedule"

// noSuchSchedule says of an error about a schedule in plain words that there is none.
func noSuchSchedule(name string, err error) error {
	return noSuch("schedule", name, "schedule list", err)
}

// decideSchedule is one of the database's decisions about a schedule.
type decideSchedule func(*postgres.DB, context.Context, string, billing.Decision) error

// newScheduleDecisionCommand completes a command that takes a schedule to a state.
func newScheduleDecisionCommand(e *env, decide decideSchedule, to scheduler.ScheduleState, cmd *cobra.Command) *cobra.Command {
	var why string
	cmd.Args = exactArgs(1, scheduleArgument)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		return e.withDecision(cmd.Context(), why, func(s *session, by billing.Decision) error {
			if err := decide(s.db, cmd.Context(), name, by); err != nil {
				return noSuchSchedule(name, err)
			}
			if e.json {
				return e.printJSON(scheduleStateJSON{name, to})
			}
			_, err := fmt.Fprintf(e.stdout, "Schedule %s is %s.\n", name, to)
			return err
		})
	}
	addReasonFlag(cmd, &why)
	return cmd
}

// scheduleStateJSON is what a decision about a schedule did, as --json shows it.
type scheduleStateJSON struct {
	Name  string                  `json:"name"`
	State scheduler.ScheduleState `json:"state"`
}

// scheduleJSON is a schedule as --json shows it: the names of the database, and
// the next fire as clocks in the schedule's zone show it.
type scheduleJSON struct {
	ID            scheduler.ScheduleID    `json:"id"`
	Name          string                  `json:"name"`
	State         scheduler.ScheduleState `json:"state"`
	Cron          string                  `json:"cron"`
	Timezone      string                  `json:"timezone"`
	Blackout      scheduler.Blackout      `json:"blackout"`
	Filter        scheduler.Filter        `json:"filter"`
	CatchUp       scheduler.CatchUp       `json:"catch_up"`
	NeedsApproval bool                    `json:"needs_approval"`
	ApproveAbove  scheduler.Limits        `json:"approve_above"`
	Caps          scheduler.Limits        `json:"caps"`
	CreatedAt     time.Time               `json:"created_at"`
	CreatedBy     string                  `json:"created_by"`
	FiredUntil    time.Time               `json:"fired_until"`
	NextFireAt    *time.Time              `json:"next_fire_at"`
	NextFireLocal *string                 `json:"next_fire_local"`
	Reason        *string                 `json:"reason"`
	Fires         []fireJSON              `json:"fires,omitzero"` // the newest first
}

// fireJSON is what became of a fire, or of several at once, as --json shows it.
type fireJSON struct {
	FireAt  time.Time        `json:"fire_at"`
	FirstAt time.Time        `json:"first_at"`
	Fires   int64            `json:"fires"`
	Outcome string           `json:"outcome"`
	Reason  *string          `json:"reason"`
	RunID   *scheduler.RunID `json:"run_id"`
	Detail  *string          `json:"detail"`
}

func newScheduleJSON(s scheduler.Schedule, fires []postgres.FireRecord) scheduleJSON {
	row := scheduleJSON{
		ID: s.ID, Name: s.Name, State: s.State, Cron: s.Cron, Timezone: s.Zone, Blackout: s.Blackout, Filter: s.Filter, CatchUp: s.CatchUp,
		NeedsApproval: s.NeedsApproval, ApproveAbove: s.ApproveAbove, Caps: s.Caps, CreatedAt: s.CreatedAt, CreatedBy: s.CreatedBy,
		FiredUntil: s.FiredUntil, NextFireAt: orNull(nextFire(s)), NextFireLocal: orNull(localTime(nextFire(s), s.Zone)), Reason: orNull(s.Reason),
	}
	if fires == nil {
		return row
	}
	row.Fires = make([]fireJSON, 0, len(fires))
	for _, f := range fires {
		row.Fires = append(row.Fires, fireJSON{f.FireAt.UTC(), f.FirstAt.UTC(), f.Fires, f.Outcome, orNull(f.Reason), orNull(f.RunID), orNull(f.Detail)})
	}
	return row
}

// nextFire is when a schedule fires next: never while it is paused.
func nextFire(s scheduler.Schedule) time.Time {
	if s.State != scheduler.ScheduleActive {
		return time.Time{}
	}
	return s.NextFireAt
}

// localTime shows an instant as clocks in a zone do, with the zone's offset;
// nothing for the zero time.
func localTime(at time.Time, zone string) string {
	if at.IsZero() {
		return ""
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		location = time.UTC // a zone that is no more: the offset shows it
	}
	return at.In(location).Format("2006-01-02 15:04:05 -07:00")
}

// fireOutcome says what became of a fire.
func fireOutcome(f postgres.FireRecord) string {
	var what string
	switch f.Outcome {
	case "run":
		what = fmt.Sprintf("run %d", f.RunID)
	case "nothing_due":
		what = "nothing to charge"
	case "coalesced":
		what = "waits for the end of the run before it"
	case "to_plan":
		what = "is to be planned"
	case "skipped":
		what = "skipped: " + fireSkipReasons[f.Reason]
	}
	if f.Fires > 1 {
		what += fmt.Sprintf(", for %d fires since %s", f.Fires, instant(f.FirstAt))
	}
	return what + detail(f.Detail)
}

var fireSkipReasons = map[string]string{
	"schedule_paused": "the schedule was paused", "schedule_removed": "the schedule was removed",
}

// blackoutText shows on which days a schedule does not fire.
func blackoutText(b scheduler.Blackout) string {
	const shown = 5
	var days []string
	if b.Weekends {
		days = append(days, "weekends")
	}
	for i, day := range b.Days {
		if i == shown {
			days = append(days, fmt.Sprintf("%d more", len(b.Days)-shown))
			break
		}
		days = append(days, day.String())
	}
	if len(days) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s)", strings.Join(days, ", "), b.Rule)
}

// limitsText shows limits: "100 charges, 1000.00 EUR".
func limitsText(l scheduler.Limits) string {
	var limits []string
	if l.Count > 0 {
		limits = append(limits, counted(l.Count, "charge"))
	}
	for _, amount := range limitAmounts(l) {
		limits = append(limits, amount.String())
	}
	return strings.Join(limits, ", ")
}
