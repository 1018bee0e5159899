package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// An import is one transaction, all or nothing. The lines of the file go by COPY
// into a temporary table; from there on every step is one statement over all of
// them, so that neither the file nor what is stored is ever in this process's
// memory. One import works at a time.
//
// It locks subscriptions, then charges, each in the order of their numbers, as
// planning, settling and people's commands do.

// errDryRun rolls back what a dry run did.
var errDryRun = errors.New("dry run")

// importSize is the number of rows from which on tables are analysed, so that
// the statements that follow are planned for what is there now.
const importSize = 10_000

// An importJob is what the steps of an import share.
type importJob struct {
	conn   *sqlx.Conn // of tx
	tx     *sqlx.Tx
	req    billing.ImportRequest
	result billing.ImportResult
	badAt  int // the line of the last bad row
	// mayRepeat says that nobody looked for duplicates yet.
	mayRepeat bool
}

// runImport does the work of an import in its transaction, and writes the audit.
func (db *DB) runImport(ctx context.Context, kind string, req billing.ImportRequest, work func(job *importJob) error) (billing.ImportResult, error) {
	job := &importJob{req: req, result: billing.ImportResult{DryRun: req.DryRun}}
	conn, err := db.sqlx.Connx(ctx)
	if err != nil {
		return job.result, fmt.Errorf("import %s: %w", kind, unavailable(err))
	}
	defer conn.Close()
	err = inTxOf(ctx, conn, "import "+kind, func(tx *sqlx.Tx) error {
		job.conn, job.tx = conn, tx
		if err := job.prepare(ctx); err != nil {
			return err
		}
		if err := work(job); err != nil {
			return err
		}
		if err := job.stopIfBad(ctx); err != nil {
			return err
		}
		if req.DryRun {
			return errDryRun
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: req.Actor, Action: "import_" + kind, ObjectKind: "file", Object: req.File,
			After: map[string]any{"sha256": req.Hash(), "result": job.result},
		})
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return job.result, err
}

// prepare gives the transaction the room and the time that a large file needs,
// and makes other imports wait.
func (j *importJob) prepare(ctx context.Context) error {
	const query = `
		SELECT set_config('statement_timeout', '0', true), set_config('work_mem', '256MB', true), set_config('jit', 'off', true),
		       pg_advisory_xact_lock(hashtext('contauth import'))`
	if _, err := j.tx.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("wait for other imports: %w", err)
	}
	return nil
}

// stopIfBad ends an import of which bad rows are known.
func (j *importJob) stopIfBad(ctx context.Context) error {
	if j.result.Bad > 0 && j.mayRepeat {
		if err := j.findDuplicates(ctx); err != nil {
			return err
		}
	}
	switch j.result.Bad {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 bad row, nothing was stored: %w", billing.ErrInvalid)
	}
	return fmt.Errorf("%d bad rows, nothing was stored: %w", j.result.Bad, billing.ErrInvalid)
}

// bad reports a bad row. The rows of a line come one after the other.
func (j *importJob) bad(row billing.BadRow) error {
	if row.Line != j.badAt {
		j.badAt = row.Line
		j.result.Bad++
	}
	return j.req.Bad(row)
}

// stage copies the good rows of a file into the temporary table staged.
func stage[Row any](ctx context.Context, j *importJob, rows billing.ImportRows[Row], create, copyIn string, values func(Row, []driver.Value)) error {
	if _, err := j.tx.ExecContext(ctx, create); err != nil {
		return fmt.Errorf("make room for the file: %w", err)
	}
	// The driver takes the values directly: what database/sql does to each of
	// them costs more than reading the line.
	err := j.conn.Raw(func(conn any) error {
		stmt, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, copyIn)
		if err != nil {
			return fmt.Errorf("start to copy the file: %w", err)
		}
		defer stmt.Close()
		args := make([]driver.Value, copyColumns(copyIn))
		for row, err := range rows {
			if bad := (*billing.BadRow)(nil); errors.As(err, &bad) {
				if bad.Line != j.badAt {
					j.result.Rows++
				}
				if err := j.bad(*bad); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("read the file: %w", err)
			}
			j.result.Rows++
			values(row, args)
			//lint:ignore SA1019 a line of COPY is no statement that could be cancelled
			if _, err := stmt.Exec(args); err != nil {
				return fmt.Errorf("copy the file: %w", err)
			}
		}
		//lint:ignore SA1019 as above
		if _, err := stmt.Exec(nil); err != nil {
			return fmt.Errorf("copy the file: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A few thousand lines tell the planner enough about the file.
	if _, err := j.tx.ExecContext(ctx, `SET LOCAL default_statistics_target = 10; ANALYZE staged; RESET default_statistics_target`); err != nil {
		return fmt.Errorf("analyse the file: %w", err)
	}
	j.badAt = 0 // the database begins again at the first line
	return j.planForMany(ctx)
}

// planForMany keeps the planner from a trap of large files. It takes an empty
// table for a small one and would look through it once for each line, while the
// same statement fills it: a minute for what a hash join does in a second. For
// small files nested loops over the indexes are right.
func (j *importJob) planForMany(ctx context.Context) error {
	if j.result.Rows < importSize {
		return nil
	}
	if _, err := j.tx.ExecContext(ctx, `SET LOCAL enable_nestloop = off`); err != nil {
		return fmt.Errorf("plan for many lines: %w", err)
	}
	return nil
}

func copyColumns(copyIn string) int {
	n := 1
	for _, c := range copyIn {
		if c == ',' {
			n++
		}
	}
	return n
}

// refuseDuplicates reports each line whose reference is on an earlier line. A file
// of which table knows no line is looked through only if storing it fails: then
// the table's own constraint finds duplicates for nothing.
func (j *importJob) refuseDuplicates(ctx context.Context, table string) error {
	known := `
		SELECT EXISTS (SELECT FROM staged g JOIN ` + table + ` x ON x.merchant_account = g.merchant_account AND x.reference = g.reference)`
	var some bool
	if err := j.tx.GetContext(ctx, &some, known); err != nil {
		return fmt.Errorf("look for known lines: %w", err)
	}
	if !some && j.result.Bad == 0 {
		j.mayRepeat = true
		return nil
	}
	return j.findDuplicates(ctx)
}

func (j *importJob) findDuplicates(ctx context.Context) error {
	j.mayRepeat = false
	const query = `
		SELECT g.line, 'reference' AS column, g.reference AS value,
		       'is on line ' || d.first || ' already, for the same merchant account' AS want
		  FROM (SELECT merchant_account, reference, min(line) AS first
		          FROM staged GROUP BY merchant_account, reference HAVING count(*) > 1) d
		  JOIN staged g USING (merchant_account, reference)
		 WHERE g.line > d.first
		 ORDER BY g.line`
	return j.refuse(ctx, query)
}

// insert stores the new lines, of which there are want. If the table refuses one
// for its reference, the file has it twice, or someone stored it at this moment.
func (j *importJob) insert(ctx context.Context, query, constraint string, want int, args ...any) error {
	if _, err := j.tx.ExecContext(ctx, `SAVEPOINT lines`); err != nil {
		return err
	}
	inserted, err := j.exec(ctx, query, args...)
	if err == nil && inserted == want {
		return nil
	}
	if err != nil && !violates(err, constraint) {
		return fmt.Errorf("store the file: %w", err)
	}
	if _, err := j.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT lines`); err != nil {
		return err
	}
	if err := j.findDuplicates(ctx); err != nil {
		return err
	}
	if err := j.stopIfBad(ctx); err != nil {
		return err
	}
	return fmt.Errorf("someone stored one of them at this moment, import again: %w", billing.ErrConflict)
}

// storeTokens stores the tokens that are new, and reports the lines that say
// something else about a token than what is known of it.
func (j *importJob) storeTokens(ctx context.Context) error {
	stored, err := j.insertTokens(ctx)
	if err != nil {
		return fmt.Errorf("store tokens: %w", err)
	}
	j.result.NewTokens = stored
	if err := j.analyse(ctx, "tokens", stored); err != nil {
		return err
	}
	if stored == j.result.Rows {
		return nil // each line brought a token of its own: nothing else is known of any
	}
	const contradictions = `
		SELECT g.line, v.col AS column, v.value, v.want
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 CROSS JOIN LATERAL (VALUES
		       ('token', '', g.shopper_reference <> t.shopper_reference,
		        'belongs to another shopper reference: a token is one shopper''s for good'),
		       ('payment_method', g.payment_method, g.payment_method NOT IN ('', t.payment_method),
		        'the token is known with payment method ' || t.payment_method)) v (col, value, wrong, want)
		 WHERE (g.shopper_reference <> t.shopper_reference OR g.payment_method NOT IN ('', t.payment_method))
		   AND v.wrong
		 ORDER BY g.line, v.col`
	return j.refuse(ctx, contradictions)
}

// insertTokens stores the tokens that are new and returns how many were. Most
// files name each of them once, and storing them as if this one did takes half
// the time; where it turns out otherwise, it begins again.
func (j *importJob) insertTokens(ctx context.Context) (int, error) {
	const insert = `
		INSERT INTO tokens (merchant_account, token, shopper_reference, payment_method)
		SELECT g.merchant_account, g.token, g.shopper_reference, coalesce(nullif(g.payment_method, ''), 'scheme')
		  FROM staged g
		 WHERE NOT EXISTS (SELECT FROM tokens t WHERE t.merchant_account = g.merchant_account AND t.token = g.token)`
	if _, err := j.tx.ExecContext(ctx, `SAVEPOINT tokens`); err != nil {
		return 0, err
	}
	stored, err := j.exec(ctx, insert)
	if !violates(err, "tokens_are_stored_once") {
		return stored, err
	}
	if _, err := j.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT tokens`); err != nil {
		return 0, err
	}
	// Lines that name the payment method come first: the others take what they get.
	stored = 0
	for _, unnamed := range []bool{false, true} {
		n, err := j.exec(ctx, insert+` AND (g.payment_method = '') = $1 ON CONFLICT (token, merchant_account) DO NOTHING`, unnamed)
		if err != nil {
			return 0, err
		}
		stored += n
	}
	return stored, nil
}

// analyse tells the planner about a table that a statement filled.
func (j *importJob) analyse(ctx context.Context, table string, rows int) error {
	if rows < importSize {
		return nil
	}
	if _, err := j.tx.ExecContext(ctx, `ANALYZE `+table); err != nil {
		return fmt.Errorf("analyse %s: %w", table, err)
	}
	return nil
}

// analyse is importJob.analyse after the commit, when autovacuum would come only
// in a minute. That it fails is no failure of the import.
func (db *DB) analyse(ctx context.Context, tables ...string) {
	for _, table := range tables {
		if _, err := db.sqlx.ExecContext(ctx, `ANALYZE `+table); err != nil {
			db.logger.Warn("table not analysed after an import", "table", table, "error", err)
		}
	}
}

// masked is the SQL for what people see of a token, as tokens.Token's
// MaskedReference has it.
func masked(column string) string {
	return `CASE WHEN length(` + column + `) < 12 THEN '…' ELSE '…' || right(` + column + `, 4) END`
}

// refuse reports the bad rows that a query finds.
func (j *importJob) refuse(ctx context.Context, query string, args ...any) error {
	rows, err := j.tx.QueryxContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("look for bad rows: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var row billing.BadRow
		if err := rows.Scan(&row.Line, &row.Column, &row.Value, &row.Want); err != nil {
			return fmt.Errorf("read bad row: %w", err)
		}
		if err := j.bad(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for bad rows: %w", err)
	}
	j.badAt = 0
	return nil
}

// tellChanges reports the differences to what was stored, and counts what has any.
func (j *importJob) tellChanges(ctx context.Context) error {
	const query = `SELECT line, reference, field, before, after FROM differences ORDER BY line, place`
	rows, err := j.tx.QueryxContext(ctx, query)
	if err != nil {
		return fmt.Errorf("read differences: %w", err)
	}
	defer rows.Close()
	last := 0
	for rows.Next() {
		var c billing.ImportChange
		if err := rows.Scan(&c.Line, &c.Reference, &c.Field, &c.Before, &c.After); err != nil {
			return fmt.Errorf("read difference: %w", err)
		}
		if c.Line != last {
			last = c.Line
			j.result.Changed++
		}
		if err := j.req.Changed(c); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read differences: %w", err)
	}
	return nil
}

// auditChanges writes one row for each subscription or charge with a difference.
func (j *importJob) auditChanges(ctx context.Context, kind string) error {
	table := map[string]string{"subscription": "subscriptions", "charge": "charges"}[kind]
	query := `
		INSERT INTO audit (at, actor, action, merchant_account, object_kind, object, reason, before, after)
		SELECT clock_timestamp(), $1, 'import_' || $2 || '_change', d.merchant_account, $2, x.id::text, '',
		       jsonb_object_agg(d.field, d.before), jsonb_object_agg(d.field, d.after)
		  FROM differences d JOIN ` + table + ` x ON x.merchant_account = d.merchant_account AND x.reference = d.reference
		 GROUP BY d.merchant_account, x.id
		 ORDER BY min(d.line)`
	if _, err := j.tx.ExecContext(ctx, query, j.req.Actor, kind); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}

// exec runs a statement and returns the number of rows it touched.
func (j *importJob) exec(ctx context.Context, query string, args ...any) (int, error) {
	var (
		result sql.Result
		err    error
	)
	if result, err = j.tx.ExecContext(ctx, query, args...); err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
