package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// ErrLive says that something is meant for tests only, but the database knows a
// merchant account that charges real cards.
var ErrLive = errors.New("a live merchant account is configured")

// MaxClockSpeed is the fastest that a test clock runs: eleven days a second.
const MaxClockSpeed = 1e6

// A Clock is the time of the installation. Business time decides what is due;
// real time, the database's own, decides leases, the life of keys and rates,
// whatever the test clock shows.
type Clock struct {
	Business time.Time `db:"business"`
	Real     time.Time `db:"real"`
	Test     bool      `db:"test"`  // business time is a test clock's
	Speed    float64   `db:"speed"` // seconds of business time in a second; 0 stands still
}

// Clock returns the time of the installation.
func (db *DB) Clock(ctx context.Context) (Clock, error) {
	var c Clock
	err := db.inSnapshot(ctx, "read clock", func(tx *sqlx.Tx) (err error) {
		c, err = readClock(ctx, tx)
		return err
	})
	return c, err
}

func readClock(ctx context.Context, tx *sqlx.Tx) (Clock, error) {
	const query = `
		SELECT business_now() AS business, clock_timestamp() AS real,
		       t.speed IS NOT NULL AS test, coalesce(t.speed, 1) AS speed
		  FROM (SELECT 1) one LEFT JOIN test_clock t ON true`
	var c Clock
	if err := tx.GetContext(ctx, &c, query); err != nil {
		return c, fmt.Errorf("read business time: %w", err)
	}
	c.Business, c.Real = c.Business.UTC(), c.Real.UTC()
	return c, nil
}

// SetTestClock makes business time begin anew at start and run with speed. It
// returns ErrLive if any merchant account is live, and billing.ErrInvalid for a
// speed that is not within 0 and MaxClockSpeed.
func (db *DB) SetTestClock(ctx context.Context, start time.Time, speed float64, actor string) (Clock, error) {
	return db.changeClock(ctx, "clock set", actor, func(tx *sqlx.Tx, _ Clock) error {
		return storeTestClock(ctx, tx, start, speed)
	})
}

// AdvanceTestClock moves business time forward by d, which must be positive, and
// keeps its speed. Without a test clock it starts one. It returns ErrLive if any
// merchant account is live.
func (db *DB) AdvanceTestClock(ctx context.Context, d time.Duration, actor string) (Clock, error) {
	if d <= 0 {
		return Clock{}, fmt.Errorf("%w duration: a clock advances by more than nothing, not by %s", billing.ErrInvalid, d)
	}
	return db.changeClock(ctx, "clock advance", actor, func(tx *sqlx.Tx, now Clock) error {
		return storeTestClock(ctx, tx, now.Business.Add(d), now.Speed)
	})
}

// ResetTestClock makes business time the database's own again. It is allowed
// always, since that is how it should be.
func (db *DB) ResetTestClock(ctx context.Context, actor string) (Clock, error) {
	return db.changeClock(ctx, "clock reset", actor, func(tx *sqlx.Tx, _ Clock) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM test_clock`)
		return err
	})
}

func storeTestClock(ctx context.Context, tx *sqlx.Tx, start time.Time, speed float64) error {
	if math.IsNaN(speed) || speed < 0 || speed > MaxClockSpeed {
		return fmt.Errorf("%w speed: want 0 to %.0f seconds of business time in a second", billing.ErrInvalid, MaxClockSpeed)
	}
	if year := start.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("%w time: the year is not within 1 and 9999", billing.ErrInvalid)
	}
	if err := refuseLiveAccounts(ctx, tx); err != nil {
		return err
	}
	const query = `
		INSERT INTO test_clock (start, set_at, speed) VALUES ($1, clock_timestamp(), $2)
		ON CONFLICT (only_row) DO UPDATE SET start = excluded.start, set_at = excluded.set_at, speed = excluded.speed`
	_, err := tx.ExecContext(ctx, query, start, speed)
	return err
}

// refuseLiveAccounts keeps test time away from real cards.
func refuseLiveAccounts(ctx context.Context, tx *sqlx.Tx) error {
	const query = `SELECT id FROM merchant_accounts WHERE environment = 'live' ORDER BY id LIMIT 1 FOR SHARE`
	var live []string
	if err := tx.SelectContext(ctx, &live, query); err != nil {
		return fmt.Errorf("look for live merchant accounts: %w", err)
	}
	if len(live) > 0 {
		return fmt.Errorf("business time cannot be moved while %s charges real cards: %w", live[0], ErrLive)
	}
	return nil
}

// clockOnRecord is the clock as the audit table shows it before and after.
type clockOnRecord struct {
	Business time.Time `json:"business"`
	Test     bool      `json:"test"`
	Speed    float64   `json:"speed"`
}

// changeClock changes the clock one process at a time, and returns what it
// shows then.
func (db *DB) changeClock(ctx context.Context, doing, actor string, change func(tx *sqlx.Tx, now Clock) error) (Clock, error) {
	var after Clock
	err := db.inTx(ctx, doing, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `LOCK TABLE test_clock IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		before, err := readClock(ctx, tx)
		if err != nil {
			return err
		}
		if err := change(tx, before); err != nil {
			return err
		}
		if after, err = readClock(ctx, tx); err != nil {
			return err
		}
		if after.Business.Before(before.Business) {
			if err := forgetFutureFires(ctx, tx, after.Business); err != nil {
				return err
			}
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: actor, Action: doing, ObjectKind: auditKindTestClock, Object: auditKindTestClock,
			Before: clockOnRecord{before.Business, before.Test, before.Speed},
			After:  clockOnRecord{after.Business, after.Test, after.Speed},
		})
	})
	return after, err
}
