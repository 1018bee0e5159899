package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/contauth/contauth/tokens"
)

// says fails unless text has each of the parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q:\n%s", part, text)
		}
	}
}

// A token's whole life: stored from a session, found INVALID by a reading, its charge
// held, brought back by its shopper, its charge paid.
func TestTokens_life(t *testing.T) {
	w := newTokenWorld(t, "")
	token := w.addToken("shopper-1", "visa-1")
	if token.State != tokens.Unverified || *token.LastFour != "1019" || *token.Brand != "VISA" {
		t.Errorf("stored %+v", token)
	}
	w.charge("one", token)
	id := fmt.Sprint(token.ID)

	says(t, w.contauth(0, "tokens", "verify", id), "right format and range", "BASIC_VERIFICATION_SUCCESSFUL")
	says(t, w.contauth(0, "tokens", "sync", id), "nothing changed")

	w.gatewaySays(token.Token, `{"status": "INVALID"}`)
	says(t, w.contauth(0, "tokens", "sync", id), "state is invalid", "1 charge is held")
	if got := w.stateOf("one"); got != "held token_invalid" {
		t.Errorf("the charge is %s", got)
	}
	says(t, w.contauth(0, "tokens", "list", "--state", "invalid"), "shopper-1", "…"+token.Token[12:], "VISA")
	says(t, w.contauth(0, "charges", "show", "one"), "contauth explain token "+id)
	said := w.contauth(0, "explain", "token", id)
	says(t, said, "invalid", "1 charge is held", "contauth tokens reactivate "+id+" --session ID --reason TEXT", "created", "verified", "poll")
	if strings.Contains(said, token.Token) {
		t.Errorf("shows the whole token:\n%s", said)
	}

	session, version := w.shopperTypes("visa-2")
	said = w.contauth(0, "tokens", "reactivate", id, "--session", session, "--session-version", version, "--reason", "new card")
	says(t, said, "is valid again", "1 charge is due again", "the next run", "…0026")
	if got := w.stateOf("one"); got != "due released" {
		t.Errorf("the charge is %s", got)
	}
	w.contauth(0, "run", "start", "--yes")
	if got := w.stateOf("one"); got != "paid" {
		t.Errorf("the charge is %s", got)
	}
	var shown tokenDetailJSON
	w.decode(w.contauth(0, "tokens", "show", token.Token, "--json"), &shown)
	if shown.Authorised != 1 || shown.State != tokens.Valid || shown.Held != 0 || len(shown.Audit) != 1 || shown.Next != "Charges are sent with it when they are due." {
		t.Errorf("shown %+v", shown)
	}
	var kinds []string
	for _, event := range shown.Events {
		kinds = append(kinds, string(event.Kind))
	}
	if got := strings.Join(kinds, " "); got != "created verified invalid reactivated" {
		t.Errorf("the timeline is %s", got)
	}
}

// token_release says when released charges are sent.
func TestTokens_reactivateReleases(t *testing.T) {
	for _, tt := range []struct{ release, charge, told string }{
		{"now", "paid", "a run of it starts now"},
		{"next_run", "due released", "the next run that is planned takes it"},
		{"by_hand", "held token_reactivated", "contauth charges release CHARGE"},
	} {
		t.Run(tt.release, func(t *testing.T) {
			w := newTokenWorld(t, "token_release: "+tt.release)
			token := w.addToken("shopper-1", "visa-1")
			w.charge("one", token)
			w.charge("another", w.addToken("shopper-2", "mastercard-1"))
			w.gatewaySays(token.Token, `{"status": "INVALID"}`)
			w.contauth(0, "tokens", "sync", "--merchant-account", "DemoMC")
			session, _ := w.shopperTypes("visa-1")
			says(t, w.contauth(0, "tokens", "reactivate", fmt.Sprint(token.ID), "--session", session, "--reason", "same card"), tt.told)
			if got := w.stateOf("one"); got != tt.charge {
				t.Errorf("the charge is %s, want %s", got, tt.charge)
			}
			if got := w.stateOf("another"); got != "due" {
				t.Errorf("the charge of another token is %s", got)
			}
		})
	}
}

// What a gateway refuses is told apart, with what to do.
func TestTokens_tellRefusals(t *testing.T) {
	w := newTokenWorld(t, "")
	token := w.addToken("shopper-1", "visa-1")
	w.gatewaySays(token.Token, `{"status": "INVALID"}`)
	w.contauth(0, "tokens", "sync", fmt.Sprint(token.ID))
	reactivate := func(session string, more ...string) []string {
		return append([]string{"tokens", "reactivate", fmt.Sprint(token.ID), "--session", session, "--reason", "test"}, more...)
	}

	session, _ := w.shopperTypes("visa-2")
	says(t, w.refuses(reactivate(session, "--session-version", "0000000000")...), "session.version", "leave out --session-version")
	session, _ = w.emptySession()
	says(t, w.refuses(reactivate(session)...), "entered nothing yet")
	says(t, w.refuses(reactivate(testSession)...), "let the shopper enter the card again")

	w.call(http.MethodPut, "/sandbox/repository", `{"generation": "PRESERVE_6_4", "management": "UNIQUE_TOKEN"}`)
	session, _ = w.shopperTypes("visa-2")
	says(t, w.refuses(reactivate(session)...), "PRESERVE_6_4", "contauth tokens replace "+fmt.Sprint(token.ID)+" NEW")

	w.call(http.MethodPut, "/sandbox/repository", `{"generation": "RANDOM_WITH_LUHN", "management": "UNIQUE_CARD"}`)
	w.addToken("shopper-2", "visa-2")
	session, _ = w.shopperTypes("visa-2")
	says(t, w.refuses(reactivate(session)...), "UNIQUE_CARD")

	if got := w.contauth(0, "tokens", "list", "--state", "invalid", "--json"); !strings.Contains(got, token.Token) {
		t.Error("a refusal brought the token back")
	}
}

// A card that its issuer refuses is not stored.
func TestTokens_addRefusedCard(t *testing.T) {
	w := newTokenWorld(t, "verification_currency: EUR")
	session, _ := w.shopperTypes("visa-1.DECLINED")
	says(t, w.refuses("tokens", "add", "--merchant-account", "DemoMC", "--shopper", "shopper-1", "--session", session, "--verify", "ACQUIRER"), "the gateway refused")
	says(t, w.contauth(0, "tokens", "list"), "No tokens.")
}

func TestTokens_replaceDisableForget(t *testing.T) {
	w := newTokenWorld(t, "")
	old, next, other := w.addToken("shopper-1", "visa-1"), w.addToken("shopper-1", "visa-2"), w.addToken("shopper-2", "mastercard-1")
	w.charge("one", old)
	w.charge("two", other)
	w.gatewaySays(old.Token, `{"status": "INVALID"}`)
	w.contauth(0, "tokens", "sync", fmt.Sprint(old.ID))

	said := w.contauth(0, "tokens", "replace", fmt.Sprint(old.ID), next.Token, "--reason", "new card")
	says(t, said, fmt.Sprintf("Token %d", next.ID), "1 charge of token", "1 charge is due again")
	if got := w.stateOf("one"); got != "due released" {
		t.Errorf("the charge is %s", got)
	}
	says(t, w.contauth(0, "tokens", "disable", fmt.Sprint(old.ID), "--reason", "replaced"), "disabled here and removed at the gateway")
	says(t, w.contauth(0, "tokens", "disable", fmt.Sprint(other.ID), "--reason", "withdrew"), "1 charge is held")
	if got := w.stateOf("two"); got != "held token_invalid" {
		t.Errorf("the charge is %s", got)
	}

	says(t, w.contauth(0, "tokens", "forget-shopper", "shopper-1", "--reason", "asked to"), "2 tokens removed")
	if got := w.stateOf("one"); !strings.HasPrefix(got, "cancelled") {
		t.Errorf("the charge is %s", got)
	}
	if listed := w.contauth(0, "tokens", "list", "--json"); strings.Contains(listed, "shopper-1") || !strings.Contains(listed, "erased-") {
		t.Errorf("the shopper is still there:\n%s", listed)
	}
	says(t, w.refuses("tokens", "forget-shopper", "shopper-1", "--reason", "again"), "SHOPPER")
}
