package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/pgtest"
)

func benchEnv(stdout, stderr io.Writer, args ...string) *env {
	return &env{
		args: append([]string{"bench"}, args...), stdin: strings.NewReader(""), stdout: stdout, stderr: stderr,
		lookup: os.LookupEnv, environ: os.Environ,
	}
}

// A tiny bench: real processes, real Postgres, real sandbox. Its figures mean
// nothing; that all of them are there, and every payment checked, does.
func TestBench(t *testing.T) {
	t.Setenv(asProgram, "1") // the children are this test binary
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout bytes.Buffer
	var stderr lockedBuffer // the children write to it too
	e := benchEnv(&stdout, &stderr, "--json", "--quick", "--turns", "1", "--seconds", "0.1",
		"--charges", "150", "--backlog", "200", "--subscriptions", "120", "--accounts", "2",
		"--rows", "G1,G2,G5,G8,G9,G13,G14,G15,whole,gateway", "--database", pgtest.New(t).DSN)
	if code := run(ctx, e); code != exitDone {
		t.Fatalf("exit code %d:\n%s", code, &stderr)
	}
	var report struct {
		Machine struct {
			Cores    int    `json:"cores"`
			Go       string `json:"go"`
			Postgres string `json:"postgres"`
			GOGC     string `json:"gogc"`
			Fsync    string `json:"fsync"`
		} `json:"machine"`
		Rows []struct {
			ID     string    `json:"id"`
			Value  float64   `json:"value"`
			Unit   string    `json:"unit"`
			Accept float64   `json:"accept"`
			Turns  []float64 `json:"turns"`
		} `json:"rows"`
		Notes []string `json:"notes"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("standard output is no JSON: %v\n%s", err, &stdout)
	}
	if m := report.Machine; m.Cores == 0 || m.Go == "" || m.Postgres == "" || m.GOGC == "" || m.Fsync == "" {
		t.Errorf("machine = %+v: something is missing", m)
	}
	var ids []string
	for _, row := range report.Rows {
		ids = append(ids, row.ID)
		if row.Value <= 0 || row.Unit == "" || len(row.Turns) != 1 {
			t.Errorf("row %s = %+v: want a value of one turn with its unit", row.ID, row)
		}
		if asks := strings.HasPrefix(row.ID, "G"); asks != (row.Accept > 0) {
			t.Errorf("row %s accepts %v", row.ID, row.Accept)
		}
	}
	want := []string{"G1", "G2", "G5", "G8", "G9", "G9", "G13", "G14", "G15", "whole", "gateway"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if m := report.Machine; m.Fsync != "on" && !strings.Contains(strings.Join(report.Notes, "\n"), "does not keep what it acknowledges") {
		t.Errorf("a server with fsync %s is not told of: %q", m.Fsync, report.Notes)
	}
}

func TestBench_refusesWhatItCannotMeasure(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no turns", []string{"--turns", "0"}, "--turns"},
		{"a row that is not", []string{"--rows", "G1,G77"}, `there is no row "G77"`},
		{"a format that is not", []string{"--format", "csv"}, "markdown"},
		{"an argument", []string{"now"}, "takes flags"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), benchEnv(&stdout, &stderr, tt.args...)); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("said %q, want something with %q", &stderr, tt.want)
			}
		})
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{21234.6: "21235", 45.04: "45.0", 0.7149: "0.71", 7: "7.00", 0.00912: "0.0091", 0: "0.00"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
}
