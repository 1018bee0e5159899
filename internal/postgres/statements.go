package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jmoiron/sqlx"
)

// hotStatements are those of the money path, prepared once a connection:
// parsing and planning them anew took the server longer than a small group of
// charges. The others are too rare to matter.
type hotStatements struct {
	lockAccount   *sqlx.Stmt
	isStopped     *sqlx.Stmt
	readSlots     *sqlx.Stmt
	lease         *sqlx.Stmt
	rememberClaim *sqlx.Stmt
	settle        *sqlx.Stmt
}

// hot holds the hot statements once someone needed them. Before that the
// database may not have its tables yet.
type hot struct {
	mu         sync.Mutex
	statements *hotStatements
}

// hotStatements returns the prepared statements. It must not be called within
// a transaction: it may need a connection of its own.
func (db *DB) hotStatements(ctx context.Context) (*hotStatements, error) {
	db.hot.mu.Lock()
	defer db.hot.mu.Unlock()
	if db.hot.statements != nil {
		return db.hot.statements, nil
	}
	var s hotStatements
	for _, one := range []struct {
		target **sqlx.Stmt
		query  string
	}{
		{&s.lockAccount, lockAccountQuery},
		{&s.isStopped, isStoppedQuery},
		{&s.readSlots, readSlotsQuery},
		{&s.lease, claimQuery},
		{&s.rememberClaim, rememberClaimQuery},
		{&s.settle, settleQuery},
	} {
		stmt, err := db.sqlx.PreparexContext(ctx, one.query)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("prepare statements: %w", unavailable(err))
		}
		*one.target = stmt
	}
	db.hot.statements = &s
	return &s, nil
}

// close gives up what was prepared.
func (s *hotStatements) close() {
	for _, stmt := range []*sqlx.Stmt{s.lockAccount, s.isStopped, s.readSlots, s.lease, s.rememberClaim, s.settle} {
		if stmt != nil {
			stmt.Close()
		}
	}
}
