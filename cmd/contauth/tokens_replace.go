package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensReplaceCommand(e *env) *cobra.Command {
	var why, account string
	cmd := &cobra.Command{
		Use:   "replace OLD NEW --reason TEXT",
		Short: "Let another token of the shopper take over everywhere",
		Long: `Lets another token of the same shopper, at the same merchant account, take over every
subscription of OLD and every charge that is not finished. Charges that were held for
OLD are due again. What is at the gateway keeps OLD until it is answered. OLD itself
stays as it is: contauth tokens disable ends it.`,
		Example: "  contauth tokens replace 7 31 --reason 'shopper has a new card'",
		Args:    exactArgs(2, "an OLD and a NEW token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return e.decideToken(ctx, why, func(s *session, by billing.Decision) error {
				old, err := s.findToken(ctx, args[0], account)
				if err != nil {
					return err
				}
				next, err := s.findToken(ctx, args[1], account)
				if err != nil {
					return err
				}
				done, err := s.db.ReplaceToken(ctx, old.ID, next.ID, by)
				if err != nil {
					return err
				}
				return e.printReplacement(done)
			})
		},
	}
	addReasonFlag(cmd, &why)
	addAccountFlag(cmd, &account)
	return cmd
}

// replacementJSON is what tokens replace --json prints.
type replacementJSON struct {
	Old           tokens.ID `json:"old"`
	New           tokens.ID `json:"new"`
	Subscriptions int       `json:"subscriptions"`
	Charges       int       `json:"charges"`
	Released      int       `json:"charges_released"`
	AtGateway     int       `json:"charges_at_gateway"`
}

func (e *env) printReplacement(r postgres.TokenReplacement) error {
	if e.json {
		return e.printJSON(replacementJSON{r.Old.ID, r.New.ID, r.Subscriptions, r.Charges, r.Released, r.AtGateway})
	}
	fmt.Fprintf(e.stdout, "%s took over %s and %s of token %d.\n",
		named(r.New), counted(r.Subscriptions, "subscription"), counted(r.Charges, "charge"), r.Old.ID)
	if r.Released > 0 {
		fmt.Fprintf(e.stdout, "%s %s due again: the next run that is planned takes %s.\n", counted(r.Released, "charge"), isOrAre(r.Released), itOrThem(r.Released))
	}
	if r.AtGateway > 0 {
		fmt.Fprintf(e.stdout, "%s may be at the gateway with the old token, and %s settled with it.\n", counted(r.AtGateway, "charge"), isOrAre(r.AtGateway))
	}
	return nil
}
