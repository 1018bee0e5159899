package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/scheduler"
)

const readSlotsQuery = `
	SELECT coalesce(sum(slots) FILTER (WHERE process_id <> $2), 0) AS taken,
	       count(*) FILTER (WHERE process_id <> $2) AS others,
	       coalesce(max(slots) FILTER (WHERE process_id = $2
	                                     AND expires_at > clock_timestamp() + make_interval(secs => $3::double precision / 2)), -1) AS mine
	  FROM send_slots
	 WHERE merchant_account = $1 AND expires_at > clock_timestamp()`

// takeSlots returns how many of the account's max_in_flight this process may
// use from now on: a fair share among the live processes, and never more than
// the others leave free. A process that must shrink keeps its old number on
// record until it says, with its next claim, that it did.
func (hot *hotStatements) takeSlots(ctx context.Context, tx *sqlx.Tx, merchantAccount string, process scheduler.ProcessID, held, maxInFlight int, lease time.Duration) (int, error) {
	var row struct {
		Taken  int `db:"taken"`
		Others int `db:"others"`
		Mine   int `db:"mine"`
	}
	if err := tx.StmtxContext(ctx, hot.readSlots).GetContext(ctx, &row, merchantAccount, process, lease.Seconds()); err != nil {
		return 0, fmt.Errorf("read send slots: %w", err)
	}
	share := max(1, maxInFlight/(row.Others+1))
	target := max(0, min(share, maxInFlight-row.Taken))
	if onRecord := max(target, held); onRecord != row.Mine {
		const write = `
			INSERT INTO send_slots (merchant_account, process_id, slots, expires_at)
			VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
			ON CONFLICT (merchant_account, process_id)
			DO UPDATE SET slots = excluded.slots, expires_at = excluded.expires_at`
		if _, err := tx.ExecContext(ctx, write, merchantAccount, process, onRecord, lease.Seconds()); err != nil {
			return 0, fmt.Errorf("take send slots: %w", err)
		}
	}
	return target, nil
}

// ReleaseSlots gives up this process's share of an account's max_in_flight.
func (db *DB) ReleaseSlots(ctx context.Context, process scheduler.ProcessID, merchantAccount string) error {
	const query = `DELETE FROM send_slots WHERE merchant_account = $1 AND process_id = $2`
	if _, err := db.sqlx.ExecContext(ctx, query, merchantAccount, process); err != nil {
		return fmt.Errorf("release send slots of %s: %w", merchantAccount, err)
	}
	return nil
}
