package migrations_test

import (
	"database/sql"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/pgtest"
)

var update = flag.Bool("update", false, "write schema.sql anew")

const schemaFile = "schema.sql"

const schemaHeader = `-- The schema as the migrations leave it, for readers. Nobody runs this file: it
-- is written by "go test ./migrations -update", and a test compares what it makes
-- with what the migrations make. The role contauth_reader must exist.
`

// The file is compared by what it makes, since versions of Postgres print the
// same view differently.
func TestSchemaFile_isWhatTheMigrationsMake(t *testing.T) {
	want := dump(t, open(t, pgtest.New(t).DSN))
	if *update {
		if err := os.WriteFile(schemaFile, []byte(schemaHeader+want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	db := open(t, pgtest.NewEmpty(t).DSN)
	if _, err := db.Exec(string(text)); err != nil {
		t.Fatalf("%s is no SQL: %v", schemaFile, err)
	}
	if diff := cmp.Diff(want, dump(t, db)); diff != "" {
		t.Errorf("%s is not what the migrations make; run go test ./migrations -update (-migrations +file):\n%s", schemaFile, diff)
	}
}

// dump writes the schema as SQL, from the catalog. It needs no program beside
// the server, and says only what a reader wants to know.
func dump(t *testing.T, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	for _, part := range dumpParts {
		for _, statement := range texts(t, db, part) {
			b.WriteString("\n" + strings.TrimRight(statement, "; \n") + ";\n")
		}
	}
	return b.String()
}

// comment makes COMMENT ON statements of an object's and its columns' comments.
const comment = `
	coalesce((SELECT string_agg(format(E';\nCOMMENT ON %s %s IS %L',
	                                   CASE WHEN d.objsubid > 0 THEN 'COLUMN' WHEN c.relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END,
	                                   format('%I.%I', n.nspname, c.relname) || coalesce('.' || quote_ident(a.attname), ''), d.description),
	                            '' ORDER BY d.objsubid)
	            FROM pg_description d LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
	           WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass), '')`

// dumpParts are queries that return statements, in an order in which they can be
// run.
var dumpParts = []string{
	// schemas
	`SELECT format('CREATE SCHEMA %I', n.nspname)
	        || format(E';\nCOMMENT ON SCHEMA %I IS %L', n.nspname, obj_description(n.oid, 'pg_namespace'))
	   FROM pg_namespace n WHERE n.nspname = 'reporting'`,

	// domains
	`SELECT format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod))
	        || (SELECT string_agg(format(E'\n    CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '' ORDER BY k.conname)
	              FROM pg_constraint k WHERE k.contypid = t.oid)
	        || format(E';\nCOMMENT ON DOMAIN %I.%I IS %L', n.nspname, t.typname, obj_description(t.oid, 'pg_type'))
	   FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
	  WHERE t.typtype = 'd' AND n.nspname = 'public' ORDER BY t.typname`,

	// tables, with their columns, constraints and comments
	`SELECT format(E'CREATE TABLE %I.%I (\n    ', n.nspname, c.relname)
	        || array_to_string(
	             ARRAY(SELECT rtrim(rpad(quote_ident(a.attname), w.name) || ' ' || rpad(format_type(a.atttypid, a.atttypmod), w.type)
	                          || CASE WHEN a.attidentity = 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
	                                  ELSE CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
	                                       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') END)
	                     FROM pg_attribute a
	                     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	                     CROSS JOIN (SELECT max(length(quote_ident(attname))) AS name, max(length(format_type(atttypid, atttypmod))) AS type
	                                   FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) w
	                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
	             || ARRAY(SELECT format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid))
	                        FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'x')
	                       ORDER BY array_position('{p,u,c,x}'::"char"[], k.contype), k.conname),
	             E',\n    ')
	        || E'\n)' || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') || ` + comment + `
	   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE ` + ours + ` AND c.relkind = 'r' ORDER BY c.relname`,

	// functions
	`SELECT pg_get_functiondef(p.oid)
	        || CASE WHEN obj_description(p.oid, 'pg_proc') IS NULL THEN ''
	                ELSE format(E';\nCOMMENT ON FUNCTION %s IS %L', p.oid::regprocedure, obj_description(p.oid, 'pg_proc')) END
	   FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	  WHERE n.nspname IN ('public', 'reporting') ORDER BY p.proname`,

	// foreign keys, which may go in circles
	`SELECT format(E'ALTER TABLE %I.%I ADD CONSTRAINT %I\n    %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
	   FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE ` + ours + ` AND k.contype = 'f' ORDER BY c.relname, k.conname`,

	// indexes that no constraint made
	`SELECT pg_get_indexdef(i.indexrelid)
	   FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE ` + ours + ` AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
	  ORDER BY c.relname, i.indexrelid::regclass::text`,

	// triggers
	`SELECT pg_get_triggerdef(g.oid)
	   FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE ` + ours + ` AND NOT g.tgisinternal ORDER BY c.relname, g.tgname`,

	// views
	`SELECT format(E'CREATE VIEW %I.%I AS\n%s', n.nspname, c.relname, rtrim(pg_get_viewdef(c.oid, true), ';')) || ` + comment + `
	   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	  WHERE ` + ours + ` AND c.relkind = 'v' ORDER BY c.relname`,

	// what contauth_reader may do
	`SELECT format('GRANT %s ON SCHEMA %I TO contauth_reader', g.privilege_type, n.nspname)
	   FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) g
	  WHERE g.grantee = (SELECT oid FROM pg_roles WHERE rolname = 'contauth_reader') ORDER BY 1`,
	`SELECT format('GRANT %s ON %I.%I TO contauth_reader', g.privilege_type, n.nspname, c.relname)
	   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN aclexplode(c.relacl) g
	  WHERE ` + ours + ` AND g.grantee = (SELECT oid FROM pg_roles WHERE rolname = 'contauth_reader') ORDER BY 1`,
	`SELECT format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT %s ON TABLES TO contauth_reader', n.nspname, g.privilege_type)
	   FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace CROSS JOIN aclexplode(d.defaclacl) g
	  WHERE d.defaclobjtype = 'r' AND g.grantee = (SELECT oid FROM pg_roles WHERE rolname = 'contauth_reader') ORDER BY 1`,
}
