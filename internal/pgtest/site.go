package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/contauth/contauth/internal/embeddedpg"
	"github.com/contauth/contauth/migrations"
)

// databaseTimeout bounds making or dropping one database on a busy machine.
const databaseTimeout = time.Minute

// A site is a server prepared for the tests of one process: it has the template.
type site struct {
	admin    *sql.DB
	presence *sql.Conn // holds the advisory locks on what this process uses
	dsn      func(database string) (string, error)
	server   *embeddedpg.Server // nil if the server was given

	template string
	strategy string // how to clone, in SQL
	batch    string // begins the names of this process's databases
	made     atomic.Int64
}

// openSite connects to the server by adminDSN, sweeps out what nobody uses, and
// makes the template if it is not there.
func openSite(ctx context.Context, adminDSN string, dsn func(database string) (string, error)) (*site, error) {
	fingerprint, err := migrations.Fingerprint()
	if err != nil {
		return nil, err
	}
	admin, err := sql.Open("postgres", adminDSN)
	if err != nil {
		return nil, err
	}
	s := &site{
		admin: admin, dsn: dsn,
		template: templatePrefix + fingerprint[:16],
		batch:    batchPrefix + strings.ToLower(rand.Text()[:12]),
	}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *site) prepare(ctx context.Context) (err error) {
	if s.presence, err = s.admin.Conn(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if s.strategy, err = cloneStrategy(ctx, s.presence); err != nil {
		return err
	}
	unlock, err := lockSetup(ctx, s.presence)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, name := range []string{s.template, s.batch} {
		if err := announce(ctx, s.presence, name); err != nil {
			return err
		}
	}
	if err := sweep(ctx, s.presence, s.template, s.batch); err != nil {
		return err
	}
	return s.ensureTemplate(ctx)
}

// close gives up this process's locks. Its databases are dropped by then, and if
// the connections are broken (the server was killed), the locks are gone as well.
func (s *site) close() {
	if s.presence != nil {
		_ = s.presence.Close()
	}
	_ = s.admin.Close()
}

// cloneStrategy chooses how Postgres copies the template. File by file is the
// fastest where nothing is synced to disk. It makes two checkpoints, though;
// where these are synced, going through the log ("wal_log") is better. Versions
// before 15 know only the first way, and no word for it.
func cloneStrategy(ctx context.Context, conn *sql.Conn) (string, error) {
	var version int
	var fsync string
	err := conn.QueryRowContext(ctx,
		`SELECT current_setting('server_version_num')::int, current_setting('fsync')`).Scan(&version, &fsync)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask for version: %w", err)
	case version < 150000:
		return "", nil
	case fsync == "off":
		return "STRATEGY file_copy", nil
	default:
		return "STRATEGY wal_log", nil
	}
}

// clone makes a copy of the template for t.
func (s *site) clone(t testing.TB) *DB {
	t.Helper()
	return s.create(t, "TEMPLATE "+s.template+" "+s.strategy)
}

// empty makes a database with nothing in it for t.
func (s *site) empty(t testing.TB) *DB {
	t.Helper()
	return s.create(t, "TEMPLATE template0 "+s.strategy)
}

func (s *site) create(t testing.TB, how string) *DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	name := fmt.Sprintf("%s_%d", s.batch, s.made.Add(1))
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)+" "+how); err != nil {
		t.Fatalf("create database for test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.drop(name); err != nil {
			t.Errorf("drop database of test: %v", err)
		}
	})
	dsn, err := s.dsn(name)
	if err != nil {
		t.Fatalf("address of database for test: %v", err)
	}
	return &DB{DSN: dsn, Name: name}
}

func (s *site) drop(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	return dropDatabase(ctx, s.admin, name)
}
