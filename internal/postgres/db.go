// Package postgres keeps runs, charges and all that is known about them in
// PostgreSQL. Outside tests and the benchmark it is the only package that
// speaks SQL and knows sqlx and lib/pq.
//
// Exported methods are whole use cases, each one transaction. None is open
// while a gateway is called.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// A DB is a handle on contauth's database. It is safe for many goroutines.
type DB struct {
	sqlx   *sqlx.DB
	logger hclog.Logger
	hotMu  sync.Mutex
	hot    *hotStatements // nil until somebody needs them

	shopperDayLimit int // of plans that set none; 0 for no limit
}

var _ scheduler.Store = (*DB)(nil)

// maxConnections is one claimer, two flushers and two more: on few cores more
// connections are slower.
const maxConnections = 6

// Open connects to the database at dsn, which must state its sslmode. It
// returns an error if the database does not answer.
func Open(ctx context.Context, dsn string, logger hclog.Logger) (*DB, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// Compiling a plan costs tens of milliseconds: our statements are short, but on
	// large tables the planner thinks some of them worth it, each time anew.
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	if _, set := cfg.Runtime["jit"]; !set {
		cfg.Runtime["jit"] = "off"
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("connect to database: %w", err)
	}
	return &DB{sqlx: db, logger: logger.Named("postgres")}, nil
}

// LimitShopperDay lets every plan leave out what would be more than so many charges
// of a shopper on one business day. Call it before anybody plans.
func (db *DB) LimitShopperDay(charges int) { db.shopperDayLimit = charges }

// Close closes all connections.
func (db *DB) Close() error { return db.sqlx.Close() }

// SQL returns the handle for the migrations, which bring their own statements.
func (db *DB) SQL() *sql.DB { return db.sqlx.DB }

// inTx runs work in one transaction: committed on nil, rolled back on an error
// or a panic. An error at COMMIT is ErrUnknown: the caller must read back.
func (db *DB) inTx(ctx context.Context, doing string, work func(tx *sqlx.Tx) error) error {
	return inTxOf(ctx, db.sqlx, doing, work)
}

// A beginner begins transactions: the pool, or one connection of it.
type beginner interface {
	BeginTxx(ctx context.Context, opts *sql.TxOptions) (*sqlx.Tx, error)
}

func inTxOf(ctx context.Context, db beginner, doing string, work func(tx *sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: begin: %w", doing, unavailable(err))
	}
	defer tx.Rollback() // without effect after a commit
	if err := work(tx); err != nil {
		return fmt.Errorf("%s: %w", doing, unavailable(err))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: commit: %w: %w", doing, billing.ErrUnknown, unavailable(err))
	}
	return nil
}

// BusinessNow is the business time of the installation: the test clock where
// one is set, else the database's own clock.
func (db *DB) BusinessNow(ctx context.Context) (time.Time, error) {
	var now time.Time
	if err := db.sqlx.GetContext(ctx, &now, `SELECT business_now()`); err != nil {
		return time.Time{}, fmt.Errorf("read business time: %w", err)
	}
	return now.UTC(), nil
}

// KeySecret returns the secret that idempotency keys are derived from.
func (db *DB) KeySecret(ctx context.Context) ([]byte, error) {
	var key []byte
	if err := db.sqlx.GetContext(ctx, &key, `SELECT key_secret FROM instance`); err != nil {
		return nil, fmt.Errorf("read key secret: %w", err)
	}
	return key, nil
}

// RegisterProcess records the start of a process that claims charges.
func (db *DB) RegisterProcess(ctx context.Context, version string) (scheduler.ProcessID, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	const query = `INSERT INTO processes (host, pid, version) VALUES ($1, $2, $3) RETURNING id`
	var id scheduler.ProcessID
	if err := db.sqlx.GetContext(ctx, &id, query, host, os.Getpid(), version); err != nil {
		return 0, fmt.Errorf("register process: %w", err)
	}
	return id, nil
}

// finds answers a question of one row, which a loop asks before it takes locks:
// most of the time there is nothing to do.
func (db *DB) finds(ctx context.Context, query string) (bool, error) {
	var found bool
	if err := db.sqlx.GetContext(ctx, &found, query); err != nil {
		return false, fmt.Errorf("look for work: %w", unavailable(err))
	}
	return found, nil
}

// notFound turns "no rows" into billing.ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return billing.ErrNotFound
	}
	return err
}

// violates reports whether err is a breach of the named constraint.
func violates(err error, constraint string) bool {
	pqErr := pq.As(err)
	return pqErr != nil && pqErr.Constraint == constraint
}

// unavailable marks an error that says nothing about the statement: the
// connection broke, or the server starts, stops, recovers, is read-only or out
// of room. The same statement may work later.
func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) ||
		errors.Is(err, billing.ErrNotFound) || errors.Is(err, billing.ErrConflict) || errors.Is(err, billing.ErrInvalid) {
		return err
	}
	if pqErr := pq.As(err); pqErr != nil {
		switch pqErr.Code.Class() {
		case "08", "25", "40", "53", "55", "57", "58":
			// connection, transaction state, rollback, resources, locks, operator, system
		default:
			return err
		}
	}
	return fmt.Errorf("%w: %w", scheduler.ErrUnavailable, err)
}

// seconds is an interval as the database counts it.
type seconds float64

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// affected returns how many rows a statement touched.
func affected(result sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// expectOne returns billing.ErrConflict unless a statement touched one row.
func expectOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n != 1 {
		err = billing.ErrConflict
	}
	return err
}
