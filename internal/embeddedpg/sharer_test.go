package embeddedpg_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/embeddedpg"
)

// sharerVariable makes the test binary act as another process that uses the
// server of the directory it names.
const sharerVariable = "EMBEDDEDPG_TEST_SHARER"

const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if dir := os.Getenv(sharerVariable); dir != "" {
		os.Exit(beSharer(dir))
	}
	os.Exit(m.Run())
}

// beSharer uses the server until its standard input ends.
func beSharer(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := embeddedpg.Start(ctx, dir, embeddedpg.Options{Settings: quick})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("ready %d\n", server.PID())
	io.Copy(io.Discard, os.Stdin)
	if err := server.Stop(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// A sharer is such a process.
type sharer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	pid   int // of Postgres
}

// startSharer returns when the process uses the server.
func startSharer(t *testing.T, dir string, adjust func(*exec.Cmd)) *sharer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &sharer{cmd: exec.CommandContext(ctx, self)}
	s.cmd.Env = append(os.Environ(), sharerVariable+"="+dir)
	s.cmd.Stderr = os.Stderr
	if adjust != nil {
		adjust(s.cmd)
	}
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if _, err := fmt.Sscanf(line, "ready %d", &s.pid); err != nil {
		t.Fatalf("sharer says %q, want that it is ready", strings.TrimSpace(line))
	}
	return s
}

// leave ends the process in an orderly way.
func (s *sharer) leave(t *testing.T) {
	t.Helper()
	s.stdin.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("sharer leaves: %v", err)
	}
}

// kill ends it with SIGKILL.
func (s *sharer) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

// asNobody lets a command, whose program it copies to a place open to all, run
// as the user nobody.
func asNobody(t *testing.T) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		program := filepath.Join(openDir(t), "sharer")
		content, err := os.ReadFile(cmd.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, content, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args = program, []string{program}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// nobody is the number that this user has on all systems we know.
const nobody = 65534

// openDir is a temporary directory that every user may enter; t.TempDir's is not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "embeddedpg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
