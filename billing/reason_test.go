package billing_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
)

// Every reason code has a sentence: nothing is held, skipped or moved without
// words for it. The codes are read from the source, so that none is forgotten.
func TestReason_EveryCodeHasASentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") || len(spec.Values) != 1 {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if text == "" {
			return true
		}
		codes++
		reason := billing.Reason(text)
		if reason.Sentence() == text || !slices.Contains(billing.Reasons(), reason) {
			t.Errorf("%s has no sentence", reason)
		}
		return true
	})
	if codes < 20 {
		t.Errorf("found %d codes: is reason.go still where they are?", codes)
	}
}
