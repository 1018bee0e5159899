package logtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/contauth/contauth/internal/logtest"
)

// A recorder is a test that keeps what it is told. The embedded interface is
// there for its unexported method only.
type recorder struct {
	testing.TB
	lines    []string
	cleanups []func()
}

func (r *recorder) Log(args ...any)     { r.lines = append(r.lines, fmt.Sprint(args...)) }
func (r *recorder) Cleanup(done func()) { r.cleanups = append(r.cleanups, done) }

func (r *recorder) end() {
	for _, done := range r.cleanups {
		done()
	}
}

func TestNew(t *testing.T) {
	r := &recorder{TB: t}
	logger := logtest.New(r).Named("scheduler")

	logger.Debug("claimed", "count", 3)
	if len(r.lines) != 1 || !strings.Contains(r.lines[0], "scheduler: claimed: count=3") {
		t.Errorf("lines = %q, want the one that was logged", r.lines)
	}
	if strings.HasSuffix(r.lines[0], "\n") {
		t.Errorf("line %q ends in a line break", r.lines[0])
	}

	r.end()
	logger.Info("too late")
	if len(r.lines) != 1 {
		t.Errorf("lines = %q, want nothing after the end of the test", r.lines)
	}
}
