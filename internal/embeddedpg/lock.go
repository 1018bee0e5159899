package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockInterval is how often a process asks for a lock that somebody holds.
// flock(2) can block, but then nothing but a signal ends the wait.
const lockInterval = 10 * time.Millisecond

// A fileLock is an advisory lock on a whole file. The kernel releases it when
// its holder dies, however it dies; children do not inherit it, because Go opens
// files close-on-exec.
type fileLock struct{ file *os.File }

// openLock opens the lock file at path and makes it if need be. The file belongs
// to owner, so that a directory first used by root stays usable for its owner.
func openLock(path string, owner account) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := owner.give(path); err != nil {
		file.Close()
		return nil, err
	}
	return &fileLock{file}, nil
}

// share waits until the lock can be held together with others.
func (l *fileLock) share(ctx context.Context) error { return l.wait(ctx, syscall.LOCK_SH) }

// seize waits until the lock can be held alone.
func (l *fileLock) seize(ctx context.Context) error { return l.wait(ctx, syscall.LOCK_EX) }

// trySeize reports whether the lock is now held alone.
func (l *fileLock) trySeize() (bool, error) { return l.try(syscall.LOCK_EX) }

// release gives the lock up and keeps the file open for another time.
func (l *fileLock) release() error {
	_, err := l.try(syscall.LOCK_UN)
	return err
}

// close gives the lock up for good.
func (l *fileLock) close() error { return l.file.Close() }

func (l *fileLock) wait(ctx context.Context, how int) error {
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for {
		held, err := l.try(how)
		if held || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s, which another process holds: %w", filepath.Base(l.file.Name()), context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

func (l *fileLock) try(how int) (bool, error) {
	for {
		err := syscall.Flock(int(l.file.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("lock %s: %w", l.file.Name(), err)
		}
	}
}
