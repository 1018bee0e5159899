package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/secret"
)

const testWebhookKey = "E6B7AD574C7FCED96DD0B0074877DD045A7D494497BB71CEBA61C1CA46412D18"

func TestSandbox_webhookFlagsThatCannotBeObeyed(t *testing.T) {
	dir := t.TempDir()
	keep := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, half, empty := keep("key", testWebhookKey+"\n"), keep("half", testWebhookKey[:32]), keep("empty", "\n")
	d := &desk{t: t, env: map[string]string{"HOOK_PASSWORD": "hush"}}
	const to = "--webhook-url http://127.0.0.1:1/ "
	tests := []struct{ name, flags, want string }{
		{"a flag without the URL", "--webhook-lose 0.1", "--webhook-lose needs --webhook-url"},
		{"no key", to, "--webhook-url needs --webhook-key"},
		{"the key itself", to + "--webhook-key " + testWebhookKey, "--webhook-key: write env:NAME or file:PATH"},
		{"a variable that is not set", to + "--webhook-key env:HOOK_KEY", "--webhook-key: the variable HOOK_KEY is not set"},
		{"a file that is not there", to + "--webhook-key file:" + dir + "/none", "no such file"},
		{"an empty file", to + "--webhook-key file:" + empty, "is empty"},
		{"half a key", to + "--webhook-key file:" + half, "64 hexadecimal digits"},
		{"a user without a password", to + "--webhook-user adyen --webhook-key file:" + key, "--webhook-user and --webhook-password go together"},
		{"a password without a user", to + "--webhook-password env:HOOK_PASSWORD --webhook-key file:" + key, "--webhook-user and --webhook-password go together"},
		{"a password in the URL", "--webhook-url http://adyen:hush@127.0.0.1/ --webhook-key file:" + key, "settings of their own"},
		{"no address", "--webhook-url 127.0.0.1:8080 --webhook-key file:" + key, "begins with http:// or https://"},
		{"more than all", to + "--webhook-lose 2 --webhook-key file:" + key, "lose is 2; it is a share from 0 to 1"},
		{"an unknown forgery", to + "--webhook-forgeries date --webhook-key file:" + key, `forgeries has "date"; known are amount, success`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := d.types("sandbox --listen 127.0.0.1:0 --data " + dir + "/ledger " + tt.flags)
			if code != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q; want %d with %q", code, stderr, exitUsage, tt.want)
			}
			for _, word := range []string{testWebhookKey[:32], "hush"} {
				if strings.Contains(stderr, word) {
					t.Errorf("the error tells a secret: %q", stderr)
				}
			}
		})
	}
}

func TestSandbox_sendsWebhooks(t *testing.T) {
	type hook struct{ user, password, body, signature string }
	hooks := make(chan hook, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		hooks <- hook{user, password, string(body), r.Header.Get("hmacsignature")}
	}))
	defer receiver.Close()
	w := &world{t: t, dir: t.TempDir(), http: testClient()}
	w.write("key", testWebhookKey+"\n")
	w.write("password", "hush\n")
	w.startSandbox("--webhook-url", receiver.URL+"/webhooks", "--webhook-key", "file:"+filepath.Join(w.dir, "key"),
		"--webhook-user", "adyen", "--webhook-password", "file:"+filepath.Join(w.dir, "password"), "--webhook-retry", "10ms")
	req, err := http.NewRequest(http.MethodPost, w.gateway+"/adyen/v71/payments", strings.NewReader(`{"merchantAccount": "DemoEU",
		"amount": {"currency": "EUR", "value": 1999}, "reference": "ref~1", "paymentMethod": {"storedPaymentMethodId": "TK"},
		"shopperReference": "shopper", "shopperInteraction": "ContAuth", "recurringProcessingModel": "Subscription", "returnUrl": "https://example.invalid/"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", "any")
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	// Both sides of the wire were written from Adyen's documents alone. They must agree.
	key, err := adyen.NewWebhookKey(secret.New(testWebhookKey))
	if err != nil {
		t.Fatal(err)
	}
	keys := []adyen.WebhookKey{key}
	next := func() hook {
		t.Helper()
		select {
		case h := <-hooks:
			if h.user != "adyen" || h.password != "hush" {
				t.Errorf("sent by %q with %q", h.user, h.password)
			}
			return h
		case <-time.After(patience):
			t.Fatalf("no webhook came:\n%s", w.sandbox.stderr.String())
			return hook{}
		}
	}
	for _, code := range []string{"AUTHORISATION", "REFUND", "CHARGEBACK", "RECURRING_CONTRACT"} {
		if code != "AUTHORISATION" { // that comes by itself
			w.call(http.MethodPost, "/sandbox/webhooks", `{"code": "`+code+`", "reference": "ref~1"}`)
		}
		h := next()
		read, err := adyen.ParseNotifications([]byte(h.body))
		if err != nil || len(read) != 1 || !read[0].IsSigned(keys) || read[0].EventCode != code || read[0].MerchantReference != "ref~1" || !read[0].Succeeded() {
			t.Errorf("%s: read %+v, error %v, from %s", code, read, err, h.body)
		}
	}
	w.call(http.MethodPost, "/sandbox/webhooks", `{"code": "recurring.token.disabled", "reference": "ref~1"}`)
	h := next()
	if e, err := adyen.ParseTokenEvent([]byte(h.body)); err != nil || e.Token != "TK" || e.Type != "recurring.token.disabled" || !adyen.IsSignedBody(keys, []byte(h.body), h.signature) {
		t.Errorf("token event: read %+v, error %v, signature %q of %s", e, err, h.signature, h.body)
	}
}
