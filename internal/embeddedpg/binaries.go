package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestMajor is the oldest Postgres that contauth works with.
const oldestMajor = 14

// probeTimeout bounds asking a program for its version.
const probeTimeout = 10 * time.Second

// binaries are the programs of one Postgres installation.
type binaries struct {
	dir   string // holds postgres and initdb
	major int    // 15
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// MachinePlaces lists the directories of this machine in which Postgres'
// programs usually lie, the most deliberate choice first: PATH, what pg_config
// says, then where Debian, Red Hat, Homebrew, Postgres.app and others put them,
// newest first. Not all of them exist.
func MachinePlaces(ctx context.Context) []string {
	var places []string
	if found, err := exec.LookPath("postgres"); err == nil {
		places = append(places, resolvedDir(found))
	}
	if dir, err := askPgConfig(ctx); err == nil {
		places = append(places, dir)
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/libexec/postgresql*",
	} {
		places = append(places, newestFirst(pattern)...)
	}
	return append(places, "/usr/bin", "/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin")
}

// resolvedDir follows links: on many machines PATH holds only a link to
// postgres, and initdb lies beside the real one.
func resolvedDir(program string) string {
	if real, err := filepath.EvalSymlinks(program); err == nil {
		program = real
	}
	return filepath.Dir(program)
}

func askPgConfig(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output()
	return strings.TrimSpace(string(output)), err
}

var firstNumber = regexp.MustCompile(`\d+`)

// newestFirst returns the matches of pattern, those with the highest first
// number before the others.
func newestFirst(pattern string) []string {
	matches, _ := filepath.Glob(pattern) // the patterns are constants, and good
	number := func(path string) int {
		n, _ := strconv.Atoi(firstNumber.FindString(path))
		return n
	}
	slices.SortStableFunc(matches, func(a, b string) int { return number(b) - number(a) })
	return matches
}

// findBinaries returns the first installation among places that as can run, and
// that fits: any major version from oldestMajor on, or exactly major if that is
// not 0, because a cluster is only ever opened by the version that made it.
func findBinaries(ctx context.Context, places []string, as account, major int) (binaries, error) {
	var refused []error
	for _, dir := range places {
		found, err := probe(ctx, dir, as)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			refused = append(refused, err)
		case major != 0 && found.major != major:
			refused = append(refused, fmt.Errorf("%s has Postgres %d", dir, found.major))
		case found.major < oldestMajor:
			refused = append(refused, fmt.Errorf("%s has Postgres %d, older than %d", dir, found.major, oldestMajor))
		default:
			return found, nil
		}
	}
	if len(refused) > 0 {
		return binaries{}, joinOnOneLine(refused)
	}
	return binaries{}, errors.New("none on this machine")
}

// probe asks the installation in dir for its version, as the account that is to
// run it: what root can run may be out of reach for others.
func probe(ctx context.Context, dir string, as account) (binaries, error) {
	found := binaries{dir: dir}
	for _, program := range []string{found.postgres(), found.initdb()} {
		if _, err := os.Stat(program); err != nil {
			return binaries{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	output, err := newCommand(ctx, as, found.postgres(), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("%s does not run: %w", found.postgres(), err)
	}
	found.major, err = parseMajor(string(output))
	return found, err
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// parseMajor reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parseMajor(line string) (int, error) {
	match := versionLine.FindStringSubmatch(line)
	if match == nil {
		return 0, fmt.Errorf("no Postgres version in %q", line)
	}
	return strconv.Atoi(match[1])
}

// joinOnOneLine is errors.Join for a reader of one line.
func joinOnOneLine(errs []error) error {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}
