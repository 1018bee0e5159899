package embeddedpg_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/embeddedpg"
)

func nowhere(context.Context) []string { return nil }

func noPackage(context.Context, func(string)) error { return errors.New("not here") }

func TestStart_NoPostgresAnywhere(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	_, err := embeddedpg.Start(t.Context(), t.TempDir(), embeddedpg.Options{
		Places: nowhere, Mirror: dead.URL, CacheDir: t.TempDir(), Install: noPackage,
	})
	wantOneLine(t, err, "install PostgreSQL 14 or newer", dead.URL, "not here")
}

func TestStart_MirrorWithoutThatRelease(t *testing.T) {
	t.Parallel()
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	_, err := embeddedpg.Start(t.Context(), t.TempDir(), embeddedpg.Options{
		Places: nowhere, Mirror: empty.URL, CacheDir: t.TempDir(), Install: noPackage,
	})
	wantOneLine(t, err, "install PostgreSQL", "no version found")
}

func TestStart_HangingMirrorEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel(errors.New("person pressed Ctrl-C"))
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(hanging.CloseClientConnections)
	_, err := embeddedpg.Start(ctx, t.TempDir(), embeddedpg.Options{
		Places: nowhere, Mirror: hanging.URL, CacheDir: openDir(t), Install: noPackage,
	})
	wantOneLine(t, err, "Ctrl-C")
}

func TestStart_ClusterOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "cluster"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster", "PG_VERSION"), []byte("12\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := embeddedpg.Start(t.Context(), dir, embeddedpg.Options{CacheDir: t.TempDir(), Install: noPackage})
	wantOneLine(t, err, "install PostgreSQL 12, which made this cluster")
}

func TestStart_Downloads(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	mirror := httptest.NewServer(serveRelease(t, &requests))
	defer mirror.Close()
	cache := openDir(t)
	var said []string
	opts := embeddedpg.Options{
		Places: nowhere, Mirror: mirror.URL, CacheDir: cache, Install: noPackage, Settings: quick,
		Say: func(line string) { said = append(said, line) },
	}

	server := start(t, t.TempDir(), opts)
	if got := ask(t, server, "SELECT 'here'"); got != "here" {
		t.Errorf("answer = %q, want %q", got, "here")
	}
	if len(said) != 1 || !strings.Contains(said[0], cache) {
		t.Errorf("said %q, want one line that names %s", said, cache)
	}
	fetched := requests.Load()
	if fetched == 0 {
		t.Error("nothing was fetched")
	}

	start(t, t.TempDir(), opts) // a second directory
	if got := requests.Load(); got != fetched {
		t.Errorf("%d requests more, want none: the download is kept", got-fetched)
	}
	left, err := filepath.Glob(filepath.Join(cache, "fetch-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q (%v)", left, err)
	}
}

func TestStart_RefusesADamagedDownload(t *testing.T) {
	t.Parallel()
	release := serveRelease(t, new(atomic.Int32))
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			fmt.Fprint(w, strings.Repeat("0", 64))
			return
		}
		release.ServeHTTP(w, r)
	}))
	defer mirror.Close()
	_, err := embeddedpg.Start(t.Context(), t.TempDir(), embeddedpg.Options{
		Places: nowhere, Mirror: mirror.URL, CacheDir: openDir(t), Install: noPackage,
	})
	wantOneLine(t, err, "checksums do not match")
}

// serveRelease serves an archive in the form of the real ones. Its programs hand
// over to those of this machine.
func serveRelease(t *testing.T, requests *atomic.Int32) http.Handler {
	jar := releaseJar(t, machinePostgres(t))
	sum := sha256.Sum256(jar)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch {
		case strings.HasSuffix(r.URL.Path, ".jar"):
			w.Write(jar)
		case strings.HasSuffix(r.URL.Path, ".jar.sha256"):
			fmt.Fprint(w, hex.EncodeToString(sum[:]))
		default:
			http.NotFound(w, r)
		}
	})
}

// machinePostgres is the directory of this machine's programs, by which all the
// other tests run as well.
func machinePostgres(t *testing.T) string {
	t.Helper()
	for _, dir := range embeddedpg.MachinePlaces(t.Context()) {
		if exec.Command(filepath.Join(dir, "initdb"), "--version").Run() == nil {
			return dir
		}
	}
	t.Fatal("no Postgres on this machine to serve")
	return ""
}

func releaseJar(t *testing.T, programs string) []byte {
	t.Helper()
	var tarred bytes.Buffer
	files := tar.NewWriter(&tarred)
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s/%s' \"$@\"\n", programs, name)
		if err := files.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o755, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	zipped := zip.NewWriter(&jar)
	entry, err := zipped.Create("postgres-test.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(storedXZ(tarred.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

func TestInstallPackage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		uid     int
		debian  bool
		fail    string // the apt-get command that fails
		want    []string
		wantErr string
	}{
		{"root on Debian", 0, true, "", []string{"update", "install"}, ""},
		{"index cannot be refreshed", 0, true, "update", []string{"update", "install"}, ""},
		{"package does not install", 0, true, "install", []string{"update", "install"}, "install fails"},
		{"ordinary user", 1000, true, "", nil, "not root"},
		{"another system", 0, false, "", nil, "not a Debian system"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if tt.debian {
				if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, "etc/debian_version"), []byte("12\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var got, said []string
			run := func(_ context.Context, program string, args ...string) error {
				settings, _ := os.ReadFile(filepath.Join(root, "etc/postgresql-common/createcluster.d/contauth.conf"))
				if !strings.Contains(string(settings), "create_main_cluster = false") {
					t.Error("package manager called before its cluster was forbidden")
				}
				for _, arg := range args {
					if arg == "update" || arg == "install" {
						got = append(got, arg)
						if arg == tt.fail {
							return errors.New(arg + " fails")
						}
					}
				}
				return nil
			}
			err := embeddedpg.InstallApt(t.Context(), root, tt.uid, run, func(line string) { said = append(said, line) })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("apt-get commands (-want +got):\n%s", diff)
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error = %v, want %q", err, tt.wantErr)
			}
			if wantSaid := min(1, len(tt.want)); len(said) != wantSaid {
				t.Errorf("said %q, want %d line", said, wantSaid)
			}
		})
	}
}

func TestStart_UsesTheInstalledPackage(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	var installed atomic.Bool
	server := start(t, t.TempDir(), embeddedpg.Options{
		Mirror: dead.URL, CacheDir: t.TempDir(), Settings: quick,
		Places: func(ctx context.Context) []string {
			if installed.Load() {
				return embeddedpg.MachinePlaces(ctx)
			}
			return nil
		},
		Install: func(context.Context, func(string)) error { installed.Store(true); return nil },
	})
	if got := ask(t, server, "SELECT 'here'"); got != "here" {
		t.Errorf("answer = %q, want %q", got, "here")
	}
}
