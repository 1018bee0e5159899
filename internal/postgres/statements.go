package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// hotStatements are those of the money path, prepared once a connection:
// parsing and planning them anew took the server longer than a small group of
// charges. The others are too rare to matter.
type hotStatements struct {
	lockAccount   *sqlx.Stmt
	readSettings  *sqlx.Stmt
	readSlots     *sqlx.Stmt
	lease         *sqlx.Stmt
	rememberClaim *sqlx.Stmt
	settle        *sqlx.Stmt
}

// prepared returns the hot statements, and prepares them for the first who needs
// them: before that the database may not have its tables yet. It must not be
// called within a transaction: it may need a connection of its own.
func (db *DB) prepared(ctx context.Context) (*hotStatements, error) {
	db.hotMu.Lock()
	defer db.hotMu.Unlock()
	if db.hot != nil {
		return db.hot, nil
	}
	var hot hotStatements
	var made []*sqlx.Stmt
	for _, one := range []struct {
		target **sqlx.Stmt
		query  string
	}{
		{&hot.lockAccount, lockAccountQuery},
		{&hot.readSettings, readSettingsQuery},
		{&hot.readSlots, readSlotsQuery},
		{&hot.lease, leaseDueQuery},
		{&hot.rememberClaim, rememberClaimQuery},
		{&hot.settle, settleQuery},
	} {
		stmt, err := db.sqlx.PreparexContext(ctx, one.query)
		if err != nil {
			for _, stmt := range made {
				stmt.Close()
			}
			return nil, fmt.Errorf("prepare statements: %w", unavailable(err))
		}
		*one.target = stmt
		made = append(made, stmt)
	}
	db.hot = &hot
	return db.hot, nil
}
