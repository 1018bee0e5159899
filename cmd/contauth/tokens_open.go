package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// openSessionFlags say what the session is like that Adyen opens for a shopper.
type openSessionFlags struct {
	model         string
	amountMinor   int64
	askForConsent bool
	returnURL     string
	showData      bool
}

func (f *openSessionFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.model, "model", string(billing.ModelSubscription), "what the card is stored for, a `MODEL`: Subscription, UnscheduledCardOnFile or CardOnFile; later charges may be of another")
	flags.Int64Var(&f.amountMinor, "amount-minor", 0, "what the shopper pays in this session, in minor `UNITS`; 0 only checks the card")
	flags.BoolVar(&f.askForConsent, "ask-for-consent", false, "show the shopper a box to tick; without, storing the card is part of the agreement")
	flags.StringVar(&f.returnURL, "return-url", "", "`URL` that the shopper comes back to (default: return_url of the account)")
	flags.BoolVar(&f.showData, "session-data", false, "print sessionData too, which the shop's page needs and nobody else should see")
}

// modelCardOnFile is what a card is stored for that its shopper will use in person.
const modelCardOnFile = "CardOnFile"

// request is the session that the flags ask for at an account.
func (f *tokenAddFlags) request(account config.MerchantAccount) (tokens.SessionRequest, error) {
	req := tokens.SessionRequest{
		Purpose: tokens.PurposeCreate, Reference: "session-" + uuid.NewString(), ShopperReference: f.shopper,
		Model: f.open.model, AskForConsent: f.open.askForConsent, AmountMinor: f.open.amountMinor,
		Currency: f.session.currency, ReturnURL: f.open.returnURL,
	}
	switch f.open.model {
	case string(billing.ModelSubscription), string(billing.ModelUnscheduledCardOnFile), modelCardOnFile:
	default:
		return req, usageError("--model: want Subscription, UnscheduledCardOnFile or CardOnFile")
	}
	if req.Currency == "" {
		req.Currency = account.VerificationCurrency
	}
	if req.Currency == "" {
		return req, usageError("--currency: say in which currency later charges will be, or set verification_currency for the account")
	}
	amount, err := billing.NewMoney(req.AmountMinor, req.Currency)
	if err != nil {
		return req, usageError("--amount-minor: %w", err)
	}
	if amount.Minor > 0 {
		if err := newGateway(account, hclog.NewNullLogger()).CheckAmount(amount); err != nil {
			return req, usageError("--amount-minor: %w", err)
		}
	}
	if req.ReturnURL == "" {
		req.ReturnURL = account.ReturnURL
	}
	return req, nil
}

// openTokenSession opens a session in which a shopper stores a card at Adyen. It is
// written down first: what the gateway tells later must find its shopper.
func (e *env) openTokenSession(ctx context.Context, s *session, account config.MerchantAccount, f *tokenAddFlags) error {
	req, err := f.request(account)
	if err != nil {
		return err
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
	if err := s.db.BeginTokenSession(ctx, postgres.TokenSession{
		MerchantAccount: account.ID, Reference: req.Reference, ShopperReference: req.ShopperReference,
		AmountMinor: req.AmountMinor, Currency: req.Currency, Model: req.Model, OpenedBy: e.actor,
	}); err != nil {
		return err
	}
	opened, err := keeper.OpenSession(ctx, account.ID, req)
	if err != nil {
		return refusal(err, 0)
	}
	if err := s.db.OpenedTokenSession(ctx, account.ID, req.Reference, opened); err != nil {
		return err
	}
	return e.printOpened(account, req, opened, f.open.showData)
}

// openedJSON is what tokens add --json prints of a session.
type openedJSON struct {
	SessionID        string     `json:"session_id"`
	SessionData      string     `json:"session_data"`
	URL              *string    `json:"url"`
	ExpiresAt        *time.Time `json:"expires_at"`
	Reference        string     `json:"reference"`
	MerchantAccount  string     `json:"merchant_account"`
	ShopperReference string     `json:"shopper_reference"`
	Model            string     `json:"model"`
	AmountMinor      int64      `json:"amount_minor"`
	Currency         string     `json:"currency"`
}

func (e *env) printOpened(account config.MerchantAccount, req tokens.SessionRequest, opened tokens.Session, showData bool) error {
	if e.json {
		return e.printJSON(openedJSON{
			opened.ID, opened.Data, orNull(opened.URL), orNull(opened.Expires), req.Reference, account.ID, req.ShopperReference,
			req.Model, req.AmountMinor, req.Currency,
		})
	}
	fmt.Fprintf(e.stdout, "Session %s is open; it ends %s.\n", opened.ID, gatewayTime(opened.Expires))
	data := "--session-data prints it"
	if showData {
		data = opened.Data
	}
	e.printFacts([][2]string{
		{"Reference", req.Reference},
		{"Shopper", req.ShopperReference},
		{"Amount", sessionAmount(req)},
		{"sessionData", data},
		{"Page", opened.URL},
	}...)
	fmt.Fprintf(e.stdout, "Give its id and sessionData to the shop's page. The token comes by webhook when the shopper is done: contauth tokens sessions --shopper %s\n", req.ShopperReference)
	if len(account.WebhookKeys) == 0 {
		fmt.Fprintf(e.stdout, "Merchant account %s has no webhook_keys: until it has, its webhooks are refused and the token does not arrive.\n", account.ID)
	}
	return nil
}

func sessionAmount(req tokens.SessionRequest) string {
	amount := billing.Money{Minor: req.AmountMinor, Currency: req.Currency}.String()
	if req.AmountMinor == 0 {
		return amount + ": the card is only checked"
	}
	return amount + ": charged when the shopper confirms"
}
