package config_test

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/secret"
)

// account is the smallest account that is right, as an item of a list.
const account = `
  - id: DemoEU
    gateway: adyen
    environment: test
    base_url: http://127.0.0.1:8090/adyen/v71
    return_url: https://example.invalid/
    api_key: env:ADYEN_API_KEY
`

// mastercardAccount is the smallest account of the Mastercard Gateway.
const mastercardAccount = `
  - id: DemoMC
    gateway: mastercard
    environment: test
    merchant_id: TESTDEMO
    base_url: http://127.0.0.1:8090/mastercard/api/nvp/version/100
    api_password: env:MC_PASSWORD
`

// certified is an account that shows a client certificate in place of a password.
const certified = `
  - id: DemoCert
    gateway: mastercard
    environment: test
    merchant_id: TESTDEMO
    base_url: https://gateway.example/api/nvp/version/100
    client_cert: mc.crt
    client_key: mc.key
`

// world is an environment and a file system for one Load.
type world struct {
	file  string            // content of contauth.yaml
	env   map[string]string // variables
	files map[string]string // other files, by path
}

func (w world) sources() config.Sources {
	return config.Sources{
		File: "contauth.yaml",
		Lookup: func(name string) (string, bool) {
			value, ok := w.env[name]
			return value, ok
		},
		Environ: func() []string {
			var all []string
			for name, value := range w.env {
				all = append(all, name+"="+value)
			}
			return all
		},
		ReadFile: func(path string) ([]byte, error) {
			if path == "contauth.yaml" {
				return []byte(w.file), nil
			}
			content, ok := w.files[path]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return []byte(content), nil
		},
	}
}

// hexKey is a webhook key made of one digit.
func hexKey(digit string) string { return strings.Repeat(digit, 64) }

// revealing compares secrets by what they hold; cmp refuses to look otherwise.
var revealing = cmp.Transformer("Reveal", secret.String.Reveal)

func TestLoad(t *testing.T) {
	demo := config.MerchantAccount{
		ID: "DemoEU", Gateway: "adyen", Environment: "test",
		BaseURL: "http://127.0.0.1:8090/adyen/v71", ReturnURL: "https://example.invalid/",
		APIKey: secret.New("key"), MaxInFlight: 64, TokenRelease: config.TokenReleaseNextRun,
	}
	demoMC := config.MerchantAccount{
		ID: "DemoMC", Gateway: config.GatewayMastercard, Environment: "test", MerchantID: "TESTDEMO",
		BaseURL: "http://127.0.0.1:8090/mastercard/api/nvp/version/100", APIPassword: secret.New("pass"),
		Operation: config.OperationPay, TokenRelease: config.TokenReleaseNextRun, MaxInFlight: 64,
	}
	key := map[string]string{"ADYEN_API_KEY": "key"}
	tests := []struct {
		name  string
		world world
		want  func(*config.Config)
	}{
		{"an empty file gives the defaults", world{}, func(*config.Config) {}},
		{"a file of comments gives the defaults", world{file: "# nothing yet\n"}, func(*config.Config) {}},
		{"a key with nothing behind it keeps its default", world{file: "database:\ntiming: {lease: }\n"}, func(*config.Config) {}},
		{
			"the file wins over the default",
			world{file: "timing: {lease: 3s, gateway_timeout: 2s, claim_ahead: 500ms, replays: [1s, 2s], flush: 5ms}"},
			func(c *config.Config) {
				c.Timing = config.Timing{
					Lease: 3 * time.Second, GatewayTimeout: 2 * time.Second, ClaimAhead: 500 * time.Millisecond,
					Replays: []time.Duration{time.Second, 2 * time.Second}, Flush: 5 * time.Millisecond,
				}
			},
		},
		{
			"a variable wins over the file",
			world{file: "timing: {lease: 100s}", env: map[string]string{"CONTAUTH_TIMING_LEASE": "120s"}},
			func(c *config.Config) { c.Timing.Lease = 2 * time.Minute },
		},
		{
			"a list in a variable has commas",
			world{env: map[string]string{"CONTAUTH_TIMING_REPLAYS": "1s, 2m"}},
			func(c *config.Config) { c.Timing.Replays = []time.Duration{time.Second, 2 * time.Minute} },
		},
		{
			"an empty list of replays means none",
			world{file: "timing: {replays: []}"},
			func(c *config.Config) { c.Timing.Replays = nil },
		},
		{
			"an account takes the defaults it does not mention",
			world{file: "merchant_accounts:" + account, env: key},
			func(c *config.Config) { c.MerchantAccounts = []config.MerchantAccount{demo} },
		},
		{
			"the ids of accounts stay the text that was written",
			world{file: "merchant_accounts:" + strings.Replace(account, "DemoEU", "0012", 1), env: key},
			func(c *config.Config) {
				a := demo
				a.ID = "0012"
				c.MerchantAccounts = []config.MerchantAccount{a}
			},
		},
		{
			"a slash at the end of a base_url is dropped, since adapters append paths",
			world{file: "merchant_accounts:" + strings.Replace(account, "/v71", "/v71/", 1), env: key},
			func(c *config.Config) { c.MerchantAccounts = []config.MerchantAccount{demo} },
		},
		{
			"a variable changes the account whose id it carries",
			world{
				file: "merchant_accounts:" + account + strings.Replace(account, "DemoEU", "Demo-US.2", 1),
				env:  map[string]string{"ADYEN_API_KEY": "key", "CONTAUTH_MERCHANT_ACCOUNTS_DEMO_US_2_MAX_IN_FLIGHT": "7"},
			},
			func(c *config.Config) {
				other := demo
				other.ID, other.MaxInFlight = "Demo-US.2", 7
				c.MerchantAccounts = []config.MerchantAccount{demo, other}
			},
		},
		{
			"a secret may stand in a file, and the line end of an editor is no part of it",
			world{file: `database: {url: "file:/run/url"}`, files: map[string]string{"/run/url": "embedded:///var/lib/contauth\r\n"}},
			func(c *config.Config) { c.Database.URL = secret.New("embedded:///var/lib/contauth") },
		},
		{
			"a variable with _FILE names the file of a secret",
			world{env: map[string]string{"CONTAUTH_DATABASE_URL_FILE": "url"}, files: map[string]string{"url": "embedded://x"}},
			func(c *config.Config) { c.Database.URL = secret.New("embedded://x") },
		},
		{
			"a variable of a secret may refer too",
			world{env: map[string]string{"CONTAUTH_DATABASE_URL": "env:CONTAUTH_THE_URL", "CONTAUTH_THE_URL": "embedded://x"}},
			func(c *config.Config) { c.Database.URL = secret.New("embedded://x") },
		},
		{
			"to listen nowhere is a choice",
			world{file: `serve: {listen: ""}`},
			func(c *config.Config) { c.Serve.Listen = "" },
		},
		{
			"a daemon's addresses and its log",
			world{file: "serve: {listen: ':9000', private_listen: '[::1]:6060'}\nlog: {format: json, level: warn}"},
			func(c *config.Config) {
				c.Serve = config.Serve{Listen: ":9000", PrivateListen: "[::1]:6060"}
				c.Log = config.Log{Format: config.LogJSON, Level: "warn"}
			},
		},
		{
			"each of an account's webhook keys is a secret",
			world{
				file: "merchant_accounts:" + account + "    webhook_user: adyen\n    webhook_password: env:CONTAUTH_HOOK\n" +
					"    webhook_keys: [env:CONTAUTH_HOOK_KEY, file:/run/key, " + hexKey("c") + "]\n",
				env:   map[string]string{"ADYEN_API_KEY": "key", "CONTAUTH_HOOK": "pass", "CONTAUTH_HOOK_KEY": hexKey("a")},
				files: map[string]string{"/run/key": hexKey("b") + "\n"},
			},
			func(c *config.Config) {
				a := demo
				a.WebhookUser, a.WebhookPassword = "adyen", secret.New("pass")
				a.WebhookKeys = []secret.String{secret.New(hexKey("a")), secret.New(hexKey("b")), secret.New(hexKey("c"))}
				c.MerchantAccounts = []config.MerchantAccount{a}
			},
		},
		{
			"an account of the Mastercard Gateway takes the defaults it does not mention",
			world{file: "merchant_accounts:" + mastercardAccount, env: map[string]string{"MC_PASSWORD": "pass"}},
			func(c *config.Config) { c.MerchantAccounts = []config.MerchantAccount{demoMC} },
		},
		{
			"its settings have variables too, and its password a file",
			world{
				file: "merchant_accounts:" + mastercardAccount,
				env: map[string]string{
					"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_PASSWORD":  "file:/run/password",
					"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_OPERATION":     "authorize_capture",
					"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_TOKEN_RELEASE": "by_hand",
				},
				files: map[string]string{"/run/password": "other\n"},
			},
			func(c *config.Config) {
				a := demoMC
				a.APIPassword, a.Operation, a.TokenRelease = secret.New("other"), config.OperationAuthorizeCapture, config.TokenReleaseByHand
				c.MerchantAccounts = []config.MerchantAccount{a}
			},
		},
		{
			"of a client certificate the paths are kept",
			world{file: "merchant_accounts:" + certified, files: pair().files()},
			func(c *config.Config) {
				a := demoMC
				a.ID, a.BaseURL, a.APIPassword = "DemoCert", "https://gateway.example/api/nvp/version/100", secret.String{}
				a.ClientCert, a.ClientKey = "mc.crt", "mc.key"
				c.MerchantAccounts = []config.MerchantAccount{a}
			},
		},
		{
			"when charges are released, and what cards are verified in, is said at any gateway",
			world{file: "merchant_accounts:" + account + "    token_release: now\n    verification_currency: USD\n", env: key},
			func(c *config.Config) {
				a := demo
				a.TokenRelease, a.VerificationCurrency = config.TokenReleaseNow, "USD"
				c.MerchantAccounts = []config.MerchantAccount{a}
			},
		},
		{
			"variables of Kubernetes services are none of ours",
			world{env: map[string]string{"CONTAUTH_SERVICE_HOST": "10.0.0.1", "CONTAUTH_DATABASE_PORT_5432_TCP": "tcp://10.0.0.2:5432", "CONTAUTH_TEST_DATABASE_URL": "x"}},
			func(*config.Config) {},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.Load(tt.world.sources())
			if err != nil {
				t.Fatal(err)
			}
			want := config.Default()
			tt.want(&want)
			if diff := cmp.Diff(want, got, revealing); diff != "" {
				t.Errorf("Load (-want +got):\n%s", diff)
			}
		})
	}
}

// The account that docs/config.md shows is right as it stands there.
func TestLoad_documentedAccount(t *testing.T) {
	page, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	w := world{file: example, env: map[string]string{"MC_PASSWORD": "pass"}}
	got, err := config.Load(w.sources())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.MerchantAccounts) != 1 || got.MerchantAccounts[0].Gateway != config.GatewayMastercard {
		t.Errorf("the page shows %d accounts, want one of the Mastercard Gateway", len(got.MerchantAccounts))
	}
}

func TestDefault(t *testing.T) {
	want := config.Config{
		Database: config.Database{URL: secret.New("embedded://./data")},
		Timing: config.Timing{
			Lease: 90 * time.Second, GatewayTimeout: 60 * time.Second, ClaimAhead: 2 * time.Second,
			Replays: []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}, Flush: 20 * time.Millisecond,
		},
		Guards: config.Guards{OutageLimit: time.Hour, MaxDeclineRate: 0.5},
		Serve:  config.Serve{Listen: "127.0.0.1:8080"},
		Log:    config.Log{Format: "text", Level: "info"},
	}
	if diff := cmp.Diff(want, config.Default(), revealing); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
	if err := config.Default().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

// Every field must be reachable from the file and from the environment: a field
// that somebody adds without a row in the tables fails here. No account has all
// fields, so each must be changed in one of three.
func TestLoad_everyFieldHasASetting(t *testing.T) {
	w := world{
		file:  "merchant_accounts:" + account + mastercardAccount + certified,
		files: map[string]string{"other.crt": pair().cert, "other.key": pair().key},
		env: map[string]string{
			"ADYEN_API_KEY":                   "key",
			"MC_PASSWORD":                     "pass",
			"CONTAUTH_DATABASE_URL":           "embedded://elsewhere",
			"CONTAUTH_TIMING_LEASE":           "91s",
			"CONTAUTH_TIMING_GATEWAY_TIMEOUT": "61s",
			"CONTAUTH_TIMING_CLAIM_AHEAD":     "3s",
			"CONTAUTH_TIMING_REPLAYS":         "1s",
			"CONTAUTH_TIMING_FLUSH":           "11ms",
			"CONTAUTH_GUARDS_OUTAGE_LIMIT":    "2h",

			"CONTAUTH_GUARDS_CANARY_ITEMS":                "7",
			"CONTAUTH_GUARDS_CANARY_SHARE":                "0.01",
			"CONTAUTH_GUARDS_MAX_DECLINE_RATE":            "0.3",
			"CONTAUTH_GUARDS_MAX_CHARGES_PER_SHOPPER_DAY": "3",
			"CONTAUTH_GUARDS_DEAD_MAN_URL":                "https://example.com/alive",

			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_CHARGES_PER_HOUR": "1000",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_AMOUNT_PER_HOUR":  "EUR:100000,USD:5",
			"CONTAUTH_SERVE_LISTEN":                                  "127.0.0.1:9000",
			"CONTAUTH_SERVE_PRIVATE_LISTEN":                          "127.0.0.1:9001",
			"CONTAUTH_LOG_FORMAT":                                    "json",
			"CONTAUTH_LOG_LEVEL":                                     "debug",

			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_GATEWAY":         "adyen",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_ENVIRONMENT":     "live",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_BASE_URL":        "https://gateway.example/v72",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RETURN_URL":      "https://example.com/",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY":         "other",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_MAX_IN_FLIGHT":   "65",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_RATE_PER_SECOND": "2.5",

			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_USER":     "adyen",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_PASSWORD": "pass",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS":     hexKey("a") + "," + hexKey("b"),

			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_TOKEN_RELEASE":         "by_hand",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_VERIFICATION_CURRENCY": "EUR",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_MERCHANT_ID":           "TESTOTHER",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_API_PASSWORD":          "other",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOMC_OPERATION":             "authorize_capture",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT":         "other.crt",
			"CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY":          "other.key",
		},
	}
	got, err := config.Load(w.sources())
	if err != nil {
		t.Fatal(err)
	}
	accounts := got.MerchantAccounts
	got.MerchantAccounts = []config.MerchantAccount{{}}
	for _, field := range unchanged("Config", reflect.ValueOf(config.Default()), reflect.ValueOf(got)) {
		t.Errorf("%s: no variable changed it", field)
	}
	before := config.MerchantAccount{
		Environment: "test", Operation: "pay", TokenRelease: "next_run", MaxInFlight: 64,
		MaxAmountPerHour: []config.AmountLimit{{}}, WebhookKeys: make([]secret.String, 1),
	}
	times := map[string]int{}
	for _, a := range accounts {
		for _, field := range unchanged("MerchantAccount", reflect.ValueOf(before), reflect.ValueOf(a)) {
			if times[field]++; times[field] == len(accounts) {
				t.Errorf("%s: no variable changed it", field)
			}
		}
	}
}

// unchanged returns the fields below a and b that are the same in both.
func unchanged(path string, a, b reflect.Value) []string {
	switch {
	case a.Kind() == reflect.Struct && a.Type() != reflect.TypeFor[secret.String]():
		var same []string
		for i := range a.NumField() {
			same = append(same, unchanged(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))...)
		}
		return same
	case a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Struct && a.Len() > 0:
		first := reflect.Zero(b.Type().Elem())
		if b.Len() > 0 {
			first = b.Index(0)
		}
		return unchanged(path+"[0]", a.Index(0), first)
	case cmp.Equal(a.Interface(), b.Interface(), revealing):
		return []string{path}
	}
	return nil
}

func TestLoad_missingFile(t *testing.T) {
	sources := config.Sources{File: "contauth.yaml"}
	got, err := config.Load(sources)
	if err != nil {
		t.Errorf("the default file need not exist: %v", err)
	}
	if diff := cmp.Diff(config.Default(), got, revealing); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}

	sources.FileRequired = true
	if _, err := config.Load(sources); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "contauth.yaml") {
		t.Errorf("a file that was named: got error %v, want one that names it", err)
	}
}

// An unreadable file is not a missing one: with the defaults in its place
// contauth would work on another database.
func TestLoad_unreadableFile(t *testing.T) {
	_, err := config.Load(config.Sources{
		File: "contauth.yaml",
		ReadFile: func(path string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		},
	})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got error %v, want %v", err, fs.ErrPermission)
	}
}

func TestLoad_hugeFile(t *testing.T) {
	w := world{file: strings.Repeat("#", 2<<20)}
	if _, err := config.Load(w.sources()); err == nil || !strings.Contains(err.Error(), "2097152 bytes") {
		t.Errorf("got error %v, want one that tells the size", err)
	}
}

func TestDatabase_Embedded(t *testing.T) {
	tests := []struct {
		url, dir string
		ok       bool
	}{
		{"embedded://./data", "./data", true},
		{"embedded:///var/lib/contauth", "/var/lib/contauth", true},
		{"postgres://localhost/contauth?sslmode=disable", "", false},
	}
	for _, tt := range tests {
		dir, ok := config.Database{URL: secret.New(tt.url)}.Embedded()
		if ok != tt.ok || (ok && dir != tt.dir) {
			t.Errorf("%s: Embedded = %q, %t, want %q, %t", tt.url, dir, ok, tt.dir, tt.ok)
		}
	}
}
