package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// settleQuery records a group of answers and moves their charges, in one
// statement (charge protocol, step 8).
//
// Every answer becomes an observation. A charge moves only where the attempt
// number matches and the move is legal for that outcome:
//   - news about money (an answer that used up its number, or "accepted, result
//     later") counts whoever holds the lease now;
//   - everything else ("not sent", "not processed", "unknown") counts only from
//     the process that holds the lease: another copy may be on its way.
//
// The rows are locked in the order of their ids, so that two flushers or two
// processes cannot lock each other out, and come as an array, so that the
// planner never reads the whole table of charges for them. It returns the charges that did not move.
const settleQuery = `
	WITH r AS MATERIALIZED (
	         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::boolean[], $5::text[], $6::text[], $7::text[], $8::text[],
	                              $9::timestamptz[], $10::double precision[], $11::text[], $12::text[], $13::text[], $14::text[],
	                              $15::text[], $16::text[], $17::text[], $18::bytea[], $19::text[], $20::bigint[])
	           AS r(charge_id, attempt, lease_no, counted, source, outcome, state, reason,
	                next_attempt_at, resolve_in, class, gateway_reference, result_code, refusal_code,
	                refusal_reason, raw_code, advice_code, request_hash, detail, run_id)),
	     o AS (INSERT INTO observations (charge_id, at, run_id, attempt, counted, source, outcome, reason, class, gateway_reference,
	                                     result_code, refusal_code, refusal_reason, raw_code, advice_code, request_hash, detail)
	           SELECT charge_id, clock_timestamp(), run_id, attempt, counted, source, outcome, reason, class, gateway_reference,
	                  result_code, refusal_code, refusal_reason, raw_code, advice_code, request_hash, detail FROM r),
	     u AS (UPDATE charges c
	              SET state = CASE WHEN c.stop_request = 'cancel' AND r.state IN ('due', 'held') THEN 'cancelled'
	                               WHEN c.stop_request = 'hold' AND r.state = 'due' THEN 'held'
	                               ELSE r.state END,
	                  reason = CASE WHEN c.stop_request IS NOT NULL AND r.state IN ('due', 'held') THEN c.stop_reason ELSE r.reason END,
	                  decided_by = CASE WHEN c.stop_request IS NOT NULL AND r.state IN ('due', 'held') THEN c.stop_actor ELSE 'gateway' END,
	                  decided_at = clock_timestamp(),
	                  answered = c.answered + r.counted::integer,
	                  next_attempt_at = coalesce(r.next_attempt_at, c.next_attempt_at),
	                  finished_at = CASE WHEN r.state IN ('paid', 'unpaid') OR c.stop_request = 'cancel' AND r.state IN ('due', 'held')
	                                     THEN clock_timestamp() END,
	                  resolve_at = CASE WHEN r.state IN ('pending', 'unknown') AND r.resolve_in > 0
	                                    THEN clock_timestamp() + make_interval(secs => r.resolve_in) END,
	                  attempt_started_at = CASE WHEN r.state IN ('due', 'held') THEN NULL ELSE c.attempt_started_at END,
	                  stop_request = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_request END,
	                  stop_reason = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_reason END,
	                  stop_actor = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_actor END,
	                  lease_owner = NULL, lease_until = NULL
	             FROM (SELECT DISTINCT ON (charge_id, attempt) * FROM r
	                    ORDER BY charge_id, attempt, outcome = 'authorised' DESC, counted DESC) r
	            WHERE c.id = ANY (ARRAY(SELECT k.id FROM charges k WHERE k.id = ANY ($1) ORDER BY k.id FOR UPDATE))
	              AND c.id = r.charge_id AND c.answered + 1 = r.attempt
	              AND CASE WHEN r.outcome = 'authorised' THEN c.state IN ('claimed', 'unknown', 'pending', 'due', 'held')
	                       WHEN r.counted THEN c.state IN ('claimed', 'unknown', 'pending')
	                       WHEN r.outcome = 'pending' THEN c.state IN ('claimed', 'unknown', 'pending')
	                       ELSE c.lease_no = r.lease_no
	                        AND (c.state IN ('claimed', 'unknown') OR c.state = 'pending' AND r.state = 'pending') END
	           RETURNING c.id),
	     d AS (DELETE FROM claims WHERE id = ANY ($21::bigint[]))
	SELECT r.charge_id FROM r WHERE r.charge_id NOT IN (SELECT id FROM u)`

// Settle records what was learnt and moves the charges that still stand where
// the attempts left them. See scheduler.Store.
func (db *DB) Settle(ctx context.Context, group []billing.Settlement, settled []scheduler.ClaimID) (scheduler.SettleResult, error) {
	slices.SortFunc(group, func(a, b billing.Settlement) int { return int(a.ChargeID - b.ChargeID) })
	args := settleArguments(group, settled)
	var stayed []int64
	if !slices.ContainsFunc(group, func(s billing.Settlement) bool { return s.TokenCause != "" }) {
		// The usual case: one statement, one round trip, one commit.
		if err := db.sqlx.SelectContext(ctx, &stayed, settleQuery, args...); err != nil {
			return scheduler.SettleResult{}, fmt.Errorf("settle %d charges: %w", len(group), unavailable(err))
		}
	} else {
		err := db.inTx(ctx, fmt.Sprintf("settle %d charges", len(group)), func(tx *sqlx.Tx) error {
			if err := tx.SelectContext(ctx, &stayed, settleQuery, args...); err != nil {
				return err
			}
			return invalidateTokens(ctx, tx, group)
		})
		if err != nil {
			return scheduler.SettleResult{}, err
		}
	}
	return db.readBack(ctx, group, stayed)
}

func settleArguments(group []billing.Settlement, settled []scheduler.ClaimID) []any {
	n := len(group)
	var (
		ids, runs                                   = make(pq.Int64Array, n), make(pq.Int64Array, n)
		attempts, leases                            = make(pq.Int32Array, n), make(pq.Int32Array, n)
		counted                                     = make(pq.BoolArray, n)
		sources, outcomes, states, reasons, classes = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		nexts                                       = make([]*string, n)
		resolves                                    = make(pq.Float64Array, n)
		references, results, codes, refusals        = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		raws, advices, details                      = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		hashes                                      = make(pq.ByteaArray, n)
	)
	for i := range group {
		s := &group[i]
		ids[i], runs[i], attempts[i], leases[i], counted[i] = int64(s.ChargeID), s.RunID, int32(s.Attempt), int32(s.LeaseNo), s.Counted
		sources[i], outcomes[i], states[i], reasons[i] = string(s.Source), string(s.Outcome), string(s.State), string(s.Reason)
		if !s.NextAttemptAt.IsZero() {
			text := s.NextAttemptAt.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
			nexts[i] = &text
		}
		resolves[i], classes[i], details[i] = s.ResolveIn.Seconds(), string(s.Reply.Class), s.Detail
		references[i], results[i], codes[i] = s.Reply.GatewayReference, s.Reply.ResultCode, s.Reply.RefusalCode
		refusals[i], raws[i], advices[i] = s.Reply.RefusalReason, s.Reply.RawCode, s.Reply.AdviceCode
		hashes[i] = s.Reply.RequestHash[:]
	}
	return []any{ids, attempts, leases, counted, sources, outcomes, states, reasons,
		pq.Array(nexts), resolves, classes, references, results, codes,
		refusals, raws, advices, hashes, details, runs, pq.Int64Array(claimIDs(settled))}
}

// invalidateTokens marks the tokens that an answer found dead, and holds every
// other due charge of theirs in the same transaction: the claim needs to look
// at the charge rows alone.
func invalidateTokens(ctx context.Context, tx *sqlx.Tx, group []billing.Settlement) error {
	var ids []int64
	var causes []string
	for _, s := range group {
		if s.TokenCause != "" {
			ids, causes = append(ids, int64(s.TokenID)), append(causes, s.TokenCause)
		}
	}
	const invalidate = `
		UPDATE tokens t SET state = 'invalid', cause = r.cause, state_since = clock_timestamp()
		  FROM unnest($1::bigint[], $2::text[]) AS r(id, cause)
		 WHERE t.id = r.id AND t.state IN ('unverified', 'valid')`
	if _, err := tx.ExecContext(ctx, invalidate, ids, causes); err != nil {
		return fmt.Errorf("invalidate tokens: %w", err)
	}
	const hold = `
		UPDATE charges SET state = 'held', reason = 'token_invalid', decided_by = 'gateway', decided_at = clock_timestamp()
		 WHERE id = ANY (ARRAY(SELECT c.id FROM charges c
		                        WHERE c.token_id = ANY ($1) AND c.finished_at IS NULL AND c.state = 'due'
		                        ORDER BY c.id FOR UPDATE))`
	if _, err := tx.ExecContext(ctx, hold, ids); err != nil {
		return fmt.Errorf("hold charges of invalid tokens: %w", err)
	}
	return nil
}

// readBack looks at the charges that a group did not move. The same outcome
// already there is old news; anything else contradicts it, and a person must look.
func (db *DB) readBack(ctx context.Context, group []billing.Settlement, stayed []int64) (scheduler.SettleResult, error) {
	var result scheduler.SettleResult
	if len(stayed) == 0 {
		return result, nil
	}
	const read = `
		SELECT c.id, c.state, c.reason, c.answered,
		       ARRAY(SELECT DISTINCT o.attempt || ' ' || o.outcome FROM observations o WHERE o.charge_id = c.id AND o.counted) AS counted
		  FROM charges c WHERE c.id = ANY ($1)`
	var rows []struct {
		ID       billing.ChargeID    `db:"id"`
		State    billing.ChargeState `db:"state"`
		Reason   billing.Reason      `db:"reason"`
		Answered int                 `db:"answered"`
		Counted  pq.StringArray      `db:"counted"`
	}
	if err := db.sqlx.SelectContext(ctx, &rows, read, stayed); err != nil {
		return result, fmt.Errorf("read back %d charges: %w", len(stayed), unavailable(err))
	}
	for _, row := range rows {
		for _, s := range group {
			if s.ChargeID != row.ID {
				continue
			}
			if !contradicts(s, row.State, row.Reason, row.Answered, row.Counted) {
				result.Known++
				continue
			}
			result.Contradictions++
			const alert = `INSERT INTO alerts (kind, charge_id, detail) VALUES ('contradiction', $1, $2)`
			detail := fmt.Sprintf("attempt %d: %s (%s) does not fit state %s with %d answered", s.Attempt, s.Outcome, s.Reply.GatewayReference, row.State, row.Answered)
			if _, err := db.sqlx.ExecContext(ctx, alert, row.ID, detail); err != nil {
				return result, fmt.Errorf("store alert: %w", unavailable(err))
			}
			db.logger.Error("an answer contradicts what is known", "charge_id", row.ID, "attempt", s.Attempt, "outcome", s.Outcome, "state", row.State)
		}
	}
	return result, nil
}

// contradicts reports whether news that moved nothing is more than a copy of
// what is known: counted holds "attempt outcome" of every definite answer.
func contradicts(s billing.Settlement, state billing.ChargeState, reason billing.Reason, answered int, counted []string) bool {
	if s.Outcome == billing.OutcomeAuthorised {
		// Paid by this very attempt, and by nothing else, is what it should be.
		return state != billing.ChargePaid || s.Attempt != answered || reason == billing.ReasonPaidElsewhere ||
			slices.Contains(counted, fmt.Sprintf("%d %s", s.Attempt, billing.OutcomeRefused))
	}
	if !s.Counted {
		return false // an attempt that is settled since: nothing about money
	}
	return slices.Contains(counted, fmt.Sprintf("%d %s", s.Attempt, billing.OutcomeAuthorised))
}
