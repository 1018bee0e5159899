package main

import (
	"context"
	"os"
	"strings"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/internal/secret"
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
			live = append(live, postgres.LiveCredential{MerchantAccount: a.ID, Key: liveKey(a)})
		}
	}
	return live
}

// liveKey is what an account signs in with: at the Mastercard Gateway its merchant
// id together with a password or a certificate.
func liveKey(a config.MerchantAccount) secret.String {
	if a.Gateway != config.GatewayMastercard {
		return a.APIKey
	}
	if a.ClientCert == "" {
		return secret.New(a.MerchantID + "\n" + a.APIPassword.Reveal())
	}
	// A file that cannot be read any more is another credential than the one that
	// was bound, and charges nothing.
	certificate, err := os.ReadFile(a.ClientCert)
	if err != nil {
		certificate = nil
	}
	return secret.New(a.MerchantID + "\n" + string(certificate))
}

// mayAsk refuses to call the gateway for a live account from a database that is not
// bound.
func (s *session) mayAsk(ctx context.Context, merchantAccount string) error {
	if !s.isLive(merchantAccount) {
		return nil
	}
	return s.requireBinding(ctx)
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
