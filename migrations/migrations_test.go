package migrations_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/lib/pq"

	"github.com/contauth/contauth/internal/pgtest"
	"github.com/contauth/contauth/migrations"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// steps is how many migrations there are.
func steps(t *testing.T) int {
	t.Helper()
	return len(files(t))
}

func files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("[0-9]*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("no migrations found: %v", err)
	}
	return names
}

func TestFiles_areNumberedWithoutHoles(t *testing.T) {
	shape := regexp.MustCompile(`^([0-9]{4})_[a-z][a-z_]*\.sql$`)
	for i, name := range files(t) {
		if found := shape.FindStringSubmatch(name); found == nil || found[1] != fmt.Sprintf("%04d", i+1) {
			t.Errorf("%s: want the name %04d_what.sql", name, i+1)
		}
	}
}

// Up and down lose nothing of the schema and leave nothing behind.
func TestUpAndDown(t *testing.T) {
	ctx := context.Background()
	db := open(t, pgtest.NewEmpty(t).DSN)
	empty := dump(t, db)
	up := func() string {
		t.Helper()
		if err := migrations.Up(ctx, db); err != nil {
			t.Fatal(err)
		}
		return dump(t, db)
	}
	top := up()
	if top == empty {
		t.Fatal("the migrations made nothing: the dump is broken")
	}
	for n := steps(t); n > 0; n-- {
		if err := migrations.Down(ctx, db); err != nil {
			t.Fatalf("down from step %d: %v", n, err)
		}
	}
	if diff := cmp.Diff(empty, dump(t, db)); diff != "" {
		t.Errorf("the way down leaves something behind (-empty +left):\n%s", diff)
	}
	if diff := cmp.Diff(top, up()); diff != "" {
		t.Errorf("the second way up ends elsewhere (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff(top, up()); diff != "" {
		t.Errorf("up at the top changes something (-before +after):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	ctx := context.Background()
	db := open(t, pgtest.NewEmpty(t).DSN)
	applied := func() (n int) {
		t.Helper()
		list, err := migrations.Status(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != steps(t) {
			t.Fatalf("got %d steps, want %d", len(list), steps(t))
		}
		for i, s := range list {
			if s.Version != int64(i+1) || filepath.Base(s.Name) != files(t)[i] {
				t.Errorf("step %d is %+v", i+1, s)
			}
			if s.Applied {
				n++
			}
		}
		return n
	}
	if n := applied(); n != 0 {
		t.Errorf("an empty database has %d steps", n)
	}
	if err := migrations.Up(ctx, db); err != nil {
		t.Fatal(err)
	}
	if n := applied(); n != steps(t) {
		t.Errorf("after up it has %d steps", n)
	}
	if err := migrations.Down(ctx, db); err != nil {
		t.Fatal(err)
	}
	if n := applied(); n != steps(t)-1 {
		t.Errorf("after one step down it has %d steps", n)
	}
}

// Several processes may start at once.
func TestUp_fromSeveralProcesses(t *testing.T) {
	dsn := pgtest.NewEmpty(t).DSN
	done := make(chan error)
	const processes = 3
	for range processes {
		db := open(t, dsn)
		go func() { done <- migrations.Up(context.Background(), db) }()
	}
	for range processes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// ours selects what the migrations made.
const ours = `n.nspname IN ('public', 'reporting') AND c.relname <> 'goose_db_version'`

func TestSchema_isExplained(t *testing.T) {
	db := open(t, pgtest.New(t).DSN)
	tests := []struct {
		name, query string // returns what is wrong
	}{
		{"every table and view has a comment", `
			SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE ` + ours + ` AND c.relkind IN ('r', 'p', 'v', 'm') AND obj_description(c.oid, 'pg_class') IS NULL`},
		{"every constraint that people meet in an error has a name in words", `
			SELECT c.relname || ': ' || k.conname FROM pg_constraint k
			  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE ` + ours + ` AND k.contype IN ('c', 'u', 'x') AND k.conname ~ '_(check|key|excl)[0-9]*$'`},
		{"every table has a primary key", `
			SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE ` + ours + ` AND c.relkind = 'r'
			   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')`},
		{"every instant has a zone", `
			SELECT c.relname || '.' || a.attname FROM pg_attribute a
			  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE ` + ours + ` AND a.atttypid = 'timestamp'::regtype AND (c.relname, a.attname) <> ('subscriptions', 'anchor')`},
		{"no amount is a fraction", `
			SELECT c.relname || '.' || a.attname FROM pg_attribute a
			  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE ` + ours + ` AND c.relkind = 'r' AND a.attname LIKE '%amount%' AND a.atttypid <> 'bigint'::regtype`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, wrong := range texts(t, db, tt.query) {
				t.Error(wrong)
			}
		})
	}
}

// texts returns the one column of a query.
func texts(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
