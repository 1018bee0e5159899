package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
)

// A claim is the written-ahead intent of up to a thousand attempts
// (charge protocol, steps 3 and 4). It locks the account's row first. That one
// lock serialises the claims of an account, and with them everything that all
// processes must keep together: the rate, the requests in flight, the back-off,
// and "one open charge a token", since a token belongs to one account.

// claimedRow is a claimed charge as a replay or a read-back reads it; leaseDue
// scans without one.
type claimedRow struct {
	ID               billing.ChargeID                 `db:"id"`
	Reference        string                           `db:"reference"`
	MerchantAccount  string                           `db:"merchant_account"`
	Model            billing.RecurringProcessingModel `db:"model"`
	AmountMinor      int64                            `db:"amount_minor"`
	Currency         string                           `db:"currency"`
	TokenID          tokens.ID                        `db:"token_id"`
	Token            string                           `db:"token"`
	ShopperReference string                           `db:"shopper_reference"`
	PaymentMethod    string                           `db:"payment_method"`
	ReturnURL        string                           `db:"return_url"`
	Answered         int                              `db:"answered"`
	LeaseNo          int                              `db:"lease_no"`
	RunID            int64                            `db:"run_id"`
	Replays          int                              `db:"replays"`
	Pending          bool                             `db:"pending"`
	BusinessNow      time.Time                        `db:"business_now"`
}

func (r claimedRow) charge() billing.ClaimedCharge {
	return billing.ClaimedCharge{
		ID: r.ID, Reference: r.Reference, MerchantAccount: r.MerchantAccount, Model: r.Model,
		Amount:  billing.Money{Minor: r.AmountMinor, Currency: r.Currency},
		TokenID: r.TokenID, Token: r.Token, ShopperReference: r.ShopperReference, PaymentMethod: r.PaymentMethod,
		ReturnURL: r.ReturnURL, Attempt: r.Answered + 1, LeaseNo: r.LeaseNo, RunID: r.RunID, Replays: r.Replays, Pending: r.Pending,
		BusinessNow: r.BusinessNow,
	}
}

// leasedColumns are what leaseDue reads of each charge: what else it returns is
// the same for the whole claim.
const leasedColumns = `
	c.id, c.reference, c.model, c.amount_minor, c.currency, c.token_id,
	t.token, t.shopper_reference, t.payment_method, c.answered, c.lease_no`

const claimedColumns = leasedColumns + `,
	c.merchant_account, s.return_url, c.run_id, c.replays, c.state = 'pending' AS pending`

// ClaimDue leases the next due charges of a run's manifest, in one transaction,
// and gives a reason to each item of the window that no longer stands as it
// was planned. See scheduler.Store.
func (db *DB) ClaimDue(ctx context.Context, req scheduler.ClaimRequest) (scheduler.ClaimResult, error) {
	hot, err := db.prepared(ctx)
	if err != nil {
		return scheduler.ClaimResult{}, fmt.Errorf("claim charges: %w", err)
	}
	var result scheduler.ClaimResult
	err = db.inTx(ctx, "claim charges", func(tx *sqlx.Tx) (err error) {
		result, err = hot.claimDue(ctx, tx, req)
		return err
	})
	return result, err
}

func (hot *hotStatements) claimDue(ctx context.Context, tx *sqlx.Tx, req scheduler.ClaimRequest) (scheduler.ClaimResult, error) {
	result := scheduler.ClaimResult{Position: req.After, Slots: req.SlotsHeld}
	acc, err := hot.lockAccountRow(ctx, tx, req.MerchantAccount)
	if err != nil {
		return result, err
	}
	limit, err := hot.mayClaim(ctx, tx, req, acc, &result)
	if limit == 0 || err != nil {
		return result, err
	}
	limits, err := acc.hourLimits()
	if err != nil {
		return result, err
	}
	if !limits.isZero() {
		if limit, err = underHourLimits(ctx, tx, req.MerchantAccount, limits, limit); err != nil {
			return result, err
		}
		if limit == 0 {
			result.Halt = billing.ReasonAccountPaused
			return result, nil
		}
	}
	window := min(req.After+limit, req.Last)

	claimed, err := hot.leaseDue(ctx, tx, req, acc, window)
	if err != nil {
		return result, fmt.Errorf("lease due charges: %w", err)
	}
	// Only a running run leases anything: the statement looks. Fewer than the
	// window are leased because it is not, or because items need a reason.
	result.RunState = scheduler.RunRunning
	if len(claimed) < window-req.After {
		if err := tx.GetContext(ctx, &result.RunState, `SELECT state FROM runs WHERE id = $1`, req.RunID); err != nil {
			return result, fmt.Errorf("read run state: %w", notFound(err))
		}
		if result.RunState != scheduler.RunRunning {
			return result, nil
		}
		if err := accountForRest(ctx, tx, req, window); err != nil {
			return result, err
		}
	}
	result.Position = window
	if len(claimed) == 0 {
		return result, nil
	}
	if acc.Rate > 0 {
		result.Paced = true
		if result.Departures, err = acc.reserve(ctx, tx, req.MerchantAccount, len(claimed)); err != nil {
			return result, err
		}
	}
	if !limits.isZero() {
		if err := countHour(ctx, tx, req.MerchantAccount, claimed); err != nil {
			return result, err
		}
	}
	var remembered struct {
		ID          scheduler.ClaimID `db:"id"`
		BusinessNow time.Time         `db:"business_now"`
	}
	if err := tx.StmtxContext(ctx, hot.rememberClaim).GetContext(ctx, &remembered, req.Process, req.RunID, req.MerchantAccount,
		req.After+1, window, req.Token, req.Lease.Seconds()); err != nil {
		return result, fmt.Errorf("remember claim: %w", err)
	}
	for i := range claimed {
		claimed[i].BusinessNow = remembered.BusinessNow
	}
	result.ID, result.Charges = remembered.ID, claimed
	return result, nil
}

// mayClaim looks at all that can keep the account from claiming. It returns how
// many charges may be claimed now; if that is 0, result says why.
func (hot *hotStatements) mayClaim(ctx context.Context, tx *sqlx.Tx, req scheduler.ClaimRequest, acc account, result *scheduler.ClaimResult) (limit int, err error) {
	if acc.BaseURL != req.Endpoint {
		// Another process was configured for another endpoint since: what this
		// one sent would be unknown where the next one looks for its key.
		result.Halt = billing.ReasonEndpointChanged
		return 0, nil
	}
	if acc.Unbound {
		result.Halt = billing.ReasonNotBound
		return 0, nil
	}
	if acc.Stopped {
		result.Halt = billing.ReasonAccountPaused
		return 0, nil
	}
	if result.Slots, err = hot.takeSlots(ctx, tx, req.MerchantAccount, req.Process, req.SlotsHeld, acc.MaxInFlight, req.Lease); err != nil {
		return 0, err
	}
	if result.Slots == 0 {
		result.Wait = req.ClaimAhead / 4
		return 0, nil
	}
	if wait := acc.BackOff.duration(); wait > 0 {
		result.Wait = wait
		return 0, nil
	}
	if acc.Rate > 0 {
		return acc.pace(req, result), nil
	}
	return req.Limit, nil
}

// rememberClaimQuery counts the claim's lease from the beginning of its
// transaction, before that of each of its charges: a charge whose lease ends
// earlier is one of an older claim.
const rememberClaimQuery = `
	INSERT INTO claims (process_id, run_id, merchant_account, first_position, last_position, token, lease_until)
	VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
	RETURNING id, (SELECT greatest(as_of, business_now()) FROM runs WHERE id = $2) AS business_now`

// leaseDueQuery leases the due charges of a window of a manifest, in one
// statement. Each item looks up its own charge, by its key: the subquery that
// locks it cannot be joined in another way. Joined freely, the planner once read
// the whole table of charges, and once compared each charge with each item of
// the window, according to what it believed of their numbers. The other open
// charges of the token are asked for by a subquery that yields a value, and not
// by NOT EXISTS: that would be planned as a join, for which the planner reads the
// ends of their index, where the dead entries are.
//
// Rows that others have locked are left for a later pass, and so is one that
// changed just before its lock was won: its new place is one that this
// statement's snapshot does not know.
const leaseDueQuery = `
	WITH run AS MATERIALIZED (SELECT id, as_of FROM runs WHERE id = $1 AND state = 'running' FOR SHARE)
	UPDATE charges c
	   SET state = 'claimed', reason = '', lease_owner = $3, lease_no = c.lease_no + 1,
	       lease_until = clock_timestamp() + make_interval(secs => $4),
	       run_id = $1, attempt_started_at = coalesce(c.attempt_started_at, clock_timestamp()),
	       wire_version = $5, account_settings_id = $6, replays = 0
	  FROM tokens t
	 WHERE c.ctid = ANY (ARRAY(
	         SELECT due.ctid
	           FROM run_items i
	          CROSS JOIN LATERAL (
	                 SELECT c2.ctid
	                   FROM charges c2
	                  WHERE c2.id = i.charge_id
	                    AND c2.state = 'due' AND c2.stop_request IS NULL
	                    AND c2.next_attempt_at <= (SELECT as_of FROM run)
	                    AND c2.amount_minor = i.amount_minor AND c2.token_id = i.token_id AND c2.answered = i.answered
	                    AND (SELECT true FROM open_charges k
	                          WHERE k.token_id = c2.token_id AND k.charge_id <> c2.id
	                            AND (SELECT o.state FROM charges o WHERE o.id = k.charge_id) IN ('claimed', 'pending', 'unknown')
	                          LIMIT 1) IS NULL
	                    FOR UPDATE OF c2 SKIP LOCKED) due
	          WHERE i.run_id = (SELECT id FROM run)
	            AND i.merchant_account = $2 AND i.position > $7 AND i.position <= $8
	            AND i.disposition IS NULL))
	   AND t.id = c.token_id
	RETURNING` + leasedColumns

// leaseDue runs leaseDueQuery and returns what it leased. It scans by hand: this is
// the one place where the client's share of a charge is worth it.
func (hot *hotStatements) leaseDue(ctx context.Context, tx *sqlx.Tx, req scheduler.ClaimRequest, acc account, window int) ([]billing.ClaimedCharge, error) {
	rows, err := tx.StmtxContext(ctx, hot.lease).QueryContext(ctx, claimArguments(req, acc.SettingsID, window)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	claimed := make([]billing.ClaimedCharge, 0, window-req.After)
	for rows.Next() {
		c := billing.ClaimedCharge{MerchantAccount: req.MerchantAccount, RunID: int64(req.RunID), ReturnURL: acc.ReturnURL}
		var answered int
		if err := rows.Scan(&c.ID, &c.Reference, &c.Model, &c.Amount.Minor, &c.Amount.Currency, &c.TokenID, &c.Token,
			&c.ShopperReference, &c.PaymentMethod, &answered, &c.LeaseNo); err != nil {
			return nil, err
		}
		c.Attempt = answered + 1
		claimed = append(claimed, c)
	}
	return claimed, rows.Err()
}

func claimArguments(req scheduler.ClaimRequest, settingsID, window int) []any {
	return []any{req.RunID, req.MerchantAccount, req.Process, req.Lease.Seconds(), req.WireVersion, settingsID, req.After, window}
}

func claimedCharges(rows []claimedRow) []billing.ClaimedCharge {
	claimed := make([]billing.ClaimedCharge, len(rows))
	for i, r := range rows {
		claimed[i] = r.charge()
	}
	return claimed
}

// accountForRest gives a reason to every item of the window that re-validation
// rejects. Items that this run is charging or has charged keep none: their
// charge speaks for them. So do items that are locked or about to be stopped:
// a later pass sees them again.
func accountForRest(ctx context.Context, tx *sqlx.Tx, req scheduler.ClaimRequest, window int) error {
	const query = `
		UPDATE run_items i
		   SET disposition = v.disposition, reason = v.reason, decided_at = clock_timestamp()
		  FROM (SELECT i2.position,
		               CASE WHEN c.state = 'held' THEN 'held'
		                    WHEN d.reason = 'same_card' THEN 'postponed'
		                    ELSE 'skipped' END AS disposition,
		               d.reason
		          FROM run_items i2
		          JOIN charges c ON c.id = i2.charge_id
		         CROSS JOIN LATERAL (SELECT CASE
		               WHEN c.state IN ('held', 'cancelled', 'waived') THEN c.reason
		               WHEN c.state = 'paid' AND c.answered = i2.answered THEN 'paid_elsewhere'
		               WHEN c.answered <> i2.answered OR c.state <> 'due' THEN 'attempt_changed'
		               WHEN c.stop_request IS NOT NULL THEN NULL
		               WHEN c.amount_minor <> i2.amount_minor THEN 'amount_changed'
		               WHEN c.token_id <> i2.token_id THEN 'token_changed'
		               WHEN c.next_attempt_at > r.as_of THEN 'no_longer_due'
		               WHEN EXISTS (SELECT FROM open_charges k JOIN charges o ON o.id = k.charge_id
		                             WHERE k.token_id = c.token_id AND k.charge_id <> c.id
		                               AND o.state IN ('claimed', 'pending', 'unknown')) THEN 'same_card'
		               END AS reason
		             FROM runs r WHERE r.id = i2.run_id) d
		         WHERE i2.run_id = $1 AND i2.merchant_account = $2 AND i2.position > $3 AND i2.position <= $4
		           AND i2.disposition IS NULL
		           AND NOT (c.run_id IS NOT DISTINCT FROM i2.run_id AND c.state IN ('claimed', 'pending', 'unknown'))
		           AND NOT EXISTS (SELECT FROM observations o
		                            WHERE o.charge_id = c.id AND o.attempt = i2.answered + 1 AND o.run_id = i2.run_id AND o.counted)) v
		 WHERE i.run_id = $1 AND i.merchant_account = $2 AND i.position = v.position AND v.reason IS NOT NULL`
	if _, err := tx.ExecContext(ctx, query, req.RunID, req.MerchantAccount, req.After, window); err != nil {
		return fmt.Errorf("account for rejected items: %w", err)
	}
	return nil
}

// ReadClaim reads back a claim whose commit was not answered. The charges of
// the window that this process holds are those of the claim.
func (db *DB) ReadClaim(ctx context.Context, req scheduler.ClaimRequest) (scheduler.ClaimResult, error) {
	const find = `
		SELECT c.id, c.last_position, a.rate_per_second
		  FROM claims c JOIN merchant_accounts a ON a.id = c.merchant_account
		 WHERE c.token = $1`
	var claim struct {
		ID   scheduler.ClaimID `db:"id"`
		Last int               `db:"last_position"`
		Rate float64           `db:"rate_per_second"`
	}
	if err := db.sqlx.GetContext(ctx, &claim, find, req.Token); err != nil {
		return scheduler.ClaimResult{}, fmt.Errorf("read back claim: %w", unavailable(notFound(err)))
	}
	const read = `
		SELECT` + claimedColumns + `, greatest(r.as_of, business_now()) AS business_now
		  FROM run_items i
		  JOIN runs r ON r.id = i.run_id
		  JOIN charges c ON c.id = i.charge_id
		  JOIN tokens t ON t.id = c.token_id
		  JOIN account_settings s ON s.id = c.account_settings_id
		  JOIN claims k ON k.id = $6
		 WHERE i.run_id = $1 AND i.merchant_account = $2 AND i.position > $3 AND i.position <= $4
		   AND c.state = 'claimed' AND c.run_id = $1 AND c.lease_owner = $5 AND c.lease_until >= k.lease_until
		 ORDER BY c.id`
	var rows []claimedRow
	if err := db.sqlx.SelectContext(ctx, &rows, read, req.RunID, req.MerchantAccount, req.After, claim.Last, req.Process, claim.ID); err != nil {
		return scheduler.ClaimResult{}, fmt.Errorf("read back claimed charges: %w", unavailable(err))
	}
	result := scheduler.ClaimResult{ID: claim.ID, Charges: claimedCharges(rows), Position: claim.Last,
		Slots: req.SlotsHeld, RunState: scheduler.RunRunning, Paced: claim.Rate > 0}
	return result, nil
}

// LeftOver counts a run's items at one account that are neither answered nor
// given a reason: due ones, and those leased to some process now.
func (db *DB) LeftOver(ctx context.Context, id scheduler.RunID, merchantAccount string) (scheduler.LeftOver, error) {
	const query = `
		SELECT count(*) AS items,
		       coalesce(min(i.position) FILTER (WHERE c.state <> 'claimed'), 0) AS first_position,
		       count(*) FILTER (WHERE c.state = 'claimed') AS claimed,
		       coalesce(extract(epoch FROM max(c.lease_until) FILTER (WHERE c.state = 'claimed') - clock_timestamp()), 0)::double precision AS lease_ends
		  FROM run_items i JOIN charges c ON c.id = i.charge_id
		 WHERE i.run_id = $1 AND i.merchant_account = $2 AND i.disposition IS NULL
		   AND (c.state = 'due' AND c.answered = i.answered OR c.state = 'claimed' AND c.run_id = i.run_id)`
	var row struct {
		Items         int     `db:"items"`
		FirstPosition int     `db:"first_position"`
		Claimed       int     `db:"claimed"`
		LeaseEnds     seconds `db:"lease_ends"`
	}
	if err := db.sqlx.GetContext(ctx, &row, query, id, merchantAccount); err != nil {
		return scheduler.LeftOver{}, fmt.Errorf("count what run %d left at %s: %w", id, merchantAccount, unavailable(err))
	}
	return scheduler.LeftOver{Items: row.Items, FirstPosition: row.FirstPosition, Claimed: row.Claimed,
		LeaseEnds: max(0, row.LeaseEnds.duration())}, nil
}

// GiveBack returns claimed charges of which no byte was sent. The lease number
// guards it: only the process that holds the lease may say "not sent".
// A person's wish to stop a charge is carried out on the way.
func (db *DB) GiveBack(ctx context.Context, given []billing.ClaimedCharge, settled []scheduler.ClaimID) error {
	ids, leases := make([]int64, len(given)), make([]int32, len(given))
	for i, c := range given {
		ids[i], leases[i] = int64(c.ID), int32(c.LeaseNo)
	}
	const query = `
		WITH locked AS (SELECT c.id FROM charges c JOIN unnest($1::bigint[], $2::integer[]) AS r(id, lease_no) ON r.id = c.id
		                 WHERE c.id = ANY ($1) AND c.state = 'claimed' AND c.lease_no = r.lease_no
		                 ORDER BY c.id FOR UPDATE OF c),
		     forgotten AS (DELETE FROM claims WHERE id = ANY ($3::bigint[])),
		     returned AS (UPDATE charges c
		                     SET state = CASE c.stop_request WHEN 'cancel' THEN 'cancelled' WHEN 'hold' THEN 'held' ELSE 'due' END,
		                         reason = coalesce(c.stop_reason, ''), decided_by = coalesce(c.stop_actor, c.decided_by),
		                         decided_at = CASE WHEN c.stop_request IS NULL THEN c.decided_at ELSE clock_timestamp() END,
		                         finished_at = CASE c.stop_request WHEN 'cancel' THEN clock_timestamp() END,
		                         stop_request = NULL, stop_reason = NULL, stop_actor = NULL,
		                         lease_owner = NULL, lease_until = NULL, attempt_started_at = NULL
		                   WHERE c.id = ANY (ARRAY(SELECT id FROM locked))
		                  RETURNING c.id, c.finished_at)
		DELETE FROM open_charges WHERE charge_id = ANY (ARRAY(SELECT id FROM returned WHERE finished_at IS NOT NULL))`
	if _, err := db.sqlx.ExecContext(ctx, query, ids, leases, claimIDs(settled)); err != nil {
		return fmt.Errorf("give back %d charges: %w", len(given), unavailable(err))
	}
	return nil
}

func claimIDs(ids []scheduler.ClaimID) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}
