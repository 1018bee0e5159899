package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// schedulesAtOnce bounds the schedules that one transaction looks at.
const schedulesAtOnce = 100

// RecordFires puts on record every fire of the active schedules up to business
// now, and lets those go on that waited for an unfinished run. Any number of
// daemons may do so at once: each schedule's row is locked by one of them.
func (db *DB) RecordFires(ctx context.Context) error {
	const waiting = `
		SELECT EXISTS (SELECT FROM schedules WHERE state = 'active' AND next_fire_at <= business_now())
		    OR EXISTS (SELECT FROM fires WHERE outcome = 'coalesced')`
	if found, err := db.finds(ctx, waiting); !found || err != nil {
		return err
	}
	err := db.inTx(ctx, "record fires", func(tx *sqlx.Tx) error {
		const query = `
			SELECT` + scheduleColumns + ` FROM schedules s
			 WHERE s.state = 'active' AND s.next_fire_at <= business_now()
			 ORDER BY s.next_fire_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED`
		var rows []scheduleRow
		if err := tx.SelectContext(ctx, &rows, query, schedulesAtOnce); err != nil {
			return fmt.Errorf("find schedules that fire: %w", err)
		}
		now, err := businessSecond(ctx, tx)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			s, err := row.schedule()
			if err != nil {
				return err
			}
			if err := fireSchedule(ctx, tx, s, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A schedule has one unfinished run, or one fire to plan, at a time. Its row is
	// locked, or a fire that is recorded meanwhile would find nothing to wait for.
	const goOn = `
		WITH free AS (
			SELECT s.id FROM schedules s
			 WHERE EXISTS (SELECT FROM fires f WHERE f.schedule_id = s.id AND f.outcome = 'coalesced')
			   AND NOT EXISTS (SELECT FROM runs r WHERE r.schedule_id = s.id AND r.state NOT IN ('completed', 'aborted'))
			   AND NOT EXISTS (SELECT FROM fires o WHERE o.schedule_id = s.id AND o.outcome = 'to_plan')
			   FOR NO KEY UPDATE SKIP LOCKED)
		UPDATE fires f SET outcome = 'to_plan', decided_at = clock_timestamp()
		  FROM free WHERE f.schedule_id = free.id AND f.outcome = 'coalesced'`
	if _, err := db.sqlx.ExecContext(ctx, goOn); err != nil {
		return fmt.Errorf("let fires go on: %w", unavailable(err))
	}
	return nil
}

// fireSchedule records the fires of a locked schedule. One whose times cannot be
// computed, such as after a change of the time zone database, is paused with an
// alert: the others must not wait for it.
func fireSchedule(ctx context.Context, tx *sqlx.Tx, s scheduler.Schedule, now time.Time) error {
	err := recordFires(ctx, tx, &s, now)
	if errors.Is(err, billing.ErrInvalid) {
		const pause = `
			UPDATE schedules SET state = 'paused', reason = $2, decided_by = 'contauth', decided_at = clock_timestamp() WHERE id = $1`
		if _, err := tx.ExecContext(ctx, pause, s.ID, err.Error()); err != nil {
			return fmt.Errorf("pause schedule %s: %w", s.Name, err)
		}
		return storeAlert(ctx, tx, "schedule_invalid", fmt.Sprintf("schedule %s was paused: %v", s.Name, err))
	}
	if err != nil {
		return err
	}
	const update = `UPDATE schedules SET fired_until = $2, next_fire_at = $3 WHERE id = $1`
	if _, err := tx.ExecContext(ctx, update, s.ID, s.FiredUntil, nullTime(s.NextFireAt)); err != nil {
		return fmt.Errorf("move schedule %s on: %w", s.Name, err)
	}
	return nil
}

func storeAlert(ctx context.Context, tx *sqlx.Tx, kind, detail string) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO alerts (kind, detail) VALUES ($1, $2)`, kind, detail); err != nil {
		return fmt.Errorf("store alert: %w", err)
	}
	return nil
}

// outageFrom is how late the first of several fires must be seen for the cycles
// before the last to count as missed: a daemon that was restarted is no outage.
const outageFrom = 10 * time.Minute

// recordFires puts the fires of a locked, active schedule up to now on record as
// one row, and moves the schedule's own times on; the caller stores those. A row
// whose schedule has an unfinished run is coalesced into the one that waits.
func recordFires(ctx context.Context, tx *sqlx.Tx, s *scheduler.Schedule, now time.Time) error {
	if s.State != scheduler.ScheduleActive {
		return nil
	}
	stretch, ok, err := fireStretch(s, now)
	if !ok || err != nil {
		return err
	}
	missed, err := missedBefore(ctx, tx, s.ID, stretch, now)
	if err != nil {
		return err
	}
	const query = `
		WITH busy AS (
			SELECT EXISTS (SELECT FROM runs WHERE schedule_id = $1 AND state NOT IN ('completed', 'aborted'))
			    OR EXISTS (SELECT FROM fires WHERE schedule_id = $1 AND outcome = 'to_plan') AS busy),
		     joined AS (
			UPDATE fires SET fire_at = $2, as_of = $3, fires = fires + $5, missed_before = greatest(missed_before, $6), decided_at = clock_timestamp()
			 WHERE schedule_id = $1 AND outcome = 'coalesced'
			RETURNING 1)
		INSERT INTO fires (schedule_id, fire_at, as_of, first_at, fires, missed_before, outcome)
		SELECT $1, $2, $3, $4, $5, $6, CASE WHEN busy THEN 'coalesced' ELSE 'to_plan' END
		  FROM busy WHERE NOT EXISTS (SELECT FROM joined)`
	if _, err := tx.ExecContext(ctx, query, s.ID, stretch.Last.At, stretch.Last.AsOf, stretch.First, stretch.Count, nullTime(missed)); err != nil {
		return fmt.Errorf("record fires of schedule %s: %w", s.Name, err)
	}
	return nil
}

// missedBefore returns the moment by which cycles fell due that count as missed
// when the fires of a stretch are seen now, or zero: those before the last fire of
// an outage, else those of skipped fires.
func missedBefore(ctx context.Context, tx *sqlx.Tx, id scheduler.ScheduleID, stretch scheduler.Stretch, now time.Time) (time.Time, error) {
	if stretch.Count > 1 && now.Sub(stretch.First) > outageFrom {
		return stretch.Before, nil
	}
	return skippedUntil(ctx, tx, id)
}

// skippedUntil returns until when a schedule's fires were skipped, if nothing
// came after, or zero.
func skippedUntil(ctx context.Context, tx *sqlx.Tx, id scheduler.ScheduleID) (time.Time, error) {
	const query = `
		SELECT CASE outcome WHEN 'skipped' THEN fire_at END FROM fires WHERE schedule_id = $1 ORDER BY fire_at DESC LIMIT 1`
	var at sql.NullTime
	if err := tx.GetContext(ctx, &at, query, id); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("read last fire: %w", err)
	}
	return utc(at), nil
}

// skipFires puts the fires of a paused schedule up to now on record as skipped.
func skipFires(ctx context.Context, tx *sqlx.Tx, s *scheduler.Schedule, now time.Time) error {
	stretch, ok, err := fireStretch(s, now)
	if !ok || err != nil {
		return err
	}
	const query = `
		INSERT INTO fires (schedule_id, fire_at, as_of, first_at, fires, outcome, reason) VALUES ($1, $2, $3, $4, $5, 'skipped', 'schedule_paused')`
	if _, err := tx.ExecContext(ctx, query, s.ID, stretch.Last.At, stretch.Last.AsOf, stretch.First, stretch.Count); err != nil {
		return fmt.Errorf("record skipped fires of schedule %s: %w", s.Name, err)
	}
	return nil
}

// fireStretch returns the fires of a schedule up to now, and moves its times on.
func fireStretch(s *scheduler.Schedule, now time.Time) (scheduler.Stretch, bool, error) {
	agenda, err := s.Agenda(storedLeast)
	if err != nil {
		return scheduler.Stretch{}, false, err
	}
	stretch, ok := agenda.Stretch(s.FiredUntil, now)
	if ok {
		s.FiredUntil = stretch.Last.At
	}
	next, _ := agenda.Next(s.FiredUntil)
	s.NextFireAt = next.At
	return stretch, ok, nil
}

// forgetFutureFires lets schedules begin anew after business time was moved back,
// which only a test clock does: their fires beyond now will come again. The runs of
// those fires stay, as runs of nobody's.
func forgetFutureFires(ctx context.Context, tx *sqlx.Tx, now time.Time) error {
	now = now.Truncate(time.Second)
	const ahead = `SELECT` + scheduleColumns + ` FROM schedules s WHERE s.state <> 'removed' AND s.fired_until > $1 ORDER BY s.id FOR NO KEY UPDATE`
	var rows []scheduleRow
	if err := tx.SelectContext(ctx, &rows, ahead, now); err != nil {
		return fmt.Errorf("find schedules that are ahead: %w", err)
	}
	for _, query := range []string{
		`UPDATE runs SET schedule_id = NULL, fire_at = NULL WHERE fire_at > $1`,
		`DELETE FROM fires WHERE fire_at > $1`,
	} {
		if _, err := tx.ExecContext(ctx, query, now); err != nil {
			return fmt.Errorf("forget fires ahead of the clock: %w", err)
		}
	}
	for _, row := range rows {
		s, err := row.schedule()
		if err != nil {
			return err
		}
		s.FiredUntil = now
		agenda, err := s.Agenda(time.Second)
		if err != nil {
			continue // its own next fire pauses it, with an alert
		}
		next, _ := agenda.Next(now)
		const update = `UPDATE schedules SET fired_until = $2, next_fire_at = $3 WHERE id = $1`
		if _, err := tx.ExecContext(ctx, update, s.ID, now, nullTime(next.At)); err != nil {
			return fmt.Errorf("move schedule %s back: %w", s.Name, err)
		}
	}
	return nil
}

// TakeFire gives this process the oldest fire without a run, for the time of a
// lease in which no other gets it. It reports false if there is none.
func (db *DB) TakeFire(ctx context.Context, lease time.Duration) (scheduler.FireToPlan, bool, error) {
	const query = `
		WITH taken AS (
			UPDATE fires SET plan_until = clock_timestamp() + make_interval(secs => $1), tries = tries + 1
			 WHERE (schedule_id, fire_at) = (
			           SELECT schedule_id, fire_at FROM fires
			            WHERE outcome = 'to_plan' AND (plan_until IS NULL OR plan_until < clock_timestamp())
			            ORDER BY fire_at LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING schedule_id, fire_at, as_of, missed_before, tries)
		SELECT t.fire_at, t.as_of, t.missed_before, t.tries,` + scheduleColumns + `
		  FROM taken t JOIN schedules s ON s.id = t.schedule_id`
	var row struct {
		FireAt       time.Time    `db:"fire_at"`
		AsOf         time.Time    `db:"as_of"`
		MissedBefore sql.NullTime `db:"missed_before"`
		Tries        int          `db:"tries"`
		scheduleRow
	}
	if err := db.sqlx.GetContext(ctx, &row, query, lease.Seconds()); errors.Is(err, sql.ErrNoRows) {
		return scheduler.FireToPlan{}, false, nil
	} else if err != nil {
		return scheduler.FireToPlan{}, false, fmt.Errorf("take a fire: %w", unavailable(err))
	}
	s, err := row.schedule()
	return scheduler.FireToPlan{
		Schedule: s, FireAt: row.FireAt.UTC(), AsOf: row.AsOf.UTC(), MissedBefore: utc(row.MissedBefore), Tries: row.Tries,
	}, err == nil, err
}

// PostponeFire lets a fire that could not be planned be tried again after a
// while, and keeps the reason.
func (db *DB) PostponeFire(ctx context.Context, fire scheduler.FireToPlan, wait time.Duration, cause string) error {
	const query = `
		UPDATE fires SET plan_until = clock_timestamp() + make_interval(secs => $3), detail = $4
		 WHERE schedule_id = $1 AND fire_at = $2 AND outcome = 'to_plan'`
	if _, err := db.sqlx.ExecContext(ctx, query, fire.Schedule.ID, fire.FireAt, wait.Seconds(), cause); err != nil {
		return fmt.Errorf("postpone a fire: %w", unavailable(err))
	}
	return nil
}

// closeFire notes in the plan's own transaction what became of a fire: a run, or
// nothing due. It returns billing.ErrConflict if that is known already, and
// errNothingDue for a run that charges nothing and leaves out only what earlier
// runs left out for the same reasons: a schedule that fires often would make such
// a run each time, as long as one charge is held.
func closeFire(ctx context.Context, tx *sqlx.Tx, fire *scheduler.FireToPlan, id scheduler.RunID) error {
	const idle = `
		SELECT NOT EXISTS (SELECT FROM run_items WHERE run_id = $1)
		   AND NOT EXISTS (SELECT FROM run_exclusions x
		                    WHERE x.run_id = $1
		                      AND NOT EXISTS (SELECT FROM run_exclusions e
		                                       WHERE e.charge_id = x.charge_id AND e.run_id <> x.run_id AND e.reason = x.reason))`
	var nothing bool
	if id != 0 {
		if err := tx.GetContext(ctx, &nothing, idle, id); err != nil {
			return fmt.Errorf("look for news in run %d: %w", id, err)
		}
	}
	if nothing {
		return errNothingDue
	}
	const query = `
		UPDATE fires
		   SET outcome = CASE WHEN $3 = 0 THEN 'nothing_due' ELSE 'run' END, run_id = nullif($3, 0), plan_until = NULL, detail = '', decided_at = clock_timestamp()
		 WHERE schedule_id = $1 AND fire_at = $2 AND outcome = 'to_plan'`
	if err := expectOne(tx.ExecContext(ctx, query, fire.Schedule.ID, fire.FireAt, id)); err != nil {
		return fmt.Errorf("fire of schedule %s at %s: %w", fire.Schedule.Name, fire.FireAt.Format(time.RFC3339), err)
	}
	return nil
}

// StartFiredRuns starts the runs of schedules that need no approval, or have it,
// and returns them.
func (db *DB) StartFiredRuns(ctx context.Context) ([]scheduler.Run, error) {
	// The second condition is that of the index runs_unfinished.
	const startable = `
		SELECT EXISTS (SELECT FROM runs WHERE state = 'planned' AND state NOT IN ('completed', 'aborted') AND schedule_id IS NOT NULL)`
	if found, err := db.finds(ctx, startable); !found || err != nil {
		return nil, err
	}
	var started []scheduler.Run
	err := db.inTx(ctx, "start runs of schedules", func(tx *sqlx.Tx) error {
		const query = `
			SELECT ` + runColumns + ` FROM runs
			 WHERE state = 'planned' AND state NOT IN ('completed', 'aborted') AND schedule_id IS NOT NULL
			 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED`
		var rows []runRow
		if err := tx.SelectContext(ctx, &rows, query); err != nil {
			return fmt.Errorf("find runs to start: %w", err)
		}
		runs, err := runsOf(rows)
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := moveRun(ctx, tx, run, scheduler.RunRunning, "contauth", ""); err != nil {
				return err
			}
		}
		started = runs
		return nil
	})
	return started, err
}

// FireNow returns what a fire of a schedule at business now would be: the one
// that a daemon would record now, or if none is due, one at this moment. A paused
// schedule fires as if it were resumed. It stores nothing. It returns
// billing.ErrNotFound for a schedule that is not there.
func (db *DB) FireNow(ctx context.Context, name string) (scheduler.FireToPlan, error) {
	var fire scheduler.FireToPlan
	err := db.inTx(ctx, "preview a fire", func(tx *sqlx.Tx) error {
		now, err := businessSecond(ctx, tx)
		if err != nil {
			return err
		}
		s, err := findSchedule(ctx, tx, name, "")
		if err != nil {
			return err
		}
		fire = scheduler.FireToPlan{Schedule: s, FireAt: now, AsOf: now, Tries: 1}
		stretch, due, err := fireStretch(&s, now)
		if err != nil {
			return err
		}
		if due && s.State == scheduler.SchedulePaused { // a person who resumes it skips these
			fire.MissedBefore = stretch.Last.At
			return nil
		}
		if due {
			fire.FireAt, fire.AsOf = stretch.Last.At, stretch.Last.AsOf
		}
		if fire.MissedBefore, err = missedBefore(ctx, tx, s.ID, stretch, now); err != nil {
			return err
		}
		// A fire that waits is planned together with this one, and keeps what it knows.
		const query = `
			SELECT missed_before FROM fires
			 WHERE schedule_id = $1 AND outcome IN ('to_plan', 'coalesced') AND missed_before IS NOT NULL
			 ORDER BY fire_at LIMIT 1`
		var waiting sql.NullTime
		if err := tx.GetContext(ctx, &waiting, query, s.ID); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read fires that wait: %w", err)
		}
		if waiting.Valid {
			fire.MissedBefore = utc(waiting)
		}
		return nil
	})
	return fire, err
}

// PreviewFire returns the report of the run that a fire of a schedule at business
// now would make, and stores nothing: see FireNow.
func (db *DB) PreviewFire(ctx context.Context, name string) (scheduler.Report, error) {
	fire, err := db.FireNow(ctx, name)
	if err != nil {
		return scheduler.Report{}, err
	}
	req := fire.PlanRequest()
	req.Preview = true
	// A run of this fire may be there already. Fires are on whole seconds, so that a
	// moment later there is none.
	req.Fire.FireAt = fire.FireAt.Add(time.Millisecond)
	report, err := db.PlanRun(ctx, req)
	if err != nil {
		return report, err
	}
	report.Run.ScheduleID, report.Run.Schedule, report.Run.FireAt = fire.Schedule.ID, name, fire.FireAt
	if over := approvalReason(req, report.Totals); over != "" {
		report.Run.State, report.Run.Reason = scheduler.RunAwaitingApproval, over
	}
	return report, nil
}

// approvalReason says in words why a run of these totals awaits approval, or "".
func approvalReason(req scheduler.PlanRequest, totals []scheduler.Totals) string {
	if over := req.Caps.Exceeded(totals); over != "" {
		return "above the schedule's cap: " + over
	}
	return req.ApproveAbove.Exceeded(totals)
}

// A FireRecord is what became of a stretch of fires.
type FireRecord struct {
	FireAt  time.Time       `db:"fire_at"`
	FirstAt time.Time       `db:"first_at"`
	Fires   int64           `db:"fires"`
	Outcome string          `db:"outcome"`
	Reason  string          `db:"reason"`
	RunID   scheduler.RunID `db:"run_id"` // 0 if it has none
	Detail  string          `db:"detail"` // why it is not planned yet
}

// FireRecords returns what became of a schedule's last fires, the newest first.
func (db *DB) FireRecords(ctx context.Context, id scheduler.ScheduleID, limit int) ([]FireRecord, error) {
	const query = `
		SELECT fire_at, first_at, fires, outcome, reason, coalesce(run_id, 0) AS run_id, detail
		  FROM fires WHERE schedule_id = $1 ORDER BY fire_at DESC LIMIT $2`
	var records []FireRecord
	if err := db.sqlx.SelectContext(ctx, &records, query, id, limit); err != nil {
		return nil, fmt.Errorf("list fires: %w", err)
	}
	return records, nil
}
