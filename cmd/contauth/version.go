package main

import "runtime/debug"

// version is set by the linker (make build); without it the module's own
// version is told, as `go install …@v1.2.3` leaves it.
var version string

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
