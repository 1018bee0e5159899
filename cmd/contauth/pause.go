package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// scopeFlags say what the kill switch is about: exactly one of them.
type scopeFlags struct {
	all              bool
	account, gateway string
}

func (f *scopeFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "everything")
	flags.StringVar(&f.account, "merchant-account", "", "one merchant `ACCOUNT`")
	flags.StringVar(&f.gateway, "gateway", "", "all merchant accounts at one `GATEWAY`")
}

func (f *scopeFlags) scope() (postgres.StopScope, error) {
	var scopes []postgres.StopScope
	if f.all {
		scopes = append(scopes, postgres.StopScope{Scope: postgres.StopAll})
	}
	if f.account != "" {
		scopes = append(scopes, postgres.StopScope{Scope: postgres.StopMerchantAccount, Name: f.account})
	}
	if f.gateway != "" {
		scopes = append(scopes, postgres.StopScope{Scope: postgres.StopGateway, Name: f.gateway})
	}
	if len(scopes) != 1 {
		return postgres.StopScope{}, usageError("say what: exactly one of --all, --merchant-account ACCOUNT and --gateway GATEWAY")
	}
	return scopes[0], nil
}

func newPauseCommand(e *env) *cobra.Command {
	var flags scopeFlags
	var why string
	var standing bool
	cmd := &cobra.Command{
		Use:   "pause --all|--merchant-account ACCOUNT|--gateway GATEWAY --reason TEXT",
		Short: "Send nothing more until it is unpaused: the kill switch",
		Long: `Send nothing more until it is unpaused.

All processes obey within two seconds. What is claimed but not sent is given back
and spends no attempt; what is at the gateway already is finished and recorded.
With --list it only shows what is paused.`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if standing {
				return e.with(cmd.Context(), func(s *session) error { return e.printStandingStops(cmd.Context(), s) })
			}
			scope, err := flags.scope()
			if err != nil {
				return err
			}
			return e.withDecision(cmd.Context(), why, func(s *session, by billing.Decision) error {
				return e.pauseSending(cmd.Context(), s, scope, by)
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&standing, "list", false, "show what is paused, and change nothing")
	addReasonFlag(cmd, &why)
	return cmd
}

func newUnpauseCommand(e *env) *cobra.Command {
	var flags scopeFlags
	var why string
	cmd := &cobra.Command{
		Use:   "unpause --all|--merchant-account ACCOUNT|--gateway GATEWAY --reason TEXT",
		Short: "Take a pause back; wider and narrower ones stand",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			scope, err := flags.scope()
			if err != nil {
				return err
			}
			return e.withDecision(cmd.Context(), why, func(s *session, by billing.Decision) error {
				err := s.db.UnpauseSending(cmd.Context(), scope, by)
				if errors.Is(err, billing.ErrNotFound) {
					return fmt.Errorf("%s is not paused: `contauth pause --list` shows what is", scope)
				}
				if err != nil {
					return err
				}
				return e.printStandingStops(cmd.Context(), s)
			})
		},
	}
	flags.register(cmd)
	addReasonFlag(cmd, &why)
	return cmd
}

// pauseJSON is what a pause found, as --json shows it.
type pauseJSON struct {
	Scope            string             `json:"scope"`
	Name             *string            `json:"name"`
	Answer           billing.StopAnswer `json:"answer"`
	StoppedUnsent    int                `json:"stopped_before_sending"`
	AlreadyAtGateway int                `json:"already_at_gateway"`
}

func (e *env) pauseSending(ctx context.Context, s *session, scope postgres.StopScope, by billing.Decision) error {
	stops, err := s.db.PauseSending(ctx, scope, by)
	switch {
	case errors.Is(err, billing.ErrConflict):
		return refusedError("%s is paused already: `contauth pause --list` shows by whom", scope)
	case errors.Is(err, billing.ErrNotFound):
		return fmt.Errorf("there is no %s in the configuration: `contauth config show` prints it", scope)
	case err != nil:
		return err
	}
	if stops, err = scheduler.AwaitStops(ctx, s.db, stops); err != nil {
		return err
	}
	result := pauseJSON{Scope: scope.Scope, Name: orNull(scope.Name), Answer: billing.StopDone}
	for _, stop := range stops {
		if stop.Answer == billing.StopTooLate {
			result.AlreadyAtGateway++
		} else {
			result.StoppedUnsent++
		}
	}
	switch {
	case result.AlreadyAtGateway > 0:
		result.Answer = billing.StopTooLate
	case result.StoppedUnsent > 0:
		result.Answer = billing.StopBeforeSending
	}
	if e.json {
		return e.printJSON(result)
	}
	fmt.Fprintf(e.stdout, "Paused %s: nothing more is sent.\n", scope)
	if len(stops) > 0 {
		fmt.Fprintf(e.stdout, "%s stopped before sending, %d may be at the gateway already.\n", counted(result.StoppedUnsent, "charge"), result.AlreadyAtGateway)
	}
	return nil
}

// standingStopJSON is one row of the kill switch, as --json shows it.
type standingStopJSON struct {
	Scope  string    `json:"scope"`
	Name   *string   `json:"name"`
	Reason string    `json:"reason"`
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
}

func (e *env) printStandingStops(ctx context.Context, s *session) error {
	stops, err := s.db.StandingStops(ctx)
	if err != nil {
		return err
	}
	if e.json {
		for _, stop := range stops {
			if err := e.printJSON(standingStopJSON{stop.Scope, orNull(stop.Name), stop.Reason, stop.Actor, stop.At.UTC()}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(stops) == 0 {
		fmt.Fprintln(e.stdout, "Nothing is paused.")
	}
	for _, stop := range stops {
		fmt.Fprintf(e.stdout, "Paused since %s by %s: %s (%s)\n", instant(stop.At), stop.Actor, stop.StopScope, stop.Reason)
	}
	return nil
}
