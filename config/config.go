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

// GatewayAdyen is the value of MerchantAccount.Gateway for Adyen.
const GatewayAdyen = "adyen"

// The values of MerchantAccount.Environment.
const (
	EnvironmentTest = "test" // no money moves
	EnvironmentLive = "live" // real cards are charged
)

// A MerchantAccount is one account at one gateway in one environment.
type MerchantAccount struct {
	// ID is the account's name at the gateway, sent with each request and
	// stored with each charge: 1–80 of A–Z a–z 0–9 _ . and -. Required.
	ID string
	// Gateway says whose dialect is spoken. Required; "adyen".
	Gateway string
	// Environment is "test" or "live". Required.
	Environment string
	// BaseURL is the gateway's address with the version of its API and
	// without a slash at the end. Required; https when live. The gateway's data
	// centres share no idempotency keys, so a change is refused while an attempt
	// of the account is open.
	BaseURL string
	// ReturnURL is sent because Adyen's schema wants one; nobody is ever sent
	// there, since the shopper is absent. Required; at most 1024 bytes.
	ReturnURL string
	// APIKey is the credential of the gateway's API. Required.
	APIKey secret.String
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
	// delivers webhooks of the account. Default none: webhooks are refused.
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
