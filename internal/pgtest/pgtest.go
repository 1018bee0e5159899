package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/embeddedpg"
)

// urlVariable names a server to use instead of a private one.
const urlVariable = "CONTAUTH_TEST_DATABASE_URL"

// setupTimeout bounds starting the server and making the template: minutes only
// where Postgres must be fetched first.
const setupTimeout = 5 * time.Minute

// A DB is a database of one test.
type DB struct {
	DSN  string // lib/pq's; a URL if the server was given as one
	Name string
}

// New returns a fresh database with all migrations applied. It is dropped when
// the test ends, connections or not. Tests that use it may run in parallel.
func New(t testing.TB) *DB {
	t.Helper()
	return shared.acquire(t).clone(t)
}

// NewEmpty is New without the migrations, for tests of these.
func NewEmpty(t testing.TB) *DB {
	t.Helper()
	return shared.acquire(t).empty(t)
}

// Main runs a package's tests and keeps the server for all of them. Without it
// everything works, but a server that nobody else uses is stopped and started
// between tests that do not overlap.
func Main(m *testing.M) int {
	shared.hold()
	defer shared.unhold()
	return m.Run()
}

// shared is the one server of this test binary. Tests have no other place in
// common to keep it.
var shared sharedServer

// A sharedServer counts the tests that use the server, and lets it go after the
// last one.
type sharedServer struct {
	mu     sync.Mutex
	users  int
	held   bool  // by Main
	broken error // it does not start: the other tests need not try again
	site   *site
	leave  func() error
}

func (s *sharedServer) acquire(t testing.TB) *site {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil && s.site == nil {
		s.site, s.leave, s.broken = openShared()
	}
	if s.broken != nil {
		t.Fatalf("no Postgres for tests: %v", s.broken)
	}
	s.users++
	t.Cleanup(func() { // after the database is dropped: cleanups run backwards
		if err := s.release(); err != nil {
			t.Errorf("leave Postgres for tests: %v", err)
		}
	})
	return s.site
}

func (s *sharedServer) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	return s.leaveIfUnused()
}

func (s *sharedServer) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

func (s *sharedServer) unhold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	if err := s.leaveIfUnused(); err != nil {
		fmt.Fprintf(os.Stderr, "leave Postgres for tests: %v\n", err)
	}
}

func (s *sharedServer) leaveIfUnused() error {
	if s.users > 0 || s.held || s.site == nil {
		return nil
	}
	leave := s.leave
	s.site, s.leave = nil, nil
	return leave()
}

// openShared opens the given server, or joins the private one.
func openShared() (*site, func() error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if url := os.Getenv(urlVariable); url != "" {
		opened, err := openSite(ctx, url, func(name string) (string, error) { return withDatabase(url, name) })
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", urlVariable, err)
		}
		return opened, func() error { opened.close(); return nil }, nil
	}
	dir, err := sharedDir()
	if err != nil {
		return nil, nil, err
	}
	return openPrivate(ctx, dir, embeddedpg.Options{
		Settings: quickSettings,
		Say:      func(line string) { fmt.Fprintln(os.Stderr, line) },
	})
}

// quickSettings give up the safety of data that no one will miss.
var quickSettings = map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"max_connections":    "400",
	"shared_buffers":     "128MB", // making and dropping databases walks through all of them
	"autovacuum":         "off",   // databases live for a moment; it would only compete with tests
}

// openPrivate starts or joins the server in dir and prepares it for tests.
func openPrivate(ctx context.Context, dir string, opts embeddedpg.Options) (*site, func() error, error) {
	server, err := embeddedpg.Start(ctx, dir, opts)
	if err != nil {
		return nil, nil, err
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
		defer cancel()
		return server.Stop(ctx)
	}
	opened, err := openSite(ctx, server.DSN("postgres"), func(name string) (string, error) { return server.DSN(name), nil })
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	opened.server = server
	return opened, func() error { opened.close(); return stop() }, nil
}

// sharedDir is the directory that all test binaries of a user share. Others may
// write to the temporary directory too, so it must be ours.
func sharedDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("contauth-pgtest-%d", os.Geteuid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a directory of ours: remove it, or set TMPDIR", dir)
	}
	return dir, nil
}
