package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// A check reads everything that is known about the money and looks for what
// must never be: the invariants of the charge protocol, each as a query that
// returns what breaks it. It changes nothing, and it may run beside work in
// progress: the gateways' ledgers are read first and the database then, in one
// snapshot, so whatever is in a ledger had been written ahead in the snapshot.

// A CheckRequest says what Check looks at.
type CheckRequest struct {
	// MerchantAccount narrows the check to one account; "" checks all. Card data
	// and running runs are looked for everywhere.
	MerchantAccount string
	// Lease is timing.lease: how long a run may be silent is counted in leases.
	Lease time.Duration
	// Ledgers are what the gateways say. Without any, the invariants that compare
	// with a gateway are not checked.
	Ledgers []Ledger
	// HoldsCardData reports whether a text contains a card number or a security
	// code.
	HoldsCardData func(text string) bool
}

// A CheckResult says whether one invariant holds.
type CheckResult struct {
	ID         string // of the invariant, such as I1
	Meaning    string // what must hold, in words
	Checked    bool   // false if there was nothing to compare with; Note says what
	Violations int
	// Sample tells about the first few violations. It names charges by number and
	// never quotes a text that came from outside.
	Sample []string
	// Note is what else is worth knowing; often empty.
	Note string
}

// OK reports whether the invariant was checked and holds.
func (r CheckResult) OK() bool { return r.Checked && r.Violations == 0 }

// An invariant is one thing that must hold, and how to find what breaks it.
type invariant struct {
	id, meaning string
	ledger      bool // it compares with a gateway's ledger
	find        func(context.Context, *checker, *findings) error
}

// invariants are those of the charge protocol that the database can show.
func invariants() []invariant {
	return []invariant{
		{"I1", "what the gateway charged or refused, the database knows, and the other way round", true, findLedgerDifferences},
		{"I2", "no charge is authorised twice at the gateway", true, findDoubleCharges},
		{"I3", "every cycle of a subscription up to its next one is exactly one charge, and the next one is on the right day", false, findMissingCycles},
		{"I4", "every open charge has a next step, with a time or with somebody to decide it", false, findForgottenCharges},
		{"I5", "no charge has more than one attempt that is open or approved", false, findSecondAttempts},
		{"I6", "attempts are numbered without holes, and each has one key of its own", false, findWrongAttempts},
		{"I7", "an attempt that is sent again is sent with the same bytes", false, findChangedRequests},
		{"I8", "per account, currency and day, the database and the gateway have authorised the same sum", true, findSumDifferences},
		{"I10", "charges, subscriptions and runs are where the recorded news allows, and moved only where they may", false, findIllegalStates},
		{"I11", "the amount that was sent is the amount that is owed", false, findChangedMoney},
		{"I13", "no card number and no security code is stored anywhere", false, findCardData},
		{"I15", "every webhook that was acknowledged is applied, waits for something, or has a stated reason", false, findForgottenEvents},
		{"I16", "nothing stands still: no lease is overdue and no running run is silent", false, findStandstill},
		{"I17", "nothing may be sent with a token that cannot be charged", false, findDeadTokens},
	}
}

// sampleSize is how many violations of an invariant are told.
const sampleSize = 5

// findings collects what breaks one invariant.
type findings struct {
	violations int
	sample     []string
	notes      []string
}

// add counts violations, of which one is told.
func (f *findings) add(violations int, told ...string) {
	f.violations += violations
	for _, what := range told {
		if len(f.sample) < sampleSize {
			f.sample = append(f.sample, what)
		}
	}
}

func (f *findings) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// A checker is one check under way.
type checker struct {
	tx  *sqlx.Tx
	req CheckRequest

	// ledgerFrom is when the first ledger began to be read: an answer that was
	// recorded before must be in it. It is zero without a ledger.
	ledgerFrom time.Time
}

// Check evaluates every invariant. An error means that it could not be found
// out, never that one is broken.
func (db *DB) Check(ctx context.Context, req CheckRequest) (results []CheckResult, err error) {
	conn, err := db.sqlx.Connx(ctx)
	if err != nil {
		return nil, fmt.Errorf("check: %w", unavailable(err))
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	c := &checker{req: req}
	if len(req.Ledgers) > 0 {
		defer forgetLedgers(context.WithoutCancel(ctx), conn)
		if c.ledgerFrom, err = loadLedgers(ctx, conn, req); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	if c.tx, err = conn.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}); err != nil {
		return nil, fmt.Errorf("check: begin: %w", unavailable(err))
	}
	defer c.tx.Rollback() // it wrote nothing
	if err := takeTime(ctx, c.tx); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	for _, i := range invariants() {
		result, err := c.evaluate(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", i.id, unavailable(err))
		}
		results = append(results, result)
	}
	return results, nil
}

// takeTime lets a transaction read the whole history in one statement.
func takeTime(ctx context.Context, tx *sqlx.Tx) error {
	const query = `SELECT set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true), set_config('jit', 'off', true)`
	_, err := tx.ExecContext(ctx, query)
	return err
}

func (c *checker) hasLedger() bool { return !c.ledgerFrom.IsZero() }

func (c *checker) evaluate(ctx context.Context, i invariant) (CheckResult, error) {
	result := CheckResult{ID: i.id, Meaning: i.meaning}
	if i.ledger && !c.hasLedger() {
		result.Note = "not checked: no ledger"
		return result, nil
	}
	var found findings
	if err := i.find(ctx, c, &found); err != nil {
		return result, err
	}
	result.Checked, result.Violations, result.Sample = true, found.violations, found.sample
	result.Note = strings.Join(found.notes, "; ")
	return result, nil
}

// find adds what a query returns: one row of one text for each violation.
func (c *checker) find(ctx context.Context, f *findings, query string, args ...any) error {
	var rows []struct {
		What  string `db:"what"`
		Total int    `db:"total"`
	}
	const some = `SELECT v.what, count(*) OVER () AS total FROM (%s) v (what) LIMIT %d`
	if err := c.tx.SelectContext(ctx, &rows, fmt.Sprintf(some, query, sampleSize), args...); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	told := make([]string, len(rows))
	for i, row := range rows {
		told[i] = row.What
	}
	f.add(rows[0].Total, told...)
	return nil
}

// findAll runs queries that take the merchant account as their only argument:
// "" for all.
func (c *checker) findAll(ctx context.Context, f *findings, queries ...string) error {
	for _, query := range queries {
		if err := c.find(ctx, f, query, c.req.MerchantAccount); err != nil {
			return err
		}
	}
	return nil
}
