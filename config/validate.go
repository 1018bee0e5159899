package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate returns nil or Faults with every rule that c breaks.
func (c Config) Validate() error {
	if faults := c.faults(nil); len(faults) > 0 {
		return faults
	}
	return nil
}

// faults checks every rule; origin tells where a value was written, by path.
func (c Config) faults(origin map[string]string) Faults {
	v := validator{origin: origin}
	v.database(c.Database)
	v.timing(c.Timing)
	v.serve(c.Serve)
	v.log(c.Log)
	v.guards(c.Guards)
	first := map[string]int{}
	for i, a := range c.MerchantAccounts {
		v.account(i, a)
		if j, ok := first[a.ID]; ok && a.ID != "" {
			v.accountFault(i, a, "id", "%q is the id of %s[%d] too: every account needs its own", clip(a.ID), accountsKey, j)
			continue
		}
		first[a.ID] = i
		v.sameMerchant(i, c.MerchantAccounts)
	}
	return v.found
}

type validator struct {
	origin map[string]string
	found  Faults
}

func (v *validator) fault(key, format string, args ...any) {
	n := name{key: key, variable: variable(key), origin: v.origin[key]}
	v.found = append(v.found, n.fault(format, args...))
}

func (v *validator) accountFault(i int, a MerchantAccount, key, format string, args ...any) {
	n := accountName(i, a.ID, key)
	n.origin = v.origin[accountPath(i, key)]
	v.found = append(v.found, n.fault(format, args...))
}

// sslModes are those that lib/pq knows (https://pkg.go.dev/github.com/lib/pq).
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// database never quotes the URL, nor an error of parsing it: both may hold a
// password.
func (v *validator) database(d Database) {
	const key = "database.url"
	text := d.URL.Reveal()
	if dir, ok := d.Embedded(); ok {
		if dir == "" {
			v.fault(key, "embedded:// names no directory: write one, such as embedded://./data")
		}
		return
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		v.fault(key, "write embedded://DIR for a private Postgres or postgres://USER:PASSWORD@HOST/NAME?sslmode=verify-full")
		return
	}
	u, err := url.Parse(text)
	if err != nil {
		v.fault(key, "this is no URL: percent-encode what is special in the password, and look at the host and port")
		return
	}
	mode := u.Query().Get("sslmode")
	if mode == "" {
		v.fault(key, "it states no sslmode, and the driver's default differs between versions: append ?sslmode=verify-full, or ?sslmode=disable for a socket of this machine")
	} else if !slices.Contains(sslModes, mode) {
		v.fault(key, "its sslmode is unknown: write one of %s", strings.Join(sslModes, ", "))
	}
}

func (v *validator) timing(t Timing) {
	positive := map[string]time.Duration{"lease": t.Lease, "gateway_timeout": t.GatewayTimeout, "claim_ahead": t.ClaimAhead, "flush": t.Flush}
	for _, key := range []string{"lease", "gateway_timeout", "claim_ahead", "flush"} {
		if positive[key] <= 0 {
			v.fault("timing."+key, "%s is not more than zero: write a duration such as 2s", positive[key])
		}
	}
	for _, wait := range t.Replays {
		if wait <= 0 {
			v.fault("timing.replays", "%s is not more than zero: write durations such as 5s", wait)
		}
	}
	// Subtraction, because the sum of two large durations could wrap round.
	if t.Lease > 0 && t.GatewayTimeout > 0 && t.ClaimAhead > 0 && t.Lease-t.GatewayTimeout <= t.ClaimAhead {
		v.fault("timing.lease", "%s does not exceed gateway_timeout + claim_ahead (%s + %s): a request could outlive its lease; make it longer", t.Lease, t.GatewayTimeout, t.ClaimAhead)
	}
}

func (v *validator) serve(s Serve) {
	const key, private = "serve.listen", "serve.private_listen"
	if _, ok := splitAddress(s.Listen); s.Listen != "" && !ok {
		v.fault(key, "%q is no address: write HOST:PORT, such as 127.0.0.1:8080, or \"\" to listen nowhere", clip(s.Listen))
	}
	if s.PrivateListen == "" {
		return
	}
	host, ok := splitAddress(s.PrivateListen)
	ip := net.ParseIP(host)
	switch {
	case !ok:
		v.fault(private, "%q is no address: write HOST:PORT, such as 127.0.0.1:6060, or \"\" to listen nowhere", clip(s.PrivateListen))
	case host != "localhost" && (ip == nil || !ip.IsLoopback()):
		v.fault(private, "%q is reached from other machines, and profiles show what the process holds: write 127.0.0.1, [::1] or localhost and a port", clip(s.PrivateListen))
	case s.PrivateListen == s.Listen && !strings.HasSuffix(s.Listen, ":0"):
		v.fault(private, "%q is serve.listen, too: write another port", clip(s.PrivateListen))
	}
}

// splitAddress returns the host of an address to listen on, and whether it is one.
func splitAddress(address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return host, err == nil && !strings.ContainsFunc(host, notInHeader)
}

// logLevels are those of hclog, without the one that silences errors.
var logLevels = []string{"trace", "debug", "info", "warn", "error"}

func (v *validator) log(l Log) {
	if l.Format != LogText && l.Format != LogJSON {
		v.fault("log.format", "%q is no format: write %s or %s", clip(l.Format), LogText, LogJSON)
	}
	if !slices.Contains(logLevels, l.Level) {
		v.fault("log.level", "%q is no level: write one of %s", clip(l.Level), strings.Join(logLevels, ", "))
	}
}

func (v *validator) guards(g Guards) {
	if g.OutageLimit <= 0 {
		v.fault("guards.outage_limit", "%s is not more than zero: write a duration such as 1h", g.OutageLimit)
	}
	if g.CanaryItems < 0 {
		v.fault("guards.canary_items", "%d is negative: write a number of charges, or 0 for no canary", g.CanaryItems)
	}
	if !(g.CanaryShare >= 0 && g.CanaryShare <= 1) {
		v.fault("guards.canary_share", "%g is not from 0 to 1", g.CanaryShare)
	}
	if !(g.MaxDeclineRate >= 0 && g.MaxDeclineRate <= 1) {
		v.fault("guards.max_decline_rate", "%g is not from 0 to 1", g.MaxDeclineRate)
	}
	if g.MaxChargesPerShopperDay < 0 {
		v.fault("guards.max_charges_per_shopper_day", "%d is negative: write a number of charges, or 0 for no limit", g.MaxChargesPerShopperDay)
	}
	if g.DeadManURL.IsEmpty() {
		return
	}
	if u, err := url.Parse(g.DeadManURL.Reveal()); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		v.fault("guards.dead_man_url", "this is no address: write one such as https://example.com/alive")
	}
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

var accountID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,80}$`)

var tokenReleases = []string{TokenReleaseNow, TokenReleaseNextRun, TokenReleaseByHand}

// A faultFunc notes what is wrong with one setting of an account.
type faultFunc func(key, format string, args ...any)

func (v *validator) account(i int, a MerchantAccount) {
	fault := func(key, format string, args ...any) { v.accountFault(i, a, key, format, args...) }
	if !accountID.MatchString(a.ID) {
		fault("id", "%q is no account id: write 1 to 80 of A-Z a-z 0-9 _ . -", clip(a.ID))
	}
	if a.Gateway != GatewayAdyen && a.Gateway != GatewayMastercard {
		fault("gateway", "%q is no gateway: write %s or %s", clip(a.Gateway), GatewayAdyen, GatewayMastercard)
	}
	if a.Environment != EnvironmentTest && a.Environment != EnvironmentLive {
		fault("environment", "%q is no environment: write test or live", clip(a.Environment))
	}
	if text := baseURLFault(a); text != "" {
		fault("base_url", "%s", text)
	}
	// What an account needs depends on its gateway, and is not known without.
	switch a.Gateway {
	case GatewayAdyen:
		adyenFaults(a, fault)
	case GatewayMastercard:
		mastercardFaults(a, fault)
	}
	if !slices.Contains(tokenReleases, a.TokenRelease) {
		fault("token_release", "%q is no time of release: write one of %s", clip(a.TokenRelease), strings.Join(tokenReleases, ", "))
	}
	if a.VerificationCurrency != "" && !currencyCode.MatchString(a.VerificationCurrency) {
		fault("verification_currency", "%q is no currency: write three letters of ISO 4217, such as EUR", clip(a.VerificationCurrency))
	}
	v.hourLimits(a, fault)
	if a.MaxInFlight < 1 || a.MaxInFlight > maxInFlight {
		fault("max_in_flight", "%d is not from 1 to %d", a.MaxInFlight, maxInFlight)
	}
	if !(a.RatePerSecond >= 0 && a.RatePerSecond <= maxRate) {
		fault("rate_per_second", "%g is not from 0 (no limit) to %d", a.RatePerSecond, maxRate)
	}
	if a.Gateway == GatewayAdyen {
		webhookFaults(a, fault)
	}
}

func adyenFaults(a MerchantAccount, fault faultFunc) {
	if text := returnURLFault(a.ReturnURL); text != "" {
		fault("return_url", "%s", text)
	}
	if a.APIKey.IsEmpty() {
		fault("api_key", "there is none: write env:NAME or file:PATH of where it is kept")
	} else if strings.ContainsFunc(a.APIKey.Reveal(), notInHeader) {
		fault("api_key", "it holds a blank or a character that no HTTP header may: look for a line too many")
	}
	refuse := func(isSet bool, key string) {
		if isSet {
			fault(key, "it is for mastercard accounts: remove it")
		}
	}
	refuse(a.MerchantID != "", "merchant_id")
	refuse(!a.APIPassword.IsEmpty(), "api_password")
	refuse(a.ClientCert != "", "client_cert")
	refuse(a.ClientKey != "", "client_key")
	refuse(a.Operation != "", "operation")
}

var webhookKey = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)

// webhookFaults wants all of what guards an account's webhooks, or nothing: a
// webhook that anybody can send would be believed.
func webhookFaults(a MerchantAccount, fault faultFunc) {
	if a.WebhookUser == "" && a.WebhookPassword.IsEmpty() && len(a.WebhookKeys) == 0 {
		return
	}
	const all = "webhooks need webhook_user, webhook_password and webhook_keys, or none of them"
	if a.WebhookUser == "" {
		fault("webhook_user", "there is none: %s", all)
	} else if strings.ContainsFunc(a.WebhookUser, func(r rune) bool { return r == ':' || notInHeader(r) }) {
		fault("webhook_user", "%q holds a blank, a colon or a character that no sign-in may have", clip(a.WebhookUser))
	}
	if a.WebhookPassword.IsEmpty() {
		fault("webhook_password", "there is none: %s", all)
	}
	if len(a.WebhookKeys) == 0 {
		fault("webhook_keys", "there is none: %s", all)
	}
	for n, key := range a.WebhookKeys {
		if !webhookKey.MatchString(key.Reveal()) {
			fault("webhook_keys", "key %d is not the 64 hexadecimal digits that the Customer Area shows", n+1)
		}
	}
}

// hourLimits checks what stops an account.
func (v *validator) hourLimits(a MerchantAccount, fault faultFunc) {
	if a.MaxChargesPerHour < 0 {
		fault("max_charges_per_hour", "%d is negative: write a number of charges, or 0 for no limit", a.MaxChargesPerHour)
	}
	seen := map[string]bool{}
	for _, l := range a.MaxAmountPerHour {
		switch {
		case !currencyCode.MatchString(l.Currency) || l.Minor <= 0:
			fault("max_amount_per_hour", "%q is no limit: write a currency and minor units above 0, such as EUR:100000", clip(l.String()))
		case seen[l.Currency]:
			fault("max_amount_per_hour", "%s stands there twice", l.Currency)
		}
		seen[l.Currency] = true
	}
}

// More than these is a slip of the finger, not a wish.
const (
	maxInFlight = 65_536    // sockets of one machine
	maxRate     = 1_000_000 // requests a second
)

func notInHeader(r rune) bool { return r <= ' ' || r >= 0x7f }

// baseURLFault returns what is wrong with an account's base_url, "" if nothing.
func baseURLFault(a MerchantAccount) string {
	example := "https://checkout-test.adyen.com/v71"
	if a.Gateway == GatewayMastercard {
		example = mastercardExample
	}
	u, err := url.Parse(a.BaseURL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "write the gateway's address, such as " + example
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "write scheme, host and path alone, without user, query or fragment"
	case a.Environment == EnvironmentLive && u.Scheme != "https":
		return "a live account is reached by https only"
	case a.Gateway == GatewayAdyen:
		return adyenHostFault(a.Environment, strings.ToLower(u.Hostname()), u.Path)
	case a.Gateway == GatewayMastercard:
		return mastercardURLFault(a, u)
	}
	return ""
}

var (
	adyenVersion  = regexp.MustCompile(`/v[0-9]+$`)
	adyenLiveHost = regexp.MustCompile(`(^|\.)adyenpayments\.com$|-live(-[a-z]+)?\.adyen\.com$`)
	adyenTestHost = regexp.MustCompile(`-test\.adyen\.com$`)
)

// adyenHostFault goes by the shapes of Adyen's own hosts in its API reference, "Live
// endpoints": an account that is said to be a test account must not reach a live
// one, because contauth charges test accounts with fewer guards.
func adyenHostFault(environment, host, path string) string {
	live, test := adyenLiveHost.MatchString(host), adyenTestHost.MatchString(host)
	switch {
	case live && environment == EnvironmentTest:
		return "this host is live and the account is said to be a test account: real cards would be charged"
	case test && environment == EnvironmentLive:
		return "this host is Adyen's test system and the account is said to be live"
	case (live || test) && !adyenVersion.MatchString(path):
		return "it must end with the version of the API, such as /v71"
	case live && strings.Contains(host, "-checkout-live") && !strings.HasPrefix(path, "/checkout/"):
		return "live addresses have one more segment, such as /checkout/v71"
	}
	return ""
}

// maxReturnURL is Adyen's limit for returnUrl from v72 on, in bytes.
const maxReturnURL = 1024

func returnURLFault(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "write an address of yours, such as https://example.com/: Adyen demands one although no shopper is present"
	}
	if len(text) > maxReturnURL {
		return fmt.Sprintf("it has %d bytes, Adyen takes %d", len(text), maxReturnURL)
	}
	return ""
}
