package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "tokens",
		Short: "See stored cards, add, verify, reactivate, replace and disable them",
		Long: `A token is a gateway's name of a card that a shopper agreed to be charged with.
contauth holds no card numbers: cards are entered into a gateway's session, and
what comes back is a token.

A token is unverified, valid, invalid or disabled. The first two are charged, the
others never. Where a TOKEN is asked for, its number here or the gateway's name of
it will do. docs/tokens.md tells the whole life.`,
		Example: `  contauth tokens list --state invalid
  contauth tokens show 7
  contauth tokens verify --due-within 7d --preview`,
	},
		newTokensAddCommand(e),
		newTokensDisableCommand(e),
		newTokensForgetCommand(e),
		newTokensListCommand(e),
		newTokensReactivateCommand(e),
		newTokensReplaceCommand(e),
		newTokensSessionsCommand(e),
		newTokensShowCommand(e),
		newTokensSyncCommand(e),
		newTokensVerifyCommand(e),
	)
}

const tokenArgument = "a TOKEN (its number here, or the gateway's name of it)"

// findToken finds the token that an argument names. The errors do not repeat it:
// somebody may have typed a card number.
func (s *session) findToken(ctx context.Context, name, account string) (postgres.TokenListing, error) {
	found, err := s.db.FindToken(ctx, name, account)
	switch {
	case errors.Is(err, billing.ErrNotFound) && account != "":
		return found, fmt.Errorf("TOKEN: merchant account %s has no such token: `contauth tokens list` shows them", account)
	case errors.Is(err, billing.ErrNotFound):
		return found, errors.New("TOKEN: there is none of that number or name: `contauth tokens list` shows them")
	}
	return found, err
}

// decideToken opens the database for a decision about tokens. People who have a card
// on their mind may type its number as the reason.
func (e *env) decideToken(ctx context.Context, why string, do func(*session, billing.Decision) error) error {
	if err := refuseCardData("--reason", why); err != nil {
		return err
	}
	return e.withDecision(ctx, why, do)
}

// named is a token as people recognise it: by our number and the end of the
// gateway's name.
func named(t tokens.Token) string { return fmt.Sprintf("Token %d (%s)", t.ID, t.MaskedReference()) }

// tokenJSON is a token as --json shows it. Names and order are promised.
type tokenJSON struct {
	ID                   tokens.ID                  `json:"id"`
	MerchantAccount      string                     `json:"merchant_account"`
	ShopperReference     string                     `json:"shopper_reference"`
	Token                string                     `json:"token"`
	PaymentMethod        string                     `json:"payment_method"`
	State                tokens.State               `json:"state"`
	StateSince           time.Time                  `json:"state_since"`
	Cause                *string                    `json:"cause"`
	Brand                *string                    `json:"brand"`
	Funding              *string                    `json:"funding"`
	LastFour             *string                    `json:"last_four"`
	Expires              *string                    `json:"expires"` // the last month in which it is good
	Subscriptions        int                        `json:"subscriptions"`
	ReadAt               *time.Time                 `json:"read_at"`
	VerifiedAt           *time.Time                 `json:"verified_at"`
	VerificationStrategy *tokens.Strategy           `json:"verification_strategy"`
	VerificationResult   *tokens.VerificationResult `json:"verification_result"`
	VerificationCode     *string                    `json:"verification_code"`
}

func newTokenJSON(t postgres.TokenListing) tokenJSON {
	return tokenJSON{
		ID: t.ID, MerchantAccount: t.MerchantAccount, ShopperReference: t.ShopperReference, Token: t.Reference,
		PaymentMethod: t.PaymentMethod, State: t.State, StateSince: t.StateSince, Cause: orNull(t.Cause),
		Brand: orNull(t.Details.Brand), Funding: orNull(t.Details.Funding), LastFour: orNull(t.Details.LastFour),
		Expires: orNull(t.Details.Expiry.String()), Subscriptions: t.Subscriptions,
		ReadAt: orNull(t.ReadAt), VerifiedAt: orNull(t.VerifiedAt), VerificationStrategy: orNull(t.Verification.Strategy),
		VerificationResult: orNull(t.Verification.Result), VerificationCode: orNull(t.Verification.Code),
	}
}

// tokenList shows tokens: tables for people, with the token masked; CSV and JSON for
// programs.
var tokenList = list[postgres.TokenListing]{
	noun:    "tokens",
	header:  []string{"ID", "Account", "Shopper", "Token", "Card", "Expires", "State", "Why", "Subscriptions", "Verified"},
	numbers: []int{1, 9},
	row: func(t postgres.TokenListing) []any {
		return []any{
			t.ID, t.MerchantAccount, t.ShopperReference, t.MaskedReference(), cardText(t.Details), t.Details.Expiry, t.State, t.Cause,
			t.Subscriptions, verifiedText(t),
		}
	},
	columns: []string{
		"id", "merchant_account", "shopper_reference", "token", "payment_method", "state", "state_since", "cause", "brand", "funding",
		"last_four", "expires", "subscriptions", "read_at", "verified_at", "verification_strategy", "verification_result", "verification_code",
	},
	record: func(t postgres.TokenListing) []string {
		return []string{
			strconv.FormatInt(int64(t.ID), 10), t.MerchantAccount, t.ShopperReference, t.Reference, t.PaymentMethod, string(t.State),
			timeText(t.StateSince), t.Cause, t.Details.Brand, t.Details.Funding, t.Details.LastFour, t.Details.Expiry.String(),
			strconv.Itoa(t.Subscriptions), timeText(t.ReadAt), timeText(t.VerifiedAt), string(t.Verification.Strategy),
			string(t.Verification.Result), t.Verification.Code,
		}
	},
	object: func(t postgres.TokenListing) any { return newTokenJSON(t) },
}

// timeText is a time in a CSV; nothing for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// cardText shows a card as its owner would recognise it: "visa CREDIT …1111".
func cardText(d tokens.Details) string {
	var parts []string
	for _, part := range []string{d.Brand, d.Funding} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if d.LastFour != "" {
		parts = append(parts, "…"+d.LastFour)
	}
	return strings.Join(parts, " ")
}

// verifiedText shows when a token was last verified, and with what result.
func verifiedText(t postgres.TokenListing) string {
	if t.VerifiedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s %s", t.VerifiedAt.Format(time.DateOnly), t.Verification.Result)
}
