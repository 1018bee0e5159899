package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// runRow is a run as the table has it.
type runRow struct {
	ID           scheduler.RunID    `db:"id"`
	State        scheduler.RunState `db:"state"`
	Filter       []byte             `db:"filter"`
	AsOf         time.Time          `db:"as_of"`
	AsOfDate     sql.NullTime       `db:"as_of_date"`
	Items        int                `db:"items"`
	ManifestHash string             `db:"manifest_hash"`
	CreatedAt    time.Time          `db:"created_at"`
	CreatedBy    string             `db:"created_by"`
	ApprovedBy   sql.NullString     `db:"approved_by"`
	StartedAt    sql.NullTime       `db:"started_at"`
	FinishedAt   sql.NullTime       `db:"finished_at"`
	Reason       string             `db:"reason"`
	ScheduleID   sql.NullInt64      `db:"schedule_id"`
	Schedule     string             `db:"schedule"`
	FireAt       sql.NullTime       `db:"fire_at"`
}

const runColumns = `id, state, filter, as_of, as_of_date, items, manifest_hash, created_at, created_by, approved_by, started_at, finished_at, reason,
	schedule_id, fire_at, coalesce((SELECT s.name FROM schedules s WHERE s.id = schedule_id), '') AS schedule`

func (r runRow) run() (scheduler.Run, error) {
	run := scheduler.Run{
		ID: r.ID, State: r.State, AsOf: r.AsOf.UTC(), Items: r.Items, ManifestHash: r.ManifestHash,
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, ApprovedBy: r.ApprovedBy.String,
		StartedAt: r.StartedAt.Time, FinishedAt: r.FinishedAt.Time, Reason: r.Reason,
		ScheduleID: scheduler.ScheduleID(r.ScheduleID.Int64), Schedule: r.Schedule, FireAt: utc(r.FireAt),
	}
	if r.AsOfDate.Valid {
		run.AsOfDate = billing.LocalDateOf(r.AsOfDate.Time)
	}
	if err := json.Unmarshal(r.Filter, &run.Filter); err != nil {
		return run, fmt.Errorf("read filter of run %d: %w", r.ID, err)
	}
	return run, nil
}

// FindRun returns a run, or billing.ErrNotFound.
func (db *DB) FindRun(ctx context.Context, id scheduler.RunID) (scheduler.Run, error) {
	var row runRow
	if err := db.sqlx.GetContext(ctx, &row, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id); err != nil {
		return scheduler.Run{}, fmt.Errorf("run %d: %w", id, notFound(err))
	}
	return row.run()
}

// FindRuns returns the newest runs, the newest first.
func (db *DB) FindRuns(ctx context.Context, limit int) ([]scheduler.Run, error) {
	var rows []runRow
	if err := db.sqlx.SelectContext(ctx, &rows, `SELECT `+runColumns+` FROM runs ORDER BY id DESC LIMIT $1`, limit); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return runsOf(rows)
}

func runsOf(rows []runRow) ([]scheduler.Run, error) {
	runs := make([]scheduler.Run, 0, len(rows))
	for _, row := range rows {
		run, err := row.run()
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// lockRun locks a run against every claim and every other change of state.
func lockRun(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID) (scheduler.Run, error) {
	var row runRow
	if err := tx.GetContext(ctx, &row, `SELECT `+runColumns+` FROM runs WHERE id = $1 FOR NO KEY UPDATE`, id); err != nil {
		return scheduler.Run{}, fmt.Errorf("run %d: %w", id, notFound(err))
	}
	return row.run()
}

// moveRun takes a locked run to the next state.
func moveRun(ctx context.Context, tx *sqlx.Tx, run scheduler.Run, next scheduler.RunState, actor, reason string) error {
	if !run.State.CanMove(next) {
		return fmt.Errorf("run %d is %s and cannot become %s: %w", run.ID, run.State, next, billing.ErrConflict)
	}
	const query = `
		UPDATE runs
		   SET state = $3, decided_by = $4, reason = $5, progress_at = clock_timestamp(),
		       started_at = CASE WHEN $3 = 'running' THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
		       finished_at = CASE WHEN $3 IN ('completed', 'aborted') THEN clock_timestamp() END
		 WHERE id = $1 AND state = $2`
	if _, err := tx.ExecContext(ctx, query, run.ID, run.State, next, actor, reason); err != nil {
		return fmt.Errorf("move run %d to %s: %w", run.ID, next, err)
	}
	return recordAudit(ctx, tx, auditEntry{
		Actor: actor, Action: "run_" + string(next), ObjectKind: "run", Object: fmt.Sprint(run.ID), Reason: reason,
		Before: map[string]any{"state": run.State}, After: map[string]any{"state": next},
	})
}

// StartRun moves a planned or paused run to running; a running run is joined.
func (db *DB) StartRun(ctx context.Context, id scheduler.RunID, actor string) (scheduler.Run, error) {
	var run scheduler.Run
	err := db.inTx(ctx, "start run", func(tx *sqlx.Tx) (err error) {
		if run, err = lockRun(ctx, tx, id); err != nil {
			return err
		}
		if run.State == scheduler.RunRunning {
			return nil
		}
		if err := moveRun(ctx, tx, run, scheduler.RunRunning, actor, ""); err != nil {
			return err
		}
		run.State = scheduler.RunRunning
		return nil
	})
	return run, err
}

// PauseRun keeps a running run from claiming until it is resumed.
func (db *DB) PauseRun(ctx context.Context, id scheduler.RunID, actor, reason string) error {
	return db.inTx(ctx, "pause run", func(tx *sqlx.Tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		return moveRun(ctx, tx, run, scheduler.RunPaused, actor, reason)
	})
}

// ApproveRun approves the manifest of a run that awaits it. It returns
// billing.ErrConflict if hash is not the manifest's, so that a person approves
// what they saw. An empty hash approves the manifest that is there: only for a
// caller that has just shown it.
func (db *DB) ApproveRun(ctx context.Context, id scheduler.RunID, hash, actor string) error {
	return db.inTx(ctx, "approve run", func(tx *sqlx.Tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		if hash != "" && hash != run.ManifestHash {
			return fmt.Errorf("the manifest of run %d is %s, not %s: look at it again: %w", id, run.ManifestHash, hash, billing.ErrConflict)
		}
		if run.State != scheduler.RunAwaitingApproval {
			return fmt.Errorf("run %d is %s and awaits no approval: %w", id, run.State, billing.ErrConflict)
		}
		if err := moveRun(ctx, tx, run, scheduler.RunPlanned, actor, "approved"); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE runs SET approved_at = clock_timestamp(), approved_by = $2 WHERE id = $1`, id, actor)
		return err
	})
}

// AbortRun ends a run: nothing more of it is claimed. Items that no process
// holds are skipped at once; what is claimed and unsent is given back by the
// process that holds it.
func (db *DB) AbortRun(ctx context.Context, id scheduler.RunID, actor, reason string) error {
	return db.inTx(ctx, "abort run", func(tx *sqlx.Tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := moveRun(ctx, tx, run, scheduler.RunAborted, actor, reason); err != nil {
			return err
		}
		_, err = disposeRest(ctx, tx, id, "", "skipped", billing.ReasonRunAborted)
		return err
	})
}

// disposeRest gives the items of a run, at one account or at all, that nobody
// has charged or holds a disposition and a reason, and returns their charges.
func disposeRest(ctx context.Context, tx *sqlx.Tx, id scheduler.RunID, merchantAccount, disposition string, reason billing.Reason) (charges pq.Int64Array, err error) {
	const query = `
		UPDATE run_items i
		   SET disposition = $3, reason = $4, decided_at = clock_timestamp()
		  FROM charges c
		 WHERE i.run_id = $1 AND ($2 = '' OR i.merchant_account = $2) AND i.disposition IS NULL
		   AND c.id = i.charge_id AND c.answered = i.answered AND c.state = 'due'
		RETURNING c.id`
	if err := tx.SelectContext(ctx, &charges, query, id, merchantAccount, disposition, reason); err != nil {
		return nil, fmt.Errorf("account for the rest of run %d: %w", id, err)
	}
	return charges, nil
}

// StopAccount ends an account's part of a run. It is called again once
// everything the process held is settled, to account for what came back.
func (db *DB) StopAccount(ctx context.Context, id scheduler.RunID, stop scheduler.AccountStop, disposition string) error {
	hot, err := db.prepared(ctx)
	if err != nil {
		return fmt.Errorf("stop account in run: %w", err)
	}
	return db.inTx(ctx, "stop account in run", func(tx *sqlx.Tx) error {
		// No claim in between: what it leased would be called skipped and charged.
		if _, err := hot.lockAccountRow(ctx, tx, stop.MerchantAccount); err != nil {
			return err
		}
		const query = `
			INSERT INTO run_account_stops (run_id, merchant_account, reason, detail) VALUES ($1, $2, $3, $4)
			ON CONFLICT DO NOTHING`
		if _, err := tx.ExecContext(ctx, query, id, stop.MerchantAccount, stop.Reason, stop.Detail); err != nil {
			return fmt.Errorf("remember the stop of %s: %w", stop.MerchantAccount, err)
		}
		charges, err := disposeRest(ctx, tx, id, stop.MerchantAccount, disposition, stop.Reason)
		if err != nil || disposition != "held" {
			return err
		}
		return holdRest(ctx, tx, charges, stop.Reason)
	})
}

// holdRest holds the charges that a stop has just accounted for as held: later
// runs leave them to a person.
func holdRest(ctx context.Context, tx *sqlx.Tx, charges pq.Int64Array, reason billing.Reason) error {
	const query = `
		UPDATE charges SET state = 'held', reason = $2, decided_by = 'contauth', decided_at = clock_timestamp()
		 WHERE id = ANY (ARRAY(SELECT id FROM charges
		                        WHERE id = ANY ($1) AND state = 'due' AND stop_request IS NULL ORDER BY id FOR UPDATE))`
	if _, err := tx.ExecContext(ctx, query, charges, reason); err != nil {
		return fmt.Errorf("hold what an outage left: %w", err)
	}
	return nil
}

// RunAccounts lists the merchant accounts of a run's manifest, and those that
// have something to resolve, with no positions.
func (db *DB) RunAccounts(ctx context.Context, id scheduler.RunID) ([]scheduler.RunAccount, error) {
	const query = `
		SELECT i.merchant_account, a.gateway, min(i.position) AS first, max(i.position) AS last, a.max_in_flight
		  FROM run_items i JOIN merchant_accounts a ON a.id = i.merchant_account
		 WHERE i.run_id = $1
		 GROUP BY i.merchant_account, a.gateway, a.max_in_flight
		UNION ALL
		SELECT a.id, a.gateway, 1, 0, a.max_in_flight
		  FROM merchant_accounts a
		 WHERE NOT EXISTS (SELECT FROM run_items i WHERE i.run_id = $1 AND i.merchant_account = a.id)
		   AND (EXISTS (SELECT FROM charges c WHERE c.resolve_at IS NOT NULL AND c.merchant_account = a.id)
		        OR EXISTS (SELECT FROM claims k WHERE k.merchant_account = a.id))
		 ORDER BY 1`
	var accounts []scheduler.RunAccount
	if err := db.sqlx.SelectContext(ctx, &accounts, query, id); err != nil {
		return nil, fmt.Errorf("list merchant accounts of run %d: %w", id, unavailable(err))
	}
	return accounts, nil
}

// RunningRuns lists the runs in state running, the oldest first.
func (db *DB) RunningRuns(ctx context.Context) ([]scheduler.Run, error) {
	const query = `SELECT ` + runColumns + ` FROM runs WHERE state = 'running' ORDER BY id`
	var rows []runRow
	if err := db.sqlx.SelectContext(ctx, &rows, query); err != nil {
		return nil, fmt.Errorf("list running runs: %w", unavailable(err))
	}
	return runsOf(rows)
}

// FinishRun moves a running run to completed if every item is accounted for:
// answered, open at the gateway, or given a reason.
func (db *DB) FinishRun(ctx context.Context, id scheduler.RunID) (bool, error) {
	finished := false
	err := db.inTx(ctx, "finish run", func(tx *sqlx.Tx) error {
		run, err := lockRun(ctx, tx, id)
		if err != nil {
			return err
		}
		if run.State == scheduler.RunAborted {
			finished = true
			_, err := disposeRest(ctx, tx, id, "", "skipped", billing.ReasonRunAborted) // what came back unsent since
			return err
		}
		if run.State != scheduler.RunRunning {
			finished = run.State.IsFinished()
			return nil
		}
		const query = `
			SELECT EXISTS (
				SELECT FROM run_items i JOIN charges c ON c.id = i.charge_id
				 WHERE i.run_id = $1 AND i.disposition IS NULL
				   AND (c.state = 'due' AND c.answered = i.answered OR c.state = 'claimed' AND c.run_id = i.run_id))`
		var left bool
		if err := tx.GetContext(ctx, &left, query, id); err != nil {
			return fmt.Errorf("look for items left in run %d: %w", id, err)
		}
		if left {
			return nil
		}
		finished = true
		return moveRun(ctx, tx, run, scheduler.RunCompleted, "contauth", "")
	})
	return finished, err
}

// Control reads what people and other processes want of this one, and marks
// that the runs are being worked.
func (db *DB) Control(ctx context.Context, runs []scheduler.RunID, unsent []billing.ChargeID) (scheduler.Control, error) {
	var control scheduler.Control
	ids := make(pq.Int64Array, len(runs))
	for i, id := range runs {
		ids[i] = int64(id)
	}
	if len(runs) > 0 {
		const running = `SELECT id FROM runs WHERE id = ANY ($1) AND state = 'running'`
		if err := db.sqlx.SelectContext(ctx, &control.Running, running, ids); err != nil {
			return control, fmt.Errorf("read states of runs: %w", unavailable(err))
		}
	}
	const stops = `SELECT scope, name, reason FROM sending_stops`
	var rows []struct {
		Scope  string `db:"scope"`
		Name   string `db:"name"`
		Reason string `db:"reason"`
	}
	if err := db.sqlx.SelectContext(ctx, &rows, stops); err != nil {
		return control, fmt.Errorf("read sending stops: %w", unavailable(err))
	}
	for _, r := range rows {
		control.Stops = append(control.Stops, scheduler.SendingStop(r))
	}
	if len(unsent) > 0 {
		charges := make(pq.Int64Array, len(unsent))
		for i, id := range unsent {
			charges[i] = int64(id)
		}
		const stopped = `SELECT id FROM charges WHERE id = ANY ($1) AND stop_request IS NOT NULL`
		if err := db.sqlx.SelectContext(ctx, &control.Stopped, stopped, charges); err != nil {
			return control, fmt.Errorf("read stop requests: %w", unavailable(err))
		}
	}
	if len(runs) > 0 {
		// Without waiting for the claims that hold a run's row: a stop must not.
		const progress = `
			UPDATE runs SET progress_at = clock_timestamp()
			 WHERE id = ANY (ARRAY(SELECT id FROM runs WHERE id = ANY ($1) AND state = 'running' FOR NO KEY UPDATE SKIP LOCKED))`
		if _, err := db.sqlx.ExecContext(ctx, progress, ids); err != nil {
			return control, fmt.Errorf("note progress of runs: %w", unavailable(err))
		}
	}
	return control, nil
}

// WriteManifest writes a run's manifest: exactly the bytes that its hash covers.
func (db *DB) WriteManifest(ctx context.Context, id scheduler.RunID, w io.Writer) error {
	rows, err := db.sqlx.QueryxContext(ctx, manifestQuery, id)
	if err != nil {
		return fmt.Errorf("read manifest of run %d: %w", id, err)
	}
	return writeManifest(rows, w)
}

// manifestQuery reads what was planned, not what became of it: amount and
// token of the item, which the charge may have left behind since.
const manifestQuery = `
	SELECT i.position, i.merchant_account, c.reference, i.answered + 1 AS attempt, i.amount_minor, c.currency, t.token
	  FROM run_items i JOIN charges c ON c.id = i.charge_id JOIN tokens t ON t.id = i.token_id
	 WHERE i.run_id = $1
	 ORDER BY i.position`

func writeManifest(rows *sqlx.Rows, w io.Writer) error {
	defer rows.Close()
	var line []byte
	for rows.Next() {
		var i scheduler.ManifestItem
		if err := rows.Scan(&i.Position, &i.MerchantAccount, &i.ChargeReference, &i.Attempt, &i.AmountMinor, &i.Currency, &i.Token); err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		line = i.AppendLine(line[:0])
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
	}
	return rows.Err()
}
