package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Test binaries that share a server, perhaps of different checkouts, tell each
// other by advisory locks what they use. Postgres drops the locks of a process
// that is gone. hashtext may let two names share a lock; then something is
// merely kept for longer.

// announce says that this process uses the template or batch called name.
func announce(ctx context.Context, conn *sql.Conn, name string) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock_shared(hashtext('contauth pgtest'), hashtext($1))`, name)
	if err != nil {
		return fmt.Errorf("announce %s: %w", name, err)
	}
	return nil
}

// lockSetup lets one process at a time sweep and build.
func lockSetup(ctx context.Context, conn *sql.Conn) (unlock func() error, err error) {
	const name = `hashtext('contauth pgtest'), hashtext('setup')`
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(`+name+`)`); err != nil {
		return nil, fmt.Errorf("lock setup: %w", err)
	}
	return func() error {
		if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock(`+name+`)`); err != nil {
			return fmt.Errorf("unlock setup: %w", err)
		}
		return nil
	}, nil
}

// sweep drops the databases of killed test binaries and the templates of former
// migrations, unless some process says that it uses them.
func sweep(ctx context.Context, conn *sql.Conn, mine ...string) error {
	names, err := ourDatabases(ctx, conn)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := dropUnlessUsed(ctx, conn, name, mine); err != nil {
			return err
		}
	}
	return nil
}

func ourDatabases(ctx context.Context, conn *sql.Conn) ([]string, error) {
	rows, err := conn.QueryContext(ctx,
		`SELECT datname FROM pg_database WHERE starts_with(datname, $1) OR starts_with(datname, $2)`, templatePrefix, batchPrefix)
	if err != nil {
		return nil, fmt.Errorf("list databases of tests: %w", err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("list databases of tests: %w", err)
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func dropUnlessUsed(ctx context.Context, conn *sql.Conn, database string, mine []string) error {
	announced := announcedName(database)
	for _, name := range mine {
		if announced == name { // our own lock would not stop us
			return nil
		}
	}
	var unused bool
	err := conn.QueryRowContext(ctx,
		`SELECT pg_try_advisory_lock(hashtext('contauth pgtest'), hashtext($1))`, announced).Scan(&unused)
	if err != nil {
		return fmt.Errorf("ask who uses %s: %w", database, err)
	}
	if !unused {
		return nil
	}
	if err := dropDatabase(ctx, conn, database); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `SELECT pg_advisory_unlock(hashtext('contauth pgtest'), hashtext($1))`, announced)
	return err
}

// announcedName is the template's own name, or the batch of a test's database.
func announcedName(database string) string {
	if strings.HasPrefix(database, templatePrefix) {
		return database
	}
	batch, _, _ := strings.Cut(strings.TrimPrefix(database, batchPrefix), "_")
	return batchPrefix + batch
}
