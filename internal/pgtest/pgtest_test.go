package pgtest_test

import (
	"context"
	"database/sql"
	"os"
	"testing"

	"github.com/contauth/contauth/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func open(t testing.TB, db *pgtest.DB) *sql.DB {
	t.Helper()
	opened, err := sql.Open("postgres", db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

func count(t testing.TB, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(context.Background(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

const tables = `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`

func TestNew_IsMigrated(t *testing.T) {
	t.Parallel()
	if n := count(t, open(t, pgtest.New(t)), tables); n == 0 {
		t.Error("no tables, want those of the migrations")
	}
}

func TestNewEmpty_HasNothing(t *testing.T) {
	t.Parallel()
	if n := count(t, open(t, pgtest.NewEmpty(t)), tables); n != 0 {
		t.Errorf("%d tables, want none", n)
	}
}

func TestNew_DatabasesAreSeparateAndGoAway(t *testing.T) {
	t.Parallel()
	var first *pgtest.DB
	second := pgtest.New(t)
	t.Run("first", func(t *testing.T) {
		first = pgtest.New(t)
		db := open(t, first)
		if _, err := db.Exec(`CREATE TABLE mark (x int)`); err != nil {
			t.Fatal(err)
		}
		// This connection stays open: it must not keep the database alive.
		if _, err := db.Conn(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	db := open(t, second)
	if n := count(t, db, `SELECT count(*) FROM pg_tables WHERE tablename = 'mark'`); n != 0 {
		t.Error("a table of another test's database is here")
	}
	if n := count(t, db, `SELECT count(*) FROM pg_database WHERE datname = $1`, first.Name); n != 0 {
		t.Errorf("database %s is there after its test", first.Name)
	}
}

func TestNewServer_SurvivesKill(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t, pgtest.Options{})
	db := open(t, server.New(t))
	if _, err := db.Exec(`CREATE TABLE mark AS SELECT 1 AS x`); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	if pid := server.Embedded().PID(); pid != 0 {
		t.Errorf("PID = %d after Kill, want 0", pid)
	}
	server.Ensure(t)
	if n := count(t, db, `SELECT x FROM mark`); n != 1 {
		t.Errorf("x = %d after the crash, want 1", n)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		pgtest.New(b)
	}
}
