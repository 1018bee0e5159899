package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// newTokenWorld is a world whose account is at the Mastercard Gateway, where shoppers
// can be played.
func newTokenWorld(t *testing.T, settings string) *world {
	t.Helper()
	if settings != "" {
		settings = ", " + settings
	}
	return newWorld(t, worldOptions{dialect: mastercardDialect, account: "max_in_flight: 4" + settings})
}

// nvp asks the gateway as a shop's own server does.
func (w *world) nvp(fields map[string]string) url.Values {
	w.t.Helper()
	form := url.Values{"merchant": {"TESTDEMO"}, "apiUsername": {"merchant.TESTDEMO"}, "apiPassword": {"test-password"}}
	for name, value := range fields {
		form.Set(name, value)
	}
	resp, err := w.http.Post(w.gateway+"/mastercard/api/nvp/version/100", "application/x-www-form-urlencoded; charset=UTF-8", strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := url.ParseQuery(strings.TrimSpace(string(text)))
	if err != nil || answer.Get("result") != "SUCCESS" {
		w.t.Fatalf("%v: %v %s", fields["apiOperation"], err, text)
	}
	return answer
}

// emptySession opens a hosted session and returns its id and version.
func (w *world) emptySession() (id, version string) {
	w.t.Helper()
	answer := w.nvp(map[string]string{"apiOperation": "CREATE_SESSION"})
	return answer.Get("session.id"), answer.Get("session.version")
}

// shopperTypes opens a hosted session in which a shopper enters one of the sandbox's
// test cards.
func (w *world) shopperTypes(card string) (id, version string) {
	w.t.Helper()
	id, _ = w.emptySession()
	var session struct{ Version string }
	w.decode(string(w.call(http.MethodPut, "/sandbox/sessions/"+id, fmt.Sprintf(`{"card": %q}`, card))), &session)
	return id, session.Version
}

// gatewaySays changes a token at the gateway, as an account updater does.
func (w *world) gatewaySays(token, change string) {
	w.t.Helper()
	w.call(http.MethodPost, "/sandbox/tokens/"+token, change)
}

// addToken stores a shopper's card and returns it.
func (w *world) addToken(shopper, card string) tokenJSON {
	w.t.Helper()
	id, version := w.shopperTypes(card)
	var token tokenJSON
	w.decode(w.contauth(0, "tokens", "add", "--merchant-account", "DemoMC", "--shopper", shopper, "--session", id, "--session-version", version, "--json"), &token)
	return token
}

// charge imports a charge of a token that is due.
func (w *world) charge(reference string, token tokenJSON) {
	w.t.Helper()
	w.contauth(0, "import", "charges", w.write(reference+".csv", fmt.Sprintf(
		"reference,merchant_account,shopper_reference,token,amount_minor,currency,due_at,description\n%s,DemoMC,%s,%s,1999,EUR,2026-01-02T03:04:05Z,\n",
		reference, token.ShopperReference, token.Token)))
}

// refuses runs a command that fails, and returns what it told.
func (w *world) refuses(args ...string) string {
	w.t.Helper()
	p := w.start(args...)
	if code := p.wait(); code == exitDone {
		w.t.Fatalf("contauth %s: done, want a refusal\n%s", strings.Join(args, " "), p.stdout.String())
	}
	return p.stderr.String()
}

// stateOf returns a charge's state and its reason.
func (w *world) stateOf(reference string) string {
	w.t.Helper()
	var state string
	if err := w.db.QueryRow(`SELECT state || ' ' || reason FROM charges WHERE reference = $1`, reference).Scan(&state); err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(state)
}
