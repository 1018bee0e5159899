package importer_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/importer"
)

// Lines are read ahead in chunks; whoever stores them sees each once, in order,
// good or bad, and may stop at any of them.
func TestSubscriptions_orderAndEnd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.IntRange(0, 1100).Draw(rt, "lines")
		bad := rapid.IntRange(2, 50).Draw(rt, "every n-th is bad")
		stop := rapid.IntRange(1, 1200).Draw(rt, "stop after")
		var file strings.Builder
		file.WriteString(header)
		var want []string
		for i := range lines {
			switch reference := fmt.Sprint("A", i); {
			case i%bad == 0:
				file.WriteString(line("amount_minor=-5"))
				want = append(want, fmt.Sprint("bad ", i+2))
			default:
				file.WriteString(line("reference=" + reference))
				want = append(want, fmt.Sprint(reference, " ", i+2))
			}
		}
		var got []string
		for row, err := range importer.Subscriptions(strings.NewReader(file.String()), options()) {
			if err != nil {
				got = append(got, fmt.Sprint("bad ", badLine(err)))
			} else {
				got = append(got, fmt.Sprint(row.Reference, " ", row.Line))
			}
			if len(got) == stop {
				break
			}
		}
		if diff := cmp.Diff(want[:min(stop, lines)], got, cmpopts.EquateEmpty()); diff != "" {
			rt.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// The error of the source comes behind all lines before it, and is the last.
func TestSubscriptions_sourceFails(t *testing.T) {
	broken := errors.New("disk on fire")
	const lines = 700
	src := io.MultiReader(strings.NewReader(header+strings.Repeat(line(), lines)), failing{broken})
	rows, failed := 0, 0
	for _, err := range importer.Subscriptions(src, options()) {
		switch {
		case err == nil && failed == 0:
			rows++
		case errors.Is(err, broken):
			failed++
		default:
			t.Fatalf("row after the error, or error %v", err)
		}
	}
	if rows != lines || failed != 1 {
		t.Errorf("%d rows and %d errors, want %d and 1", rows, failed, lines)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// badLine returns the line that an error speaks of; 0 if it speaks of none.
func badLine(err error) int {
	var bad *billing.BadRow
	if !errors.As(err, &bad) {
		return 0
	}
	return bad.Line
}
