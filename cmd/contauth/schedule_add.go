package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func newScheduleAddCommand(e *env) *cobra.Command {
	var flags scheduleFlags
	var name string
	cmd := &cobra.Command{
		Use:   "add --name NAME --cron EXPRESSION --zone ZONE",
		Short: "Add a schedule; it fires from now on",
		Example: `  contauth schedule add --name monthly --cron '0 9 * * *' --zone Europe/Berlin --model Subscription \
    --weekends --blackout-day 2027-12-24 --blackout-rule later --approve-above-amount "250000.00 EUR"`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := scheduler.Schedule{Name: name, CatchUp: scheduler.CatchUps[0], CreatedAt: time.Unix(0, 0)}
			for _, required := range []string{"name", "cron", "zone"} {
				if !cmd.Flags().Changed(required) {
					return usageError("a schedule needs --name, --cron and --zone: --%s is missing", required)
				}
			}
			if err := flags.apply(cmd.Flags(), &s); err != nil {
				return err
			}
			if err := checkSchedule(s); err != nil {
				return err
			}
			return e.with(cmd.Context(), func(ses *session) error {
				s, err := ses.db.AddSchedule(cmd.Context(), s, e.actor)
				if errors.Is(err, billing.ErrConflict) {
					return fmt.Errorf("there is a schedule %s already: choose another --name, or change it with `contauth schedule edit %s`", name, name)
				}
				if err != nil {
					return asUsage(err)
				}
				return e.printChangedSchedule("added", s)
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "its `NAME`: 1 to 40 of a-z 0-9 -")
	return cmd
}

func newScheduleEditCommand(e *env) *cobra.Command {
	var flags scheduleFlags
	cmd := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change a schedule by the flags that are given; the rest stays",
		Long: `Changes what the flags say, and nothing else. An empty value or 0 takes a setting
away; a flag that may be repeated replaces the whole list. Fires up to now are
put on record as they were before.`,
		Example: `  contauth schedule edit monthly --cron '0 10 * * *'
  contauth schedule edit monthly --blackout-day '' --weekends=false`,
		Args: exactArgs(1, scheduleArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == persistentFlags(cmd) {
				return usageError("say what to change: `contauth schedule edit --help` lists the flags")
			}
			if err := flags.apply(cmd.Flags(), &scheduler.Schedule{}); err != nil {
				return err
			}
			return e.with(cmd.Context(), func(ses *session) error {
				s, err := ses.db.EditSchedule(cmd.Context(), args[0], e.actor, func(s *scheduler.Schedule) {
					_ = flags.apply(cmd.Flags(), s) // it was tried above
				})
				if err != nil {
					return asUsage(noSuchSchedule(args[0], err))
				}
				return e.printChangedSchedule("changed", s)
			})
		},
	}
	flags.register(cmd)
	return cmd
}

// persistentFlags counts the flags that were given and that every command has.
func persistentFlags(cmd *cobra.Command) int {
	given := 0
	for _, name := range []string{"config", "json", "actor", "verbose"} {
		if cmd.Flags().Changed(name) {
			given++
		}
	}
	return given
}

// checkSchedule finds what is wrong with a schedule before the database is asked.
// How often it may fire, only the database knows: on a test clock more often.
func checkSchedule(s scheduler.Schedule) error {
	if err := s.Validate(); err != nil {
		return asUsage(err)
	}
	_, err := s.Agenda(time.Second)
	return asUsage(err)
}

// asUsage makes what a person typed wrongly an error of usage.
func asUsage(err error) error {
	if errors.Is(err, billing.ErrInvalid) {
		return usageError("%w", err)
	}
	return err
}

func (e *env) printChangedSchedule(what string, s scheduler.Schedule) error {
	if e.json {
		return e.printJSON(newScheduleJSON(s, nil))
	}
	next := "it is " + string(s.State)
	if at := nextFire(s); !at.IsZero() {
		next = fmt.Sprintf("it fires next at %s (%s)", localTime(at, s.Zone), instant(at))
	}
	_, err := fmt.Fprintf(e.stdout, "Schedule %s is %s: %s.\n", s.Name, what, next)
	return err
}
