package postgres

import (
	"context"
	"fmt"
)

// cardDiffers is the SQL for whether the line g tells something of a card that is
// not stored in k. What the file leaves empty stays as it is.
const cardDiffers = `(g.expires <> coalesce(k.expires, '-infinity') OR g.brand NOT IN ('', coalesce(k.brand, ''))
	OR g.last_four NOT IN ('', coalesce(k.last_four, '')))`

// findCardDifferences fills the temporary table differences: a row for each
// detail of a token's card that the file has another value for. Tokens that this
// import stored are not compared. The others are locked against whoever else would
// write about their cards, and not against being charged.
func findCardDifferences(ctx context.Context, job *importJob) error {
	const lock = `
		WITH locked AS (
			SELECT t.id
			  FROM staged g
			  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
			  LEFT JOIN cards k ON k.token_id = t.id
			 WHERE t.created_at <> now() AND ` + cardDiffers + `
			 ORDER BY t.id
			   FOR KEY SHARE OF t)
		SELECT count(*) FROM locked`
	if _, err := job.tx.ExecContext(ctx, lock); err != nil {
		return fmt.Errorf("lock tokens: %w", err)
	}
	// A statement of its own: it sees what the locks waited for.
	find := `
		CREATE TEMPORARY TABLE differences ON COMMIT DROP AS
		SELECT g.line, t.id, t.merchant_account, ` + masked(`t.token`) + ` AS reference, v.place, v.field, v.before, v.after
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		  LEFT JOIN cards k ON k.token_id = t.id
		 CROSS JOIN LATERAL (VALUES
		       (1, 'expiry', g.expires <> coalesce(k.expires, '-infinity'), coalesce(to_char(k.expires, 'YYYY-MM'), ''), to_char(g.expires, 'YYYY-MM')),
		       (2, 'brand', g.brand NOT IN ('', coalesce(k.brand, '')), coalesce(k.brand, ''), g.brand),
		       (3, 'last_four', g.last_four NOT IN ('', coalesce(k.last_four, '')), coalesce(k.last_four, ''), g.last_four)
		       ) v (place, field, differs, before, after)
		 WHERE t.created_at <> now() AND ` + cardDiffers + `
		   AND v.differs`
	if _, err := job.tx.ExecContext(ctx, find); err != nil {
		return fmt.Errorf("compare with what is stored: %w", err)
	}
	_, err := job.tx.ExecContext(ctx, `ANALYZE differences`)
	return err
}

// changeCards brings the cards with a difference to what the file says, with an
// audit row for each token. The gateway has not told these details: who polls it
// asks again. Another number has another fingerprint.
func changeCards(ctx context.Context, job *importJob) error {
	const change = `
		INSERT INTO cards AS k (token_id, brand, last_four, expires)
		SELECT d.id, g.brand, g.last_four, g.expires
		  FROM (SELECT DISTINCT id, line FROM differences) d
		  JOIN staged g ON g.line = d.line
		 ORDER BY d.id
		ON CONFLICT (token_id) DO UPDATE
		   SET brand = coalesce(nullif(excluded.brand, ''), k.brand),
		       last_four = coalesce(nullif(excluded.last_four, ''), k.last_four),
		       expires = coalesce(excluded.expires, k.expires),
		       fingerprint = CASE WHEN k.last_four <> '' AND excluded.last_four NOT IN ('', k.last_four) THEN '' ELSE k.fingerprint END,
		       read_at = NULL`
	if _, err := job.tx.ExecContext(ctx, change); err != nil {
		return fmt.Errorf("change cards: %w", err)
	}
	const audit = `
		INSERT INTO audit (at, actor, action, merchant_account, object_kind, object, reason, before, after)
		SELECT clock_timestamp(), $1, 'import_token_change', d.merchant_account, $2, d.id::text, '',
		       jsonb_object_agg(d.field, d.before), jsonb_object_agg(d.field, d.after)
		  FROM differences d
		 GROUP BY d.merchant_account, d.id
		 ORDER BY min(d.line)`
	if _, err := job.tx.ExecContext(ctx, audit, job.req.Actor, auditKindToken); err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}

// insertCards keeps what the file tells of the cards of the tokens that it brought.
// Nobody else can see those tokens yet.
func insertCards(ctx context.Context, job *importJob) error {
	const insert = `
		INSERT INTO cards (token_id, brand, last_four, expires)
		SELECT t.id, g.brand, g.last_four, g.expires
		  FROM staged g
		  JOIN tokens t ON t.merchant_account = g.merchant_account AND t.token = g.token
		 WHERE t.created_at = now() AND (g.expires IS NOT NULL OR g.brand <> '' OR g.last_four <> '')
		 ORDER BY t.id`
	stored, err := job.exec(ctx, insert)
	if err != nil {
		return fmt.Errorf("store cards: %w", err)
	}
	return job.analyse(ctx, "cards", stored)
}
