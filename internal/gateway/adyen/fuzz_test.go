package adyen

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// fuzzed is the payment that every fuzzed answer is about.
var fuzzed = payment{currency: "EUR", value: 1999, reference: "sub_000042~9~2", token: "TKN4W8ZD6V2HJ3K7"}

// FuzzParseReply checks what must hold of any bytes that a gateway answers:
// nothing panics, what is accepted is JSON that encoding/json reads alike, and
// only a complete answer about this payment says that money moved.
func FuzzParseReply(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(strings.Repeat(`{"a":[`, 1000)))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte(`{"resultCode":"\ud800"}`))
	header := http.Header{"Content-Type": {"application/json"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parsePayment(gateway.Answer{Status: http.StatusOK, Header: header, Body: body})
		if err != nil {
			return
		}
		checkAgainstStandard(t, body, a)
		var reply billing.Reply
		if err := a.fill(&reply, fuzzed, []string{fuzzed.token}); err != nil {
			return
		}
		if !bytes.Contains(body, []byte("\\")) && !bytes.Contains(body, []byte(fuzzed.reference)) {
			t.Errorf("believed an answer without our reference: %s", body)
		}
		if reply.Outcome == billing.OutcomeAuthorised && (string(a.resultCode) != "Authorised" || len(a.pspReference) == 0) {
			t.Errorf("authorised by %s", body)
		}
		if (reply.Outcome == billing.OutcomeRefused) != (reply.Class != billing.DeclineNone) {
			t.Errorf("outcome %q with class %q", reply.Outcome, reply.Class)
		}
		for _, text := range []string{reply.GatewayReference, reply.RefusalCode, reply.RefusalReason, reply.RawCode, reply.AdviceCode} {
			if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\r\n") || len(text) > maxLine || strings.Contains(reply.RefusalReason, fuzzed.token) {
				t.Errorf("kept %q", text)
			}
		}
	})
}

// checkAgainstStandard fails unless encoding/json reads the same from body.
func checkAgainstStandard(t *testing.T, body []byte, a *answer) {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatalf("accepted what encoding/json does not (%v): %s", err, body)
	}
	for name, got := range map[string][]byte{"resultCode": a.resultCode, "merchantReference": a.merchantReference} {
		if want, ok := all[name].(string); ok && want != string(got) {
			t.Errorf("%s = %q, encoding/json says %q", name, got, want)
		}
	}
	if a.has(fieldAmount | fieldValue) {
		var amount struct{ Amount map[string]json.Number }
		if err := json.Unmarshal(body, &amount); err == nil {
			if want, err := amount.Amount["value"].Int64(); err == nil && want != a.value {
				t.Errorf("value = %d, encoding/json says %d", a.value, want)
			}
		}
	}
}

// The scanner accepts exactly what JSON allows, less what two readers could
// understand differently.
func TestScanner_documents(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	tests := []struct {
		name, text string
		want       bool
	}{
		{"an empty object", ` { } `, true},
		{"every kind of value", `{"a":"x","b":-0.5e+10,"c":[1,[],{}],"d":true,"e":false,"f":null}`, true},
		{"every escape", `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, true},
		{"as deep as allowed", deep(maxDepth), true},
		{"a level deeper", deep(maxDepth + 1), false},
		{"arrays too deep", `{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, false},
		{"nothing", ``, false},
		{"only space", "  \n", false},
		{"an array", `[]`, false},
		{"a string", `"x"`, false},
		{"two documents", `{}{}`, false},
		{"something behind", `{} x`, false},
		{"a byte order mark", "\xef\xbb\xbf{}", false},
		{"no end", `{`, false},
		{"no end of a name", `{"a`, false},
		{"no value", `{"a"}`, false},
		{"no value behind the colon", `{"a":}`, false},
		{"a comma at the end", `{"a":1,}`, false},
		{"a comma at the start", `{,"a":1}`, false},
		{"no comma", `{"a":1 "b":2}`, false},
		{"a comma at the end of an array", `{"a":[1,]}`, false},
		{"a name without quotes", `{a:1}`, false},
		{"single quotes", `{'a':1}`, false},
		{"a leading zero", `{"a":01}`, false},
		{"a leading plus", `{"a":+1}`, false},
		{"no digit", `{"a":-}`, false},
		{"no whole digit", `{"a":.5}`, false},
		{"no fraction digit", `{"a":1.}`, false},
		{"no exponent digit", `{"a":1e}`, false},
		{"hexadecimal", `{"a":0x1}`, false},
		{"not a number", `{"a":NaN}`, false},
		{"an unknown word", `{"a":nul}`, false},
		{"a line break in a string", "{\"a\":\"\n\"}", false},
		{"a line break behind an escape", "{\"a\":\"\\t\n\"}", false},
		{"an unknown escape", `{"a":"\x41"}`, false},
		{"a short escape", `{"a":"\u12"}`, false},
		{"a signed escape", `{"a":"\u+123"}`, false},
		{"an escape at the end", `{"a":"\`, false},
		{"an escaped string without end", `{"a":"\t`, false},
		{"half of a surrogate pair", `{"a":"\ud83d"}`, false},
		{"two first halves", `{"a":"\ud83d\ud83d"}`, false},
		{"the second half alone", `{"a":"\ude00x"}`, false},
		{"bytes that are not UTF-8", "{\"a\":\"\xff\"}", false},
		{"a comment", `{/**/}`, false},
		{"a zero byte", "{\x00}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := scanObject([]byte(tt.text), func(s *scanner, _ []byte) { s.skip() })
			if (err == nil) != tt.want {
				t.Errorf("error = %v, want accepted = %t", err, tt.want)
			}
			if tt.want && !json.Valid([]byte(tt.text)) {
				t.Error("accepted what is not JSON")
			}
		})
	}
}
