package main

import (
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/internal/secret"
)

// A dialect is how a merchant account is charged at the sandbox.
type dialect struct {
	name     string // of the gateway
	account  string
	settings string // of the merchant account; %s is the sandbox's address
	// token names the i-th token. ending is nothing, or what steers the sandbox.
	token func(i int, ending string) string
	// client charges at the sandbox with an address.
	client func(address string, logger hclog.Logger) billing.Gateway
}

var (
	adyenDialect = dialect{
		name: "adyen", account: "DemoEU",
		settings: `id: DemoEU, gateway: adyen, environment: test, base_url: "%s/adyen/v71", return_url: "https://example.invalid/", api_key: "env:ADYEN_API_KEY"`,
		token:    func(i int, ending string) string { return fmt.Sprintf("TK%06d%s", i, ending) },
		client: func(address string, logger hclog.Logger) billing.Gateway {
			return adyen.New(gateway.NewHTTPClient(gateway.Options{}), adyen.Options{
				MerchantAccount: "DemoEU", BaseURL: address + "/adyen/v71", APIKey: secret.New("k"),
			}, logger)
		},
	}
	mastercardDialect = dialect{
		name: "mastercard", account: "DemoMC",
		settings: `id: DemoMC, gateway: mastercard, environment: test, merchant_id: TESTDEMO, base_url: "%s/mastercard/api/nvp/version/100", api_password: "env:MC_PASSWORD"`,
		token:    func(i int, ending string) string { return fmt.Sprintf("MC%06d%s", i, ending) },
		client: func(address string, logger hclog.Logger) billing.Gateway {
			return mastercard.New(gateway.NewHTTPClient(gateway.Options{}), mastercard.Options{
				MerchantAccount: "DemoMC", MerchantID: "TESTDEMO", BaseURL: address + "/mastercard/api/nvp/version/100", Password: secret.New("password"),
			}, logger)
		},
	}
)

// dialects are all of them: what kills, cuts and faults test for one holds for the
// other.
var dialects = []dialect{adyenDialect, mastercardDialect}
