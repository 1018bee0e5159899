package main

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/tokens"
)

// The Mastercard Gateway does not tell by itself that a token became invalid, so a
// daemon reads tokens before they are charged.
const (
	// pollWithin is how long before something is due its token is read: a weekend, and
	// a day for the shopper to enter another card.
	pollWithin = 72 * time.Hour
	// pollFresh is how long a reading is good: account updaters answer once a day.
	pollFresh = 24 * time.Hour
	// pollPerSecond is how many tokens a daemon reads in a second: 400,000 in a day.
	pollPerSecond = 5
	// pollShare is the share of an account's rate_per_second that readings may have:
	// charges go first.
	pollShare = 0.1
)

// newPoller returns what reads tokens of the accounts whose gateway must be asked, or
// nil if there is none.
func (s *session) newPoller(ctx context.Context, logger hclog.Logger) (*tokens.Poller, error) {
	var accounts []string
	rate := float64(pollPerSecond)
	for _, a := range s.config.MerchantAccounts {
		if a.Gateway != config.GatewayMastercard {
			continue
		}
		accounts = append(accounts, a.ID)
		if a.RatePerSecond > 0 {
			rate = min(rate, pollShare*a.RatePerSecond)
		}
	}
	if len(accounts) == 0 {
		return nil, nil
	}
	logger = logger.Named("tokens")
	keeper, err := s.keeper(ctx, logger)
	if err != nil {
		return nil, err
	}
	return &tokens.Poller{
		Keeper: keeper, Store: boundTokens{s}, Accounts: accounts, Within: pollWithin, Fresh: pollFresh, PerSecond: rate,
		Report: func(id tokens.ID, applied tokens.Applied, changed bool, err error) {
			reportReading(ctx, logger, id, applied, changed, err)
		},
	}, nil
}

// reportReading logs what a colleague should know of a reading.
func reportReading(ctx context.Context, logger hclog.Logger, id tokens.ID, applied tokens.Applied, changed bool, err error) {
	switch {
	case ctx.Err() != nil: // the daemon stops: what broke off is read by the next one
	case errors.Is(err, tokens.ErrUnanswered) || err != nil && id == 0:
		logger.Warn("reading tokens stopped until the next round", "token_id", id, "error", err)
	case err != nil:
		logger.Warn("a token could not be read", "token_id", id, "error", err)
	case changed:
		logger.Info("a token changed at its gateway", "token_id", id, "state", applied.Token.State,
			"charges_held", applied.Held, "charges_released", applied.Released, "charges_waiting", applied.Waiting)
	}
}

// boundTokens finds tokens to read, of live accounts only while the database is bound:
// a copy must not note as read what it may not ask for.
type boundTokens struct{ session *session }

// TokensToRead implements tokens.PollStore.
func (b boundTokens) TokensToRead(ctx context.Context, accounts []string, within, fresh time.Duration, limit int) ([]tokens.ID, error) {
	var may []string
	for _, id := range accounts {
		err := b.session.mayAsk(ctx, id)
		if refused := (*exitError)(nil); errors.As(err, &refused) {
			continue
		}
		if err != nil {
			return nil, err
		}
		may = append(may, id)
	}
	if len(may) == 0 {
		return nil, nil
	}
	return b.session.db.TokensToRead(ctx, may, within, fresh, limit)
}

// TokensUnread implements tokens.PollStore.
func (b boundTokens) TokensUnread(ctx context.Context, ids []tokens.ID) error {
	return b.session.db.TokensUnread(ctx, ids)
}
