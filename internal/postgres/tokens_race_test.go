package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
)

// raceRounds is how often each pair is let loose on fresh rows.
const raceRounds = 40

// A contender is one who does something at the same moment as others.
type contender func(context.Context) error

// race lets all contenders begin at once, and waits for them. That something is
// refused for what another one did is allowed, and any other error is not: above all
// nobody may be told of a deadlock.
func (d *desk) race(contenders ...contender) {
	d.t.Helper()
	start := make(chan struct{})
	errs := make([]error, len(contenders))
	var all sync.WaitGroup
	for i, contend := range contenders {
		all.Go(func() {
			<-start
			errs[i] = contend(context.Background())
		})
	}
	close(start)
	all.Wait()
	for i, err := range errs {
		if err != nil && !errors.Is(err, billing.ErrConflict) {
			d.t.Errorf("contender %d: %v", i, err)
		}
	}
}

func (d *desk) dies(token tokens.ID) contender {
	return func(ctx context.Context) error { _, err := d.db.ApplyChange(ctx, token, died); return err }
}

// comesBack brings a token back as Keeper does, which looks first whether it died.
func (d *desk) comesBack(token tokens.ID) contender {
	return func(ctx context.Context) error {
		_, err := d.db.ApplyChange(ctx, token, back(tokens.ReleaseNow))
		return err
	}
}

func (d *desk) replaces(old, next tokens.ID) contender {
	return func(ctx context.Context) error {
		_, err := d.db.ReplaceToken(ctx, old, next, by("a new card"))
		return err
	}
}

func (d *desk) plans() contender {
	return func(ctx context.Context) error {
		_, err := d.db.PlanRun(ctx, scheduler.PlanRequest{Actor: "mia"})
		return err
	}
}

// claimsAndGivesBack claims a run, and gives back what it got.
func (d *desk) claimsAndGivesBack(request scheduler.ClaimRequest) contender {
	return func(ctx context.Context) error {
		result, err := d.db.ClaimDue(ctx, request)
		if err != nil || len(result.Charges) == 0 {
			return err
		}
		return d.db.GiveBack(ctx, result.Charges, []scheduler.ClaimID{result.ID})
	}
}

// refuses says that the issuer calls the card dead.
func (d *desk) refuses(c billing.ClaimedCharge) contender {
	return func(ctx context.Context) error {
		s := billing.Settle(&c, billing.Reply{Outcome: billing.OutcomeRefused, Class: billing.DeclineTokenInvalid, RefusalCode: "41"}, nil, nil)
		_, err := d.db.Settle(ctx, []*billing.Settlement{&s}, nil)
		return err
	}
}

func (d *desk) pauses(sub billing.SubscriptionID) contender {
	return func(ctx context.Context) error {
		_, err := d.db.PauseSubscription(ctx, sub, by("holiday"))
		return err
	}
}

// A token dies while its subscriptions' cycles become charges: none of them is due.
func TestTokenRace_aDeathAndAPlan(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		token := d.newToken()
		for range 5 {
			d.subscribe(token, "2026-01-31T09:00")
		}
		d.race(d.dies(token), d.plans())
		d.requireNothingSent()
		if n := get[int](d, `SELECT count(*) FROM charges WHERE token_id = $1 AND (state, reason) <> ('held', 'token_invalid')`, token); n > 0 {
			t.Fatalf("%d charges of the dead token are not held", n)
		}
	}
	d.requireEventsSound()
}

// A token dies while its charges are claimed and given back: whatever the order,
// none is due, and each one that is claimed has the wish on it.
func TestTokenRace_aDeathAndAClaim(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		token := d.newToken()
		ids := []billing.ChargeID{d.give(d.charge(), token), d.give(d.charge(), token), d.give(d.charge(), token)}
		first, second := d.claimRequest(d.run(ids[0])), d.claimRequest(d.run(ids[1]))
		d.race(d.dies(token), d.claimsAndGivesBack(first), d.claimsAndGivesBack(second), d.claimsAndGivesBack(d.claimRequest(d.run(ids[2]))))
		for _, id := range ids {
			if got := d.stands(id); got != "held token_invalid" {
				t.Errorf("the charge is %q", got)
			}
		}
	}
	d.requireNothingSent()
	d.requireEventsSound()
}

// The gap between looking at what is due and looking at what is open: a charge that is
// claimed at the first look and due again at the second is overlooked by neither.
func TestTokenRace_aDeathAndAGivingBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		id := d.charge()
		claimed := d.claim(id)
		d.race(d.dies(d.tokenOf(id)), func(ctx context.Context) error { return d.db.GiveBack(ctx, []billing.ClaimedCharge{claimed}, nil) })
		if got := d.stands(id); got != "held token_invalid" {
			t.Errorf("the charge is %q", got)
		}
	}
	d.requireNothingSent()
}

// Two say at once that a card is dead, each with locks that the other wants: a webhook
// holds the token, an answer the charge.
func TestTokenRace_aDeathAndARefusal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for n := range raceRounds {
		token := d.newToken()
		var ids []billing.ChargeID
		for range 4 {
			ids = append(ids, d.give(d.charge(), token))
		}
		claimed := d.claim(ids[n%len(ids)])
		name := get[string](d, `SELECT token FROM tokens WHERE id = $1`, token)
		d.deliver(billing.Event{Kind: billing.EventTokenDisabled, Code: "recurring.token.disabled", MerchantAccount: "DemoEU", Token: name,
			GatewayReference: fmt.Sprint("EVENT", n), Signed: true, Document: []byte(`{}`)})
		d.race(d.refuses(claimed), d.dies(token), func(ctx context.Context) error { _, err := d.db.ApplyEvents(ctx, 10); return err })
		for _, id := range ids {
			if got := d.stands(id); got != "held token_invalid" {
				t.Errorf("the charge is %q", got)
			}
		}
		if tries := get[int](d, `SELECT max(tries) FROM inbox`); tries > 1 {
			t.Errorf("the webhook was applied in %d tries", tries)
		}
	}
	d.requireNothingSent()
	d.requireEventsSound()
}

// A token dies while a person releases one of its charges, which was held for
// something else.
func TestTokenRace_aDeathAndARelease(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		token := d.newToken()
		first, held := d.give(d.charge(), token), d.give(d.chargeIn(billing.ChargeHeld), token)
		d.race(d.dies(token), func(ctx context.Context) error { _, err := d.db.ReleaseCharge(ctx, held, by("go on")); return err })
		d.requireNothingSent()
		d.wantStands(map[billing.ChargeID]string{first: "held token_invalid"})
	}
}

// A token comes back while the last answer about its old card says that it is dead.
// Either the answer is the later news, and all is held, or the token is good, and
// nothing waits for it.
func TestTokenRace_aReturnAndARefusal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	outcomes := map[string]int{}
	for n := range raceRounds {
		token := d.newToken()
		var ids []billing.ChargeID
		for range 3 {
			ids = append(ids, d.give(d.charge(), token))
		}
		claimed := d.claim(ids[n%len(ids)])
		d.change(token, died)
		d.race(d.comesBack(token), d.refuses(claimed))
		d.requireNothingSent()
		d.requireNothingForgotten()
		outcomes[get[string](d, `SELECT state FROM tokens WHERE id = $1`, token)]++
	}
	t.Logf("afterwards: %v", outcomes)
	d.requireEventsSound()
}

// A token comes back while the subscription is paused: its charge waits for the pause,
// and not for the token.
func TestTokenRace_aReturnAndAPause(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		moved bool // the subscription has another token by now: only the old charge waits for this one
	}{{"the subscription's own token", false}, {"the token that it had before", true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			for range raceRounds {
				token := d.newToken()
				sub := d.subscribe(token, "2126-01-31T09:00")
				id := d.chargeOf(sub)
				d.change(token, died)
				if tt.moved {
					d.exec(`UPDATE subscriptions SET token_id = $2 WHERE id = $1`, sub, d.twin(token))
				}
				d.race(d.comesBack(token), d.pauses(sub))
				if got := d.stands(id); got != "held subscription_paused" {
					t.Fatalf("the charge of the paused subscription is %q", got)
				}
			}
			d.requireEventsSound()
		})
	}
}

// The same, each at the other's worst moment: the pause has locked all it wants and
// stands before its audit row.
func TestTokenRace_aReturnDuringAPause(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token := d.newToken()
	sub := d.subscribe(token, "2126-01-31T09:00")
	held, due := d.chargeOf(sub), d.chargeOf(sub)
	d.change(token, died)
	d.exec(`UPDATE subscriptions SET token_id = $2 WHERE id = $1`, sub, d.twin(token))
	d.give(due, tokens.ID(get[int64](d, `SELECT max(id) FROM tokens`)))
	d.exec(`UPDATE charges SET state = 'due', reason = '' WHERE id = $1`, due)
	unblock := d.block("audit")
	paused, returned := make(chan error, 1), make(chan error, 1)
	go func() { paused <- d.pauses(sub)(context.Background()) }()
	d.waitForWaiters(1)
	go func() { returned <- d.comesBack(token)(context.Background()) }()
	d.waitForWaiters(2)
	unblock()
	for _, done := range []chan error{paused, returned} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	d.wantStands(map[billing.ChargeID]string{held: "held subscription_paused", due: "held subscription_paused"})
}

// A token is replaced while its charges are claimed: each is charged with the one that
// the run's list names, or left out of the run with that reason.
func TestTokenRace_aReplacementAndAClaim(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		old := d.newToken()
		next := d.twin(old)
		sub := d.subscribe(old, "2126-01-31T09:00")
		id, other := d.chargeOf(sub), d.give(d.charge(), old)
		run := d.run(id)
		var got scheduler.ClaimResult
		d.race(d.replaces(old, next), func(ctx context.Context) (err error) {
			got, err = d.db.ClaimDue(ctx, d.claimRequest(run))
			return err
		})
		switch token := d.tokenOf(id); {
		case token == old:
			if len(got.Charges) != 1 || got.Charges[0].TokenID != old || d.stands(id) != "claimed" {
				t.Errorf("the charge kept the old token: it is %q, claimed %+v", d.stands(id), got.Charges)
			}
		case len(got.Charges) > 0:
			t.Errorf("claimed with token %d, and moved to %d", got.Charges[0].TokenID, token)
		default:
			// Its lock may have been held: then the next pass sees the new token.
			d.claimDue(d.claimRequest(run))
			if reason := d.disposition(run, id); reason != "skipped token_changed" || d.stands(id) != "due" {
				t.Errorf("the charge has the new token: it is %q, the run says %q", d.stands(id), reason)
			}
		}
		if d.tokenOf(other) != next || get[tokens.ID](d, `SELECT token_id FROM subscriptions WHERE id = $1`, sub) != next {
			t.Error("what was not claimed did not move")
		}
	}
	d.requireEventsSound()
}

// A token is replaced while it, or the new one, dies: nothing is due with either dead.
func TestTokenRace_aReplacementAndADeath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		next bool // that one dies
	}{{"of the old token", false}, {"of the new token", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			for range raceRounds {
				old := d.newToken()
				next := d.twin(old)
				for range 2 {
					d.chargeOf(d.subscribe(old, "2126-01-31T09:00"))
				}
				dying := old
				if tt.next {
					dying = next
				}
				d.race(d.replaces(old, next), d.dies(dying))
				d.requireNothingSent()
				d.requireNothingForgotten()
				if moved := get[int](d, `SELECT count(*) FROM subscriptions WHERE token_id = $1`, next); moved != 2 && !(tt.next && moved == 0) {
					t.Errorf("%d of two subscriptions have the new token", moved)
				}
				if split := get[int](d, `SELECT count(*) FROM charges c JOIN subscriptions s ON s.id = c.subscription_id WHERE c.token_id <> s.token_id`); split > 0 {
					t.Errorf("%d charges have another token than their subscription", split)
				}
			}
			d.requireEventsSound()
		})
	}
}

// A token is replaced while plans, pauses and another replacement want the same rows
// in another order: a plan holds subscriptions and wants tokens.
func TestTokenRace_aReplacementAndEverybody(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range raceRounds {
		one := d.newToken()
		two := d.twin(one)
		var subs []billing.SubscriptionID
		for n := range 4 {
			subs = append(subs, d.subscribe([]tokens.ID{one, two}[n%2], fmt.Sprintf("2026-01-%02dT09:00", 28-n))) // due last first
		}
		d.race(d.replaces(one, two), d.replaces(two, one), d.plans(), d.pauses(subs[0]), d.pauses(subs[3]))
		if split := get[int](d, `SELECT count(*) FROM charges c JOIN subscriptions s ON s.id = c.subscription_id
		                          WHERE c.token_id <> s.token_id AND c.state IN ('due', 'held')`); split > 0 {
			t.Errorf("%d charges have another token than their subscription", split)
		}
	}
	d.requireNothingSent()
	d.requireEventsSound()
}

// Where somebody holds what a change wants, and wants what it has, the change lets go
// and waits: the other one never learns of it.
func TestTokenRace_theChangeGivesWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token := d.newToken()
	first, second := d.give(d.charge(), token), d.give(d.charge(), token)
	tx := d.sql.MustBegin()
	defer tx.Rollback() // without effect after the commit
	tx.MustExec(`SELECT FROM charges WHERE id = $1 FOR UPDATE`, second)
	done := make(chan error, 1)
	go func() { done <- d.dies(token)(context.Background()) }()
	d.waitForWaiters(1)
	// Both wait for the change, which waits for the second charge.
	tx.MustExec(`SELECT FROM charges WHERE id = $1 FOR UPDATE`, first)
	tx.MustExec(`SELECT FROM tokens WHERE id = $1 FOR NO KEY UPDATE`, token)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.wantStands(map[billing.ChargeID]string{first: "held token_invalid", second: "held token_invalid"})
}

// Who waits for a lock can be called back.
func TestTokenRace_aChangeThatIsCalledBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	tx := d.sql.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SELECT FROM charges WHERE id = $1 FOR UPDATE`, id)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.dies(d.tokenOf(id))(ctx) }()
	d.waitForWaiters(1)
	cancel()
	if err := <-done; err == nil {
		t.Error("it did what nobody wanted any more")
	}
	d.wantStands(map[billing.ChargeID]string{id: "due"})
}
