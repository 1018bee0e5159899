package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// AccountSettings is what configuration says about a merchant account.
type AccountSettings struct {
	ID            string
	Gateway       string
	Environment   string // test or live
	BaseURL       string
	ReturnURL     string
	MaxInFlight   int
	RatePerSecond float64 // 0 for no limit
	HourLimits    HourLimits
}

// SyncAccounts brings the merchant accounts of the configuration into the
// database. It refuses what would send an open attempt elsewhere than it went
// first, or mix test and live: a changed gateway or environment, and a changed
// base_url while attempts of the account are open.
func (db *DB) SyncAccounts(ctx context.Context, accounts []AccountSettings) error {
	return db.inTx(ctx, "store merchant accounts", func(tx *sqlx.Tx) error {
		for _, a := range accounts {
			if err := syncAccount(ctx, tx, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func syncAccount(ctx context.Context, tx *sqlx.Tx, a AccountSettings) error {
	var now struct {
		Gateway     string  `db:"gateway"`
		Environment string  `db:"environment"`
		BaseURL     string  `db:"base_url"`
		ReturnURL   string  `db:"return_url"`
		MaxInFlight int     `db:"max_in_flight"`
		Rate        float64 `db:"rate_per_second"`
		MaxCharges  int64   `db:"max_charges_per_hour"`
		MaxAmount   []byte  `db:"max_money_per_hour"`
	}
	// No claim in between: it would open attempts that the check below does not
	// see. The row is locked first and its settings are read then: joined in one
	// statement, a row that changed its settings while its lock was waited for
	// would look as if it were not there.
	if _, err := tx.ExecContext(ctx, `SELECT FROM merchant_accounts WHERE id = $1 FOR NO KEY UPDATE`, a.ID); err != nil {
		return fmt.Errorf("lock merchant account %s: %w", a.ID, err)
	}
	const read = `
		SELECT a.gateway, a.environment, s.base_url, s.return_url, a.max_in_flight, a.rate_per_second, a.max_charges_per_hour, a.max_money_per_hour
		  FROM merchant_accounts a JOIN account_settings s ON s.id = a.settings_id
		 WHERE a.id = $1`
	err := notFound(tx.GetContext(ctx, &now, read, a.ID))
	switch {
	case err == billing.ErrNotFound:
		if err := refuseLiveOnTestClock(ctx, tx, a); err != nil {
			return err
		}
		return storeAccount(ctx, tx, a)
	case err != nil:
		return fmt.Errorf("read merchant account %s: %w", a.ID, err)
	case now.Gateway != a.Gateway || now.Environment != a.Environment:
		return fmt.Errorf("merchant account %s is %s at %s in the database, but %s at %s in the configuration: give the new one another id: %w",
			a.ID, now.Environment, now.Gateway, a.Environment, a.Gateway, billing.ErrInvalid)
	case now.BaseURL == a.BaseURL && now.ReturnURL == a.ReturnURL && now.MaxInFlight == a.MaxInFlight && now.Rate == a.RatePerSecond &&
		a.HourLimits.equal(now.MaxCharges, now.MaxAmount):
		return nil
	case now.BaseURL != a.BaseURL:
		if err := refuseOpenAttempts(ctx, tx, a.ID); err != nil {
			return err
		}
	}
	return storeAccount(ctx, tx, a)
}

// refuseLiveOnTestClock keeps real money away from a clock that people move.
func refuseLiveOnTestClock(ctx context.Context, tx *sqlx.Tx, a AccountSettings) error {
	if a.Environment != "live" {
		return nil
	}
	// No test clock may be set before this account is known.
	if _, err := tx.ExecContext(ctx, `LOCK TABLE test_clock IN SHARE MODE`); err != nil {
		return fmt.Errorf("lock test clock: %w", err)
	}
	var moved bool
	if err := tx.GetContext(ctx, &moved, `SELECT EXISTS (SELECT FROM test_clock)`); err != nil {
		return fmt.Errorf("read test clock: %w", err)
	}
	if moved {
		return fmt.Errorf("merchant account %s is live and this database runs on a test clock: use another database, or `contauth clock reset`: %w", a.ID, billing.ErrConflict)
	}
	return nil
}

// refuseOpenAttempts keeps an account at its endpoint while an attempt is
// open: idempotency keys are not shared between regions.
func refuseOpenAttempts(ctx context.Context, tx *sqlx.Tx, id string) error {
	const query = `
		SELECT count(*) FROM open_charges k JOIN charges c ON c.id = k.charge_id
		 WHERE c.merchant_account = $1 AND c.state IN ('claimed', 'pending', 'unknown')`
	var open int
	if err := tx.GetContext(ctx, &open, query, id); err != nil {
		return fmt.Errorf("count open attempts of %s: %w", id, err)
	}
	if open > 0 {
		return fmt.Errorf("base_url of merchant account %s cannot change while %d attempts are open, since another endpoint does not know their keys: resolve them first: %w",
			id, open, billing.ErrConflict)
	}
	return nil
}

func storeAccount(ctx context.Context, tx *sqlx.Tx, a AccountSettings) error {
	const settings = `
		WITH new AS (
			INSERT INTO account_settings (merchant_account, base_url, return_url) VALUES ($1, $2, $3)
			ON CONFLICT DO NOTHING RETURNING id)
		SELECT id FROM new
		UNION ALL
		SELECT id FROM account_settings WHERE merchant_account = $1 AND base_url = $2 AND return_url = $3
		LIMIT 1`
	var settingsID int
	if err := tx.GetContext(ctx, &settingsID, settings, a.ID, a.BaseURL, a.ReturnURL); err != nil {
		return fmt.Errorf("store settings of merchant account %s: %w", a.ID, err)
	}
	const store = `
		INSERT INTO merchant_accounts (id, gateway, environment, settings_id, max_in_flight, rate_per_second, max_charges_per_hour, max_money_per_hour)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE
		   SET settings_id = excluded.settings_id, max_in_flight = excluded.max_in_flight, rate_per_second = excluded.rate_per_second,
		       max_charges_per_hour = excluded.max_charges_per_hour, max_money_per_hour = excluded.max_money_per_hour`
	amounts, err := json.Marshal(a.HourLimits.AmountMinor)
	if err != nil {
		return fmt.Errorf("store merchant account %s: %w", a.ID, err)
	}
	if len(a.HourLimits.AmountMinor) == 0 {
		amounts = []byte("{}")
	}
	if _, err := tx.ExecContext(ctx, store, a.ID, a.Gateway, a.Environment, settingsID, a.MaxInFlight, a.RatePerSecond,
		a.HourLimits.Charges, string(amounts)); err != nil {
		return fmt.Errorf("store merchant account %s: %w", a.ID, err)
	}
	return nil
}

// Accounts lists every merchant account of the database.
func (db *DB) Accounts(ctx context.Context) ([]scheduler.Account, error) {
	const query = `SELECT id AS merchant_account, gateway, max_in_flight FROM merchant_accounts ORDER BY id`
	var accounts []scheduler.Account
	if err := db.sqlx.SelectContext(ctx, &accounts, query); err != nil {
		return nil, fmt.Errorf("list merchant accounts: %w", unavailable(err))
	}
	return accounts, nil
}

// account is the row that every claim of a merchant account locks, and what holds
// for it.
type account struct {
	BaseURL     string  `db:"base_url"`
	ReturnURL   string  `db:"return_url"`
	Environment string  `db:"environment"`
	Gateway     string  `db:"gateway"`
	SettingsID  int     `db:"settings_id"`
	MaxInFlight int     `db:"max_in_flight"`
	Rate        float64 `db:"rate_per_second"`
	BackOff     seconds `db:"back_off"`             // from now until claims may go on
	RateFree    seconds `db:"rate_free"`            // from now until the rate allows a request
	Stopped     bool    `db:"stopped"`              // by the kill switch
	MaxCharges  int64   `db:"max_charges_per_hour"` // 0 for no limit
	MaxAmount   []byte  `db:"max_money_per_hour"`   // JSON: minor units by currency
	Unbound     bool    `db:"-"`                    // live, and the database is not the one that was bound
}

// No second holds more requests than the rate allows, whichever processes send
// them: requests are reserved a twentieth further apart than the rate asks, and
// each leaves at most a twentieth of a second late.
const (
	spread   = 1.05
	lateness = 50 * time.Millisecond
)

// sendEvery is the distance between two requests at the account's rate.
func (a account) sendEvery() time.Duration {
	return time.Duration(spread * float64(time.Second) / a.Rate)
}

// pace spreads the next charges over the account's rate: as many as leave within
// the claim-ahead time. While more than half of that time is reserved by earlier
// claims, nothing is claimed until only a quarter of it is.
func (a account) pace(req scheduler.ClaimRequest, result *scheduler.ClaimResult) (limit int) {
	sendAfter := a.RateFree.duration()
	if sendAfter > req.ClaimAhead/2 {
		result.Wait = sendAfter - req.ClaimAhead/4
		return 0
	}
	return max(1, min(req.Limit, int((req.ClaimAhead-sendAfter)/a.sendEvery())))
}

// reserve takes n departures from the account's rate, from where the last one who
// asked left off.
func (a account) reserve(ctx context.Context, tx *sqlx.Tx, merchantAccount string, n int) ([]scheduler.Departure, error) {
	const query = `
		UPDATE merchant_accounts
		   SET next_send_at = greatest(next_send_at, clock_timestamp()) + make_interval(secs => $2)
		 WHERE id = $1
		RETURNING extract(epoch FROM next_send_at - make_interval(secs => $2) - clock_timestamp())::double precision`
	every := a.sendEvery()
	var wait seconds
	// The database read its clock at some moment between these two: the first
	// bounds how late a request may be, the second how early.
	before := time.Now()
	if err := tx.GetContext(ctx, &wait, query, merchantAccount, (time.Duration(n) * every).Seconds()); err != nil {
		return nil, fmt.Errorf("reserve rate: %w", notFound(err))
	}
	after := time.Now()
	until := before.Add(lateness)
	if unsure := after.Sub(before); unsure > lateness/2 {
		// A database that is slow to answer must not leave departures that nobody can
		// make: these are good for a while after the answer, and the next ones of the
		// account, whoever takes them, come that much later.
		until = after.Add(lateness / 2)
		const later = `UPDATE merchant_accounts SET next_send_at = next_send_at + make_interval(secs => $2) WHERE id = $1`
		if _, err := tx.ExecContext(ctx, later, merchantAccount, unsure.Seconds()); err != nil {
			return nil, fmt.Errorf("reserve rate: %w", err)
		}
	}
	departures := make([]scheduler.Departure, n)
	for i := range departures {
		in := wait.duration() + time.Duration(i)*every
		departures[i] = scheduler.Departure{From: after.Add(in), Until: until.Add(in)}
	}
	return departures, nil
}

// Reserve takes the next n departures from the account's rate; with none, it lets
// all of them leave at once.
func (db *DB) Reserve(ctx context.Context, merchantAccount string, n int) ([]scheduler.Departure, error) {
	// The row is locked first, so that waiting for it is not taken for slowness.
	const query = `SELECT rate_per_second FROM merchant_accounts WHERE id = $1 FOR NO KEY UPDATE`
	var departures []scheduler.Departure
	err := db.inTx(ctx, "reserve rate of "+merchantAccount, func(tx *sqlx.Tx) error {
		var a account
		err := tx.GetContext(ctx, &a.Rate, query, merchantAccount)
		switch {
		case err != nil:
			return notFound(err)
		case a.Rate == 0:
			now := time.Now()
			departures = slices.Repeat([]scheduler.Departure{{From: now, Until: now.Add(time.Minute)}}, n)
			return nil
		}
		departures, err = a.reserve(ctx, tx, merchantAccount, n)
		return err
	})
	return departures, err
}

const (
	lockAccountQuery = `
		SELECT environment, gateway, settings_id, max_in_flight, rate_per_second, max_charges_per_hour, max_money_per_hour,
		       greatest(extract(epoch FROM backoff_until - clock_timestamp()), 0)::double precision AS back_off,
		       greatest(extract(epoch FROM next_send_at - clock_timestamp()), 0)::double precision AS rate_free
		  FROM merchant_accounts
		 WHERE id = $1
		   FOR NO KEY UPDATE`
	readSettingsQuery = `
		SELECT base_url, return_url,
		       EXISTS (SELECT FROM sending_stops
		                WHERE scope = 'all' OR scope = 'merchant_account' AND name = $2 OR scope = 'gateway' AND name = $3) AS stopped
		  FROM account_settings
		 WHERE id = $1`
)

// lockAccountRow locks an account and reads what holds for it from then on: its
// settings and the kill switch, by a statement of its own, so that it sees what
// the lock waited for.
func (hot *hotStatements) lockAccountRow(ctx context.Context, tx *sqlx.Tx, merchantAccount string) (account, error) {
	var a account
	if err := tx.StmtxContext(ctx, hot.lockAccount).GetContext(ctx, &a, merchantAccount); err != nil {
		return account{}, fmt.Errorf("lock merchant account %s: %w", merchantAccount, notFound(err))
	}
	if err := tx.StmtxContext(ctx, hot.readSettings).GetContext(ctx, &a, a.SettingsID, merchantAccount, a.Gateway); err != nil {
		return account{}, fmt.Errorf("read settings of merchant account %s: %w", merchantAccount, notFound(err))
	}
	if a.Environment == "live" {
		bound, err := isBound(ctx, tx)
		if err != nil {
			return account{}, err
		}
		a.Unbound = !bound
	}
	return a, nil
}

// BackOff keeps every process from claiming at the account for a while.
func (db *DB) BackOff(ctx context.Context, merchantAccount string, wait time.Duration) error {
	const query = `
		UPDATE merchant_accounts
		   SET backoff_until = greatest(backoff_until, clock_timestamp() + make_interval(secs => $2))
		 WHERE id = $1`
	if _, err := db.sqlx.ExecContext(ctx, query, merchantAccount, wait.Seconds()); err != nil {
		return fmt.Errorf("back off from %s: %w", merchantAccount, err)
	}
	return nil
}
