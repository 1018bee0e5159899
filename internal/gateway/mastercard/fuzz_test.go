package mastercard

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// fuzzed is the payment that every fuzzed answer is about.
var fuzzed = payment{orderID: "sub_000042~9", attempt: 2, amount: billing.Money{Minor: 1999, Currency: "EUR"}, token: "9512345678901238", shopper: "acct/000042"}

// FuzzAnswer checks what must hold of any bytes that a gateway answers: nothing
// panics, what is accepted is a form that net/url reads alike and that reads the
// same when it is written again, and only a complete answer about this transaction
// says that money moved.
func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.nvp")
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
	f.Add([]byte("\xef\xbb\xbfresult=SUCCESS"))
	f.Add([]byte("result=%ff&a=b"))
	f.Add([]byte("transaction%5B0%5D.id=1&transaction[999999].result=SUCCESS&result=SUCCESS"))
	f.Add([]byte(strings.Repeat("&", 20)))
	client := &Client{options: Options{MerchantID: "TESTDEMOMC"}, logger: hclog.NewNullLogger()}
	secrets := secretForms([]string{fuzzed.token, fuzzed.shopper})
	f.Fuzz(func(t *testing.T, body []byte) {
		a := readAnswer(gateway.Answer{Status: http.StatusCreated, Body: body}, nil, secrets)
		if a.fields == nil {
			if a.failure() == nil || a.lookUpFailure() == nil {
				t.Errorf("no failure of what cannot be read: %q", body)
			}
			return
		}
		checkAgainstStandard(t, body, a.fields)
		checkWrittenAgain(t, a.fields)
		// Whatever is asked of an answer, it answers.
		a.asError(opTokenize).explain()
		if _, err := a.readToken(""); err != nil && strings.Contains(err.Error(), fuzzed.token) {
			t.Errorf("the token is in %v", err)
		}
		a.readVerification()
		if order, err := a.readOrder("sub_000042~9"); err == nil && a.fields["id"] != order.ID {
			t.Errorf("believed an order without its id: %q", body)
		}
		for _, step := range []transaction{fuzzed.paid(), fuzzed.authorized(), fuzzed.captured()} {
			checkReply(t, client, &a, step)
		}
	})
}

// checkReply asks a for the outcome of one of fuzzed's transactions.
func checkReply(t *testing.T, client *Client, a *answer, step transaction) {
	t.Helper()
	if a.compare(&fuzzed, step, client.options.MerchantID) != nil || a.failure() != nil {
		return
	}
	reply, err := client.read(a, &fuzzed, step, billing.Reply{}, step.operation == opPay)
	if err != nil {
		if reply != (billing.Reply{}) {
			t.Errorf("%+v beside %v", reply, err)
		}
		return
	}
	if a.fields["order.id"] != fuzzed.orderID || a.fields["transaction.id"] != step.id {
		t.Errorf("believed an answer without our ids: %v", a.fields)
	}
	if reply.Outcome == billing.OutcomeAuthorised && (a.fields["result"] != "SUCCESS" || !strings.HasPrefix(a.fields["response.gatewayCode"], "APPROVED")) {
		t.Errorf("authorised by %v", a.fields)
	}
	if (reply.Outcome == billing.OutcomeRefused) != (reply.Class != billing.DeclineNone) {
		t.Errorf("outcome %q with class %q", reply.Outcome, reply.Class)
	}
	for _, text := range []string{reply.GatewayReference, reply.ResultCode, reply.RefusalCode, reply.RefusalReason, reply.RawCode} {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\r\n") || len(text) > maxLine || strings.Contains(text, fuzzed.token) {
			t.Errorf("kept %q", text)
		}
	}
}

// checkAgainstStandard fails unless net/url reads the same from body.
func checkAgainstStandard(t *testing.T, body []byte, got fields) {
	t.Helper()
	if strings.Contains(string(body), ";") {
		return // net/url refuses it, and forms of others do not
	}
	values, err := url.ParseQuery(strings.Trim(string(body), " \t\r\n"))
	if err != nil {
		t.Fatalf("accepted what net/url does not (%v): %q", err, body)
	}
	want := make(fields, len(values))
	for name, all := range values {
		if len(all) > 1 {
			t.Errorf("accepted %s %d times", name, len(all))
		}
		want[name] = all[0]
	}
	if !maps.Equal(want, got) {
		t.Errorf("read %v from %q, net/url %v", got, body, want)
	}
}

// checkWrittenAgain fails unless got is the same after it was written and read.
func checkWrittenAgain(t interface{ Fatalf(string, ...any) }, got fields) {
	var f form
	written := make(fields, len(got))
	for _, name := range slices.Sorted(maps.Keys(got)) {
		f.add(name, got[name])
		if got[name] != "" { // an empty field is not written
			written[name] = got[name]
		}
	}
	again, err := parseFields(f.body)
	if err != nil || !maps.Equal(again, written) {
		t.Fatalf("%v was written as %s and read as %v, %v", written, f.body, again, err)
	}
}

// Any text goes out and comes back as it was.
func TestForm_roundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkWrittenAgain(t, rapid.MapOf(rapid.StringMatching(`[a-zA-Z0-9._\-\[\]]{1,12}`), rapid.String()).Draw(t, "fields"))
	})
}

func TestParseFields(t *testing.T) {
	tests := []struct {
		name, text string
		want       fields // nil: not readable
	}{
		{"a field", "result=SUCCESS", fields{"result": "SUCCESS"}},
		{"two", "a=1&b=2", fields{"a": "1", "b": "2"}},
		{"an empty value", "a=&b=2", fields{"a": "", "b": "2"}},
		{"a value with an equals sign", "a=b=c", fields{"a": "b=c"}},
		{"escapes", "a=%26%3D+%2B", fields{"a": "&= +"}},
		{"an escaped name", "transaction%5B0%5D.id=1", fields{"transaction[0].id": "1"}},
		{"letters of any language", "a=Gr%C3%B6%C3%9Fe", fields{"a": "Größe"}},
		{"the same, not escaped", "a=Größe", fields{"a": "Größe"}},
		{"a semicolon is no separator", "a=1;b=2", fields{"a": "1;b=2"}},
		{"spaces and line breaks around", "\r\n a=1\n", fields{"a": "1"}},
		{"ampersands too many", "&a=1&&b=2&", fields{"a": "1", "b": "2"}},
		{"names that differ in case", "a=1&A=2", fields{"a": "1", "A": "2"}},
		{"nothing", "", fields{}},
		{"a field twice", "a=1&b=2&a=1", nil},
		{"a field twice, once escaped", "a=1&%61=2", nil},
		{"no equals sign", "a=1&b", nil},
		{"no name", "=1", nil},
		{"half of an escape", "a=%2", nil},
		{"an escape that is none", "a=%zz", nil},
		{"half of an escape in a name", "%2=a", nil},
		{"bytes that are not UTF-8", "a=%ff", nil},
		{"the same, not escaped", "a=\xff", nil},
		{"a byte order mark", "\ufeffa=1", nil},
		{"a name with a space", "a+b=1", nil},
		{"a tag", "<a href=x", nil},
		{"an object", `{"a":"b=c"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseFields([]byte(tt.text))
			if (err == nil) != (tt.want != nil) || !maps.Equal(got, tt.want) {
				t.Errorf("parseFields(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
			}
			if err != nil && len(tt.text) > 0 && strings.Contains(err.Error(), tt.text) {
				t.Errorf("error = %v quotes the answer", err)
			}
		})
	}
}
