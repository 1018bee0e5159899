package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/secret"
)

func dumped() config.Config {
	c := config.Default()
	c.Database.URL = secret.New("postgres://contauth:hush@db.internal:5432/contauth?sslmode=verify-full&password=hush")
	c.MerchantAccounts = []config.MerchantAccount{{
		ID: "DemoEU", Gateway: "adyen", Environment: "test", BaseURL: "http://127.0.0.1:8090/adyen/v71",
		ReturnURL: "https://example.invalid/", APIKey: secret.New("hush"), MaxInFlight: 64, RatePerSecond: 2.5,
		TokenRelease: "next_run", WebhookUser: "adyen", WebhookPassword: secret.New("hush"), WebhookKeys: []secret.String{secret.New("hush"), secret.New("hush")},
	}, {
		ID: "DemoMC", Gateway: "mastercard", Environment: "test", BaseURL: "http://127.0.0.1:8090/mastercard/api/nvp/version/100",
		MerchantID: "TESTDEMO", APIPassword: secret.New("hush"), Operation: "pay", TokenRelease: "by_hand", VerificationCurrency: "EUR", MaxInFlight: 64,
	}, {ID: "Quiet", ClientCert: "mc.crt", ClientKey: "mc.key"}}
	return c
}

func TestConfig_Dump(t *testing.T) {
	var got strings.Builder
	if err := dumped().Dump(&got); err != nil {
		t.Fatal(err)
	}
	const want = `database:
  url: postgres://contauth@db.internal:5432/contauth?sslmode=verify-full
timing:
  lease: 1m30s
  gateway_timeout: 1m0s
  claim_ahead: 2s
  replays: [5s, 30s, 2m0s]
  flush: 20ms
guards:
  outage_limit: 1h0m0s
  canary_items: 0
  canary_share: 0
  max_decline_rate: 0.5
  max_charges_per_shopper_day: 0
serve:
  listen: 127.0.0.1:8080
  private_listen: ""
log:
  format: text
  level: info
merchant_accounts:
  - id: DemoEU
    gateway: adyen
    environment: test
    base_url: http://127.0.0.1:8090/adyen/v71
    return_url: https://example.invalid/
    api_key: '[redacted]'
    token_release: next_run
    max_in_flight: 64
    rate_per_second: 2.5
    webhook_user: adyen
    webhook_password: '[redacted]'
    webhook_keys: ['[redacted]', '[redacted]']
  - id: DemoMC
    gateway: mastercard
    environment: test
    base_url: http://127.0.0.1:8090/mastercard/api/nvp/version/100
    merchant_id: TESTDEMO
    api_password: '[redacted]'
    operation: pay
    token_release: by_hand
    verification_currency: EUR
    max_in_flight: 64
    rate_per_second: 0
  - id: Quiet
    gateway: ""
    environment: ""
    base_url: ""
    client_cert: mc.crt
    client_key: mc.key
    token_release: ""
    max_in_flight: 0
    rate_per_second: 0
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("Dump (-want +got):\n%s", diff)
	}
}

func TestConfig_DumpJSON(t *testing.T) {
	var got strings.Builder
	if err := dumped().DumpJSON(&got); err != nil {
		t.Fatal(err)
	}
	const want = `{"database":{"url":"postgres://contauth@db.internal:5432/contauth?sslmode=verify-full"},` +
		`"timing":{"lease":"1m30s","gateway_timeout":"1m0s","claim_ahead":"2s","replays":["5s","30s","2m0s"],"flush":"20ms"},"guards":{"outage_limit":"1h0m0s","canary_items":0,"canary_share":0,"max_decline_rate":0.5,"max_charges_per_shopper_day":0},` +
		`"serve":{"listen":"127.0.0.1:8080","private_listen":""},"log":{"format":"text","level":"info"},` +
		`"merchant_accounts":[{"id":"DemoEU","gateway":"adyen","environment":"test","base_url":"http://127.0.0.1:8090/adyen/v71",` +
		`"return_url":"https://example.invalid/","api_key":"[redacted]","token_release":"next_run","max_in_flight":64,"rate_per_second":2.5,` +
		`"webhook_user":"adyen","webhook_password":"[redacted]","webhook_keys":["[redacted]","[redacted]"]},` +
		`{"id":"DemoMC","gateway":"mastercard","environment":"test","base_url":"http://127.0.0.1:8090/mastercard/api/nvp/version/100","merchant_id":"TESTDEMO",` +
		`"api_password":"[redacted]","operation":"pay","token_release":"by_hand","verification_currency":"EUR","max_in_flight":64,"rate_per_second":0},` +
		`{"id":"Quiet","gateway":"","environment":"","base_url":"","client_cert":"mc.crt","client_key":"mc.key","token_release":"","max_in_flight":0,"rate_per_second":0}]}` + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("DumpJSON (-want +got):\n%s", diff)
	}
}

func TestDatabase_Describe(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{"a directory as it is", "embedded://./data", "embedded://./data"},
		{"a user without the password", "postgres://u:hush@db/c?sslmode=disable", "postgres://u@db/c?sslmode=disable"},
		{"parameters only where known to be harmless", "postgres://db/c?user=u&sslpassword=hush", "postgres://db/c"},
		{"nothing of what cannot be read", "postgres://u:hu%sh@db", "[unreadable]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (config.Database{URL: secret.New(tt.url)}).Describe(); got != tt.want {
				t.Errorf("Describe = %q, want %q", got, tt.want)
			}
		})
	}
}
