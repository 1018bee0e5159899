package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"github.com/contauth/contauth/migrations"
)

// Databases of ours are known by how their names begin.
const (
	templatePrefix = "contauth_template_"
	batchPrefix    = "contauth_test_"
)

// ensureTemplate makes the migrated template unless it is there. It is built
// under another name, and gets its own, together with the mark of a template,
// when it is complete: a template that exists is good. The caller holds the
// setup lock.
func (s *site) ensureTemplate(ctx context.Context) error {
	var there bool
	err := s.presence.QueryRowContext(ctx,
		`SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, s.template).Scan(&there)
	if err != nil {
		return fmt.Errorf("look for template: %w", err)
	}
	if there {
		return nil
	}
	building := s.batch + "_template"
	if err := s.buildTemplate(ctx, building); err != nil {
		return errors.Join(fmt.Errorf("build template: %w", err), dropDatabase(ctx, s.presence, building))
	}
	return nil
}

func (s *site) buildTemplate(ctx context.Context, building string) error {
	if err := execAll(ctx, s.presence, "CREATE DATABASE "+building+" TEMPLATE template0 "+s.strategy); err != nil {
		return err
	}
	if err := s.migrate(ctx, building); err != nil {
		return err
	}
	// Nobody may connect to it: a database that is in use cannot be copied.
	return execAll(ctx, s.presence,
		"ALTER DATABASE "+building+" RENAME TO "+s.template,
		"ALTER DATABASE "+s.template+" WITH ALLOW_CONNECTIONS false")
}

func (s *site) migrate(ctx context.Context, database string) (err error) {
	dsn, err := s.dsn(database)
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := migrations.Up(ctx, db); err != nil {
		return err
	}
	// Planners of the clones shall see what a real database would show them.
	return execAll(ctx, db, "ANALYZE")
}

// An execer is a connection or a pool of them.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func execAll(ctx context.Context, on execer, statements ...string) error {
	for _, statement := range statements {
		if _, err := on.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// dropDatabase drops a database, connections or not, if it is there.
func dropDatabase(ctx context.Context, on execer, name string) error {
	return execAll(ctx, on, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
}
