package sandbox_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// newSession returns a request for a session that stores a card.
func newSession(reference string) charge {
	return charge{
		"merchantAccount": "DemoEU", "amount": map[string]any{"currency": "EUR", "value": 0}, "reference": reference,
		"returnUrl": "https://example.invalid/", "shopperReference": "shopper-1", "shopperInteraction": "Ecommerce",
		"recurringProcessingModel": "Subscription", "storePaymentMethodMode": "enabled",
	}
}

// adyen calls one of Adyen's routes.
func (g *gateway) adyen(method, path, key, body string) answer {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+"/adyen/v71"+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", "test-key")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	a, err := g.send(req)
	if err != nil {
		g.t.Fatal(err)
	}
	return a
}

// open opens a session and returns its id.
func (g *gateway) open(c charge) string {
	g.t.Helper()
	a := g.adyen("POST", "/sessions", "", string(c.bytes(g.t)))
	id, _ := a.json(g.t)["id"].(string)
	if a.status != http.StatusCreated || id == "" {
		g.t.Fatalf("session: %d %s", a.status, a.body)
	}
	return id
}

// A completed session is what the sandbox says of one.
type completed struct {
	PSP       string `json:"psp_reference"`
	Result    string `json:"result"`
	Token     string `json:"token"`
	Operation string `json:"operation"`
}

// complete plays the shopper.
func (g *gateway) complete(id, result string) completed {
	g.t.Helper()
	var c completed
	if err := json.Unmarshal(g.tell("POST", "/sandbox/checkouts/"+id, result).body, &c); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// methods lists the tokens of a shopper.
func (g *gateway) methods(shopper string) []map[string]any {
	g.t.Helper()
	a := g.adyen("GET", "/storedPaymentMethods?merchantAccount=DemoEU&shopperReference="+url.QueryEscape(shopper), "", "")
	var list struct{ StoredPaymentMethods []map[string]any }
	if err := json.Unmarshal(a.body, &list); err != nil || a.status != 200 {
		g.t.Fatalf("storedPaymentMethods: %d %s %v", a.status, a.body, err)
	}
	return list.StoredPaymentMethods
}

func TestSessions_areOpenedLikePaymentsAreMade(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.setClock("2027-01-31T09:00:00Z")
	body := string(newSession("setup-1").bytes(t))
	first := g.adyen("POST", "/sessions", "key", body)
	got := first.json(t)
	want := map[string]any{
		"amount": map[string]any{"currency": "EUR", "value": 0.0}, "expiresAt": "2027-01-31T12:00:00+02:00", "id": got["id"], "merchantAccount": "DemoEU",
		"mode": "embedded", "reference": "setup-1", "returnUrl": "https://example.invalid/", "sessionData": got["sessionData"],
		"shopperReference": "shopper-1", "storePaymentMethod": true, "storePaymentMethodMode": "enabled",
	}
	if diff := cmp.Diff(want, got); first.status != http.StatusCreated || diff != "" || got["sessionData"] == "" {
		t.Errorf("answer %d (-want +got):\n%s", first.status, diff)
	}
	if again := g.adyen("POST", "/sessions", "key", body); again.status != http.StatusCreated || !bytes.Equal(first.body, again.body) {
		t.Errorf("sent again: %d %s, want the same", again.status, again.body)
	}
	if stats := g.stats(); stats.DuplicateKeys != 1 || stats.Payments != 0 {
		t.Errorf("stats = %+v", stats)
	}
	for name, tt := range map[string]struct {
		c    charge
		want string
	}{
		"no amount":            {newSession("r").with("amount", nil), "100"},
		"no merchant account":  {newSession("r").with("merchantAccount", nil), "901"},
		"no reference":         {newSession("r").with("reference", nil), "130"},
		"no returnUrl":         {newSession("r").with("returnUrl", nil), "14_030"},
		"no shopper":           {newSession("r").with("shopperReference", nil), "000"},
		"no model":             {newSession("r").with("recurringProcessingModel", nil), "000"},
		"an unknown mode":      {newSession("r").with("storePaymentMethodMode", "always"), "000"},
		"more than a day":      {newSession("r").with("expiresAt", "2027-02-01T09:00:01Z"), "000"},
		"a day that is over":   {newSession("r").with("expiresAt", "2027-01-31T08:59:59Z"), "000"},
		"a list of references": {newSession("r").with("reference", []string{"r"}), "702"},
	} {
		a := g.adyen("POST", "/sessions", "key of "+name, string(tt.c.bytes(t)))
		if a.status != 422 || a.json(t)["errorCode"] != tt.want {
			t.Errorf("%s: %d %s, want 422 with errorCode %s", name, a.status, a.body, tt.want)
		}
	}
}

func TestCheckouts_storeACardAndTellOfIt(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	id := g.open(newSession("setup-1"))
	done := g.complete(id, `{"result": "Authorised", "card": "visa-1"}`)
	if done.Token == "" || done.Operation != "created" || len(done.PSP) != 16 {
		t.Fatalf("completed: %+v", done)
	}
	notices := map[string]notice{}
	for range 3 {
		n := r.next()
		if !n.good {
			t.Errorf("%s is not signed", n.EventCode)
		}
		notices[n.EventCode] = n
	}
	a := notices["AUTHORISATION"]
	if a.PSPReference != done.PSP || a.Success != "true" || a.Amount.Value != 0 || a.MerchantReference != "setup-1" || a.PaymentMethod != "visa" ||
		a.AdditionalData["cardSummary"] != "1019" || a.AdditionalData["expiryDate"] != "03/2030" || a.AdditionalData["checkoutSessionId"] != id ||
		a.AdditionalData["tokenization.storedPaymentMethodId"] != done.Token || a.AdditionalData["tokenization.store.operationType"] != "created" {
		t.Errorf("AUTHORISATION is %+v", a)
	}
	c := notices["RECURRING_CONTRACT"]
	if c.PSPReference != done.Token || c.OriginalReference != done.PSP || c.AdditionalData["recurring.recurringDetailReference"] != done.Token ||
		c.AdditionalData["recurring.shopperReference"] != "shopper-1" {
		t.Errorf("RECURRING_CONTRACT is %+v", c)
	}
	e := notices["recurring.token.created"].token
	if e.Data.StoredPaymentMethodID != done.Token || e.EventID != done.PSP || e.Data.ShopperReference != "shopper-1" || e.Data.Operation != "created" || e.Data.Type != "visa" {
		t.Errorf("recurring.token.created is %+v", e)
	}

	want := []map[string]any{{
		"brand": "visa", "expiryMonth": "03", "expiryYear": "30", "id": done.Token, "lastFour": "1019", "name": "VISA", "shopperReference": "shopper-1",
		"supportedRecurringProcessingModels": []any{"CardOnFile", "Subscription", "UnscheduledCardOnFile"}, "type": "scheme",
	}}
	if diff := cmp.Diff(want, g.methods("shopper-1")); diff != "" {
		t.Errorf("storedPaymentMethods (-want +got):\n%s", diff)
	}
	if others := g.methods("shopper-2"); len(others) != 0 {
		t.Errorf("another shopper has %v", others)
	}

	// The same card again keeps its token; another one has its own.
	again := g.complete(g.open(newSession("setup-2")), `{"result": "Authorised", "card": "visa-1", "webhooks": ["recurring.token.alreadyExisting"]}`)
	if n := r.next(); again.Token != done.Token || again.Operation != "alreadyExisting" || n.EventCode != "recurring.token.alreadyExisting" || n.token.EventID != again.PSP {
		t.Errorf("the same card: %+v, webhook %+v", again, n)
	}
	if other := g.complete(g.open(newSession("setup-3")), `{"result": "Authorised", "card": "amex-1", "webhooks": []}`); other.Token == done.Token || len(g.methods("shopper-1")) != 2 {
		t.Errorf("another card: %+v, the shopper has %v", other, g.methods("shopper-1"))
	}
	// It is charged for its own shopper only.
	paid := g.pay("k1", newCharge("ref", done.Token)).json(t)
	if paid["resultCode"] != "Authorised" || paid["additionalData"].(map[string]any)["cardSummary"] != "1019" {
		t.Errorf("a charge of the token: %v", paid)
	}
	if got := g.pay("k2", newCharge("ref", done.Token).with("shopperReference", "shopper-2")).json(t)["errorCode"]; got != "803" {
		t.Errorf("a charge for another shopper: errorCode %v, want 803", got)
	}
}

func TestCheckouts_whatDoesNotStore(t *testing.T) {
	tests := []struct{ name, mode, result string }{
		{"refused", "enabled", `{"result": "Refused", "card": "visa-1", "refusal_code": 5}`},
		{"an error", "enabled", `{"result": "Error", "card": "visa-1"}`},
		{"cancelled", "enabled", `{"result": "Cancelled", "card": "visa-1"}`},
		{"pending", "enabled", `{"result": "Pending", "card": "visa-1"}`},
		{"no wish to store", "disabled", `{"result": "Authorised", "card": "visa-1"}`},
		{"no consent", "askForConsent", `{"result": "Authorised", "card": "visa-1", "consent": false}`},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		if done := g.complete(g.open(newSession("r").with("storePaymentMethodMode", tt.mode)), tt.result); done.Token != "" {
			t.Errorf("%s: there is the token %s", tt.name, done.Token)
		}
	}
	if tokens := g.methods("shopper-1"); len(tokens) != 0 {
		t.Errorf("the shopper has %v", tokens)
	}
	if done := g.complete(g.open(newSession("r").with("storePaymentMethodMode", "askForConsent")), `{"result": "Authorised", "card": "visa-1"}`); done.Token == "" {
		t.Error("with consent there is no token")
	}
}

func TestCheckouts_moneyAndVerificationsAreToldApart(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.complete(g.open(newSession("first").with("amount", map[string]any{"currency": "EUR", "value": 1999})), `{"result": "Authorised", "card": "visa-1"}`)
	g.complete(g.open(newSession("setup")), `{"result": "Authorised", "card": "visa-1"}`)
	g.pay("k", newCharge("zero", "TK").with("amount", map[string]any{"currency": "EUR", "value": 0}))
	g.pay("k2", newCharge("zero-2", "TK.refuse12").with("amount", map[string]any{"currency": "EUR", "value": 0}))
	if ledger := g.ledger(); len(ledger) != 1 || ledger[0].Reference != "first" || ledger[0].AmountMinor != 1999 || ledger[0].ResultCode != "Authorised" {
		t.Errorf("the ledger is %+v, want the one payment of money", ledger)
	}
	got := g.lines("/sandbox/verifications")
	if len(got) != 3 || got[0].Reference != "setup" || got[1].ResultCode != "Authorised" || got[2].ResultCode != "Refused" || got[2].AmountMinor != 0 {
		t.Errorf("verifications = %+v", got)
	}
	if stats := g.stats(); stats.Payments != 1 || stats.Verifications != 3 {
		t.Errorf("stats = %+v, want 1 payment and 3 verifications", stats)
	}
}

func TestCheckouts_whatIsPendingIsDecidedOnce(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	id := g.open(newSession("setup").with("amount", map[string]any{"currency": "EUR", "value": 500}))
	pending := g.complete(id, `{"result": "Pending", "card": "visa-1"}`)
	if ledger := g.ledger(); len(ledger) != 1 || ledger[0].ResultCode != "Pending" {
		t.Errorf("the ledger is %+v", ledger)
	}
	decided := g.complete(id, `{"result": "Authorised"}`)
	if decided.PSP != pending.PSP || decided.Operation != "created" {
		t.Errorf("pending %+v, decided %+v", pending, decided)
	}
	if ledger := g.ledger(); len(ledger) != 1 || ledger[0].ResultCode != "Authorised" || ledger[0].Token != decided.Token {
		t.Errorf("the ledger is %+v", ledger)
	}
	for range 3 {
		r.next()
	}
	// What is ordered of it knows what became of it.
	g.tell("POST", "/sandbox/webhooks", `{"code": "recurring.token.disabled", "reference": "setup"}`)
	if n := r.next(); n.token.Data.StoredPaymentMethodID != decided.Token {
		t.Errorf("ordered: %+v", n)
	}
	for name, tt := range map[string]struct {
		id, body string
		want     int
	}{
		"a second time":        {id, `{"result": "Authorised", "card": "visa-1"}`, 409},
		"no session":           {"CSNONE", `{"result": "Authorised", "card": "visa-1"}`, 404},
		"no card":              {g.open(newSession("r")), `{"result": "Authorised"}`, 400},
		"an unknown result":    {g.open(newSession("r")), `{"result": "Received", "card": "visa-1"}`, 400},
		"a code of nothing":    {g.open(newSession("r")), `{"result": "Authorised", "card": "visa-1", "refusal_code": 5}`, 400},
		"an unknown webhook":   {g.open(newSession("r")), `{"result": "Authorised", "card": "visa-1", "webhooks": ["REFUND"]}`, 400},
		"an expiry of nothing": {g.open(newSession("r")), `{"result": "Authorised", "card": "visa-1", "expiry": "2030"}`, 400},
	} {
		if a := g.control("POST", "/sandbox/checkouts/"+tt.id, tt.body); a.status != tt.want {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, tt.want)
		}
	}
	late := g.open(newSession("late"))
	g.setClock("2099-01-01T00:00:00Z")
	if a := g.control("POST", "/sandbox/checkouts/"+late, `{"result": "Authorised", "card": "visa-1"}`); a.status != 409 {
		t.Errorf("an expired session: %d", a.status)
	}
}

func TestMethods_areDeletedForGood(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	token := g.complete(g.open(newSession("setup")), `{"result": "Authorised", "card": "visa-1", "webhooks": []}`).Token
	remove := func(token, shopper string) answer {
		return g.adyen("DELETE", "/storedPaymentMethods/"+token+"?merchantAccount=DemoEU&shopperReference="+shopper, "", "")
	}
	if a := remove(token, "shopper-2"); a.status != 422 || a.json(t)["errorCode"] != "803" {
		t.Errorf("another shopper's token: %d %s", a.status, a.body)
	}
	if a := remove(token, ""); a.status != 422 {
		t.Errorf("without a shopper: %d %s", a.status, a.body)
	}
	if a := remove(token, "shopper-1"); a.status != 204 || len(a.body) != 0 {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	if n := r.next(); n.EventCode != "recurring.token.disabled" || n.token.Data.StoredPaymentMethodID != token || !n.good {
		t.Errorf("webhook %+v", n)
	}
	if a := remove(token, "shopper-1"); a.status != 422 || a.json(t)["errorCode"] != "803" {
		t.Errorf("deleted again: %d %s", a.status, a.body)
	}
	if len(g.methods("shopper-1")) != 0 {
		t.Error("it is still listed")
	}
	if got := g.pay("k", newCharge("ref", token)).json(t)["errorCode"]; got != "803" {
		t.Errorf("it is charged: errorCode %v", got)
	}
	// A token that was stored elsewhere can be deleted too.
	if a := remove("TK1", "shopper-1"); a.status != 204 {
		t.Errorf("a token of elsewhere: %d %s", a.status, a.body)
	}
	if got := g.pay("k2", newCharge("ref", "TK1")).json(t)["errorCode"]; got != "803" {
		t.Errorf("it is charged: errorCode %v", got)
	}
	if a := remove("TK1.notfound", "shopper-1"); a.status != 422 {
		t.Errorf("a token that is not there: %d", a.status)
	}
	// The same card makes another token.
	if again := g.complete(g.open(newSession("setup-2")), `{"result": "Authorised", "card": "visa-1", "webhooks": []}`); again.Token == token || again.Operation != "created" {
		t.Errorf("stored again: %+v", again)
	}
}

func TestMethods_ofElsewhereAndReplaced(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.tell("PUT", "/sandbox/methods/TK9", `{"merchant_account": "DemoEU", "shopper_reference": "shopper-1", "card": "mastercard-2", "expiry": "05/31"}`)
	if got := g.methods("shopper-1"); len(got) != 1 || got[0]["id"] != "TK9" || got[0]["lastFour"] != "0007" || got[0]["expiryYear"] != "31" || got[0]["brand"] != "mc" {
		t.Errorf("listed: %v", got)
	}
	g.tell("PUT", "/sandbox/methods/TK9", `{"merchant_account": "DemoEU", "shopper_reference": "shopper-1", "card": "visa-2"}`)
	if got := g.methods("shopper-1"); len(got) != 1 || got[0]["lastFour"] != "0026" {
		t.Errorf("listed: %v", got)
	}
	for _, body := range []string{`{"card": "visa-1"}`, `{"merchant_account": "A", "shopper_reference": "shopper", "card": "4111111111111111"}`,
		`{"merchant_account": "A", "shopper_reference": "shopper", "card": "visa-1", "expiry": "1"}`} {
		if a := g.control("PUT", "/sandbox/methods/TK9", body); a.status != 400 {
			t.Errorf("%s: %d", body, a.status)
		}
	}
	req, err := http.NewRequest("GET", g.url+"/adyen/v71/storedPaymentMethods", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := g.send(req); err != nil || a.status != 401 {
		t.Errorf("without a key: %d, %v, want 401", a.status, err)
	}
}

func TestMethods_faults(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.script(`
- {match: {every: 1}, operation: sessions, do: status, code: 503, times: 1}
- {match: {token: TK1}, operation: disable, do: status, code: 500, when: after, times: 1}
- {match: {every: 1}, operation: storedPaymentMethods, do: garbage, body: html, times: 1}
`)
	seesTransient(503, "")(t, seen{answer: g.adyen("POST", "/sessions", "k", string(newSession("r").bytes(t)))})
	if a := g.adyen("POST", "/sessions", "k", string(newSession("r").bytes(t))); a.status != 201 {
		t.Errorf("the session after that: %d %s", a.status, a.body)
	}
	path := "/storedPaymentMethods/TK1?merchantAccount=DemoEU&shopperReference=shopper-1"
	if a := g.adyen("DELETE", path, "", ""); a.status != 500 {
		t.Errorf("deleted: %d", a.status)
	}
	if a := g.adyen("DELETE", path, "", ""); a.status != 422 {
		t.Errorf("deleted again: %d, want 422: it was gone", a.status)
	}
	if a := g.adyen("GET", "/storedPaymentMethods", "", ""); !bytes.Contains(a.body, []byte("<h1>")) {
		t.Errorf("the list: %d %s", a.status, a.body)
	}
	if len(g.methods("shopper-1")) != 0 {
		t.Error("the list after that has a token")
	}
}

func TestServer_remembersAdyensTokens(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, dir)
	body := string(newSession("setup-0").bytes(t))
	opened := first.adyen("POST", "/sessions", "key", body)
	token := first.complete(first.open(newSession("setup-1")), `{"result": "Authorised", "card": "visa-1"}`).Token
	pending := first.open(newSession("setup-2"))
	first.complete(pending, `{"result": "Pending", "card": "amex-1"}`)
	decided := first.open(newSession("setup-3"))
	first.complete(decided, `{"result": "Pending", "card": "jcb-1"}`)
	first.complete(decided, `{"result": "Refused"}`)
	gone := first.complete(first.open(newSession("setup-4")), `{"result": "Authorised", "card": "visa-2"}`).Token
	first.adyen("DELETE", "/storedPaymentMethods/"+gone+"?merchantAccount=DemoEU&shopperReference=shopper-1", "", "")
	methods, verifications := first.methods("shopper-1"), first.lines("/sandbox/verifications")
	first.kill()
	second := startProcess(t, dir)
	if diff := cmp.Diff(methods, second.methods("shopper-1")); diff != "" || len(methods) != 1 {
		t.Errorf("tokens (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(verifications, second.lines("/sandbox/verifications")); diff != "" {
		t.Errorf("verifications (-before +after):\n%s", diff)
	}
	if again := second.adyen("POST", "/sessions", "key", body); !bytes.Equal(opened.body, again.body) {
		t.Errorf("opened %s, after the kill %s", opened.body, again.body)
	}
	if got := second.complete(pending, `{"result": "Authorised"}`); got.Operation != "created" {
		t.Errorf("the pending one becomes %+v", got)
	}
	if a := second.control("POST", "/sandbox/checkouts/"+decided, `{"result": "Authorised"}`); a.status != 409 {
		t.Errorf("the decided one: %d", a.status)
	}
	if again := second.complete(second.open(newSession("setup-5")), `{"result": "Authorised", "card": "visa-1"}`); again.Token != token || again.Operation != "alreadyExisting" {
		t.Errorf("the same card: %+v, want token %s", again, token)
	}
	if got := second.pay("k", newCharge("ref", gone)).json(t)["errorCode"]; got != "803" {
		t.Errorf("a deleted token is charged: errorCode %v", got)
	}
}
