package postgres

import (
	"context"
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
// planning, settling and people's commands do; one of tokens locks tokens alone.

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
	badAt  int    // the line of the last bad row
	key    string // the column that no two lines of a merchant account share
	// duplicatesUnchecked is set until somebody looked for them.
	duplicatesUnchecked bool
}

// runImport does the work of an import in its transaction, and writes the audit.
// kind is the table that the file fills.
func (db *DB) runImport(ctx context.Context, kind string, req billing.ImportRequest, work func(job *importJob) error) (billing.ImportResult, error) {
	job := &importJob{req: req, result: billing.ImportResult{DryRun: req.DryRun}, key: "reference"}
	if kind == "tokens" {
		job.key = "token"
	}
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
		return job.result, nil
	}
	if err == nil && job.result.New >= importSize {
		db.analyse(ctx, kind)
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
	if j.result.Bad > 0 && j.duplicatesUnchecked {
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

// refuseDuplicates reports each line whose key is on an earlier line. A file
// of which table knows no line is looked through only if storing it fails: then
// the table's own constraint finds duplicates for nothing.
func (j *importJob) refuseDuplicates(ctx context.Context, table string) error {
	known := `
		SELECT EXISTS (SELECT FROM staged g JOIN ` + table + ` x ON x.merchant_account = g.merchant_account AND x.` + j.key + ` = g.` + j.key + `)`
	var some bool
	if err := j.tx.GetContext(ctx, &some, known); err != nil {
		return fmt.Errorf("look for known lines: %w", err)
	}
	if !some && j.result.Bad == 0 {
		j.duplicatesUnchecked = true
		return nil
	}
	return j.findDuplicates(ctx)
}

func (j *importJob) findDuplicates(ctx context.Context) error {
	j.duplicatesUnchecked = false
	shown := "g." + j.key
	if j.key == "token" {
		shown = masked(shown)
	}
	query := `
		SELECT g.line, '` + j.key + `' AS column, ` + shown + ` AS value,
		       'is on line ' || d.first || ' already, for the same merchant account' AS want
		  FROM (SELECT merchant_account, ` + j.key + `, min(line) AS first
		          FROM staged GROUP BY merchant_account, ` + j.key + ` HAVING count(*) > 1) d
		  JOIN staged g USING (merchant_account, ` + j.key + `)
		 WHERE g.line > d.first
		 ORDER BY g.line`
	return j.refuse(ctx, query)
}

// insert stores the new lines, of which there are want. If the table refuses one
// for its key, the file has it twice, or someone stored it at this moment.
func (j *importJob) insert(ctx context.Context, query, constraint string, want int, args ...any) error {
	if _, err := j.tx.ExecContext(ctx, `SAVEPOINT lines`); err != nil {
		return fmt.Errorf("store the file: %w", err)
	}
	inserted, err := j.exec(ctx, query, args...)
	if err == nil && inserted == want {
		return nil
	}
	if err != nil && !violates(err, constraint) {
		return fmt.Errorf("store the file: %w", err)
	}
	if _, err := j.tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT lines`); err != nil {
		return fmt.Errorf("take the lines back: %w", err)
	}
	if err := j.findDuplicates(ctx); err != nil {
		return err
	}
	if err := j.stopIfBad(ctx); err != nil {
		return err
	}
	return fmt.Errorf("someone stored one of them at this moment, import again: %w", billing.ErrConflict)
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
func (db *DB) analyse(ctx context.Context, table string) {
	if _, err := db.sqlx.ExecContext(ctx, `ANALYZE `+table); err != nil {
		db.logger.Warn("table not analysed after an import", "table", table, "error", err)
	}
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

// exec runs a statement and returns the number of rows it touched.
func (j *importJob) exec(ctx context.Context, query string, args ...any) (int, error) {
	result, err := j.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
