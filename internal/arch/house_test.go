package arch_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func mapFS(files map[string]string) fs.FS {
	tree := fstest.MapFS{}
	for name, content := range files {
		tree[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return tree
}

// Migrations run in the order of their numbers, each once: a gap is a file that
// somebody forgot to add, a double is two people who each took the next number.
func TestMigrations_areNumberedWithoutGaps(t *testing.T) {
	names, err := fs.Glob(os.DirFS(root), "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if fault := numbering(names); fault != "" {
		t.Error(fault)
	}
}

func TestNumbering(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  string
	}{
		{"in order", []string{"0001_a.sql", "0002_b.sql"}, ""},
		{"the schema for readers has no number", []string{"0001_a.sql", "schema.sql"}, ""},
		{"a gap", []string{"0001_a.sql", "0003_b.sql"}, "0003_b.sql: want number 0002"},
		{"a double", []string{"0001_a.sql", "0001_b.sql"}, "0001_b.sql: want number 0002"},
		{"not from one", []string{"0002_a.sql"}, "0002_a.sql: want number 0001"},
		{"too few digits", []string{"001_a.sql"}, "001_a.sql: write NNNN_what.sql"},
		{"none at all", nil, "there are no migrations"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := numbering(tt.files); got != tt.want {
				t.Errorf("numbering(%q) = %q, want %q", tt.files, got, tt.want)
			}
		})
	}
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

// numbering returns the first fault in the numbers of migrations, "" if none.
func numbering(names []string) string {
	want := 1
	for _, name := range slices.Sorted(slices.Values(names)) {
		base := path.Base(name)
		if base == "schema.sql" {
			continue
		}
		match := migrationName.FindStringSubmatch(base)
		if match == nil {
			return base + ": write NNNN_what.sql"
		}
		if number := fmt.Sprintf("%04d", want); match[1] != number {
			return base + ": want number " + number
		}
		want++
	}
	if want == 1 {
		return "there are no migrations"
	}
	return ""
}

// The linter repeats the rules for editors; here they are held together.
func TestLinter_repeatsTheRules(t *testing.T) {
	text, err := os.ReadFile(root + "/.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	type guard struct {
		ListMode string   `yaml:"list-mode"`
		Files    []string `yaml:"files"`
		Allow    []string `yaml:"allow"`
	}
	var linter struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]guard `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(text, &linter); err != nil {
		t.Fatal(err)
	}
	want := map[string]guard{}
	for _, r := range rules {
		if slices.Contains(r.ours, everything) {
			continue // nothing to guard
		}
		g := guard{ListMode: "strict", Files: []string{"**/" + r.pkg + "/*.go", "!$test"}, Allow: []string{"$gostd"}}
		for _, p := range r.ours {
			g.Allow = append(g.Allow, module+"/"+p+"$") // $: this package and none below it
		}
		g.Allow = append(g.Allow, r.others...)
		want[strings.ReplaceAll(r.pkg, "/", "-")] = g
	}
	if diff := cmp.Diff(want, linter.Linters.Settings.Depguard.Rules); diff != "" {
		t.Errorf(".golangci.yml differs from rules_test.go (-rules_test.go +.golangci.yml):\n%s", diff)
	}
}
