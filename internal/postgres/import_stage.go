package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/contauth/contauth/billing"
)

// stage copies the good rows of a file into the temporary table staged, which
// create makes. values sets a row's values in the order of columns.
func stage[Row any](ctx context.Context, j *importJob, rows billing.ImportRows[Row], create, columns string, values func(Row, []driver.Value)) error {
	if _, err := j.tx.ExecContext(ctx, create); err != nil {
		return fmt.Errorf("make room for the file: %w", err)
	}
	// The driver takes the values directly: what database/sql does to each of
	// them costs more than reading the line.
	err := j.conn.Raw(func(conn any) error {
		stmt, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, `COPY staged (`+columns+`) FROM STDIN`)
		if err != nil {
			return fmt.Errorf("start to copy the file: %w", err)
		}
		defer stmt.Close()
		args := make([]driver.Value, 1+strings.Count(columns, ","))
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
