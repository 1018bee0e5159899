package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/contauth/contauth/billing"
)

// A Naive charges as one would at first: a worker takes one due charge, marks
// it, commits, asks the gateway, and writes the answer down with its
// observation in a second transaction. It is as safe as the pipeline, on the
// same tables, and pays nine round trips and two commits for each charge.
// Its statements are prepared, as the pipeline's are.
type Naive struct {
	DB         *sql.DB
	Collectors map[string]*billing.Collector // by merchant account
	RunID      int64                         // marks its charges

	next, claim, paid, closed, observation *sql.Stmt
}

// Prepare prepares the statements. It must be called once, before Charge.
func (n *Naive) Prepare(ctx context.Context) error {
	for _, one := range []struct {
		target **sql.Stmt
		query  string
	}{
		{&n.next, naiveNext}, {&n.claim, naiveClaim}, {&n.paid, naivePaid}, {&n.closed, naiveClosed}, {&n.observation, naiveObservation},
	} {
		stmt, err := n.DB.PrepareContext(ctx, one.query)
		if err != nil {
			return fmt.Errorf("naive loop: %w", err)
		}
		*one.target = stmt
	}
	return nil
}

// Charge collects the next due charge. It returns ErrNoMore if there is none.
func (n *Naive) Charge(ctx context.Context) error {
	charge, err := n.take(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoMore
	}
	if err != nil {
		return fmt.Errorf("naive loop: take a charge: %w", err)
	}
	answer := n.Collectors[charge.MerchantAccount].Collect(ctx, &charge)
	if answer.State != billing.ChargePaid {
		return fmt.Errorf("naive loop: charge %s is %s: %s", charge.Reference, answer.State, answer.Detail)
	}
	if err := n.record(ctx, answer); err != nil {
		return fmt.Errorf("naive loop: record charge %s: %w", charge.Reference, err)
	}
	return nil
}

func (n *Naive) take(ctx context.Context) (c billing.ClaimedCharge, err error) {
	tx, err := n.DB.BeginTx(ctx, nil)
	if err != nil {
		return c, err
	}
	defer tx.Rollback() // without effect after a commit
	var settings int
	row := tx.StmtContext(ctx, n.next).QueryRowContext(ctx)
	if err := row.Scan(&c.ID, &c.Reference, &c.MerchantAccount, &c.Model, &c.Amount.Minor, &c.Amount.Currency, &c.TokenID,
		&c.Token, &c.ShopperReference, &c.PaymentMethod, &settings, &c.ReturnURL, &c.Attempt, &c.LeaseNo); err != nil {
		return c, err
	}
	if _, err := tx.StmtContext(ctx, n.claim).ExecContext(ctx, int64(c.ID), n.RunID, n.Collectors[c.MerchantAccount].WireVersion(), settings); err != nil {
		return c, err
	}
	c.RunID = n.RunID
	return c, tx.Commit()
}

func (n *Naive) record(ctx context.Context, s billing.Settlement) error {
	tx, err := n.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after a commit
	if _, err := tx.StmtContext(ctx, n.paid).ExecContext(ctx, int64(s.ChargeID), s.Attempt); err != nil {
		return err
	}
	if _, err := tx.StmtContext(ctx, n.closed).ExecContext(ctx, int64(s.ChargeID)); err != nil {
		return err
	}
	if _, err := tx.StmtContext(ctx, n.observation).ExecContext(ctx, int64(s.ChargeID), s.RunID, s.Attempt, s.Counted, string(s.Source),
		string(s.Outcome), s.Reply.GatewayReference, s.Reply.ResultCode, s.Reply.RequestHash[:]); err != nil {
		return err
	}
	return tx.Commit()
}

const (
	naiveNext = `
	SELECT c.id, c.reference, c.merchant_account, c.model, c.amount_minor, c.currency, c.token_id,
	       t.token, t.shopper_reference, t.payment_method, s.id, s.return_url, c.answered + 1, c.lease_no + 1
	  FROM open_charges k
	  JOIN charges c ON c.id = k.charge_id
	  JOIN tokens t ON t.id = c.token_id
	  JOIN merchant_accounts a ON a.id = c.merchant_account
	  JOIN account_settings s ON s.id = a.settings_id
	 WHERE c.state = 'due' AND c.next_attempt_at <= now()
	 ORDER BY k.charge_id
	 LIMIT 1
	   FOR UPDATE OF c SKIP LOCKED`
	naiveClaim = `
	UPDATE charges
	   SET state = 'claimed', lease_owner = 0, lease_no = lease_no + 1, lease_until = clock_timestamp() + interval '90 seconds',
	       run_id = $2, attempt_started_at = clock_timestamp(), wire_version = $3, account_settings_id = $4
	 WHERE id = $1`
	naivePaid = `
	UPDATE charges
	   SET state = 'paid', reason = '', answered = answered + 1, decided_by = 'gateway',
	       decided_at = clock_timestamp(), finished_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL
	 WHERE id = $1 AND answered + 1 = $2`
	naiveClosed      = `DELETE FROM open_charges WHERE charge_id = $1`
	naiveObservation = `
	INSERT INTO observations (charge_id, at, run_id, attempt, counted, source, outcome, gateway_reference, result_code, request_hash)
	VALUES ($1, clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9)`
)
