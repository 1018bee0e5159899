package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// What every cluster has.
const (
	// Database is the database made with the cluster, for contauth's own tables.
	Database = "contauth"
	// User is the cluster's superuser.
	User = "contauth"
)

// Options say how to find and run the server. The zero value is good.
type Options struct {
	Log hclog.Logger // nil: silent

	// Say is told, in one line each, what a person would wonder about: a
	// download, a package being installed, a long recovery. nil: silent.
	Say func(line string)

	// Settings are set on the server over ours, by the process that starts it.
	// With fsync=off a new cluster is not synced to disk either.
	Settings map[string]string

	// StartTimeout bounds starting, crash recovery included. 0: five minutes.
	// A server still recovering by then goes on; a later Start finds it.
	StartTimeout time.Duration

	// Where programs come from, in this order. Each has a default.
	Places   func(context.Context) []string                         // nil: MachinePlaces
	Mirror   string                                                 // "": Maven Central; base URL of the downloads
	CacheDir string                                                 // "": per user; downloads stay there
	Install  func(ctx context.Context, say func(line string)) error // nil: InstallPackage
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 5 * time.Minute
	}
	if o.Places == nil {
		o.Places = MachinePlaces
	}
	if o.Mirror == "" {
		o.Mirror = "https://repo1.maven.org/maven2"
	}
	if o.CacheDir == "" {
		o.CacheDir = defaultCacheDir()
	}
	if o.Install == nil {
		o.Install = InstallPackage
	}
	return o
}

// A Server is one process's share in the server of a directory. Its methods may
// be called from several goroutines.
type Server struct {
	opts    Options
	cluster *cluster

	mu     sync.Mutex
	gate   *fileLock
	shared *fileLock // nil once stopped
}

// Start joins the server of dir. It makes the directory and the cluster if need
// be, and starts the server unless it runs. When it returns, the server answers.
// The caller must Stop it.
//
// The error is one line. It says what to install where there is no Postgres, and
// which version where the cluster needs another.
func Start(ctx context.Context, dir string, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	dir, as, err := prepareDir(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded Postgres: %w", err)
	}
	s := &Server{opts: opts, cluster: &cluster{dir: dir, account: as, opts: opts, log: opts.Log.Named("embeddedpg")}}
	if err := s.join(ctx); err != nil {
		return nil, fmt.Errorf("embedded Postgres in %s: %w", dir, err)
	}
	return s, nil
}

// prepareDir makes the directory, and decides who is to run the server in it.
func prepareDir(dir string) (string, account, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", account{}, err
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o755 // what is in it belongs to another account
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", account{}, err
	}
	// Whatever way a process takes to the directory, it must find the same socket.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", account{}, err
	}
	as, err := accountFor(dir)
	return dir, as, err
}

// join takes the locks and makes sure that the server runs.
func (s *Server) join(ctx context.Context) (err error) {
	if s.gate, err = openLock(filepath.Join(s.cluster.dir, "gate"), s.cluster.account); err != nil {
		return err
	}
	if s.shared, err = openLock(filepath.Join(s.cluster.dir, "lock"), s.cluster.account); err != nil {
		return errors.Join(err, s.gate.close())
	}
	if err := s.gate.seize(ctx); err != nil {
		return errors.Join(err, s.closeLocks())
	}
	// Nobody holds the lock alone while we hold the gate: this does not wait.
	if err := s.shared.share(ctx); err != nil {
		return errors.Join(err, s.closeLocks())
	}
	if err := s.cluster.placeSocket(); err != nil {
		return errors.Join(err, s.closeLocks())
	}
	if err := s.cluster.ensure(ctx); err != nil {
		return errors.Join(err, s.closeLocks())
	}
	return s.gate.release()
}

func (s *Server) closeLocks() error {
	err := errors.Join(s.shared.close(), s.gate.close())
	s.shared = nil
	return err
}

// ErrStopped is returned by Ensure after Stop.
var ErrStopped = errors.New("embedded Postgres: no longer in use here")

// Ensure makes sure that the server answers, and starts it again if it died. A
// process whose connections break calls it before it connects anew; several may
// do so at once.
func (s *Server) Ensure(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil {
		return ErrStopped
	}
	if err := s.gate.seize(ctx); err != nil {
		return fmt.Errorf("embedded Postgres in %s: %w", s.cluster.dir, err)
	}
	err := errors.Join(s.cluster.ensure(ctx), s.gate.release())
	if err != nil {
		return fmt.Errorf("embedded Postgres in %s: %w", s.cluster.dir, err)
	}
	return nil
}

// Stop gives up this process's share. If no other process uses the server, it is
// stopped: open connections are cut, transactions in them rolled back ("fast").
// If ctx ends before that is done, the server is told to quit at once, and
// recovers on its next start; nothing committed is lost either way. A second
// call does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil {
		return nil
	}
	err := errors.Join(s.leave(ctx), s.closeLocks())
	if err != nil {
		return fmt.Errorf("embedded Postgres in %s: %w", s.cluster.dir, err)
	}
	return nil
}

func (s *Server) leave(ctx context.Context) error {
	if err := s.gate.seize(ctx); err != nil {
		return err
	}
	last, err := s.shared.trySeize()
	if err != nil || !last {
		return err
	}
	return s.cluster.stop(ctx)
}

// DSN returns the connection string of a database of the server, in lib/pq's
// keyword form. It stays the same when the server is restarted.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable",
		quoted(s.cluster.socketDir), socketPort, User, quoted(database))
}

// quoted quotes a value as libpq's keyword form wants it.
func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Dir returns the directory of the server, absolute and without links.
func (s *Server) Dir() string { return s.cluster.dir }

// PID returns the process id of the running server's first process, or 0.
func (s *Server) PID() int {
	seen := s.cluster.look()
	if seen.state == stateDown {
		return 0
	}
	return seen.pid
}
