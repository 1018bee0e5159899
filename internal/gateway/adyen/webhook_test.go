package adyen_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/adyen"
	"github.com/contauth/contauth/internal/secret"
)

const (
	webhookKey = "E6B7AD574C7FCED96DD0B0074877DD045A7D494497BB71CEBA61C1CA46412D18"
	otherKey   = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
)

func webhookKeys(t testing.TB, texts ...string) []adyen.WebhookKey {
	t.Helper()
	var keys []adyen.WebhookKey
	for _, text := range texts {
		key, err := adyen.NewWebhookKey(secret.New(text))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// delivery is a webhook with one event, whose item has these members on top of
// an authorisation's.
func delivery(t testing.TB, changes map[string]any) []byte {
	t.Helper()
	item := map[string]any{
		"additionalData": map[string]any{"hmacSignature": "IwhvJdN131FWSqhP17q+AzsfXIdzPUulrgpqEmP6AVQ=", "retry.rescueScheduled": "false"},
		"amount":         map[string]any{"currency": "EUR", "value": 1999},
		"eventCode":      "AUTHORISATION", "eventDate": "2026-09-01T10:15:02+02:00",
		"merchantAccountCode": "ContauthDemoEU", "merchantReference": "sub_000042-2026-09-a1",
		"operations": []string{"CANCEL", "CAPTURE", "REFUND"}, "paymentMethod": "visa",
		"pspReference": "CNTA7QX2M4PL9R51", "reason": "038217:1142:03/2030", "success": "true",
	}
	for key, value := range changes {
		if value == nil {
			delete(item, key)
			continue
		}
		item[key] = value
	}
	body, err := json.Marshal(map[string]any{"live": "false",
		"notificationItems": []any{map[string]any{"NotificationRequestItem": item}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func signature(text string) map[string]any { return map[string]any{"hmacSignature": text} }

// The signatures are worked examples, checked against the test vectors of the
// official libraries.
func TestNotification_IsSigned(t *testing.T) {
	contract := map[string]any{
		"eventCode": "RECURRING_CONTRACT", "pspReference": "TKN4W8ZD6V2HJ3K7", "originalReference": "CNTA7QX2M4PL9R51",
		"merchantReference": "sub_000042-setup", "amount": map[string]any{"currency": "EUR", "value": 0},
		"additionalData": signature("1IkE2CrFUxyGhn7e1vma46B29xbqW0NGLMl33ADyryk="),
	}
	refused := map[string]any{
		"pspReference": "CNTA7QX2M4PL9R52", "merchantReference": "sub:42", "success": "false",
		"additionalData": signature("o+/2T+6U/6tMP658+TYfenj4E/1EGmTamuaymwp6+Ac="),
	}
	with := func(changes map[string]any, more map[string]any) map[string]any {
		all := map[string]any{}
		maps.Copy(all, changes)
		maps.Copy(all, more)
		return all
	}
	tests := []struct {
		name    string
		changes map[string]any
		keys    []string
		want    bool
	}{
		{"an authorisation", nil, []string{webhookKey}, true},
		{"a contract, with an original reference and amount 0", contract, []string{webhookKey}, true},
		{"a reference with a colon", refused, []string{webhookKey}, true},
		{"null for what is absent", with(nil, map[string]any{"originalReference": json.RawMessage("null")}), []string{webhookKey}, true},
		{"success as a truth value", with(nil, map[string]any{"success": true}), []string{webhookKey}, true},
		{"the key that is being replaced", nil, []string{otherKey, webhookKey}, true},
		{"another key", nil, []string{otherKey}, false},
		{"no key", nil, nil, false},
		{"no signature", with(nil, map[string]any{"additionalData": nil}), []string{webhookKey}, false},
		{"a colon escaped", with(refused, map[string]any{"additionalData": signature("QdE/YeflcGH3vIMiSjDKT6UMfBj5vlx3VQx2N3dDcVk=")}), []string{webhookKey}, false},
		{"the key's text as the key", with(nil, map[string]any{"additionalData": signature("/LzMJsTeyIvK7hBGsnwvl1TNyj8JhLHNojNtGZE55l0=")}), []string{webhookKey}, false},
		{"another payment", with(nil, map[string]any{"pspReference": "CNTA7QX2M4PL9R99"}), []string{webhookKey}, false},
		{"an original reference", with(nil, map[string]any{"originalReference": "X"}), []string{webhookKey}, false},
		{"another merchant account", with(nil, map[string]any{"merchantAccountCode": "Other"}), []string{webhookKey}, false},
		{"another reference", with(nil, map[string]any{"merchantReference": "sub_000043-2026-09-a1"}), []string{webhookKey}, false},
		{"another amount", with(nil, map[string]any{"amount": map[string]any{"currency": "EUR", "value": 1}}), []string{webhookKey}, false},
		{"another currency", with(nil, map[string]any{"amount": map[string]any{"currency": "JPY", "value": 1999}}), []string{webhookKey}, false},
		{"another event", with(nil, map[string]any{"eventCode": "CAPTURE"}), []string{webhookKey}, false},
		{"another result", with(nil, map[string]any{"success": "false"}), []string{webhookKey}, false},
		{"a border that moved", with(nil, map[string]any{"pspReference": "CNTA7QX2M4PL9R51:", "merchantAccountCode": "ContauthDemoEU"}), []string{webhookKey}, false},
		{"another reason, which nobody signs", with(nil, map[string]any{"reason": "none"}), []string{webhookKey}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			notifications, err := adyen.ParseNotifications(delivery(t, tt.changes))
			if err != nil || len(notifications) != 1 {
				t.Fatalf("%d notifications, error %v", len(notifications), err)
			}
			if got := notifications[0].IsSigned(webhookKeys(t, tt.keys...)); got != tt.want {
				t.Errorf("signed: %t, want %t", got, tt.want)
			}
		})
	}
}

// Fields joined at another border are the same text. Such a notification is
// refused, however good its signature.
func TestNotification_IsNotSignedIfItIsAmbiguous(t *testing.T) {
	key := webhookKeys(t, webhookKey)[0]
	text := "A:B::ContauthDemoEU:ref:1999:EUR:AUTHORISATION:true"
	n := adyen.Notification{PSPReference: "A:B", MerchantAccount: "ContauthDemoEU", MerchantReference: "ref", Amount: "1999", Currency: "EUR",
		EventCode: "AUTHORISATION", Success: "true", AdditionalData: map[string]string{"hmacSignature": key.Sign([]byte(text))}}
	if n.IsSigned([]adyen.WebhookKey{key}) {
		t.Error("a colon in the psp reference was taken")
	}
}

func TestWebhookKey_Sign(t *testing.T) {
	key := webhookKeys(t, otherKey)[0]
	const text = "pspReference:originalReference:merchantAccount:reference:1000:EUR:EVENT:true"
	if got, want := key.Sign([]byte(text)), "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNewWebhookKey_Refuses(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "half a key": webhookKey[:32], "no digits": strings.Repeat("x", 64)} {
		t.Run(name, func(t *testing.T) {
			_, err := adyen.NewWebhookKey(secret.New(text))
			if !errors.Is(err, billing.ErrInvalid) || text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestParseNotifications(t *testing.T) {
	body := delivery(t, nil)
	got, err := adyen.ParseNotifications(body)
	if err != nil {
		t.Fatal(err)
	}
	want := []adyen.Notification{{
		PSPReference: "CNTA7QX2M4PL9R51", MerchantAccount: "ContauthDemoEU", MerchantReference: "sub_000042-2026-09-a1", Amount: "1999",
		Currency: "EUR", EventCode: "AUTHORISATION", Success: "true", Live: "false", EventDate: "2026-09-01T10:15:02+02:00",
		PaymentMethod: "visa", Reason: "038217:1142:03/2030",
		AdditionalData: map[string]string{"hmacSignature": "IwhvJdN131FWSqhP17q+AzsfXIdzPUulrgpqEmP6AVQ=", "retry.rescueScheduled": "false"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	batch := strings.Replace(string(body), `"notificationItems":[`, `"notificationItems":[`+
		`{"NotificationRequestItem":{"eventCode":"A_CODE_OF_NEXT_YEAR","additionalData":{"a":null,"b":{"c":1}},"news":[1]}},`, 1)
	if got, err = adyen.ParseNotifications([]byte(batch)); err != nil || len(got) != 2 || got[0].EventCode != "A_CODE_OF_NEXT_YEAR" {
		t.Errorf("of a batch: %+v, error %v", got, err)
	}

	for name, body := range map[string]string{
		"nothing": "", "a page": "<html>4111111111111111</html>", "a list": "[]", "no items": `{"live":"false"}`,
		"an empty item": `{"notificationItems":[{}]}`, "an item that is none": `{"notificationItems":["4111111111111111"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adyen.ParseNotifications([]byte(body))
			if !errors.Is(err, billing.ErrInvalid) || strings.Contains(err.Error(), "4111") {
				t.Errorf("%v", err)
			}
		})
	}
}

const tokenCreated = `{"createdAt":"2026-09-01T10:15:00+02:00","data":{"merchantAccount":"ContauthDemoEU","operation":"created",` +
	`"shopperReference":"acct_000042","storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7","type":"visa"},"environment":"test",` +
	`"eventId":"CNTA7QX2M4PL9R51","type":"recurring.token.created","version":"1"}`

func TestParseTokenEvent(t *testing.T) {
	got, err := adyen.ParseTokenEvent([]byte(tokenCreated))
	want := adyen.TokenEvent{
		Type: "recurring.token.created", EventID: "CNTA7QX2M4PL9R51", Environment: "test", CreatedAt: "2026-09-01T10:15:00+02:00",
		MerchantAccount: "ContauthDemoEU", ShopperReference: "acct_000042", Token: "TKN4W8ZD6V2HJ3K7", PaymentMethod: "visa", Operation: "created",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
	for name, body := range map[string]string{
		"nothing": "", "another event": `{"type":"balancePlatform.created"}`,
		"no token": strings.Replace(tokenCreated, "TKN4W8ZD6V2HJ3K7", "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := adyen.ParseTokenEvent([]byte(body)); !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A token webhook is signed as a whole: a line feed more is another body.
func TestIsSignedBody(t *testing.T) {
	keys := webhookKeys(t, otherKey, webhookKey)
	const signature = "2HkN3BBafWKCC4WadrmrcrhHTEwbRXux6+jK32I4iMg="
	if !adyen.IsSignedBody(keys, []byte(tokenCreated), signature) {
		t.Error("the very body is not taken as signed")
	}
	if adyen.IsSignedBody(keys, []byte(tokenCreated+"\n"), signature) || adyen.IsSignedBody(keys, []byte(tokenCreated), "") {
		t.Error("another body, or no signature, is taken as signed")
	}
}

func FuzzParseNotifications(f *testing.F) {
	f.Add(delivery(f, nil))
	f.Add([]byte(tokenCreated))
	f.Add([]byte(`{"notificationItems":[{"NotificationRequestItem":{"amount":null,"success":1e9,"additionalData":{"":[]}}}]}`))
	keys := webhookKeys(f, webhookKey)
	good, err := adyen.ParseNotifications(delivery(f, nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if e, err := adyen.ParseTokenEvent(body); err == nil && e.Token == "" {
			t.Error("an event without a token")
		}
		notifications, err := adyen.ParseNotifications(body)
		if err != nil {
			return
		}
		for _, n := range notifications {
			if n.IsSigned(keys) && n.PSPReference != good[0].PSPReference {
				t.Errorf("signed, but never by the key's owner: %+v", n)
			}
		}
	})
}
