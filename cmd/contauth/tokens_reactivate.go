package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
)

func newTokensReactivateCommand(e *env) *cobra.Command {
	var hosted sessionFlags
	var why, account string
	cmd := &cobra.Command{
		Use:   "reactivate TOKEN --session ID --reason TEXT",
		Short: "Bring an invalid token back, and release the charges that it held",
		Long: `Brings an invalid token back, and releases the charges that its invalidity held.

At the Mastercard Gateway the shopper enters the card again into a hosted session, and
--session stores what is in it under the token: its subscriptions stay as they are.
--verify says how the card is looked at first: BASIC, ACQUIRER or NONE.

At Adyen a token that was renewed keeps its id: without --session the issuer is asked
by an authorisation of zero (--currency). A card that got a new token is another
matter: contauth tokens replace.

token_release of the merchant account says when the charges are sent: now (a run of
them starts here), next_run, or by_hand (each waits for contauth charges release).`,
		Example: `  contauth tokens reactivate 7 --session SESSION0002034479234N2348753H12 --reason 'shopper entered a new card'
  contauth tokens reactivate 12 --currency EUR --reason 'bank unblocked the card'`,
		Args: exactArgs(1, tokenArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := hosted.parse(); err != nil {
				return err
			}
			return e.decideToken(cmd.Context(), why, func(s *session, by billing.Decision) error {
				found, err := s.findToken(cmd.Context(), args[0], account)
				if err != nil {
					return err
				}
				return e.reactivate(cmd.Context(), s, found, &hosted, by)
			})
		},
	}
	hosted.register(cmd)
	addReasonFlag(cmd, &why)
	addAccountFlag(cmd, &account)
	return cmd
}

func (e *env) reactivate(ctx context.Context, s *session, found postgres.TokenListing, f *sessionFlags, by billing.Decision) error {
	account, err := s.accountOf(found.Token)
	if err != nil {
		return err
	}
	atMastercard := account.Gateway == config.GatewayMastercard
	switch {
	case atMastercard && f.id == "":
		return usageError("--session: want the id of the hosted session in which the shopper entered the card again")
	case !atMastercard && f.id != "":
		return usageError("--session: at Adyen a session makes a new token: contauth tokens add, then contauth tokens replace %d NEW --reason TEXT", found.ID)
	case !atMastercard && f.strategy != "" && f.strategy != tokens.StrategyAcquirer:
		return usageError("--verify: at Adyen only the issuer can say that the card is good again: ACQUIRER")
	}
	strategy := tokens.StrategyBasic
	if !atMastercard {
		strategy = tokens.StrategyAcquirer
	}
	if err := s.mayAsk(ctx, account.ID); err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	asking, cancel := s.unbroken(ctx)
	defer cancel()
	applied, seen, err := keeper.Reactivate(asking, found.ID, f.order(by.Actor, by.Why, strategy))
	if err != nil {
		return refusal(err, found.ID)
	}
	detail, err := s.db.ShowToken(asking, found.ID)
	if err != nil {
		return err
	}
	release := releaseOf(account)
	if err := e.printReactivated(detail, seen, applied, release); err != nil {
		return err
	}
	if release != tokens.ReleaseNow || applied.Released == 0 {
		return nil
	}
	return e.chargeReleased(ctx, s, detail)
}

// reactivatedJSON is what tokens reactivate --json prints; where a run is started, its
// report follows.
type reactivatedJSON struct {
	tokenJSON
	Verification string         `json:"verification"` // in words
	Release      tokens.Release `json:"release"`
	Released     int            `json:"charges_released"`
	Waiting      int            `json:"charges_waiting"`
	Held         int            `json:"charges_held"` // that are held now, the waiting ones included
}

func (e *env) printReactivated(t postgres.TokenDetail, seen tokens.Verification, applied tokens.Applied, release tokens.Release) error {
	if e.json {
		return e.printJSON(reactivatedJSON{
			newTokenJSON(t.TokenListing), "the card " + seen.Result.Sentence(), release, applied.Released, applied.Waiting, t.Held,
		})
	}
	fmt.Fprintf(e.stdout, "%s is %s again: the card %s.\n", named(t.Token), t.State, seen.Result.Sentence())
	if card := cardText(t.Details); card != "" {
		fmt.Fprintf(e.stdout, "Card: %s %s\n", card, t.Details.Expiry)
	}
	if applied.Released > 0 {
		when := "the next run that is planned takes " + itOrThem(applied.Released)
		if release == tokens.ReleaseNow {
			when = "a run of " + itOrThem(applied.Released) + " starts now"
		}
		fmt.Fprintf(e.stdout, "%s %s due again: %s.\n", counted(applied.Released, "charge"), isOrAre(applied.Released), when)
	}
	if applied.Waiting > 0 {
		why := "a subscription is paused, or an earlier attempt may have been approved; contauth charges list --state held tells"
		if release == tokens.ReleaseByHand {
			why = "token_release of the account is by_hand: contauth charges release CHARGE --reason TEXT"
		}
		fmt.Fprintf(e.stdout, "%s %s still held: %s.\n", counted(applied.Waiting, "charge"), isOrAre(applied.Waiting), why)
	}
	if others := t.Held - applied.Waiting; others > 0 {
		fmt.Fprintf(e.stdout, "%s %s held for other reasons: contauth charges list --state held\n", counted(others, "charge"), isOrAre(others))
	}
	if applied.Released+applied.Waiting == 0 {
		fmt.Fprintln(e.stdout, "No charge waited for it.")
	}
	return nil
}

func itOrThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// chargeReleased plans a run of a token's released charges alone, and works it.
func (e *env) chargeReleased(ctx context.Context, s *session, t postgres.TokenDetail) error {
	var references []string
	for c, err := range s.db.FindCharges(ctx, billing.ChargeFilter{MerchantAccount: t.MerchantAccount, State: billing.ChargeDue}) {
		if err != nil {
			return err
		}
		if c.Token.ID == t.ID && c.Reason == billing.ReasonReleased {
			references = append(references, c.Reference)
		}
	}
	if len(references) == 0 { // another run was faster
		return nil
	}
	plan, err := s.db.PlanRun(ctx, scheduler.PlanRequest{
		Actor: e.actor, Filter: scheduler.Filter{MerchantAccount: t.MerchantAccount, References: references},
	})
	if err != nil {
		return err
	}
	return e.startRun(ctx, s, plan, &capFlags{}, true)
}
