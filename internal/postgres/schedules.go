package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// scheduleRow is a schedule as the table has it.
type scheduleRow struct {
	ID            scheduler.ScheduleID    `db:"id"`
	Name          string                  `db:"name"`
	State         scheduler.ScheduleState `db:"state"`
	Cron          string                  `db:"cron"`
	Timezone      string                  `db:"timezone"`
	Blackout      []byte                  `db:"blackout"`
	Filter        []byte                  `db:"filter"`
	CatchUp       scheduler.CatchUp       `db:"catch_up"`
	NeedsApproval bool                    `db:"needs_approval"`
	ApproveAbove  []byte                  `db:"approve_above"`
	Caps          []byte                  `db:"caps"`
	CreatedAt     time.Time               `db:"created_at"`
	CreatedBy     string                  `db:"created_by"`
	FiredUntil    time.Time               `db:"fired_until"`
	NextFireAt    sql.NullTime            `db:"next_fire_at"`
	Reason        string                  `db:"reason"`
}

const scheduleColumns = `
	s.id, s.name, s.state, s.cron, s.timezone, s.blackout, s.filter, s.catch_up, s.needs_approval, s.approve_above, s.caps,
	s.created_at, s.created_by, s.fired_until, s.next_fire_at, s.reason`

func (r scheduleRow) schedule() (scheduler.Schedule, error) {
	s := scheduler.Schedule{
		ID: r.ID, Name: r.Name, State: r.State, Cron: r.Cron, Zone: r.Timezone, CatchUp: r.CatchUp, NeedsApproval: r.NeedsApproval,
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, FiredUntil: r.FiredUntil.UTC(), NextFireAt: utc(r.NextFireAt), Reason: r.Reason,
	}
	for _, part := range []struct {
		text []byte
		to   any
	}{{r.Blackout, &s.Blackout}, {r.Filter, &s.Filter}, {r.ApproveAbove, &s.ApproveAbove}, {r.Caps, &s.Caps}} {
		if err := json.Unmarshal(part.text, part.to); err != nil {
			return s, fmt.Errorf("read schedule %s: %w", r.Name, err)
		}
	}
	return s, nil
}

// nullTime is a time for the database, null for zero.
func nullTime(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

// leastPeriod is the shortest @every: a minute, or on a test clock a second.
const leastPeriodQuery = `SELECT CASE WHEN EXISTS (SELECT FROM test_clock) THEN 1 ELSE 60 END`

func leastPeriod(ctx context.Context, q sqlx.QueryerContext) (time.Duration, error) {
	var s seconds
	if err := sqlx.GetContext(ctx, q, &s, leastPeriodQuery); err != nil {
		return 0, fmt.Errorf("read test clock: %w", err)
	}
	return s.duration(), nil
}

// storedLeast is the shortest @every of a schedule that is stored: a test clock may
// have been reset since, and what was allowed then still is.
const storedLeast = time.Second

// Schedules lists the schedules that are not removed, by name.
func (db *DB) Schedules(ctx context.Context) ([]scheduler.Schedule, error) {
	const query = `SELECT` + scheduleColumns + ` FROM schedules s WHERE s.state <> 'removed' ORDER BY s.name`
	var rows []scheduleRow
	if err := db.sqlx.SelectContext(ctx, &rows, query); err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	schedules := make([]scheduler.Schedule, 0, len(rows))
	for _, row := range rows {
		s, err := row.schedule()
		if err != nil {
			return nil, err
		}
		schedules = append(schedules, s)
	}
	return schedules, nil
}

// FindSchedule returns a schedule that is not removed and when it fires, or
// billing.ErrNotFound. With billing.ErrInvalid it returns a schedule whose times
// cannot be computed.
func (db *DB) FindSchedule(ctx context.Context, name string) (scheduler.Schedule, scheduler.Agenda, error) {
	s, err := findSchedule(ctx, db.sqlx, name, "")
	if err != nil {
		return s, scheduler.Agenda{}, err
	}
	agenda, err := s.Agenda(storedLeast)
	return s, agenda, err
}

func findSchedule(ctx context.Context, q sqlx.QueryerContext, name, locking string) (scheduler.Schedule, error) {
	var row scheduleRow
	query := `SELECT` + scheduleColumns + ` FROM schedules s WHERE s.name = $1 AND s.state <> 'removed' ` + locking
	if err := sqlx.GetContext(ctx, q, &row, query, name); err != nil {
		return scheduler.Schedule{}, fmt.Errorf("schedule %s: %w", name, notFound(err))
	}
	return row.schedule()
}

// AddSchedule stores a new schedule, active from business now on. It returns
// billing.ErrInvalid for one that cannot be, and billing.ErrConflict for a name
// that is taken.
func (db *DB) AddSchedule(ctx context.Context, s scheduler.Schedule, actor string) (scheduler.Schedule, error) {
	err := db.inTx(ctx, "add schedule", func(tx *sqlx.Tx) error {
		now, err := businessSecond(ctx, tx)
		if err != nil {
			return err
		}
		s.State, s.CreatedAt, s.CreatedBy, s.FiredUntil = scheduler.ScheduleActive, now, actor, now
		if err := timeSchedule(ctx, tx, &s); err != nil {
			return err
		}
		row, err := encodeSchedule(s)
		if err != nil {
			return err
		}
		const insert = `
			INSERT INTO schedules (name, cron, timezone, blackout, filter, catch_up, needs_approval, approve_above, caps,
			                       created_at, created_by, fired_until, next_fire_at, decided_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10, $12, $11)
			RETURNING id`
		err = tx.GetContext(ctx, &s.ID, insert, s.Name, s.Cron, s.Zone, row.blackout, row.filter, s.CatchUp, s.NeedsApproval,
			row.approveAbove, row.caps, s.CreatedAt, actor, nullTime(s.NextFireAt))
		if violates(err, "schedules_have_one_name") {
			return fmt.Errorf("there is a schedule %s already: %w", s.Name, billing.ErrConflict)
		}
		if err != nil {
			return fmt.Errorf("store schedule: %w", err)
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: actor, Action: "add", ObjectKind: auditKindSchedule, Object: s.Name, After: scheduleOnRecord(s),
		})
	})
	return s, err
}

// timeSchedule checks a schedule and computes its next fire.
func timeSchedule(ctx context.Context, tx *sqlx.Tx, s *scheduler.Schedule) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := findScheduleAccount(ctx, tx, s.Filter.MerchantAccount); err != nil {
		return err
	}
	least, err := leastPeriod(ctx, tx)
	if err != nil {
		return err
	}
	agenda, err := s.Agenda(least)
	if err != nil {
		return err
	}
	next, ok := agenda.Next(s.FiredUntil)
	if !ok {
		return fmt.Errorf("%w schedule: it never fires", billing.ErrInvalid)
	}
	s.NextFireAt = next.At
	return nil
}

// findScheduleAccount refuses a merchant account that nobody ever configured: a
// schedule for it would find nothing due, and nobody would notice.
func findScheduleAccount(ctx context.Context, tx *sqlx.Tx, account string) error {
	var known bool
	if err := tx.GetContext(ctx, &known, `SELECT $1 = '' OR EXISTS (SELECT FROM merchant_accounts WHERE id = $1)`, account); err != nil {
		return fmt.Errorf("find merchant account: %w", err)
	}
	if !known {
		return fmt.Errorf("%w merchant account: there is no %s in the configuration, `contauth config show` prints it", billing.ErrInvalid, account)
	}
	return nil
}

// businessSecond is business time in whole seconds, which is what cron counts.
func businessSecond(ctx context.Context, tx *sqlx.Tx) (time.Time, error) {
	var now time.Time
	if err := tx.GetContext(ctx, &now, `SELECT date_trunc('second', business_now())`); err != nil {
		return now, fmt.Errorf("read business time: %w", err)
	}
	return now.UTC(), nil
}

type encodedSchedule struct{ blackout, filter, approveAbove, caps string }

func encodeSchedule(s scheduler.Schedule) (e encodedSchedule, err error) {
	for _, part := range []struct {
		from any
		to   *string
	}{{s.Blackout, &e.blackout}, {s.Filter, &e.filter}, {s.ApproveAbove, &e.approveAbove}, {s.Caps, &e.caps}} {
		text, err := json.Marshal(part.from)
		if err != nil {
			return e, fmt.Errorf("encode schedule %s: %w", s.Name, err)
		}
		*part.to = string(text)
	}
	return e, nil
}

// scheduleOnRecord is a schedule as the audit table shows it.
func scheduleOnRecord(s scheduler.Schedule) any {
	return map[string]any{
		"cron": s.Cron, "timezone": s.Zone, "blackout": s.Blackout, "filter": s.Filter, "catch_up": s.CatchUp,
		"needs_approval": s.NeedsApproval, "approve_above": s.ApproveAbove, "caps": s.Caps, "state": s.State,
	}
}

// EditSchedule changes a schedule as edit says. Its fires up to business now are
// put on record under the old times first. It returns billing.ErrInvalid for one
// that cannot be.
func (db *DB) EditSchedule(ctx context.Context, name, actor string, edit func(*scheduler.Schedule)) (scheduler.Schedule, error) {
	var s scheduler.Schedule
	err := db.inTx(ctx, "edit schedule", func(tx *sqlx.Tx) error {
		now, err := businessSecond(ctx, tx)
		if err != nil {
			return err
		}
		if s, err = findSchedule(ctx, tx, name, "FOR NO KEY UPDATE"); err != nil {
			return err
		}
		before := s
		// One whose times cannot be computed is edited to repair it: it has no fires.
		if err := passFires(ctx, tx, &s, now); err != nil && !errors.Is(err, billing.ErrInvalid) {
			return err
		}
		edit(&s)
		s.FiredUntil = later(s.FiredUntil, now)
		if err := timeSchedule(ctx, tx, &s); err != nil {
			return err
		}
		row, err := encodeSchedule(s)
		if err != nil {
			return err
		}
		const update = `
			UPDATE schedules
			   SET cron = $2, timezone = $3, blackout = $4, filter = $5, catch_up = $6, needs_approval = $7, approve_above = $8, caps = $9,
			       fired_until = $10, next_fire_at = $11, decided_at = clock_timestamp(), decided_by = $12
			 WHERE id = $1`
		if _, err := tx.ExecContext(ctx, update, s.ID, s.Cron, s.Zone, row.blackout, row.filter, s.CatchUp, s.NeedsApproval,
			row.approveAbove, row.caps, s.FiredUntil, nullTime(s.NextFireAt), actor); err != nil {
			return fmt.Errorf("store schedule: %w", err)
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: actor, Action: "edit", ObjectKind: auditKindSchedule, Object: name,
			Before: scheduleOnRecord(before), After: scheduleOnRecord(s),
		})
	})
	return s, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// PauseSchedule stops a schedule from firing. What its fires have not begun is
// skipped; its runs go on. It returns billing.ErrConflict if it is paused.
func (db *DB) PauseSchedule(ctx context.Context, name string, by billing.Decision) error {
	return db.moveSchedule(ctx, name, scheduler.ScheduleActive, scheduler.SchedulePaused, "pause", by)
}

// ResumeSchedule lets a schedule fire again, from business now on. The fires of
// the pause are put on record as skipped: what fell due meanwhile was missed, and
// the catch-up policy decides on it. It returns billing.ErrConflict if it is active.
func (db *DB) ResumeSchedule(ctx context.Context, name string, by billing.Decision) error {
	return db.moveSchedule(ctx, name, scheduler.SchedulePaused, scheduler.ScheduleActive, "resume", by)
}

// RemoveSchedule ends a schedule for good. Its runs keep its name, which becomes free.
func (db *DB) RemoveSchedule(ctx context.Context, name string, by billing.Decision) error {
	return db.moveSchedule(ctx, name, "", scheduler.ScheduleRemoved, "remove", by)
}

func (db *DB) moveSchedule(ctx context.Context, name string, from, to scheduler.ScheduleState, action string, by billing.Decision) error {
	if err := by.Validate(); err != nil {
		return fmt.Errorf("%s schedule %s: %w", action, name, err)
	}
	return db.inTx(ctx, action+" schedule", func(tx *sqlx.Tx) error {
		now, err := businessSecond(ctx, tx)
		if err != nil {
			return err
		}
		s, err := findSchedule(ctx, tx, name, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		if from != "" && s.State != from {
			return fmt.Errorf("schedule %s is %s: %w", name, s.State, billing.ErrConflict)
		}
		before := s.State
		// One whose times cannot be computed can be stopped, but not resumed.
		if err := passFires(ctx, tx, &s, now); err != nil && (to == scheduler.ScheduleActive || !errors.Is(err, billing.ErrInvalid)) {
			return err
		}
		if to != scheduler.ScheduleActive {
			const skip = `
				UPDATE fires SET outcome = 'skipped', reason = $2, decided_at = clock_timestamp(), plan_until = NULL
				 WHERE schedule_id = $1 AND outcome IN ('to_plan', 'coalesced')`
			if _, err := tx.ExecContext(ctx, skip, s.ID, scheduleStopped[to]); err != nil {
				return fmt.Errorf("skip fires: %w", err)
			}
		}
		reason := by.Why
		if to == scheduler.ScheduleActive {
			reason = ""
		}
		const update = `
			UPDATE schedules
			   SET state = $2, reason = $3, decided_by = $4, decided_at = clock_timestamp(), fired_until = $5, next_fire_at = $6
			 WHERE id = $1`
		if _, err := tx.ExecContext(ctx, update, s.ID, to, reason, by.Actor, s.FiredUntil, nullTime(s.NextFireAt)); err != nil {
			return fmt.Errorf("store schedule: %w", err)
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: by.Actor, Action: action, ObjectKind: auditKindSchedule, Object: name, Reason: by.Why,
			Before: map[string]any{"state": before}, After: map[string]any{"state": to},
		})
	})
}

// passFires puts the fires of a locked schedule up to now on record: as skipped
// if it is paused.
func passFires(ctx context.Context, tx *sqlx.Tx, s *scheduler.Schedule, now time.Time) error {
	if s.State == scheduler.SchedulePaused {
		return skipFires(ctx, tx, s, now)
	}
	return recordFires(ctx, tx, s, now)
}

var scheduleStopped = map[scheduler.ScheduleState]string{
	scheduler.SchedulePaused: "schedule_paused", scheduler.ScheduleRemoved: "schedule_removed",
}
