package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecode compares the decoder with encoding/json: what is JSON, and what
// its fields are. It is inside the package because the decoder is.
func FuzzDecode(f *testing.F) {
	f.Add(`{"merchantAccount":"DemoEU","amount":{"currency":"EUR","value":1999},"reference":"r","paymentMethod":{"type":"scheme","storedPaymentMethodId":"T"}}`)
	f.Add(`{"reference":"a\u00e9\ud83d\ude00\n\"","reference":"b","amount":null,"metadata":{"a":[1,{"b":[true,false,null,-1.5e+3]}]}}`)
	f.Add(`{"amount":{"value":9223372036854775808,"currency":"EUR"},"x":"\ud800"}`)
	f.Add(`{"a":01}`)
	f.Fuzz(func(t *testing.T, body string) {
		var req request
		err := req.decode([]byte(body))
		var fields map[string]any
		valid := json.Unmarshal([]byte(body), &fields) == nil && fields != nil && utf8.ValidString(body)
		if err == nil && !valid {
			t.Fatalf("decode took what is no JSON object: %q", body)
		}
		if err != nil && valid && strings.Count(body, "[")+strings.Count(body, "{") < maxDepth {
			t.Fatalf("decode refused a JSON object: %v: %q", err, body)
		}
		if err != nil {
			return
		}
		for name, got := range map[string]string{"reference": req.reference, "merchantAccount": req.merchantAccount, "returnUrl": req.returnURL} {
			if want, _ := fields[name].(string); got != want {
				t.Errorf("%s = %q, want %q in %q", name, got, want, body)
			}
		}
		if line := appendString(nil, req.reference); !json.Valid(line) {
			t.Errorf("%q is written as %s, which is no JSON", req.reference, line)
		}
	})
}

func TestAppendPSPReference_isUniqueAndLooksRight(t *testing.T) {
	seed := newSeed()
	seen := make(map[string]bool)
	for seq := range uint64(100_000) {
		psp := string(appendPSPReference(nil, seed, seq))
		if len(psp) != 16 || strings.Trim(psp, pspAlphabet) != "" || seen[psp] {
			t.Fatalf("pspReference %q of %d has the wrong form or is there twice", psp, seq)
		}
		seen[psp] = true
	}
}
