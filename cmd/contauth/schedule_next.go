package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// maxShownFires bounds schedule next: more than an hourly schedule fires in a year.
const maxShownFires = 10_000

func newScheduleNextCommand(e *env) *cobra.Command {
	var flags timeFlags
	var count int
	cmd := &cobra.Command{
		Use:   "next [NAME]",
		Short: "Show when a schedule fires next, or an expression that is tried out",
		Long: `Shows the next fires after business now, and what a change of the clocks or a
blackout did to them. Without a NAME it tries out --cron and --zone, and the
blackout flags; nothing is stored.`,
		Example: `  contauth schedule next follow-up --count 3
  contauth schedule next --cron '0 9 1 * *' --zone Europe/Berlin --weekends --blackout-rule later --count 12`,
		Args: optionalArg(scheduleArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 || count > maxShownFires {
				return usageError("--count: %d is not within 1 and %d", count, maxShownFires)
			}
			tried := scheduler.Schedule{Name: "tried-out", CatchUp: scheduler.CatchUps[0]}
			if err := flags.apply(cmd.Flags(), &tried); err != nil {
				return err
			}
			if len(args) == 1 {
				for _, flag := range []string{"cron", "zone", "weekends", "blackout-day", "blackout-file", "blackout-rule"} {
					if cmd.Flags().Changed(flag) {
						return usageError("a schedule has its own times: leave out its NAME to try out --%s", flag)
					}
				}
				return e.with(cmd.Context(), func(s *session) error { return e.printNextFires(cmd.Context(), s, args[0], count) })
			}
			if !cmd.Flags().Changed("cron") || !cmd.Flags().Changed("zone") {
				return usageError("want the NAME of a schedule, or --cron and --zone to try them out")
			}
			if err := checkSchedule(tried); err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				now, err := s.db.BusinessNow(cmd.Context())
				if err != nil {
					return err
				}
				tried.CreatedAt = now
				agenda, err := tried.Agenda(time.Second)
				if err != nil {
					return asUsage(err)
				}
				return e.printFires(fireTimes(agenda, tried.Zone, now, count))
			})
		},
	}
	flags.register(cmd.Flags())
	cmd.Flags().IntVar(&count, "count", 5, "how many fires: `N`")
	return cmd
}

func (e *env) printNextFires(ctx context.Context, s *session, name string, count int) error {
	found, agenda, err := s.db.FindSchedule(ctx, name)
	if err != nil {
		return noSuchSchedule(name, err)
	}
	now, err := s.db.BusinessNow(ctx)
	if err != nil {
		return err
	}
	if found.State == scheduler.SchedulePaused {
		fmt.Fprintf(e.stderr, "Schedule %s is paused (%s): until it is resumed it skips these.\n", name, found.Reason)
	}
	return e.printFires(fireTimes(agenda, found.Zone, now, count))
}

// A fireTime is one moment at which a schedule fires, as --json shows it.
type fireTime struct {
	UTC   time.Time `json:"utc"`
	Local string    `json:"local"` // with the zone's offset
	Note  string    `json:"note"`  // what a change of the clocks or a blackout did to it
}

func fireTimes(agenda scheduler.Agenda, zone string, after time.Time, count int) []fireTime {
	var times []fireTime
	for len(times) < count {
		fire, ok := agenda.Next(after)
		if !ok {
			break
		}
		times = append(times, fireTime{fire.At.UTC(), localTime(fire.At, zone), fire.Note})
		after = fire.At
	}
	return times
}

func (e *env) printFires(times []fireTime) error {
	if e.json {
		for _, at := range times {
			if err := e.printJSON(at); err != nil {
				return err
			}
		}
		return nil
	}
	if len(times) == 0 {
		_, err := fmt.Fprintln(e.stdout, "It does not fire within the next years.")
		return err
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"UTC", "Local", "Note"})
	for _, at := range times {
		t.AppendRow(table.Row{instant(at.UTC), at.Local, at.Note})
	}
	t.SuppressEmptyColumns()
	t.Render()
	return nil
}

// timesFault says why the times of a stored schedule cannot be computed, or "".
func timesFault(err error) string {
	if errors.Is(err, billing.ErrInvalid) {
		return plainWords(err)
	}
	return ""
}
