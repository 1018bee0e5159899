package main

import (
	"runtime/debug"
	"strconv"
)

// gcPercent is how much the heap may grow between collections. At the rate of
// a run, Go's own 100 spends a tenth of the processor on collecting; this costs
// memory instead, up to limitMemory's limit.
const gcPercent = 400

// tuneGC lets the garbage collector work less often, unless GOGC says how often.
func tuneGC(lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}

// limitMemory lets the garbage collector work more often when memory would grow
// past limit bytes, unless GOMEMLIMIT says where that begins.
func limitMemory(lookup func(string) (string, bool), limit int64) {
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(limit)
	}
}

// What a process that charges may use by the runtime's count, in bytes: for itself,
// and for each request that may be in flight. With what the runtime does not
// count, the program's text above all, about 40 MiB are resident beside the part
// of the requests: row G7 of the benchmark and docs/operations.md promise that.
const (
	ownMemory     = 24 << 20
	requestMemory = 80 << 10
)

func runMemory(inFlight int) int64 { return ownMemory + int64(inFlight)*requestMemory }

// sandboxMemory is what a sandbox may use, in bytes: it shares its machine with
// what it is there to measure.
const sandboxMemory = 768 << 20

// gcSetting is the setting of the garbage collector that tuneGC leaves.
func gcSetting(lookup func(string) (string, bool)) string {
	if value, set := lookup("GOGC"); set {
		return value
	}
	return strconv.Itoa(gcPercent)
}
