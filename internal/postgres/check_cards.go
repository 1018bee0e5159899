package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// A textColumn is a column that could hold what somebody wrote.
type textColumn struct {
	Table string `db:"table_name"`
	Name  string `db:"column_name"`
}

// findCardData is I13: it reads every text of every table. The database picks
// what has enough digits, HoldsCardData decides. What a gateway made up (tokens,
// its references) and hashes may pass for card numbers by chance.
func findCardData(ctx context.Context, c *checker, f *findings) error {
	const query = `
		SELECT c.table_name, c.column_name
		  FROM information_schema.columns c
		  JOIN information_schema.tables t USING (table_schema, table_name)
		 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
		   AND c.data_type IN ('text', 'character varying', 'character', 'json', 'jsonb')
		   AND (c.table_name, c.column_name) <> ('tokens', 'token')
		   AND c.column_name <> 'gateway_reference' AND c.column_name NOT LIKE '%hash'
		 ORDER BY c.table_name, c.ordinal_position`
	var columns []textColumn
	if err := c.tx.SelectContext(ctx, &columns, query); err != nil {
		return fmt.Errorf("list the columns: %w", err)
	}
	for len(columns) > 0 {
		n := 1
		for n < len(columns) && columns[n].Table == columns[0].Table {
			n++
		}
		if err := findCardDataIn(ctx, c, f, columns[:n]); err != nil {
			return fmt.Errorf("read table %s: %w", columns[0].Table, err)
		}
		columns = columns[n:]
	}
	return nil
}

// findCardDataIn reads the columns of one table.
func findCardDataIn(ctx context.Context, c *checker, f *findings, columns []textColumn) error {
	values := make([]string, len(columns))
	for i, column := range columns {
		values[i] = fmt.Sprintf("(%s, t.%s::text)", pq.QuoteLiteral(column.Name), pq.QuoteIdentifier(column.Name))
	}
	query := fmt.Sprintf(`
		SELECT k.name, k.value, coalesce(to_jsonb(t) ->> 'id', t.ctid::text) AS row
		  FROM public.%s t CROSS JOIN LATERAL (VALUES %s) k (name, value)
		 WHERE length(k.value) >= 7
		   AND (k.value ~ '[0-9]([ -]?[0-9]){12}' OR k.value ~* '(c[vs][cv]|cv2|cid|security).*[0-9]{3}')`,
		pq.QuoteIdentifier(columns[0].Table), strings.Join(values, ", "))
	rows, err := c.tx.QueryxContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	return addCardData(rows, c, f, columns[0].Table)
}

func addCardData(rows *sqlx.Rows, c *checker, f *findings, table string) error {
	for rows.Next() {
		var column, value, row string
		if err := rows.Scan(&column, &value, &row); err != nil {
			return err
		}
		if c.req.HoldsCardData(value) {
			f.add(1, fmt.Sprintf("%s.%s of row %s", table, column, row)) // never the value
		}
	}
	return rows.Err()
}
