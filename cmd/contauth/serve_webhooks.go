package main

import (
	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/httpserver"
)

// gatewayRoutes are those at which gateways deliver webhooks, for the accounts
// whose configuration says how they are signed.
func (s *session) gatewayRoutes(logger hclog.Logger) ([]httpserver.Route, error) {
	var accounts []adyen.ReceiverAccount
	for _, a := range s.config.MerchantAccounts {
		if a.Gateway != config.GatewayAdyen || len(a.WebhookKeys) == 0 {
			continue
		}
		account := adyen.ReceiverAccount{MerchantAccount: a.ID, Environment: a.Environment, User: a.WebhookUser, Password: a.WebhookPassword}
		for _, text := range a.WebhookKeys {
			key, err := adyen.NewWebhookKey(text)
			if err != nil {
				return nil, err
			}
			account.Keys = append(account.Keys, key)
		}
		accounts = append(accounts, account)
	}
	if len(accounts) == 0 {
		return nil, nil
	}
	return []httpserver.Route{
		{Pattern: "POST /webhooks/adyen", Caller: httpserver.Gateway, Handler: adyen.NewReceiver(s.db, accounts, logger), MaxBody: adyen.MaxDelivery},
	}, nil
}
