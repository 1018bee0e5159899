package postgres_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func (d *desk) claimDue(req scheduler.ClaimRequest) scheduler.ClaimResult {
	d.t.Helper()
	result, err := d.db.ClaimDue(context.Background(), req)
	if err != nil {
		d.t.Fatal(err)
	}
	return result
}

func (d *desk) manyCharges(n int) []billing.ChargeID {
	d.t.Helper()
	var ids []billing.ChargeID
	for range n {
		ids = append(ids, d.charge())
	}
	return ids
}

// disposition returns what a run's item says of itself: "skipped amount_changed".
func (d *desk) disposition(run scheduler.RunID, id billing.ChargeID) string {
	d.t.Helper()
	return get[string](d, `SELECT coalesce(disposition || ' ' || reason, '') FROM run_items WHERE run_id = $1 AND charge_id = $2`, run, id)
}

func TestClaimDue_WritesTheIntentAhead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	req := d.claimRequest(d.run(id))
	result := d.claimDue(req)
	if len(result.Charges) != 1 {
		t.Fatalf("%d charges claimed, want 1", len(result.Charges))
	}
	c := result.Charges[0]
	want := billing.ClaimedCharge{
		ID: id, Reference: c.Reference, MerchantAccount: "DemoEU", Model: billing.ModelUnscheduledCardOnFile,
		Amount: billing.Money{Minor: 1234, Currency: "EUR"}, TokenID: c.TokenID, Token: c.Token, ShopperReference: c.ShopperReference,
		PaymentMethod: "scheme", ReturnURL: "https://example.invalid/", Attempt: 1, LeaseNo: 1, RunID: int64(req.RunID),
		BusinessNow: c.BusinessNow,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	stored := get[string](d, `
		SELECT state || ' ' || (lease_owner = $2)::text || ' ' || wire_version || ' ' || (lease_until > now())::text || ' ' || (attempt_started_at IS NOT NULL)::text
		  FROM charges WHERE id = $1`, id, d.process)
	if stored != "claimed true 1 true true" {
		t.Errorf("stored: %s", stored)
	}
}

// What is not as it was planned gets its reason in the transaction of the claim.
func TestClaimDue_RejectsWhatChangedSinceThePlan(t *testing.T) {
	tests := []struct {
		name   string
		change string // of the charge $1
		want   string
	}{
		{"another amount", `UPDATE charges SET amount_minor = 99 WHERE id = $1`, "skipped amount_changed"},
		{"another token", `UPDATE charges SET token_id = (SELECT max(id) FROM tokens) WHERE id = $1`, "skipped token_changed"},
		{"an attempt of another run", `UPDATE charges SET answered = 1 WHERE id = $1`, "skipped attempt_changed"},
		{"held meanwhile", `UPDATE charges SET state = 'held', reason = 'held_by_person' WHERE id = $1`, "held held_by_person"},
		{"cancelled meanwhile", `UPDATE charges SET state = 'cancelled', reason = 'cancelled_by_person', finished_at = now() WHERE id = $1`, "skipped cancelled_by_person"},
		{"paid elsewhere meanwhile", `UPDATE charges SET state = 'paid', finished_at = now() WHERE id = $1`, "skipped paid_elsewhere"},
		{"put off meanwhile", `UPDATE charges SET next_attempt_at = now() + interval '9 days' WHERE id = $1`, "skipped no_longer_due"},
		{"about to be stopped", `UPDATE charges SET stop_request = 'hold', stop_reason = 'held_by_person', stop_actor = 'mia' WHERE id = $1`, ""},
		{"nothing", `SELECT $1::bigint`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.charge()
			d.token() // another one, for the change
			run := d.run(id)
			d.exec(tt.change, id)
			result := d.claimDue(d.claimRequest(run))
			if got := d.disposition(run, id); got != tt.want {
				t.Errorf("the item says %q, want %q", got, tt.want)
			}
			if claimed := len(result.Charges) == 1; claimed != (tt.name == "nothing") {
				t.Errorf("claimed: %t", claimed)
			}
		})
	}
}

func TestClaimDue_OnlyOfARunningRun(t *testing.T) {
	for _, state := range []scheduler.RunState{scheduler.RunPlanned, scheduler.RunAwaitingApproval, scheduler.RunPaused} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			run := d.run(d.charge())
			d.exec(`UPDATE runs SET state = $2 WHERE id = $1`, run, state)
			result := d.claimDue(d.claimRequest(run))
			if len(result.Charges) != 0 || result.RunState != state {
				t.Errorf("claimed %d charges of a run that is %s", len(result.Charges), result.RunState)
			}
		})
	}
}

// Two charges of one token are never open at once, also between runs.
func TestClaimDue_OneOpenChargeAToken(t *testing.T) {
	t.Parallel()
	for _, open := range []billing.ChargeState{billing.ChargeClaimed, billing.ChargeUnknown, billing.ChargePending} {
		t.Run(string(open), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			first, second := d.charge(), d.charge()
			d.exec(`UPDATE charges SET token_id = (SELECT token_id FROM charges WHERE id = $1) WHERE id = $2`, first, second)
			c := d.claim(first)
			switch open {
			case billing.ChargeUnknown:
				d.settle(c, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
			case billing.ChargePending:
				d.settle(c, billing.OutcomePending, billing.ChargePending, billing.ReasonAwaitsGateway)
			}
			run := d.run(second)
			if result := d.claimDue(d.claimRequest(run)); len(result.Charges) != 0 {
				t.Fatalf("a second charge of the token was claimed while the first is %s", open)
			}
			if got := d.disposition(run, second); got != "postponed same_card" {
				t.Errorf("the item says %q", got)
			}
		})
	}
}

// Eight processes claim one manifest at once: each charge goes to one of them.
func TestClaimDue_EachChargeOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const n, processes = 100, 8
	run := d.run(d.manyCharges(n)...)
	template := d.claimRequest(run)
	var mu sync.Mutex
	claimed := map[billing.ChargeID]int{}
	var working sync.WaitGroup
	for range processes {
		working.Go(func() {
			process, err := d.db.RegisterProcess(context.Background(), "test")
			if err != nil {
				t.Error(err)
				return
			}
			for after := 0; after < n; {
				req := template
				req.Token, req.Process, req.After, req.Limit = uuid.New(), process, after, 7
				result, err := d.db.ClaimDue(context.Background(), req)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, c := range result.Charges {
					claimed[c.ID]++
				}
				mu.Unlock()
				after = max(result.Position, after+1) // a process without slots goes on looking
			}
		})
	}
	working.Wait()
	for id, times := range claimed {
		if times != 1 {
			t.Errorf("charge %d was claimed %d times", id, times)
		}
	}
	if got := get[int](d, `SELECT count(*) FROM charges WHERE state = 'claimed'`); got != len(claimed) {
		t.Errorf("%d charges are claimed, %d were handed out", got, len(claimed))
	}
}

// The kill switch, a back-off and other processes' slots stop a claim.
func TestClaimDue_MayHaveToWait(t *testing.T) {
	t.Run("sending is stopped", func(t *testing.T) {
		t.Parallel()
		for _, stop := range [][2]string{{"all", ""}, {"merchant_account", "DemoEU"}, {"gateway", "adyen"}} {
			d := newDesk(t)
			d.exec(`INSERT INTO sending_stops (scope, name, reason, actor) VALUES ($1, $2, 'test', 'mia')`, stop[0], stop[1])
			result := d.claimDue(d.claimRequest(d.run(d.charge())))
			if len(result.Charges) != 0 || result.Halt != billing.ReasonAccountPaused {
				t.Errorf("%v: claimed %d, halt %q", stop, len(result.Charges), result.Halt)
			}
		}
	})
	t.Run("another account is stopped", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.exec(`INSERT INTO sending_stops (scope, name, reason, actor) VALUES ('merchant_account', 'Other', 'test', 'mia')`)
		if result := d.claimDue(d.claimRequest(d.run(d.charge()))); len(result.Charges) != 1 {
			t.Errorf("claimed %d, want 1", len(result.Charges))
		}
	})
	t.Run("the gateway asked us to stay away", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		if err := d.db.BackOff(context.Background(), "DemoEU", time.Minute); err != nil {
			t.Fatal(err)
		}
		result := d.claimDue(d.claimRequest(d.run(d.charge())))
		if len(result.Charges) != 0 || result.Wait < 50*time.Second {
			t.Errorf("claimed %d, wait %s", len(result.Charges), result.Wait)
		}
	})
	t.Run("the rate is used up", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.exec(`UPDATE merchant_accounts SET rate_per_second = 5`)
		run := d.run(d.manyCharges(40)...)
		first := d.claimDue(d.claimRequest(run))
		if len(first.Charges) != 9 || len(first.Departures) != 9 {
			t.Fatalf("claimed %d with %d departures; want what leaves in 2 s", len(first.Charges), len(first.Departures))
		}
		next := d.claimRequest(run)
		next.After = first.Position
		second := d.claimDue(next)
		if len(second.Charges) != 0 || second.Wait < 500*time.Millisecond {
			t.Errorf("then claimed %d, wait %s", len(second.Charges), second.Wait)
		}
	})
}

// Whoever asks, and whenever: no second holds more departures than the rate, even
// if one request leaves as late as it may and the next as early.
func TestReserve_NoSecondHoldsMoreThanTheRate(t *testing.T) {
	t.Parallel()
	const rate = 40
	d := newDesk(t)
	d.exec(`UPDATE merchant_accounts SET rate_per_second = $1`, rate)
	var mu sync.Mutex
	var all []scheduler.Departure
	var asking sync.WaitGroup
	for process := range 4 {
		asking.Go(func() {
			for i := range 10 {
				got, err := d.db.Reserve(context.Background(), "DemoEU", 1+(process+i)%7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, got...)
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b scheduler.Departure) int { return a.From.Compare(b.From) })
	for i := range len(all) - rate {
		if span := all[i+rate].From.Sub(all[i].Until); span < time.Second {
			t.Fatalf("%d requests may leave within %s", rate+1, span)
		}
	}
	d.exec(`UPDATE merchant_accounts SET rate_per_second = 0`)
	if got, err := d.db.Reserve(context.Background(), "DemoEU", 3); err != nil || len(got) != 3 || time.Until(got[2].From) > 0 {
		t.Errorf("without a rate: %v, %v", got, err)
	}
}

// All processes together never have more slots than the account allows, and
// each gets its fair share in the end.
func TestClaimDue_SharesTheSlots(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	run := d.run(d.manyCharges(1)...)
	held := map[scheduler.ProcessID]int{}
	processes := []scheduler.ProcessID{d.process}
	for range 2 {
		p, err := d.db.RegisterProcess(context.Background(), "test")
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
	}
	for round := range 6 {
		for _, p := range processes {
			req := d.claimRequest(run)
			req.Token, req.Process, req.SlotsHeld = uuid.New(), p, held[p]
			held[p] = d.claimDue(req).Slots
			if total := get[int](d, `SELECT sum(slots) FROM send_slots`); total > 64 {
				t.Fatalf("round %d: %d slots are taken, the account has 64", round, total)
			}
		}
	}
	for p, slots := range held {
		if slots != 21 {
			t.Errorf("process %d has %d slots, want a third of 64", p, slots)
		}
	}
}

func TestReadClaim(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	req := d.claimRequest(d.run(d.manyCharges(3)...))
	if _, err := d.db.ReadClaim(context.Background(), req); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("a claim that never happened: %v, want ErrNotFound", err)
	}
	made := d.claimDue(req)
	read, err := d.db.ReadClaim(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made.Charges, read.Charges); diff != "" || read.ID != made.ID || read.Position != made.Position {
		t.Errorf("read back another claim than was made (-made +read)\n%s", diff)
	}
}

// Only the process that holds the lease may say that nothing was sent.
func TestGiveBack_OnlyByItsHolder(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	c := d.claim(id)
	stale := c
	stale.LeaseNo--
	if err := d.db.GiveBack(context.Background(), []billing.ClaimedCharge{stale}, nil); err != nil {
		t.Fatal(err)
	}
	if got := d.stands(id); got != "claimed" {
		t.Fatalf("after a stale give-back: %s", got)
	}
	if err := d.db.GiveBack(context.Background(), []billing.ClaimedCharge{c}, nil); err != nil {
		t.Fatal(err)
	}
	if got := d.stands(id); got != "due" {
		t.Errorf("after the holder's give-back: %s", got)
	}
	if again := d.claim(id); again.Attempt != c.Attempt {
		t.Errorf("the next attempt has number %d, want the unspent %d", again.Attempt, c.Attempt)
	}
}

// A late answer of a process that lost its lease is true news about money; that
// it did not send is not.
func TestSettle_LateNews(t *testing.T) {
	tests := []struct {
		name    string
		outcome billing.Outcome
		state   billing.ChargeState
		want    string
	}{
		{"authorised", billing.OutcomeAuthorised, billing.ChargePaid, "paid"},
		{"refused", billing.OutcomeRefused, billing.ChargeUnpaid, "unpaid refused_hard"},
		{"accepted for later", billing.OutcomePending, billing.ChargePending, "pending refused_hard"},
		{"not sent", billing.OutcomeNotSent, billing.ChargeDue, "unknown lease_expired"},
		{"not processed", billing.OutcomeNotProcessed, billing.ChargeDue, "unknown lease_expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.charge()
			late := d.claim(id)
			d.exec(`UPDATE charges SET lease_until = now() - interval '1 s'`)
			d.exec(`UPDATE claims SET lease_until = now() - interval '1 s'`)
			if n, err := d.db.ExpireLeases(context.Background(), 10); n != 1 || err != nil {
				t.Fatalf("expired %d leases, error %v", n, err)
			}
			replays, err := d.db.ClaimReplays(context.Background(), scheduler.ReplayRequest{Process: d.process, MerchantAccount: "DemoEU", WireVersion: 1, Endpoint: "http://127.0.0.1:1/adyen/v71", Lease: time.Minute, Limit: 10})
			if err != nil || len(replays.Charges) != 1 {
				t.Fatalf("%d replays, error %v", len(replays.Charges), err)
			}
			if replay := replays.Charges[0]; replay.Attempt != late.Attempt || replay.LeaseNo == late.LeaseNo {
				t.Errorf("the replay has attempt %d and lease %d; the first had %d and %d", replay.Attempt, replay.LeaseNo, late.Attempt, late.LeaseNo)
			}
			reason := billing.Reason("")
			if tt.outcome != billing.OutcomeAuthorised {
				reason = billing.ReasonRefusedHard
			}
			d.settle(late, tt.outcome, tt.state, reason)
			if got := d.stands(id); got != tt.want {
				t.Errorf("the charge is %q, want %q", got, tt.want)
			}
			if got := get[int](d, `SELECT count(*) FROM observations WHERE source = 'api'`); got != 1 {
				t.Errorf("%d observations of the late answer, want it on record", got)
			}
		})
	}
}

// The same answer twice is old news; another answer is an alarm.
func TestSettle_AnswersAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	c := d.claim(id)
	d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, "")
	d.settle(c, billing.OutcomeAuthorised, billing.ChargePaid, "")
	if got := get[int](d, `SELECT count(*) FROM alerts`); got != 0 {
		t.Errorf("%d alerts for the same answer again", got)
	}
	d.settle(c, billing.OutcomeRefused, billing.ChargeUnpaid, billing.ReasonRefusedHard)
	if got := get[int](d, `SELECT count(*) FROM alerts WHERE kind = 'contradiction' AND charge_id = $1`, id); got != 1 {
		t.Errorf("%d alerts for a refusal after an authorisation, want 1", got)
	}
	if got := d.stands(id) + get[string](d, `SELECT ' ' || answered FROM charges WHERE id = $1`, id); got != "paid 1" {
		t.Errorf("the charge is %s", got)
	}
}

// A dead token takes all its due charges out of the way in the same transaction.
func TestSettle_InvalidTokenHoldsItsCharges(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first, second, other := d.charge(), d.charge(), d.charge()
	d.exec(`UPDATE charges SET token_id = (SELECT token_id FROM charges WHERE id = $1) WHERE id = $2`, first, second)
	c := d.claim(first)
	_, err := d.db.Settle(context.Background(), []*billing.Settlement{{
		ChargeID: c.ID, TokenID: c.TokenID, RunID: c.RunID, Attempt: 1, LeaseNo: c.LeaseNo, Source: billing.SourceAPI,
		Outcome: billing.OutcomeRefused, Counted: true, State: billing.ChargeHeld, Reason: billing.ReasonTokenInvalid, TokenCause: "refusal 6",
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[billing.ChargeID]string{first: "held token_invalid", second: "held token_invalid", other: "due"} {
		if got := d.stands(id); got != want {
			t.Errorf("charge %d: %s, want %s", id, got, want)
		}
	}
	if got := get[string](d, `SELECT state || ' ' || cause FROM tokens WHERE id = $1`, c.TokenID); got != "invalid refusal 6" {
		t.Errorf("the token is %s", got)
	}
}

// A replay may be the charge: it is not sent when a fact of now forbids it.
func TestClaimReplays_LooksAtTheFacts(t *testing.T) {
	tests := []struct {
		name   string
		change string
		want   string // state and reason; "" for a replay
	}{
		{"nothing", `SELECT 1`, ""},
		{"a person wants it stopped", `UPDATE charges SET stop_request = 'cancel', stop_reason = 'cancelled_by_person', stop_actor = 'mia'`, "unknown cancelled_by_person"},
		{"the token died", `UPDATE tokens SET state = 'invalid', cause = 'test'`, "unknown token_invalid"},
		{"the run was aborted", `UPDATE runs SET state = 'aborted', finished_at = now()`, "unknown run_aborted"},
		{"the key may be forgotten", `UPDATE charges SET attempt_started_at = now() - interval '6 days 1 second'`, "unknown needs_person"},
		{"sending is stopped", `INSERT INTO sending_stops (scope, reason, actor) VALUES ('all', 'test', 'mia')`, "unknown answer_missing"},
		{"the gateway asked us to stay away", `UPDATE merchant_accounts SET backoff_until = now() + interval '1 minute'`, "unknown answer_missing"},
		{"the account moved to another endpoint", `
			WITH s AS (INSERT INTO account_settings (merchant_account, base_url, return_url) VALUES ('DemoEU', 'http://127.0.0.1:2', 'x') RETURNING id)
			UPDATE charges SET account_settings_id = s.id FROM s`, "unknown answer_missing"},
		{"written by a version of which this one cannot make the bytes", `UPDATE charges SET wire_version = 7`, "unknown answer_missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			id := d.charge()
			d.settle(d.claim(id), billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
			d.exec(`UPDATE charges SET resolve_at = now() - interval '1 s'`)
			d.exec(tt.change)
			replays, err := d.db.ClaimReplays(context.Background(), scheduler.ReplayRequest{Process: d.process, MerchantAccount: "DemoEU", WireVersion: 1, Endpoint: "http://127.0.0.1:1/adyen/v71", Lease: time.Minute, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(replays.Charges) != 1 || replays.Charges[0].Replays != 1 {
					t.Errorf("replays: %+v, want the charge", replays)
				}
				return
			}
			if len(replays.Charges) != 0 {
				t.Error("it would be sent again")
			}
			if got := d.stands(id); got != tt.want {
				t.Errorf("the charge is %q, want %q", got, tt.want)
			}
		})
	}
}
