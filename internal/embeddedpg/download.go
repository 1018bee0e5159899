package embeddedpg

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadTimeout bounds fetching and unpacking some 30 megabytes.
const downloadTimeout = 10 * time.Minute

// downloadable names the release that is fetched for each major version.
var downloadable = map[int]embeddedpostgres.PostgresVersion{
	14: embeddedpostgres.V14,
	15: embeddedpostgres.V15,
	16: embeddedpostgres.V16,
	17: embeddedpostgres.V17,
	18: embeddedpostgres.V18,
}

// preferredMajor is fetched for a new cluster.
const preferredMajor = 17

// defaultCacheDir is where downloaded programs stay. Root runs them as another
// user, who cannot enter root's home.
func defaultCacheDir() string {
	if os.Geteuid() == 0 {
		return "/var/cache/contauth"
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "contauth")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("contauth-cache-%d", os.Geteuid()))
}

// downloadBinaries returns the programs of an earlier download, or fetches them.
func downloadBinaries(ctx context.Context, opts Options, as account, major int) (binaries, error) {
	if major == 0 {
		major = preferredMajor
	}
	version, ok := downloadable[major]
	if !ok {
		return binaries{}, fmt.Errorf("nothing to download for Postgres %d", major)
	}
	home := filepath.Join(opts.CacheDir, fmt.Sprintf("postgres-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH))
	if found, err := probe(ctx, filepath.Join(home, "bin"), as); err == nil {
		return found, nil
	}
	opts.Say(fmt.Sprintf("no Postgres on this machine: fetching PostgreSQL %s to %s", version, home))
	if err := os.MkdirAll(opts.CacheDir, 0o755); err != nil {
		return binaries{}, err
	}
	if err := fetch(ctx, opts.Mirror, version, home); err != nil {
		return binaries{}, err
	}
	return probe(ctx, filepath.Join(home, "bin"), as)
}

// fetch downloads a release into home, which appears only when it is whole.
func fetch(ctx context.Context, mirror string, version embeddedpostgres.PostgresVersion, home string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTimeout, fmt.Errorf("no end after %s", downloadTimeout))
	defer cancel()
	work, err := os.MkdirTemp(filepath.Dir(home), "fetch-")
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer os.RemoveAll(work)
		done <- fetchInto(work, mirror, version, home)
	}()
	// The library takes no context. Abandoned, it ends with its connection, and
	// its directory goes with it.
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fetchInto has the library download and unpack, and nothing else. The library
// knows only "download, unpack, and start on a TCP port", so it is shown a data
// directory that looks made and cannot be started: it unpacks, its pg_ctl
// refuses, and Start returns an error. Whether the programs arrived is seen from
// the programs, not from that error.
func fetchInto(work, mirror string, version embeddedpostgres.PostgresVersion, home string) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("unpack: %v", fault)
		}
	}()
	unpacked, decoy := filepath.Join(work, "postgres"), filepath.Join(work, "decoy")
	if err := os.Mkdir(decoy, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(decoy, "PG_VERSION"), []byte(majorOf(version)+"\n"), 0o600); err != nil {
		return err
	}
	const anyPort = 0 // the library insists on a free one
	started := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(anyPort).
		BinaryRepositoryURL(mirror).
		CachePath(work).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(unpacked).
		DataPath(decoy).
		Logger(io.Discard)).Start()
	for _, program := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(unpacked, "bin", program)); err != nil {
			return fmt.Errorf("fetch PostgreSQL %s from %s: %w", version, mirror, started)
		}
	}
	if err := openDirectories(unpacked); err != nil {
		return err
	}
	if err := os.RemoveAll(home); err != nil { // what a former release of ours left half-done
		return err
	}
	return os.Rename(unpacked, home)
}

func majorOf(version embeddedpostgres.PostgresVersion) string {
	return firstNumber.FindString(string(version))
}

// openDirectories lets every user read the programs, whatever our umask.
func openDirectories(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
