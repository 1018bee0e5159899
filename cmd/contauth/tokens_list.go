package main

import (
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensListCommand(e *env) *cobra.Command {
	var selection tokenSelection
	var state, shopper, format string
	var limit int
	var after int64
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens in the order of their ids",
		Long: `List tokens in the order of their ids.

With --expiring the table ends with how many subscriptions are charged with the
cards that expire: that money is at risk.`,
		Example: `  contauth tokens list --state invalid
  contauth tokens list --expiring --merchant-account DemoMC
  contauth tokens list --due-within 7d --unverified --format csv > ask.csv
  contauth tokens list --json --limit 1000 --after 52000`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := selection.parse(); err != nil {
				return err
			}
			var wanted tokens.State
			if state != "" {
				if err := wanted.UnmarshalText([]byte(state)); err != nil {
					return usageError("--state: %w", err)
				}
			}
			if limit < 0 || after < 0 {
				return usageError("--after and --limit are not negative")
			}
			return e.with(cmd.Context(), func(s *session) error {
				now, err := s.db.BusinessNow(cmd.Context())
				if err != nil {
					return err
				}
				filter := selection.filter(now)
				filter.State, filter.Shopper, filter.After, filter.Limit = wanted, shopper, tokens.ID(after), limit
				var listed listedTokens
				if err := tokenList.print(e, format, listed.count(s.db.FindTokens(cmd.Context(), filter))); err != nil {
					return err
				}
				if selection.expires == 0 || listed.tokens == 0 || e.json || format != formatTable {
					return nil
				}
				_, err = fmt.Fprintf(e.stdout, "%s by %s: %s charged with them.\n",
					cardsExpire(listed.tokens), instant(filter.ExpiresBefore), subscriptionsAre(listed.subscriptions))
				return err
			})
		},
	}
	flags := cmd.Flags()
	selection.register(cmd)
	flags.StringVar(&state, "state", "", "only tokens in this `STATE`: unverified, valid, invalid or disabled")
	flags.StringVar(&shopper, "shopper", "", "only tokens of this shopper `REFERENCE`")
	flags.IntVar(&limit, "limit", 0, "at most `N` tokens (default: all)")
	flags.Int64Var(&after, "after", 0, "only tokens with greater ids than `ID`: the next page")
	addFormatFlag(cmd, &format)
	return cmd
}

// listedTokens counts what a list shows.
type listedTokens struct{ tokens, subscriptions int }

// count passes a list on and counts it.
func (c *listedTokens) count(items iter.Seq2[postgres.TokenListing, error]) iter.Seq2[postgres.TokenListing, error] {
	return func(yield func(postgres.TokenListing, error) bool) {
		for item, err := range items {
			if err == nil {
				c.tokens++
				c.subscriptions += item.Subscriptions
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func cardsExpire(n int) string {
	if n == 1 {
		return "1 card expires"
	}
	return fmt.Sprintf("%d cards expire", n)
}

func subscriptionsAre(n int) string { return counted(n, "subscription") + " " + isOrAre(n) }
