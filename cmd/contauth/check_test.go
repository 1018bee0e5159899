package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
)

// checked runs contauth check --json and returns its lines by invariant.
func (w *world) checked(code int, args ...string) map[string]checkJSON {
	w.t.Helper()
	lines := map[string]checkJSON{}
	decoder := json.NewDecoder(strings.NewReader(w.contauth(code, append([]string{"check", "--json"}, args...)...)))
	for {
		var line checkJSON
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			w.t.Fatal(err)
		}
		lines[line.ID] = line
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.importCharges(3, func(i int) string {
		if i == 2 {
			return ".refuse12"
		}
		return ""
	})
	w.contauth(exitDeclined, "run", "start", w.plan(), "--yes")

	for id, line := range w.checked(exitDone) {
		if line.OK == nil || !*line.OK || line.Violations != 0 || line.Sample == nil || line.Meaning == "" {
			t.Errorf("%s after a good run: %+v", id, line)
		}
	}
	table := w.contauth(exitDone, "check")
	if !strings.Contains(table, "no charge is authorised twice at the gateway") || strings.Count(table, " ok ") != len(w.checked(exitDone)) {
		t.Errorf("the table does not say that each invariant holds:\n%s", table)
	}

	// The same from a file; without one of its payments it proves a loss.
	ledger := w.get("/sandbox/ledger")
	w.checked(exitDone, "--ledger", w.write("whole.jsonl", ledger))
	_, cut, _ := strings.Cut(ledger, "\n")
	if line := w.checked(exitFailure, "--ledger", w.write("cut.jsonl", cut))["I1"]; *line.OK || line.Violations != 1 || len(line.Sample) != 1 {
		t.Errorf("I1 with a payment missing: %+v", line)
	}
	if table := w.contauth(exitFailure, "check", "--ledger", "cut.jsonl"); !strings.Contains(table, "1 violation") || !strings.Contains(table, "I1: charge ") {
		t.Errorf("the table does not tell what is wrong:\n%s", table)
	}

	// What the program takes for a card number is found wherever it stands.
	if _, err := w.db.Exec(`UPDATE charges SET description = 'paid by 4111-1111-1111-1111' WHERE reference = 'req-0'`); err != nil {
		t.Fatal(err)
	}
	if line := w.checked(exitFailure)["I13"]; line.Violations != 1 || strings.Contains(strings.Join(line.Sample, ""), "4111") {
		t.Errorf("I13 with a card number: %+v", line)
	}
	if _, err := w.db.Exec(`UPDATE charges SET description = ''`); err != nil {
		t.Fatal(err)
	}

	// Wrong use is told in one line.
	for _, args := range [][]string{{"--merchant-account", "Nobody"}, {"here"}, {"--ledger", "nowhere.jsonl"}} {
		w.contauth(exitUsage, append([]string{"check"}, args...)...)
	}
	w.contauth(exitFailure, "check", "--ledger", "http://127.0.0.1:1")

	w.sandbox.kill()
	lines := w.checked(exitDone)
	for _, id := range []string{"I1", "I2", "I8"} {
		if line := lines[id]; line.OK != nil || line.Note != "not checked: no ledger" {
			t.Errorf("%s without a sandbox: %+v", id, line)
		}
	}
	if line := lines["I5"]; line.OK == nil || !*line.OK {
		t.Errorf("I5 without a sandbox: %+v", line)
	}
}

// get reads a page of the sandbox.
func (w *world) get(path string) string {
	w.t.Helper()
	resp, err := w.http.Get(w.gateway + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

func TestSandboxRoot(t *testing.T) {
	tests := []struct {
		name, environment, baseURL, want string
	}{
		{"a sandbox", "test", "http://127.0.0.1:8090/adyen/v71", "http://127.0.0.1:8090"},
		{"a sandbox with a name", "test", "https://sandbox.example.invalid/adyen/v72", "https://sandbox.example.invalid"},
		{"the gateway's test platform is never asked", "test", "https://checkout-test.adyen.com/v71", ""},
		{"nor a live account", "live", "https://sandbox.example.invalid/adyen/v71", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := sandboxRoot(config.MerchantAccount{Environment: tt.environment, BaseURL: tt.baseURL})
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("sandboxRoot = %q, %t, want %q", got, ok, tt.want)
			}
		})
	}
}

// Two accounts of one sandbox share its ledger; a gateway that is none has none.
func TestSandboxLedgers(t *testing.T) {
	sandbox := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, `{"payments": 3, "same_key_other_body": 2}`)
	}))
	defer sandbox.Close()
	page := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "<html>hello</html>") }))
	defer page.Close()
	account := func(id, root string) config.MerchantAccount {
		return config.MerchantAccount{ID: id, Environment: config.EnvironmentTest, BaseURL: root + "/adyen/v71"}
	}
	ledgers := sandboxLedgers(context.Background(), config.Config{MerchantAccounts: []config.MerchantAccount{
		account("A", sandbox.URL), account("B", page.URL), account("C", sandbox.URL), account("D", "http://127.0.0.1:1"),
	}})
	if len(ledgers) != 1 {
		t.Fatalf("got %d ledgers, want 1", len(ledgers))
	}
	if diff := cmp.Diff([]string{"A", "C"}, ledgers[0].MerchantAccounts); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	if n := ledgers[0].SameKeyOtherBody; n == nil || *n != 2 {
		t.Errorf("same_key_other_body: got %v, want 2", n)
	}
}

const goodLine = `{"idempotency_key":"k","merchant_account":"DemoEU","reference":"r~1","token":"T","shopper_reference":"s",` +
	`"model":"Subscription","amount_minor":1234,"gateway_value":1234,"currency":"EUR","result_code":"Authorised",` +
	`"refusal_reason_code":"","psp_reference":"P","at":"2027-01-31T09:00:00.000000Z","later":1}`

func TestReadLedger(t *testing.T) {
	tests := []struct {
		name, text string
		want       int    // entries
		wantErr    string // a part of it
	}{
		{"no payment", "", 0, ""},
		{"two payments and an empty line", goodLine + "\n\n" + goodLine + "\n", 2, ""},
		{"a last line without its end", goodLine, 1, ""},
		{"a page", goodLine + "\n<html>", 1, "line 2"},
		{"half a line", goodLine + "\n" + goodLine[:100], 1, "line 2"},
		{"a payment without a reference", strings.Replace(goodLine, `"r~1"`, `""`, 1), 0, "line 1"},
		{"a payment without a time", strings.Replace(goodLine, `"at"`, `"on"`, 1), 0, "line 1"},
		{"a zero byte", strings.Replace(goodLine, `"r~1"`, `"r\u0000~1"`, 1), 0, "line 1"},
		{"an amount that is no integer", strings.Replace(goodLine, "1234", "12.34", 1), 0, "line 1"},
		{"a line without an end", strings.Repeat("x", longestLedgerLine+1), 0, "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries, err := drain(strings.NewReader(tt.text))
			if len(entries) != tt.want || (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %d entries, error %v; want %d, %q", len(entries), err, tt.want, tt.wantErr)
			}
		})
	}
	broken := errors.New("reset")
	if _, err := drain(io.MultiReader(strings.NewReader(goodLine+"\n"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a ledger that breaks off: got error %v, want %v", err, broken)
	}
}

func drain(in io.Reader) (entries []postgres.LedgerEntry, err error) {
	for e, err := range readLedger(in) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Whatever stands in a ledger, a line is a whole payment or an error that does
// not quote it.
func FuzzParseLedgerLine(f *testing.F) {
	f.Add([]byte(goodLine))
	f.Add([]byte(`{"reference":"\u0000"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseLedgerLine(line)
		if err != nil {
			if !errors.Is(err, errNoPayment) || e != (postgres.LedgerEntry{}) {
				t.Fatalf("got %+v, error %v", e, err)
			}
			return
		}
		for _, text := range []string{e.MerchantAccount, e.Reference, e.Currency, e.ResultCode, e.PSPReference} {
			if text == "" || slices.Contains([]byte(text), 0) {
				t.Fatalf("%q became a payment with the text %q", line, text)
			}
		}
	})
}
