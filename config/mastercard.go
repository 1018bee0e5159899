package config

import (
	"net/url"
	"regexp"
	"strings"
)

// mastercardExample is shown where an address is missing or has another shape.
const mastercardExample = "https://eu-gateway.mastercard.com/api/nvp/version/100"

var (
	mastercardMerchant = regexp.MustCompile(`^[0-9A-Za-z_-]{1,40}$`)
	mastercardVersion  = regexp.MustCompile(`/api/nvp/version/[1-9][0-9]*$`)
	// mtf.gateway, test-gateway, test-BANK.mtf.gateway and BANK.test.gateway
	mastercardTestHost = regexp.MustCompile(`(^|\.)(test|mtf|test-[a-z0-9-]+)\.([a-z0-9-]+\.)*mastercard\.com$`)
)

// mastercardTest begins the id of every test merchant, and of no live one. Many hosts
// are a bank's own, so their names do not say whether money moves.
const mastercardTest = "TEST"

func mastercardFaults(a MerchantAccount, fault faultFunc) {
	refuse := func(isSet bool, key, text string) {
		if isSet {
			fault(key, "%s: remove it", text)
		}
	}
	const adyens = "it is for adyen accounts"
	refuse(a.ReturnURL != "", "return_url", adyens)
	refuse(!a.APIKey.IsEmpty(), "api_key", adyens)
	isTest := strings.HasPrefix(a.MerchantID, mastercardTest)
	switch {
	case !mastercardMerchant.MatchString(a.MerchantID):
		fault("merchant_id", "%q is no merchant id: write the one of Merchant Administration, 1 to 40 of 0-9 a-z A-Z - _", clip(a.MerchantID))
	case a.Environment == EnvironmentTest && !isTest:
		fault("merchant_id", "%q does not begin with %s and the account is said to be a test account: real cards would be charged; write the test merchant's id", a.MerchantID, mastercardTest)
	case a.Environment == EnvironmentLive && isTest:
		fault("merchant_id", "%q is a test merchant and the account is said to be live: no money would move; write the live merchant's id", a.MerchantID)
	}
	mastercardCredentialFaults(a, fault)
	if a.Operation != OperationPay && a.Operation != OperationAuthorizeCapture {
		fault("operation", "%q is no operation: write %s or %s", clip(a.Operation), OperationPay, OperationAuthorizeCapture)
	}
	const polled = "the mastercard gateway has no signed webhooks that contauth listens to, tokens and outcomes are polled"
	refuse(a.WebhookUser != "", "webhook_user", polled)
	refuse(!a.WebhookPassword.IsEmpty(), "webhook_password", polled)
	refuse(len(a.WebhookKeys) > 0, "webhook_keys", polled)
}

// mastercardCredentialFaults wants one way to sign in: of two, nobody could say
// which the gateway went by.
func mastercardCredentialFaults(a MerchantAccount, fault faultFunc) {
	password, cert, key := !a.APIPassword.IsEmpty(), a.ClientCert != "", a.ClientKey != ""
	switch {
	case password && (cert || key):
		fault("api_password", "a client certificate is set as well: keep one of the two")
	case cert && !key:
		fault("client_key", "there is none, and client_cert is of no use without: write the path of its key, a PEM file")
	case key && !cert:
		fault("client_cert", "there is none, and client_key is of no use without: write the path of its certificate, a PEM file")
	case !password && !cert:
		fault("api_password", "there is none: write env:NAME or file:PATH of where it is kept, or set client_cert and client_key in its place")
	}
	if strings.ContainsFunc(a.APIPassword.Reveal(), notInHeader) {
		fault("api_password", "it holds a blank, a control character or a letter outside ASCII: look for a line too many")
	}
	// What is no path may be the key itself: it is not repeated.
	const wantPath = "write the path of a PEM file: not what it holds, and without env: or file: before it"
	if notPath(a.ClientCert) {
		fault("client_cert", wantPath)
	}
	if notPath(a.ClientKey) {
		fault("client_key", wantPath)
	}
}

// pemBody is a key or a certificate without its first and last line. A path as long as
// that has a dot, a dash or an underscore somewhere, or begins with a slash.
var pemBody = regexp.MustCompile(`^[A-Za-z0-9+][A-Za-z0-9+/= ]{39,}$`)

func notPath(text string) bool {
	return pemBody.MatchString(text) || strings.HasPrefix(text, "env:") || strings.HasPrefix(text, "file:") || strings.Contains(text, "-----BEGIN") ||
		strings.ContainsFunc(text, func(r rune) bool { return r < ' ' })
}

func mastercardURLFault(a MerchantAccount, u *url.URL) string {
	switch {
	case !mastercardVersion.MatchString(u.Path):
		return "it must end with /api/nvp/version/ and the number of the version, such as " + mastercardExample
	case a.Environment == EnvironmentLive && mastercardTestHost.MatchString(strings.ToLower(u.Hostname())):
		return "this host is the gateway's test system and the account is said to be live: write the live host"
	case a.ClientCert != "" && u.Scheme != "https":
		return "a client certificate is shown by https only: write https, or use api_password"
	}
	return ""
}

// sameMerchant refuses a second account of one merchant id at one address: orders are
// known below the merchant id alone, so a charge of one account could be taken for a
// charge of the other.
func (v *validator) sameMerchant(i int, accounts []MerchantAccount) {
	a := accounts[i]
	for j, b := range accounts[:i] {
		if a.Gateway == GatewayMastercard && a.Gateway == b.Gateway && a.MerchantID != "" && a.MerchantID == b.MerchantID && a.BaseURL == b.BaseURL {
			v.accountFault(i, a, "merchant_id", "%q at this base_url is %s[%d] already: a merchant id is one account", clip(a.MerchantID), accountsKey, j)
		}
	}
}
