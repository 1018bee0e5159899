package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
)

// died is what a webhook says of a card that is gone.
var died = tokens.Change{Kind: tokens.EventInvalid, State: tokens.Invalid, Cause: "the card was closed", Source: tokens.SourceWebhook, Actor: "gateway"}

// back brings a token back, by a session that mia opened.
func back(release tokens.Release) tokens.Change {
	return tokens.Change{Kind: tokens.EventReactivated, State: tokens.Valid, Source: tokens.SourceSession, Actor: "mia", Why: "a new card", Release: release}
}

// off is a person who switches a token off.
var off = tokens.Change{Kind: tokens.EventDisabled, State: tokens.Disabled, Cause: "the shopper asked", Source: tokens.SourcePerson, Actor: "mia", Why: "the shopper asked"}

func (d *desk) newToken() tokens.ID {
	d.t.Helper()
	return tokens.ID(d.token())
}

// twin stores another token of the same shopper.
func (d *desk) twin(of tokens.ID) tokens.ID {
	d.t.Helper()
	return tokens.ID(get[int64](d, `
		INSERT INTO tokens (merchant_account, token, shopper_reference)
		SELECT merchant_account, $2, shopper_reference FROM tokens WHERE id = $1 RETURNING id`, of, fmt.Sprintf("TWIN%d", d.number())))
}

func (d *desk) tokenOf(id billing.ChargeID) tokens.ID {
	d.t.Helper()
	return get[tokens.ID](d, `SELECT token_id FROM charges WHERE id = $1`, id)
}

// give lets a charge be charged with another token.
func (d *desk) give(id billing.ChargeID, token tokens.ID) billing.ChargeID {
	d.t.Helper()
	d.exec(`UPDATE charges SET token_id = $2 WHERE id = $1`, id, token)
	return id
}

// subscribe stores a subscription of a token, of which no cycle is a charge yet.
func (d *desk) subscribe(token tokens.ID, anchor string) billing.SubscriptionID {
	d.t.Helper()
	id := d.subscription(fmt.Sprintf("sub-%d", d.number()), anchor)
	d.exec(`UPDATE subscriptions SET token_id = $2 WHERE id = $1`, id, token)
	return id
}

// change makes one that must succeed.
func (d *desk) change(id tokens.ID, change tokens.Change) tokens.Applied {
	d.t.Helper()
	applied, err := d.db.ApplyChange(context.Background(), id, change)
	if err != nil {
		d.t.Fatal(err)
	}
	return applied
}

// tokenIs returns a token's state and cause in one line.
func (d *desk) tokenIs(id tokens.ID) string {
	d.t.Helper()
	return get[string](d, `SELECT trim(state || ' ' || cause) FROM tokens WHERE id = $1`, id)
}

// wish returns who wants an open charge stopped, and why; or nothing.
func (d *desk) wish(id billing.ChargeID) string {
	d.t.Helper()
	return get[string](d, `SELECT coalesce(stop_request || ' ' || stop_reason, '') FROM charges WHERE id = $1`, id)
}

// timeline returns what is on record about a token: kind and state of each event.
func (d *desk) timeline(id tokens.ID) []string {
	d.t.Helper()
	var lines []string
	if err := d.sql.Select(&lines, `SELECT kind || ' ' || state || ' by ' || source FROM token_events WHERE token_id = $1 ORDER BY id`, id); err != nil {
		d.t.Fatal(err)
	}
	return lines
}

func (d *desk) wantStands(want map[billing.ChargeID]string) {
	d.t.Helper()
	for id, state := range want {
		if got := d.stands(id); got != state {
			d.t.Errorf("charge %d is %q, want %q", id, got, state)
		}
	}
}

// requireNothingSent checks what may never be: a charge that a claim would take, or
// that a process may send, with a token that cannot be charged.
func (d *desk) requireNothingSent() {
	d.t.Helper()
	const query = `
		SELECT count(*) FROM charges c JOIN tokens t ON t.id = c.token_id
		 WHERE t.state IN ('invalid', 'disabled') AND (c.state = 'due' OR c.state = 'claimed' AND c.stop_request IS NULL)`
	if n := get[int](d, query); n > 0 {
		d.t.Errorf("%d charges could be sent with a dead token", n)
	}
}

// requireNothingForgotten checks that no charge waits for a token that is good.
func (d *desk) requireNothingForgotten() {
	d.t.Helper()
	const query = `
		SELECT count(*) FROM charges c JOIN tokens t ON t.id = c.token_id
		 WHERE t.state IN ('unverified', 'valid')
		   AND (c.state = 'held' AND c.reason = 'token_invalid' OR c.stop_reason = 'token_invalid'
		        OR c.state = 'unknown' AND c.reason = 'token_invalid')`
	if n := get[int](d, query); n > 0 {
		d.t.Errorf("%d charges are kept back for a token that is good", n)
	}
}

// The moves of the domain are those that the database makes.
func TestApplyChange_moves(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	kinds := map[tokens.State]tokens.EventKind{
		tokens.Unverified: tokens.EventRead, tokens.Valid: tokens.EventReactivated, tokens.Invalid: tokens.EventInvalid, tokens.Disabled: tokens.EventDisabled,
	}
	moves := tokens.Moves()
	for from := range kinds {
		for to, kind := range kinds {
			t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) {
				id := d.newToken()
				d.exec(`UPDATE tokens SET state = $2, cause = 'test' WHERE id = $1`, id, from)
				legal := slices.Contains(moves[from], to)
				if from.CanMove(to) != legal {
					t.Errorf("CanMove = %t, Moves says %t", from.CanMove(to), legal)
				}
				applied, err := d.db.ApplyChange(t.Context(), id, tokens.Change{Kind: kind, State: to, Cause: "news", Source: tokens.SourcePoll, Actor: "gateway"})
				state := get[tokens.State](d, `SELECT state FROM tokens WHERE id = $1`, id)
				switch {
				case from == to || legal:
					if err != nil || state != to || applied.Token.State != to {
						t.Errorf("it is %s, told as %s, error %v", state, applied.Token.State, err)
					}
				case !errors.Is(err, billing.ErrConflict) || state != from || len(d.timeline(id)) > 0:
					t.Errorf("it is %s, error %v, timeline %q; want a refusal that leaves no trace", state, err, d.timeline(id))
				}
			})
		}
	}
	if slices.Contains(moves[tokens.Disabled], tokens.Valid) || len(moves[tokens.Disabled]) > 0 {
		t.Error("a token that is gone at its gateway comes back")
	}
}

// A verification takes seconds. If it passes, and the token died meanwhile, that is no
// reactivation.
func TestApplyChange_aVerificationBringsNothingBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	token := d.tokenOf(id)
	d.change(token, died)
	seen := tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: tokens.VerificationPassed, Code: "EXTERNAL_VERIFICATION_SUCCESSFUL"}
	applied := d.change(token, tokens.Change{Kind: tokens.EventVerified, State: tokens.Valid, Source: tokens.SourceVerify, Actor: "mia", Verification: &seen})
	if applied.Token.State != tokens.Invalid || applied.Released != 0 || d.tokenIs(token) != "invalid the card was closed" {
		t.Errorf("the token is %s, %d released", d.tokenIs(token), applied.Released)
	}
	if got := get[string](d, `SELECT verification_result FROM cards WHERE token_id = $1`, token); got != "passed" {
		t.Errorf("the verification is not kept: %q", got)
	}
	d.wantStands(map[billing.ChargeID]string{id: "held token_invalid"})
	d.requireEventsSound()
}

// The news that a token is dead and what follows for its charges, of every
// subscription and of none, are one.
func TestApplyChange_holdsAllChargesOfTheToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change tokens.Change
		token  string
		event  string
		audits int
	}{
		{"it died", died, "invalid the card was closed", "invalid invalid by webhook", 0},
		{"a person switched it off", off, "disabled the shopper asked", "disabled disabled by person", 1},
		{"a verification said so, that a person asked for",
			tokens.Change{Kind: tokens.EventInvalid, State: tokens.Invalid, Cause: "expired", Source: tokens.SourceVerify, Actor: "mia", Why: "before the run"},
			"invalid expired", "invalid invalid by verification", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			token := d.newToken()
			first, second := d.subscribe(token, "2027-01-31T09:00"), d.subscribe(token, "2027-01-31T09:00")
			of := func(state billing.ChargeState) billing.ChargeID { return d.give(d.chargeIn(state), token) }
			want := map[billing.ChargeID]string{}
			put := func(state string, id billing.ChargeID) billing.ChargeID { want[id] = state; return id }
			put("held token_invalid", d.chargeOf(first))
			put("held token_invalid", d.chargeOf(second))
			put("held token_invalid", of(billing.ChargeDue))
			put("held held_by_person", of(billing.ChargeHeld))
			put("unpaid refused_hard", of(billing.ChargeUnpaid))
			put("paid", of(billing.ChargePaid))
			put("cancelled cancelled_by_person", of(billing.ChargeCancelled))
			open := []billing.ChargeID{put("claimed", of(billing.ChargeClaimed)), put("unknown answer_missing", of(billing.ChargeUnknown)),
				put("pending awaits_gateway", of(billing.ChargePending))}
			cancelled := put("claimed", of(billing.ChargeClaimed))
			d.must(cancel, cancelled)
			other := []billing.ChargeID{put("due", d.charge()), put("claimed", d.chargeIn(billing.ChargeClaimed)), put("unknown answer_missing", d.chargeIn(billing.ChargeUnknown))}
			audited := get[int](d, `SELECT count(*) FROM audit`)

			applied := d.change(token, tt.change)
			if applied.Held != 3 || applied.Released != 0 || applied.Waiting != 0 || applied.Token.State != tt.change.State || applied.Token.Cause != tt.change.Cause {
				t.Errorf("applied %+v", applied)
			}
			if since := get[time.Time](d, `SELECT state_since FROM tokens WHERE id = $1`, token); !since.Equal(applied.Token.StateSince) || time.Since(since).Abs() > time.Minute {
				t.Errorf("it is so since %s, told as %s", since, applied.Token.StateSince)
			}
			d.wantStands(want)
			for _, id := range open {
				if got := d.wish(id); got != "hold token_invalid" {
					t.Errorf("open charge %d: the wish is %q", id, got)
				}
			}
			if got := d.wish(cancelled); got != "cancel cancelled_by_person" {
				t.Errorf("a wish to cancel became %q", got)
			}
			for _, id := range other {
				if got := d.wish(id); got != "" {
					t.Errorf("charge %d of another token: the wish is %q", id, got)
				}
			}
			if got := d.tokenIs(token); got != tt.token {
				t.Errorf("the token is %q, want %q", got, tt.token)
			}
			if diff := cmp.Diff([]string{tt.event}, d.timeline(token)); diff != "" {
				t.Errorf("timeline (-want +got):\n%s", diff)
			}
			if got := get[int](d, `SELECT count(*) FROM audit WHERE object_kind = 'token' AND object = $1::text`, int64(token)); got != tt.audits {
				t.Errorf("%d audit rows of the token, want %d", got, tt.audits)
			}
			if got := get[int](d, `SELECT count(*) FROM audit`) - audited; got != tt.audits {
				t.Errorf("%d audit rows, want %d", got, tt.audits)
			}
			again := d.change(token, tt.change)
			if again.Held != 0 || !again.Token.StateSince.Equal(applied.Token.StateSince) {
				t.Errorf("the same news again: %+v", again)
			}
			d.requireNothingSent()
			d.exec(`UPDATE charges SET finished_at = now() WHERE state = 'paid'`)
			d.requireEventsSound()
		})
	}
}

// What a dead token held is released as the account wants it.
func TestApplyChange_releases(t *testing.T) {
	t.Parallel()
	kinds := []struct {
		name   string
		make   func(d *desk, token tokens.ID) billing.ChargeID
		during func(d *desk, id billing.ChargeID) // while the token is dead
		due    string                             // afterwards, if charges are released
		byHand string                             // if a person releases each
	}{
		{"an unscheduled one", func(d *desk, token tokens.ID) billing.ChargeID { return d.give(d.charge(), token) }, nil, "due released", "held token_reactivated"},
		{"a cycle of a subscription", func(d *desk, token tokens.ID) billing.ChargeID {
			return d.chargeOf(d.subscribe(token, "2027-01-31T09:00"))
		}, nil, "due released", "held token_reactivated"},
		{"one whose subscription was paused meanwhile", func(d *desk, token tokens.ID) billing.ChargeID {
			return d.chargeOf(d.subscribe(token, "2027-01-31T09:00"))
		}, func(d *desk, id billing.ChargeID) {
			sub := get[billing.SubscriptionID](d, `SELECT subscription_id FROM charges WHERE id = $1`, id)
			if _, err := d.db.PauseSubscription(context.Background(), sub, by("holiday")); err != nil {
				d.t.Fatal(err)
			}
		}, "held subscription_paused", "held subscription_paused"},
		{"one that was approved after all", func(d *desk, token tokens.ID) billing.ChargeID { return d.give(d.charge(), token) },
			func(d *desk, id billing.ChargeID) {
				d.exec(`INSERT INTO inbox (gateway, merchant_account, kind, code, gateway_reference, signed, document, digest, next_try_at, charge_id)
				        VALUES ('adyen', 'DemoEU', 'authorised', 'AUTHORISATION', 'PAY', true, '{}', 'x', now() + interval '1 hour', $1)`, id)
			}, "held token_invalid", "held token_invalid"},
		{"one that a person held", func(d *desk, token tokens.ID) billing.ChargeID { return d.give(d.chargeIn(billing.ChargeHeld), token) },
			nil, "held held_by_person", "held held_by_person"},
		{"one that the gateway found no token for", func(d *desk, token tokens.ID) billing.ChargeID {
			id := d.give(d.charge(), token)
			d.exec(`UPDATE charges SET state = 'held', reason = 'token_not_found' WHERE id = $1`, id)
			return id
		}, nil, "due released", "held token_reactivated"},
		{"one of another token", func(d *desk, _ tokens.ID) billing.ChargeID {
			id := d.charge()
			d.change(d.tokenOf(id), died)
			return id
		}, nil, "held token_invalid", "held token_invalid"},
	}
	for _, kind := range kinds {
		for _, release := range []tokens.Release{tokens.ReleaseNow, tokens.ReleaseNextRun, tokens.ReleaseByHand} {
			t.Run(fmt.Sprintf("%s, %s", kind.name, release), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t)
				token := d.newToken()
				id := kind.make(d, token)
				d.exec(`UPDATE charges SET next_attempt_at = '2027-03-04T05:06:07Z', attempt_started_at = '2027-01-01T00:00:00Z' WHERE id = $1`, id)
				d.change(token, died)
				if kind.during != nil {
					kind.during(d, id)
				}
				applied := d.change(token, back(release))
				want := kind.due
				if release == tokens.ReleaseByHand {
					want = kind.byHand
				}
				if got := d.stands(id); got != want {
					t.Errorf("the charge is %q, want %q", got, want)
				}
				concerned := !strings.HasSuffix(want, "held_by_person") && d.tokenOf(id) == token
				released := strings.HasPrefix(want, "due")
				if got := applied.Released == 1; got != released || applied.Released+applied.Waiting > 1 || (applied.Waiting == 1) != (concerned && !released) || applied.Held != 0 {
					t.Errorf("%d released, %d wait, %d held", applied.Released, applied.Waiting, applied.Held)
				}
				if got := get[string](d, `SELECT to_char(next_attempt_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM charges WHERE id = $1`, id); got != "2027-03-04 05:06:07" {
					t.Errorf("its next attempt is at %s: the card scheme's wait is not kept", got)
				}
				if begun := get[bool](d, `SELECT attempt_started_at IS NOT NULL FROM charges WHERE id = $1`, id); begun == released {
					t.Errorf("it is %q, and an attempt of it began: %t", want, begun)
				}
				if got := d.tokenIs(token); got != "valid" {
					t.Errorf("the token is %q", got)
				}
				if diff := cmp.Diff([]string{"invalid invalid by webhook", "reactivated valid by session"}, d.timeline(token)); diff != "" {
					t.Errorf("timeline (-want +got):\n%s", diff)
				}
				if got := get[string](d, `SELECT action || ' ' || actor || ': ' || reason FROM audit WHERE object_kind = 'token' AND object = $1::text`, int64(token)); got != "reactivated mia: a new card" {
					t.Errorf("audit: %s", got)
				}
				d.requireNothingSent()
			})
		}
	}
}

// A charge that its dead token held and that is released is claimed like any other, as
// the attempt that was to come.
func TestApplyChange_aReleasedChargeIsCharged(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	claimed := d.claim(id)
	dead := billing.Settle(&claimed, billing.Reply{Outcome: billing.OutcomeRefused, Class: billing.DeclineTokenInvalid, RefusalCode: "41"}, nil, nil)
	if _, err := d.db.Settle(t.Context(), []*billing.Settlement{&dead}, nil); err != nil {
		t.Fatal(err)
	}
	if got := d.stands(id) + ", " + d.tokenIs(d.tokenOf(id)); got != "held token_invalid, invalid refusal 41" {
		t.Fatalf("refused: %s", got)
	}
	if diff := cmp.Diff([]string{"invalid invalid by charge"}, d.timeline(d.tokenOf(id))); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if got := d.claimDue(d.claimRequest(d.run(id))); len(got.Charges) != 0 {
		t.Fatalf("claimed with a dead token: %+v", got.Charges)
	}
	d.change(d.tokenOf(id), back(tokens.ReleaseNextRun))
	report, err := d.db.PlanRun(t.Context(), d.followUp())
	if err != nil || report.Run.Items != 1 {
		t.Fatalf("the follow-up plans %d items, error %v", report.Run.Items, err)
	}
	if _, err := d.db.StartRun(t.Context(), report.Run.ID, "mia"); err != nil {
		t.Fatal(err)
	}
	second := d.claimDue(d.claimRequest(report.Run.ID))
	if len(second.Charges) != 1 || second.Charges[0].Attempt != 2 {
		t.Fatalf("claimed %+v, want attempt 2", second.Charges)
	}
	d.settle(second.Charges[0], billing.OutcomeAuthorised, billing.ChargePaid, "")
	d.wantStands(map[billing.ChargeID]string{id: "paid"})
	d.requireEventsSound()
}

// What was open while its token was dead goes on when it comes back, and what had been
// given up for that is looked at again.
func TestApplyChange_openChargesGoOn(t *testing.T) {
	t.Parallel()
	resolver := func(d *desk, id billing.ChargeID) {
		d.exec(`UPDATE charges SET resolve_at = now() - interval '1 second' WHERE id = $1`, id)
		_, err := d.db.ClaimReplays(context.Background(), scheduler.ReplayRequest{MerchantAccount: "DemoEU", Process: d.process, Lease: time.Minute, WireVersion: 1,
			Limit: 10, Endpoint: "http://127.0.0.1:1/adyen/v71"})
		if err != nil {
			d.t.Fatal(err)
		}
	}
	tests := []struct {
		name     string
		state    billing.ChargeState
		during   func(d *desk, id billing.ChargeID)
		dead     string // stands while the token is dead
		alive    string // and afterwards
		wish     string
		resolved bool // somebody looks at it again
	}{
		{"claimed", billing.ChargeClaimed, nil, "claimed", "claimed", "", false},
		{"unknown", billing.ChargeUnknown, nil, "unknown answer_missing", "unknown answer_missing", "", true},
		{"unknown, given up", billing.ChargeUnknown, resolver, "unknown token_invalid", "unknown answer_missing", "", true},
		{"pending", billing.ChargePending, nil, "pending awaits_gateway", "pending awaits_gateway", "", true},
		{"pending, given up", billing.ChargePending, resolver, "pending token_invalid", "pending awaits_gateway", "", true},
		{"unknown, cancelled by a person", billing.ChargeUnknown, func(d *desk, id billing.ChargeID) { d.must(cancel, id) },
			"unknown answer_missing", "unknown answer_missing", "cancel cancelled_by_person", true},
		{"given up for its run", billing.ChargeUnknown, func(d *desk, id billing.ChargeID) {
			d.exec(`UPDATE charges SET stop_request = NULL, stop_reason = NULL, stop_actor = NULL, resolve_at = NULL, reason = 'run_aborted' WHERE id = $1`, id)
		}, "unknown run_aborted", "unknown run_aborted", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.chargeIn(tt.state)
			token := d.tokenOf(id)
			d.change(token, died)
			if tt.during != nil {
				tt.during(d, id)
			}
			d.wantStands(map[billing.ChargeID]string{id: tt.dead})
			d.change(token, back(tokens.ReleaseByHand))
			d.wantStands(map[billing.ChargeID]string{id: tt.alive})
			if got := d.wish(id); got != tt.wish {
				t.Errorf("the wish is %q, want %q", got, tt.wish)
			}
			if got := get[bool](d, `SELECT resolve_at IS NOT NULL FROM charges WHERE id = $1`, id); got != tt.resolved {
				t.Errorf("looked at again: %t, want %t", got, tt.resolved)
			}
			d.requireEventsSound()
		})
	}
}

// What a gateway does not tell this time stays as it was.
func TestApplyChange_keepsWhatIsKnownOfTheCard(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.newToken()
	whole := tokens.Details{Brand: "mc", Funding: "CREDIT", LastFour: "4242", Expiry: tokens.Expiry{Year: 2030, Month: time.December},
		Fingerprint: "F1", ChangedAt: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), ChangedByGateway: true}
	read := func(details tokens.Details) tokens.Details {
		t.Helper()
		d.change(id, tokens.Change{Kind: tokens.EventRead, Source: tokens.SourcePoll, Actor: "gateway", Details: &details})
		record, err := d.db.ReadToken(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return record.Details
	}
	if diff := cmp.Diff(whole, read(whole)); diff != "" {
		t.Errorf("a first reading (-want +got):\n%s", diff)
	}
	kept := whole
	kept.ChangedByGateway = false
	if diff := cmp.Diff(kept, read(tokens.Details{})); diff != "" {
		t.Errorf("after a reading that tells nothing (-want +got):\n%s", diff)
	}
	other := kept
	other.LastFour, other.Expiry.Year = "9999", 2033
	if diff := cmp.Diff(other, read(tokens.Details{LastFour: "9999", Expiry: tokens.Expiry{Year: 2033, Month: time.December}})); diff != "" {
		t.Errorf("after a new card (-want +got):\n%s", diff)
	}
	seen := tokens.Verification{Strategy: tokens.StrategyBasic, Result: tokens.VerificationPassedBasic, Code: "BASIC_VERIFICATION_SUCCESSFUL"}
	d.change(id, tokens.Change{Kind: tokens.EventVerified, Source: tokens.SourceVerify, Actor: "mia", Verification: &seen})
	detail, err := d.db.ShowToken(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if detail.Verification != seen || detail.VerifiedAt.IsZero() || detail.ReadAt.IsZero() || detail.Details != other {
		t.Errorf("shown: %+v", detail.TokenListing)
	}
}

// However long a gateway's or a person's words are, the news is written down.
func TestApplyChange_longWords(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	long := strings.Repeat("ü", 1500)
	change := died
	change.Cause, change.Detail = long, long
	id := d.newToken()
	d.change(id, change)
	if got := get[int](d, `SELECT length(cause) + length(detail) FROM token_events WHERE token_id = $1`, id); got != 2000 {
		t.Errorf("%d characters are kept, want 1000 of each", got)
	}
}

func TestApplyChange_ofNoToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if _, err := d.db.ApplyChange(t.Context(), 999, died); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("error %v, want billing.ErrNotFound", err)
	}
}

func TestAddToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
	token := func(account, reference, shopper string) tokens.Token {
		return tokens.Token{MerchantAccount: account, Reference: reference, ShopperReference: shopper, PaymentMethod: "scheme", State: tokens.Valid}
	}
	details := tokens.Details{LastFour: "4242", Expiry: tokens.Expiry{Year: 2030, Month: time.March}}
	created := tokens.Change{Kind: tokens.EventCreated, Source: tokens.SourceSession, Actor: "mia", Details: &details}
	first, err := d.db.AddToken(t.Context(), token("DemoEU", "CARD1", "shopper-1"), created)
	if err != nil || first.Token.ID == 0 || first.Token.State != tokens.Valid || first.Token.StateSince.IsZero() {
		t.Fatalf("stored %+v, error %v", first, err)
	}
	if diff := cmp.Diff([]string{"created valid by session"}, d.timeline(first.Token.ID)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	again, err := d.db.AddToken(t.Context(), token("DemoEU", "CARD1", "shopper-1"), created)
	if err != nil || again.Token.ID != first.Token.ID || len(d.timeline(first.Token.ID)) != 1 {
		t.Errorf("stored again as %+v, error %v, timeline %q", again, err, d.timeline(first.Token.ID))
	}
	if _, err = d.db.AddToken(t.Context(), token("DemoEU", "CARD1", "shopper-2"), created); !errors.Is(err, tokens.ErrInvalid) || strings.Contains(err.Error(), "CARD1") {
		t.Errorf("another shopper's: error %v", err)
	}
	elsewhere, err := d.db.AddToken(t.Context(), token("DemoMC", "CARD1", "shopper-2"), created)
	if err != nil || elsewhere.Token.ID == first.Token.ID {
		t.Errorf("of the same name at another account: %+v, error %v", elsewhere, err)
	}
	if _, err := d.db.AddToken(t.Context(), token("Nowhere", "CARD1", "shopper-1"), created); err == nil {
		t.Error("a token of no account is stored")
	}
	if n := get[int](d, `SELECT count(*) FROM tokens`); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	for _, tt := range []struct {
		account, name string
		want          tokens.ID
	}{{"DemoEU", "CARD1", first.Token.ID}, {"DemoMC", "CARD1", elsewhere.Token.ID}, {"DemoEU", "CARD2", 0}, {"Nowhere", "CARD1", 0}} {
		got, taken, err := d.db.TokenNamed(t.Context(), tt.account, tt.name)
		if err != nil || got.ID != tt.want || taken != (tt.want != 0) {
			t.Errorf("%s at %s: %s, %t, error %v; want token %d", tt.name, tt.account, got, taken, err, tt.want)
		}
	}
}

func TestFindTokens_filters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	expiring, verified, dead, busy := d.newToken(), d.newToken(), d.newToken(), d.newToken()
	d.change(expiring, tokens.Change{Kind: tokens.EventRead, Source: tokens.SourcePoll, Actor: "gateway",
		Details: &tokens.Details{Expiry: tokens.Expiry{Year: 2027, Month: time.March}}})
	d.change(verified, tokens.Change{Kind: tokens.EventVerified, State: tokens.Valid, Source: tokens.SourceVerify, Actor: "mia",
		Verification: &tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: tokens.VerificationPassed}})
	d.change(dead, died)
	d.subscribe(busy, "2027-02-01T09:00")
	due := d.charge()
	d.exec(`UPDATE charges SET next_attempt_at = '2027-02-03T00:00:00Z' WHERE id = $1`, due)
	shopper := get[string](d, `SELECT shopper_reference FROM tokens WHERE id = $1`, verified)
	tests := []struct {
		name   string
		filter postgres.TokenFilter
		want   []tokens.ID
	}{
		{"all", postgres.TokenFilter{}, []tokens.ID{expiring, verified, dead, busy, busy + 1, d.tokenOf(due)}},
		{"in a state", postgres.TokenFilter{State: tokens.Invalid}, []tokens.ID{dead}},
		{"of a shopper", postgres.TokenFilter{Shopper: shopper}, []tokens.ID{verified}},
		{"of an account without any", postgres.TokenFilter{MerchantAccount: "DemoMC"}, nil},
		{"that nobody verified", postgres.TokenFilter{Unverified: true}, []tokens.ID{expiring, busy, busy + 1, d.tokenOf(due)}},
		{"still good on the last day of its month", postgres.TokenFilter{ExpiresBefore: day("2027-03-31")}, nil},
		{"no longer good on the first of the next", postgres.TokenFilter{ExpiresBefore: day("2027-04-01")}, []tokens.ID{expiring}},
		{"that a subscription will charge", postgres.TokenFilter{DueBefore: day("2027-02-02")}, []tokens.ID{busy}},
		{"and a charge that waits", postgres.TokenFilter{DueBefore: day("2027-02-04")}, []tokens.ID{busy, d.tokenOf(due)}},
		{"the second page", postgres.TokenFilter{After: verified, Limit: 1}, []tokens.ID{dead}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []tokens.ID
			for listing, err := range d.db.FindTokens(t.Context(), tt.filter) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, listing.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
	first, second := d.newToken(), d.newToken()
	d.exec(`UPDATE tokens SET token = $2::text WHERE id = $1`, second, int64(first)) // a name that is another's number
	d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoMC', $1, 'abc'), ('DemoMC', 'ONLY', 'abc')`,
		get[string](d, `SELECT token FROM tokens WHERE id = $1`, first))
	name := get[string](d, `SELECT token FROM tokens WHERE id = $1`, first)
	tests := []struct {
		name, text, account string
		want                tokens.ID
		err                 error
	}{
		{"by the gateway's name", "ONLY", "", second + 2, nil},
		{"by our number", fmt.Sprint(second), "", second, nil},
		{"by a name that is another's number", fmt.Sprint(first), "", second, nil},
		{"by a name of two accounts", name, "", 0, billing.ErrInvalid},
		{"by a name of two accounts, and which", name, "DemoEU", first, nil},
		{"of another account", "ONLY", "DemoEU", 0, billing.ErrNotFound},
		{"unknown", "nothing", "", 0, billing.ErrNotFound},
		{"beyond all numbers", "99999999999999999999", "", 0, billing.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := d.db.FindToken(t.Context(), tt.text, tt.account)
			if got.ID != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d, error %v; want %d, %v", got.ID, err, tt.want, tt.err)
			}
		})
	}
}

func TestShowToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	paid := d.charge()
	token := d.tokenOf(paid)
	d.settle(d.claim(paid), billing.OutcomeAuthorised, billing.ChargePaid, "")
	d.settle(d.claim(d.give(d.charge(), token)), billing.OutcomeRefused, billing.ChargeUnpaid, billing.ReasonRefusedHard)
	d.give(d.charge(), token)
	d.subscribe(token, "2127-01-31T09:00")
	twin := d.newToken()
	for _, id := range []tokens.ID{token, twin} {
		d.change(id, tokens.Change{Kind: tokens.EventRead, Source: tokens.SourcePoll, Actor: "gateway", Details: &tokens.Details{Fingerprint: "F1"}})
	}
	d.change(token, off)
	got, err := d.db.ShowToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if got.Authorised != 1 || got.Refused != 1 || got.Open != 1 || got.Held != 1 || got.Subscriptions != 1 || got.FirstUsed.IsZero() || got.LastUsed.Before(got.FirstUsed) {
		t.Errorf("use: %+v", got)
	}
	if !slices.Equal(got.SameCard, []tokens.ID{twin}) || len(got.Events) != 2 || got.Events[1].Cause != "the shopper asked" || len(got.Audit) != 1 || got.Audit[0].Actor != "mia" {
		t.Errorf("same card %v, timeline %+v, audit %+v", got.SameCard, got.Events, got.Audit)
	}
	if _, err := d.db.ShowToken(t.Context(), 999); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("unknown token: error %v", err)
	}
}

func TestReplaceToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	old := d.newToken()
	next := d.twin(old)
	active, paused, ended := d.subscribe(old, "2027-01-31T09:00"), d.subscribe(old, "2027-01-31T09:00"), d.subscribe(old, "2027-01-31T09:00")
	want := map[billing.ChargeID]string{}
	moved := func(state string, id billing.ChargeID) billing.ChargeID { want[id] = state; return id }
	moved("due released", d.chargeOf(active))
	moved("held subscription_paused", d.chargeOf(paused))
	due := moved("due released", d.give(d.charge(), old))
	held := moved("held held_by_person", d.give(d.chargeIn(billing.ChargeHeld), old))
	byHand := moved("due released", d.give(d.charge(), old))
	var stays []billing.ChargeID
	for _, state := range []billing.ChargeState{billing.ChargeClaimed, billing.ChargeUnknown, billing.ChargePending, billing.ChargePaid, billing.ChargeUnpaid} {
		stays = append(stays, d.give(d.chargeIn(state), old))
	}
	approved := d.give(d.charge(), old)
	d.exec(`INSERT INTO inbox (gateway, merchant_account, kind, code, gateway_reference, signed, document, digest, next_try_at, charge_id)
	        VALUES ('adyen', 'DemoEU', 'authorised', 'AUTHORISATION', 'PAY', true, '{}', 'x', now() + interval '1 hour', $1)`, approved)
	stays = append(stays, approved)
	other := d.charge()
	if _, err := d.db.CancelSubscription(t.Context(), ended, by("moves away")); err != nil {
		t.Fatal(err)
	}
	d.change(old, died)
	if _, err := d.db.PauseSubscription(t.Context(), paused, by("holiday")); err != nil {
		t.Fatal(err)
	}
	d.exec(`UPDATE charges SET reason = 'token_reactivated' WHERE id = $1`, byHand)
	d.exec(`UPDATE charges SET next_attempt_at = '2027-03-04T05:06:07Z', attempt_started_at = '2027-01-01T00:00:00Z' WHERE id IN ($1, $2)`, due, held)
	before := map[billing.ChargeID]string{}
	for _, id := range append(slices.Clone(stays), other) {
		before[id] = fmt.Sprint(d.stands(id), d.tokenOf(id), d.wish(id))
	}

	done, err := d.db.ReplaceToken(t.Context(), old, next, by("a new card"))
	if err != nil {
		t.Fatal(err)
	}
	if done.Subscriptions != 2 || done.Charges != 5 || done.Released != 3 || done.AtGateway != 3 || done.Old.ID != old || done.New.ID != next {
		t.Errorf("replaced: %+v", done)
	}
	d.wantStands(want)
	for id := range want {
		if got := d.tokenOf(id); got != next {
			t.Errorf("charge %d has %d, want the new token", id, got)
		}
	}
	for id, was := range before {
		if got := fmt.Sprint(d.stands(id), d.tokenOf(id), d.wish(id)); got != was {
			t.Errorf("charge %d, which nobody may move, went from %q to %q", id, was, got)
		}
	}
	for sub, token := range map[billing.SubscriptionID]tokens.ID{active: next, paused: next, ended: old} {
		if got := get[tokens.ID](d, `SELECT token_id FROM subscriptions WHERE id = $1`, sub); got != token {
			t.Errorf("subscription %d has token %d, want %d", sub, got, token)
		}
	}
	for id, begun := range map[billing.ChargeID]bool{due: false, held: true} {
		got := get[string](d, `SELECT to_char(next_attempt_at AT TIME ZONE 'UTC', 'MM-DD') || ' ' || (attempt_started_at IS NOT NULL) FROM charges WHERE id = $1`, id)
		if got != fmt.Sprintf("03-04 %t", begun) {
			t.Errorf("charge %d: next attempt, and whether one began: %s", id, got)
		}
	}
	if a, b := d.timeline(old), d.timeline(next); !slices.Contains(a, "replaced invalid by person") || !slices.Contains(b, "replaced unverified by person") {
		t.Errorf("timelines %q and %q", a, b)
	}
	if got := get[string](d, `SELECT string_agg(actor || ' ' || reason, ', ') FROM audit WHERE action = 'replace'`); got != "mia a new card" {
		t.Errorf("audit: %s", got)
	}
	// The paused one goes on with its subscription, and what was open follows once it
	// was answered.
	if _, err := d.db.ResumeSubscription(t.Context(), paused, by("back")); err != nil {
		t.Fatal(err)
	}
	if n := get[int](d, `SELECT count(*) FROM charges WHERE subscription_id = $1 AND state = 'due'`, paused); n != 1 {
		t.Errorf("%d charges of the resumed subscription are due, want 1", n)
	}
	d.exec(`UPDATE charges SET state = 'held', reason = 'token_invalid', resolve_at = NULL, stop_request = NULL, stop_reason = NULL, stop_actor = NULL,
	                           lease_owner = NULL, lease_until = NULL WHERE id = $1`, stays[1])
	again, err := d.db.ReplaceToken(t.Context(), old, next, by("a new card"))
	if err != nil || again.Subscriptions != 0 || again.Charges != 1 || again.Released != 1 || again.AtGateway != 2 {
		t.Errorf("replaced again: %+v, error %v", again, err)
	}
	d.requireNothingSent()
}

// What is refused leaves everything as it was.
func TestReplaceToken_isRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		next func(d *desk, old tokens.ID) tokens.ID
		by   billing.Decision
		err  error
		told string
	}{
		{"by another shopper's", func(d *desk, _ tokens.ID) tokens.ID { return d.newToken() }, by("mistake"), billing.ErrConflict, "different shoppers"},
		{"by another account's", func(d *desk, old tokens.ID) tokens.ID {
			d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
			        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
			return tokens.ID(get[int64](d, `INSERT INTO tokens (merchant_account, token, shopper_reference)
			                                SELECT 'DemoMC', token, shopper_reference FROM tokens WHERE id = $1 RETURNING id`, old))
		}, by("mistake"), billing.ErrConflict, "DemoMC"},
		{"by a dead one", func(d *desk, old tokens.ID) tokens.ID { id := d.twin(old); d.change(id, died); return id }, by("mistake"), billing.ErrConflict, "is invalid"},
		{"by one that is switched off", func(d *desk, old tokens.ID) tokens.ID { id := d.twin(old); d.change(id, off); return id }, by("mistake"), billing.ErrConflict, "is disabled"},
		{"by itself", func(_ *desk, old tokens.ID) tokens.ID { return old }, by("mistake"), billing.ErrConflict, "itself"},
		{"by none", func(*desk, tokens.ID) tokens.ID { return 999 }, by("mistake"), billing.ErrNotFound, ""},
		{"without a reason", func(d *desk, old tokens.ID) tokens.ID { return d.twin(old) }, billing.Decision{Actor: "mia"}, billing.ErrInvalid, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			old := d.newToken()
			d.chargeOf(d.subscribe(old, "2027-01-31T09:00"))
			d.give(d.chargeIn(billing.ChargeUnknown), old)
			next := tt.next(d, old)
			everything := `SELECT (SELECT string_agg(c::text, E'\n' ORDER BY id) FROM charges c) || (SELECT string_agg(s::text, E'\n' ORDER BY id) FROM subscriptions s)
			               || (SELECT string_agg(t::text, E'\n' ORDER BY id) FROM tokens t) || (SELECT count(*) FROM token_events) || ' ' || (SELECT count(*) FROM audit)`
			before := get[string](d, everything)
			_, err := d.db.ReplaceToken(t.Context(), old, next, tt.by)
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.told) {
				t.Errorf("error %v, want %v that tells %q", err, tt.err, tt.told)
			}
			if diff := cmp.Diff(before, get[string](d, everything)); diff != "" {
				t.Errorf("the database (-before +after):\n%s", diff)
			}
		})
	}
}

// Whatever happens to a token, its twin, their subscriptions and charges, in whatever
// order: nothing can be sent with a dead token, and nothing waits for one that lives.
func TestTokens_property(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	releases := []tokens.Release{tokens.ReleaseNow, tokens.ReleaseNextRun}
	answers := []string{"give back", "decline", "dead", "pay", "lose"}
	rapid.Check(t, func(r *rapid.T) {
		one := d.newToken()
		pair := []tokens.ID{one, d.twin(one)}
		sub := d.subscribe(one, "2126-01-31T09:00")
		cycle := d.chargeOf(sub)
		ids := []billing.ChargeID{cycle, d.give(d.charge(), one), d.give(d.charge(), pair[1])}
		claimed := map[billing.ChargeID]billing.ClaimedCharge{}
		steps := append([]string{"die", "back", "replace", "off", "claim", "claim", "hold", "cancel", "pause", "resume", "release"}, answers...)
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			step, id, token := rapid.SampledFrom(steps).Draw(r, "step"), rapid.SampledFrom(ids).Draw(r, "charge"), rapid.SampledFrom(pair).Draw(r, "token")
			var err error
			switch step {
			case "die":
				_, err = d.db.ApplyChange(t.Context(), token, died)
			case "back":
				if get[tokens.State](d, `SELECT state FROM tokens WHERE id = $1`, token) == tokens.Invalid {
					_, err = d.db.ApplyChange(t.Context(), token, back(rapid.SampledFrom(releases).Draw(r, "release")))
				}
			case "off":
				if rapid.IntRange(0, 3).Draw(r, "really") == 0 {
					_, err = d.db.ApplyChange(t.Context(), token, off)
				}
			case "replace":
				next := pair[0]
				if token == next {
					next = pair[1]
				}
				_, err = d.db.ReplaceToken(t.Context(), token, next, by("property"))
			case "dead":
				if c, holds := claimed[id]; holds {
					s := billing.Settle(&c, billing.Reply{Outcome: billing.OutcomeRefused, Class: billing.DeclineTokenInvalid, RefusalCode: "41"}, nil, nil)
					_, err = d.db.Settle(t.Context(), []*billing.Settlement{&s}, nil)
				}
			default:
				d.step(r, step, sub, id, claimed)
			}
			if slices.Contains(answers, step) {
				delete(claimed, id) // an answer comes once
			}
			if err != nil && !errors.Is(err, billing.ErrConflict) {
				r.Fatalf("%s: %v", step, err)
			}
			if n := get[int](d, `SELECT count(*) FROM charges c JOIN tokens t ON t.id = c.token_id
			                      WHERE t.id = ANY (ARRAY[$1::bigint, $2]) AND t.state IN ('invalid', 'disabled')
			                        AND (c.state = 'due' OR c.state = 'claimed' AND c.stop_request IS NULL)`, pair[0], pair[1]); n > 0 {
				r.Fatalf("after %s: %d charges could be sent with a dead token", step, n)
			}
		}
	})
	d.requireNothingSent()
	d.requireNothingForgotten()
	d.requireEventsSound()
}

// While a token is dead, nobody lets go on what is open with it: not a person who
// releases the charge, nor one who resumes its subscription.
func TestTokens_aWishIsKeptWhileTheTokenIsDead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		during func(d *desk, sub billing.SubscriptionID, id billing.ChargeID)
		wish   string
	}{
		{"released", func(d *desk, _ billing.SubscriptionID, id billing.ChargeID) {
			d.change(d.tokenOf(id), died)
			if _, err := d.db.ReleaseCharge(context.Background(), id, by("go on")); !errors.Is(err, billing.ErrConflict) {
				d.t.Errorf("released: error %v", err)
			}
		}, "hold token_invalid"},
		{"held by a person, and released", func(d *desk, _ billing.SubscriptionID, id billing.ChargeID) {
			d.must(hold, id)
			d.change(d.tokenOf(id), died)
			if _, err := d.db.ReleaseCharge(context.Background(), id, by("go on")); !errors.Is(err, billing.ErrConflict) {
				d.t.Errorf("released: error %v", err)
			}
		}, "hold held_by_person"},
		{"paused before, and resumed", func(d *desk, sub billing.SubscriptionID, id billing.ChargeID) {
			if err := d.pauses(sub)(context.Background()); err != nil {
				d.t.Fatal(err)
			}
			d.change(d.tokenOf(id), died)
			if _, err := d.db.ResumeSubscription(context.Background(), sub, by("back")); err != nil {
				d.t.Fatal(err)
			}
		}, "hold token_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			sub := d.subscription("gym", "2126-01-31T09:00")
			id := d.chargeOf(sub)
			claimed := d.claim(id)
			tt.during(d, sub, id)
			if got := d.wish(id); got != tt.wish {
				t.Errorf("the wish is %q, want %q", got, tt.wish)
			}
			d.requireNothingSent()
			if err := d.db.GiveBack(t.Context(), []billing.ClaimedCharge{claimed}, nil); err != nil {
				t.Fatal(err)
			}
			d.requireNothingSent()
			d.requireEventsSound()
		})
	}
}

// A reading or a verification takes a while. If the token died and came back
// meanwhile, what it says is about the card that is no longer there.
func TestApplyChange_oldNewsMovesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	token := d.tokenOf(id)
	seen, err := d.db.ReadToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	d.change(token, died)
	d.change(token, tokens.Change{Kind: tokens.EventReactivated, State: tokens.Valid, Source: tokens.SourceSession, Actor: "mia", Release: tokens.ReleaseNextRun})
	late := died
	late.Source, late.Since = tokens.SourcePoll, seen.StateSince
	if applied := d.change(token, late); applied.Token.State != tokens.Valid || applied.Held != 0 {
		t.Errorf("old news made the token %s and held %d charges", applied.Token.State, applied.Held)
	}
	if got := get[string](d, `SELECT kind || ' ' || state FROM token_events WHERE token_id = $1 ORDER BY id DESC LIMIT 1`, token); got != "read valid" {
		t.Errorf("the timeline ends with %q", got)
	}
	fresh := died
	fresh.Source, fresh.Since = tokens.SourcePoll, get[time.Time](d, `SELECT state_since FROM tokens WHERE id = $1`, token)
	if applied := d.change(token, fresh); applied.Token.State != tokens.Invalid || applied.Held != 1 {
		t.Errorf("fresh news left the token %s and held %d charges", applied.Token.State, applied.Held)
	}
}
