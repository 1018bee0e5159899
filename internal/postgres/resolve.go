package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// ExpireLeases turns claimed charges whose lease ran out into unknown ones:
// only the process that held the lease could say that nothing was sent. It
// returns how many charges it moved.
func (db *DB) ExpireLeases(ctx context.Context, limit int) (int, error) {
	if found, err := db.finds(ctx, `SELECT EXISTS (SELECT FROM claims WHERE lease_until < clock_timestamp())`); !found || err != nil {
		return 0, err
	}
	moved := 0
	err := db.inTx(ctx, "expire leases", func(tx *sqlx.Tx) error {
		const find = `
			SELECT id, run_id, merchant_account, first_position, last_position
			  FROM claims WHERE lease_until < clock_timestamp()
			 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`
		var claims []struct {
			ID              scheduler.ClaimID `db:"id"`
			RunID           scheduler.RunID   `db:"run_id"`
			MerchantAccount string            `db:"merchant_account"`
			First           int               `db:"first_position"`
			Last            int               `db:"last_position"`
		}
		if err := tx.SelectContext(ctx, &claims, find, limit); err != nil {
			return fmt.Errorf("find expired claims: %w", err)
		}
		for _, claim := range claims {
			n, err := expireClaim(ctx, tx, claim.RunID, claim.MerchantAccount, claim.First, claim.Last)
			if err != nil {
				return err
			}
			moved += n
			if err := forgetClaim(ctx, tx, claim.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return moved, nil
}

// forgetClaim deletes the row of a batch of which no charge is claimed any
// more. If the server's clock went back, some may be: their leases end later,
// and so does the row's.
func forgetClaim(ctx context.Context, tx *sqlx.Tx, id scheduler.ClaimID) error {
	const postpone = `
		UPDATE claims k SET lease_until = held.until
		  FROM (SELECT max(c.lease_until) AS until
		          FROM claims k2
		          JOIN run_items i ON i.run_id = k2.run_id AND i.merchant_account = k2.merchant_account
		                          AND i.position BETWEEN k2.first_position AND k2.last_position
		          JOIN charges c ON c.id = i.charge_id
		         WHERE k2.id = $1 AND c.state = 'claimed' AND c.run_id = k2.run_id AND c.lease_owner = k2.process_id) held
		 WHERE k.id = $1 AND held.until IS NOT NULL`
	res, err := tx.ExecContext(ctx, postpone, id)
	if err != nil {
		return fmt.Errorf("postpone claim: %w", err)
	}
	if n, err := res.RowsAffected(); n > 0 || err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM claims WHERE id = $1`, id); err != nil {
		return fmt.Errorf("forget claim: %w", err)
	}
	return nil
}

func expireClaim(ctx context.Context, tx *sqlx.Tx, run scheduler.RunID, merchantAccount string, first, last int) (int, error) {
	const query = `
		WITH e AS (
			UPDATE charges c
			   SET state = 'unknown', reason = 'lease_expired', decided_by = 'resolver', decided_at = clock_timestamp(),
			       resolve_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL
			 WHERE c.id = ANY (ARRAY(
			         SELECT c2.id FROM run_items i JOIN charges c2 ON c2.id = i.charge_id
			          WHERE i.run_id = $1 AND i.merchant_account = $2 AND i.position BETWEEN $3 AND $4
			            AND c2.state = 'claimed' AND c2.lease_until < clock_timestamp()
			          ORDER BY c2.id FOR UPDATE OF c2))
			RETURNING c.id, c.run_id, c.answered)
		INSERT INTO observations (charge_id, at, run_id, attempt, counted, source, outcome, reason)
		SELECT id, clock_timestamp(), run_id, answered + 1, false, 'resolver', 'unknown', 'lease_expired' FROM e`
	res, err := tx.ExecContext(ctx, query, run, merchantAccount, first, last)
	if err != nil {
		return 0, fmt.Errorf("expire leases of run %d: %w", run, err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// accountsToResolveQuery is asked once a second by every process: where nothing is
// to be resolved, it must cost nothing.
const accountsToResolveQuery = `
	SELECT DISTINCT merchant_account FROM charges WHERE resolve_at <= (SELECT clock_timestamp())`

// AccountsToResolve lists the merchant accounts with an unknown or pending charge
// whose time has come.
func (db *DB) AccountsToResolve(ctx context.Context) ([]string, error) {
	var accounts []string
	if err := db.sqlx.SelectContext(ctx, &accounts, accountsToResolveQuery); err != nil {
		return nil, fmt.Errorf("look for charges to resolve: %w", unavailable(err))
	}
	return accounts, nil
}

// ClaimReplays leases unknown and pending charges whose time has come, to be
// sent again with the same key and bytes. A replay may be the charge, so the
// facts of now are checked in the same transaction (charge protocol, step 10):
// one that nobody wants any more, whose token died, whose run was aborted or
// whose key may be forgotten is left to messages from outside and to people,
// with its reason. One whose bytes this program cannot write is left to a
// program that can.
func (db *DB) ClaimReplays(ctx context.Context, req scheduler.ReplayRequest) (scheduler.ClaimResult, error) {
	result := scheduler.ClaimResult{Slots: req.SlotsHeld}
	hot, err := db.prepared(ctx)
	if err != nil {
		return result, fmt.Errorf("claim replays: %w", err)
	}
	err = db.inTx(ctx, "claim replays", func(tx *sqlx.Tx) error {
		acc, err := hot.lockAccountRow(ctx, tx, req.MerchantAccount)
		if err != nil {
			return err
		}
		if result.Slots, err = hot.takeSlots(ctx, tx, req.MerchantAccount, req.Process, req.SlotsHeld, acc.MaxInFlight, req.Lease); err != nil {
			return err
		}
		rateSpent := acc.RateFree.duration() > time.Second // the resolver looks again in a second
		if acc.Stopped || acc.Unbound || acc.BackOff > 0 || rateSpent || result.Slots == 0 || acc.BaseURL != req.Endpoint {
			return nil
		}
		limit := req.Limit
		if acc.Rate > 0 {
			limit = max(1, min(limit, int(acc.Rate))) // at most a second's worth
		}
		if err := giveUpReplays(ctx, tx, req.MerchantAccount); err != nil {
			return err
		}
		var rows []claimedRow
		if err := tx.SelectContext(ctx, &rows, claimReplaysQuery, req.MerchantAccount, req.Process, req.Lease.Seconds(), req.WireVersion, limit,
			req.Endpoint, billing.SafeLife.Seconds()); err != nil {
			return fmt.Errorf("lease unknown charges: %w", err)
		}
		if acc.Rate > 0 && len(rows) > 0 {
			result.Paced = true
			if result.Departures, err = acc.reserve(ctx, tx, req.MerchantAccount, len(rows)); err != nil {
				return err
			}
		}
		result.Charges = claimedCharges(rows)
		return nil
	})
	return result, err
}

// What is to be resolved is found by charges_to_resolve, an index of these charges
// alone: the time is a value of the statement and not a call for each row, and
// they come in the order of that index. By their ids, the planner walked the whole
// table of charges once a second, with the account locked.
const (
	claimReplaysQuery = `
		UPDATE charges c
		   SET lease_owner = $2, lease_no = c.lease_no + 1, replays = c.replays + 1,
		       lease_until = clock_timestamp() + make_interval(secs => $3),
		       resolve_at = clock_timestamp() + make_interval(secs => $3)
		  FROM tokens t, account_settings s, runs r
		 WHERE c.id = ANY (ARRAY(SELECT c2.id
		                           FROM charges c2
		                           JOIN tokens t2 ON t2.id = c2.token_id
		                           JOIN runs r2 ON r2.id = c2.run_id
		                           JOIN account_settings s2 ON s2.id = c2.account_settings_id
		                          WHERE c2.resolve_at <= (SELECT clock_timestamp()) AND c2.merchant_account = $1
		                            AND c2.wire_version = $4 AND s2.base_url = $6
		                            AND c2.stop_request IS NULL AND t2.state IN ('unverified', 'valid') AND r2.state <> 'aborted'
		                            AND c2.attempt_started_at >= clock_timestamp() - make_interval(secs => $7)
		                          ORDER BY c2.resolve_at LIMIT $5 FOR UPDATE OF c2 SKIP LOCKED))
		   AND t.id = c.token_id AND s.id = c.account_settings_id AND r.id = c.run_id
		RETURNING` + claimedColumns + `, greatest(r.as_of, business_now()) AS business_now`
	giveUpReplaysQuery = `
		UPDATE charges c
		   SET resolve_at = NULL, decided_at = clock_timestamp(), decided_by = coalesce(c.stop_actor, 'resolver'),
		       reason = CASE WHEN c.stop_request IS NOT NULL THEN c.stop_reason
		                     WHEN t.state NOT IN ('unverified', 'valid') THEN 'token_invalid'
		                     WHEN r.state = 'aborted' THEN 'run_aborted'
		                     ELSE 'needs_person' END
		  FROM tokens t, runs r
		 WHERE c.id = ANY (ARRAY(SELECT c2.id FROM charges c2
		                          WHERE c2.resolve_at <= (SELECT clock_timestamp()) AND c2.merchant_account = $1
		                          ORDER BY c2.resolve_at FOR UPDATE SKIP LOCKED))
		   AND t.id = c.token_id AND r.id = c.run_id
		   AND (c.stop_request IS NOT NULL OR t.state NOT IN ('unverified', 'valid') OR r.state = 'aborted'
		        OR c.attempt_started_at < clock_timestamp() - make_interval(secs => $2))`
)

// giveUpReplays takes charges that must not be sent again out of the
// resolver's queue, with the reason why.
func giveUpReplays(ctx context.Context, tx *sqlx.Tx, merchantAccount string) error {
	if _, err := tx.ExecContext(ctx, giveUpReplaysQuery, merchantAccount, billing.SafeLife.Seconds()); err != nil {
		return fmt.Errorf("give up replays: %w", err)
	}
	return nil
}

// OpenUnknown says how many unknown charges of a run will be sent again within
// the first steps of the ladder, and when the next one will.
func (db *DB) OpenUnknown(ctx context.Context, id scheduler.RunID, senders []scheduler.Sender, steps int) (scheduler.OpenUnknown, error) {
	const query = `
		SELECT count(*) AS count,
		       coalesce(extract(epoch FROM min(c.resolve_at) - clock_timestamp()), 0)::double precision AS next
		  FROM charges c
		 WHERE c.run_id = $1 AND c.state = 'unknown' AND c.resolve_at IS NOT NULL AND c.replays < $2
		   AND (c.merchant_account, c.wire_version) IN (SELECT * FROM unnest($3::text[], $4::integer[]))`
	accounts, versions := make(pq.StringArray, len(senders)), make(pq.Int64Array, len(senders))
	for i, s := range senders {
		accounts[i], versions[i] = s.MerchantAccount, int64(s.WireVersion)
	}
	var row struct {
		Count int     `db:"count"`
		Next  seconds `db:"next"`
	}
	if err := db.sqlx.GetContext(ctx, &row, query, id, steps, accounts, versions); err != nil {
		return scheduler.OpenUnknown{}, fmt.Errorf("count unknown charges of run %d: %w", id, err)
	}
	return scheduler.OpenUnknown{Count: row.Count, Next: max(0, row.Next.duration())}, nil
}
