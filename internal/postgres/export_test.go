package postgres

import (
	"strings"
	"testing"

	"github.com/contauth/contauth/scheduler"
)

// ExplainClaim returns the plan of the claim's statement for a window, without
// running it.
func (db *DB) ExplainClaim(t testing.TB, req scheduler.ClaimRequest, window int) string {
	t.Helper()
	var lines []string
	if err := db.sqlx.Select(&lines, "EXPLAIN "+claimQuery, claimArguments(req, 1, window)...); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
