package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// chargeRow is a charge as lists show it.
type chargeRow struct {
	ID               billing.ChargeID                 `db:"id"`
	Reference        string                           `db:"reference"`
	MerchantAccount  string                           `db:"merchant_account"`
	Subscription     sql.NullString                   `db:"subscription"`
	Cycle            sql.NullInt64                    `db:"cycle"`
	PeriodStart      sql.NullTime                     `db:"period_start"`
	PeriodEnd        sql.NullTime                     `db:"period_end"`
	Model            billing.RecurringProcessingModel `db:"model"`
	TokenID          tokens.ID                        `db:"token_id"`
	Token            string                           `db:"token"`
	ShopperReference string                           `db:"shopper_reference"`
	PaymentMethod    string                           `db:"payment_method"`
	TokenState       tokens.State                     `db:"token_state"`
	TokenCause       string                           `db:"token_cause"`
	AmountMinor      int64                            `db:"amount_minor"`
	Currency         string                           `db:"currency"`
	State            billing.ChargeState              `db:"state"`
	Reason           billing.Reason                   `db:"reason"`
	DueAt            time.Time                        `db:"due_at"`
	NextAttemptAt    time.Time                        `db:"next_attempt_at"`
	Answered         int                              `db:"answered"`
}

const chargeRowColumns = `
	c.id, c.reference, c.merchant_account, s.reference AS subscription, c.cycle, c.period_start, c.period_end, c.model,
	c.token_id, t.token, t.shopper_reference, t.payment_method, t.state AS token_state, t.cause AS token_cause,
	c.amount_minor, c.currency, c.state, c.reason, c.due_at, c.next_attempt_at, c.answered`

const chargeRowTables = `
	  FROM charges c
	  JOIN tokens t ON t.id = c.token_id
	  LEFT JOIN subscriptions s ON s.id = c.subscription_id`

func (r chargeRow) charge() billing.Charge {
	c := billing.Charge{
		ID: r.ID, Reference: r.Reference, MerchantAccount: r.MerchantAccount,
		Subscription: r.Subscription.String, Cycle: int(r.Cycle.Int64), Model: r.Model,
		Token: tokens.Token{
			ID: r.TokenID, MerchantAccount: r.MerchantAccount, ShopperReference: r.ShopperReference, Reference: r.Token,
			PaymentMethod: r.PaymentMethod, State: r.TokenState, Cause: r.TokenCause,
		},
		Amount: billing.Money{Minor: r.AmountMinor, Currency: r.Currency},
		State:  r.State, Reason: r.Reason, DueAt: r.DueAt.UTC(), NextAttemptAt: r.NextAttemptAt.UTC(), Answered: r.Answered,
	}
	if r.PeriodStart.Valid {
		c.PeriodStart, c.PeriodEnd = billing.LocalDateOf(r.PeriodStart.Time.UTC()), billing.LocalDateOf(r.PeriodEnd.Time.UTC())
	}
	return c
}

// FindCharges streams the charges that filter selects, in the order of their
// ids. An error ends the stream.
func (db *DB) FindCharges(ctx context.Context, filter billing.ChargeFilter) iter.Seq2[billing.Charge, error] {
	var where conditions
	where.addIf(filter.After > 0, "c.id > %s", filter.After)
	where.addIf(filter.RunID > 0, "c.id IN (SELECT i.charge_id FROM run_items i WHERE i.run_id = %s)", filter.RunID)
	where.addIf(filter.MerchantAccount != "", "c.merchant_account = %s", filter.MerchantAccount)
	where.addIf(filter.Subscription > 0, "c.subscription_id = %s", filter.Subscription)
	where.addIf(filter.State != "", "c.state = %s", filter.State)
	where.addIf(!filter.Day.IsZero(), "coalesce(c.period_start, (c.due_at AT TIME ZONE 'UTC')::date) = %s::date", filter.Day.String())
	query := `SELECT` + chargeRowColumns + chargeRowTables + where.clause() + ` ORDER BY c.id` + where.limit(filter.Limit)
	return stream(ctx, db, "list charges", query, where.args, chargeRow.charge)
}

// FindChargeID returns the id of the charge that name names: its number, or its
// reference. With a merchantAccount, name is a reference of that account. It
// returns billing.ErrInvalid if name fits more than one charge.
func (db *DB) FindChargeID(ctx context.Context, name, merchantAccount string) (billing.ChargeID, error) {
	number, err := strconv.ParseInt(name, 10, 64)
	if err != nil || merchantAccount != "" {
		number = 0 // no charge has it
	}
	// The join lets the unique index on (merchant_account, reference) find it.
	const query = `
		SELECT c.id, c.reference, c.merchant_account FROM charges c WHERE c.id = $1
		UNION
		SELECT c.id, c.reference, c.merchant_account
		  FROM merchant_accounts a JOIN charges c ON c.merchant_account = a.id AND c.reference = $2
		 WHERE $3 = '' OR a.id = $3
		 ORDER BY id LIMIT 3`
	var found []struct {
		ID              billing.ChargeID `db:"id"`
		Reference       string           `db:"reference"`
		MerchantAccount string           `db:"merchant_account"`
	}
	if err := db.sqlx.SelectContext(ctx, &found, query, number, name, merchantAccount); err != nil {
		return 0, fmt.Errorf("find charge: %w", err)
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("charge: %w", billing.ErrNotFound)
	case 1:
		return found[0].ID, nil
	}
	var fits []string
	for _, f := range found {
		fits = append(fits, fmt.Sprintf("charge %d is %s at %s", f.ID, f.Reference, f.MerchantAccount))
	}
	return 0, fmt.Errorf("%w charge: the name fits more than one (%s): give the reference together with --merchant-account", billing.ErrInvalid, strings.Join(fits, ", "))
}

// A ChargeDetail is all that is on record about one charge.
type ChargeDetail struct {
	billing.Charge
	Description  string
	DecidedBy    string
	DecidedAt    time.Time
	FinishedAt   time.Time      // zero while it is open
	StartedAt    time.Time      // when the present attempt was first claimed; zero if none is open
	LeaseUntil   time.Time      // zero unless a process holds it
	ResolveAt    time.Time      // when an unknown or pending charge is asked about again; zero if never by itself
	StopRequest  string         // hold or cancel, if somebody wants it stopped
	StopReason   billing.Reason // of StopRequest
	StopActor    string         // of StopRequest
	Observations []Observation
	Runs         []ChargeRun
	Audit        []AuditEntry
}

// An Observation is what one source said about an attempt.
type Observation struct {
	At               time.Time       `db:"at"`
	RunID            sql.NullInt64   `db:"run_id"`
	Attempt          int             `db:"attempt"`
	Source           string          `db:"source"`
	Outcome          billing.Outcome `db:"outcome"`
	Reason           billing.Reason  `db:"reason"`
	GatewayReference string          `db:"gateway_reference"`
	ResultCode       string          `db:"result_code"`
	RefusalCode      string          `db:"refusal_code"`
	RefusalReason    string          `db:"refusal_reason"`
	Detail           string          `db:"detail"`
}

// A ChargeRun is a run that planned a charge, and what became of it there.
type ChargeRun struct {
	RunID       int64          `db:"run_id"`
	State       string         `db:"state"`       // of the run
	Position    int            `db:"position"`    // in the manifest; 0 if the plan left it out
	Disposition string         `db:"disposition"` // empty: the charge's own state tells
	Reason      billing.Reason `db:"reason"`      // of the disposition
}

// ShowCharge returns what is on record about a charge.
func (db *DB) ShowCharge(ctx context.Context, id billing.ChargeID) (ChargeDetail, error) {
	var detail ChargeDetail
	err := db.inSnapshot(ctx, "show charge", func(tx *sqlx.Tx) (err error) {
		if detail, err = findChargeDetail(ctx, tx, id); err != nil {
			return err
		}
		const observations = `
			SELECT at, run_id, attempt, source, outcome, reason, gateway_reference, result_code, refusal_code, refusal_reason, detail
			  FROM observations WHERE charge_id = $1 ORDER BY attempt, id`
		const runs = `
			SELECT i.run_id, r.state, i.position, coalesce(i.disposition, '') AS disposition, coalesce(i.reason, '') AS reason
			  FROM run_items i JOIN runs r ON r.id = i.run_id WHERE i.charge_id = $1
			UNION ALL
			SELECT e.run_id, r.state, 0, e.disposition, e.reason
			  FROM runs r JOIN run_exclusions e ON e.run_id = r.id WHERE e.charge_id = $1
			 ORDER BY run_id`
		if detail.Audit, err = findAudit(ctx, tx, auditKindCharge, strconv.FormatInt(int64(id), 10)); err != nil {
			return err
		}
		return errors.Join(
			tx.SelectContext(ctx, &detail.Observations, observations, id),
			tx.SelectContext(ctx, &detail.Runs, runs, id))
	})
	return detail, err
}

func findChargeDetail(ctx context.Context, tx *sqlx.Tx, id billing.ChargeID) (ChargeDetail, error) {
	const query = `
		SELECT` + chargeRowColumns + `, c.description, c.decided_by, c.decided_at, c.finished_at,
		       c.attempt_started_at, c.lease_until, c.resolve_at,
		       coalesce(c.stop_request, '') AS stop_request, coalesce(c.stop_reason, '') AS stop_reason, coalesce(c.stop_actor, '') AS stop_actor` +
		chargeRowTables + `
		 WHERE c.id = $1`
	var row struct {
		chargeRow
		Description string         `db:"description"`
		DecidedBy   string         `db:"decided_by"`
		DecidedAt   time.Time      `db:"decided_at"`
		FinishedAt  sql.NullTime   `db:"finished_at"`
		StartedAt   sql.NullTime   `db:"attempt_started_at"`
		LeaseUntil  sql.NullTime   `db:"lease_until"`
		ResolveAt   sql.NullTime   `db:"resolve_at"`
		StopRequest string         `db:"stop_request"`
		StopReason  billing.Reason `db:"stop_reason"`
		StopActor   string         `db:"stop_actor"`
	}
	if err := tx.GetContext(ctx, &row, query, id); err != nil {
		return ChargeDetail{}, fmt.Errorf("charge %d: %w", id, notFound(err))
	}
	return ChargeDetail{
		Charge: row.charge(), Description: row.Description, DecidedBy: row.DecidedBy, DecidedAt: row.DecidedAt.UTC(),
		FinishedAt: utc(row.FinishedAt), StartedAt: utc(row.StartedAt), LeaseUntil: utc(row.LeaseUntil), ResolveAt: utc(row.ResolveAt),
		StopRequest: row.StopRequest, StopReason: row.StopReason, StopActor: row.StopActor,
	}, nil
}

// utc returns the instant in UTC, or the zero time for null.
func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}
