package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
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
// The charges are found by an array of ids, so that the planner looks them up by
// their key. The array and an index scan both come in the order of the ids, so
// that two flushers or two processes do not lock each other out; a bitmap scan
// would not, and TestPlans looks for one. The update joins only the columns that
// it needs, because each is copied per row. Of several answers to one attempt,
// leads marks the one that moves the charge (see byWeight). A column that says
// the usual for the whole group comes as an empty array, which unnest fills with
// nulls. The statement returns the charges that did not move.
const settleQuery = `
	WITH observed AS (INSERT INTO observations (charge_id, at, attempt, counted, outcome, reason, run_id, source, class, gateway_reference,
	                                     result_code, refusal_code, refusal_reason, raw_code, advice_code, request_hash, detail)
	           SELECT r.charge_id, clock_timestamp(), coalesce(r.attempt, 1), coalesce(r.counted, true), coalesce(r.outcome, 'authorised'),
	                  coalesce(r.reason, ''), coalesce(r.run_id, $23), coalesce(r.source, 'api'),
	                  coalesce(r.class, ''), coalesce(r.gateway_reference, ''), coalesce(r.result_code, 'Authorised'), coalesce(r.refusal_code, ''),
	                  coalesce(r.refusal_reason, ''), coalesce(r.raw_code, ''), coalesce(r.advice_code, ''), r.request_hash, coalesce(r.detail, '')
	             FROM unnest($1::bigint[], $2::integer[], $3::boolean[], $4::text[], $5::text[],
	                         $11::bigint[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
	                         $19::text[], $20::bytea[], $21::text[])
	               AS r(charge_id, attempt, counted, outcome, reason, run_id, source, class, gateway_reference, result_code,
	                    refusal_code, refusal_reason, raw_code, advice_code, request_hash, detail)),
	     moved AS (UPDATE charges c
	              SET state = CASE WHEN c.stop_request = 'cancel' AND r.state IN ('due', 'held') THEN 'cancelled'
	                               WHEN c.stop_request = 'hold' AND r.state = 'due' THEN 'held'
	                               ELSE r.state END,
	                  reason = CASE WHEN c.stop_request IS NOT NULL AND r.state IN ('due', 'held') THEN c.stop_reason ELSE coalesce(r.reason, '') END,
	                  decided_by = CASE WHEN c.stop_request IS NOT NULL AND r.state IN ('due', 'held') THEN c.stop_actor ELSE 'gateway' END,
	                  decided_at = clock_timestamp(),
	                  answered = c.answered + r.counted::integer,
	                  next_attempt_at = coalesce(r.next_attempt_at, c.next_attempt_at),
	                  finished_at = CASE WHEN r.state IN ('paid', 'unpaid') OR c.stop_request = 'cancel' AND r.state IN ('due', 'held')
	                                     THEN clock_timestamp() END,
	                  resolve_at = CASE WHEN r.state IN ('pending', 'unknown') AND coalesce(r.resolve_in, 0) > 0
	                                    THEN clock_timestamp() + make_interval(secs => r.resolve_in) END,
	                  attempt_started_at = CASE WHEN r.state IN ('due', 'held') THEN NULL ELSE c.attempt_started_at END,
	                  stop_request = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_request END,
	                  stop_reason = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_reason END,
	                  stop_actor = CASE WHEN r.state IN ('pending', 'unknown') THEN c.stop_actor END,
	                  lease_owner = NULL, lease_until = NULL
	             FROM (SELECT u.charge_id, coalesce(u.attempt, 1) AS attempt, coalesce(u.counted, true) AS counted,
	                          coalesce(u.outcome, 'authorised') AS outcome, u.reason, u.lease_no, coalesce(u.state, 'paid') AS state,
	                          u.next_attempt_at, u.resolve_in, u.leads
	                     FROM unnest($1::bigint[], $2::integer[], $3::boolean[], $4::text[], $5::text[],
	                                 $6::integer[], $7::text[], $8::timestamptz[], $9::double precision[], $10::boolean[])
	                       AS u(charge_id, attempt, counted, outcome, reason, lease_no, state, next_attempt_at, resolve_in, leads)) r
	            WHERE c.id = ANY ($1) AND c.id = r.charge_id AND r.leads IS NOT false AND c.answered + 1 = r.attempt
	              AND CASE WHEN r.outcome = 'authorised' THEN c.state IN ('claimed', 'unknown', 'pending', 'due', 'held')
	                       WHEN r.counted THEN c.state IN ('claimed', 'unknown', 'pending')
	                       WHEN r.outcome = 'pending' THEN c.state IN ('claimed', 'unknown', 'pending')
	                       ELSE c.lease_no = r.lease_no
	                        AND (c.state IN ('claimed', 'unknown') OR c.state = 'pending' AND r.state = 'pending') END
	           RETURNING c.id, c.finished_at),
	     closed AS (DELETE FROM open_charges WHERE charge_id = ANY (ARRAY(SELECT id FROM moved WHERE finished_at IS NOT NULL))),
	     forgotten AS (DELETE FROM claims WHERE id = ANY ($22::bigint[]))
	SELECT id FROM unnest($1::bigint[]) AS id WHERE id NOT IN (SELECT id FROM moved)`

// Settle records what was learnt and moves the charges that still stand where
// the attempts left them. See scheduler.Store.
func (db *DB) Settle(ctx context.Context, group []*billing.Settlement, settled []scheduler.ClaimID) (scheduler.SettleResult, error) {
	slices.SortFunc(group, byWeight)
	args := settleArguments(group, settled)
	hot, err := db.prepared(ctx)
	if err != nil {
		return scheduler.SettleResult{}, fmt.Errorf("settle %d charges: %w", len(group), err)
	}
	var stayed []int64
	if !slices.ContainsFunc(group, func(s *billing.Settlement) bool { return s.TokenCause != "" }) {
		// The usual case: one statement, one round trip, one commit.
		if err := hot.settle.SelectContext(ctx, &stayed, args...); err != nil {
			return scheduler.SettleResult{}, fmt.Errorf("settle %d charges: %w", len(group), unavailable(err))
		}
	} else {
		err := db.inTx(ctx, fmt.Sprintf("settle %d charges", len(group)), func(tx *sqlx.Tx) error {
			if err := tx.StmtxContext(ctx, hot.settle).SelectContext(ctx, &stayed, args...); err != nil {
				return err
			}
			ids, causes := deadTokens(group)
			return invalidateTokens(ctx, tx, ids, causes)
		})
		if err != nil {
			return scheduler.SettleResult{}, err
		}
	}
	return db.readBack(ctx, group, append(stayed, repeated(group)...))
}

// repeated returns the charges with more than one answer in a group, which is
// sorted by them: where one moved its charge, another may contradict it.
func repeated(group []*billing.Settlement) []int64 {
	var ids []int64
	for i := 1; i < len(group); i++ {
		if id := int64(group[i].ChargeID); group[i-1].ChargeID == group[i].ChargeID && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// byWeight sorts by charge and attempt; of several answers to one attempt, the
// one that says most about the money comes first.
func byWeight(a, b *billing.Settlement) int {
	return cmp.Or(
		cmp.Compare(a.ChargeID, b.ChargeID),
		cmp.Compare(a.Attempt, b.Attempt),
		cmp.Compare(weight(b), weight(a)))
}

// weight is how much an answer says about the money. Authorised weighs most: money moved.
func weight(s *billing.Settlement) int {
	switch {
	case s.Outcome == billing.OutcomeAuthorised:
		return 2
	case s.Counted:
		return 1
	default:
		return 0
	}
}

// settleArguments turns a group sorted by weight into the arrays of settleQuery.
func settleArguments(group []*billing.Settlement, settled []scheduler.ClaimID) []any {
	n := len(group)
	var (
		ids, runs                                   = make(pq.Int64Array, n), make(pq.Int64Array, n)
		attempts, leases                            = make(pq.Int32Array, n), make(pq.Int32Array, n)
		counted, leads                              = make(pq.BoolArray, n), make(pq.BoolArray, n)
		sources, outcomes, states, reasons, classes = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		nexts                                       = make([]*string, n)
		resolves                                    = make(pq.Float64Array, n)
		references, results, codes, refusals        = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		raws, advices, details                      = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		hashes                                      = make(pq.ByteaArray, n)
	)
	for i := range group {
		s := group[i]
		ids[i], runs[i], attempts[i], leases[i], counted[i] = int64(s.ChargeID), s.RunID, int32(s.Attempt), int32(s.LeaseNo), s.Counted
		leads[i] = i == 0 || s.ChargeID != group[i-1].ChargeID || s.Attempt != group[i-1].Attempt
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
	return []any{
		// $1 to $5, of the observation and of the charge
		ids, sparse(attempts, 1), sparse(counted, true), sparse(outcomes, string(billing.OutcomeAuthorised)), sparse(reasons, ""),
		// $6 to $10, of the charge
		leases, sparse(states, string(billing.ChargePaid)), waits(nexts), sparse(resolves, 0), sparse(leads, true),
		// $11 to $21, of the observation
		sparse(runs, runs[0]), sparse(sources, string(billing.SourceAPI)), sparse(classes, ""), sparse(references, ""),
		sparse(results, "Authorised"), sparse(codes, ""), sparse(refusals, ""), sparse(raws, ""), sparse(advices, ""), hashes, sparse(details, ""),
		pq.Int64Array(claimIDs(settled)), runs[0], // $22 and $23, claims that are over, and the usual run
	}
}

// waits leaves the column out if no charge waits.
func waits(nexts []*string) any {
	if slices.ContainsFunc(nexts, func(next *string) bool { return next != nil }) {
		return pq.Array(nexts)
	}
	return pq.StringArray{}
}

// sparse leaves out a column that says nothing but the usual, which settleQuery
// knows.
func sparse[S ~[]T, T comparable](column S, usual T) S {
	if slices.ContainsFunc(column, func(value T) bool { return value != usual }) {
		return column
	}
	return S{}
}

// deadTokens lists the tokens that the answers of a group found dead, and why.
func deadTokens(group []*billing.Settlement) (ids []int64, causes []string) {
	for _, s := range group {
		if s.TokenCause != "" {
			ids, causes = append(ids, int64(s.TokenID)), append(causes, s.TokenCause)
		}
	}
	return ids, causes
}

// invalidateTokens marks tokens that cannot be charged, and holds every other due
// charge of theirs in the same transaction: the claim needs to look at the charge
// rows alone.
func invalidateTokens(ctx context.Context, tx *sqlx.Tx, ids []int64, causes []string) error {
	// Locked before anything is looked at: what another transaction is about to bring
	// back must be seen as it then is, and no charge may move between two looks.
	dying := make([]tokens.ID, len(ids))
	for i, id := range ids {
		dying[i] = tokens.ID(id)
	}
	slices.Sort(dying)
	if _, err := lockTokenRows(ctx, tx, slices.Compact(dying), withoutSubscriptions); err != nil {
		return err
	}
	const invalidate = `
		UPDATE tokens t SET state = 'invalid', cause = r.cause, state_since = clock_timestamp()
		  FROM unnest($1::bigint[], $2::text[]) AS r(id, cause)
		 WHERE t.id = r.id AND t.state IN ('unverified', 'valid')
		RETURNING t.id`
	const record = `
		INSERT INTO token_events (token_id, kind, state, cause, source, actor)
		SELECT t.id, 'invalid', t.state, t.cause, 'charge', 'gateway'
		  FROM tokens t
		 WHERE t.id = ANY ($1) ORDER BY t.id`
	var dead []int64
	if err := tx.SelectContext(ctx, &dead, invalidate, ids, causes); err != nil {
		return fmt.Errorf("invalidate tokens: %w", err)
	}
	if _, err := tx.ExecContext(ctx, record, pq.Int64Array(dead)); err != nil {
		return fmt.Errorf("record that tokens are invalid: %w", err)
	}
	_, err := holdTokenCharges(ctx, tx, ids)
	return err
}

// holdTokenCharges holds the due charges of tokens that can no longer be charged.
// What is open of them is not sent any more, and held once it is settled. It
// returns how many are held now.
func holdTokenCharges(ctx context.Context, tx *sqlx.Tx, ids []int64) (int, error) {
	const hold = `
		UPDATE charges SET state = 'held', reason = 'token_invalid', decided_by = 'gateway', decided_at = clock_timestamp()
		 WHERE id = ANY (ARRAY(SELECT c.id FROM open_charges k JOIN charges c ON c.id = k.charge_id
		                        WHERE k.token_id = ANY ($1) AND c.state = 'due'
		                          AND c.token_id = ANY ($1) -- still: it may have got another while its lock was waited for
		                        ORDER BY c.id FOR UPDATE OF c))`
	held, err := affected(tx.ExecContext(ctx, hold, pq.Int64Array(ids)))
	if err != nil {
		return 0, fmt.Errorf("hold charges of invalid tokens: %w", err)
	}
	const stop = `
		UPDATE charges SET stop_request = 'hold', stop_reason = 'token_invalid', stop_actor = 'gateway'
		 WHERE id = ANY (ARRAY(SELECT c.id FROM open_charges k JOIN charges c ON c.id = k.charge_id
		                        WHERE k.token_id = ANY ($1) AND c.state IN ('claimed', 'pending', 'unknown')
		                          AND c.token_id = ANY ($1) AND c.stop_request IS NULL
		                        ORDER BY c.id FOR UPDATE OF c))`
	if _, err := tx.ExecContext(ctx, stop, pq.Int64Array(ids)); err != nil {
		return 0, fmt.Errorf("stop charges of invalid tokens: %w", err)
	}
	return held, nil
}

// readBack looks at the charges that a group did not move. The same outcome
// already there is old news; anything else contradicts it, and a person must look.
func (db *DB) readBack(ctx context.Context, group []*billing.Settlement, stayed []int64) (scheduler.SettleResult, error) {
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
func contradicts(s *billing.Settlement, state billing.ChargeState, reason billing.Reason, answered int, counted []string) bool {
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
