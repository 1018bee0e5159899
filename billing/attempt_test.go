package billing_test

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// The key of one attempt is written down here: if it ever changes, an attempt
// that is open during an upgrade is sent again under another key, and the
// gateway charges it twice.
func TestAttemptKeyer_KeyNeverChanges(t *testing.T) {
	keyer := billing.NewAttemptKeyer([]byte("0123456789abcdef0123456789abcdef"), "adyen", "test")
	const want = "YjVY_gLa3b8hoc_P69zoqy0HfopYZsBnY1lGjlmpRlM"
	if got := keyer.Key(billing.OperationCharge, "DemoEU", "sub-1~2", 1); got != want {
		t.Errorf("key = %s, want %s", got, want)
	}
}

func TestAttemptKeyer_KeysAreAsDifferentAsTheirFields(t *testing.T) {
	type fields struct {
		operation          billing.Operation
		account, reference string
		attempt            int
	}
	text := rapid.StringMatching(`[ab~]{0,3}`)
	draw := rapid.Custom(func(t *rapid.T) fields {
		return fields{
			billing.Operation(rapid.SampledFrom([]string{"charge", "refund"}).Draw(t, "operation")),
			text.Draw(t, "account"), text.Draw(t, "reference"), rapid.IntRange(1, 12).Draw(t, "attempt"),
		}
	})
	keyer := billing.NewAttemptKeyer([]byte("0123456789abcdef0123456789abcdef"), "adyen", "test")
	other := billing.NewAttemptKeyer([]byte("0123456789abcdef0123456789abcdef"), "adyen", "live")
	key := func(k *billing.AttemptKeyer, f fields) string {
		return k.Key(f.operation, f.account, f.reference, f.attempt)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		if !keyPattern.MatchString(key(keyer, a)) {
			t.Fatalf("key %q", key(keyer, a))
		}
		if (a == b) != (key(keyer, a) == key(keyer, b)) {
			t.Fatalf("%+v and %+v: keys %s and %s", a, b, key(keyer, a), key(keyer, b))
		}
		if key(keyer, a) == key(other, a) {
			t.Fatal("test and live have the same key")
		}
	})
}

func BenchmarkAttemptKeyer(b *testing.B) {
	keyer := billing.NewAttemptKeyer([]byte("0123456789abcdef0123456789abcdef"), "adyen", "test")
	b.ReportAllocs()
	for b.Loop() {
		keyer.Key(billing.OperationCharge, "DemoEU", "sub-000042~17", 1)
	}
}
