package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// session opens one for a shopper, under a reference of ours.
func (d *desk) session(reference, shopper string) {
	d.t.Helper()
	s := postgres.TokenSession{MerchantAccount: "DemoEU", Reference: reference, ShopperReference: shopper, Currency: "EUR", Model: "Subscription", OpenedBy: "mia"}
	if err := d.db.BeginTokenSession(context.Background(), s); err != nil {
		d.t.Fatal(err)
	}
}

// sessionIs returns a session's state and the shopper whose token it brought.
func (d *desk) sessionIs(reference string) string {
	d.t.Helper()
	return get[string](d, `
		SELECT trim(s.state || ' ' || coalesce(t.token || ' of ' || t.shopper_reference, ''))
		  FROM token_sessions s LEFT JOIN tokens t ON t.id = s.token_id WHERE s.reference = $1`, reference)
}

// tokenEvent is one about a stored card, in a delivery of its own.
func (d *desk) tokenEvent(kind billing.EventKind, token, reference, shopper string) billing.Event {
	return billing.Event{Kind: kind, Code: string(kind), MerchantAccount: "DemoEU", GatewayReference: fmt.Sprint("EVENT", d.number()),
		Reference: reference, Token: token, ShopperReference: shopper, Signed: true, Document: []byte(`{}`)}
}

// sessionPayment is the result of what a shopper paid in a session: often nothing.
func (d *desk) sessionPayment(kind billing.EventKind, reference, reason string) billing.Event {
	return billing.Event{Kind: kind, Code: "AUTHORISATION", MerchantAccount: "DemoEU", GatewayReference: fmt.Sprint("PAY", d.number()),
		Reference: reference, Amount: billing.Money{Currency: "EUR"}, Signed: true, Document: []byte(fmt.Sprintf(`{"reason": %q}`, reason))}
}

// inbox returns what became of each event, in the order of their numbers.
func (d *desk) inbox() []string {
	d.t.Helper()
	var rows []string
	if err := d.sql.Select(&rows, `SELECT concat_ws(' ', state, nullif(verdict, ''), nullif(reason, '')) FROM inbox ORDER BY id`); err != nil {
		d.t.Fatal(err)
	}
	return rows
}

func (d *desk) wantInbox(want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.inbox()); diff != "" {
		d.t.Errorf("inbox (-want +got):\n%s", diff)
	}
}

// loseHope lets events that wait have waited for as long as they may.
func (d *desk) loseHope() {
	d.t.Helper()
	d.exec(`UPDATE inbox SET tries = 100 WHERE state = 'waiting'`)
	d.applyWaiting()
}

func TestTokenSessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.session("card-1", "shopper-1")
	d.session("card-2", "shopper-2")
	expires := time.Date(2127, 1, 31, 9, 0, 0, 0, time.UTC)
	if err := d.db.OpenedTokenSession(t.Context(), "DemoEU", "card-1", tokens.Session{ID: "CS1", Data: "secret", Expires: expires}); err != nil {
		t.Fatal(err)
	}
	if err := d.db.OpenedTokenSession(t.Context(), "DemoEU", "card-3", tokens.Session{ID: "CS3"}); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("one that nobody began: error %v", err)
	}
	again := postgres.TokenSession{MerchantAccount: "DemoEU", Reference: "card-1", ShopperReference: "shopper-2", Currency: "EUR", Model: "Subscription", OpenedBy: "mia"}
	if err := d.db.BeginTokenSession(t.Context(), again); err == nil {
		t.Error("two sessions have one reference: a webhook could mean either shopper")
	}
	for shopper, want := range map[string][]string{"": {"card-2", "card-1"}, "shopper-1": {"card-1"}, "nobody": nil} {
		found, err := d.db.FindTokenSessions(t.Context(), shopper, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range found {
			got = append(got, s.Reference)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sessions of %q (-want +got):\n%s", shopper, diff)
		}
	}
	found, err := d.db.FindTokenSessions(t.Context(), "", 1)
	if err != nil || len(found) != 1 || found[0].State != "open" || found[0].TokenID != 0 || found[0].ExpiresAt.Before(time.Now().Add(23*time.Hour)) {
		t.Errorf("found %+v, error %v", found, err)
	}
	found, err = d.db.FindTokenSessions(t.Context(), "shopper-1", 1)
	if err != nil || found[0].GatewaySession != "CS1" || !found[0].ExpiresAt.Equal(expires) {
		t.Errorf("found %+v, error %v", found, err)
	}
	if n := get[int](d, `SELECT count(*) FROM token_sessions s WHERE s::text LIKE '%secret%'`); n > 0 {
		t.Error("the session's data are stored")
	}
}

// A token comes by webhook where its shopper is known for certain, and nowhere else.
func TestApplyEvents_aTokenIsStored(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		before  func(d *desk)
		events  func(d *desk) []billing.Event
		tokens  string // afterwards, but for those of before
		session string // card-1 afterwards
		inbox   []string
	}{
		{
			name: "the shopper of a session", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "")}
			},
			tokens:  "NEW1 of shopper-1 is valid",
			session: "completed NEW1 of shopper-1", inbox: []string{"applied settles"},
		},
		{
			name: "no session, and nobody vouches for a shopper", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "ours-alone", "")}
			},
			session: "open", inbox: []string{"waiting waits"},
		},
		{
			name: "no reference at all", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "")}
			},
			session: "open", inbox: []string{"waiting waits"},
		},
		{
			name: "the session of another account", before: func(d *desk) {
				d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
				        SELECT 'DemoUS', 'adyen', 'test', settings_id, 1 FROM merchant_accounts`)
				d.session("card-1", "shopper-1")
				d.exec(`UPDATE token_sessions SET merchant_account = 'DemoUS'`)
			},
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "")}
			},
			session: "open", inbox: []string{"waiting waits"},
		},
		{
			name: "a shopper whom a signature vouches for",
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "shopper-9")}
			},
			tokens: "NEW1 of shopper-9 is valid", inbox: []string{"applied settles"},
		},
		{
			name: "a session, and the same shopper signed", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "shopper-1")}
			},
			tokens:  "NEW1 of shopper-1 is valid",
			session: "completed NEW1 of shopper-1", inbox: []string{"applied settles"},
		},
		{
			name: "a session, and another shopper signed: nobody pays for another", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "shopper-9")}
			},
			session: "open", inbox: []string{"waiting waits"},
		},
		{
			name: "a shopper's e-mail address",
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "a@b.example")}
			},
			inbox: []string{"waiting waits"},
		},
		{
			name: "a token that is none",
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "a/b", "", "shopper-9")}
			},
			inbox: []string{"waiting waits"},
		},
		{
			name: "told twice, in two ways", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", ""), d.tokenEvent(billing.EventTokenStored, "NEW1", "", "shopper-1")}
			},
			tokens:  "NEW1 of shopper-1 is valid",
			session: "completed NEW1 of shopper-1", inbox: []string{"applied settles", "applied known"},
		},
		{
			name: "told twice, the session's last", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "shopper-1"), d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "")}
			},
			tokens:  "NEW1 of shopper-1 is valid",
			session: "completed NEW1 of shopper-1", inbox: []string{"applied settles", "applied known"},
		},
		{
			name: "one that another shopper has", before: func(d *desk) { d.session("card-1", "shopper-1") },
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "shopper-9"), d.tokenEvent(billing.EventTokenStored, "NEW1", "card-1", "")}
			},
			tokens:  "NEW1 of shopper-9 is valid",
			session: "open", inbox: []string{"applied settles", "applied known"},
		},
		{
			name: "one that died is not brought back", before: func(d *desk) {
				d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference, state, cause) VALUES ('DemoEU', 'NEW1', 'shopper-1', 'invalid', 'test')`)
			},
			events: func(d *desk) []billing.Event {
				return []billing.Event{d.tokenEvent(billing.EventTokenStored, "NEW1", "", "shopper-1")}
			},
			tokens: "NEW1 of shopper-1 is invalid", inbox: []string{"applied known"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			if tt.before != nil {
				tt.before(d)
			}
			for _, e := range tt.events(d) {
				d.deliver(e)
				d.apply()
			}
			d.wantInbox(tt.inbox...)
			const stored = `SELECT coalesce(string_agg(token || ' of ' || shopper_reference || ' is ' || state, ', ' ORDER BY id), '') FROM tokens`
			if got := get[string](d, stored); got != tt.tokens {
				t.Errorf("tokens %q, want %q", got, tt.tokens)
			}
			if tt.session != "" && d.sessionIs("card-1") != tt.session {
				t.Errorf("the session is %q, want %q", d.sessionIs("card-1"), tt.session)
			}
			if strings.HasSuffix(tt.tokens, "is valid") {
				if diff := cmp.Diff([]string{"created valid by webhook"}, d.timeline(1)); diff != "" {
					t.Errorf("timeline (-want +got):\n%s", diff)
				}
			}
			if tt.tokens != "" {
				return
			}
			d.loseHope()
			d.wantInbox("quarantined waits no_such_token")
		})
	}
}

// A session's payment is no charge's, whatever it says and whenever it comes.
func TestApplyEvents_aSessionsPayment(t *testing.T) {
	t.Parallel()
	const stored = "stored"
	tests := []struct {
		name    string
		events  []string
		session string
		inbox   []string
	}{
		{"authorised", []string{"authorised"}, "authorised", []string{"applied settles"}},
		{"refused", []string{"refused"}, "refused", []string{"applied settles"}},
		{"authorised, then the token", []string{"authorised", stored}, "completed NEW1 of shopper-1", []string{"applied settles", "applied settles"}},
		{"the token, then authorised", []string{stored, "authorised"}, "completed NEW1 of shopper-1", []string{"applied settles", "applied known"}},
		{"the token, then refused", []string{stored, "refused"}, "completed NEW1 of shopper-1", []string{"applied settles", "applied known"}},
		{"refused, then another card authorised", []string{"refused", "authorised"}, "authorised", []string{"applied settles", "applied settles"}},
		{"authorised, and a refusal that comes late", []string{"authorised", "refused"}, "authorised", []string{"applied settles", "applied known"}},
		{"refused, and a token all the same", []string{"refused", stored}, "completed NEW1 of shopper-1", []string{"applied settles", "applied settles"}},
	}
	for _, reference := range []string{"card-1", "card~1"} { // as a charge's attempt would be named
		for _, tt := range tests {
			t.Run(tt.name+", "+reference, func(t *testing.T) {
				t.Parallel()
				d := newDesk(t)
				d.session(reference, "shopper-1")
				d.charge()
				d.unknownCharge()
				const money = `SELECT string_agg(c::text, E'\n' ORDER BY id) || (SELECT count(*) FROM observations) || (SELECT count(*) FROM alerts) FROM charges c`
				before := get[string](d, money)
				for _, e := range tt.events {
					if e == stored {
						d.deliver(d.tokenEvent(billing.EventTokenStored, "NEW1", reference, ""))
					} else {
						d.deliver(d.sessionPayment(billing.EventKind(e), reference, "no funds"))
					}
					d.apply()
				}
				d.wantInbox(tt.inbox...)
				if got := d.sessionIs(reference); got != tt.session {
					t.Errorf("the session is %q, want %q", got, tt.session)
				}
				if diff := cmp.Diff(before, get[string](d, money)); diff != "" {
					t.Errorf("charges (-before +after):\n%s", diff)
				}
				if detail := get[string](d, `SELECT detail FROM token_sessions`); strings.HasPrefix(tt.session, "refused") && detail != "no funds" {
					t.Errorf("why it was refused is kept as %q", detail)
				}
				d.requireEventsSound()
			})
		}
	}
}

// A payment that is neither a charge's nor a session's waits for a person.
func TestApplyEvents_nobodysPayment(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.session("card-1", "shopper-1")
	d.deliver(d.sessionPayment(billing.EventAuthorised, "card-2", ""), d.sessionPayment(billing.EventAuthorised, "", ""))
	d.apply()
	d.wantInbox("quarantined no_such_charge", "quarantined no_such_charge")
	if got := d.sessionIs("card-1"); got != "open" {
		t.Errorf("the session is %q", got)
	}
}

// A gateway's words are cut where a character ends: half of one is none that Postgres
// stores, and the event would never be applied.
func TestApplyEvents_aLongRefusal(t *testing.T) {
	t.Parallel()
	for _, shift := range []string{"", "x"} {
		d := newDesk(t)
		d.session("card-1", "shopper-1")
		d.deliver(d.sessionPayment(billing.EventRefused, "card-1", shift+strings.Repeat("ü", 200)))
		d.apply()
		d.wantInbox("applied settles")
		if got := get[string](d, `SELECT detail FROM token_sessions`); !strings.HasPrefix(got, shift+"üü") || len(got) > 300 || len(got) < 299 {
			t.Errorf("kept %d bytes: %q", len(got), got)
		}
	}
}

func TestApplyEvents_aTokenIsUpdated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	token := d.tokenOf(id)
	name := get[string](d, `SELECT token FROM tokens WHERE id = $1`, token)
	d.change(token, tokens.Change{Kind: tokens.EventRead, Source: tokens.SourcePoll, Actor: "gateway", Details: &tokens.Details{LastFour: "4242"}})
	d.deliver(d.tokenEvent(billing.EventTokenUpdated, name, "", ""), d.tokenEvent(billing.EventTokenUpdated, "NOBODYS", "", "shopper-9"))
	d.apply()
	d.wantInbox("applied settles", "waiting waits")
	if got := get[string](d, `SELECT last_four || ' ' || (read_at IS NULL) FROM cards WHERE token_id = $1`, token); got != "4242 true" {
		t.Errorf("card, and whether it is to be read again: %s", got)
	}
	if diff := cmp.Diff([]string{"read unverified by poll", "read unverified by webhook"}, d.timeline(token)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	d.wantStands(map[billing.ChargeID]string{id: "due"})
	if n := get[int](d, `SELECT count(*) FROM tokens`); n != 1 {
		t.Errorf("%d tokens: an update made one", n)
	}
}

func TestApplyEvents_aTokenIsDisabled(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, open := d.charge(), d.chargeIn(billing.ChargeUnknown)
	token := d.tokenOf(id)
	d.give(open, token)
	name := get[string](d, `SELECT token FROM tokens WHERE id = $1`, token)
	d.change(token, died) // it may have died before
	d.deliver(d.tokenEvent(billing.EventTokenDisabled, name, "", ""), d.tokenEvent(billing.EventTokenDisabled, name, "", ""))
	d.apply()
	d.wantInbox("applied settles", "applied known")
	if got := d.tokenIs(token); got != "disabled token_disabled" {
		t.Errorf("the token is %q", got)
	}
	if diff := cmp.Diff([]string{"invalid invalid by webhook", "disabled disabled by webhook"}, d.timeline(token)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	d.wantStands(map[billing.ChargeID]string{id: "held token_invalid", open: "unknown answer_missing"})
	if got := d.wish(open); got != "hold token_invalid" {
		t.Errorf("the open charge's wish is %q", got)
	}
	if _, err := d.db.ApplyChange(t.Context(), token, back(tokens.ReleaseNow)); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("brought back: error %v", err)
	}
	d.requireEventsSound()
}

// A fraud notice ends the card, whatever became of it before, and its timeline says
// who told.
func TestApplyEvents_fraudEndsTheCard(t *testing.T) {
	t.Parallel()
	for was, want := range map[tokens.State][]string{
		tokens.Unverified: {"invalid fraud notice", "invalid invalid by webhook"},
		tokens.Valid:      {"invalid fraud notice", "invalid invalid by webhook"},
		tokens.Invalid:    {"invalid test", "invalid invalid by webhook"},
		tokens.Disabled:   {"disabled test", ""},
	} {
		t.Run(string(was), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			paid := d.chargeIn(billing.ChargePaid)
			token := d.tokenOf(paid)
			d.exec(`UPDATE tokens SET state = $2, cause = 'test' WHERE id = $1`, token, was)
			d.deliver(d.event(billing.EventFraudNotice, paid, 1, "FRAUD1", 1234))
			d.apply()
			d.wantInbox("applied reverses")
			if got := d.tokenIs(token); got != want[0] {
				t.Errorf("the token is %q, want %q", got, want[0])
			}
			if got := strings.Join(d.timeline(token), ", "); got != want[1] {
				t.Errorf("timeline %q, want %q", got, want[1])
			}
		})
	}
}

// Two daemons that are told at once of one token store it once.
func TestTokenRace_aTokenThatIsToldTwice(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for n := range raceRounds {
		name, reference, shopper := fmt.Sprint("NEW", n), fmt.Sprint("card-", n), fmt.Sprint("shopper-", n)
		d.session(reference, shopper)
		d.deliver(d.tokenEvent(billing.EventTokenStored, name, reference, ""), d.tokenEvent(billing.EventTokenStored, name, "", shopper),
			d.sessionPayment(billing.EventAuthorised, reference, ""))
		applies := func(ctx context.Context) error { _, err := d.db.ApplyEvents(ctx, 1); return err }
		d.race(applies, applies, applies, func(ctx context.Context) error {
			_, err := d.db.AddToken(ctx, tokens.Token{MerchantAccount: "DemoEU", Reference: name, ShopperReference: shopper, PaymentMethod: "scheme", State: tokens.Valid},
				tokens.Change{Kind: tokens.EventCreated, Source: tokens.SourceSession, Actor: "mia"})
			return err
		})
		d.apply()
		if got := d.sessionIs(reference); got != "completed "+name+" of "+shopper {
			t.Errorf("the session is %q", got)
		}
		if n := get[int](d, `SELECT count(*) FROM token_events e JOIN tokens t ON t.id = e.token_id WHERE t.token = $1`, name); n != 1 {
			t.Errorf("it was created %d times", n)
		}
	}
	if got := get[string](d, `SELECT string_agg(DISTINCT state || ' ' || tries, ', ') FROM inbox`); got != "applied 1" {
		t.Errorf("events, and their tries: %s", got)
	}
	d.requireEventsSound()
}
