package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ThisMachine describes what the measurement runs on, without the database.
// gogc is the garbage collector's setting in the measured processes.
func ThisMachine(gogc string) Machine {
	m := Machine{Cores: runtime.GOMAXPROCS(0), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), GOGC: gogc}
	if release := firstLine("/proc/sys/kernel/osrelease"); release != "" {
		m.System += " " + release
	}
	if cpus, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.Processor = processorName(string(cpus))
	}
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	m.Load, _ = strconv.ParseFloat(load, 64) // 0 where the system does not tell
	return m
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func processorName(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
