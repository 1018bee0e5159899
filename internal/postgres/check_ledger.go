package postgres

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
)

// A Ledger is what a gateway says about its payments.
type Ledger struct {
	Name             string   // where it was read, for messages
	MerchantAccounts []string // the accounts it is complete for; lines of others are passed by
	// Entries streams the payments. It must not ask the gateway before it is
	// ranged over: what is recorded before that moment is expected in it.
	Entries iter.Seq2[LedgerEntry, error]
	// SameKeyOtherBody is how many requests the gateway has seen whose key it knew
	// with other bytes; nil if it does not tell.
	SameKeyOtherBody *int64
}

// A LedgerEntry is one payment in a gateway's ledger, made or refused. The
// sandbox's GET /sandbox/ledger gives one a line.
type LedgerEntry struct {
	IdempotencyKey    string    `json:"idempotency_key"`
	MerchantAccount   string    `json:"merchant_account"`
	Reference         string    `json:"reference"` // <charge>~<attempt>
	Token             string    `json:"token"`
	ShopperReference  string    `json:"shopper_reference"`
	Model             string    `json:"model"`
	AmountMinor       int64     `json:"amount_minor"`  // ISO 4217 minor units
	GatewayValue      int64     `json:"gateway_value"` // the same amount as the gateway counts it
	Currency          string    `json:"currency"`
	ResultCode        string    `json:"result_code"`
	RefusalReasonCode string    `json:"refusal_reason_code"`
	PSPReference      string    `json:"psp_reference"`
	At                time.Time `json:"at"` // on the gateway's clock
}

// outcome is what contauth must make of the entry; "" for a result that it does
// not know (Adyen, "Result codes").
func (e LedgerEntry) outcome() billing.Outcome {
	switch e.ResultCode {
	case "Authorised":
		return billing.OutcomeAuthorised
	case "Refused", "Error", "Cancelled", "RedirectShopper", "IdentifyShopper", "ChallengeShopper", "PresentToShopper":
		return billing.OutcomeRefused
	case "Pending", "Received":
		return billing.OutcomePending
	}
	return ""
}

// attempt splits the reference. The attempt is 0 if the reference names none.
func (e LedgerEntry) attempt() (chargeReference string, attempt int) {
	if charge, number, ok := billing.SplitAttemptReference(e.Reference); ok {
		return charge, number
	}
	return e.Reference, 0
}

// loadLedgers copies the ledgers into a temporary table and returns the moment
// before, on the database's clock.
func loadLedgers(ctx context.Context, conn *sqlx.Conn, req CheckRequest) (from time.Time, err error) {
	tx, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return from, fmt.Errorf("begin: %w", unavailable(err))
	}
	defer tx.Rollback() // without effect after a commit
	if err := takeTime(ctx, tx); err != nil {
		return from, err
	}
	if err := tx.GetContext(ctx, &from, `SELECT clock_timestamp()`); err != nil {
		return from, err
	}
	const create = `
		CREATE TEMPORARY TABLE check_lines (
			charge_reference text, attempt integer, outcome text, own_key boolean, idempotency_key text, merchant_account text,
			amount_minor bigint, gateway_value bigint, currency text, psp_reference text, at timestamptz);
		CREATE TEMPORARY TABLE check_accounts (merchant_account text PRIMARY KEY)`
	if _, err := tx.ExecContext(ctx, create); err != nil {
		return from, fmt.Errorf("make room for the ledger: %w", err)
	}
	keys, err := accountKeys(ctx, tx)
	if err != nil {
		return from, err
	}
	for _, ledger := range req.Ledgers {
		if err := loadLedger(ctx, tx, req, ledger, keys); err != nil {
			return from, fmt.Errorf("ledger %s: %w", ledger.Name, err)
		}
	}
	const find = `
		CREATE TEMPORARY TABLE check_ledger AS
		SELECT l.*, c.id AS charge_id
		  FROM check_lines l LEFT JOIN charges c ON c.merchant_account = l.merchant_account AND c.reference = l.charge_reference;
		CREATE INDEX ON check_ledger (charge_id, attempt);
		ANALYZE check_ledger;
		DROP TABLE check_lines`
	if _, err := tx.ExecContext(ctx, find); err != nil {
		return from, fmt.Errorf("find the charges of the ledger: %w", err)
	}
	return from, tx.Commit()
}

// forgetLedgers gives the connection back as it was.
func forgetLedgers(ctx context.Context, conn *sqlx.Conn) {
	// An error means that the connection is broken, and its tables with it.
	conn.ExecContext(ctx, `DROP TABLE IF EXISTS check_lines, check_ledger, check_accounts`)
}

// An ownKey reports whether a gateway's key is the one of a charge's attempt.
type ownKey func(key, charge string, attempt int) bool

// orderKey is the rule of the Mastercard Gateway: the key is order.id and
// transaction.id themselves, behind the merchant's id.
func orderKey(key, charge string, attempt int) bool {
	order := strings.NewReplacer("%", "%25", "/", "%2F").Replace(charge)
	return strings.HasSuffix(key, "/"+order+"/"+strconv.Itoa(attempt))
}

// accountKeys returns, by merchant account, what knows the keys of its attempts.
func accountKeys(ctx context.Context, tx *sqlx.Tx) (map[string]ownKey, error) {
	var rows []struct {
		ID          string `db:"id"`
		Gateway     string `db:"gateway"`
		Environment string `db:"environment"`
		Secret      []byte `db:"key_secret"`
	}
	const query = `SELECT a.id, a.gateway, a.environment, i.key_secret FROM merchant_accounts a CROSS JOIN instance i`
	if err := tx.SelectContext(ctx, &rows, query); err != nil {
		return nil, fmt.Errorf("read merchant accounts: %w", err)
	}
	keys := make(map[string]ownKey, len(rows))
	for _, row := range rows {
		if row.Gateway == "mastercard" {
			keys[row.ID] = orderKey
			continue
		}
		keyer := billing.NewAttemptKeyer(row.Secret, row.Gateway, row.Environment)
		keys[row.ID] = func(key, charge string, attempt int) bool {
			return key == keyer.Key(billing.OperationCharge, row.ID, charge, attempt)
		}
	}
	return keys, nil
}

func loadLedger(ctx context.Context, tx *sqlx.Tx, req CheckRequest, ledger Ledger, keys map[string]ownKey) error {
	var accounts []string
	for _, account := range ledger.MerchantAccounts {
		if req.MerchantAccount == "" || req.MerchantAccount == account {
			accounts = append(accounts, account)
		}
	}
	const complete = `INSERT INTO check_accounts SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`
	if _, err := tx.ExecContext(ctx, complete, accounts); err != nil {
		return err
	}
	const copyIn = `
		COPY check_lines (charge_reference, attempt, outcome, own_key, idempotency_key, merchant_account,
		                  amount_minor, gateway_value, currency, psp_reference, at) FROM STDIN`
	stmt, err := tx.PrepareContext(ctx, copyIn)
	if err != nil {
		return fmt.Errorf("start to copy: %w", err)
	}
	defer stmt.Close()
	for e, err := range ledger.Entries {
		if err != nil {
			return err
		}
		if !slices.Contains(accounts, e.MerchantAccount) {
			continue
		}
		charge, attempt := e.attempt()
		isOwn := keys[e.MerchantAccount]
		own := isOwn != nil && isOwn(e.IdempotencyKey, charge, attempt)
		if _, err := stmt.Exec(charge, attempt, string(e.outcome()), own, e.IdempotencyKey, e.MerchantAccount,
			e.AmountMinor, e.GatewayValue, e.Currency, e.PSPReference, e.At.UTC()); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	if _, err := stmt.ExecContext(ctx); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

// ledgerItem names an item of the ledger l.
const ledgerItem = `CASE WHEN l.charge_id IS NULL THEN 'the gateway''s payment ' || l.psp_reference
	ELSE 'charge ' || l.charge_id || ', attempt ' || l.attempt END`

// awaited selects items of the ledger l whose charge c still waits for the
// answer of this attempt: they are news to come, no contradiction.
const awaited = `(c.state IN ('claimed', 'pending', 'unknown') AND c.answered + 1 = l.attempt)`

// answers is what was learnt from the gateway about each attempt.
const answers = `
	SELECT o.charge_id, o.attempt, min(o.at) AS at,
	       bool_or(o.outcome = 'authorised') AS authorised, bool_or(o.outcome = 'refused') AS refused,
	       coalesce(max(o.gateway_reference) FILTER (WHERE o.outcome = 'authorised'),
	                max(o.gateway_reference) FILTER (WHERE o.outcome = 'refused'), '') AS gateway_reference
	  FROM observations o
	 WHERE o.source IN ('api', 'replay', 'webhook') AND o.outcome IN ('authorised', 'refused')
	 GROUP BY o.charge_id, o.attempt`

// findLedgerDifferences is I1. A payment of a charge that waits for its answer
// is noted only: the answer will bring the two together.
func findLedgerDifferences(ctx context.Context, c *checker, f *findings) error {
	const atGateway = `
		SELECT ` + ledgerItem + ` || ' is ' || coalesce(nullif(l.outcome, ''), 'of a strange result') || ' at the gateway, but ' || d.difference
		  FROM check_ledger l
		  LEFT JOIN charges c ON c.id = l.charge_id
		  LEFT JOIN (` + answers + `) a ON a.charge_id = l.charge_id AND a.attempt = l.attempt
		 CROSS JOIN LATERAL (SELECT CASE
		       WHEN c.id IS NULL THEN 'no charge has its reference'
		       WHEN ` + awaited + ` OR l.outcome NOT IN ('authorised', 'refused') THEN NULL
		       WHEN l.outcome = 'refused' AND a.refused IS NOT TRUE THEN 'no refusal is recorded'
		       WHEN l.outcome = 'authorised' AND a.authorised IS NOT TRUE THEN 'that is not recorded'
		       WHEN l.outcome = 'authorised' AND c.state <> 'paid' THEN 'the charge is ' || c.state
		       WHEN l.outcome = 'authorised' AND c.reason = 'paid_elsewhere' THEN 'somebody recorded that it was paid elsewhere'
		       WHEN a.gateway_reference NOT IN ('', l.psp_reference) THEN 'another payment is recorded: ' || a.gateway_reference
		       END AS difference) d
		 WHERE d.difference IS NOT NULL`
	if err := c.find(ctx, f, atGateway); err != nil {
		return err
	}
	const twice = `
		SELECT 'charge ' || l.charge_id || ', attempt ' || l.attempt || ' is ' || count(*) || ' payments at the gateway'
		  FROM check_ledger l WHERE l.charge_id IS NOT NULL
		 GROUP BY l.charge_id, l.attempt HAVING count(*) > 1`
	if err := c.find(ctx, f, twice); err != nil {
		return err
	}
	// What was recorded after the ledger was read cannot be in it.
	const inDatabase = `
		SELECT 'charge ' || c.id || ', attempt ' || a.attempt || ' is recorded as ' ||
		       CASE WHEN a.authorised THEN 'authorised' ELSE 'refused' END || ', but not at the gateway'
		  FROM (` + answers + `) a
		  JOIN charges c ON c.id = a.charge_id
		  JOIN check_accounts k ON k.merchant_account = c.merchant_account
		 WHERE a.at < $1
		   AND NOT EXISTS (SELECT FROM check_ledger l
		                    WHERE l.charge_id = a.charge_id AND l.attempt = a.attempt
		                      AND l.outcome = CASE WHEN a.authorised THEN 'authorised' ELSE 'refused' END)`
	if err := c.find(ctx, f, inDatabase, c.ledgerFrom); err != nil {
		return err
	}
	const open = `SELECT count(*) FROM check_ledger l JOIN charges c ON c.id = l.charge_id WHERE ` + awaited
	var waiting int
	if err := c.tx.GetContext(ctx, &waiting, open); err != nil {
		return err
	}
	if waiting > 0 {
		f.note("payments at the gateway whose answer is still awaited: %d", waiting)
	}
	return noteUnread(ctx, c, f)
}

// noteUnread names the merchant accounts that no ledger speaks for.
func noteUnread(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT a.id FROM merchant_accounts a
		 WHERE ($1 = '' OR a.id = $1) AND a.id NOT IN (SELECT merchant_account FROM check_accounts) ORDER BY a.id`
	var unread []string
	if err := c.tx.SelectContext(ctx, &unread, query, c.req.MerchantAccount); err != nil {
		return err
	}
	if len(unread) > 0 {
		f.note("not checked, no ledger: %s", strings.Join(unread, ", "))
	}
	return nil
}

// findDoubleCharges is I2.
func findDoubleCharges(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT coalesce('charge ' || min(l.charge_id), 'a charge that the database does not know') || ' is authorised '
		       || count(*) || ' times at the gateway: ' || string_agg(l.psp_reference, ', ')
		  FROM check_ledger l WHERE l.outcome = 'authorised'
		 GROUP BY l.merchant_account, l.charge_reference HAVING count(*) > 1`
	return c.find(ctx, f, query)
}

// findSumDifferences is I8. A payment counts on the gateway's day, in UTC; one
// that the gateway does not have, on the day it was recorded.
func findSumDifferences(ctx context.Context, c *checker, f *findings) error {
	const sums = `
		WITH gateway AS (
		         SELECT l.merchant_account, l.currency, (l.at AT TIME ZONE 'UTC')::date AS day, sum(l.amount_minor) AS amount
		           FROM check_ledger l LEFT JOIN charges c ON c.id = l.charge_id
		          WHERE l.outcome = 'authorised' AND NOT coalesce(` + awaited + `, false)
		          GROUP BY 1, 2, 3),
		     recorded AS (
		         SELECT c.merchant_account, c.currency, (coalesce(p.at, a.at) AT TIME ZONE 'UTC')::date AS day, sum(c.amount_minor) AS amount
		           FROM (` + answers + `) a
		           JOIN charges c ON c.id = a.charge_id
		           JOIN check_accounts k ON k.merchant_account = c.merchant_account
		           LEFT JOIN (SELECT charge_id, attempt, min(at) AS at FROM check_ledger
		                       WHERE outcome = 'authorised' GROUP BY charge_id, attempt) p
		                  ON p.charge_id = a.charge_id AND p.attempt = a.attempt
		          WHERE a.authorised AND (p.at IS NOT NULL OR a.at < $1)
		          GROUP BY 1, 2, 3)
		SELECT merchant_account || ', ' || day || ': recorded ' || coalesce(r.amount, 0) || ', at the gateway ' || coalesce(g.amount, 0)
		       || ' minor units of ' || currency
		  FROM gateway g FULL JOIN recorded r USING (merchant_account, currency, day)
		 WHERE coalesce(g.amount, 0) <> coalesce(r.amount, 0)`
	if err := c.find(ctx, f, sums, c.ledgerFrom); err != nil {
		return err
	}
	// A gateway may count other decimals than ISO 4217, but of one currency always
	// the same: the two amounts are one power of ten apart.
	const decimals = `
		SELECT l.merchant_account || ': the gateway counts ' || l.currency || ' in more than one way'
		  FROM check_ledger l
		 GROUP BY l.merchant_account, l.currency
		HAVING count(DISTINCT l.amount_minor::numeric / nullif(l.gateway_value, 0)) > 1
		    OR min(l.amount_minor::numeric / nullif(l.gateway_value, 0)) NOT IN (0.001, 0.01, 0.1, 1, 10, 100, 1000)
		    OR bool_or(l.gateway_value = 0 AND l.amount_minor <> 0)`
	return c.find(ctx, f, decimals)
}
