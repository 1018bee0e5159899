package embeddedpg_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/contauth/contauth/internal/embeddedpg"
	"github.com/contauth/contauth/internal/logtest"
)

// quick makes clusters without syncing them, for tests that kill nothing.
var quick = map[string]string{"fsync": "off"}

func start(t *testing.T, dir string, opts embeddedpg.Options) *embeddedpg.Server {
	t.Helper()
	opts.Log = logtest.New(t)
	server, err := embeddedpg.Start(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *embeddedpg.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// ask runs one query on a connection of its own and returns its one value.
func ask(t *testing.T, server *embeddedpg.Server, query string) string {
	t.Helper()
	answer, err := tryAsk(server, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func tryAsk(server *embeddedpg.Server, query string) (answer string, err error) {
	db, err := sql.Open("postgres", server.DSN(embeddedpg.Database))
	if err != nil {
		return "", err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = db.QueryRowContext(ctx, query).Scan(&answer)
	return answer, err
}

// kill ends the server with SIGKILL and waits until it is dead.
func kill(t *testing.T, server *embeddedpg.Server) {
	t.Helper()
	pid := server.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for server.Runs(pid) {
		<-ticker.C
	}
}

func TestServer_IsReusedWithItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), `it's a \ place`)
	first := start(t, dir, embeddedpg.Options{Settings: quick})
	remember(t, first, "paid")
	pid := first.PID()
	stop(t, first)
	if first.Runs(pid) {
		t.Errorf("process %d lives on after the last user left", pid)
	}
	if first.PID() != 0 {
		t.Errorf("PID = %d after the end, want 0", first.PID())
	}
	stop(t, first) // again: nothing happens
	if err := first.Ensure(t.Context()); err != embeddedpg.ErrStopped {
		t.Errorf("Ensure after Stop = %v, want ErrStopped", err)
	}

	second := start(t, dir, embeddedpg.Options{Settings: quick})
	if got := recall(t, second); got != "paid" {
		t.Errorf("remembered %q, want %q", got, "paid")
	}
}

// remember stores a word durably; recall returns it.
func remember(t *testing.T, server *embeddedpg.Server, word string) {
	t.Helper()
	db, err := sql.Open("postgres", server.DSN(embeddedpg.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE memory AS SELECT '`+word+`'::text AS word`); err != nil {
		t.Fatal(err)
	}
}

func recall(t *testing.T, server *embeddedpg.Server) string {
	t.Helper()
	return ask(t, server, `SELECT word FROM memory`)
}

func TestServer_IsSafeAndPrivate(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), embeddedpg.Options{})
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
		"listen_addresses": "", "unix_socket_permissions": "0700",
		"server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC",
	} {
		if got := ask(t, server, "SHOW "+setting); got != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
	for _, dir := range []string{server.SocketDir(), filepath.Join(server.Dir(), "cluster")} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("mode of %s = %o, want 700", dir, got)
		}
	}
	if group, err := syscall.Getpgid(server.PID()); err != nil || group != server.PID() {
		t.Errorf("process group = %d (%v), want its own, %d, out of Ctrl-C's reach", group, err, server.PID())
	}
}

func TestServer_Ensure(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), embeddedpg.Options{})
	remember(t, server, "paid")
	before := server.PID()

	if err := server.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := server.PID(); got != before {
		t.Errorf("PID = %d, want %d: a server that answers stays", got, before)
	}

	kill(t, server)
	var wg sync.WaitGroup
	for range 4 { // all workers notice at once
		wg.Go(func() {
			if err := server.Ensure(t.Context()); err != nil {
				t.Errorf("Ensure after SIGKILL: %v", err)
			}
		})
	}
	wg.Wait()
	if got := recall(t, server); got != "paid" {
		t.Errorf("remembered %q after the crash, want %q", got, "paid")
	}
}

func TestServer_LastProcessStopsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := startSharer(t, dir, nil)
	server := start(t, dir, embeddedpg.Options{})
	if server.PID() != other.pid {
		t.Fatalf("PID = %d, want the other process's server, %d", server.PID(), other.pid)
	}
	other.leave(t)
	if got := ask(t, server, "SELECT 'here'"); got != "here" {
		t.Errorf("answer = %q after the other left, want %q", got, "here")
	}
	other = startSharer(t, dir, nil)
	stop(t, server)
	if !server.Runs(other.pid) {
		t.Error("the server was stopped under the other process")
	}
	other.leave(t)
	if server.Runs(other.pid) {
		t.Errorf("process %d lives on after the last user left", other.pid)
	}
}

func TestServer_SurvivesAKilledUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := startSharer(t, dir, nil)
	other.kill(t)
	server := start(t, dir, embeddedpg.Options{})
	if server.PID() != other.pid {
		t.Errorf("PID = %d, want %d: the server that was left behind", server.PID(), other.pid)
	}
	if got := ask(t, server, "SELECT 'here'"); got != "here" {
		t.Errorf("answer = %q, want %q", got, "here")
	}
}

// The last leaver must not stop the server under a newcomer.
func TestServer_ComingAndGoing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 3 {
				if err := visit(ctx, dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func visit(ctx context.Context, dir string) error {
	server, err := embeddedpg.Start(ctx, dir, embeddedpg.Options{Settings: quick})
	if err != nil {
		return err
	}
	if _, err := tryAsk(server, "SELECT 'here'"); err != nil {
		return fmt.Errorf("a started server does not answer: %w", err)
	}
	return server.Stop(ctx)
}

func TestStart_LongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	server := start(t, dir, embeddedpg.Options{Settings: quick})
	t.Cleanup(func() { os.RemoveAll(server.SocketDir()) })
	if strings.HasPrefix(server.SocketDir(), dir) || len(server.SocketDir()) > embeddedpg.SocketPathLimit {
		t.Errorf("socket in %s, want a short path elsewhere", server.SocketDir())
	}
	if got := ask(t, server, "SELECT 'here'"); got != "here" {
		t.Errorf("answer = %q, want %q", got, "here")
	}
	other := startSharer(t, dir, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "TMPDIR="+t.TempDir()) })
	if other.pid != server.PID() {
		t.Errorf("a process with another TMPDIR uses server %d, want %d", other.pid, server.PID())
	}
	other.leave(t)
}

func TestStart_StalePIDFile(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, content string }{
		{"names a process that is none of ours", strconv.Itoa(os.Getpid()) + "\n/elsewhere\n0\n5432\n\n\n\nready\n"},
		{"names a process of the same user", ""}, // filled below: needs a process
		{"is empty", "\n"},
		{"is no pid file", "hello\n"},
	}
	dir := t.TempDir()
	server := start(t, dir, embeddedpg.Options{Settings: quick})
	bystander := start(t, t.TempDir(), embeddedpg.Options{Settings: quick})
	tests[1].content = fmt.Sprintf("%d\n%s\n0\n5432\n\n\n\nready\n", bystander.PID(), dir)
	stop(t, server)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "cluster", "postmaster.pid"), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			server := start(t, dir, embeddedpg.Options{Settings: quick})
			if got := ask(t, server, "SELECT 'here'"); got != "here" {
				t.Errorf("answer = %q, want %q", got, "here")
			}
		})
	}
	if got := ask(t, bystander, "SELECT 'here'"); got != "here" {
		t.Errorf("bystander's answer = %q, want %q", got, "here")
	}
}

func TestStart_UnfinishedClusterIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := filepath.Join(dir, "cluster.new")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, dir, embeddedpg.Options{Settings: quick})
	if got := ask(t, server, "SELECT current_database()"); got != embeddedpg.Database {
		t.Errorf("database = %q, want %q", got, embeddedpg.Database)
	}
}

func TestStart_BadSettingIsToldInOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := embeddedpg.Start(t.Context(), dir, embeddedpg.Options{Settings: map[string]string{"fsync": "off", "shared_buffers": "plenty"}})
	wantOneLine(t, err, "shared_buffers", "postgres.log")
}

// wantOneLine checks an error that a person will read.
func wantOneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has several lines:\n%v", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
