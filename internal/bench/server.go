package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
)

// A Site is a Postgres server with the databases of one measurement. It needs a
// superuser.
type Site struct {
	DSN   string // of the database that others are made from
	admin *sql.DB
	made  []string
}

// OpenSite connects to a server.
func OpenSite(ctx context.Context, dsn string) (*Site, error) {
	admin, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database to measure with: %w", err)
	}
	admin.SetMaxOpenConns(1)
	s := &Site{DSN: dsn, admin: admin}
	var super bool
	if err := admin.QueryRowContext(ctx, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&super); err != nil {
		admin.Close()
		return nil, fmt.Errorf("connect to the database to measure with: %w", err)
	}
	if !super {
		admin.Close()
		return nil, errors.New("the database to measure with must be opened as a superuser: checkpoints and slow commits are asked of it")
	}
	return s, nil
}

// Settings returns what the server says about itself.
func (s *Site) Settings(ctx context.Context) (version, fsync, synchronousCommit string, err error) {
	const query = `SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')`
	if err := s.admin.QueryRowContext(ctx, query).Scan(&version, &fsync, &synchronousCommit); err != nil {
		return "", "", "", fmt.Errorf("read settings of the server: %w", err)
	}
	return version, fsync, synchronousCommit, nil
}

// PID returns the first process of the server, or 0 if it cannot be seen here.
func (s *Site) PID(ctx context.Context) (int, error) {
	const query = `SELECT pg_backend_pid(), coalesce(host(inet_server_addr()) IN ('127.0.0.1', '::1'), true)`
	var backend int
	var here bool
	if err := s.admin.QueryRowContext(ctx, query).Scan(&backend, &here); err != nil {
		return 0, fmt.Errorf("look for the server's processes: %w", err)
	}
	if !here {
		return 0, nil
	}
	return ServerOf(os.DirFS("/proc"), backend), nil
}

// Create makes an empty database and returns its connection string. Close drops it.
func (s *Site) Create(ctx context.Context, name string) (string, error) {
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)); err != nil {
		return "", fmt.Errorf("make a database to measure with: %w", err)
	}
	s.made = append(s.made, name)
	return WithDatabase(s.DSN, name)
}

// Commits returns how many transactions a database has committed. It waits
// until its connections are closed, since a backend reports what it did late.
func (s *Site) Commits(ctx context.Context, name string) (int64, error) {
	const query = `
		SELECT coalesce(xact_commit, 0),
		       (SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend')
		  FROM pg_stat_database WHERE datname = $1`
	const pause = 50 * time.Millisecond
	const quiet = 12 // looks in a row without a change: longer than any server keeps its news back
	var seen int64
	for same := 0; ; {
		var commits int64
		var open int
		if err := s.admin.QueryRowContext(ctx, query, name).Scan(&commits, &open); err != nil {
			return 0, fmt.Errorf("count commits: %w", err)
		}
		if same++; open > 0 || commits != seen {
			same = 0
		}
		if seen = commits; same >= quiet {
			return commits, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Close drops what Create made.
func (s *Site) Close() error {
	defer s.admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range s.made {
		if _, err := s.admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop database %s: %w", name, err)
		}
	}
	return nil
}

// WithDatabase returns the connection string that differs from dsn in its
// database alone. In keyword form the last word counts.
func WithDatabase(dsn, database string) (string, error) {
	if !isURL(dsn) {
		return dsn + " dbname=" + database, nil
	}
	parsed, err := url.Parse(dsn)
	if err != nil {
		return "", errAddress
	}
	parsed.Path = "/" + database
	query := parsed.Query()
	query.Del("dbname")
	parsed.RawQuery = query.Encode()
	return parsed.String(), nil
}

// errAddress does not quote the address, which may hold a password.
var errAddress = errors.New("the database's address cannot be read")

// slowCommit makes every commit wait 2 ms before its flush.
const slowCommit = "-c commit_delay=2000 -c commit_siblings=0"

// WithSlowCommits returns the connection string whose commits take 2 ms more,
// as on a disk that is slower than this machine's.
func WithSlowCommits(dsn string) (string, error) {
	if !isURL(dsn) {
		return dsn + " options='" + slowCommit + "'", nil
	}
	parsed, err := url.Parse(dsn)
	if err != nil {
		return "", errAddress
	}
	query := parsed.Query()
	query.Set("options", slowCommit)
	// A plus sign for a space is a form's way; a connection string wants %20.
	parsed.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return parsed.String(), nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}
