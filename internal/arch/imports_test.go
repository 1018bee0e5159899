package arch_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/contauth/contauth"

// root is the module's directory: tests run in the directory of their package.
const root = "../.."

// An edge is one import in one file.
type edge struct {
	pkg      string // of the file, below the module
	test     bool   // the file is a test
	imported string
	at       string // file and line
}

func TestImports(t *testing.T) {
	edges, err := importsBelow(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(edges) < 20 {
		t.Fatalf("only %d imports found below %s: the search is broken", len(edges), root)
	}
	for _, fault := range check(edges) {
		t.Error(fault)
	}
}

// A test of tests: each forbidden edge must be told, each allowed one passed.
func TestImports_aForbiddenEdgeIsFound(t *testing.T) {
	tests := []struct {
		name string
		edge edge
		want string // a part of the fault; "" = allowed
	}{
		{"tokens must not know billing", edge{pkg: "tokens", imported: module + "/billing"}, "tokens must not import billing"},
		{"billing logs nothing", edge{pkg: "billing", imported: hclog}, "billing must not import " + hclog},
		{"billing does no I/O", edge{pkg: "billing", imported: "net/http"}, "billing must not import net/http"},
		{"billing opens no database", edge{pkg: "billing", imported: "database/sql"}, "billing must not import database/sql"},
		{"billing may compute", edge{pkg: "billing", imported: "math/big"}, ""},
		{"billing may know tokens", edge{pkg: "billing", imported: module + "/tokens"}, ""},
		{"the scheduler has no driver", edge{pkg: "scheduler", imported: pq}, "scheduler must not import " + pq},
		{"adapters never meet", edge{pkg: "internal/postgres", imported: module + "/internal/gateway/adyen"}, "internal/postgres must not import internal/gateway/adyen"},
		{"a parent does not allow its children", edge{pkg: "internal/gateway/adyen", imported: module + "/internal/gateway/sandbox"}, "must not import internal/gateway/sandbox"},
		{"only the program knows config", edge{pkg: "internal/gateway/adyen", imported: module + "/config"}, "must not import config"},
		{"the program knows all", edge{pkg: "cmd/contauth", imported: module + "/internal/gateway/adyen"}, ""},
		{"a library allows what lies below it", edge{pkg: "config", imported: "github.com/knadh/koanf/providers/confmap"}, ""},
		{"and not what only begins alike", edge{pkg: "config", imported: "github.com/knadh/koanfree"}, "must not import github.com/knadh/koanfree"},
		{"a package without a row is told", edge{pkg: "internal/util", imported: "fmt"}, "internal/util has no row"},
		{"nobody imports the program", edge{pkg: "internal/bench", imported: module + "/cmd/contauth"}, "must not import cmd/contauth"},
		{"nor does its own test", edge{pkg: "scheduler", test: true, imported: module + "/cmd/contauth"}, "must not import cmd/contauth"},
		{"a test may have a database", edge{pkg: "billing", test: true, imported: module + "/internal/pgtest"}, ""},
		{"code may not", edge{pkg: "billing", imported: module + "/internal/pgtest"}, "must not import internal/pgtest"},
		{"a test may do I/O", edge{pkg: "billing", test: true, imported: "os"}, ""},
		{"an external test may import its package", edge{pkg: "billing", test: true, imported: module + "/billing"}, ""},
		{"a test brings no adapter", edge{pkg: "scheduler", test: true, imported: module + "/internal/postgres"}, "must not import internal/postgres"},
		{"C is for nobody: the binary is static", edge{pkg: "cmd/contauth", imported: "C"}, "must not import C"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			faults := check([]edge{tt.edge})
			if tt.want == "" && len(faults) > 0 {
				t.Errorf("an allowed import is refused: %s", faults)
			}
			if tt.want != "" && !strings.Contains(strings.Join(faults, "\n"), tt.want) {
				t.Errorf("got faults %q, want one with %q", faults, tt.want)
			}
		})
	}
}

// The search itself must see tests, build tags and nested folders, and leave
// alone what belongs to other modules.
func TestImports_theSearchSeesEveryFile(t *testing.T) {
	const imports = "import \"os\"\n"
	tree := mapFS(map[string]string{
		"a/a.go":              "package a\n\n" + imports,
		"a/a_test.go":         "package a_test\n" + imports,
		"a/b/scale.go":        "//go:build scale\n\npackage b\n" + imports,
		"a/testdata/x.go":     "package x\n" + imports,
		".hidden/h.go":        "package h\n" + imports,
		"tools/go.mod":        "module tools\n",
		"tools/t.go":          "package t\n" + imports,
		"vendor/example/v.go": "package v\n" + imports,
	})
	got, err := importsBelow(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []edge{
		{pkg: "a", imported: "os", at: "a/a.go:3"},
		{pkg: "a", test: true, imported: "os", at: "a/a_test.go:2"},
		{pkg: "a/b", imported: "os", at: "a/b/scale.go:4"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(edge{})); diff != "" {
		t.Errorf("importsBelow (-want +got):\n%s", diff)
	}
}

func TestRules_areSound(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.pkg] {
			t.Errorf("%s has two rows", r.pkg)
		}
		seen[r.pkg] = true
		if r.why == "" {
			t.Errorf("%s has no reason", r.pkg)
		}
		if slices.Contains(r.ours, everything) && r.pkg != "cmd/contauth" {
			t.Errorf("%s may import everything: only cmd/contauth may", r.pkg)
		}
		for _, adapter := range adapters {
			if slices.Contains(adapters, r.pkg) && slices.Contains(r.ours, adapter) {
				t.Errorf("%s may import %s: adapters never meet", r.pkg, adapter)
			}
		}
	}
	for _, r := range append(slices.Clone(rules), testRule) {
		for _, p := range r.ours {
			if p != everything && !seen[p] {
				t.Errorf("%s may import %s, which has no row", r.pkg, p)
			}
		}
	}
}

// check returns one line for each edge that no rule allows.
func check(edges []edge) []string {
	var faults []string
	for _, e := range edges {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.pkg == e.pkg })
		if i < 0 {
			faults = append(faults, fmt.Sprintf("%s: %s has no row in rules_test.go: add one with its reason", e.at, e.pkg))
			continue
		}
		if r := rules[i]; !r.allows(e) {
			faults = append(faults, fmt.Sprintf("%s: %s must not import %s (%s)", e.at, e.pkg, strings.TrimPrefix(e.imported, module+"/"), r.why))
		}
	}
	return faults
}

func (r rule) allows(e edge) bool {
	if e.imported == "C" {
		return false
	}
	if own, ok := strings.CutPrefix(e.imported, module+"/"); ok {
		return r.allowsOurs(own, e.test)
	}
	if isStandard(e.imported) {
		return e.test || !slices.ContainsFunc(r.never, covers(e.imported))
	}
	return r.others != nil && slices.Contains(r.others, everything) ||
		slices.ContainsFunc(r.others, covers(e.imported)) ||
		e.test && slices.ContainsFunc(testRule.others, covers(e.imported))
}

func (r rule) allowsOurs(own string, test bool) bool {
	return slices.Contains(r.ours, own) || slices.Contains(r.ours, everything) ||
		test && (own == r.pkg || slices.Contains(testRule.ours, own))
}

// covers reports of a prefix whether imported is it or lies below it.
func covers(imported string) func(prefix string) bool {
	return func(prefix string) bool { return imported == prefix || strings.HasPrefix(imported, prefix+"/") }
}

// isStandard knows the standard library by the missing dot of a host name.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// importsBelow reads the imports of every Go file of the module in tree,
// whatever its build tags: a rule that only holds on one platform is none.
func importsBelow(tree fs.FS) ([]edge, error) {
	var edges []edge
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && notOurs(tree, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		found, err := importsOf(tree, name)
		edges = append(edges, found...)
		return err
	})
	return edges, err
}

// notOurs reports whether go's own ./... would pass the directory by.
func notOurs(tree fs.FS, dir string) bool {
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" {
		return true
	}
	_, err := fs.Stat(tree, path.Join(dir, "go.mod"))
	return err == nil
}

func importsOf(tree fs.FS, name string) ([]edge, error) {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.ToSlash(name), source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var edges []edge
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		position := files.Position(spec.Pos())
		edges = append(edges, edge{
			pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), imported: imported,
			at: fmt.Sprintf("%s:%d", position.Filename, position.Line),
		})
	}
	return edges, nil
}
