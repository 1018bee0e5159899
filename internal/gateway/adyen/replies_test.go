package adyen_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden from what the client answers now")

// Each testdata/NAME.json is an answer of Adyen's to testRequest; NAME.golden
// is what contauth makes of it.
func TestCharge_replies(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d answers in testdata, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) { e.Say(httpAnswer(200, string(body))) })
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			got := describe(reply, err)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("reply (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(reply billing.Reply, err error) string {
	if err != nil {
		meaning := "unknown"
		if errors.Is(err, billing.ErrMismatch) {
			meaning = "mismatch"
		}
		return fmt.Sprintf("%s: %v\n", meaning, err)
	}
	facts := []struct{ name, value string }{
		{"outcome", string(reply.Outcome)}, {"class", string(reply.Class)}, {"gateway_reference", reply.GatewayReference},
		{"result_code", reply.ResultCode}, {"refusal_code", reply.RefusalCode}, {"refusal_reason", reply.RefusalReason},
		{"raw_code", reply.RawCode}, {"advice_code", reply.AdviceCode},
	}
	var text strings.Builder
	for _, f := range facts {
		if f.value != "" {
			fmt.Fprintf(&text, "%s: %s\n", f.name, f.value)
		}
	}
	return text.String()
}

// The class of every code in the table, by an answer with nothing but the code.
func TestCharge_classOfEveryCode(t *testing.T) {
	want := map[string]billing.DeclineClass{
		"soft":          billing.DeclineSoft,
		"technical":     billing.DeclineTechnical,
		"hard":          billing.DeclineHard,
		"token_invalid": billing.DeclineTokenInvalid,
		"fraud":         billing.DeclineFraud,
		"config":        billing.DeclineConfig,
	}
	codes := map[string]string{
		"soft":          "2 3 12 27 28 29 1 13 30 47 48 49 51 999 x",
		"technical":     "0 00 4 9 15 21 39 40",
		"hard":          "5 05 10 11 16 17 18 19 23 24 25 26 32 33 34 35 36 37 38 41 42 43 44 45 46",
		"token_invalid": "6 8 50",
		"fraud":         "14 20 22 31",
		"config":        "7 07",
	}
	var code string
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		e.Say(httpAnswer(200, fmt.Sprintf(`{"resultCode":"Refused","refusalReasonCode":%q,"merchantReference":"sub_000042~9~2"}`, code)))
	})
	client := newClient(t, w.URL)
	for class, all := range codes {
		for _, code = range strings.Fields(all) {
			reply, err := client.Charge(t.Context(), testRequest())
			if err != nil || reply.Class != want[class] || reply.RefusalCode != code {
				t.Errorf("code %s: class %q, code %q, %v; want %q", code, reply.Class, reply.RefusalCode, err, class)
			}
		}
	}
}

// What other fields say beats the code where it forbids more, and never less.
func TestCharge_severestFieldWins(t *testing.T) {
	tests := []struct {
		name                         string
		code                         string
		advice, inferred, raw, brand string
		want                         billing.DeclineClass
		wantAdvice                   string
	}{
		{"advice 03 beats a generic no", "2", "03 : Do not try again", "", "", "mc", billing.DeclineHard, "03"},
		{"advice 21 beats too little money", "12", "21 : Payment Cancellation", "", "", "mc", billing.DeclineHard, "21"},
		{"advice 01 wants new details", "2", "01 : New account information available", "", "", "mc", billing.DeclineTokenInvalid, "01"},
		{"advice 04 is our fault", "2", "04", "", "", "mc", billing.DeclineConfig, "04"},
		{"advice 24 keeps a soft no soft", "12", "24 : Retry after 1 hour", "", "", "mc", billing.DeclineSoft, "24"},
		{"advice 02 does not soften a blocked card", "5", "02 : Try again later", "", "", "mc", billing.DeclineHard, "02"},
		{"advice 03 does not hide a dead token", "6", "03", "", "", "mc", billing.DeclineTokenInvalid, "03"},
		{"advice 02 leaves a technical fault one", "9", "02", "", "", "mc", billing.DeclineTechnical, "02"},
		{"advice that nobody knows", "2", "77 : Something new", "", "", "mc", billing.DeclineSoft, "77"},
		{"advice that is no code", "2", "do not try again", "", "", "mc", billing.DeclineSoft, ""},
		{"an account that is closed", "2", "", "Closed Account", "", "mc", billing.DeclineHard, ""},
		{"a card that was updated", "10", "", "Card Updated", "", "mc", billing.DeclineTokenInvalid, ""},
		{"an inferred reason that is new", "10", "", "Moon Phase", "", "mc", billing.DeclineHard, ""},
		{"a lost Visa behind a generic no", "2", "", "", "41 : Lost card", "visastandarddebit", billing.DeclineHard, ""},
		{"a stop order of a Visa", "2", "", "", "R1 : Revocation", "visa", billing.DeclineHard, ""},
		{"the same number of another scheme", "2", "", "", "41 : Something", "amex", billing.DeclineSoft, ""},
		{"a raw code without a brand", "2", "", "", "41 : Something", "", billing.DeclineSoft, ""},
		{"fraud beats all", "31", "01", "Card Updated", "14 : x", "visa", billing.DeclineFraud, "01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			extra, err := json.Marshal(map[string]string{
				"merchantAdviceCode": tt.advice, "inferredRefusalReason": tt.inferred,
				"refusalReasonRaw": tt.raw, "paymentMethodVariant": tt.brand,
			})
			if err != nil {
				t.Fatal(err)
			}
			w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
				e.Say(httpAnswer(200, fmt.Sprintf(`{"resultCode":"Refused","refusalReasonCode":%q,"merchantReference":"sub_000042~9~2","additionalData":%s}`, tt.code, extra)))
			})
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			if err != nil {
				t.Fatal(err)
			}
			if reply.Class != tt.want || reply.AdviceCode != tt.wantAdvice || reply.RawCode != tt.raw {
				t.Errorf("class %q, advice %q, raw %q; want %q, %q, %q", reply.Class, reply.AdviceCode, reply.RawCode, tt.want, tt.wantAdvice, tt.raw)
			}
		})
	}
}
