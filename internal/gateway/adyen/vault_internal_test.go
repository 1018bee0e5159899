package adyen

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

// One secret may hold another: removing the shorter first would leave the rest.
func TestVault_secrets(t *testing.T) {
	v := &Vault{options: Options{APIKey: secret.New("KEY-of-the-account")}}
	text := "KEY-of-the-account KEY-of-the-account-42 a/b\"c a%2Fb%22c a/b\\\"c"
	got := line([]byte(text), maxLine, v.secrets("KEY-of", "KEY-of-the-account-42", "a/b\"c"))
	if want := "[removed] [removed] [removed] [removed] [removed]"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
}

// A card is good to the last moment of its month, by UTC.
func TestVault_verifyExpiry(t *testing.T) {
	march := tokens.Expiry{Year: 2030, Month: time.March}
	tests := []struct {
		name   string
		now    time.Time
		expiry tokens.Expiry
		want   tokens.VerificationResult
	}{
		{"the last moment of its month", time.Date(2030, 3, 31, 23, 59, 59, 999999999, time.UTC), march, tokens.VerificationPassedBasic},
		{"the first moment of the next", time.Date(2030, 4, 1, 0, 0, 0, 0, time.UTC), march, tokens.VerificationExpired},
		{"the same moment, by a clock far east", time.Date(2030, 4, 1, 1, 0, 0, 0, time.FixedZone("", 2*3600)), march, tokens.VerificationPassedBasic},
		{"December ends with the year", time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), tokens.Expiry{Year: 2030, Month: time.December}, tokens.VerificationExpired},
		{"no date never ends", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), tokens.Expiry{}, tokens.VerificationPassedBasic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &Vault{now: func() time.Time { return tt.now }}
			if got := v.verifyExpiry(tt.expiry); got.Result != tt.want {
				t.Errorf("verifyExpiry = %+v, want %q", got, tt.want)
			}
		})
	}
}

// Each word about a card is one that makes a refusal hard: else nobody asks for it.
func TestCardWords_areHardRefusals(t *testing.T) {
	for key := range cardWords {
		if class := declines()[key]; class != "hard" {
			t.Errorf("%s %s is %q in declines.csv, not hard", key.source, key.code, class)
		}
	}
}

// FuzzParseStoredList checks what must hold of any bytes: nothing panics, what is
// accepted is JSON in which the token stands, and what is kept of it fits a column.
func FuzzParseStoredList(f *testing.F) {
	const token, shopper = "TKN4W8ZD6V2HJ3K7", "acct_000042"
	for _, seed := range []string{
		`{"merchantAccount":"DemoEU","shopperReference":"acct_000042","storedPaymentMethods":[{"id":"TKN4W8ZD6V2HJ3K7","type":"scheme","brand":"visa","lastFour":"1142","expiryMonth":"03","expiryYear":"30","holderName":"Jane","mandate":{"id":"x"}}]}`,
		`{"shopperReference":"acct_000042","storedPaymentMethods":null}`,
		`{"storedPaymentMethods":[1,[],"x",{"id":"A"},{"id":"TKN4W8ZD6V2HJ3K7","expiryMonth":3,"expiryYear":2030,"fundingSource":"DEBIT"}]}`,
		`{"storedPaymentMethods":[{"id":"TKN4W8ZD6V2HJ3K7","brand":"a"},{"id":"TKN4W8ZD6V2HJ3K7","brand":"b"}]}`,
		`{"storedPaymentMethods":[{"id":"A","id":"TKN4W8ZD6V2HJ3K7"}]}`,
		`{"storedPaymentMethods":[{"id":"TKN4W8ZD6V2HJ3K7","brand":"TKN4W8ZD6V2HJ3K7 acct_000042","lastFour":"4111111111111111"}]}`,
		strings.Repeat(`{"storedPaymentMethods":[`, 100), "\xef\xbb\xbf{}", `{"storedPaymentMethods":[`, `{"storedPaymentMethods":[{"id":"\ud800"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parseStoredList(body, token)
		if err != nil || list.check("DemoEU", shopper) != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is not JSON: %s", body)
		}
		if list.found == nil {
			return
		}
		if text := string(body); !strings.Contains(text, token) && !strings.Contains(text, `\`) {
			t.Errorf("found a token that is not there: %s", body)
		}
		d := list.found.details([]string{token, shopper})
		for _, text := range []string{d.Brand, d.Funding, d.LastFour} {
			if !utf8.ValidString(text) || len(text) > maxWord || strings.ContainsAny(text, "\x00\r\n") || strings.Contains(text, token) {
				t.Errorf("kept %q", text)
			}
		}
		if utf8.RuneCountInString(d.LastFour) > 4 {
			t.Errorf("kept more than the last four: %q", d.LastFour)
		}
		if e := d.Expiry; !e.IsZero() && (e.Year < 2000 || e.Year > 2099 || e.Month < 1 || e.Month > 12) {
			t.Errorf("kept the expiry %v", e)
		}
	})
}

// FuzzParseSession checks that nothing panics, and that what is accepted reads in
// encoding/json as it does here, can be used, and is about the order.
func FuzzParseSession(f *testing.F) {
	order := sessionOrder{MerchantAccount: "DemoEU", ShopperReference: "acct_000042", Reference: "setup_000042", Amount: wireValue{Currency: "EUR"}}
	for _, seed := range []string{
		`{"id":"CS1","sessionData":"Ab02!","expiresAt":"2026-11-22T01:02:03+02:00","reference":"setup_000042","merchantAccount":"DemoEU","amount":{"currency":"EUR","value":0}}`,
		`{"id":"CS1","url":"https://pay.invalid/","expiresAt":"2026-11-22T01:02:03Z","reference":"setup_000042"}`,
		`{"id":"CS1","id":"CS2"}`, `{"id":"CS1","url":"javascript:x"}`, `{"amount":[]}`, `{"amount":{"value":1e3}}`, `{"id":{}}`, `{`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseSession(body)
		if err != nil || a.compare(order) != nil {
			return
		}
		var all map[string]any
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatalf("accepted what encoding/json does not (%v): %s", err, body)
		}
		s := a.session
		for name, got := range map[string]string{"id": s.ID, "sessionData": s.Data, "url": s.URL, "reference": "setup_000042"} {
			if want, ok := all[name].(string); ok && want != got {
				t.Errorf("%s = %q, encoding/json says %q", name, got, want)
			}
		}
		if s.ID == "" || s.Data == "" && s.URL == "" || len(s.ID) > maxSessionID || s.URL != "" && !strings.HasPrefix(strings.ToLower(s.URL), "http") {
			t.Errorf("accepted %s", body)
		}
	})
}
