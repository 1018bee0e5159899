// Package config is contauth's one typed tree of settings.
//
// A setting has one name in three spellings: the path in contauth.yaml
// ("timing.lease"), the variable (CONTAUTH_TIMING_LEASE), and the field
// (Timing.Lease). The variable wins over the file and the file over the default.
// Variables of a merchant account carry its id:
// CONTAUTH_MERCHANT_ACCOUNTS_DEMOEU_API_KEY changes api_key of the account
// DemoEU. An account itself is named in the file only, so that its id, and with
// it all that is stored under the id, has one place to come from.
//
// Only cmd/contauth imports this package. Everything below it has small options
// of its own.
package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/contauth/contauth/internal/secret"
)

// Config is all that an operator may set. Load fills it; the comments give each
// field's default.
type Config struct {
	Database         Database
	Timing           Timing
	Guards           Guards
	Serve            Serve
	Log              Log
	MerchantAccounts []MerchantAccount // default none: nothing can be charged
}

// Database says where the one source of truth is.
type Database struct {
	// URL is embedded://DIR, a private Postgres that keeps its data in DIR
	// (relative to the working directory), or postgres://… with an sslmode. It
	// is a secret because it may hold a password. Default embedded://./data.
	URL secret.String
}

const embeddedScheme = "embedded://"

// Embedded reports whether the database is a private Postgres of ours, and the
// directory it keeps its data in, as written in the URL.
func (d Database) Embedded() (dir string, ok bool) {
	return strings.CutPrefix(d.URL.Reveal(), embeddedScheme)
}

// Timing holds the waits of the charge protocol. Lease must exceed
// GatewayTimeout + ClaimAhead: else a lease could run out while its request is
// still under way, and another process would take the charge for lost.
type Timing struct {
	// Lease is how long a claimed charge belongs to one process. Default 90s.
	Lease time.Duration
	// GatewayTimeout bounds one request from dialling to the last byte of the
	// answer. Default 60s.
	GatewayTimeout time.Duration
	// ClaimAhead is how much work, in time, a process claims before it can
	// send it. Default 2s.
	ClaimAhead time.Duration
	// Replays are the waits before the first replays of a charge whose outcome
	// is unknown. A run ends after the last; while runs of the account are
	// worked, replays go on after waits that double, up to an hour, until the
	// key's safe life ends. Default 5s, 30s, 2m.
	Replays []time.Duration
	// Flush is the longest an answer waits for company before its group is
	// written. Default 20ms.
	Flush time.Duration
}

// Guards holds what limits a daemon when something is wrong.
type Guards struct {
	// OutageLimit is how long a gateway may be out of reach before a daemon holds
	// the rest of its runs there for a person. Until then it tries again, less and
	// less often. Default 1h.
	OutageLimit time.Duration
	// CanaryItems and CanaryShare say how much of each run, at each merchant
	// account, is charged before the rest: so many charges or, where that is more,
	// such a share. Default 0: all at once.
	CanaryItems int
	CanaryShare float64
	// MaxDeclineRate is the share of the canary's answers that may be declined; more
	// pause the run for a person. Default 0.5.
	MaxDeclineRate float64
	// MaxChargesPerShopperDay is how many charges of one shopper the runs of one
	// business day may take; the others wait for the next. Default 0: no limit.
	MaxChargesPerShopperDay int
	// DeadManURL is called once for each day of which everything is accounted for. It
	// is a secret because it may hold one. Default none.
	DeadManURL secret.String
}

// Serve says where a daemon listens. An empty address means nowhere.
type Serve struct {
	// Listen is for webhooks, probes and metrics. Default 127.0.0.1:8080.
	Listen string
	// PrivateListen is for profiles (pprof), which show what the process holds: a
	// loopback address. Default "".
	PrivateListen string
}

// Log says what a daemon writes to standard error.
type Log struct {
	// Format is "text" for people or "json" for programs. Default text.
	Format string
	// Level is the least that is worth a line: trace, debug, info, warn or error. A
	// daemon reads it again on SIGHUP. Default info.
	Level string
}

// The values of Log.Format.
const (
	LogText = "text"
	LogJSON = "json"
)

// The values of MerchantAccount.Gateway.
const (
	GatewayAdyen      = "adyen"
	GatewayMastercard = "mastercard" // the Mastercard Gateway, spoken to in NVP
)

// The values of MerchantAccount.Environment.
const (
	EnvironmentTest = "test" // no money moves
	EnvironmentLive = "live" // real cards are charged
)

// The values of MerchantAccount.Operation.
const (
	OperationPay              = "pay"               // PAY: one request takes the money
	OperationAuthorizeCapture = "authorize_capture" // AUTHORIZE, then CAPTURE: for profiles without purchase mode
)

// The values of MerchantAccount.TokenRelease.
const (
	TokenReleaseNow     = "now"      // at once
	TokenReleaseNextRun = "next_run" // the next run takes them
	TokenReleaseByHand  = "by_hand"  // a person releases each
)

// A MerchantAccount is one account at one gateway in one environment.
type MerchantAccount struct {
	// ID is the account's name, stored with each charge and, at Adyen, sent with each
	// request: 1–80 of A–Z a–z 0–9 _ . and -. Required.
	ID string
	// Gateway says whose dialect is spoken. Required; "adyen" or "mastercard".
	Gateway string
	// Environment is "test" or "live". Required.
	Environment string
	// BaseURL is the gateway's address with the version of its API and
	// without a slash at the end. Required; https when live. The gateway's data
	// centres share no idempotency keys, so a change is refused while an attempt
	// of the account is open.
	BaseURL string
	// ReturnURL is sent because Adyen's schema wants one; nobody is ever sent
	// there, since the shopper is absent. Required for adyen, refused for others; at
	// most 1024 bytes.
	ReturnURL string
	// APIKey is the credential of Adyen's API. Required for adyen, refused for others.
	APIKey secret.String
	// MerchantID is the merchant at the Mastercard Gateway: 1–40 of 0–9 a–z A–Z - and
	// _, beginning with TEST in a test account and in no other. Required for
	// mastercard, refused for others.
	MerchantID string
	// APIPassword is the credential of the Mastercard Gateway's API, unless a client
	// certificate is: a mastercard account has one of the two. Refused for others.
	APIPassword secret.String
	// ClientCert and ClientKey are the paths of PEM files, relative to the working
	// directory. Load makes sure that they can be read and belong together, and keeps
	// nothing of what they hold.
	ClientCert, ClientKey string
	// Operation says how the Mastercard Gateway is asked for money: "pay" or
	// "authorize_capture". Default pay for mastercard; refused for others.
	Operation string
	// TokenRelease says when charges that were held for an invalid token are released
	// after it was reactivated: "now", "next_run" or "by_hand". Default next_run.
	TokenRelease string
	// VerificationCurrency is the currency in which an acquirer verifies a card when
	// nobody names another: ISO 4217. Default none.
	VerificationCurrency string
	// MaxInFlight is how many requests all processes together may have under
	// way. Default 64.
	MaxInFlight int
	// RatePerSecond is how many requests all processes together may start in a
	// second. Default 0: no limit.
	RatePerSecond float64
	// MaxChargesPerHour and MaxAmountPerHour stop the account for a person when
	// that much was claimed in an hour: set them above what is ever meant. Default 0
	// and none: no limit.
	MaxChargesPerHour int64
	MaxAmountPerHour  []AmountLimit
	// WebhookUser and WebhookPassword are what the gateway signs in with when it
	// delivers webhooks of the account. Default none: webhooks are refused. Only for
	// adyen.
	WebhookUser     string
	WebhookPassword secret.String
	// WebhookKeys are those that webhooks are signed with: 64 hexadecimal digits
	// each. While one replaces another, both are here.
	WebhookKeys []secret.String
}

// An AmountLimit is a sum of money in one currency.
type AmountLimit struct {
	Currency string // ISO 4217
	Minor    int64  // in minor units of ISO 4217
}

// String returns the limit as it is written: EUR:100000.
func (l AmountLimit) String() string { return l.Currency + ":" + strconv.FormatInt(l.Minor, 10) }

// Default returns the configuration of someone who has set nothing.
func Default() Config {
	var c Config
	for _, s := range settings {
		if err := s.set(&c, s.fallback); err != nil {
			panic("config: default of " + s.key + ": " + err.Error())
		}
	}
	return c
}
