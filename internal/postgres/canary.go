package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/scheduler"
)

// CountCanary counts the answers of the first items of a run at one account, up
// to a position.
func (db *DB) CountCanary(ctx context.Context, id scheduler.RunID, merchantAccount string, end int) (scheduler.CanaryCounts, error) {
	const query = `
		SELECT count(*) FILTER (WHERE i.disposition IS NULL AND c.run_id IS NOT DISTINCT FROM i.run_id AND c.state = 'claimed'
		                           OR i.disposition IS NULL AND c.state = 'due' AND c.answered = i.answered) AS open,
		       count(o.outcome) AS answered,
		       count(*) FILTER (WHERE o.outcome = 'refused') AS declined,
		       count(*) FILTER (WHERE i.disposition IS NULL AND o.outcome IS NULL
		                          AND (c.state IN ('unknown', 'pending') OR c.answered > i.answered)) AS silent,
		       EXISTS (SELECT FROM run_canaries k WHERE k.run_id = $1 AND k.merchant_account = $2) AS decided
		  FROM run_items i
		  JOIN charges c ON c.id = i.charge_id
		  LEFT JOIN LATERAL (SELECT o.outcome FROM observations o
		                      WHERE o.charge_id = i.charge_id AND o.attempt = i.answered + 1 AND o.outcome IN ('authorised', 'refused')
		                      ORDER BY o.outcome LIMIT 1) o ON true
		 WHERE i.run_id = $1 AND i.merchant_account = $2 AND i.position <= $3`
	var row struct {
		Open     int  `db:"open"`
		Answered int  `db:"answered"`
		Declined int  `db:"declined"`
		Silent   int  `db:"silent"`
		Decided  bool `db:"decided"`
	}
	if err := db.sqlx.GetContext(ctx, &row, query, id, merchantAccount, end); err != nil {
		return scheduler.CanaryCounts{}, fmt.Errorf("count the canary of run %d: %w", id, unavailable(err))
	}
	return scheduler.CanaryCounts(row), nil
}

// CloseCanary lets the rest of a run's part follow, or with a reason pauses the
// run: a person who resumes it has decided. The first call counts.
func (db *DB) CloseCanary(ctx context.Context, id scheduler.RunID, merchantAccount, reason string) error {
	return db.inTx(ctx, "close canary", func(tx *sqlx.Tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		const insert = `INSERT INTO run_canaries (run_id, merchant_account, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
		res, err := tx.ExecContext(ctx, insert, id, merchantAccount, reason)
		if err != nil {
			return fmt.Errorf("store canary: %w", err)
		}
		if n, err := res.RowsAffected(); n == 0 || err != nil || reason == "" || run.State != scheduler.RunRunning {
			return err
		}
		if err := moveRun(ctx, tx, run, scheduler.RunPaused, "contauth", reason); err != nil {
			return err
		}
		return storeAlert(ctx, tx, "canary", fmt.Sprintf("run %d was paused: %s", id, reason))
	})
}
