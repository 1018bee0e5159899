package embeddedpg_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/contauth/contauth/internal/embeddedpg"
)

// The user who runs the tests decides which of these there are: an ordinary one
// has only himself, and the other tests are about him.

func TestStart_OrdinaryUserStartedByRoot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	adjust := func(*exec.Cmd) {}
	if os.Geteuid() == 0 {
		adjust = asNobody(t)
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	other := startSharer(t, dir, adjust)
	server := start(t, dir, embeddedpg.Options{}) // root joins the user's server
	if server.PID() != other.pid {
		t.Errorf("PID = %d, want %d", server.PID(), other.pid)
	}
	remember(t, server, "paid")
	other.leave(t)
	stop(t, server)

	again := startSharer(t, dir, adjust) // nothing that root left is in the user's way
	defer again.leave(t)
	wantOwner := uint32(os.Geteuid())
	if wantOwner == 0 {
		wantOwner = nobody
	}
	for _, name := range []string{"cluster", "run", "lock", "gate", "postgres.log"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != wantOwner {
			t.Errorf("%s belongs to user %d, want %d", name, got, wantOwner)
		}
	}
}

// Below root's home, and in t.TempDir, the user who runs Postgres for root
// cannot enter by the directory's name.
func TestStart_BelowAClosedDirectory(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(openDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data")
	server := start(t, dir, embeddedpg.Options{})
	remember(t, server, "paid")
	kill(t, server)
	if err := server.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := recall(t, server); got != "paid" {
		t.Errorf("remembered %q, want %q", got, "paid")
	}
	info, err := os.Stat(closed)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode of the closed directory = %o, want 700, as it was", got)
	}
}
