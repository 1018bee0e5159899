package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/secret"
)

// with is the file of one account with one line of it replaced.
func with(key, value string) string { return replaced(account, key, value) }

// withMC is the same for an account of the Mastercard Gateway.
func withMC(key, value string) string { return replaced(mastercardAccount, key, value) }

func replaced(account, key, value string) string {
	var lines []string
	for line := range strings.Lines("merchant_accounts:" + account) {
		if strings.HasPrefix(strings.TrimLeft(line, " -"), key+":") {
			line = line[:strings.Index(line, key)] + key + ": " + value + "\n"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

func TestLoad_faults(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  map[string]string
		want []string // whole lines, in order
	}{
		{
			"a misspelt section is named with its line and its neighbour",
			"\ndatabse: {url: x}", nil,
			[]string{`contauth.yaml:2: unknown key "databse": did you mean database?`},
		},
		{
			"a misspelt key is named with its section",
			"timing:\n  lease: 90s\n  gateway_timout: 5s", nil,
			[]string{`contauth.yaml:3: timing: unknown key "gateway_timout": did you mean gateway_timeout?`},
		},
		{
			"a key like no other is answered with those that exist",
			"timing: {colour: red}", nil,
			[]string{`contauth.yaml:1: timing: unknown key "colour": known here are claim_ahead, flush, gateway_timeout, lease, replays`},
		},
		{
			"a key in an account is named with the account's place",
			"merchant_accounts:" + account + "    max_in_flght: 3\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0]: unknown key "max_in_flght": did you mean max_in_flight?`},
		},
		{
			"a key with dots", "timing.lease: 90s", nil,
			[]string{`contauth.yaml:1: unknown key "timing.lease": keys stand inside each other, they are not written with dots`},
		},
		{
			"a key twice", "timing:\n  lease: 90s\n  lease: 91s", nil,
			[]string{`contauth.yaml:3: timing.lease (CONTAUTH_TIMING_LEASE): this key stands in line 2 already: keep one of the two`},
		},
		{
			"a list where a value belongs", "timing: {lease: [90s]}", nil,
			[]string{`contauth.yaml:1: timing.lease (CONTAUTH_TIMING_LEASE): here belongs one value, not a list or a section`},
		},
		{
			"a value where a section belongs", "timing: 90s", nil,
			[]string{`contauth.yaml:1: timing: here belong the keys claim_ahead, flush, gateway_timeout, lease, replays`},
		},
		{
			"a section where a list belongs", "merchant_accounts: {id: x}", nil,
			[]string{`contauth.yaml:1: merchant_accounts: here belongs a list: begin each item with a dash`},
		},
		{
			"a list in a list", "timing: {replays: [[5s]]}", nil,
			[]string{`contauth.yaml:1: timing.replays (CONTAUTH_TIMING_REPLAYS): here belong single values, not lists or sections`},
		},
		{
			"an alias", "timing: {lease: &a 90s, gateway_timeout: *a}", nil,
			[]string{`contauth.yaml:1: timing.gateway_timeout (CONTAUTH_TIMING_GATEWAY_TIMEOUT): aliases (*a) are not read: write the value out`},
		},
		{
			"two documents", "timing: {lease: 90s}\n---\ntiming: {lease: 91s}", nil,
			[]string{`contauth.yaml: the file holds a second YAML document: remove the line --- and what follows`},
		},
		{
			"no YAML", "timing: {lease: 90s\ndatabase: {}", nil,
			[]string{`contauth.yaml:1: this is not YAML: look for a missing quotation mark, a tab, or a wrong indentation near this line`},
		},
		{
			"a duration without a unit", "timing: {lease: 90}", nil,
			[]string{`contauth.yaml:1: timing.lease (CONTAUTH_TIMING_LEASE): "90" is no duration: write a number and a unit, such as 90s, 250ms or 2m`},
		},
		{
			"a wait that is none", "timing: {replays: [5s, 0s]}", nil,
			[]string{`contauth.yaml:1: timing.replays (CONTAUTH_TIMING_REPLAYS): 0s is not more than zero: write durations such as 5s`},
		},
		{
			"guards out of range", "guards: {outage_limit: 0s, canary_items: -1, canary_share: 1.5, dead_man_url: nowhere}", nil,
			[]string{
				`contauth.yaml:1: guards.outage_limit (CONTAUTH_GUARDS_OUTAGE_LIMIT): 0s is not more than zero: write a duration such as 1h`,
				`contauth.yaml:1: guards.canary_items (CONTAUTH_GUARDS_CANARY_ITEMS): -1 is negative: write a number of charges, or 0 for no canary`,
				`contauth.yaml:1: guards.canary_share (CONTAUTH_GUARDS_CANARY_SHARE): 1.5 is not from 0 to 1`,
				`contauth.yaml:1: guards.dead_man_url (CONTAUTH_GUARDS_DEAD_MAN_URL): this is no address: write one such as https://example.com/alive`,
			},
		},
		{
			"hourly limits that are none", "merchant_accounts:" + account + "    max_charges_per_hour: -1\n    max_amount_per_hour: [EUR:0]\n", nil,
			[]string{
				`contauth.yaml:8: merchant_accounts[0].max_charges_per_hour (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_CHARGES_PER_HOUR): -1 is negative: write a number of charges, or 0 for no limit`,
				`contauth.yaml:9: merchant_accounts[0].max_amount_per_hour (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_AMOUNT_PER_HOUR): "EUR:0" is no limit: write a currency and minor units above 0, such as EUR:100000`,
			},
		},
		{
			"a limit that stands there twice", "merchant_accounts:" + account + "    max_amount_per_hour: [EUR:1, EUR:2]\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].max_amount_per_hour (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_AMOUNT_PER_HOUR): EUR stands there twice`},
		},
		{
			"a flush of nothing", "timing: {flush: -1s}", nil,
			[]string{`contauth.yaml:1: timing.flush (CONTAUTH_TIMING_FLUSH): -1s is not more than zero: write a duration such as 2s`},
		},
		{
			"a lease as long as what happens in it", "timing: {lease: 62s}", nil,
			[]string{`contauth.yaml:1: timing.lease (CONTAUTH_TIMING_LEASE): 1m2s does not exceed gateway_timeout + claim_ahead (1m0s + 2s): a request could outlive its lease; make it longer`},
		},
		{
			"durations whose sum wraps round", "timing: {lease: 90s, gateway_timeout: 2562047h, claim_ahead: 2562047h}", nil,
			[]string{`contauth.yaml:1: timing.lease (CONTAUTH_TIMING_LEASE): 1m30s does not exceed gateway_timeout + claim_ahead (2562047h0m0s + 2562047h0m0s): a request could outlive its lease; make it longer`},
		},
		{
			"Postgres without sslmode",
			"", map[string]string{"CONTAUTH_DATABASE_URL": "postgres://u:hush@db/contauth"},
			[]string{`environment: database.url (CONTAUTH_DATABASE_URL): it states no sslmode, and the driver's default differs between versions: append ?sslmode=verify-full, or ?sslmode=disable for a socket of this machine`},
		},
		{
			"Postgres with an sslmode that does not exist",
			"database: {url: 'postgres://db/contauth?sslmode=on'}", nil,
			[]string{`contauth.yaml:1: database.url (CONTAUTH_DATABASE_URL): its sslmode is unknown: write one of disable, allow, prefer, require, verify-ca, verify-full`},
		},
		{
			"a database of another make", "database: {url: 'mysql://db/contauth'}", nil,
			[]string{`contauth.yaml:1: database.url (CONTAUTH_DATABASE_URL): write embedded://DIR for a private Postgres or postgres://USER:PASSWORD@HOST/NAME?sslmode=verify-full`},
		},
		{
			"a database URL that cannot be read is not repeated",
			"database: {url: 'postgres://u:hu%sh@db/contauth'}", nil,
			[]string{`contauth.yaml:1: database.url (CONTAUTH_DATABASE_URL): this is no URL: percent-encode what is special in the password, and look at the host and port`},
		},
		{
			"a private Postgres without a directory", "database: {url: 'embedded://'}", nil,
			[]string{`contauth.yaml:1: database.url (CONTAUTH_DATABASE_URL): embedded:// names no directory: write one, such as embedded://./data`},
		},
		{
			"an account id with a blank", with("id", "Demo EU"), nil,
			[]string{`contauth.yaml:2: merchant_accounts[0].id: "Demo EU" is no account id: write 1 to 80 of A-Z a-z 0-9 _ . -`},
		},
		{
			"an account id of 81 characters", with("id", strings.Repeat("x", 81)), nil,
			[]string{`contauth.yaml:2: merchant_accounts[0].id: "` + strings.Repeat("x", 60) + `…" is no account id: write 1 to 80 of A-Z a-z 0-9 _ . -`},
		},
		{
			"an unknown gateway", with("gateway", "stripe"), nil,
			[]string{`contauth.yaml:3: merchant_accounts[0].gateway (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_GATEWAY): "stripe" is no gateway: write adyen or mastercard`},
		},
		{
			"an unknown gateway says nothing about what a known one needs",
			with("gateway", "stripe") + "    client_key: '-----BEGIN hush'\n    webhook_user: stripe\n", nil,
			[]string{`contauth.yaml:3: merchant_accounts[0].gateway (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_GATEWAY): "stripe" is no gateway: write adyen or mastercard`},
		},
		{
			"an unknown environment", with("environment", "prod"), nil,
			[]string{`contauth.yaml:4: merchant_accounts[0].environment (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_ENVIRONMENT): "prod" is no environment: write test or live`},
		},
		{
			"a live account over http", with("environment", "live"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): a live account is reached by https only`},
		},
		{
			"a test account at a live host", with("base_url", "https://0123456789abcdef-Demo-checkout-live.adyenpayments.com/checkout/v71"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): this host is live and the account is said to be a test account: real cards would be charged`},
		},
		{
			"an Adyen address without a version", with("base_url", "https://checkout-test.adyen.com"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): it must end with the version of the API, such as /v71`},
		},
		{
			"a base_url with a password", with("base_url", "https://u:hush@gateway.example/v71"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): write scheme, host and path alone, without user, query or fragment`},
		},
		{
			"a base_url without a scheme", with("base_url", "checkout-test.adyen.com/v71"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): write the gateway's address, such as https://checkout-test.adyen.com/v71`},
		},
		{
			"no return_url", with("return_url", ""), nil,
			[]string{`merchant_accounts[0].return_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RETURN_URL): write an address of yours, such as https://example.com/: Adyen demands one although no shopper is present`},
		},
		{
			"a return_url longer than Adyen takes", with("return_url", "https://example.com/"+strings.Repeat("x", 1005)), nil,
			[]string{`contauth.yaml:6: merchant_accounts[0].return_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RETURN_URL): it has 1025 bytes, Adyen takes 1024`},
		},
		{
			"no API key", with("api_key", ""), nil,
			[]string{`merchant_accounts[0].api_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY): there is none: write env:NAME or file:PATH of where it is kept`},
		},
		{
			"an API key that is nowhere", with("api_key", "env:NOT_SET"), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].api_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY): the variable NOT_SET is not set: set it to the secret`},
		},
		{
			"an API key in a file that is not there", with("api_key", "file:/run/key"), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].api_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY): cannot read the file "/run/key": file does not exist`},
		},
		{
			"an API key of two lines", with("api_key", `"hush\nhush"`), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].api_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY): it holds a blank or a character that no HTTP header may: look for a line too many`},
		},
		{
			"no request at a time", "merchant_accounts:" + account + "    max_in_flight: 0\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].max_in_flight (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_IN_FLIGHT): 0 is not from 1 to 65536`},
		},
		{
			"half a request at a time", "merchant_accounts:" + account + "    max_in_flight: 1.5\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].max_in_flight (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_IN_FLIGHT): "1.5" is no whole number: write one such as 64`},
		},
		{
			"a rate that is no number", "merchant_accounts:" + account + "    rate_per_second: NaN\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].rate_per_second (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RATE_PER_SECOND): "NaN" is no number: write one such as 25 or 0.5, or 0 for no limit`},
		},
		{
			"a rate below zero", "merchant_accounts:" + account + "    rate_per_second: -1\n", nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].rate_per_second (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RATE_PER_SECOND): -1 is not from 0 (no limit) to 1000000`},
		},
		{
			"an address without a port", "serve: {listen: localhost}", nil,
			[]string{`contauth.yaml:1: serve.listen (CONTAUTH_SERVE_LISTEN): "localhost" is no address: write HOST:PORT, such as 127.0.0.1:8080, or "" to listen nowhere`},
		},
		{
			"a port that no machine has", "serve: {private_listen: '127.0.0.1:70000'}", nil,
			[]string{`contauth.yaml:1: serve.private_listen (CONTAUTH_SERVE_PRIVATE_LISTEN): "127.0.0.1:70000" is no address: write HOST:PORT, such as 127.0.0.1:6060, or "" to listen nowhere`},
		},
		{
			"profiles for everybody", "serve: {private_listen: ':6060'}", nil,
			[]string{`contauth.yaml:1: serve.private_listen (CONTAUTH_SERVE_PRIVATE_LISTEN): ":6060" is reached from other machines, and profiles show what the process holds: write 127.0.0.1, [::1] or localhost and a port`},
		},
		{
			"one address for both", "serve: {private_listen: '127.0.0.1:8080'}", nil,
			[]string{`contauth.yaml:1: serve.private_listen (CONTAUTH_SERVE_PRIVATE_LISTEN): "127.0.0.1:8080" is serve.listen, too: write another port`},
		},
		{
			"a log of no known kind", "log:\n  format: xml\n  level: loud", nil,
			[]string{
				`contauth.yaml:2: log.format (CONTAUTH_LOG_FORMAT): "xml" is no format: write text or json`,
				`contauth.yaml:3: log.level (CONTAUTH_LOG_LEVEL): "loud" is no level: write one of trace, debug, info, warn, error`,
			},
		},
		{
			"webhooks with a user alone", "merchant_accounts:" + account + "    webhook_user: adyen\n", nil,
			[]string{
				`merchant_accounts[0].webhook_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_PASSWORD): there is none: webhooks need webhook_user, webhook_password and webhook_keys, or none of them`,
				`merchant_accounts[0].webhook_keys (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS): there is none: webhooks need webhook_user, webhook_password and webhook_keys, or none of them`,
			},
		},
		{
			"webhooks without a user",
			"merchant_accounts:" + account + "    webhook_password: hush\n    webhook_keys: [" + hexKey("a") + "]\n", nil,
			[]string{`merchant_accounts[0].webhook_user (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_USER): there is none: webhooks need webhook_user, webhook_password and webhook_keys, or none of them`},
		},
		{
			"a webhook key that is none, and a user that no sign-in may have",
			"merchant_accounts:" + account + "    webhook_user: ad:yen\n    webhook_password: hush\n    webhook_keys: [" + hexKey("a") + ", hush]\n", nil,
			[]string{
				`contauth.yaml:8: merchant_accounts[0].webhook_user (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_USER): "ad:yen" holds a blank, a colon or a character that no sign-in may have`,
				`contauth.yaml:10: merchant_accounts[0].webhook_keys (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS): key 2 is not the 64 hexadecimal digits that the Customer Area shows`,
			},
		},
		{
			"a webhook key that is nowhere",
			"merchant_accounts:" + account + "    webhook_user: adyen\n    webhook_password: hush\n    webhook_keys: [" + hexKey("a") + ", env:NOT_SET]\n", nil,
			[]string{`contauth.yaml:10: merchant_accounts[0].webhook_keys (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS): the variable NOT_SET is not set: set it to the secret`},
		},
		{
			"two webhook keys in one variable",
			"merchant_accounts:" + account + "    webhook_user: adyen\n    webhook_password: hush\n    webhook_keys: [env:ADYEN_KEYS]\n",
			map[string]string{"ADYEN_KEYS": hexKey("a") + "," + hexKey("b")},
			[]string{`contauth.yaml:10: merchant_accounts[0].webhook_keys (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS): what item 1 stands for has a comma, which separates items: give each its own`},
		},
		{
			"the settings of a mastercard account at Adyen",
			"merchant_accounts:" + account + "    merchant_id: TESTDEMO\n    api_password: hush\n    client_cert: mc.crt\n    client_key: mc.key\n    operation: pay\n", nil,
			[]string{
				`contauth.yaml:8: merchant_accounts[0].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MERCHANT_ID): it is for mastercard accounts: remove it`,
				`contauth.yaml:9: merchant_accounts[0].api_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_PASSWORD): it is for mastercard accounts: remove it`,
				`contauth.yaml:10: merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_CLIENT_CERT): it is for mastercard accounts: remove it`,
				`contauth.yaml:11: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_CLIENT_KEY): it is for mastercard accounts: remove it`,
				`contauth.yaml:12: merchant_accounts[0].operation (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_OPERATION): it is for mastercard accounts: remove it`,
			},
		},
		{
			"the settings of an adyen account at the Mastercard Gateway",
			"merchant_accounts:" + mastercardAccount + "    return_url: https://example.com/\n    api_key: hush\n" +
				"    webhook_user: adyen\n    webhook_password: hush\n    webhook_keys: [" + hexKey("a") + "]\n", nil,
			[]string{
				`contauth.yaml:8: merchant_accounts[0].return_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_RETURN_URL): it is for adyen accounts: remove it`,
				`contauth.yaml:9: merchant_accounts[0].api_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_KEY): it is for adyen accounts: remove it`,
				`contauth.yaml:10: merchant_accounts[0].webhook_user (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_WEBHOOK_USER): the mastercard gateway has no signed webhooks that contauth listens to, tokens and outcomes are polled: remove it`,
				`contauth.yaml:11: merchant_accounts[0].webhook_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_WEBHOOK_PASSWORD): the mastercard gateway has no signed webhooks that contauth listens to, tokens and outcomes are polled: remove it`,
				`contauth.yaml:12: merchant_accounts[0].webhook_keys (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_WEBHOOK_KEYS): the mastercard gateway has no signed webhooks that contauth listens to, tokens and outcomes are polled: remove it`,
			},
		},
		{
			"one merchant id for two accounts", "merchant_accounts:" + mastercardAccount + strings.ReplaceAll(mastercardAccount, "DemoMC", "Other"), nil,
			[]string{`contauth.yaml:12: merchant_accounts[1].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_OTHER_MERCHANT_ID): "TESTDEMO" at this base_url is merchant_accounts[0] already: a merchant id is one account`},
		},
		{
			"no merchant id", withMC("merchant_id", ""), nil,
			[]string{`merchant_accounts[0].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_MERCHANT_ID): "" is no merchant id: write the one of Merchant Administration, 1 to 40 of 0-9 a-z A-Z - _`},
		},
		{
			"a merchant id of 41 characters", withMC("merchant_id", "TEST"+strings.Repeat("x", 37)), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_MERCHANT_ID): "TEST` + strings.Repeat("x", 37) + `" is no merchant id: write the one of Merchant Administration, 1 to 40 of 0-9 a-z A-Z - _`},
		},
		{
			"a test account with a live merchant", withMC("merchant_id", "DEMO"), nil,
			[]string{`contauth.yaml:5: merchant_accounts[0].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_MERCHANT_ID): "DEMO" does not begin with TEST and the account is said to be a test account: real cards would be charged; write the test merchant's id`},
		},
		{
			"a live account with a test merchant, over http", withMC("environment", "live"), nil,
			[]string{
				`contauth.yaml:6: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_BASE_URL): a live account is reached by https only`,
				`contauth.yaml:5: merchant_accounts[0].merchant_id (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_MERCHANT_ID): "TESTDEMO" is a test merchant and the account is said to be live: no money would move; write the live merchant's id`,
			},
		},
		{
			"a mastercard address without a scheme", withMC("base_url", "eu-gateway.mastercard.com/api/nvp/version/100"), nil,
			[]string{`contauth.yaml:6: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_BASE_URL): write the gateway's address, such as https://eu-gateway.mastercard.com/api/nvp/version/100`},
		},
		{
			"a mastercard address of the other protocol", withMC("base_url", "https://eu-gateway.mastercard.com/api/rest/version/100"), nil,
			[]string{`contauth.yaml:6: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_BASE_URL): it must end with /api/nvp/version/ and the number of the version, such as https://eu-gateway.mastercard.com/api/nvp/version/100`},
		},
		{
			"a mastercard address without a version", withMC("base_url", "https://eu-gateway.mastercard.com/api/nvp/version/"), nil,
			[]string{`contauth.yaml:6: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_BASE_URL): it must end with /api/nvp/version/ and the number of the version, such as https://eu-gateway.mastercard.com/api/nvp/version/100`},
		},
		{
			"neither a password nor a certificate", withMC("api_password", ""), nil,
			[]string{`merchant_accounts[0].api_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_PASSWORD): there is none: write env:NAME or file:PATH of where it is kept, or set client_cert and client_key in its place`},
		},
		{
			"a password and a certificate", "merchant_accounts:" + certified + "    api_password: hush\n", nil,
			[]string{`contauth.yaml:9: merchant_accounts[0].api_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_API_PASSWORD): a client certificate is set as well: keep one of the two`},
		},
		{
			"a certificate without its key", replaced(certified, "client_key", ""), nil,
			[]string{`merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): there is none, and client_cert is of no use without: write the path of its key, a PEM file`},
		},
		{
			"a key without its certificate", replaced(certified, "client_cert", ""), nil,
			[]string{`merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT): there is none, and client_key is of no use without: write the path of its certificate, a PEM file`},
		},
		{
			"a certificate as a secret is written", replaced(certified, "client_cert", "file:mc.crt"), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT): write the path of a PEM file: not what it holds, and without env: or file: before it`},
		},
		{
			"a key that was pasted is not repeated", replaced(certified, "client_key", `"-----BEGIN PRIVATE KEY-----\nhush"`), nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): write the path of a PEM file: not what it holds, and without env: or file: before it`},
		},
		{
			"a key that was pasted without its first and last line is not repeated", replaced(certified, "client_key", "MHcCAQEEIhush+"+strings.Repeat("x", 150)+"=="), nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): write the path of a PEM file: not what it holds, and without env: or file: before it`},
		},
		{
			"a long path that begins with a slash is one", replaced(certified, "client_key", "/"+strings.Repeat("directory/", 5)+"key"), nil,
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): cannot read the file "/` + strings.Repeat("directory/", 5) + `key": file does not exist`},
		},
		{
			"a certificate over http", replaced(certified, "base_url", "http://127.0.0.1:8090/mastercard/api/nvp/version/100"), nil,
			[]string{`contauth.yaml:6: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_BASE_URL): a client certificate is shown by https only: write https, or use api_password`},
		},
		{
			"a password that is nowhere", withMC("api_password", "env:NOT_SET"), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].api_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_PASSWORD): the variable NOT_SET is not set: set it to the secret`},
		},
		{
			"a password of two lines", withMC("api_password", `"hush\nhush"`), nil,
			[]string{`contauth.yaml:7: merchant_accounts[0].api_password (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_PASSWORD): it holds a blank, a control character or a letter outside ASCII: look for a line too many`},
		},
		{
			"words that nobody knows", "merchant_accounts:" + mastercardAccount + "    operation: purchase\n    token_release: soon\n    verification_currency: eur\n", nil,
			[]string{
				`contauth.yaml:8: merchant_accounts[0].operation (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_OPERATION): "purchase" is no operation: write pay or authorize_capture`,
				`contauth.yaml:9: merchant_accounts[0].token_release (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_TOKEN_RELEASE): "soon" is no time of release: write one of now, next_run, by_hand`,
				`contauth.yaml:10: merchant_accounts[0].verification_currency (CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_VERIFICATION_CURRENCY): "eur" is no currency: write three letters of ISO 4217, such as EUR`,
			},
		},
		{
			"misspelt keys and variables of a mastercard account",
			withMC("merchant_id", "TESTDEMO\n    merchantid: TESTDEMO\n    api_pasword: hush\n    token_realease: now"),
			map[string]string{"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_CLIENT_CRT": "x"},
			[]string{
				`contauth.yaml:6: merchant_accounts[0]: unknown key "merchantid": did you mean merchant_id?`,
				`contauth.yaml:7: merchant_accounts[0]: unknown key "api_pasword": did you mean api_password?`,
				`contauth.yaml:8: merchant_accounts[0]: unknown key "token_realease": did you mean token_release?`,
				`environment: CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_CLIENT_CRT: no setting has this variable: did you mean CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_CLIENT_CERT?`,
			},
		},
		{
			"two accounts with one id", "merchant_accounts:" + account + account, nil,
			[]string{`contauth.yaml:9: merchant_accounts[1].id: "DemoEU" is the id of merchant_accounts[0] too: every account needs its own`},
		},
		{
			"two accounts with one variable",
			"merchant_accounts:" + account + strings.Replace(account, "DemoEU", "demoeu", 1),
			map[string]string{"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RATE_PER_SECOND": "5"},
			[]string{`merchant_accounts[1].rate_per_second (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RATE_PER_SECOND): the accounts "DemoEU" and "demoeu" share this variable: set rate_per_second in the file for both`},
		},
		{
			"a misspelt variable", "", map[string]string{"CONTAUTH_DATABSE_URL": "embedded://x"},
			[]string{`environment: CONTAUTH_DATABSE_URL: no setting has this variable: did you mean CONTAUTH_DATABASE_URL?`},
		},
		{
			"a variable of an account that the file does not name", "",
			map[string]string{"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY": "hush"},
			[]string{`environment: CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY: no setting has this variable`},
		},
		{
			"a secret and its file at once", "",
			map[string]string{"CONTAUTH_DATABASE_URL": "embedded://x", "CONTAUTH_DATABASE_URL_FILE": "embedded"},
			[]string{`database.url (CONTAUTH_DATABASE_URL): CONTAUTH_DATABASE_URL_FILE is set as well: keep one of the two`},
		},
		{
			"an empty file of a secret", "", map[string]string{"CONTAUTH_DATABASE_URL_FILE": "empty"},
			[]string{`environment: database.url (CONTAUTH_DATABASE_URL): the file "empty" is empty: write the secret into it`},
		},
		{
			"a file too large for a secret", "", map[string]string{"CONTAUTH_DATABASE_URL_FILE": "large"},
			[]string{`environment: database.url (CONTAUTH_DATABASE_URL): the file "large" has 70000 bytes, which is no secret`},
		},
		{
			"everything at once, each once",
			"databse: {}\ntiming: {lease: soon}\n" + with("base_url", "x"), map[string]string{"CONTAUTH_TIMING_LESE": "1s"},
			[]string{
				`contauth.yaml:1: unknown key "databse": did you mean database?`,
				`contauth.yaml:2: timing.lease (CONTAUTH_TIMING_LEASE): "soon" is no duration: write a number and a unit, such as 90s, 250ms or 2m`,
				`environment: CONTAUTH_TIMING_LESE: no setting has this variable: did you mean CONTAUTH_TIMING_LEASE?`,
				`contauth.yaml:7: merchant_accounts[0].base_url (CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL): write the gateway's address, such as https://checkout-test.adyen.com/v71`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world{file: tt.file, env: map[string]string{"ADYEN_API_KEY": "hush", "MC_PASSWORD": "hush"}, files: map[string]string{
				"embedded": "embedded://x", "empty": "\n", "large": strings.Repeat("x", 70_000),
				"mc.crt": pair().cert, "mc.key": pair().key,
			}}
			for name, value := range tt.env {
				w.env[name] = value
			}
			_, err := config.Load(w.sources())
			checkFaults(t, err, tt.want)
		})
	}
}

// checkFaults wants err to be the faults of these lines, and without the secret.
func checkFaults(t *testing.T, err error, want []string) {
	t.Helper()
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got error %v, want Faults", err)
	}
	var got []string
	for _, fault := range faults {
		got = append(got, fault.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestFaults_Error(t *testing.T) {
	one := config.Fault{Key: "timing.lease", Variable: "CONTAUTH_TIMING_LEASE", Text: "too short"}
	other := config.Fault{Origin: "contauth.yaml:3", Text: "line\nfeed \x1b[31m"}
	if got, want := (config.Faults{one}).Error(), "timing.lease (CONTAUTH_TIMING_LEASE): too short"; got != want {
		t.Errorf("one fault: got %q, want %q", got, want)
	}
	want := "2 faults in the configuration:\n  timing.lease (CONTAUTH_TIMING_LEASE): too short\n  contauth.yaml:3: line feed  [31m"
	if got := (config.Faults{one, other}).Error(); got != want {
		t.Errorf("two faults: got %q, want %q", got, want)
	}
}

// Validate serves those who build a Config in Go, such as the demo.
func TestConfig_Validate(t *testing.T) {
	c := config.Default()
	c.MerchantAccounts = []config.MerchantAccount{{
		ID: "Live", Gateway: config.GatewayAdyen, Environment: config.EnvironmentLive,
		BaseURL:   "https://0123456789abcdef-Demo-checkout-live.adyenpayments.com/checkout/v71",
		ReturnURL: "https://example.com/", APIKey: secret.New("key"), MaxInFlight: 1, TokenRelease: config.TokenReleaseNow,
	}}
	if err := c.Validate(); err != nil {
		t.Errorf("a live account with Adyen's own address: %v", err)
	}
	tests := []struct {
		name, baseURL, want string
	}{
		{"the live segment is missing", "https://0123456789abcdef-Demo-checkout-live.adyenpayments.com/v71", "live addresses have one more segment"},
		{"a test host", "https://checkout-test.adyen.com/v71", "Adyen's test system"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.MerchantAccounts[0].BaseURL = tt.baseURL
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestConfig_Validate_liveMastercard(t *testing.T) {
	c := config.Default()
	c.MerchantAccounts = []config.MerchantAccount{{
		ID: "Live", Gateway: config.GatewayMastercard, Environment: config.EnvironmentLive, MerchantID: "DEMO",
		APIPassword: secret.New("pass"), Operation: config.OperationPay, MaxInFlight: 1, TokenRelease: config.TokenReleaseNow,
	}}
	const testSystem = "the gateway's test system"
	tests := []struct{ host, want string }{
		{"eu-gateway.mastercard.com", ""},
		{"ap.gateway.mastercard.com", ""},
		{"bank.gateway.mastercard.com", ""},
		{"latest.gateway.mastercard.com", ""},
		{"payments.bank.example", ""},
		{"test-gateway.mastercard.com", testSystem},
		{"mtf.gateway.mastercard.com", testSystem},
		{"test-bank.mtf.gateway.mastercard.com", testSystem},
		{"Bank.Test.gateway.mastercard.com", testSystem},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			c.MerchantAccounts[0].BaseURL = "https://" + tt.host + "/api/nvp/version/100"
			err := c.Validate()
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}
