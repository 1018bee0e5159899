// Package pgtest gives each test a database of its own, with all migrations
// applied, on a real Postgres.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestCharges(t *testing.T) {
//		t.Parallel()
//		db := pgtest.New(t) // connect to db.DSN
//	}
//
// The server is the one of CONTAUTH_TEST_DATABASE_URL, whose user must be
// allowed to create databases. Without that variable it is a private one under
// the temporary directory, which all test binaries of a user share: the first
// starts it, the last one stops it. It does not sync to disk; a test that kills
// the server starts its own with NewServer, which does.
//
// Databases are cloned from a template that is migrated once for each set of
// migration files. What killed tests and former migrations left behind is
// dropped by the next test binary.
package pgtest
