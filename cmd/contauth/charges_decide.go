package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// decideCharge is one of the database's decisions about a charge.
type decideCharge func(*postgres.DB, context.Context, billing.ChargeID, billing.Decision) (billing.Stop, error)

const chargeArgument = "CHARGE (its id or its reference)"

func newChargesHoldCommand(e *env) *cobra.Command {
	return newDecisionCommand(e, (*postgres.DB).HoldCharge, &cobra.Command{
		Use:   "hold CHARGE --reason TEXT",
		Short: "Keep a due charge back until it is released",
	})
}

func newChargesReleaseCommand(e *env) *cobra.Command {
	return newDecisionCommand(e, (*postgres.DB).ReleaseCharge, &cobra.Command{
		Use:   "release CHARGE --reason TEXT",
		Short: "Let the next run take a charge that is held or unpaid",
	})
}

func newChargesCancelCommand(e *env) *cobra.Command {
	return newDecisionCommand(e, (*postgres.DB).CancelCharge, &cobra.Command{
		Use:   "cancel CHARGE --reason TEXT",
		Short: "End a charge: the money is no longer owed",
	})
}

func newChargesCloseCommand(e *env) *cobra.Command {
	var elsewhere bool
	cmd := newDecisionCommand(e, (*postgres.DB).ClosePaidElsewhere, &cobra.Command{
		Use:   "close CHARGE --paid-elsewhere --reason TEXT",
		Short: "Record that a charge was paid by other means",
		PreRunE: func(*cobra.Command, []string) error {
			if !elsewhere {
				return usageError("close: say with --paid-elsewhere that the money has arrived by other means")
			}
			return nil
		},
	})
	cmd.Flags().BoolVar(&elsewhere, "paid-elsewhere", false, "the money has arrived by other means (required)")
	return cmd
}

// newDecisionCommand completes a command that decides about one charge.
func newDecisionCommand(e *env, decide decideCharge, cmd *cobra.Command) *cobra.Command {
	var why, account string
	cmd.Args = exactArgs(1, chargeArgument)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return e.withDecision(ctx, why, func(s *session, by billing.Decision) error {
			id, err := s.findCharge(ctx, args[0], account)
			if err != nil {
				return err
			}
			stop, err := decide(s.db, ctx, id, by)
			if err != nil {
				return err
			}
			stops, err := scheduler.AwaitStops(ctx, s.db, []billing.Stop{stop})
			if err != nil {
				return err
			}
			return e.printStop(stops[0])
		})
	}
	addReasonFlag(cmd, &why)
	addAccountFlag(cmd, &account)
	return cmd
}

// stopJSON is what became of a charge, as --json shows it.
type stopJSON struct {
	ID     billing.ChargeID    `json:"id"`
	State  billing.ChargeState `json:"state"`
	Answer billing.StopAnswer  `json:"answer"`
}

func newStopJSON(s billing.Stop) stopJSON { return stopJSON{s.ChargeID, s.State, s.Answer} }

func (e *env) printStop(s billing.Stop) error {
	if e.json {
		return e.printJSON(newStopJSON(s))
	}
	_, err := fmt.Fprintf(e.stdout, "Charge %d (%s) is %s%s\n", s.ChargeID, s.Reference, s.State, stopSentence(s))
	return err
}

// stopSentence completes "Charge 12 is held …".
func stopSentence(s billing.Stop) string {
	switch s.Answer {
	case billing.StopBeforeSending:
		return ": it was stopped before it was sent."
	case billing.StopTooLate:
		if s.State.HasOpenAttempt() {
			return ": its request may be at the gateway already. The answer will be recorded, and the charge is not sent again."
		}
		return ": its request had left already, and this is what the answer made of it."
	}
	return "."
}
