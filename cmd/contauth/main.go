// Command contauth charges stored cards on time, once, and can prove it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	_ "time/tzdata" // schedules keep their zones in an image without /usr/share/zoneinfo
)

func main() {
	tuneGC(os.LookupEnv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, &env{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookup: os.LookupEnv, environ: os.Environ})
	stop()
	os.Exit(code)
}

// gcPercent is how much the heap may grow between collections. At the rate of
// a run, Go's own 100 spends a tenth of the processor on collecting; this costs
// a dozen MiB instead.
const gcPercent = 400

// tuneGC lets the garbage collector work less often, unless GOGC says how often.
func tuneGC(lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}

// What a process that charges may use: enough for the program itself, and a
// part for each request that may be in flight.
const (
	memoryBase       = 29 << 20
	memoryPerRequest = 48 << 10
)

// limitMemory lets the garbage collector work more often when memory would grow
// past what inFlight requests need, unless GOMEMLIMIT says where that begins.
func limitMemory(lookup func(string) (string, bool), inFlight int) {
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryBase + int64(inFlight)*memoryPerRequest)
	}
}

// gcSetting is the setting of the garbage collector that tuneGC leaves.
func gcSetting(lookup func(string) (string, bool)) string {
	if value, set := lookup("GOGC"); set {
		return value
	}
	return strconv.Itoa(gcPercent)
}
