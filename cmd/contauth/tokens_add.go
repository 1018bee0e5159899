package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// tokenAddFlags are the flags of contauth tokens add.
type tokenAddFlags struct {
	account, shopper string
	session          sessionFlags
	token, ach       string
	open             openSessionFlags
}

// Flags that only one of the gateways knows.
var (
	mastercardAddFlags = []string{"session", "session-version", "token", "ach", "verify"}
	adyenAddFlags      = []string{"model", "amount-minor", "ask-for-consent", "return-url", "session-data"}
)

func newTokensAddCommand(e *env) *cobra.Command {
	var f tokenAddFlags
	cmd := &cobra.Command{
		Use:   "add --merchant-account ACCOUNT --shopper REFERENCE",
		Short: "Store a shopper's card: from a hosted session, or by opening one",
		Long: `Store a shopper's payment method. No card number passes through contauth.

At the Mastercard Gateway the shopper enters the card into a hosted session on the
shop's page; --session stores what is in it, at once: a session lives about 15
minutes. --verify says how the card is looked at first: BASIC (format and range of
the number), ACQUIRER (the issuer is asked, which counts at the schemes; needs
--currency or verification_currency) or NONE. Only in a repository whose tokens the
merchant names, --token gives the name.

--ach stores a bank account in the United States from a FILE, or from standard input
with -: {"account_type": "CONSUMER_CHECKING", "holder": "…", "account_number": "…",
"routing_number": "…", "sec_code": "WEB"}. It goes to the gateway and is kept nowhere.

At Adyen a session is opened, and its id printed for the shop's page. The token comes
by webhook when the shopper is done: contauth tokens sessions shows what became of
it. --amount-minor 0 only checks the card; any other amount is charged when the
shopper confirms.`,
		Example: `  contauth tokens add --merchant-account DemoMC --shopper shopper-1 --session SESSION0002034479234N2348753H12 --verify BASIC
  contauth tokens add --merchant-account DemoMC --shopper shopper-2 --ach - < account.json
  contauth tokens add --merchant-account DemoEU --shopper shopper-3 --model Subscription --currency EUR --json`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				account, err := s.configured(f.account)
				if err != nil {
					return err
				}
				if account.Gateway == config.GatewayMastercard {
					if err := refuseFlags(cmd, account, adyenAddFlags); err != nil {
						return err
					}
					return e.addToken(cmd.Context(), s, account, &f)
				}
				if err := refuseFlags(cmd, account, mastercardAddFlags); err != nil {
					return err
				}
				return e.openTokenSession(cmd.Context(), s, account, &f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.account, "merchant-account", "", "the merchant `ACCOUNT` that the token is for (required)")
	flags.StringVar(&f.shopper, "shopper", "", "the merchant's opaque `REFERENCE` of the shopper: no name, no e-mail address (required)")
	f.session.register(cmd)
	flags.StringVar(&f.token, "token", "", "the `NAME` of the token, where the merchant names them")
	flags.StringVar(&f.ach, "ach", "", "store the bank account in `FILE` (- is standard input) in place of a session")
	f.open.register(cmd)
	return cmd
}

func (f *tokenAddFlags) parse() error {
	if f.account == "" {
		return usageError("--merchant-account: say which account the token is for")
	}
	if err := refuseCardData("--shopper", f.shopper); err != nil {
		return err
	}
	if err := tokens.ValidateShopperReference(f.shopper); err != nil {
		return usageError("--shopper: %w", err)
	}
	if f.token != "" {
		if err := refuseCardData("--token", f.token); err != nil {
			return err
		}
		if err := tokens.ValidateReference(f.token); err != nil {
			return usageError("--token: %w", err)
		}
	}
	if f.ach != "" && (f.session.id != "" || f.session.version != "") {
		return usageError("--ach: leave out --session: a token is a bank account or a card")
	}
	return f.session.parse()
}

// refuseCardData refuses what looks like a card number, without repeating it.
func refuseCardData(flag, text string) error {
	if importer.HoldsCardData(text) {
		return usageError("%s: this looks like card data, which contauth never takes", flag)
	}
	return nil
}

// refuseFlags refuses flags that mean nothing at an account's gateway.
func refuseFlags(cmd *cobra.Command, account config.MerchantAccount, names []string) error {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return usageError("--%s: it means nothing for merchant account %s, which is at %s", name, account.ID, account.Gateway)
		}
	}
	return nil
}

// sessionFlags name a hosted session of the Mastercard Gateway, and say how what the
// shopper entered there is verified.
type sessionFlags struct {
	id, version string
	verify      string
	currency    string

	strategy tokens.Strategy // "" if nothing was said
}

func (f *sessionFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.id, "session", "", "`ID` of the hosted session in which the shopper entered the card")
	flags.StringVar(&f.version, "session-version", "", "refuse if the session has changed since it had this `VERSION`")
	flags.StringVar(&f.verify, "verify", "", "how to verify first, a `STRATEGY`: ACQUIRER, BASIC or NONE (default: BASIC; NONE for a bank account; at Adyen always ACQUIRER)")
	flags.StringVar(&f.currency, "currency", "", "the `CURRENCY`, such as EUR, that an acquirer verifies in, or of the session that is opened (default: verification_currency)")
}

// Limits of hosted sessions in characters (Create or Update Token, version 100).
const (
	minHostedSession     = 31
	maxHostedSession     = 35
	hostedSessionVersion = 10
)

func (f *sessionFlags) parse() error {
	if f.id != "" && (len(f.id) < minHostedSession || len(f.id) > maxHostedSession || strings.ContainsFunc(f.id, notVisibleASCII)) {
		return usageError("--session: want the id of a hosted session, which has %d to %d characters", minHostedSession, maxHostedSession)
	}
	if f.version != "" {
		if len(f.version) != hostedSessionVersion || strings.ContainsFunc(f.version, notVisibleASCII) {
			return usageError("--session-version: want session.version as the gateway gives it, which has exactly %d characters", hostedSessionVersion)
		}
		if f.id == "" {
			return usageError("--session-version: give --session as well")
		}
	}
	if f.verify != "" {
		if err := f.strategy.UnmarshalText([]byte(f.verify)); err != nil {
			return usageError("--verify: %w", err)
		}
	}
	return checkCurrency(f.currency)
}

// checkCurrency checks --currency; empty text is the account's. The error does not
// repeat the text.
func checkCurrency(text string) error {
	if _, ok := billing.Exponent(text); text != "" && !ok {
		return usageError("--currency: want one that ISO 4217 lists, such as EUR")
	}
	return nil
}

func notVisibleASCII(r rune) bool { return r <= ' ' || r > '~' }

// order is what the flags ask for, with a strategy if they name none.
func (f *sessionFlags) order(actor, why string, strategy tokens.Strategy) tokens.Order {
	if f.strategy != "" {
		strategy = f.strategy
	}
	return tokens.Order{Actor: actor, Why: why, SessionID: f.id, Version: f.version, Strategy: strategy, Currency: f.currency}
}

// addToken stores what is in a hosted session, or a bank account.
func (e *env) addToken(ctx context.Context, s *session, account config.MerchantAccount, f *tokenAddFlags) error {
	if f.session.id == "" && f.ach == "" {
		return usageError("--session: want the id of the hosted session in which the shopper entered the card; or --ach for a bank account")
	}
	order := f.session.order(e.actor, "", tokens.StrategyBasic)
	if f.ach != "" {
		bank, err := e.readBankAccount(f.ach)
		if err != nil {
			return err
		}
		order = f.session.order(e.actor, "", tokens.StrategyNone)
		order.ACH = &bank
	}
	if err := s.mayAsk(ctx, account.ID); err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	ctx, cancel := s.unbroken(ctx)
	defer cancel()
	applied, seen, err := keeper.Add(ctx, account.ID, f.shopper, f.token, order)
	if err != nil {
		return refusal(err, 0)
	}
	record, err := s.db.ShowToken(ctx, applied.Token.ID)
	if err != nil {
		return err
	}
	return e.printAdded(record, seen)
}

// addedJSON is what tokens add --json prints of a stored token.
type addedJSON struct {
	tokenJSON
	Verification string `json:"verification"` // in words
}

func (e *env) printAdded(t postgres.TokenDetail, seen tokens.Verification) error {
	if e.json {
		return e.printJSON(addedJSON{newTokenJSON(t.TokenListing), "the card " + seen.Result.Sentence()})
	}
	card := cardText(t.Details)
	if end := t.Details.Expiry; !end.IsZero() {
		card += ", good until the end of " + end.String()
	}
	fmt.Fprintf(e.stdout, "%s is stored for shopper %s at %s.\n", named(t.Token), t.ShopperReference, t.MerchantAccount)
	if card != "" {
		fmt.Fprintf(e.stdout, "Card: %s.\n", card)
	}
	fmt.Fprintf(e.stdout, "The card %s.\n", seen.Result.Sentence())
	if !t.State.Chargeable() {
		fmt.Fprintf(e.stdout, "It was here before and is %s: contauth tokens show %d says what to do.\n", t.State, t.ID)
	}
	return nil
}

// gatewayTime says when something at a gateway ends, for people.
func gatewayTime(at time.Time) string {
	if at.IsZero() {
		return "soon"
	}
	return "at " + instant(at)
}
