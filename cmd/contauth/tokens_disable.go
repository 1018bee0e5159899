package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensDisableCommand(e *env) *cobra.Command {
	var why, account string
	var shared bool
	cmd := &cobra.Command{
		Use:   "disable TOKEN --reason TEXT",
		Short: "Switch a token off here and remove it at the gateway, for good",
		Long: `Switches a token off here, and then removes it at its gateway. Nothing brings it back:
a shopper who returns gets a new token. Its charges that are not sent are held, and
its subscriptions wait for another token (contauth tokens replace) or their end.

Should the gateway not answer, the token is off all the same; the same command removes
it there later.`,
		Example: "  contauth tokens disable 7 --reason 'shopper withdrew consent'",
		Args:    exactArgs(1, tokenArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return e.decideToken(ctx, why, func(s *session, by billing.Decision) error {
				found, err := s.findToken(ctx, args[0], account)
				if err != nil {
					return err
				}
				if !shared {
					if err := s.refuseShared(ctx, found); err != nil {
						return err
					}
				}
				return e.disable(ctx, s, found, by)
			})
		},
	}
	addReasonFlag(cmd, &why)
	addAccountFlag(cmd, &account)
	cmd.Flags().BoolVar(&shared, "shared", false, "also if other merchant accounts have the token, which may then be gone for them too")
	return cmd
}

// refuseShared refuses to remove a token that other merchant accounts have under the
// same name: at the Mastercard Gateway several may share a repository.
func (s *session) refuseShared(ctx context.Context, found postgres.TokenListing) error {
	if account, ok := s.account(found.MerchantAccount); !ok || account.Gateway != config.GatewayMastercard {
		return nil
	}
	_, err := s.db.FindToken(ctx, found.Reference, "")
	if errors.Is(err, billing.ErrInvalid) {
		return refusedError("other merchant accounts have a token of this name, and may share the repository at the gateway: it would be gone for them too; add --shared if that is meant")
	}
	return err
}

// disabledJSON is what tokens disable --json prints.
type disabledJSON struct {
	tokenJSON
	Held int `json:"charges_held"`
}

func (e *env) disable(ctx context.Context, s *session, found postgres.TokenListing, by billing.Decision) error {
	if err := s.mayAsk(ctx, found.MerchantAccount); err != nil {
		return err
	}
	if _, err := s.accountOf(found.Token); err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	ctx, cancel := s.unbroken(ctx)
	defer cancel()
	applied, err := keeper.Disable(ctx, found.ID, tokens.Order{Actor: by.Actor, Why: by.Why})
	if err != nil {
		return refusal(err, found.ID)
	}
	found.Token = applied.Token
	if e.json {
		return e.printJSON(disabledJSON{newTokenJSON(found), applied.Held})
	}
	fmt.Fprintf(e.stdout, "%s is disabled here and removed at the gateway.%s\n", named(found.Token), chargesHeld(applied.Held))
	if found.Subscriptions > 0 {
		fmt.Fprintf(e.stdout, "%s charged with it: contauth tokens replace %d NEW --reason TEXT gives another token, contauth subscriptions cancel ends one.\n",
			subscriptionsAre(found.Subscriptions), found.ID)
	}
	return nil
}
