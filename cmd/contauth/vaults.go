package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// keeper returns what looks after the tokens of all configured merchant accounts.
func (s *session) keeper(ctx context.Context, logger hclog.Logger) (*tokens.Keeper, error) {
	secret, err := s.db.KeySecret(ctx)
	if err != nil {
		return nil, err
	}
	accounts := map[string]tokens.Account{}
	for _, a := range s.config.MerchantAccounts {
		vault, err := newVault(a, s.config.Timing.GatewayTimeout, logger)
		if err != nil {
			return nil, err
		}
		keyer := billing.NewAttemptKeyer(secret, a.Gateway, a.Environment)
		accounts[a.ID] = tokens.Account{
			Vault: &guardedVault{vault: vault, session: s, account: a}, Currency: a.VerificationCurrency, Release: releaseOf(a),
			Key: func(reference string, number int) string {
				return keyer.Key(billing.OperationVerify, a.ID, reference, number)
			},
		}
	}
	return tokens.NewKeeper(s.db, accounts), nil
}

// releaseOf says what becomes of charges that were held for a token of the account
// which is good again.
func releaseOf(a config.MerchantAccount) tokens.Release {
	if a.TokenRelease == "" {
		return tokens.ReleaseNextRun
	}
	return tokens.Release(a.TokenRelease)
}

// newVault returns where a merchant account's tokens are kept. Each request has the
// gateway's time to answer.
func newVault(a config.MerchantAccount, timeout time.Duration, logger hclog.Logger) (tokens.Vault, error) {
	client, err := connectionsTo(a)
	if err != nil {
		return nil, err
	}
	if a.Gateway == config.GatewayMastercard {
		options := mastercardOptions(a)
		options.Timeout = timeout
		return mastercard.NewRepository(mastercard.New(client, options, logger)), nil
	}
	options := adyenOptions(a)
	options.Timeout = timeout
	return adyen.NewVault(client, options, logger), nil
}

// account returns the configuration of a merchant account.
func (s *session) account(id string) (config.MerchantAccount, bool) {
	for _, a := range s.config.MerchantAccounts {
		if a.ID == id {
			return a, true
		}
	}
	return config.MerchantAccount{}, false
}

// A guardedVault is a merchant account's vault as this database may use it: not for
// live cards from a copy of it, no verification while the account is paused, and
// within the account's rate, which charges share.
type guardedVault struct {
	vault   tokens.Vault
	session *session
	account config.MerchantAccount
}

// before waits until a request may leave.
func (v *guardedVault) before(ctx context.Context) error {
	if err := v.session.mayAsk(ctx, v.account.ID); err != nil {
		return err
	}
	for v.account.RatePerSecond > 0 {
		departures, err := v.session.db.Reserve(ctx, v.account.ID, 1)
		if err != nil {
			return err
		}
		if err := pauseUntil(ctx, departures[0].From); err != nil {
			return err
		}
		if !time.Now().After(departures[0].Until) {
			return nil
		}
	}
	return nil
}

// pauseUntil waits for a moment, or for the end of ctx.
func pauseUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// notPaused refuses what the kill switch stops.
func (v *guardedVault) notPaused(ctx context.Context) error {
	stops, err := v.session.db.StandingStops(ctx)
	if err != nil {
		return err
	}
	for _, stop := range stops {
		if stop.Scope == postgres.StopAll ||
			stop.Scope == postgres.StopMerchantAccount && stop.Name == v.account.ID ||
			stop.Scope == postgres.StopGateway && stop.Name == v.account.Gateway {
			return refusedError("%s is paused by %s (%s): nothing is verified and no session opened until contauth unpause", stop.StopScope, stop.Actor, stop.Reason)
		}
	}
	return nil
}

// Read implements tokens.Vault.
func (v *guardedVault) Read(ctx context.Context, ref tokens.Ref) (tokens.Reading, error) {
	if err := v.before(ctx); err != nil {
		return tokens.Reading{}, err
	}
	return v.vault.Read(ctx, ref)
}

// Verify implements tokens.Vault.
func (v *guardedVault) Verify(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	if err := v.notPaused(ctx); err != nil {
		return tokens.Verification{}, err
	}
	if err := v.before(ctx); err != nil {
		return tokens.Verification{}, err
	}
	return v.vault.Verify(ctx, req)
}

// Save implements tokens.Vault.
func (v *guardedVault) Save(ctx context.Context, req tokens.SaveRequest) (tokens.Saved, error) {
	if req.Strategy == tokens.StrategyAcquirer {
		if err := v.notPaused(ctx); err != nil {
			return tokens.Saved{}, err
		}
	}
	if err := v.before(ctx); err != nil {
		return tokens.Saved{}, err
	}
	return v.vault.Save(ctx, req)
}

// OpenSession implements tokens.Vault.
func (v *guardedVault) OpenSession(ctx context.Context, req tokens.SessionRequest) (tokens.Session, error) {
	if err := v.notPaused(ctx); err != nil { // the shopper's payment is one, also of nothing
		return tokens.Session{}, err
	}
	if err := v.before(ctx); err != nil {
		return tokens.Session{}, err
	}
	return v.vault.OpenSession(ctx, req)
}

// Delete implements tokens.Vault.
func (v *guardedVault) Delete(ctx context.Context, ref tokens.Ref) error {
	if err := v.before(ctx); err != nil {
		return err
	}
	return v.vault.Delete(ctx, ref)
}

// unbroken returns the context of one exchange with a gateway that is written down
// afterwards: once a request has left, Ctrl-C does not lose its answer.
func (s *session) unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.config.Timing.GatewayTimeout+time.Minute)
}

// configured returns a merchant account of the configuration, or an error for a
// person who named another.
func (s *session) configured(id string) (config.MerchantAccount, error) {
	if a, ok := s.account(id); ok {
		return a, nil
	}
	return config.MerchantAccount{}, errors.New("--merchant-account: this account is not in the configuration")
}

// accountOf returns the configuration of a token's merchant account.
func (s *session) accountOf(t tokens.Token) (config.MerchantAccount, error) {
	if a, ok := s.account(t.MerchantAccount); ok {
		return a, nil
	}
	return config.MerchantAccount{}, fmt.Errorf("%s is of merchant account %s, which is not in the configuration", t, t.MerchantAccount)
}
