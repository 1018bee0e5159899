package arch_test

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	// A reference may be broken between two lines of a comment.
	protocolStep    = regexp.MustCompile(`charge protocol,\s+(?://\s*)?steps?\s+(?://\s*)?([0-9]+)(?:\s+(?://\s*)?and\s+(?://\s*)?([0-9]+))?`)
	protocolHeading = regexp.MustCompile(`(?m)^### ([0-9]+)\. `)
	checkedID       = regexp.MustCompile(`(?m)^\t+\{"(I[0-9]+)", `)
	documentedID    = regexp.MustCompile(`(?m)^\| (I[0-9]+) \| `)
)

// first returns what the first group of re matches in text, in order.
func first(re *regexp.Regexp, text string) []string {
	var found []string
	for _, match := range re.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS(root), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// namedSteps returns the numbers of the charge protocol's steps that text names.
func namedSteps(text string) []string {
	var found []string
	for _, match := range protocolStep.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
		if match[2] != "" {
			found = append(found, match[2])
		}
	}
	return found
}

func TestNamedSteps(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"one", "// x (charge protocol, step 5).", []string{"5"}},
		{"two", "// x (charge protocol, steps 2 and 13).", []string{"2", "13"}},
		{"over two lines", "// x (charge protocol,\n\t// step 7).", []string{"7"}},
		{"of something else", "// the charge protocol's waits; step 3", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, namedSteps(tt.text)); diff != "" {
				t.Errorf("namedSteps (-want +got):\n%s", diff)
			}
		})
	}
}

// A comment that names a step sends its reader to a page: the step must be there.
func TestChargeProtocol_hasTheStepsThatCommentsName(t *testing.T) {
	headings := first(protocolHeading, readText(t, "docs/charge-protocol.md"))
	named := 0
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "internal/arch/") {
			return err
		}
		for _, step := range namedSteps(readText(t, name)) {
			named++
			if !slices.Contains(headings, step) {
				t.Errorf("%s names step %s of the charge protocol, and docs/charge-protocol.md has no heading with that number", name, step)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < 5 {
		t.Errorf("only %d steps are named: the search is broken", named)
	}
}

// Whoever reads an id in what check prints must find it explained.
func TestInvariants_areExplained(t *testing.T) {
	want := first(checkedID, readText(t, "internal/postgres/check.go"))
	if len(want) < 10 {
		t.Fatalf("found only the invariants %q: the search is broken", want)
	}
	if diff := cmp.Diff(want, first(documentedID, readText(t, "docs/invariants.md"))); diff != "" {
		t.Errorf("docs/invariants.md differs from internal/postgres/check.go (-check.go +invariants.md):\n%s", diff)
	}
}
