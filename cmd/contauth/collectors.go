package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/scheduler"
)

// newGateway returns the client of one configured merchant account.
func newGateway(account config.MerchantAccount, logger hclog.Logger) billing.Gateway {
	if account.Gateway == config.GatewayMastercard {
		return newMastercard(account, logger)
	}
	client := gateway.NewHTTPClient(gateway.Options{MaxConns: account.MaxInFlight})
	return adyen.New(client, adyenOptions(account), logger)
}

func adyenOptions(account config.MerchantAccount) adyen.Options {
	return adyen.Options{MerchantAccount: account.ID, BaseURL: account.BaseURL, APIKey: account.APIKey}
}

func newMastercard(account config.MerchantAccount, logger hclog.Logger) *mastercard.Client {
	client, err := connectionsTo(account)
	if err != nil {
		// It was read once already, with the configuration: a gateway that meets none
		// turns every request away, and that stops the account.
		logger.Error("the client certificate cannot be read", "merchant_account", account.ID, "error", err)
		client = gateway.NewHTTPClient(gateway.Options{MaxConns: account.MaxInFlight})
	}
	return mastercard.New(client, mastercardOptions(account), logger)
}

func mastercardOptions(account config.MerchantAccount) mastercard.Options {
	return mastercard.Options{
		MerchantAccount: account.ID, MerchantID: account.MerchantID, BaseURL: account.BaseURL, Password: account.APIPassword,
		Operation: mastercard.Operation(account.Operation),
	}
}

// connectionsTo returns what makes the connections of a merchant account, with its
// client certificate where it has one.
func connectionsTo(account config.MerchantAccount) (*http.Client, error) {
	options := gateway.Options{MaxConns: account.MaxInFlight}
	if account.ClientCert != "" {
		certificate, err := tls.LoadX509KeyPair(account.ClientCert, account.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate of merchant account %s: %w", account.ID, err)
		}
		options.Certificate = &certificate
	}
	return gateway.NewHTTPClient(options), nil
}

// endpoint is where the attempts of a merchant account are known, as its gateway's
// client has it.
func endpoint(account config.MerchantAccount) string {
	if account.Gateway == config.GatewayMastercard {
		return mastercard.Endpoint(account.BaseURL, account.MerchantID, mastercard.Operation(account.Operation))
	}
	return account.BaseURL
}

// collectors returns, by merchant account, what charges its tokens.
func (s *session) collectors(ctx context.Context, logger hclog.Logger) (map[string]*billing.Collector, error) {
	secret, err := s.db.KeySecret(ctx)
	if err != nil {
		return nil, err
	}
	collectors := map[string]*billing.Collector{}
	for _, a := range s.config.MerchantAccounts {
		keyer := billing.NewAttemptKeyer(secret, a.Gateway, a.Environment)
		collectors[a.ID] = billing.NewCollector(newGateway(a, logger), keyer, s.config.Timing.Replays)
	}
	return collectors, nil
}

// inFlight is how many requests may be in flight at all merchant accounts.
func (s *session) inFlight() int {
	sum := 0
	for _, a := range s.config.MerchantAccounts {
		sum += a.MaxInFlight
	}
	return sum
}

// newRunner registers this process and returns its runner. adjust, if any, may
// change its options.
func (s *session) newRunner(ctx context.Context, logger hclog.Logger, adjust func(*scheduler.Options)) (*scheduler.Runner, error) {
	collectors, err := s.collectors(ctx, logger)
	if err != nil {
		return nil, err
	}
	process, err := s.db.RegisterProcess(ctx, programVersion())
	if err != nil {
		return nil, err
	}
	t := s.config.Timing
	opts := scheduler.Options{
		Lease: t.Lease, GatewayTimeout: t.GatewayTimeout, ClaimAhead: t.ClaimAhead,
		Flush: t.Flush, Replays: t.Replays, Repair: s.repair,
		Canary: scheduler.Canary{
			Items: s.config.Guards.CanaryItems, Share: s.config.Guards.CanaryShare, MaxDeclineRate: s.config.Guards.MaxDeclineRate,
		},
	}
	if adjust != nil {
		adjust(&opts)
	}
	return scheduler.NewRunner(s.db, process, collectors, opts, logger), nil
}

// repair starts a private Postgres again that died under us. A server of
// others can only be waited for.
func (s *session) repair(ctx context.Context) error {
	if s.embedded == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.embedded.Ensure(ctx)
}
