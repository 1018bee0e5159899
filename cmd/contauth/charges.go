package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
)

func newChargesCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "charges",
		Short: "See charges, and hold, release, cancel or close them",
	},
		newChargesListCommand(e),
		newChargesShowCommand(e),
		newChargesHoldCommand(e),
		newChargesReleaseCommand(e),
		newChargesCancelCommand(e),
		newChargesCloseCommand(e),
	)
}

// chargeJSON is a charge as --json shows it. Names and order are promised.
type chargeJSON struct {
	ID               billing.ChargeID                 `json:"id"`
	Reference        string                           `json:"reference"`
	Subscription     *string                          `json:"subscription"`
	Cycle            *int                             `json:"cycle"`
	PeriodStart      *billing.LocalDate               `json:"period_start"`
	PeriodEnd        *billing.LocalDate               `json:"period_end"`
	Model            billing.RecurringProcessingModel `json:"model"`
	MerchantAccount  string                           `json:"merchant_account"`
	ShopperReference string                           `json:"shopper_reference"`
	Token            string                           `json:"token"`
	AmountMinor      int64                            `json:"amount_minor"`
	Currency         string                           `json:"currency"`
	State            billing.ChargeState              `json:"state"`
	Reason           *billing.Reason                  `json:"reason"`
	DueAt            time.Time                        `json:"due_at"`
	Attempts         int                              `json:"attempts"`
}

func newChargeJSON(c billing.Charge) chargeJSON {
	return chargeJSON{
		ID: c.ID, Reference: c.Reference, Subscription: orNull(c.Subscription), Cycle: orNull(c.Cycle),
		PeriodStart: orNull(c.PeriodStart), PeriodEnd: orNull(c.PeriodEnd), Model: c.Model,
		MerchantAccount: c.MerchantAccount, ShopperReference: c.Token.ShopperReference, Token: c.Token.Reference,
		AmountMinor: c.Amount.Minor, Currency: c.Amount.Currency, State: c.State, Reason: orNull(c.Reason),
		DueAt: c.DueAt, Attempts: attempts(c),
	}
}

// attempts counts the attempts of a charge, the open one included.
func attempts(c billing.Charge) int {
	if c.State.HasOpenAttempt() {
		return c.Answered + 1
	}
	return c.Answered
}

// chargeList shows charges: tables for people, with the token masked; CSV and
// JSON for programs.
var chargeList = list[billing.Charge]{
	noun:    "charges",
	header:  []string{"ID", "Reference", "Period", "Account", "Card", "Amount", "State", "Why", "Due", "Attempts"},
	numbers: []int{1, 6, 10},
	row: func(c billing.Charge) []any {
		return []any{c.ID, c.Reference, period(c), c.MerchantAccount, c.Token.MaskedReference(), c.Amount, c.State, c.Reason, instant(c.DueAt), attempts(c)}
	},
	columns: []string{
		"id", "reference", "subscription", "cycle", "period_start", "period_end", "model", "merchant_account",
		"shopper_reference", "token", "amount_minor", "currency", "state", "reason", "due_at", "attempts",
	},
	record: func(c billing.Charge) []string {
		return []string{
			strconv.FormatInt(int64(c.ID), 10), c.Reference, c.Subscription, numberOr(c.Cycle), c.PeriodStart.String(), c.PeriodEnd.String(),
			string(c.Model), c.MerchantAccount, c.Token.ShopperReference, c.Token.Reference,
			strconv.FormatInt(c.Amount.Minor, 10), c.Amount.Currency, string(c.State), string(c.Reason),
			c.DueAt.Format(time.RFC3339Nano), strconv.Itoa(attempts(c)),
		}
	},
	object: func(c billing.Charge) any { return newChargeJSON(c) },
}

func period(c billing.Charge) string {
	if c.PeriodStart.IsZero() {
		return ""
	}
	return c.PeriodStart.String() + " to " + c.PeriodEnd.AddDays(-1).String()
}

// findCharge finds the charge that an argument names.
func (s *session) findCharge(ctx context.Context, name, account string) (billing.ChargeID, error) {
	id, err := s.db.FindChargeID(ctx, name, account)
	return id, noSuch("charge", name, "charges list", err)
}

// chargeFilterFlags are the flags that say which charges.
type chargeFilterFlags struct {
	run, after int64
	day, state string
	account    string
	limit      int
}

func (f *chargeFilterFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64Var(&f.run, "run", 0, "only charges in the manifest of run `ID`")
	flags.StringVar(&f.day, "day", "", "only charges of this billing day, `YYYY-MM-DD`: the local date on which the cycle begins, or in UTC when an unscheduled charge falls due")
	flags.StringVar(&f.state, "state", "", "only charges in this `STATE`")
	flags.StringVar(&f.account, "merchant-account", "", "only charges of this merchant `ACCOUNT`")
	flags.IntVar(&f.limit, "limit", 0, "at most `N` charges (default: all)")
	flags.Int64Var(&f.after, "after", 0, "only charges with greater ids than `ID`: the next page")
}

func (f *chargeFilterFlags) filter() (billing.ChargeFilter, error) {
	filter := billing.ChargeFilter{
		RunID: f.run, MerchantAccount: f.account, State: billing.ChargeState(f.state), After: billing.ChargeID(f.after), Limit: f.limit,
	}
	if f.run < 0 || f.after < 0 || f.limit < 0 {
		return filter, usageError("--run, --after and --limit are not negative")
	}
	if f.state != "" && !isChargeState(filter.State) {
		return filter, usageError("--state %q is unknown: want one of %v", f.state, billing.ChargeStates())
	}
	if err := filter.Day.UnmarshalText([]byte(f.day)); err != nil {
		return filter, usageError("--day: %w", err)
	}
	return filter, nil
}

func isChargeState(s billing.ChargeState) bool {
	for _, known := range billing.ChargeStates() {
		if s == known {
			return true
		}
	}
	return false
}

func newChargesListCommand(e *env) *cobra.Command {
	var flags chargeFilterFlags
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List charges in the order of their ids",
		Example: `  contauth charges list --day 2027-01-31 --state held
  contauth charges list --run 12 --format csv > run12.csv
  contauth charges list --json --limit 1000 --after 52000`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter()
			if err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				return chargeList.print(e, format, s.db.FindCharges(cmd.Context(), filter))
			})
		},
	}
	flags.register(cmd)
	addFormatFlag(cmd, &format)
	return cmd
}
