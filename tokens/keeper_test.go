package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/tokens"
)

// A fakeStore keeps one token, number 7, and what happens to it.
type fakeStore struct {
	record  tokens.Record
	changes []tokens.Change
	added   []tokens.Token
	counted int   // verifications
	err     error // of every write
	log     *[]string
}

func (s *fakeStore) ReadToken(_ context.Context, id tokens.ID) (tokens.Record, error) {
	if id != s.record.ID {
		return tokens.Record{}, errors.New("no such token here")
	}
	return s.record, nil
}

func (s *fakeStore) TokenNamed(_ context.Context, account, reference string) (tokens.Token, bool, error) {
	known := s.record.Token
	return known, known.MerchantAccount == account && known.Reference == reference, nil
}

func (s *fakeStore) AddToken(_ context.Context, token tokens.Token, change tokens.Change) (tokens.Applied, error) {
	if s.err != nil {
		return tokens.Applied{}, s.err
	}
	s.added, s.changes = append(s.added, token), append(s.changes, change)
	return tokens.Applied{Token: token}, nil
}

func (s *fakeStore) ApplyChange(_ context.Context, _ tokens.ID, change tokens.Change) (tokens.Applied, error) {
	if s.err != nil {
		return tokens.Applied{}, s.err
	}
	*s.log = append(*s.log, "store "+string(change.Kind))
	s.changes = append(s.changes, change)
	if change.State != "" {
		s.record.State = change.State
	}
	return tokens.Applied{Token: s.record.Token}, nil
}

func (s *fakeStore) CountVerification(context.Context, tokens.ID) (int, error) {
	s.counted++
	return s.counted, nil
}

// A fakeVault answers what it was told to, and notes what it was asked.
type fakeVault struct {
	reading  tokens.Reading
	seen     tokens.Verification
	saved    tokens.Saved
	session  tokens.Session
	err      error // of whatever is asked
	log      *[]string
	saves    []tokens.SaveRequest
	verifies []tokens.VerifyRequest
	sessions []tokens.SessionRequest
	refs     []tokens.Ref
}

func (v *fakeVault) note(what string) { *v.log = append(*v.log, what) }

func (v *fakeVault) Read(_ context.Context, ref tokens.Ref) (tokens.Reading, error) {
	v.note("read")
	v.refs = append(v.refs, ref)
	return v.reading, v.err
}

func (v *fakeVault) Verify(_ context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	v.note("verify")
	v.verifies = append(v.verifies, req)
	return v.seen, v.err
}

func (v *fakeVault) Save(_ context.Context, req tokens.SaveRequest) (tokens.Saved, error) {
	v.note("save")
	v.saves = append(v.saves, req)
	return v.saved, v.err
}

func (v *fakeVault) OpenSession(_ context.Context, req tokens.SessionRequest) (tokens.Session, error) {
	v.note("open session")
	v.sessions = append(v.sessions, req)
	return v.session, v.err
}

func (v *fakeVault) Delete(_ context.Context, ref tokens.Ref) error {
	v.note("delete")
	v.refs = append(v.refs, ref)
	return v.err
}

// A counter is a keeper with one token at one account, and what it asked of whom.
type counter struct {
	*tokens.Keeper
	store *fakeStore
	vault *fakeVault
	log   []string
}

var since = time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)

func newCounter(state tokens.State) *counter {
	c := &counter{}
	c.store = &fakeStore{log: &c.log, record: tokens.Record{
		Token: tokens.Token{
			ID: 7, MerchantAccount: "DemoMC", ShopperReference: "shopper-1", Reference: "9000000000000007", PaymentMethod: "scheme",
			State: state, StateSince: since,
		},
		Details:   tokens.Details{Brand: "MASTERCARD", LastFour: "0007", Expiry: tokens.Expiry{Year: 2027, Month: time.March}},
		ReturnURL: "https://example.invalid/",
	}}
	c.vault = &fakeVault{log: &c.log, reading: tokens.Reading{Status: tokens.StatusValid, Details: c.store.record.Details}}
	c.Keeper = tokens.NewKeeper(c.store, map[string]tokens.Account{"DemoMC": {
		Vault: c.vault, Currency: "EUR", Release: tokens.ReleaseNextRun,
		Key: func(reference string, number int) string { return fmt.Sprintf("key of %s, %d", reference, number) },
	}})
	return c
}

// saved is what a gateway answers that stored a card under a token.
func saved(token string, status tokens.Status, seen tokens.Verification) tokens.Saved {
	return tokens.Saved{Token: token, Verification: seen, Reading: tokens.Reading{
		Status: status, Details: tokens.Details{LastFour: "4242", Expiry: tokens.Expiry{Year: 2031, Month: time.May}},
	}}
}

var (
	passed   = tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: tokens.VerificationPassed, Code: "EXTERNAL_VERIFICATION_SUCCESSFUL"}
	basic    = tokens.Verification{Strategy: tokens.StrategyBasic, Result: tokens.VerificationPassedBasic, Code: "BASIC_VERIFICATION_SUCCESSFUL"}
	none     = tokens.Verification{Strategy: tokens.StrategyNone, Result: tokens.VerificationNone, Code: "NO_VERIFICATION_PERFORMED"}
	declined = tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: tokens.VerificationDeclined, Code: "EXTERNAL_VERIFICATION_DECLINED"}
)

// wantKinds checks what was written down, in order.
func (c *counter) wantKinds(t *testing.T, want ...tokens.EventKind) {
	t.Helper()
	var got []tokens.EventKind
	for _, change := range c.store.changes {
		got = append(got, change.Kind)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("written down (-want +got):\n%s", diff)
	}
}

// wantAsked checks what was asked of the gateway, and stored, in order.
func (c *counter) wantAsked(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.log); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestKeeper_Add(t *testing.T) {
	unanswered := fmt.Errorf("save: %w", tokens.ErrUnanswered)
	tests := []struct {
		name  string
		saved tokens.Saved
		fault error
		state tokens.State // stored with; "" for nothing stored
	}{
		{"the issuer said yes", saved("NEW", tokens.StatusValid, passed), nil, tokens.Valid},
		{"only the number was looked at", saved("NEW", tokens.StatusValid, basic), nil, tokens.Unverified},
		{"nothing was verified, as was asked", saved("NEW", tokens.StatusValid, none), nil, tokens.Unverified},
		{"the gateway has no word for valid", saved("NEW", tokens.StatusUntold, passed), nil, tokens.Valid},
		{"the issuer said no", saved("NEW", tokens.StatusValid, declined), nil, ""},
		{"less was verified than asked for", saved("NEW", tokens.StatusValid, tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: tokens.VerificationPassedBasic}), nil, ""},
		{"the gateway will not charge it", saved("NEW", tokens.StatusInvalid, passed), nil, ""},
		{"the session has expired", tokens.Saved{}, &tokens.RefusedError{Refusal: tokens.RefusedSessionExpired, Text: "the session is over"}, ""},
		{"no answer", tokens.Saved{}, unanswered, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tokens.Valid)
			c.vault.saved, c.vault.err = tt.saved, tt.fault
			applied, seen, err := c.Add(t.Context(), "DemoMC", "shopper-2", "", tokens.Order{
				Actor: "mia", SessionID: "SESSION1", Version: "0123456789", Strategy: tokens.StrategyAcquirer,
			})
			want := tokens.SaveRequest{SessionID: "SESSION1", SessionVersion: "0123456789", Strategy: tokens.StrategyAcquirer, Currency: "EUR"}
			if diff := cmp.Diff([]tokens.SaveRequest{want}, c.vault.saves); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if tt.state == "" {
				var refused *tokens.RefusedError
				if !errors.Is(err, tokens.ErrUnanswered) && !errors.As(err, &refused) || tt.fault != nil && !errors.Is(err, tt.fault) {
					t.Errorf("error %v", err)
				}
				if len(c.store.added) > 0 {
					t.Errorf("stored %+v all the same", c.store.changes)
				}
				return
			}
			if err != nil || seen != tt.saved.Verification {
				t.Fatalf("got %+v, error %v", seen, err)
			}
			if applied.Token.Reference != "NEW" || applied.Token.State != tt.state || applied.Token.ShopperReference != "shopper-2" ||
				applied.Token.PaymentMethod != tokens.DefaultPaymentMethod {
				t.Errorf("stored %#v, which is %s", applied.Token, applied.Token.State)
			}
			c.wantKinds(t, tokens.EventCreated)
			if change := c.store.changes[0]; change.Details.LastFour != "4242" || *change.Verification != tt.saved.Verification || change.Actor != "mia" {
				t.Errorf("it begins with %+v", change)
			}
		})
	}
}

// What cannot be right is refused in one line that names the field, before anything
// is sent.
func TestKeeper_Add_sendsNothing(t *testing.T) {
	tests := []struct {
		name                     string
		account, shopper, token  string
		strategy                 tokens.Strategy
		currency                 string // of the account
		field                    string
		mayNotBeTold, mustBeTold string
	}{
		{"a shopper of two characters", "DemoMC", "ab", "", tokens.StrategyBasic, "EUR", "shopper reference", "", ""},
		{"a shopper's e-mail address", "DemoMC", "a@b.example", "", tokens.StrategyBasic, "EUR", "shopper reference", "a@b", ""},
		{"an account that is not configured", "Other", "shopper-2", "", tokens.StrategyBasic, "EUR", "merchant account", "", "Other"},
		{"ACQUIRER without a currency", "DemoMC", "shopper-2", "", tokens.StrategyAcquirer, "", "currency", "", "--currency"},
		{"a name that no token can have", "DemoMC", "shopper-2", "a/b", tokens.StrategyBasic, "EUR", "token", "a/b", ""},
		{"another shopper's token", "DemoMC", "shopper-2", "9000000000000007", tokens.StrategyBasic, "EUR", "token", "9000000000000007", "another shopper"},
		{"a token that is there already", "DemoMC", "shopper-1", "9000000000000007", tokens.StrategyBasic, "EUR", "token", "9000000000000007", "token 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tokens.Valid)
			c.vault.saved = saved(tt.token, tokens.StatusValid, basic)
			c.Keeper = tokens.NewKeeper(c.store, map[string]tokens.Account{"DemoMC": {Vault: c.vault, Currency: tt.currency}})
			_, _, err := c.Add(t.Context(), tt.account, tt.shopper, tt.token, tokens.Order{Actor: "mia", SessionID: "S", Strategy: tt.strategy})
			if !errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), tt.field) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %v, want one line about the %s", err, tt.field)
			}
			if tt.mayNotBeTold != "" && strings.Contains(err.Error(), tt.mayNotBeTold) || !strings.Contains(err.Error(), tt.mustBeTold) {
				t.Errorf("error %v", err)
			}
			c.wantAsked(t)
			c.wantKinds(t)
		})
	}
}

func TestKeeper_Reactivate_withASession(t *testing.T) {
	tests := []struct {
		name  string
		saved tokens.Saved
		fault error
		back  bool
		told  string // in the error
	}{
		{"the issuer said yes", saved("9000000000000007", tokens.StatusValid, passed), nil, true, ""},
		{"the number was looked at, as asked", saved("9000000000000007", tokens.StatusValid, basic), nil, true, ""},
		{"the issuer said no", saved("9000000000000007", tokens.StatusValid, declined), nil, false, "declined by its issuer"},
		{"the gateway keeps it as INVALID", saved("9000000000000007", tokens.StatusInvalid, passed), nil, false, "INVALID"},
		{"the number may not change", tokens.Saved{}, &tokens.RefusedError{Refusal: tokens.RefusedNumberKept, Text: "a token keeps its number"}, false, "keeps its number"},
		{"the session has another version", tokens.Saved{}, &tokens.RefusedError{Refusal: tokens.RefusedSessionChanged, Field: "session.version", Text: "has changed"}, false, "session.version"},
		{"no answer", tokens.Saved{}, fmt.Errorf("save: %w", tokens.ErrUnanswered), false, "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tokens.Invalid)
			c.vault.saved, c.vault.err = tt.saved, tt.fault
			applied, _, err := c.Reactivate(t.Context(), 7, tokens.Order{Actor: "mia", Why: "new card", SessionID: "SESSION1", Strategy: tokens.StrategyAcquirer})
			want := tokens.SaveRequest{Token: "9000000000000007", SessionID: "SESSION1", Strategy: tokens.StrategyAcquirer, Currency: "EUR"}
			if diff := cmp.Diff([]tokens.SaveRequest{want}, c.vault.saves); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if !tt.back {
				if err == nil || !strings.Contains(err.Error(), tt.told) || c.store.record.State != tokens.Invalid {
					t.Errorf("error %v, the token is %s", err, c.store.record.State)
				}
				if tt.fault != nil {
					c.wantKinds(t)
					return
				}
				c.wantKinds(t, tokens.EventVerified)
				if change := c.store.changes[0]; change.State != "" || change.Source != tokens.SourceSession || change.Details != nil || *change.Verification != tt.saved.Verification {
					t.Errorf("noted as %+v", change)
				}
				return
			}
			if err != nil || applied.Token.State != tokens.Valid {
				t.Fatalf("error %v, the token is %s", err, applied.Token.State)
			}
			c.wantKinds(t, tokens.EventReactivated)
			change := c.store.changes[0]
			if change.Release != tokens.ReleaseNextRun || change.Source != tokens.SourceSession || change.Actor != "mia" || change.Why != "new card" ||
				change.Details.LastFour != "4242" || !strings.Contains(change.Detail, "another card: …4242, expires 2031-05") {
				t.Errorf("reactivated by %+v", change)
			}
		})
	}
}

// Without a session the gateway has the new details already, and the issuer is asked.
func TestKeeper_Reactivate_withoutASession(t *testing.T) {
	tests := []struct {
		name   string
		status tokens.Status
		seen   tokens.Verification
		asked  []string
		kind   tokens.EventKind
		back   bool
	}{
		{"the issuer said yes", tokens.StatusValid, passed, []string{"read", "verify", "store reactivated"}, tokens.EventReactivated, true},
		{"the gateway has no word for valid", tokens.StatusUntold, passed, []string{"read", "verify", "store reactivated"}, tokens.EventReactivated, true},
		{"the issuer said no", tokens.StatusValid, declined, []string{"read", "verify", "store verified"}, tokens.EventVerified, false},
		{"only the number looks right", tokens.StatusValid, basic, []string{"read", "verify", "store verified"}, tokens.EventVerified, false},
		{"the gateway keeps it as INVALID: nobody is asked", tokens.StatusInvalid, passed, []string{"read", "store read"}, tokens.EventRead, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tokens.Invalid)
			c.vault.reading.Status, c.vault.seen = tt.status, tt.seen
			_, _, err := c.Reactivate(t.Context(), 7, tokens.Order{Actor: "mia", Strategy: tokens.StrategyAcquirer})
			if (err == nil) != tt.back || (c.store.record.State == tokens.Valid) != tt.back {
				t.Errorf("error %v, the token is %s", err, c.store.record.State)
			}
			c.wantAsked(t, tt.asked...)
			c.wantKinds(t, tt.kind)
			if change := c.store.changes[0]; change.Source != tokens.SourceVerify {
				t.Errorf("the source is %s: there was no session", change.Source)
			}
			for _, req := range c.vault.verifies {
				if req.Strategy != tokens.StrategyAcquirer || req.Number != 1 || req.Key != "key of 9000000000000007, 1" || req.Currency != "EUR" || req.ReturnURL == "" {
					t.Errorf("asked %+v", req)
				}
			}
		})
	}
}

func TestKeeper_Reactivate_onlyAnInvalidToken(t *testing.T) {
	for _, state := range []tokens.State{tokens.Unverified, tokens.Valid, tokens.Disabled} {
		t.Run(string(state), func(t *testing.T) {
			c := newCounter(state)
			_, _, err := c.Reactivate(t.Context(), 7, tokens.Order{Actor: "mia", SessionID: "S", Strategy: tokens.StrategyBasic})
			if !errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), string(state)) {
				t.Errorf("error %v, want what the token is", err)
			}
			c.wantAsked(t)
		})
	}
}

func TestKeeper_Verify(t *testing.T) {
	with := func(result tokens.VerificationResult, code string) tokens.Verification {
		return tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: result, Code: code}
	}
	tests := []struct {
		name        string
		state, next tokens.State
		seen        tokens.Verification
		kind        tokens.EventKind
		cause       string
	}{
		{"an unverified token is confirmed", tokens.Unverified, tokens.Valid, passed, tokens.EventVerified, ""},
		{"a valid one stays so", tokens.Valid, tokens.Valid, passed, tokens.EventVerified, ""},
		{"a decline leaves it", tokens.Valid, tokens.Valid, declined, tokens.EventVerified, ""},
		{"an expired card ends it", tokens.Valid, tokens.Invalid, with(tokens.VerificationExpired, "EXPIRED"), tokens.EventInvalid, "verification EXPIRED"},
		{"a dead card ends it", tokens.Unverified, tokens.Invalid, with(tokens.VerificationDead, "41"), tokens.EventInvalid, "verification 41"},
		{"an invalid one is not brought back", tokens.Invalid, tokens.Invalid, passed, tokens.EventVerified, ""},
		{"nor a disabled one", tokens.Disabled, tokens.Disabled, passed, tokens.EventVerified, ""},
		{"nothing follows from what nobody understands", tokens.Valid, tokens.Valid, with(tokens.VerificationNotUnderstood, "?"), tokens.EventVerified, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tt.state)
			c.vault.seen = tt.seen
			applied, seen, err := c.Verify(t.Context(), 7, tokens.Order{Actor: "mia", Strategy: tokens.StrategyAcquirer, Currency: "USD"})
			if err != nil || seen != tt.seen || applied.Token.State != tt.next {
				t.Fatalf("got %+v, error %v, the token is %s; want %s", seen, err, applied.Token.State, tt.next)
			}
			c.wantKinds(t, tt.kind)
			change := c.store.changes[0]
			if change.Cause != tt.cause || *change.Verification != tt.seen || change.Source != tokens.SourceVerify {
				t.Errorf("written down: %+v", change)
			}
			if tt.state == tt.next && change.State != "" {
				t.Errorf("it writes the state %s, which may be another by now", change.State)
			}
			if req := c.vault.verifies[0]; req.Currency != "USD" || req.Number != 1 || req.Token != "9000000000000007" || req.ShopperReference != "shopper-1" {
				t.Errorf("asked %#v", req)
			}
		})
	}
}

func TestKeeper_Verify_numbers(t *testing.T) {
	c := newCounter(tokens.Valid)
	c.vault.err = tokens.ErrUnanswered
	order := tokens.Order{Actor: "mia", Strategy: tokens.StrategyBasic}
	if _, _, err := c.Verify(t.Context(), 7, order); !errors.Is(err, tokens.ErrUnanswered) {
		t.Errorf("error %v", err)
	}
	c.wantKinds(t) // nobody knows what became of it
	c.vault.err, c.vault.seen = nil, basic
	if _, _, err := c.Verify(t.Context(), 7, order); err != nil {
		t.Fatal(err)
	}
	order.Strategy = tokens.StrategyNone
	if _, seen, err := c.Verify(t.Context(), 7, order); err != nil || seen.Result != tokens.VerificationNone {
		t.Errorf("NONE: %+v, %v", seen, err)
	}
	if got := []int{c.vault.verifies[0].Number, c.vault.verifies[1].Number, len(c.vault.verifies)}; !slices.Equal(got, []int{1, 2, 2}) {
		t.Errorf("the numbers of two verifications, and how many were asked for: %v", got)
	}
}

func TestKeeper_Refresh(t *testing.T) {
	card := func(change func(*tokens.Details)) tokens.Details {
		d := newCounter(tokens.Valid).store.record.Details
		if change != nil {
			change(&d)
		}
		return d
	}
	updated := func(by bool, at time.Time) tokens.Details {
		return card(func(d *tokens.Details) {
			d.Expiry.Year, d.ChangedByGateway, d.ChangedAt = 2030, by, at
		})
	}
	tests := []struct {
		name        string
		state, next tokens.State
		reading     tokens.Reading
		kind        tokens.EventKind // "" for nothing written
		detail      string
	}{
		{"nothing new", tokens.Valid, tokens.Valid, tokens.Reading{Status: tokens.StatusValid, Details: card(nil)}, "", ""},
		{"nothing new of an invalid one", tokens.Invalid, tokens.Invalid, tokens.Reading{Status: tokens.StatusInvalid, Details: card(nil)}, "", ""},
		{"a later expiry", tokens.Valid, tokens.Valid, tokens.Reading{Status: tokens.StatusValid, Details: updated(true, since)}, tokens.EventRead, "expires 2030-03, not 2027-03"},
		{"another number", tokens.Valid, tokens.Valid, tokens.Reading{Status: tokens.StatusValid, Details: card(func(d *tokens.Details) { d.LastFour = "9999" })}, tokens.EventRead, "another number: …9999"},
		{"INVALID", tokens.Valid, tokens.Invalid, tokens.Reading{Status: tokens.StatusInvalid, Details: card(nil)}, tokens.EventInvalid, ""},
		{"INVALID before it was ever charged", tokens.Unverified, tokens.Invalid, tokens.Reading{Status: tokens.StatusInvalid, Details: card(nil)}, tokens.EventInvalid, ""},
		{"a gateway without such a word", tokens.Valid, tokens.Valid, tokens.Reading{Status: tokens.StatusUntold, Details: card(nil)}, "", ""},
		{"renewed by the updater after it died", tokens.Invalid, tokens.Valid, tokens.Reading{Status: tokens.StatusValid, Details: updated(true, since.Add(time.Hour))}, tokens.EventReactivated, "renewed by the account updater"},
		{"changed by the updater before it died", tokens.Invalid, tokens.Invalid, tokens.Reading{Status: tokens.StatusValid, Details: updated(true, since.Add(-time.Hour))}, tokens.EventRead, "expires 2030-03, not 2027-03"},
		{"changed by somebody else after it died", tokens.Invalid, tokens.Invalid, tokens.Reading{Status: tokens.StatusValid, Details: updated(false, since.Add(time.Hour))}, tokens.EventRead, "expires 2030-03, not 2027-03"},
		{"valid again, and nobody says why", tokens.Invalid, tokens.Invalid, tokens.Reading{Status: tokens.StatusValid, Details: card(nil)}, "", ""},
		{"a disabled one stays so", tokens.Disabled, tokens.Disabled, tokens.Reading{Status: tokens.StatusValid, Details: updated(true, since.Add(time.Hour))}, tokens.EventRead, "expires 2030-03, not 2027-03"},
		{"a disabled one does not become invalid", tokens.Disabled, tokens.Disabled, tokens.Reading{Status: tokens.StatusInvalid, Details: card(nil)}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tt.state)
			c.vault.reading = tt.reading
			applied, changed, err := c.Refresh(t.Context(), 7)
			if err != nil || changed != (tt.kind != "") || applied.Token.State != tt.next {
				t.Fatalf("changed %t, error %v, the token is %s; want %s", changed, err, applied.Token.State, tt.next)
			}
			if tt.kind == "" {
				c.wantKinds(t)
				return
			}
			c.wantKinds(t, tt.kind)
			change := c.store.changes[0]
			if change.Detail != tt.detail || change.Source != tokens.SourcePoll || *change.Details != tt.reading.Details {
				t.Errorf("written down: %+v", change)
			}
			if tt.kind == tokens.EventInvalid && !strings.Contains(change.Cause, "INVALID") {
				t.Errorf("the cause is %q", change.Cause)
			}
			if tt.kind == tokens.EventReactivated && change.Release != tokens.ReleaseNextRun {
				t.Errorf("its charges are released %q, want as the account has it", change.Release)
			}
		})
	}
}

// A gateway that does not know a token, or does not answer, says nothing about it.
func TestKeeper_Refresh_withoutAReading(t *testing.T) {
	for _, fault := range []error{tokens.ErrNotFound, tokens.ErrUnanswered, tokens.ErrUnsupported} {
		t.Run(fault.Error(), func(t *testing.T) {
			c := newCounter(tokens.Valid)
			c.vault.err = fault
			applied, changed, err := c.Refresh(t.Context(), 7)
			if changed || !errors.Is(err, fault) || applied.Token.State != tokens.Valid {
				t.Errorf("changed %t, error %v, the token is %s", changed, err, applied.Token.State)
			}
			c.wantKinds(t)
		})
	}
}

func TestKeeper_Disable(t *testing.T) {
	full := errors.New("disk full")
	tests := []struct {
		name  string
		state tokens.State
		fault error // of the gateway
		store error
		asked []string
		told  string // in the error; "" for none
	}{
		{"first here, then at the gateway", tokens.Valid, nil, nil, []string{"store disabled", "delete"}, ""},
		{"an invalid one", tokens.Invalid, nil, nil, []string{"store disabled", "delete"}, ""},
		{"the gateway does not know it any more", tokens.Valid, fmt.Errorf("delete: %w", tokens.ErrNotFound), nil, []string{"store disabled", "delete"}, ""},
		{"the gateway does not answer", tokens.Valid, tokens.ErrUnanswered, nil, []string{"store disabled", "delete"}, "switched off here, and perhaps not removed at the gateway"},
		{"once more, after that", tokens.Disabled, nil, nil, []string{"delete"}, ""},
		{"not here, so not there either", tokens.Valid, nil, full, nil, "disk full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounter(tt.state)
			c.vault.err, c.store.err = tt.fault, tt.store
			applied, err := c.Disable(t.Context(), 7, tokens.Order{Actor: "mia", Why: "the shopper asked"})
			if (err == nil) != (tt.told == "") || err != nil && !strings.Contains(err.Error(), tt.told) {
				t.Errorf("error %v, want %q", err, tt.told)
			}
			c.wantAsked(t, tt.asked...)
			if tt.store != nil {
				return
			}
			if c.store.record.State != tokens.Disabled || applied.Token.State != tokens.Disabled {
				t.Errorf("the token is %s, told as %s", c.store.record.State, applied.Token.State)
			}
			if ref := c.vault.refs[0]; ref.Token != "9000000000000007" || ref.ShopperReference != "shopper-1" {
				t.Errorf("removed another token: %q of %q", ref.Token, ref.ShopperReference)
			}
			for _, change := range c.store.changes {
				if change.Cause != "the shopper asked" || change.Why != "the shopper asked" || change.Source != tokens.SourcePerson || change.Actor != "mia" {
					t.Errorf("written down: %+v", change)
				}
			}
		})
	}
}

func TestKeeper_OpenSession(t *testing.T) {
	c := newCounter(tokens.Valid)
	c.vault.session = tokens.Session{ID: "CS1"}
	got, err := c.OpenSession(t.Context(), "DemoMC", tokens.SessionRequest{Reference: "card-1", ShopperReference: "shopper-2", Currency: "EUR"})
	if err != nil || got.ID != "CS1" || c.vault.sessions[0].Key != "key of card-1, 1" {
		t.Errorf("got %+v, error %v, asked %+v", got, err, c.vault.sessions)
	}
	for name, bad := range map[string][2]string{
		"a shopper of two characters": {"DemoMC", "ab"}, "an e-mail address": {"DemoMC", "a@b.example"}, "another account": {"Other", "shopper-2"},
	} {
		if _, err := c.OpenSession(t.Context(), bad[0], tokens.SessionRequest{ShopperReference: bad[1]}); !errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c.wantAsked(t, "open session")
}

// A token of an account that left the configuration is asked about nowhere.
func TestKeeper_anotherConfiguration(t *testing.T) {
	c := newCounter(tokens.Valid)
	k := tokens.NewKeeper(c.store, nil)
	calls := map[string]func() error{
		"verify":     func() error { _, _, err := k.Verify(t.Context(), 7, tokens.Order{}); return err },
		"refresh":    func() error { _, _, err := k.Refresh(t.Context(), 7); return err },
		"reactivate": func() error { _, _, err := k.Reactivate(t.Context(), 7, tokens.Order{}); return err },
		"disable":    func() error { _, err := k.Disable(t.Context(), 7, tokens.Order{}); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), "DemoMC") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c.wantAsked(t)
	c.wantKinds(t)
}

// No reference of a token or a shopper reaches a log by way of what a vault is asked.
func TestRef_printsNothing(t *testing.T) {
	ref := tokens.Ref{Token: "8415-gateway-name", ShopperReference: "shopper-314"}
	for _, value := range []any{ref, &ref, tokens.VerifyRequest{Ref: ref}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, "8415") || strings.Contains(got, "314") {
				t.Errorf("%s of %T prints %q", verb, value, got)
			}
		}
	}
}
