//go:build scale

package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/contauth/contauth/internal/pgtest"
)

// TestScaleRun works a manifest of a million due charges and as many requests
// in flight as a far gateway wants, and watches the memory of the process (row
// G7 of the benchmark).
func TestScaleRun(t *testing.T) {
	t.Setenv(asProgram, "1") // the children are this test binary
	var stdout bytes.Buffer
	var stderr lockedBuffer // the children write to it too
	e := benchEnv(&stdout, &stderr, "--json", "--rows", "G7", "--turns", "1", "--backlog", "1000000", "--database", pgtest.New(t).DSN)
	if code := run(t.Context(), e); code != exitDone {
		t.Fatalf("exit code %d:\n%s", code, &stderr)
	}
	var report struct {
		Rows []struct {
			What   string  `json:"what"`
			Value  float64 `json:"value"`
			Accept float64 `json:"accept"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("standard output is no JSON: %v\n%s", err, &stdout)
	}
	if len(report.Rows) != 4 {
		t.Fatalf("%d rows, want 64, 1,024 and 2,048 in flight, and the backlog", len(report.Rows))
	}
	for _, row := range report.Rows {
		t.Logf("%s: %.1f MiB, accepted %.1f", row.What, row.Value, row.Accept)
		if row.Value > row.Accept {
			t.Errorf("%s: %.1f MiB, want at most %.1f", row.What, row.Value, row.Accept)
		}
	}
}
