package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/contauth/contauth/config"
)

// FuzzLoad holds Load to its contract for any file and any one variable: it
// ends, a success is valid and shows no secret, and faults are single lines
// without one.
func FuzzLoad(f *testing.F) {
	const hush = "hush-4f1c9a"
	f.Add("", "TIMING_LEASE", "91s")
	f.Add("merchant_accounts:"+account, "MERCHANT_ACCOUNTS_DEMOEU_REGION", "AU")
	f.Add("timing: {replays: [5s, 1m], lease: 70s}\ndatabase: {url: 'postgres://db/c?sslmode=disable'}", "DATABASE_URL_FILE", "x")
	f.Add("database: {url: 'env:ADYEN_API_KEY'}", "DATABSE_URL", "embedded://x")
	f.Add("merchant_accounts:"+account+"    webhook_user: adyen\n    webhook_password: file:x\n    webhook_keys: [env:ADYEN_API_KEY, file:x]\n", "MERCHANT_ACCOUNTS_DEMOEU_WEBHOOK_KEYS", "file:x,"+hush)
	f.Add("merchant_accounts:"+strings.Replace(mastercardAccount, "MC_PASSWORD", "ADYEN_API_KEY", 1), "MERCHANT_ACCOUNTS_DEMOMC_CLIENT_KEY", "x")
	f.Add("merchant_accounts:"+strings.NewReplacer("mc.crt", "x", "mc.key", "x").Replace(certified), "MERCHANT_ACCOUNTS_DEMOCERT_OPERATION", "authorize_capture")
	f.Add("timing: &a [*a]\n---\n", "", "")
	f.Add("? [a, b]\n: {<<: *x}", "MERCHANT_ACCOUNTS", "\x00")
	f.Add("\xff\xfe", "TIMING_REPLAYS", "1s,,2s")
	f.Fuzz(func(t *testing.T, file, variable, value string) {
		w := world{
			file:  file,
			env:   map[string]string{"ADYEN_API_KEY": hush, "CONTAUTH_" + variable: value},
			files: map[string]string{"x": hush},
		}
		c, err := config.Load(w.sources())
		if err != nil {
			checkRefusal(t, err, hush)
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("Load accepted what Validate refuses: %v", err)
		}
		var shown strings.Builder
		if err := c.Dump(&shown); err != nil {
			t.Error(err)
		}
		if strings.Contains(shown.String(), hush) {
			t.Errorf("Dump shows a secret:\n%s", shown.String())
		}
	})
}

func checkRefusal(t *testing.T, err error, hush string) {
	t.Helper()
	if strings.Contains(err.Error(), hush) {
		t.Errorf("the error shows a secret: %v", err)
	}
	var faults config.Faults
	if !errors.As(err, &faults) {
		return
	}
	for _, fault := range faults {
		if strings.ContainsAny(fault.String(), "\r\n") {
			t.Errorf("a fault of more than one line: %q", fault)
		}
	}
}
