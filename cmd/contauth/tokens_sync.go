package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensSyncCommand(e *env) *cobra.Command {
	var account string
	var limit int
	var after int64
	cmd := &cobra.Command{
		Use:   "sync TOKEN | --merchant-account ACCOUNT",
		Short: "Read tokens at their gateway now, and write down what changed",
		Long: `Reads tokens at their gateway now: one TOKEN, or those of a merchant account in the
order of their ids, and prints what changed. Nothing is verified and no money moves. A
token that the gateway calls INVALID is invalid here too and its charges are held; one
that an account updater renewed is valid again.

The daemon does this by itself for tokens of the Mastercard Gateway that something is
due with. Adyen tells by webhook.`,
		Example: `  contauth tokens sync 7
  contauth tokens sync --merchant-account DemoMC --limit 500 --after 1200`,
		Args: optionalArg(tokenArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && account == "":
				return usageError("say which: a TOKEN, or --merchant-account ACCOUNT")
			case limit < 0 || after < 0:
				return usageError("--limit and --after are not negative")
			}
			if len(args) == 1 {
				if err := refuseWith(cmd, "one TOKEN", "limit", "after"); err != nil {
					return err
				}
			}
			return e.with(cmd.Context(), func(s *session) error {
				if len(args) == 1 {
					return e.syncOne(cmd.Context(), s, args[0], account)
				}
				return e.syncMany(cmd.Context(), s, postgres.TokenFilter{MerchantAccount: account, After: tokens.ID(after), Limit: limit})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&account, "merchant-account", "", "the merchant `ACCOUNT` whose tokens are read, or that the TOKEN belongs to")
	flags.IntVar(&limit, "limit", 0, "at most `N` tokens (default: all)")
	flags.Int64Var(&after, "after", 0, "only tokens with greater ids than `ID`: the next page")
	return cmd
}

func (e *env) syncOne(ctx context.Context, s *session, name, account string) error {
	found, err := s.findToken(ctx, name, account)
	if err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	return e.sync(ctx, s, keeper, found, true)
}

// syncPage is how many tokens are listed at once.
const syncPage = 200

// syncMany reads the tokens of an account, a page at a time: what is listed must not
// stay open while a gateway is asked.
func (e *env) syncMany(ctx context.Context, s *session, filter postgres.TokenFilter) error {
	if _, err := s.configured(filter.MerchantAccount); err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	left := filter.Limit
	read, failed := 0, 0
	for {
		filter.Limit = syncPage
		if left > 0 {
			filter.Limit = min(syncPage, left-read)
		}
		var page []postgres.TokenListing
		for token, err := range s.db.FindTokens(ctx, filter) {
			if err != nil {
				return err
			}
			page = append(page, token)
		}
		for _, token := range page {
			filter.After = token.ID
			read++
			if token.State == tokens.Disabled {
				continue // gone for good
			}
			if err := e.sync(ctx, s, keeper, token, false); isAboutToken(err) {
				failed++
				fmt.Fprintf(e.stderr, "%s: %s\n", token, plainWords(err))
			} else if err != nil {
				return fmt.Errorf("%w; --after %d goes on", err, token.ID-1)
			}
		}
		if len(page) < filter.Limit || left > 0 && read >= left {
			break
		}
	}
	if !e.json {
		fmt.Fprintf(e.stdout, "%s read, the last is %d.\n", counted(read, "token"), filter.After)
	}
	if failed > 0 {
		return fmt.Errorf("%s could not be read", counted(failed, "token"))
	}
	return nil
}

// syncedJSON is what a reading changed, as --json shows it.
type syncedJSON struct {
	tokenJSON
	Changes  []string `json:"changes"`
	Held     int      `json:"charges_held"`
	Released int      `json:"charges_released"`
	Waiting  int      `json:"charges_waiting"`
}

// sync reads one token and prints what changed; what did not, if it was asked for.
func (e *env) sync(ctx context.Context, s *session, keeper *tokens.Keeper, before postgres.TokenListing, always bool) error {
	applied, changed, err := keeper.Refresh(ctx, before.ID)
	if errors.Is(err, tokens.ErrNotFound) {
		return fmt.Errorf("the gateway has no such token for this shopper; contauth tokens disable %d ends it here: %w", before.ID, err)
	}
	if err != nil {
		return err
	}
	if !changed && !always {
		return nil
	}
	detail, err := s.db.ShowToken(ctx, before.ID)
	if err != nil {
		return err
	}
	changes := differences(before, detail.TokenListing)
	if e.json {
		return e.printJSON(syncedJSON{newTokenJSON(detail.TokenListing), changes, applied.Held, applied.Released, applied.Waiting})
	}
	told := "nothing changed"
	if len(changes) > 0 {
		told = strings.Join(changes, "; ")
	}
	fmt.Fprintf(e.stdout, "%s: %s.%s", named(before.Token), told, chargesHeld(applied.Held))
	if applied.Released > 0 {
		fmt.Fprintf(e.stdout, " %s %s due again.", counted(applied.Released, "charge"), isOrAre(applied.Released))
	}
	_, err = fmt.Fprintln(e.stdout)
	return err
}

// differences says in words what a reading changed.
func differences(before, after postgres.TokenListing) []string {
	changes := []string{}
	add := func(what, was, is string) {
		switch {
		case was == is:
		case was == "":
			changes = append(changes, what+" is "+is)
		default:
			changes = append(changes, fmt.Sprintf("%s is %s, was %s", what, is, was))
		}
	}
	add("state", string(before.State), string(after.State))
	add("card", cardText(before.Details), cardText(after.Details))
	add("expiry", before.Details.Expiry.String(), after.Details.Expiry.String())
	return changes
}
