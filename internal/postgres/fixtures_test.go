package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/pgtest"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// A desk is a database with one merchant account, DemoEU, and everything that
// people and processes do to its charges.
type desk struct {
	t    testing.TB
	db   *postgres.DB
	sql  *sqlx.DB // for what no use case stores or shows
	dsn  string
	made int

	process scheduler.ProcessID // the only one that claims: it has every slot
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	dsn := pgtest.New(t).DSN
	d := &desk{t: t, db: openDB(t, dsn), dsn: dsn}
	d.sql = sqlx.NewDb(d.db.SQL(), "postgres")
	account := postgres.AccountSettings{ID: "DemoEU", Gateway: "adyen", Environment: "test",
		BaseURL: "http://127.0.0.1:1/adyen/v71", ReturnURL: "https://example.invalid/", MaxInFlight: 64}
	if err := d.db.SyncAccounts(context.Background(), []postgres.AccountSettings{account}); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.process, err = d.db.RegisterProcess(context.Background(), "test"); err != nil {
		t.Fatal(err)
	}
	return d
}

func openDB(t testing.TB, dsn string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), dsn, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// number makes names unique within the desk.
func (d *desk) number() int {
	d.made++
	return d.made
}

func (d *desk) exec(query string, args ...any) {
	d.t.Helper()
	if _, err := d.sql.Exec(query, args...); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
}

// get reads one value.
func get[T any](d *desk, query string, args ...any) T {
	d.t.Helper()
	var value T
	if err := d.sql.Get(&value, query, args...); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return value
}

func (d *desk) token() int64 {
	d.t.Helper()
	return get[int64](d, `
		INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoEU', $1, $2) RETURNING id`,
		fmt.Sprintf("TOKEN%d", d.number()), fmt.Sprintf("shopper-%d", d.number()))
}

// subscription stores one of 12.34 EUR a month in Berlin, whose cycle 1 begins at
// the local time anchor, and of which no cycle is a charge yet.
func (d *desk) subscription(reference, anchor string) billing.SubscriptionID {
	d.t.Helper()
	return billing.SubscriptionID(get[int64](d, `
		INSERT INTO subscriptions (token_id, amount_minor, currency, anchor, next_charge_at, first_cycle, next_cycle,
		                           interval_unit, interval_count, decided_by, timezone, merchant_account, reference)
		VALUES ($1, 1234, 'EUR', $2::timestamp, $2::timestamp AT TIME ZONE 'Europe/Berlin', 1, 1,
		        'month', 1, 'mia', 'Europe/Berlin', 'DemoEU', $3)
		RETURNING id`, d.token(), anchor, reference))
}

// charge stores an unscheduled one of 12.34 EUR that is due, with a token of its
// own.
func (d *desk) charge() billing.ChargeID {
	d.t.Helper()
	return billing.ChargeID(get[int64](d, `
		INSERT INTO charges (token_id, amount_minor, currency, merchant_account, reference, model, due_at, next_attempt_at, decided_by)
		VALUES ($1, 1234, 'EUR', 'DemoEU', $2, 'UnscheduledCardOnFile', '2026-01-31T09:00:00Z', '2026-01-31T09:00:00Z', 'mia')
		RETURNING id`, d.token(), fmt.Sprintf("topup-%d", d.number())))
}

// chargeOf stores a due charge of a cycle that lies before its subscription's
// next one.
func (d *desk) chargeOf(id billing.SubscriptionID) billing.ChargeID {
	d.t.Helper()
	d.exec(`UPDATE subscriptions SET next_cycle = next_cycle + 1, next_charge_at = next_charge_at + interval '1 month' WHERE id = $1`, id)
	return billing.ChargeID(get[int64](d, `
		INSERT INTO charges (subscription_id, token_id, amount_minor, currency, merchant_account, reference, model,
		                     cycle, period_start, period_end, due_at, next_attempt_at, decided_by)
		SELECT s.id, s.token_id, s.amount_minor, s.currency, s.merchant_account, s.reference || '~' || (s.next_cycle - 1), 'Subscription',
		       s.next_cycle - 1, '2026-01-31', '2026-02-28', '2026-01-31T08:00:00Z', '2026-01-31T08:00:00Z', 'plan'
		  FROM subscriptions s WHERE s.id = $1
		RETURNING id`, id))
}

// run stores a running run with the charges as its manifest.
func (d *desk) run(ids ...billing.ChargeID) scheduler.RunID {
	d.t.Helper()
	id := scheduler.RunID(get[int64](d, `
		INSERT INTO runs (state, as_of, business_day, created_by, decided_by, items, manifest_hash)
		VALUES ('running', clock_timestamp() + interval '1 day', current_date, 'mia', 'mia', $1, 'sha256:' || repeat('0', 64))
		RETURNING id`, len(ids)))
	for i, charge := range ids {
		d.exec(`
			INSERT INTO run_items (run_id, merchant_account, position, charge_id, amount_minor, token_id, answered)
			SELECT $1, merchant_account, $2, id, amount_minor, token_id, answered FROM charges WHERE id = $3`, id, i+1, charge)
	}
	return id
}

// claimRequest asks for a whole manifest in one claim.
func (d *desk) claimRequest(run scheduler.RunID) scheduler.ClaimRequest {
	d.t.Helper()
	return scheduler.ClaimRequest{
		Token: uuid.New(), Process: d.process, RunID: run, MerchantAccount: "DemoEU",
		Last: get[int](d, `SELECT items FROM runs WHERE id = $1`, run), Limit: 100, WireVersion: 1, Endpoint: "http://127.0.0.1:1/adyen/v71",
		Lease: time.Minute, ClaimAhead: 2 * time.Second,
	}
}

// claim leases a charge through a run of its own.
func (d *desk) claim(id billing.ChargeID) billing.ClaimedCharge {
	d.t.Helper()
	result, err := d.db.ClaimDue(context.Background(), d.claimRequest(d.run(id)))
	if err != nil || len(result.Charges) != 1 {
		d.t.Fatalf("claim charge %d: got %d charges, error %v", id, len(result.Charges), err)
	}
	return result.Charges[0]
}

// settle records what a claimed charge's request led to.
func (d *desk) settle(c billing.ClaimedCharge, outcome billing.Outcome, state billing.ChargeState, reason billing.Reason) {
	d.t.Helper()
	s := billing.Settlement{
		ChargeID: c.ID, RunID: c.RunID, Attempt: c.Attempt, LeaseNo: c.LeaseNo, TokenID: c.TokenID,
		Counted: outcome == billing.OutcomeAuthorised || outcome == billing.OutcomeRefused,
		Source:  billing.SourceAPI, Outcome: outcome, State: state, Reason: reason, ResolveIn: time.Minute,
	}
	if _, err := d.db.Settle(context.Background(), []*billing.Settlement{&s}, nil); err != nil {
		d.t.Fatal(err)
	}
}

// stands returns a charge's state and reason in one word: "held held_by_person".
func (d *desk) stands(id billing.ChargeID) string {
	d.t.Helper()
	return get[string](d, `SELECT trim(state || ' ' || reason) FROM charges WHERE id = $1`, id)
}

// waitForWaiters returns when n connections wait for a lock.
func (d *desk) waitForWaiters(n int) {
	d.t.Helper()
	deadline := time.After(30 * time.Second)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	const query = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	for get[int](d, query) < n {
		select {
		case <-deadline:
			d.t.Fatalf("fewer than %d connections wait for a lock", n)
		case <-ticker.C:
		}
	}
}

// block locks a table against writers until the returned function is called.
func (d *desk) block(table string) (unblock func()) {
	d.t.Helper()
	tx, err := d.sql.Beginx()
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := tx.Exec(`LOCK TABLE ` + table + ` IN EXCLUSIVE MODE`); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { tx.Rollback() })
	return func() {
		if err := tx.Rollback(); err != nil {
			d.t.Error(err)
		}
	}
}

// by is a decision as a person makes it.
func by(why string) billing.Decision { return billing.Decision{Actor: "mia", Why: why} }
