package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The part of the story that is about tokens: a second gateway, whose account
// updater finds that some cards are dead.
const (
	demoCardsAccount  = "DemoMC"
	demoCardsMerchant = "TESTDEMO" // what the gateway calls it
	demoCardsPath     = "/mastercard/api/nvp/version/100"
	demoCardsDay      = "2027-04-30"
	demoCards         = "cards.csv"
	demoPassword      = "api-password"
	demoCardCount     = 12
	demoDeadCards     = 3
)

// cardsBook is a book of subscriptions at the second gateway, all due on one day.
func cardsBook() [][]string {
	var rows [][]string
	for i := range demoCardCount {
		rows = append(rows, []string{
			demoReference("card", i), demoCardsAccount, demoReference("cardholder", i), demoCardToken(i), "",
			strconv.Itoa(990 + 100*i), "EUR", "month", "1", demoCardsDay + "T09:00", "Europe/Berlin", "", "", "At a second gateway",
		})
	}
	return rows
}

// demoCardToken has a letter in its middle, so that nothing takes it for a card
// number.
func demoCardToken(i int) string { return fmt.Sprintf("MC%06dY%07d", i+1, (i+1)*7919%10_000_000) }

func (d *demo) tellCards(ctx context.Context) error {
	d.headline("Another gateway, and cards that die",
		"%d subscriptions are charged at %s, an account at the Mastercard Gateway. Its account\n"+
			"   updater finds %d of their cards dead. contauth asks before money is due.", demoCardCount, demoCardsAccount, demoDeadCards)
	if err := d.contauth(ctx, exitDone, "import", "subscriptions", demoCards); err != nil {
		return err
	}
	if err := d.contauth(ctx, exitDone, "clock", "set", demoCardsDay+"T06:00:00Z"); err != nil {
		return err
	}
	for i := range demoDeadCards {
		at := d.gateway + "/sandbox/tokens/" + demoCardToken(i)
		d.typed(`curl -X POST %s -d '{"status": "INVALID"}'`, at)
		if _, err := d.post(ctx, http.MethodPost, at, "application/json", `{"status": "INVALID"}`); err != nil {
			return err
		}
	}
	if err := d.contauth(ctx, exitDone, "tokens", "sync", "--merchant-account", demoCardsAccount); err != nil {
		return err
	}
	d.say("\nNothing is sent with an invalid token: its charges are held.")
	if err := d.runCards(ctx); err != nil {
		return err
	}
	if err := d.contauth(ctx, exitDone, "charges", "list", "--state", "held", "--merchant-account", demoCardsAccount); err != nil {
		return err
	}
	if err := d.requireCards(ctx, "held", demoDeadCards); err != nil {
		return err
	}
	d.say("\nTheir shoppers enter other cards, on a page of the gateway's. contauth sees a session\nand never a card number.")
	for i := range demoDeadCards {
		if err := d.reactivate(ctx, i); err != nil {
			return err
		}
	}
	if err := d.runCards(ctx); err != nil {
		return err
	}
	if err := d.contauth(ctx, exitDone, "tokens", "show", demoCardToken(0)); err != nil {
		return err
	}
	if err := d.requireCards(ctx, "paid", demoCardCount); err != nil {
		return err
	}
	d.say("\n%s: %d of %d paid at %s, %d of them with a card that was dead in the morning.",
		demoCardsDay, demoCardCount, demoCardCount, demoCardsAccount, demoDeadCards)
	return nil
}

// runCards charges what is due at the second gateway.
func (d *demo) runCards(ctx context.Context) error {
	return d.contauth(ctx, exitDone, "run", "start", "--as-of", demoCardsDay, "--merchant-account", demoCardsAccount, "--yes")
}

// reactivate lets the shopper of a dead card enter another, and brings its token back.
func (d *demo) reactivate(ctx context.Context, i int) error {
	const password = "any-password-is-good-at-the-sandbox"
	form := url.Values{
		"apiOperation": {"CREATE_SESSION"}, "merchant": {demoCardsMerchant},
		"apiUsername": {"merchant." + demoCardsMerchant}, "apiPassword": {password},
	}
	answer, err := d.post(ctx, http.MethodPost, d.gateway+demoCardsPath, "application/x-www-form-urlencoded", form.Encode())
	if err != nil {
		return err
	}
	opened, err := url.ParseQuery(answer)
	if err != nil || opened.Get("session.id") == "" {
		return fmt.Errorf("the gateway opened no session: result %q", opened.Get("result"))
	}
	session := opened.Get("session.id")
	at := d.gateway + "/sandbox/sessions/" + session
	body := fmt.Sprintf(`{"card": "mastercard-%d"}`, i+1)
	d.typed(`curl -X PUT %s -d '%s'`, at, body)
	if _, err := d.post(ctx, http.MethodPut, at, "application/json", body); err != nil {
		return err
	}
	return d.contauth(ctx, exitDone, "tokens", "reactivate", demoCardToken(i), "--session", session,
		"--verify", "ACQUIRER", "--currency", "EUR", "--reason", "the shopper entered another card")
}

// requireCards returns an error unless so many charges at the second gateway are in
// a state.
func (d *demo) requireCards(ctx context.Context, state string, want int) error {
	charges, err := d.charges(ctx, "--merchant-account", demoCardsAccount, "--state", state)
	if err != nil {
		return err
	}
	if len(charges) != want {
		return fmt.Errorf("%d charges at %s are %s, and not %d", len(charges), demoCardsAccount, state, want)
	}
	return nil
}

// post asks the sandbox for something and returns its answer.
func (d *demo) post(ctx context.Context, method, at, kind, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := ledgerClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("the sandbox refused: %s: %s", resp.Status, strings.TrimSpace(string(answer)))
	}
	return string(answer), nil
}
