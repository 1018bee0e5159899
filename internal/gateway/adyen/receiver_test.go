package adyen_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/secret"
)

// A memory is an Inbox that keeps what it is given.
type memory struct {
	mu     sync.Mutex
	events []billing.Event
	err    error
}

func (m *memory) StoreEvents(_ context.Context, _ string, events []billing.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.events = append(m.events, events...)
	return nil
}

// otherWebhookKey is one that is being replaced by webhookKey.
const otherWebhookKey = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"

func newWebhookKey(t testing.TB, hex string) adyen.WebhookKey {
	t.Helper()
	key, err := adyen.NewWebhookKey(secret.New(hex))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newReceiver(t testing.TB, inbox adyen.Inbox) *httptest.Server {
	t.Helper()
	accounts := []adyen.ReceiverAccount{
		{MerchantAccount: "DemoEU", Environment: "test", User: "adyen", Password: secret.New("open sesame"),
			Keys: []adyen.WebhookKey{newWebhookKey(t, otherWebhookKey), newWebhookKey(t, webhookKey)}},
		{MerchantAccount: "DemoUS", Environment: "test", User: "adyen-us", Password: secret.New("another"), Keys: []adyen.WebhookKey{newWebhookKey(t, otherWebhookKey)}},
	}
	server := httptest.NewServer(adyen.NewReceiver(inbox, accounts, hclog.NewNullLogger()))
	t.Cleanup(server.Close)
	return server
}

// item is a NotificationRequestItem of a payment, signed.
func item(t testing.TB, change func(map[string]any)) map[string]any {
	t.Helper()
	fields := map[string]any{
		"pspReference": "CNTA7QX2M4PL9R51", "merchantAccountCode": "DemoEU", "merchantReference": "req-7~1",
		"amount": map[string]any{"value": 1999, "currency": "EUR"}, "eventCode": "AUTHORISATION", "success": "true",
		"eventDate": "2026-09-01T10:15:00+02:00", "paymentMethod": "visa", "reason": "033899:1111:03/2030",
	}
	if change != nil {
		change(fields)
	}
	amount := fields["amount"].(map[string]any)
	original, _ := fields["originalReference"].(string)
	text := fmt.Sprintf("%s:%s:%s:%s:%v:%s:%s:%s", fields["pspReference"], original, fields["merchantAccountCode"], fields["merchantReference"],
		amount["value"], amount["currency"], fields["eventCode"], fields["success"])
	fields["additionalData"] = map[string]any{"hmacSignature": newWebhookKey(t, webhookKey).Sign([]byte(text)), "cardHolderName": "somebody"}
	return fields
}

func body(t testing.TB, items ...map[string]any) string {
	t.Helper()
	var wrapped []map[string]any
	for _, i := range items {
		wrapped = append(wrapped, map[string]any{"NotificationRequestItem": i})
	}
	text, err := json.Marshal(map[string]any{"live": "false", "notificationItems": wrapped})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func post(t testing.TB, server *httptest.Server, user, password, text string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

func TestReceiver(t *testing.T) {
	t.Parallel()
	token := `{"createdAt":"2026-09-01T10:15:00+02:00","data":{"merchantAccount":"DemoEU","shopperReference":"acct_000042","storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7","type":"visa"},"environment":"test","eventId":"CNTA7QX2M4PL9R51","type":"recurring.token.disabled","version":"1"}`
	signedToken := http.Header{"Hmacsignature": {newWebhookKey(t, webhookKey).Sign([]byte(token))}}
	tests := []struct {
		name           string
		user, password string
		text           string
		header         http.Header
		inboxError     error
		status         int
		kinds          string // of what is stored
	}{
		{name: "a signed approval", text: body(t, item(t, nil)), status: 200, kinds: "authorised"},
		{name: "a batch", text: body(t, item(t, nil), item(t, func(f map[string]any) { f["eventCode"], f["pspReference"] = "CAPTURE", "CAP" })), status: 200, kinds: "authorised captured"},
		{name: "no user", user: "-", text: body(t, item(t, nil)), status: 401},
		{name: "a wrong password", password: "open sesame!", text: body(t, item(t, nil)), status: 401},
		{name: "another account's user sends it", user: "adyen-us", password: "another", text: body(t, item(t, nil)), status: 200, kinds: "other"},
		{name: "an altered amount", text: strings.Replace(body(t, item(t, nil)), "1999", "9999", 1), status: 401},
		{name: "an altered outcome", text: strings.Replace(body(t, item(t, nil)), `"success":"true"`, `"success":"false"`, 1), status: 401},
		{name: "no signature", text: strings.Replace(body(t, item(t, nil)), "hmacSignature", "signature", 1), status: 401},
		{name: "one bad event spoils its batch", text: body(t, item(t, nil), map[string]any{"eventCode": "REFUND", "success": "true", "merchantAccountCode": "DemoEU"}), status: 401},
		{name: "an unsigned report is kept", text: body(t, map[string]any{"eventCode": "REPORT_AVAILABLE", "success": "true", "merchantAccountCode": "DemoEU", "pspReference": "report.csv"}), status: 200, kinds: "other"},
		{name: "an event code that nobody knows", text: body(t, item(t, func(f map[string]any) { f["eventCode"] = "SOMETHING_NEW" })), status: 200, kinds: "other"},
		{name: "of the live environment", text: strings.Replace(body(t, item(t, nil)), `"live":"false"`, `"live":"true"`, 1), status: 200, kinds: "other"},
		{name: "a trial from the Customer Area", text: body(t, item(t, func(f map[string]any) { f["pspReference"] = "testnotification_1" })), status: 200, kinds: "other"},
		{name: "no JSON", text: `<html>4111 1111 1111 1111</html>`, status: 200, kinds: "other"},
		{name: "JSON of another kind", text: `{"hello":1}`, status: 200, kinds: "other"},
		{name: "too large", text: strings.Repeat("x", 1<<20+1), status: 413},
		{name: "the database is away", text: body(t, item(t, nil)), inboxError: errors.New("away"), status: 503},
		{name: "a token event", text: token, header: signedToken, status: 200, kinds: "token_disabled"},
		{name: "an altered token event", text: token + " ", header: signedToken, status: 401},
		{name: "a stored contract", text: body(t, item(t, func(f map[string]any) { f["eventCode"], f["originalReference"] = "RECURRING_CONTRACT", "PAY" })), status: 200, kinds: "token_stored"},
		{name: "a refusal", text: body(t, item(t, func(f map[string]any) { f["success"], f["reason"] = "false", "Expired Card" })), status: 200, kinds: "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inbox := &memory{err: tt.inboxError}
			user, password := "adyen", "open sesame"
			if tt.user != "" {
				user = strings.TrimPrefix(tt.user, "-")
			}
			if tt.password != "" {
				password = tt.password
			}
			status, answer := post(t, newReceiver(t, inbox), user, password, tt.text, tt.header)
			if status != tt.status || status == 200 && answer != "[accepted]" {
				t.Errorf("HTTP %d %q, want %d", status, answer, tt.status)
			}
			var kinds []string
			for _, e := range inbox.events {
				kinds = append(kinds, string(e.Kind))
				if strings.Contains(string(e.Document), "somebody") || strings.Contains(string(e.Document), "4111 1111") {
					t.Errorf("it keeps what it should not: %s", e.Document)
				}
			}
			if got := strings.Join(kinds, " "); got != tt.kinds {
				t.Errorf("stored %q, want %q", got, tt.kinds)
			}
		})
	}
}

func TestReceiver_Fields(t *testing.T) {
	t.Parallel()
	inbox := &memory{}
	text := body(t, item(t, func(f map[string]any) {
		f["success"], f["reason"], f["amount"] = "false", "Expired Card.", map[string]any{"value": 123400, "currency": "CLP"}
	}))
	if status, _ := post(t, newReceiver(t, inbox), "adyen", "open sesame", text, nil); status != 200 {
		t.Fatalf("HTTP %d", status)
	}
	e := inbox.events[0]
	if want := (billing.Money{Minor: 1234, Currency: "CLP"}); e.Amount != want {
		t.Errorf("amount %v, want %v: Adyen counts the peso with two decimals", e.Amount, want)
	}
	if e.Refusal.Class != billing.DeclineTokenInvalid {
		t.Errorf("class %s", e.Refusal.Class)
	}
	charge, attempt, ok := e.Attempt()
	if charge != "req-7" || attempt != 1 || !ok || !e.Signed {
		t.Errorf("%+v", e)
	}
}

// Whatever is altered in a signed event, it is refused or changes nothing.
func TestReceiver_AlteredEventsHaveNoEffect(t *testing.T) {
	t.Parallel()
	inbox := &memory{}
	server := newReceiver(t, inbox)
	good := body(t, item(t, nil))
	if status, _ := post(t, server, "adyen", "open sesame", good, nil); status != 200 {
		t.Fatalf("HTTP %d", status)
	}
	original := inbox.events[0]
	for range 2000 {
		altered := []byte(good)
		for range 1 + rand.IntN(3) {
			altered[rand.IntN(len(altered))] = byte(' ' + rand.IntN(95))
		}
		inbox.events = nil
		post(t, server, "adyen", "open sesame", string(altered), nil)
		for _, e := range inbox.events {
			if !e.Kind.MovesMoneyOrTokens() {
				continue
			}
			if e.Kind != original.Kind || e.Amount != original.Amount || e.Reference != original.Reference ||
				e.GatewayReference != original.GatewayReference || e.MerchantAccount != original.MerchantAccount {
				t.Fatalf("accepted as %+v:\n%s", e, altered)
			}
		}
	}
}
