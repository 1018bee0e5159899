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

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		pgtest.New(b)
	}
}
