package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensSessionsCommand(e *env) *cobra.Command {
	var shopper string
	var limit int
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List the sessions in which shoppers store cards, the newest first",
		Long: `Lists the sessions that were opened by contauth tokens add, and what became of them:
open (the shopper has not finished), authorised (the card is good and its token is on
its way), refused, or completed (the token is stored).`,
		Example: "  contauth tokens sessions --shopper shopper-1",
		Args:    exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError("--limit: want 1 or more")
			}
			return e.with(cmd.Context(), func(s *session) error {
				sessions, err := s.db.FindTokenSessions(cmd.Context(), shopper, limit)
				if err != nil {
					return err
				}
				if e.json {
					for _, one := range sessions {
						if err := e.printJSON(newTokenSessionJSON(one)); err != nil {
							return err
						}
					}
					return nil
				}
				if len(sessions) == 0 {
					fmt.Fprintln(e.stdout, "No sessions.")
				}
				e.printTokenSessions("", sessions)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&shopper, "shopper", "", "only sessions of this shopper `REFERENCE`")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most `N` sessions")
	return cmd
}

func (e *env) printTokenSessions(title string, sessions []postgres.TokenSession) {
	if len(sessions) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintln(e.stdout, title)
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Session", "Account", "Shopper", "For", "Amount", "State", "Why", "Token", "Opened", "By", "Expires"})
	for _, one := range sessions {
		t.AppendRow(table.Row{
			one.Reference, one.MerchantAccount, one.ShopperReference, one.Model, billing.Money{Minor: one.AmountMinor, Currency: one.Currency},
			one.State, one.Detail, numberOr(int(one.TokenID)), instant(one.OpenedAt), one.OpenedBy, instant(one.ExpiresAt),
		})
	}
	t.SuppressEmptyColumns()
	alignRight(t, 5, 8)
	t.Render()
}

// tokenSessionJSON is a session as --json shows it.
type tokenSessionJSON struct {
	ID               int64      `json:"id"`
	Reference        string     `json:"reference"`
	MerchantAccount  string     `json:"merchant_account"`
	ShopperReference string     `json:"shopper_reference"`
	Model            string     `json:"model"`
	AmountMinor      int64      `json:"amount_minor"`
	Currency         string     `json:"currency"`
	GatewaySession   *string    `json:"gateway_session"`
	State            string     `json:"state"`
	Detail           string     `json:"detail"`
	TokenID          *tokens.ID `json:"token_id"`
	OpenedBy         string     `json:"opened_by"`
	OpenedAt         time.Time  `json:"opened_at"`
	ExpiresAt        time.Time  `json:"expires_at"`
}

func newTokenSessionJSON(s postgres.TokenSession) tokenSessionJSON {
	return tokenSessionJSON{
		ID: s.ID, Reference: s.Reference, MerchantAccount: s.MerchantAccount, ShopperReference: s.ShopperReference, Model: s.Model,
		AmountMinor: s.AmountMinor, Currency: s.Currency, GatewaySession: orNull(s.GatewaySession), State: s.State, Detail: s.Detail,
		TokenID: orNull(s.TokenID), OpenedBy: s.OpenedBy, OpenedAt: s.OpenedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(),
	}
}
