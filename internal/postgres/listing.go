package postgres

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// conditions builds the WHERE clause of a list: only what the filter names, so
// that Postgres sees which index serves it.
type conditions struct {
	terms []string
	args  []any
}

// addIf adds a condition whose %s stands for the value.
func (c *conditions) addIf(wanted bool, condition string, value any) {
	if wanted {
		c.terms = append(c.terms, fmt.Sprintf(condition, c.parameter(value)))
	}
}

func (c *conditions) parameter(value any) string {
	c.args = append(c.args, value)
	return fmt.Sprintf("$%d", len(c.args))
}

func (c *conditions) clause() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// limit returns the LIMIT clause of at most n rows, nothing for 0.
func (c *conditions) limit(n int) string {
	if n == 0 {
		return ""
	}
	return " LIMIT " + c.parameter(n)
}

// stream yields the rows of a query one by one as they arrive: memory does not
// grow with their number. It holds a connection until the caller is done.
func stream[Row, Item any](ctx context.Context, db *DB, doing, query string, args []any, item func(Row) Item) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var none Item
		rows, err := db.sqlx.QueryxContext(ctx, query, args...)
		if err != nil {
			yield(none, fmt.Errorf("%s: %w", doing, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var row Row
			if err := rows.StructScan(&row); err != nil {
				yield(none, fmt.Errorf("%s: %w", doing, err))
				return
			}
			if !yield(item(row), nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, fmt.Errorf("%s: %w", doing, err))
		}
	}
}
