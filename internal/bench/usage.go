package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is processor time, user and system together.
type Usage struct {
	Client   time.Duration // of this process
	Postgres time.Duration // of all processes of a server; 0 if it cannot be seen
}

// OwnCPU returns the processor time that this process has used.
func OwnCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// OwnPeakMemory returns the most memory that this process ever had resident, in
// bytes, or 0 where the system does not tell. It is VmHWM and not getrusage's
// maxrss: that one a process inherits from whoever started it.
func OwnPeakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return parsePeak(string(status))
}

func parsePeak(status string) int64 {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// tick is the unit of processor times in /proc: USER_HZ, 100 on every Linux.
const tick = time.Second / 100

// A ProcessTree is a process with its children, as /proc shows them.
type ProcessTree struct {
	Proc fs.FS // the directory /proc
	PID  int   // the first process
}

// errNotStat says that a line is not one of /proc/PID/stat.
var errNotStat = errors.New("not the line of a process")

// A stat is what interests us of /proc/PID/stat.
type stat struct {
	command string
	parent  int
	own     time.Duration // of the process
	waited  time.Duration // of its children that have ended
}

// parseStat reads a line of /proc/PID/stat. The command stands in brackets and
// may itself have some, so what follows is counted from the last one.
func parseStat(line string) (stat, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return stat{}, errNotStat
	}
	fields := strings.Fields(line[end+1:])
	const parent, utime, stime, cutime, cstime = 1, 11, 12, 13, 14 // proc(5), from field 3 on
	if len(fields) <= cstime {
		return stat{}, errNotStat
	}
	var numbers [cstime + 1]int64
	for _, i := range []int{parent, utime, stime, cutime, cstime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return stat{}, errNotStat
		}
		numbers[i] = n
	}
	return stat{
		command: line[open+1 : end], parent: int(numbers[parent]),
		own:    time.Duration(numbers[utime]+numbers[stime]) * tick,
		waited: time.Duration(numbers[cutime]+numbers[cstime]) * tick,
	}, nil
}

func (t ProcessTree) read(pid string) (stat, error) {
	line, err := fs.ReadFile(t.Proc, pid+"/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(line))
}

// CPU returns the processor time of the first process and its children, those
// that have ended included.
func (t ProcessTree) CPU() (time.Duration, error) {
	first, err := t.read(strconv.Itoa(t.PID))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", t.PID, err)
	}
	total := first.own + first.waited
	entries, err := fs.ReadDir(t.Proc, ".")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == "" || entry.Name()[0] < '0' || entry.Name()[0] > '9' {
			continue
		}
		child, err := t.read(entry.Name())
		if err != nil || child.parent != t.PID {
			continue // it ended while we looked, or is somebody else's
		}
		total += child.own + child.waited
	}
	return total, nil
}

// Probe returns what this process and the server of t have used. With PID 0
// the server is left out.
func (t ProcessTree) Probe() Usage {
	used := Usage{Client: OwnCPU()}
	if t.PID != 0 {
		used.Postgres, _ = t.CPU() // 0 is seen by whoever reads the result
	}
	return used
}

// ServerOf returns the first process of the Postgres server whose backend has
// this process id, or 0 if that is no process of this machine.
func ServerOf(proc fs.FS, backend int) int {
	tree := ProcessTree{Proc: proc}
	s, err := tree.read(strconv.Itoa(backend))
	if err != nil || !strings.HasPrefix(s.command, "postgres") {
		return 0
	}
	return s.parent
}
