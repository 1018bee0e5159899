// Package logtest sends log lines to the test that caused them.
package logtest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// New returns a logger that writes every line to t.Log, where it is shown with
// its test if that fails (or under -v). Lines that come after the test has ended
// are dropped: a goroutine that outlives its test must not bring down another.
func New(t testing.TB) hclog.Logger {
	w := &writer{t: t}
	t.Cleanup(w.end)
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: w})
}

// A writer passes lines to a test as long as that runs.
type writer struct {
	mu sync.Mutex
	t  testing.TB // nil once the test has ended
}

func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimRight(line, "\n")))
	}
	return len(line), nil
}

func (w *writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
