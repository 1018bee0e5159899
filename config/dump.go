package config

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/contauth/contauth/internal/secret"
)

// Describe returns the database's URL as people may see it: without a password
// and without any parameter but sslmode, since passwords hide there too.
func (d Database) Describe() string {
	if _, ok := d.Embedded(); ok {
		return d.URL.Reveal()
	}
	u, err := url.Parse(d.URL.Reveal())
	if err != nil {
		return "[unreadable]" // only before Validate has seen it
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.User != nil {
		shown.User = url.User(u.User.Username())
	}
	if mode := u.Query().Get("sslmode"); mode != "" {
		shown.RawQuery = url.Values{"sslmode": {mode}}.Encode()
	}
	return shown.String()
}

// Dump writes c as YAML in the shape of contauth.yaml, credentials redacted.
func (c Config) Dump(w io.Writer) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(c.view()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return encoder.Close()
}

// DumpJSON writes c as one JSON object with the keys of contauth.yaml,
// credentials redacted.
func (c Config) DumpJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(c.view()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// The views are Config as it is shown: keys as in the file, durations as
// written, no secret in reach.
type view struct {
	Database         databaseView  `json:"database" yaml:"database"`
	Timing           timingView    `json:"timing" yaml:"timing"`
	Guards           guardsView    `json:"guards" yaml:"guards"`
	Serve            serveView     `json:"serve" yaml:"serve"`
	Log              logView       `json:"log" yaml:"log"`
	MerchantAccounts []accountView `json:"merchant_accounts" yaml:"merchant_accounts"`
}

type databaseView struct {
	URL string `json:"url" yaml:"url"`
}

type timingView struct {
	Lease          string   `json:"lease" yaml:"lease"`
	GatewayTimeout string   `json:"gateway_timeout" yaml:"gateway_timeout"`
	ClaimAhead     string   `json:"claim_ahead" yaml:"claim_ahead"`
	Replays        []string `json:"replays" yaml:"replays,flow"`
	Flush          string   `json:"flush" yaml:"flush"`
}

type guardsView struct {
	OutageLimit    string         `json:"outage_limit" yaml:"outage_limit"`
	CanaryItems    int            `json:"canary_items" yaml:"canary_items"`
	CanaryShare    float64        `json:"canary_share" yaml:"canary_share"`
	MaxDeclineRate float64        `json:"max_decline_rate" yaml:"max_decline_rate"`
	MaxPerShopper  int            `json:"max_charges_per_shopper_day" yaml:"max_charges_per_shopper_day"`
	DeadManURL     *secret.String `json:"dead_man_url,omitempty" yaml:"dead_man_url,omitempty"`
}

type serveView struct {
	Listen        string `json:"listen" yaml:"listen"`
	PrivateListen string `json:"private_listen" yaml:"private_listen"`
}

type logView struct {
	Format string `json:"format" yaml:"format"`
	Level  string `json:"level" yaml:"level"`
}

type accountView struct {
	ID          string `json:"id" yaml:"id"`
	Gateway     string `json:"gateway" yaml:"gateway"`
	Environment string `json:"environment" yaml:"environment"`
	BaseURL     string `json:"base_url" yaml:"base_url"`

	// What only accounts of one gateway have. A secret is nil where there is none,
	// since it shows nothing of itself.
	ReturnURL   string         `json:"return_url,omitempty" yaml:"return_url,omitempty"`
	APIKey      *secret.String `json:"api_key,omitempty" yaml:"api_key,omitempty"`
	MerchantID  string         `json:"merchant_id,omitempty" yaml:"merchant_id,omitempty"`
	APIPassword *secret.String `json:"api_password,omitempty" yaml:"api_password,omitempty"`
	ClientCert  string         `json:"client_cert,omitempty" yaml:"client_cert,omitempty"`
	ClientKey   string         `json:"client_key,omitempty" yaml:"client_key,omitempty"`
	Operation   string         `json:"operation,omitempty" yaml:"operation,omitempty"`

	TokenRelease         string  `json:"token_release" yaml:"token_release"`
	VerificationCurrency string  `json:"verification_currency,omitempty" yaml:"verification_currency,omitempty"`
	MaxInFlight          int     `json:"max_in_flight" yaml:"max_in_flight"`
	RatePerSecond        float64 `json:"rate_per_second" yaml:"rate_per_second"`

	MaxChargesPerHour int64    `json:"max_charges_per_hour,omitempty" yaml:"max_charges_per_hour,omitempty"`
	MaxAmountPerHour  []string `json:"max_amount_per_hour,omitempty" yaml:"max_amount_per_hour,omitempty,flow"`

	WebhookUser     string          `json:"webhook_user,omitempty" yaml:"webhook_user,omitempty"`
	WebhookPassword *secret.String  `json:"webhook_password,omitempty" yaml:"webhook_password,omitempty"`
	WebhookKeys     []secret.String `json:"webhook_keys,omitempty" yaml:"webhook_keys,omitempty,flow"`
}

func (a MerchantAccount) view() accountView {
	v := accountView{
		ID: a.ID, Gateway: a.Gateway, Environment: a.Environment, BaseURL: a.BaseURL,
		ReturnURL: a.ReturnURL, APIKey: shown(a.APIKey),
		MerchantID: a.MerchantID, APIPassword: shown(a.APIPassword), ClientCert: a.ClientCert, ClientKey: a.ClientKey, Operation: a.Operation,
		TokenRelease: a.TokenRelease, VerificationCurrency: a.VerificationCurrency,
		MaxInFlight: a.MaxInFlight, RatePerSecond: a.RatePerSecond,
		WebhookUser: a.WebhookUser, WebhookPassword: shown(a.WebhookPassword), WebhookKeys: a.WebhookKeys,
	}
	v.MaxChargesPerHour = a.MaxChargesPerHour
	for _, l := range a.MaxAmountPerHour {
		v.MaxAmountPerHour = append(v.MaxAmountPerHour, l.String())
	}
	return v
}

// shown returns nil where there is no secret to show as redacted.
func shown(s secret.String) *secret.String {
	if s.IsEmpty() {
		return nil
	}
	return &s
}

func (g Guards) view() guardsView {
	return guardsView{
		OutageLimit: g.OutageLimit.String(), CanaryItems: g.CanaryItems, CanaryShare: g.CanaryShare, MaxDeclineRate: g.MaxDeclineRate,
		MaxPerShopper: g.MaxChargesPerShopperDay, DeadManURL: shown(g.DeadManURL),
	}
}

func (c Config) view() view {
	v := view{
		Database: databaseView{URL: c.Database.Describe()},
		Timing: timingView{
			Lease:          c.Timing.Lease.String(),
			GatewayTimeout: c.Timing.GatewayTimeout.String(),
			ClaimAhead:     c.Timing.ClaimAhead.String(),
			Replays:        durationTexts(c.Timing.Replays),
			Flush:          c.Timing.Flush.String(),
		},
		Guards:           c.Guards.view(),
		Serve:            serveView(c.Serve),
		Log:              logView(c.Log),
		MerchantAccounts: make([]accountView, 0, len(c.MerchantAccounts)), // [] rather than null
	}
	for _, a := range c.MerchantAccounts {
		v.MerchantAccounts = append(v.MerchantAccounts, a.view())
	}
	return v
}

func durationTexts(list []time.Duration) []string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = d.String()
	}
	return texts
}
