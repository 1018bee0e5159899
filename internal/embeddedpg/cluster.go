package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	clusterName = "cluster"
	logName     = "postgres.log"

	// pollInterval is how often we look at a server that starts or stops.
	pollInterval = 10 * time.Millisecond
	// answerTimeout is how long a working server may take for one byte.
	answerTimeout = 5 * time.Second
	// patience is how long a start may take before a person is told why.
	patience = 3 * time.Second
	// stopTimeout is how long a fast stop may take (it writes a checkpoint)
	// before the server is told to quit at once and recover on its next start.
	stopTimeout = time.Minute
	quitTimeout = 10 * time.Second
	// logLimit is the size above which postgres.log is put aside at a start.
	logLimit = 16 << 20
)

// ourSettings hold for every cluster. Money is kept in it: what the server has
// acknowledged must survive a power cut.
var ourSettings = map[string]string{
	"fsync":                   "on",
	"synchronous_commit":      "on",
	"full_page_writes":        "on",
	"listen_addresses":        "",
	"unix_socket_permissions": "0700",
	"port":                    strconv.Itoa(socketPort),
	"max_connections":         "200",
	"shared_buffers":          sharedBuffers(),
	"max_wal_size":            "2GB",
	"timezone":                "UTC",
	"log_timezone":            "UTC",
	"log_destination":         "stderr",
	"logging_collector":       "off",
	"lc_messages":             "C",
}

// A cluster is the server of one directory and its files. Its methods expect
// that the caller holds the gate.
type cluster struct {
	dir       string
	account   account
	opts      Options
	log       hclog.Logger
	socketDir string // decided once, by placeSocket
}

func (c *cluster) dataDir() string { return filepath.Join(c.dir, clusterName) }
func (c *cluster) logFile() string { return filepath.Join(c.dir, logName) }
func (c *cluster) pidFile() string { return filepath.Join(c.dataDir(), "postmaster.pid") }

// look sees what the server is doing.
func (c *cluster) look() sighting {
	pid, ready, err := readPIDFile(c.pidFile())
	switch {
	case err != nil || pid == 0:
		return sighting{state: stateDown}
	case !isServerOf(pid, c.dataDir()):
		return sighting{state: stateDown, pid: pid}
	case ready && c.answers():
		return sighting{state: stateReady, pid: pid}
	default:
		return sighting{state: stateWaiting, pid: pid}
	}
}

// answers reports whether the server behind the socket works: it must answer a
// message, because the kernel accepts connections even for a process that is
// about to die. The message is SSLRequest, to which every server answers in one
// byte before it asks who we are (PostgreSQL documentation, Message Formats).
func (c *cluster) answers() bool {
	conn, err := net.DialTimeout("unix", filepath.Join(c.socketDir, socketName), answerTimeout)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

// ensure makes sure that the server answers.
func (c *cluster) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.StartTimeout,
		fmt.Errorf("no answer after %s; see %s", c.opts.StartTimeout, c.logFile()))
	defer cancel()
	if err := c.account.makeDir(c.socketDir); err != nil { // again: temporary directories get tidied
		return err
	}
	if c.look().state == stateReady {
		return nil
	}
	found, err := c.prepareCluster(ctx)
	if err != nil {
		return err
	}
	return c.start(ctx, found)
}

// prepareCluster finds the programs, and makes the cluster if there is none.
func (c *cluster) prepareCluster(ctx context.Context) (binaries, error) {
	major, err := c.major()
	if err != nil {
		return binaries{}, err
	}
	found, err := obtainBinaries(ctx, c.opts, c.account, major)
	if err != nil {
		return binaries{}, err
	}
	if major == 0 {
		err = c.create(ctx, found)
	}
	return found, err
}

// major returns the Postgres version that made the cluster, or 0 if there is none.
func (c *cluster) major() (int, error) {
	content, err := os.ReadFile(filepath.Join(c.dataDir(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("the cluster belongs to user %s: %w", c.account.name, err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("read version of cluster: %w", err)
	}
	return major, nil
}

// start starts the server if it is down, and waits until it answers.
func (c *cluster) start(ctx context.Context, with binaries) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	slow := time.After(patience)
	var launched *launch
	for {
		seen := c.look()
		switch {
		case seen.state == stateReady:
			c.log.Info("postgres answers", "pid", seen.pid, "version", with.major)
			return nil
		case seen.state == stateWaiting: // starting or recovering; or stopping, and down soon
		case launched == nil:
			next, err := c.launch(with)
			if err != nil {
				return err
			}
			launched = next
		case launched.hasExited():
			if !launched.metOldProcesses() {
				return fmt.Errorf("postgres does not start: %s; see %s", launched.reason(), c.logFile())
			}
			launched = nil // once more: they end by themselves
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-slow:
			c.opts.Say("waiting for Postgres, which may be recovering from a crash: " + c.logFile())
		case <-ticker.C:
		}
	}
}

// stop stops the server and waits for its end.
func (c *cluster) stop(ctx context.Context) error {
	seen := c.look()
	if seen.state == stateDown {
		return nil
	}
	if err := c.signal(seen.pid, syscall.SIGINT); err != nil { // "fast"
		return err
	}
	patient, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := c.awaitEnd(patient, seen.pid); err == nil {
		c.log.Info("postgres stopped", "pid", seen.pid)
		return nil
	}
	c.log.Warn("postgres does not stop, and is told to quit", "pid", seen.pid)
	if err := c.signal(seen.pid, syscall.SIGQUIT); err != nil {
		return err
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
	defer cancel()
	return c.awaitEnd(final, seen.pid)
}

func (c *cluster) signal(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal postgres: %w", err)
	}
	return nil
}

func (c *cluster) awaitEnd(ctx context.Context, pid int) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for isServerOf(pid, c.dataDir()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of postgres (process %d): %w", pid, context.Cause(ctx))
		case <-ticker.C:
		}
	}
	return nil
}

// settings are ours, and over them the caller's.
func (c *cluster) settings(socketDir string) []string {
	all := maps.Clone(ourSettings)
	maps.Copy(all, c.opts.Settings)
	all["unix_socket_directories"] = socketDir
	var args []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}
