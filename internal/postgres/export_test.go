package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// ExplainClaim returns the plan of the claim's statement for a window, without
// running it.
func (db *DB) ExplainClaim(t testing.TB, req scheduler.ClaimRequest, window int) string {
	t.Helper()
	var lines []string
	if err := db.sqlx.Select(&lines, "EXPLAIN "+leaseDueQuery, claimArguments(req, 1, window)...); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// ExplainReplays returns the plans of the resolver's three statements, without
// running them.
func (db *DB) ExplainReplays(t testing.TB) string {
	t.Helper()
	var look, claim, giveUp []string
	if err := db.sqlx.Select(&look, "EXPLAIN "+accountsToResolveQuery); err != nil {
		t.Fatal(err)
	}
	if err := db.sqlx.Select(&claim, "EXPLAIN "+claimReplaysQuery, "DemoEU", 1, 60.0, 1, 50, "http://127.0.0.1:1/adyen/v71", 3600.0); err != nil {
		t.Fatal(err)
	}
	if err := db.sqlx.Select(&giveUp, "EXPLAIN "+giveUpReplaysQuery, "DemoEU", 3600.0); err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.Concat(look, claim, giveUp), "\n")
}

// ExplainNextCycles returns the plan that moves n subscriptions on, without running it.
func (db *DB) ExplainNextCycles(t testing.TB, n int) string {
	t.Helper()
	ids, cycles, dues := make(pq.Int64Array, n), make(pq.Int32Array, n), make(pq.Int64Array, n)
	for i := range ids {
		ids[i], cycles[i] = int64(i+1), 2
	}
	var lines []string
	if err := db.sqlx.Select(&lines, "EXPLAIN "+storeNextCyclesQuery, ids, cycles, dues, int64(noInstant)); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// AnalyzeClaim runs the claim's statement as the money path does when it is
// planned for any window, takes it back, and returns how it went.
func (db *DB) AnalyzeClaim(t testing.TB, req scheduler.ClaimRequest, settingsID, window int) string {
	t.Helper()
	tx := db.sqlx.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SET LOCAL plan_cache_mode = force_generic_plan`)
	tx.MustExec(`PREPARE analyzed_claim AS ` + leaseDueQuery)
	defer tx.Exec(`DEALLOCATE analyzed_claim`)
	var arguments []string
	for _, arg := range claimArguments(req, settingsID, window) {
		arguments = append(arguments, pq.QuoteLiteral(fmt.Sprint(arg)))
	}
	var lines []string
	if err := tx.Select(&lines, `EXPLAIN (ANALYZE, TIMING OFF) EXECUTE analyzed_claim (`+strings.Join(arguments, ", ")+`)`); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// ExplainSettle returns the plan of the settling statement for charges ids,
// without running it.
func (db *DB) ExplainSettle(t testing.TB, ids []billing.ChargeID) string {
	t.Helper()
	group := make([]*billing.Settlement, len(ids))
	for i, id := range ids {
		group[i] = &billing.Settlement{ChargeID: id, Attempt: 1, Counted: true,
			Source: billing.SourceAPI, Outcome: billing.OutcomeAuthorised, State: billing.ChargePaid}
	}
	var lines []string
	if err := db.sqlx.Select(&lines, "EXPLAIN "+settleQuery, settleArguments(group, nil)...); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// Prepare prepares the hot statements, so that a test which locks a table stops
// a claim where it uses that table and not where it is prepared.
func (db *DB) Prepare(t testing.TB) {
	t.Helper()
	if _, err := db.prepared(context.Background()); err != nil {
		t.Fatal(err)
	}
}
