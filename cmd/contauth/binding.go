package main

import (
	"context"
	"strings"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
)

// isLive reports whether the configuration calls a merchant account live.
func (s *session) isLive(merchantAccount string) bool {
	for _, a := range s.config.MerchantAccounts {
		if a.ID == merchantAccount {
			return a.Environment == config.EnvironmentLive
		}
	}
	return false
}

// liveCredentials are those that real cards are charged with.
func (s *session) liveCredentials() []postgres.LiveCredential {
	var live []postgres.LiveCredential
	for _, a := range s.config.MerchantAccounts {
		if a.Environment == config.EnvironmentLive {
			live = append(live, postgres.LiveCredential{MerchantAccount: a.ID, Key: a.APIKey})
		}
	}
	return live
}

// requireBinding refuses to charge real cards from a database that is a copy, was
// restored, or was never bound.
func (s *session) requireBinding(ctx context.Context) error {
	live := s.liveCredentials()
	if len(live) == 0 {
		return nil
	}
	b, err := s.db.Binding(ctx, live)
	if err != nil || b.Bound {
		return err
	}
	return refusedError("this database is not bound to charge live accounts (%s): make sure that no other copy of it charges and that it lacks nothing the gateway knows, then type: contauth doctor --bind --reason TEXT",
		strings.Join(b.Changes, "; "))
}
