package sandbox

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzForm compares the decoder of forms with net/url, and what it reads with what
// it would write. It is inside the package because the decoder is.
func FuzzForm(f *testing.F) {
	f.Add("apiOperation=PAY&order.id=sub-1~2&order.amount=19.99")
	f.Add("a=%C3%A9+b&&c&=d&a%5B0%5D.b=1")
	f.Add("a=%zz")
	f.Add("a=1;b=2")
	f.Add("a=1&a=2")
	f.Fuzz(func(t *testing.T, body string) {
		var got form
		err := got.decode([]byte(body))
		want, otherErr := url.ParseQuery(body)
		if err == nil && otherErr != nil {
			t.Fatalf("decode took %q: %v", body, otherErr)
		}
		if err != nil {
			if otherErr == nil && fits(want) {
				t.Fatalf("decode refused %q: %v", body, err)
			}
			return
		}
		if len(got.fields) != len(want) {
			t.Fatalf("%d fields, want %d of %q", len(got.fields), len(want), body)
		}
		var written []byte
		for _, field := range got.fields {
			if want.Get(field.name) != field.value || got.get(field.name) != field.value {
				t.Errorf("%s = %q, want %q of %q", field.name, field.value, want.Get(field.name), body)
			}
			if field.value != "" {
				written = appendField(written, field.name, field.value)
			}
		}
		var again form
		if err := again.decode(written); err != nil {
			t.Fatalf("%q is written as %q: %v", body, written, err)
		}
		for _, field := range again.fields {
			if got.get(field.name) != field.value {
				t.Errorf("%s = %q is written and read as %q", field.name, got.get(field.name), field.value)
			}
		}
	})
}

// fits reports whether values are ones that a form may have.
func fits(values url.Values) bool {
	for name, all := range values {
		if name == "" || len(all) != 1 || !utf8.ValidString(name) || !utf8.ValidString(all[0]) {
			return false
		}
	}
	return len(values) <= maxFields
}

func TestParseAmount_isTheOppositeOfFormatAmount(t *testing.T) {
	for decimals := range 4 {
		for _, minor := range []int64{0, 1, 9, 10, 99, 100, 101, 999, 1000, 12345, 1<<53 + 1} {
			text := formatAmount(minor, decimals)
			if got, ok := parseAmount(text, decimals); !ok || got != minor {
				t.Errorf("%d with %d decimals is written %s and read %d, %t", minor, decimals, text, got, ok)
			}
			if decimals > 0 && strings.IndexByte(text, '.') != len(text)-decimals-1 {
				t.Errorf("%d with %d decimals is written %s", minor, decimals, text)
			}
		}
	}
	if got := formatAmount(-5, 2); got != "-0.05" {
		t.Errorf("formatAmount(-5, 2) = %s", got)
	}
}

func TestReceiptOf_isUnique(t *testing.T) {
	seed := newSeed()
	seen := make(map[string]bool)
	for _, from := range []uint64{0, 999_999, 1_000_000_000} {
		for seq := from; seq < from+20_000; seq++ {
			receipt := receiptOf(seed, seq)
			if len(receipt) != 12 || strings.Trim(receipt, "0123456789") != "" || seen[receipt] {
				t.Fatalf("receipt %q of %d has the wrong form or is there twice", receipt, seq)
			}
			seen[receipt] = true
		}
	}
}

// The tables name each other's words: what one says, the others know.
func TestTables_areWhole(t *testing.T) {
	if len(verdicts) != 37 {
		t.Errorf("there are %d gateway codes, want the 37 of version 100", len(verdicts))
	}
	if len(verdictEndings) != len(verdicts) {
		t.Errorf("%d codes have only %d endings", len(verdicts), len(verdictEndings))
	}
	for code, v := range verdicts {
		again := verdict{Code: v.Code, Result: v.Result}
		again.words()
		if again.ledger != v.ledger || again.recommendation != v.recommendation {
			t.Errorf("%s is kept as %+v and read as %+v", code, v, again)
		}
	}
	for _, row := range expiryVerdicts {
		if _, known := verdicts[row.code]; !known || !expiryPattern.MatchString(row.expiry) {
			t.Errorf("the expiry date %s brings %q", row.expiry, row.code)
		}
	}
	if code := byExpiry(goodExpiry, expiryVerdicts[len(expiryVerdicts)-1].since); code != codeApproved {
		t.Errorf("the good expiry date brings %s", code)
	}
	for _, card := range testCards {
		if !isLuhn(card.number) {
			t.Errorf("%s breaks Luhn's rule", card.name)
		}
	}
	for _, code := range chargeCodes {
		if _, known := verdicts[code]; !known {
			t.Errorf("%q is no gateway code", code)
		}
	}
	for name, rule := range fieldRules {
		for _, operation := range rule.known {
			if !slices.Contains(operationNames, operation) {
				t.Errorf("%s is for the unknown operation %q", name, operation)
			}
		}
		if rule.form == "word" && len(rule.words) == 0 {
			t.Errorf("%s has no words", name)
		}
		if _, plain := fieldForms[rule.form]; !plain && !strings.Contains("word integer text decimal date url", rule.form) {
			t.Errorf("%s has the unknown form %q", name, rule.form)
		}
	}
}
