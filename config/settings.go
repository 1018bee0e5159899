package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/contauth/contauth/internal/secret"
)

// A setting is one row of the tables below: how a text, whether from the file,
// from a variable or from the default, becomes a field of T.
type setting[T any] struct {
	key      string // path in the file, below T
	fallback string // the default, as one would write it; "" = none
	secret   bool   // may be env:NAME or file:PATH, each item of a list by itself, and is never shown
	list     bool   // a sequence in the file, separated by commas in a variable
	set      func(*T, string) error
}

// settings are those that exist once. Adding a row here gives a setting its
// place in the file, its variable, its default and its check for typing errors.
var settings = []setting[Config]{
	{key: "database.url", fallback: "embedded://./data", secret: true, set: func(c *Config, text string) error {
		c.Database.URL = secret.New(text)
		return nil
	}},
	{key: "timing.lease", fallback: "90s", set: duration(func(c *Config) *time.Duration { return &c.Timing.Lease })},
	{key: "timing.gateway_timeout", fallback: "60s", set: duration(func(c *Config) *time.Duration { return &c.Timing.GatewayTimeout })},
	{key: "timing.claim_ahead", fallback: "2s", set: duration(func(c *Config) *time.Duration { return &c.Timing.ClaimAhead })},
	{key: "timing.replays", fallback: "5s,30s,2m", list: true, set: func(c *Config, text string) (err error) {
		c.Timing.Replays, err = parseDurations(text)
		return err
	}},
	{key: "guards.outage_limit", fallback: "1h", set: duration(func(c *Config) *time.Duration { return &c.Guards.OutageLimit })},
	{key: "guards.canary_items", fallback: "0", set: whole(func(c *Config) *int { return &c.Guards.CanaryItems })},
	{key: "guards.canary_share", fallback: "0", set: fraction(func(c *Config) *float64 { return &c.Guards.CanaryShare })},
	{key: "guards.max_decline_rate", fallback: "0.5", set: fraction(func(c *Config) *float64 { return &c.Guards.MaxDeclineRate })},
	{key: "guards.max_charges_per_shopper_day", fallback: "0", set: whole(func(c *Config) *int { return &c.Guards.MaxChargesPerShopperDay })},
	{key: "guards.dead_man_url", secret: true, set: func(c *Config, text string) error {
		if text != "" {
			c.Guards.DeadManURL = secret.New(text)
		}
		return nil
	}},
	{key: "timing.flush", fallback: "20ms", set: duration(func(c *Config) *time.Duration { return &c.Timing.Flush })},
	{key: "serve.listen", fallback: "127.0.0.1:8080", set: word(func(c *Config) *string { return &c.Serve.Listen })},
	{key: "serve.private_listen", set: word(func(c *Config) *string { return &c.Serve.PrivateListen })},
	{key: "log.format", fallback: LogText, set: word(func(c *Config) *string { return &c.Log.Format })},
	{key: "log.level", fallback: "info", set: word(func(c *Config) *string { return &c.Log.Level })},
}

// accountSettings are those of each item of merchant_accounts.
var accountSettings = []setting[MerchantAccount]{
	{key: "id", set: word(func(a *MerchantAccount) *string { return &a.ID })},
	{key: "gateway", set: word(func(a *MerchantAccount) *string { return &a.Gateway })},
	{key: "environment", set: word(func(a *MerchantAccount) *string { return &a.Environment })},
	{key: "base_url", set: func(a *MerchantAccount, text string) error {
		a.BaseURL = strings.TrimRight(text, "/") // adapters append "/payments"
		return nil
	}},
	{key: "return_url", set: word(func(a *MerchantAccount) *string { return &a.ReturnURL })},
	{key: "api_key", secret: true, set: func(a *MerchantAccount, text string) error {
		a.APIKey = secret.New(text)
		return nil
	}},
	{key: "merchant_id", set: word(func(a *MerchantAccount) *string { return &a.MerchantID })},
	{key: "api_password", secret: true, set: func(a *MerchantAccount, text string) error {
		if text != "" {
			a.APIPassword = secret.New(text)
		}
		return nil
	}},
	{key: "client_cert", set: word(func(a *MerchantAccount) *string { return &a.ClientCert })},
	{key: "client_key", set: word(func(a *MerchantAccount) *string { return &a.ClientKey })}, // a path, and so no secret
	// Its default is loader.account's: here it would be one of adyen accounts too.
	{key: "operation", set: word(func(a *MerchantAccount) *string { return &a.Operation })},
	{key: "token_release", fallback: TokenReleaseNextRun, set: word(func(a *MerchantAccount) *string { return &a.TokenRelease })},
	{key: "verification_currency", set: word(func(a *MerchantAccount) *string { return &a.VerificationCurrency })},
	{key: "max_in_flight", fallback: "64", set: whole(func(a *MerchantAccount) *int { return &a.MaxInFlight })},
	{key: "rate_per_second", fallback: "0", set: func(a *MerchantAccount, text string) error {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(rate) || math.IsInf(rate, 0) {
			return fmt.Errorf("%q is no number: write one such as 25 or 0.5, or 0 for no limit", clip(text))
		}
		a.RatePerSecond = rate
		return nil
	}},
	{key: "max_charges_per_hour", fallback: "0", set: whole(func(a *MerchantAccount) *int64 { return &a.MaxChargesPerHour })},
	{key: "max_amount_per_hour", list: true, set: func(a *MerchantAccount, text string) (err error) {
		a.MaxAmountPerHour, err = parseAmounts(text)
		return err
	}},
	{key: "webhook_user", set: word(func(a *MerchantAccount) *string { return &a.WebhookUser })},
	{key: "webhook_password", secret: true, set: func(a *MerchantAccount, text string) error {
		if text != "" {
			a.WebhookPassword = secret.New(text)
		}
		return nil
	}},
	{key: "webhook_keys", secret: true, list: true, set: func(a *MerchantAccount, text string) error {
		a.WebhookKeys = nil
		for _, key := range items(text) {
			a.WebhookKeys = append(a.WebhookKeys, secret.New(key))
		}
		return nil
	}},
}

func word[T any](field func(*T) *string) func(*T, string) error {
	return func(t *T, text string) error {
		*field(t) = text
		return nil
	}
}

func whole[T any, N int | int64](field func(*T) *N) func(*T, string) error {
	return func(t *T, text string) error {
		n, err := strconv.ParseInt(text, 10, 63)
		if err != nil {
			return fmt.Errorf("%q is no whole number: write one such as 64", clip(text))
		}
		*field(t) = N(n)
		return nil
	}
}

// fraction reads a share of one; what is no number at all is refused here, what is
// out of range by Validate.
func fraction[T any](field func(*T) *float64) func(*T, string) error {
	return func(t *T, text string) error {
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(share) {
			return fmt.Errorf("%q is no share: write one from 0 to 1, such as 0.01", clip(text))
		}
		*field(t) = share
		return nil
	}
}

// parseAmounts reads "EUR:100000,USD:50000". An empty text is an empty list.
func parseAmounts(text string) ([]AmountLimit, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var list []AmountLimit
	for part := range strings.SplitSeq(text, ",") {
		currency, minor, found := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.ParseInt(minor, 10, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("%q is no amount: write a currency and minor units, such as EUR:100000", clip(part))
		}
		list = append(list, AmountLimit{currency, n})
	}
	return list, nil
}

func duration[T any](field func(*T) *time.Duration) func(*T, string) error {
	return func(t *T, text string) (err error) {
		*field(t), err = parseDuration(text)
		return err
	}
}

var errNoDuration = errors.New("write a number and a unit, such as 90s, 250ms or 2m")

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: %w", clip(text), errNoDuration)
	}
	return d, nil
}

// parseDurations reads "5s,30s,2m". An empty text is an empty list.
func parseDurations(text string) ([]time.Duration, error) {
	var list []time.Duration
	for _, part := range items(text) {
		d, err := parseDuration(part)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// items takes the text of a list apart. An empty text is an empty list.
func items(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
	}
	return parts
}

// clip keeps a value short enough for a line about it.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
