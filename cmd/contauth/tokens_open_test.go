package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A session is opened under a reference that is written down first, and what the
// shop's page needs is printed only where it is asked for.
func TestTokens_openSession(t *testing.T) {
	d := newTokenDesk(t)
	var asked struct {
		Reference        string `json:"reference"`
		ShopperReference string `json:"shopperReference"`
		Model            string `json:"recurringProcessingModel"`
		StoreMode        string `json:"storePaymentMethodMode"`
		ReturnURL        string `json:"returnUrl"`
	}
	known := 0
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Error(err)
		}
		d.db.QueryRow(`SELECT count(*) FROM token_sessions WHERE reference = $1 AND shopper_reference = 'shopper-9'`, asked.Reference).Scan(&known)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id": "CS0123456789ABCDEF", "sessionData": "Ab02b4c0!secret", "expiresAt": "2099-01-31T09:00:00Z", "merchantAccount": "DemoEU",
			"reference": %q, "shopperReference": "shopper-9", "returnUrl": "https://example.invalid/", "amount": {"currency": "EUR", "value": 0}}`, asked.Reference)
	}
	const add = "tokens add --merchant-account DemoEU --shopper shopper-9 --currency EUR"
	said := d.must(add + " --ask-for-consent --model UnscheduledCardOnFile")
	says(t, said, "CS0123456789ABCDEF", "2099-01-31", "0.00 EUR: the card is only checked", "contauth tokens sessions --shopper shopper-9", "no webhook_keys")
	if strings.Contains(said, "secret") {
		t.Errorf("prints sessionData unasked:\n%s", said)
	}
	if known != 1 || !strings.HasPrefix(asked.Reference, "session-") || strings.Contains(asked.Reference, "~") ||
		asked.Model != "UnscheduledCardOnFile" || asked.StoreMode != "askForConsent" || asked.ReturnURL != "https://example.invalid/" {
		t.Errorf("%d sessions were known when the gateway was asked for %+v", known, asked)
	}
	says(t, d.must(add+" --session-data"), "Ab02b4c0!secret")
	var opened openedJSON
	if err := json.Unmarshal([]byte(d.must(add+" --json")), &opened); err != nil || opened.SessionData != "Ab02b4c0!secret" || opened.Reference != asked.Reference {
		t.Errorf("--json prints %+v, %v", opened, err)
	}
	says(t, d.must("tokens sessions --shopper shopper-9"), asked.Reference, "open", "mia", "2099-01-31")
	if got := d.must("tokens sessions --shopper shopper-8"); got != "No sessions.\n" {
		t.Errorf("sessions of another shopper: %s", got)
	}
}

// At Adyen a token that was renewed keeps its id: the issuer is asked whether it is
// good again.
func TestTokens_reactivateAtAdyen(t *testing.T) {
	d := newTokenDesk(t)
	d.exec(`UPDATE tokens SET state = 'invalid', cause = 'recurring.token.disabled' WHERE id = 1`)
	result := `"resultCode": "Refused", "refusalReason": "Not enough balance", "refusalReasonCode": "12"`
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"merchantAccount": "DemoEU", "shopperReference": "shopper-1", "storedPaymentMethods": [
				{"id": "TOKEN1234567890", "type": "scheme", "brand": "visa", "lastFour": "1111", "expiryMonth": "03", "expiryYear": "2030"}]}`)
			return
		}
		var asked struct{ Reference string }
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &asked); err != nil || strings.Contains(asked.Reference, "~") {
			t.Errorf("asked %s, %v", body, err)
		}
		fmt.Fprintf(w, `{"pspReference": "PSP0123456789ABC", "merchantReference": %q, "amount": {"currency": "EUR", "value": 0}, %s}`, asked.Reference, result)
	}
	const reactivate = "tokens reactivate 1 --currency EUR --reason 'bank unblocked it'"
	if _, stderr, code := d.types(reactivate); code != exitFailure || !strings.Contains(stderr, "declined by its issuer") {
		t.Errorf("refused: exit code %d, %s", code, stderr)
	}
	says(t, d.must("tokens show 1"), "State", "invalid since", "declined")
	result = `"resultCode": "Authorised"`
	says(t, d.must(reactivate), "Token 1 (…7890) is valid again: the card was verified by its issuer", "visa", "…1111 2030-03")
}
