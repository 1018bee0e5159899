package sandbox

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/secret"
)

// The keys, texts and signatures are worked examples that agree with the test
// vectors of Adyen's libraries.
const (
	exampleKey = "E6B7AD574C7FCED96DD0B0074877DD045A7D494497BB71CEBA61C1CA46412D18"
	libraryKey = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
)

func mustKey(t testing.TB, text string) signingKey {
	t.Helper()
	key, err := newSigningKey(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// exampleTime is a date of the worked examples.
var exampleTime = time.Date(2026, 9, 1, 8, 15, 0, 0, time.UTC)

func TestNotification_isSignedAsAdyenSignsIt(t *testing.T) {
	authorisation := notification{
		code: "AUTHORISATION", psp: "CNTA7QX2M4PL9R51", account: "ContauthDemoEU", reference: "sub_000042-2026-09-a1",
		value: 1999, currency: "EUR", success: true,
	}
	tests := []struct {
		name, key, want string
		n               notification
	}{
		{"an authorisation without originalReference", exampleKey, "IwhvJdN131FWSqhP17q+AzsfXIdzPUulrgpqEmP6AVQ=", authorisation},
		{"a stored token with the amount 0", exampleKey, "1IkE2CrFUxyGhn7e1vma46B29xbqW0NGLMl33ADyryk=", notification{
			code: "RECURRING_CONTRACT", psp: "TKN4W8ZD6V2HJ3K7", original: "CNTA7QX2M4PL9R51", account: "ContauthDemoEU",
			reference: "sub_000042-setup", currency: "EUR", success: true,
		}},
		{"a colon in the reference is not escaped", exampleKey, "o+/2T+6U/6tMP658+TYfenj4E/1EGmTamuaymwp6+Ac=", notification{
			code: "AUTHORISATION", psp: "CNTA7QX2M4PL9R52", account: "ContauthDemoEU", reference: "sub:42", value: 1999, currency: "EUR",
		}},
		{"the libraries' own example", libraryKey, "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc=", notification{
			code: "EVENT", psp: "pspReference", original: "originalReference", account: "merchantAccount", reference: "reference",
			value: 1000, currency: "EUR", success: true,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := string(tt.n.letter(mustKey(t, tt.key), "", 0).body)
			if want := `"hmacSignature":"` + strings.ReplaceAll(tt.want, "/", `\/`) + `"`; !strings.Contains(body, want) {
				t.Errorf("the body lacks %s:\n%s", want, body)
			}
		})
	}
}

func TestTokenEvent_isSignedOverItsBytes(t *testing.T) {
	e := tokenEvent{
		kind: "recurring.token.created", cause: "CNTA7QX2M4PL9R51", account: "ContauthDemoEU", shopper: "acct_000042",
		token: "TKN4W8ZD6V2HJ3K7", method: "visa", at: exampleTime,
	}
	const wantBody = `{"createdAt":"2026-09-01T10:15:00+02:00","data":{"merchantAccount":"ContauthDemoEU","operation":"created",` +
		`"shopperReference":"acct_000042","storedPaymentMethodId":"TKN4W8ZD6V2HJ3K7","type":"visa"},"environment":"test",` +
		`"eventId":"CNTA7QX2M4PL9R51","type":"recurring.token.created","version":"1"}`
	got := e.letter(mustKey(t, exampleKey), "", 0)
	if diff := cmp.Diff(wantBody, string(got.body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if want := "2HkN3BBafWKCC4WadrmrcrhHTEwbRXux6+jK32I4iMg="; got.signature != want {
		t.Errorf("signature = %s, want %s", got.signature, want)
	}
	e.kind = "recurring.token.disabled"
	if body := string(e.body()); strings.Contains(body, "operation") {
		t.Errorf("a disabled token has an operation: %s", body)
	}
}

func TestNewSigningKey_refusesWhatIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "too short": exampleKey[2:], "too long": exampleKey + "00", "no digits": strings.Repeat("x", 64),
	} {
		if _, err := newSigningKey(secret.New(text)); err == nil {
			t.Errorf("%s was taken for a key", name)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

// Whatever stands in a payment, its webhook is JSON that says the same.
func FuzzNotification(f *testing.F) {
	f.Add("sub-1~1", "shopper/1", "a \"reason\"\\", int64(1999))
	f.Add("</é\u2028", "\x00", "\\/", int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, reference, shopper, reason string, value int64) {
		if !utf8.ValidString(reference) || !utf8.ValidString(shopper) || !utf8.ValidString(reason) {
			return // no request is: they are UTF-8
		}
		n := notification{code: "REFUND", psp: "P", reference: reference, reason: reason, value: value, extra: []string{"shopperReference", shopper}}
		type item struct {
			AdditionalData    map[string]string
			Amount            struct{ Value int64 }
			MerchantReference string
			Reason            string
		}
		var got struct {
			NotificationItems []struct{ NotificationRequestItem item }
		}
		body := n.body("signature")
		if err := json.Unmarshal(body, &got); err != nil || len(got.NotificationItems) != 1 {
			t.Fatalf("not the JSON of a webhook: %v: %s", err, body)
		}
		want := item{map[string]string{"hmacSignature": "signature", "shopperReference": shopper}, struct{ Value int64 }{value}, reference, reason}
		if diff := cmp.Diff(want, got.NotificationItems[0].NotificationRequestItem); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestWebhookBehaviour_plan(t *testing.T) {
	tests := []struct {
		name    string
		b       WebhookBehaviour
		copies  int
		forged  bool
		between [2]time.Duration // of the waits
	}{
		{"nothing set: once, at once", WebhookBehaviour{}, 1, false, [2]time.Duration{0, 0}},
		{"once is once", WebhookBehaviour{Duplicate: 1}, 1, false, [2]time.Duration{0, 0}},
		{"a fixed delay", WebhookBehaviour{Delay: time.Minute}, 1, false, [2]time.Duration{time.Minute, time.Minute}},
		{"a random delay", WebhookBehaviour{DelayUpTo: time.Minute}, 1, false, [2]time.Duration{0, time.Minute}},
		{"a delay between two", WebhookBehaviour{Delay: time.Second, DelayUpTo: time.Minute}, 1, false, [2]time.Duration{time.Second, time.Minute}},
		{"copies within a second", WebhookBehaviour{Duplicate: 5}, 5, false, [2]time.Duration{0, time.Second}},
		{"copies within a minute", WebhookBehaviour{Duplicate: 3, DuplicateWithin: time.Minute}, 3, false, [2]time.Duration{0, time.Minute}},
		{"all are lost", WebhookBehaviour{Lose: 1, Duplicate: 5}, 0, false, [2]time.Duration{}},
		{"all are forged", WebhookBehaviour{Forge: 1}, 1, true, [2]time.Duration{0, 0}},
		{"lost, and forged all the same", WebhookBehaviour{Lose: 1, Forge: 1}, 0, true, [2]time.Duration{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for number := range uint64(50) {
				p := tt.b.plan(chanceOf(1, "REFUND", "ref", number))
				if len(p.waits) != tt.copies || (p.forgery != "") != tt.forged {
					t.Fatalf("plan = %+v, want %d copies, forged %t", p, tt.copies, tt.forged)
				}
				for _, wait := range p.waits {
					if wait < tt.between[0] || wait > tt.between[1] {
						t.Errorf("a wait of %s, want %s to %s", wait, tt.between[0], tt.between[1])
					}
				}
			}
		})
	}
}

func TestWebhookBehaviour_sharesAreKept(t *testing.T) {
	b := WebhookBehaviour{Lose: 0.25, Forge: 0.5}
	lost, forged, kinds := 0, 0, map[Forgery]int{}
	for number := range uint64(4000) {
		p := b.plan(chanceOf(7, "AUTHORISATION", "ref", number))
		if len(p.waits) == 0 {
			lost++
		}
		if p.forgery != "" {
			forged++
			kinds[p.forgery]++
		}
	}
	if lost < 900 || lost > 1100 || forged < 1850 || forged > 2150 {
		t.Errorf("of 4000 events %d were lost and %d forged, want about 1000 and 2000", lost, forged)
	}
	for _, kind := range allForgeries {
		if kinds[kind] < 300 {
			t.Errorf("%d forgeries of the kind %s, want about 400", kinds[kind], kind)
		}
	}
}

func TestWebhookBehaviour_Validate(t *testing.T) {
	tests := []struct {
		name string
		b    WebhookBehaviour
		want string // begins the error
	}{
		{"the zero value", WebhookBehaviour{}, ""},
		{"everything at its end", WebhookBehaviour{Delay: maxDelay, DelayUpTo: maxDelay, Duplicate: maxDuplicate, Reorder: maxReorder, Lose: 1, Forge: 1, Forgeries: allForgeries}, ""},
		{"a delay below zero", WebhookBehaviour{Delay: -1}, "delay is "},
		{"a delay of years", WebhookBehaviour{DelayUpTo: 1000 * time.Hour * 24}, "delay_up_to is "},
		{"an end before the beginning", WebhookBehaviour{Delay: 2, DelayUpTo: 1}, "delay_up_to is "},
		{"copies below zero", WebhookBehaviour{Duplicate: -1}, "duplicate is "},
		{"a giant window", WebhookBehaviour{Reorder: maxReorder + 1}, "reorder is "},
		{"more than all", WebhookBehaviour{Lose: 1.1}, "lose is "},
		{"no number", WebhookBehaviour{Forge: math.NaN()}, "forge is "},
		{"an unknown forgery", WebhookBehaviour{Forgeries: []Forgery{"date"}}, "forgeries has "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.b.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("Validate = %v, want %q", err, tt.want)
			}
		})
	}
}

// A thousandth of Adyen's first wait makes thousandths of the others.
func TestOutbox_waitsGrowAsAdyens(t *testing.T) {
	o := outbox{retry: 9 * time.Millisecond}
	for i, want := range []time.Duration{9, 18, 27, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800} {
		if got := o.scaled(retryWaits[i]).Round(time.Microsecond); got != want*time.Millisecond {
			t.Errorf("wait %d = %s, want %dms", i+1, got, want)
		}
	}
}
