package pgtest

import (
	"context"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/embeddedpg"
	"github.com/contauth/contauth/internal/logtest"
)

// Options are for NewServer. The zero value is good.
type Options struct {
	// Settings are set on the server, over those of embeddedpg.
	Settings map[string]string
	// Quick gives up the safety of data for speed, as the shared server does.
	// A test that kills the server leaves it false.
	Quick bool
}

// A Server is a Postgres of one test's own.
type Server struct {
	site *site
}

// NewServer starts a server that only t uses and that is gone after it. Unlike
// the shared one it syncs to disk, as in production, so that it may be killed.
// It takes about two seconds.
func NewServer(t testing.TB, opts Options) *Server {
	t.Helper()
	settings := map[string]string{}
	if opts.Quick {
		maps.Copy(settings, quickSettings)
	}
	maps.Copy(settings, opts.Settings)
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	opened, leave, err := openPrivate(ctx, t.TempDir(), embeddedpg.Options{Settings: settings, Log: logtest.New(t)})
	if err != nil {
		t.Fatalf("Postgres for one test: %v", err)
	}
	t.Cleanup(func() {
		if err := leave(); err != nil {
			t.Errorf("stop Postgres of one test: %v", err)
		}
	})
	return &Server{opened}
}

// New is like the package's New, on this server.
func (s *Server) New(t testing.TB) *DB {
	t.Helper()
	return s.site.clone(t)
}

// NewEmpty is like the package's NewEmpty, on this server.
func (s *Server) NewEmpty(t testing.TB) *DB {
	t.Helper()
	return s.site.empty(t)
}

// Kill ends the server as a crash would (SIGKILL to its first process), and
// returns when that process is dead. Postgres' other processes notice and end
// soon after it, each in its own time, so a connection may answer once more.
// Ensure brings the server back.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	pid := s.site.server.PID()
	if pid == 0 {
		t.Fatal("kill Postgres: it does not run")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill Postgres: %v", err)
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for s.site.server.PID() == pid {
		<-ticker.C
	}
}

// Ensure starts the server again if it was killed, and waits until it answers.
func (s *Server) Ensure(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if err := s.site.server.Ensure(ctx); err != nil {
		t.Fatalf("restart Postgres: %v", err)
	}
}

// Embedded returns the server itself, for what is not here.
func (s *Server) Embedded() *embeddedpg.Server { return s.site.server }
