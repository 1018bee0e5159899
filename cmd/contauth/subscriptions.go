package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

func newSubscriptionsCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "subscriptions",
		Short: "See subscriptions, and pause, resume or cancel them",
	},
		newSubscriptionsListCommand(e),
		newSubscriptionsShowCommand(e),
		newSubscriptionDecisionCommand(e, (*postgres.DB).PauseSubscription, &cobra.Command{
			Use:   "pause SUBSCRIPTION --reason TEXT",
			Short: "Stop charging it until it is resumed; cycles that fall due meanwhile are waived",
		}),
		newSubscriptionDecisionCommand(e, (*postgres.DB).ResumeSubscription, &cobra.Command{
			Use:   "resume SUBSCRIPTION --reason TEXT",
			Short: "Charge a paused subscription again from its next cycle on",
		}),
		newSubscriptionDecisionCommand(e, (*postgres.DB).CancelSubscription, &cobra.Command{
			Use:   "cancel SUBSCRIPTION --reason TEXT",
			Short: "End it for good, and cancel its charges that are not finished",
		}),
	)
}

// subscriptionJSON is a subscription as --json shows it. Names and order are
// promised.
type subscriptionJSON struct {
	ID               billing.SubscriptionID    `json:"id"`
	Reference        string                    `json:"reference"`
	MerchantAccount  string                    `json:"merchant_account"`
	ShopperReference string                    `json:"shopper_reference"`
	Token            string                    `json:"token"`
	AmountMinor      int64                     `json:"amount_minor"`
	Currency         string                    `json:"currency"`
	IntervalUnit     billing.IntervalUnit      `json:"interval_unit"`
	IntervalCount    int                       `json:"interval_count"`
	Anchor           string                    `json:"anchor"`
	Timezone         string                    `json:"timezone"`
	MaxCycles        *int                      `json:"max_cycles"`
	EndsOn           *billing.LocalDate        `json:"ends_on"`
	State            billing.SubscriptionState `json:"state"`
	Reason           *billing.Reason           `json:"reason"`
	FirstCycle       int                       `json:"first_cycle"`
	NextCycle        int                       `json:"next_cycle"`
	NextChargeAt     *time.Time                `json:"next_charge_at"`
	Description      string                    `json:"description"`
}

func newSubscriptionJSON(s postgres.SubscriptionListing) subscriptionJSON {
	return subscriptionJSON{
		ID: s.ID, Reference: s.Reference, MerchantAccount: s.MerchantAccount,
		ShopperReference: s.Token.ShopperReference, Token: s.Token.Reference,
		AmountMinor: s.Amount.Minor, Currency: s.Amount.Currency,
		IntervalUnit: s.Calendar.Interval.Unit, IntervalCount: s.Calendar.Interval.Count,
		Anchor: s.Calendar.Anchor.String(), Timezone: s.Timezone,
		MaxCycles: orNull(s.Calendar.MaxCycles), EndsOn: orNull(s.Calendar.EndsOn),
		State: s.State, Reason: orNull(s.Reason), FirstCycle: s.FirstCycle, NextCycle: s.NextCycle,
		NextChargeAt: orNull(s.NextChargeAt), Description: s.Description,
	}
}

var subscriptionList = list[postgres.SubscriptionListing]{
	noun:    "subscriptions",
	header:  []string{"Reference", "Account", "Amount", "Every", "Since", "Zone", "State", "Why", "Next charge"},
	numbers: []int{3},
	row: func(s postgres.SubscriptionListing) []any {
		return []any{s.Reference, s.MerchantAccount, s.Amount, s.Calendar.Interval, s.Calendar.Anchor, s.Timezone, s.State, s.Reason, instant(s.NextChargeAt)}
	},
	columns: []string{
		"id", "reference", "merchant_account", "shopper_reference", "token", "amount_minor", "currency", "interval_unit", "interval_count",
		"anchor", "timezone", "max_cycles", "ends_on", "state", "reason", "first_cycle", "next_cycle", "next_charge_at", "description",
	},
	record: func(s postgres.SubscriptionListing) []string {
		next := ""
		if !s.NextChargeAt.IsZero() {
			next = s.NextChargeAt.Format(time.RFC3339)
		}
		return []string{
			strconv.FormatInt(int64(s.ID), 10), s.Reference, s.MerchantAccount, s.Token.ShopperReference, s.Token.Reference,
			strconv.FormatInt(s.Amount.Minor, 10), s.Amount.Currency, string(s.Calendar.Interval.Unit), strconv.Itoa(s.Calendar.Interval.Count),
			s.Calendar.Anchor.String(), s.Timezone, numberOr(s.Calendar.MaxCycles), s.Calendar.EndsOn.String(),
			string(s.State), string(s.Reason), strconv.Itoa(s.FirstCycle), strconv.Itoa(s.NextCycle), next, s.Description,
		}
	},
	object: func(s postgres.SubscriptionListing) any { return newSubscriptionJSON(s) },
}

// findSubscription finds the subscription that an argument names.
func (s *session) findSubscription(ctx context.Context, reference, account string) (postgres.SubscriptionListing, error) {
	found, err := s.db.FindSubscription(ctx, reference, account)
	return found, noSuch("subscription", reference, "subscriptions list", err)
}

func newSubscriptionsListCommand(e *env) *cobra.Command {
	var filter billing.SubscriptionFilter
	var state, format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List subscriptions in the order of their ids",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "" {
				if err := filter.State.UnmarshalText([]byte(state)); err != nil {
					return usageError("--state: %w", err)
				}
			}
			if filter.Limit < 0 || filter.After < 0 {
				return usageError("--after and --limit are not negative")
			}
			return e.with(cmd.Context(), func(s *session) error {
				return subscriptionList.print(e, format, s.db.FindSubscriptions(cmd.Context(), filter))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&filter.MerchantAccount, "merchant-account", "", "only subscriptions of this merchant `ACCOUNT`")
	flags.StringVar(&state, "state", "", "only subscriptions in this `STATE`")
	flags.IntVar(&filter.Limit, "limit", 0, "at most `N` subscriptions (default: all)")
	flags.Int64Var((*int64)(&filter.After), "after", 0, "only subscriptions with greater ids than `ID`: the next page")
	addFormatFlag(cmd, &format)
	return cmd
}

// decideSubscription is one of the database's decisions about a subscription.
type decideSubscription func(*postgres.DB, context.Context, billing.SubscriptionID, billing.Decision) (postgres.SubscriptionChange, error)

// newSubscriptionDecisionCommand completes a command that decides about one
// subscription.
func newSubscriptionDecisionCommand(e *env, decide decideSubscription, cmd *cobra.Command) *cobra.Command {
	var why, account string
	cmd.Args = exactArgs(1, "the reference of a SUBSCRIPTION")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return e.withDecision(ctx, why, func(s *session, by billing.Decision) error {
			found, err := s.findSubscription(ctx, args[0], account)
			if err != nil {
				return err
			}
			change, err := decide(s.db, ctx, found.ID, by)
			if err != nil {
				return err
			}
			if change.Charges, err = scheduler.AwaitStops(ctx, s.db, change.Charges); err != nil {
				return err
			}
			return e.printSubscriptionChange(change)
		})
	}
	addReasonFlag(cmd, &why)
	addAccountFlag(cmd, &account)
	return cmd
}

// subscriptionChangeJSON is what a decision did, as --json shows it.
type subscriptionChangeJSON struct {
	ID              billing.SubscriptionID    `json:"id"`
	Reference       string                    `json:"reference"`
	MerchantAccount string                    `json:"merchant_account"`
	State           billing.SubscriptionState `json:"state"`
	Waived          int                       `json:"waived"`
	Charges         []stopJSON                `json:"charges"`
}

func (e *env) printSubscriptionChange(change postgres.SubscriptionChange) error {
	if e.json {
		stops := make([]stopJSON, 0, len(change.Charges))
		for _, s := range change.Charges {
			stops = append(stops, newStopJSON(s))
		}
		return e.printJSON(subscriptionChangeJSON{change.ID, change.Reference, change.MerchantAccount, change.State, change.Waived, stops})
	}
	fmt.Fprintf(e.stdout, "Subscription %s is %s.\n", change.Reference, change.State)
	if change.Waived > 0 {
		fmt.Fprintf(e.stdout, "%s fell due during the pause and %s waived.\n", counted(change.Waived, "cycle"), isOrAre(change.Waived))
	}
	for _, s := range change.Charges {
		if err := e.printStop(s); err != nil {
			return err
		}
	}
	return nil
}
