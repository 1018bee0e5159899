package postgres

import (
	"context"
	"fmt"

	"github.com/contauth/contauth/billing"
)

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
