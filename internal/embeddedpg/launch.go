package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// A launch is one try at starting the server.
type launch struct {
	exited  chan struct{} // closed when its first process has ended
	logFile string
	logFrom int64 // where this try's lines begin
}

// launch starts the server's first process and does not wait for it. A
// postmaster.pid that is still there is stale, because look saw no server:
// Postgres would take it for a live one if its number belongs to somebody else
// by now.
func (c *cluster) launch(with binaries) (*launch, error) {
	if err := os.Remove(c.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale postmaster.pid: %w", err)
	}
	logFile, from, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	// The server outlives us, and so any context of ours.
	cmd := newCommand(context.Background(), c.account, with.postgres())
	data, releaseData, err := cmd.path(c.dataDir())
	if err != nil {
		return nil, err
	}
	defer releaseData()
	socket, releaseSocket, err := cmd.path(c.socketDir)
	if err != nil {
		return nil, err
	}
	defer releaseSocket()
	cmd.Args = append(cmd.Args, "-D", data)
	cmd.Args = append(cmd.Args, c.settings(socket)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	l := &launch{exited: make(chan struct{}), logFile: logFile.Name(), logFrom: from}
	go func() { // collects the process, which would otherwise stay as a zombie
		defer close(l.exited)
		_ = cmd.Wait() // its reason is in the log
	}()
	return l, nil
}

// openLog opens postgres.log to append to, and returns its present size. A long
// one is put aside first.
func (c *cluster) openLog() (*os.File, int64, error) {
	if info, err := os.Stat(c.logFile()); err == nil && info.Size() > logLimit {
		if err := os.Rename(c.logFile(), c.logFile()+".1"); err != nil {
			return nil, 0, fmt.Errorf("put log aside: %w", err)
		}
	}
	file, err := os.OpenFile(c.logFile(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		err = c.account.give(c.logFile())
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func (l *launch) hasExited() bool {
	select {
	case <-l.exited:
		return true
	default:
		return false
	}
}

// said returns what the server logged in this try.
func (l *launch) said() string {
	file, err := os.Open(l.logFile)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	const enough = 1 << 20
	text, err := io.ReadAll(io.NewSectionReader(file, l.logFrom, enough))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (l *launch) reason() string { return reasonIn(l.said()) }

// metOldProcesses reports whether the server gave up because processes of its
// killed predecessor have not ended yet; Postgres protects the data from both.
func (l *launch) metOldProcesses() bool {
	return strings.Contains(l.said(), "pre-existing shared memory block")
}
