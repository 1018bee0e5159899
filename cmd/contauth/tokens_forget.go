package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensForgetCommand(e *env) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "forget-shopper SHOPPER --reason TEXT",
		Short: "Delete a shopper: end all that is to come, and remove the tokens",
		Long: `Deletes a shopper by the merchant's reference, at all merchant accounts: subscriptions
end, charges that are not sent are cancelled, tokens are removed at their gateways,
and in place of the reference stands one that says nothing. What was charged stays on
record, as bookkeeping must.

While a request of the shopper's is at a gateway it is refused. Should a gateway not
answer, all has ended here; the same command removes the rest later. Nothing of it can
be taken back.`,
		Example: "  contauth tokens forget-shopper shopper-1 --reason 'asked to be deleted'",
		Args:    exactArgs(1, "the REFERENCE of a shopper"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := tokens.ValidateShopperReference(args[0]); err != nil {
				return usageError("SHOPPER: %w", err)
			}
			return e.decideToken(cmd.Context(), why, func(s *session, by billing.Decision) error {
				return e.forget(cmd.Context(), s, args[0], by)
			})
		},
	}
	addReasonFlag(cmd, &why)
	return cmd
}

func (e *env) forget(ctx context.Context, s *session, shopper string, by billing.Decision) error {
	// Whether every gateway can be asked is known before anything ends.
	subscriptions := 0
	accounts := map[string]tokens.Token{} // one of each
	for token, err := range s.db.FindTokens(ctx, postgres.TokenFilter{Shopper: shopper}) {
		if err != nil {
			return err
		}
		accounts[token.MerchantAccount] = token.Token
		subscriptions += token.Subscriptions
	}
	for id, token := range accounts {
		if _, err := s.accountOf(token); err != nil {
			return err
		}
		if err := s.mayAsk(ctx, id); err != nil {
			return err
		}
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	own, err := s.db.ForgetShopper(ctx, shopper, by)
	if errors.Is(err, billing.ErrNotFound) {
		return errors.New("SHOPPER: no token is of that shopper: `contauth tokens list` shows them")
	}
	if err != nil {
		return err
	}
	for _, token := range own {
		if _, err := keeper.Disable(ctx, token.ID, tokens.Order{Actor: by.Actor, Why: by.Why}); err != nil {
			return fmt.Errorf("all that was to come has ended, and the shopper's reference stays until the tokens are gone: %w: type the same command again", err)
		}
	}
	if err := s.db.EraseShopper(ctx, shopper); err != nil {
		return err
	}
	if e.json {
		return e.printJSON(map[string]int{"tokens": len(own), "subscriptions": subscriptions})
	}
	_, err = fmt.Fprintf(e.stdout, "The shopper is forgotten: %s ended, %s removed at the gateway. What was charged stays on record without the reference.\n",
		counted(subscriptions, "subscription"), counted(len(own), "token"))
	return err
}
