package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// The scopes of the kill switch.
const (
	StopAll             = "all"
	StopMerchantAccount = "merchant_account"
	StopGateway         = "gateway"
)

// A StopScope says how much the kill switch stops: everything, or what one
// merchant account or one gateway would be sent.
type StopScope struct {
	Scope string `db:"scope"` // StopAll, StopMerchantAccount or StopGateway
	Name  string `db:"name"`  // of the account or the gateway; empty for StopAll
}

// String names the scope for people.
func (s StopScope) String() string {
	switch s.Scope {
	case StopMerchantAccount:
		return "merchant account " + s.Name
	case StopGateway:
		return "gateway " + s.Name
	}
	return "everything"
}

// object names the scope in the audit table.
func (s StopScope) object() string {
	if s.Name == "" {
		return s.Scope
	}
	return s.Scope + ":" + s.Name
}

// A StandingStop is one row of the kill switch: while it stands, nothing of its
// scope is claimed.
type StandingStop struct {
	StopScope
	Reason string    `db:"reason"` // in the actor's own words
	Actor  string    `db:"actor"`
	At     time.Time `db:"at"`
}

// StandingStops lists what is stopped, the widest first.
func (db *DB) StandingStops(ctx context.Context) ([]StandingStop, error) {
	const query = `SELECT scope, name, reason, actor, at FROM sending_stops ORDER BY scope, name`
	var stops []StandingStop
	if err := db.sqlx.SelectContext(ctx, &stops, query); err != nil {
		return nil, fmt.Errorf("list sending stops: %w", err)
	}
	return stops, nil
}

// inScope selects the merchant accounts a of the scope ($1, $2).
const inScope = `($1 = 'all' OR $1 = 'merchant_account' AND a.id = $2 OR $1 = 'gateway' AND a.gateway = $2)`

// PauseSending turns the kill switch on for a scope. From then on nothing of the
// scope is claimed; the charges that are claimed now are returned, and those
// among them that are unsent are given back: ask scheduler.AwaitStops. It returns
// billing.ErrNotFound if no merchant account is in the scope, and
// billing.ErrConflict if the switch is on already.
func (db *DB) PauseSending(ctx context.Context, scope StopScope, by billing.Decision) ([]billing.Stop, error) {
	if err := by.Validate(); err != nil {
		return nil, fmt.Errorf("pause %s: %w", scope, err)
	}
	var claimed []billing.Stop
	err := db.inTx(ctx, "pause "+scope.String(), func(tx *sqlx.Tx) (err error) {
		if err := lockScope(ctx, tx, scope); err != nil {
			return err
		}
		const query = `
			INSERT INTO sending_stops (scope, name, reason, actor, at) VALUES ($1, $2, $3, $4, clock_timestamp())
			ON CONFLICT (scope, name) DO NOTHING`
		if err := expectOne(tx.ExecContext(ctx, query, scope.Scope, scope.Name, by.Why, by.Actor)); err != nil {
			return fmt.Errorf("it is paused already: %w", err)
		}
		if claimed, err = claimedInScope(ctx, tx, scope); err != nil {
			return err
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: by.Actor, Action: "pause", MerchantAccount: scope.account(), Reason: by.Why,
			ObjectKind: auditKindSendingStop, Object: scope.object(),
			After: map[string]int{"claimed": len(claimed)},
		})
	})
	return claimed, err
}

// account is the one merchant account of the scope, if it has only one.
func (s StopScope) account() string {
	if s.Scope == StopMerchantAccount {
		return s.Name
	}
	return ""
}

// lockScope waits for the claims that are being made at the accounts of a scope,
// and keeps new ones waiting.
func lockScope(ctx context.Context, tx *sqlx.Tx, scope StopScope) error {
	const query = `SELECT a.id FROM merchant_accounts a WHERE ` + inScope + ` ORDER BY a.id FOR NO KEY UPDATE`
	var ids []string
	if err := tx.SelectContext(ctx, &ids, query, scope.Scope, scope.Name); err != nil {
		return fmt.Errorf("lock merchant accounts: %w", err)
	}
	if len(ids) == 0 && scope.Scope != StopAll {
		return fmt.Errorf("%s: %w", scope, billing.ErrNotFound)
	}
	return nil
}

// claimedInScope finds the claimed charges through their batches: no index on
// the charges tells which are claimed.
func claimedInScope(ctx context.Context, tx *sqlx.Tx, scope StopScope) ([]billing.Stop, error) {
	const query = `
		SELECT c.id, c.reference, c.state, c.answered + 1 AS attempt,
		       (SELECT coalesce(max(o.id), 0) FROM observations o WHERE o.charge_id = c.id) AS seen
		  FROM claims k
		  JOIN merchant_accounts a ON a.id = k.merchant_account
		  JOIN run_items i ON i.run_id = k.run_id AND i.merchant_account = k.merchant_account
		                  AND i.position BETWEEN k.first_position AND k.last_position
		  JOIN charges c ON c.id = i.charge_id
		 WHERE c.state = 'claimed' AND c.run_id = k.run_id AND ` + inScope + `
		 ORDER BY c.id`
	var rows []struct {
		ID        billing.ChargeID    `db:"id"`
		Reference string              `db:"reference"`
		State     billing.ChargeState `db:"state"`
		Attempt   int                 `db:"attempt"`
		Seen      int64               `db:"seen"`
	}
	if err := tx.SelectContext(ctx, &rows, query, scope.Scope, scope.Name); err != nil {
		return nil, fmt.Errorf("find claimed charges: %w", err)
	}
	stops := make([]billing.Stop, 0, len(rows))
	for _, r := range rows {
		stops = append(stops, billing.Stop{ChargeID: r.ID, Reference: r.Reference, State: r.State, Attempt: r.Attempt, Seen: r.Seen})
	}
	return stops, nil
}

// UnpauseSending turns the kill switch off for a scope. Wider and narrower
// scopes keep theirs. It returns billing.ErrNotFound if it was not on.
func (db *DB) UnpauseSending(ctx context.Context, scope StopScope, by billing.Decision) error {
	if err := by.Validate(); err != nil {
		return fmt.Errorf("unpause %s: %w", scope, err)
	}
	return db.inTx(ctx, "unpause "+scope.String(), func(tx *sqlx.Tx) error {
		const query = `DELETE FROM sending_stops WHERE scope = $1 AND name = $2 RETURNING scope, name, reason, actor, at`
		var stop StandingStop
		if err := tx.GetContext(ctx, &stop, query, scope.Scope, scope.Name); err != nil {
			return fmt.Errorf("a pause of %s: %w", scope, notFound(err))
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: by.Actor, Action: "unpause", MerchantAccount: scope.account(), Reason: by.Why,
			ObjectKind: auditKindSendingStop, Object: scope.object(),
			Before: map[string]string{"actor": stop.Actor, "reason": stop.Reason, "at": stop.At.UTC().Format(time.RFC3339)},
		})
	})
}
