package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func (d *desk) job(filter postgres.TokenFilter) (postgres.VerificationJobID, int) {
	d.t.Helper()
	id, items, err := d.db.CreateVerificationJob(context.Background(), filter, postgres.VerificationJob{
		Strategy: tokens.StrategyBasic, Selection: "--unverified", Actor: "mia", Reason: "before the run",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return id, items
}

func (d *desk) take(job postgres.VerificationJobID, limit int, patience time.Duration) []tokens.ID {
	d.t.Helper()
	taken, err := d.db.TakeVerifications(context.Background(), job, limit, patience)
	if err != nil {
		d.t.Fatal(err)
	}
	var ids []tokens.ID
	for _, token := range taken {
		if token.MerchantAccount != "DemoEU" || token.State == "" {
			d.t.Errorf("took %#v of %q, which is %q", token, token.MerchantAccount, token.State)
		}
		ids = append(ids, token.ID)
	}
	return ids
}

func (d *desk) finish(job postgres.VerificationJobID, result tokens.VerificationResult, ids ...tokens.ID) {
	d.t.Helper()
	for _, id := range ids {
		if err := d.db.FinishVerification(context.Background(), job, id, result); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *desk) manyTokens(n int) []tokens.ID {
	d.t.Helper()
	ids := make([]tokens.ID, n)
	for i := range ids {
		ids[i] = d.newToken()
	}
	return ids
}

// A job asks about the tokens of its filter that can still be charged, and its preview
// says how many.
func TestCreateVerificationJob(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
	ids := d.manyTokens(4)
	d.change(ids[1], died)
	d.change(ids[2], off)
	d.exec(`UPDATE tokens SET state = 'valid' WHERE id = $1`, ids[3])
	d.exec(`INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoMC', 'MC1', 'shopper-1')`)
	tests := []struct {
		name   string
		filter postgres.TokenFilter
		want   map[string]int
	}{
		{"all", postgres.TokenFilter{}, map[string]int{"DemoEU": 2, "DemoMC": 1}},
		{"that nobody verified", postgres.TokenFilter{Unverified: true}, map[string]int{"DemoEU": 1, "DemoMC": 1}},
		{"of an account", postgres.TokenFilter{MerchantAccount: "DemoMC"}, map[string]int{"DemoMC": 1}},
		{"dead ones", postgres.TokenFilter{State: tokens.Invalid}, map[string]int{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			preview, err := d.db.PreviewVerification(t.Context(), tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, preview); diff != "" {
				t.Errorf("preview (-want +got):\n%s", diff)
			}
			sum := 0
			for _, n := range tt.want {
				sum += n
			}
			id, items := d.job(tt.filter)
			job, err := d.db.FindVerificationJob(t.Context(), id)
			if err != nil || items != sum || job.Items != sum || job.Done != 0 || job.Results != nil {
				t.Errorf("%d items, found %+v, error %v; want %d", items, job, err, sum)
			}
			if job.Strategy != tokens.StrategyBasic || job.Selection != "--unverified" || job.Actor != "mia" || job.Reason != "before the run" || job.CreatedAt.IsZero() {
				t.Errorf("found %+v", job)
			}
		})
	}
	if _, _, err := d.db.CreateVerificationJob(t.Context(), postgres.TokenFilter{}, postgres.VerificationJob{Strategy: tokens.StrategyNone, Actor: "mia"}); err == nil {
		t.Error("a job that verifies nothing is stored")
	}
	if _, err := d.db.FindVerificationJob(t.Context(), 999); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("no such job: error %v", err)
	}
	if latest, err := d.db.FindVerificationJob(t.Context(), 0); err != nil || latest.Items != 0 {
		t.Errorf("the latest is %+v, error %v", latest, err)
	}
}

// A job that is interrupted goes on where it stopped: what was asked about is not
// asked about again, and what somebody took and did not finish is free in time.
func TestTakeVerifications(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ids := d.manyTokens(6)
	job, _ := d.job(postgres.TokenFilter{})
	other, _ := d.job(postgres.TokenFilter{})
	if got := d.take(job, 2, time.Minute); !slices.Equal(got, ids[:2]) {
		t.Errorf("first %v", got)
	}
	if got := d.take(job, 2, time.Minute); !slices.Equal(got, ids[2:4]) {
		t.Errorf("then %v: the same twice", got)
	}
	d.finish(job, tokens.VerificationPassedBasic, ids[0])
	d.finish(job, "", ids[3]) // given back
	if got := d.take(job, 10, time.Minute); !slices.Equal(got, ids[3:]) {
		t.Errorf("then %v, want what was given back and the rest", got)
	}
	d.exec(`UPDATE verification_items SET taken_until = now() - interval '1 second' WHERE token_id = $1`, ids[1]) // its worker died
	if got := d.take(job, 10, time.Minute); !slices.Equal(got, ids[1:2]) {
		t.Errorf("after its time %v", got)
	}
	if got := d.take(job, 10, time.Minute); got != nil {
		t.Errorf("while all are taken: %v", got)
	}
	d.finish(job, tokens.VerificationPassedBasic, ids[1], ids[2])
	d.finish(job, tokens.VerificationExpired, ids[3:]...)
	got, err := d.db.FindVerificationJob(t.Context(), job)
	if err != nil || got.Items != 6 || got.Done != 6 {
		t.Errorf("found %+v, error %v", got, err)
	}
	want := []postgres.VerificationCount{{Result: tokens.VerificationExpired, Count: 3}, {Result: tokens.VerificationPassedBasic, Count: 3}}
	if diff := cmp.Diff(want, got.Results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	d.exec(`UPDATE verification_items SET taken_until = now() - interval '1 second' WHERE job_id = $1`, job)
	if got := d.take(job, 10, time.Minute); got != nil {
		t.Errorf("asked about again: %v", got)
	}
	if got := d.take(other, 10, time.Minute); !slices.Equal(got, ids) {
		t.Errorf("another job takes %v: it is not concerned", got)
	}
	if err := d.db.FinishVerification(t.Context(), job, 999, tokens.VerificationPassed); !errors.Is(err, billing.ErrConflict) {
		t.Errorf("a token that is not in the job: error %v", err)
	}
}

// Whoever works on a job, no token is taken by two.
func TestTakeVerifications_byManyWorkers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.manyTokens(200)
	job, items := d.job(postgres.TokenFilter{})
	var mu sync.Mutex
	seen := map[tokens.ID]int{}
	worker := func(ctx context.Context) error {
		for {
			taken, err := d.db.TakeVerifications(ctx, job, 7, time.Minute)
			if err != nil || len(taken) == 0 {
				return err
			}
			for _, token := range taken {
				mu.Lock()
				seen[token.ID]++
				mu.Unlock()
				if err := d.db.FinishVerification(ctx, job, token.ID, tokens.VerificationPassedBasic); err != nil {
					return err
				}
			}
		}
	}
	d.race(worker, worker, worker, worker)
	// One that found all locked may have left; the last one did not.
	if len(seen) != items {
		t.Errorf("%d of %d tokens were verified", len(seen), items)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("token %d was verified %d times", id, times)
		}
	}
}

// Each verification of a token has a number of its own, by which the gateway knows it.
func TestCountVerification(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, other := d.newToken(), d.newToken()
	var mu sync.Mutex
	seen := map[int]bool{}
	counts := func(ctx context.Context) error {
		for range 5 {
			n, err := d.db.CountVerification(ctx, id)
			if err != nil {
				return err
			}
			mu.Lock()
			seen[n] = true
			mu.Unlock()
		}
		return nil
	}
	d.race(counts, counts, counts, func(ctx context.Context) error { _, err := d.db.ApplyChange(ctx, id, died); return err })
	for n := range 15 {
		if !seen[n+1] {
			t.Errorf("nobody got number %d: %v", n+1, seen)
		}
	}
	if n, err := d.db.CountVerification(t.Context(), other); n != 1 || err != nil {
		t.Errorf("the first of another token is %d, error %v", n, err)
	}
}

// What is due soonest is read first, once, and not again while the reading is good.
func TestTokensToRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.setClock("2027-01-31T00:00:00Z")
	d.exec(`INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight)
	        SELECT 'DemoMC', 'mastercard', 'test', settings_id, 1 FROM merchant_accounts`)
	subscribed := func(anchor string) tokens.ID { id := d.newToken(); d.subscribe(id, anchor); return id }
	charged := func(at string) tokens.ID {
		id := d.charge()
		d.exec(`UPDATE charges SET next_attempt_at = $2 WHERE id = $1`, id, at)
		return d.tokenOf(id)
	}
	third, last := subscribed("2027-02-03T09:00"), subscribed("2027-02-06T22:00")
	second := charged("2027-02-01T09:00:00Z")
	first := charged("2026-12-31T09:00:00Z") // overdue
	d.change(first, died)                    // the updater may have renewed it
	late := subscribed("2027-02-08T09:00")
	idle := d.newToken()
	gone := charged("2027-02-01T09:00:00Z")
	d.change(gone, off)
	paid := d.chargeIn(billing.ChargePaid)
	d.subscribe(third, "2027-02-02T09:00") // one that is due with it sooner: it is still read once
	elsewhere := tokens.ID(get[int64](d, `INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoMC', 'MC1', 'shopper-1') RETURNING id`))
	d.exec(`INSERT INTO charges (token_id, amount_minor, currency, merchant_account, reference, model, due_at, next_attempt_at, decided_by)
	        VALUES ($1, 1234, 'EUR', 'DemoMC', 'topup', 'UnscheduledCardOnFile', '2027-01-01T00:00:00Z', '2027-01-01T00:00:00Z', 'mia')`, elsewhere)

	const week, day = 7 * 24 * time.Hour, 24 * time.Hour
	read := func(limit int, accounts ...string) []tokens.ID {
		t.Helper()
		ids, err := d.db.TokensToRead(t.Context(), accounts, week, day, limit)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := read(2, "DemoEU"); !slices.Equal(got, []tokens.ID{first, second}) {
		t.Errorf("first %v, want %v", got, []tokens.ID{first, second})
	}
	if got := read(10, "DemoEU"); !slices.Equal(got, []tokens.ID{third, last}) {
		t.Errorf("then %v, want %v; not %d, which is due later, %d, with which nothing is, %d, which is gone, %d, which is paid",
			got, []tokens.ID{third, last}, late, idle, gone, d.tokenOf(paid))
	}
	if got := read(10, "DemoEU"); got != nil {
		t.Errorf("read again: %v", got)
	}
	if got := read(10, "DemoEU", "DemoMC"); !slices.Equal(got, []tokens.ID{elsewhere}) {
		t.Errorf("of two accounts %v, want the one of the other", got)
	}
	d.exec(`UPDATE cards SET read_at = now() - interval '25 hours' WHERE token_id = $1`, third)
	d.exec(`UPDATE cards SET read_at = now() - interval '23 hours' WHERE token_id = $1`, last)
	if got := read(10, "DemoEU"); !slices.Equal(got, []tokens.ID{third}) {
		t.Errorf("a day later %v, want %d alone", got, third)
	}
	if err := d.db.TokensUnread(t.Context(), []tokens.ID{second, last}); err != nil {
		t.Fatal(err)
	}
	if got := read(10, "DemoEU"); !slices.Equal(got, []tokens.ID{second, last}) {
		t.Errorf("after they were given back %v", got)
	}
}

// Daemons that look at the same moment get different tokens, and all of them.
func TestTokensToRead_byManyDaemons(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 100 {
		d.charge()
	}
	var mu sync.Mutex
	seen := map[tokens.ID]int{}
	daemon := func(ctx context.Context) error {
		for range 10 {
			ids, err := d.db.TokensToRead(ctx, []string{"DemoEU"}, time.Hour, time.Hour, 10)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, id := range ids {
				seen[id]++
			}
			mu.Unlock()
		}
		return nil
	}
	d.race(daemon, daemon, daemon)
	for id, times := range seen {
		if times != 1 {
			t.Errorf("token %d was read %d times", id, times)
		}
	}
	if rest, err := d.db.TokensToRead(t.Context(), []string{"DemoEU"}, time.Hour, time.Hour, 100); err != nil || len(seen)+len(rest) != 100 {
		t.Errorf("%d read, %d left, error %v; want 100 in all", len(seen), len(rest), err)
	}
}

// Looking for tokens to read, and what happens to one token, cost what is open, and not
// what was ever charged: nothing that grows with time is read from end to end.
func TestTokens_readNoWholeTable(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`
		WITH t AS (INSERT INTO tokens (merchant_account, token, shopper_reference)
		           SELECT 'DemoEU', 'BULK' || i, 'shopper-' || i FROM generate_series(1, 20000) i RETURNING id)
		INSERT INTO charges (token_id, amount_minor, due_at, next_attempt_at, decided_by, currency, model, merchant_account, reference, state, finished_at)
		SELECT id, 1000, now() - interval '1 day', now() - interval '1 day', 'test', 'EUR', 'UnscheduledCardOnFile', 'DemoEU', id || '-' || n,
		       CASE WHEN n = 1 AND id % 20 = 0 THEN 'due' ELSE 'paid' END, CASE WHEN n > 1 OR id % 20 <> 0 THEN now() END
		  FROM t, generate_series(1, 5) n`)
	d.exec(`
		INSERT INTO subscriptions (token_id, amount_minor, anchor, next_charge_at, first_cycle, next_cycle, interval_count, interval_unit,
		                           currency, decided_by, timezone, merchant_account, reference)
		SELECT id, 1000, '2026-01-31T09:00', now() + id * interval '1 hour', 1, 1, 1, 'month', 'EUR', 'test', 'UTC', 'DemoEU', 'sub-' || id FROM tokens`)
	d.exec(`ANALYZE`)
	scans := func() map[string]int {
		t.Helper()
		counts := map[string]int{}
		for _, table := range []string{"charges", "subscriptions", "observations"} {
			counts[table] = get[int](d, `SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = $1`, table)
		}
		return counts
	}
	before := scans()
	tests := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"tokens to read", func(ctx context.Context) error {
			ids, err := d.db.TokensToRead(ctx, []string{"DemoEU"}, 24*time.Hour, time.Hour, 500)
			if len(ids) != 500 {
				t.Errorf("%d tokens to read", len(ids))
			}
			return err
		}},
		{"a death", d.dies(20)},
		{"a return", d.comesBack(20)},
		{"a replacement that is refused", func(ctx context.Context) error {
			if err := d.replaces(20, 40)(ctx); !errors.Is(err, billing.ErrConflict) {
				return err
			}
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d.oneConnection(tt.do)
			after := scans()
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("whole tables that were read (-before +after):\n%s", diff)
			}
			before = after
		})
	}
}

// oneConnection does something and ends the connections that did it: with them, what
// they counted is on record.
func (d *desk) oneConnection(do contender) {
	d.t.Helper()
	if err := do(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	d.db.SQL().SetMaxIdleConns(0)
	defer d.db.SQL().SetMaxIdleConns(2)
	deadline := time.After(30 * time.Second)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	const others = `
		SELECT count(*) FROM pg_stat_activity
		 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`
	for get[int](d, others) > 0 {
		select {
		case <-deadline:
			d.t.Fatal("connections stay open")
		case <-ticker.C:
		}
	}
}

// A shopper who is deleted is charged no more; what was charged stays on record, and
// the name is nowhere.
func TestForgetShopper(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const shopper = "shopper-to-forget"
	token := d.newToken()
	d.exec(`UPDATE tokens SET shopper_reference = $2 WHERE id = $1`, token, shopper)
	second := d.twin(token)
	dead := d.twin(token)
	d.change(dead, off)
	active, paused := d.subscribe(token, "2126-01-31T09:00"), d.subscribe(second, "2126-01-31T09:00")
	cycle, old := d.chargeOf(active), d.chargeOf(paused)
	if _, err := d.db.PauseSubscription(t.Context(), paused, by("holiday")); err != nil {
		t.Fatal(err)
	}
	topup, held, paid := d.give(d.charge(), token), d.give(d.chargeIn(billing.ChargeHeld), second), d.give(d.chargeIn(billing.ChargePaid), token)
	d.session("card-1", shopper)
	d.deliver(d.tokenEvent(billing.EventTokenStored, "NEW1", "ours-alone", "a@b.example"), d.tokenEvent(billing.EventTokenUpdated, "NOBODYS", "", shopper))
	d.apply()
	other := d.charge()

	forgotten, err := d.db.ForgetShopper(t.Context(), shopper, by("asked to be deleted"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []tokens.ID
	for _, f := range forgotten {
		ids = append(ids, f.ID)
		if f.State != tokens.Disabled || f.ShopperReference != shopper || f.Reference == "" {
			t.Errorf("%s is %s: its gateway needs %q to remove it", f, f.State, f.ShopperReference)
		}
	}
	if !slices.Equal(ids, []tokens.ID{token, second, dead}) {
		t.Errorf("tokens to remove at the gateway: %v", ids)
	}
	want := map[billing.ChargeID]string{cycle: "cancelled subscription_cancelled", old: "cancelled subscription_cancelled",
		topup: "cancelled cancelled_by_person", held: "cancelled cancelled_by_person", paid: "paid", other: "due"}
	d.wantStands(want)
	for _, sub := range []billing.SubscriptionID{active, paused} {
		if got := get[string](d, `SELECT state FROM subscriptions WHERE id = $1`, sub); got != "cancelled" {
			t.Errorf("a subscription is %s", got)
		}
	}
	if got := d.timeline(token); !slices.Equal(got, []string{"erased disabled by person"}) {
		t.Errorf("timeline %q", got)
	}
	// The cancelling is the earlier news: nothing was held for a dead token first.
	if n := get[int](d, `SELECT count(*) FROM audit WHERE object_kind = 'charge' AND before ->> 'reason' = 'token_invalid'`); n > 0 {
		t.Errorf("%d charges were held before they were cancelled", n)
	}
	if err := d.db.EraseShopper(t.Context(), shopper); err != nil {
		t.Fatal(err)
	}
	d.wantStands(want)
	if n := get[int](d, `SELECT count(*) FROM observations WHERE charge_id = $1`, paid); n != 1 {
		t.Errorf("%d observations of what was paid", n)
	}
	d.requireNowhere(shopper)
	if names := get[int](d, `SELECT count(DISTINCT shopper_reference) FROM tokens WHERE shopper_reference LIKE 'erased-%'`); names != 3 {
		t.Errorf("%d tokens have a name of their own that says nothing, want 3", names)
	}
	// What the gateway still tells brings nobody back.
	d.deliver(d.tokenEvent(billing.EventTokenStored, "NEW2", "card-1", ""))
	d.apply()
	if n := get[int](d, `SELECT count(*) FROM tokens WHERE token = 'NEW2'`); n > 0 {
		t.Error("a session of the deleted shopper brought a token")
	}
	if _, err := d.db.ForgetShopper(t.Context(), shopper, by("again")); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("forgotten twice: error %v", err)
	}
	d.requireEventsSound()
}

// requireNowhere looks for a text in every column of every table.
func (d *desk) requireNowhere(text string) {
	d.t.Helper()
	var tables []string
	if err := d.sql.Select(&tables, `SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`); err != nil {
		d.t.Fatal(err)
	}
	if len(tables) < 20 {
		d.t.Fatalf("looked through %d tables only", len(tables))
	}
	for _, table := range tables {
		if n := get[int](d, `SELECT count(*) FROM `+table+` x WHERE strpos(x::text, $1) > 0`, text); n > 0 {
			d.t.Errorf("%q is still in %d rows of %s", text, n, table)
		}
	}
}

// A shopper of whom a request may be at a gateway is not deleted: the answer must find
// what it was sent with.
func TestForgetShopper_whileOneIsAtTheGateway(t *testing.T) {
	t.Parallel()
	for _, state := range []billing.ChargeState{billing.ChargeClaimed, billing.ChargePending, billing.ChargeUnknown} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			open := d.chargeIn(state)
			token := d.tokenOf(open)
			due := d.give(d.charge(), token)
			shopper := get[string](d, `SELECT shopper_reference FROM tokens WHERE id = $1`, token)
			_, err := d.db.ForgetShopper(t.Context(), shopper, by("asked to be deleted"))
			if !errors.Is(err, billing.ErrConflict) || !strings.Contains(err.Error(), get[string](d, `SELECT reference FROM charges WHERE id = $1`, open)) {
				t.Errorf("error %v, want the charge's name", err)
			}
			d.wantStands(map[billing.ChargeID]string{due: "due"})
			if got := d.tokenIs(token); got != "unverified" {
				t.Errorf("the token is %q", got)
			}
			if err := d.db.EraseShopper(t.Context(), shopper); !errors.Is(err, billing.ErrConflict) {
				t.Errorf("erased while its token lives: error %v", err)
			}
			d.change(token, off)
			if err := d.db.EraseShopper(t.Context(), shopper); !errors.Is(err, billing.ErrConflict) {
				t.Errorf("erased while a request with the name is open: error %v", err)
			}
			if got := get[string](d, `SELECT shopper_reference FROM tokens WHERE id = $1`, token); got != shopper {
				t.Errorf("the token is now %s's", got)
			}
		})
	}
}

// What is claimed or planned while a shopper is deleted is found by one of the two
// looks: nothing of the shopper's is left to be charged.
func TestForgetShopper_whileOthersWork(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for n := range raceRounds / 2 {
		shopper := fmt.Sprint("forget-me-", n)
		token := d.newToken()
		d.exec(`UPDATE tokens SET shopper_reference = $2 WHERE id = $1`, token, shopper)
		d.subscribe(token, "2026-01-31T09:00")
		id := d.give(d.charge(), token)
		forget := func(ctx context.Context) error {
			_, err := d.db.ForgetShopper(ctx, shopper, by("asked to be deleted"))
			return err
		}
		d.race(forget, d.claimsAndGivesBack(d.claimRequest(d.run(id))), d.plans())
		if err := forget(context.Background()); err != nil { // once more, where the claim was first
			t.Fatal(err)
		}
		if n := get[int](d, `SELECT count(*) FROM charges c JOIN tokens t ON t.id = c.token_id WHERE t.shopper_reference = $1 AND c.finished_at IS NULL`, shopper); n > 0 {
			t.Errorf("%d charges of the shopper's are open", n)
		}
		if err := d.db.EraseShopper(t.Context(), shopper); err != nil {
			t.Error(err)
		}
	}
	d.requireEventsSound()
}

// One who opened a session and never came back has a name here, too.
func TestForgetShopper_withoutAToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.session("card-1", "shopper-to-forget")
	forgotten, err := d.db.ForgetShopper(t.Context(), "shopper-to-forget", by("asked to be deleted"))
	if err != nil || len(forgotten) > 0 {
		t.Errorf("tokens %v, error %v", forgotten, err)
	}
	if err := d.db.EraseShopper(t.Context(), "shopper-to-forget"); err != nil {
		t.Fatal(err)
	}
	d.requireNowhere("shopper-to-forget")
	if _, err := d.db.ForgetShopper(t.Context(), "nobody", by("asked to be deleted")); !errors.Is(err, billing.ErrNotFound) {
		t.Errorf("nobody: error %v", err)
	}
	if _, err := d.db.ForgetShopper(t.Context(), "shopper-1", billing.Decision{Actor: "mia"}); !errors.Is(err, billing.ErrInvalid) {
		t.Errorf("without a reason: error %v", err)
	}
}
