package embeddedpg

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A state is what can be seen of a server from outside.
type state string

const (
	stateDown    state = "down"    // no server process in this cluster
	stateWaiting state = "waiting" // one that starts, recovers or stops
	stateReady   state = "ready"   // one that says it takes connections
)

// A sighting is a state and whose.
type sighting struct {
	state state
	pid   int // 0 if there is not even a file that names one
}

// readPIDFile reads postmaster.pid: the process id is its first line, what the
// server is doing its eighth (Postgres' miscadmin.h, LOCK_FILE_LINE_PM_STATUS;
// pg_ctl waits for the same word).
func readPIDFile(path string) (pid int, ready bool, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, false, err
	}
	pid, ready = parsePIDFile(string(content))
	return pid, ready, nil
}

func parsePIDFile(content string) (pid int, ready bool) {
	lines := strings.Split(content, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return 0, false
	}
	const statusLine = 8
	return pid, len(lines) >= statusLine && strings.TrimSpace(lines[statusLine-1]) == "ready"
}

// isServerOf reports whether process pid is alive and is the server of the
// cluster in dataDir. After a kill or a reboot, postmaster.pid may name a number
// that now belongs to something else, or to a process that is dead but whose
// parent has not noticed; Postgres itself would refuse to start beside either.
func isServerOf(pid int, dataDir string) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if runtime.GOOS != "linux" {
		name, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
		return err == nil && strings.Contains(string(name), "postgres")
	}
	// All of Postgres' processes work inside their data directory.
	working, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false
	}
	data, err := os.Stat(dataDir)
	return err == nil && os.SameFile(working, data)
}
