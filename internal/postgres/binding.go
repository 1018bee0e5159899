package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/secret"
)

// A copy of the database, or a restored backup, knows nothing of what the
// original charged since. So live accounts are charged only by the database that
// a person bound to its server, and every claim for a live account looks.

// A ServerIdentity says which server a database is on, as far as that can be told.
type ServerIdentity struct {
	SystemIdentifier string `db:"system_identifier"` // of the cluster; copies share it
	Timeline         int    `db:"timeline"`          // another one after every restore or failover
	DatabaseOID      int64  `db:"database_oid"`
	Place            string `db:"place"` // where the server listens and, if it tells, keeps its data and since when
}

// differences says in words how the server is not the one that was bound.
func (bound ServerIdentity) differences(now ServerIdentity) []string {
	var found []string
	if bound.SystemIdentifier != now.SystemIdentifier {
		found = append(found, "it is on another cluster")
	}
	if bound.Timeline != now.Timeline {
		found = append(found, fmt.Sprintf("it was restored or failed over (timeline %d, was %d)", now.Timeline, bound.Timeline))
	}
	if bound.DatabaseOID != now.DatabaseOID {
		found = append(found, "it is another database of the cluster")
	}
	if bound.Place != now.Place {
		found = append(found, fmt.Sprintf("it is at %q, was at %q", now.Place, bound.Place))
	}
	return found
}

// A LiveCredential is what a process charges a live account with.
type LiveCredential struct {
	MerchantAccount string
	Key             secret.String
}

// A Binding says whether the database may charge live accounts.
type Binding struct {
	Bound   bool      // somebody bound it, and it is still the same
	BoundAt time.Time // zero if nobody ever did
	BoundBy string
	Now     ServerIdentity
	Changes []string // what is not as it was bound, in words
}

const identityQuery = `SELECT system_identifier, timeline, database_oid, place FROM server_identity()`

// isBound reports whether the server is the one that the database is bound to.
func isBound(ctx context.Context, q sqlx.QueryerContext) (bool, error) {
	const query = `
		SELECT EXISTS (SELECT FROM instance_binding b, server_identity() i
		                WHERE (b.system_identifier, b.timeline, b.database_oid, b.place) = (i.system_identifier, i.timeline, i.database_oid, i.place))`
	var bound bool
	if err := sqlx.GetContext(ctx, q, &bound, query); err != nil {
		return false, fmt.Errorf("compare the server with the one that was bound: %w", err)
	}
	return bound, nil
}

// Binding compares the server, and the credentials of the configuration, with
// what was bound.
func (db *DB) Binding(ctx context.Context, live []LiveCredential) (Binding, error) {
	var b Binding
	if err := db.sqlx.GetContext(ctx, &b.Now, identityQuery); err != nil {
		return b, fmt.Errorf("read which server this is: %w", unavailable(err))
	}
	const query = `SELECT system_identifier, timeline, database_oid, place, credentials, bound_at, bound_by FROM instance_binding`
	var row struct {
		ServerIdentity
		Credentials []byte    `db:"credentials"`
		BoundAt     time.Time `db:"bound_at"`
		BoundBy     string    `db:"bound_by"`
	}
	if err := db.sqlx.GetContext(ctx, &row, query); errors.Is(err, sql.ErrNoRows) {
		b.Changes = []string{"nobody has bound it yet"}
		return b, nil
	} else if err != nil {
		return b, fmt.Errorf("read binding: %w", unavailable(err))
	}
	fingerprint, err := db.fingerprint(ctx, live)
	if err != nil {
		return b, err
	}
	b.BoundAt, b.BoundBy = row.BoundAt.UTC(), row.BoundBy
	b.Changes = row.ServerIdentity.differences(b.Now)
	if !hmac.Equal(row.Credentials, fingerprint) {
		b.Changes = append(b.Changes, "the live credentials of the configuration are others")
	}
	b.Bound = len(b.Changes) == 0
	return b, nil
}

// Bind allows the database, on the server where it is now and with these
// credentials, to charge live accounts. Whoever asks has made sure that no other
// copy of it does, and that it lacks no charge that the gateway knows.
func (db *DB) Bind(ctx context.Context, live []LiveCredential, by billing.Decision) error {
	if err := by.Validate(); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	fingerprint, err := db.fingerprint(ctx, live)
	if err != nil {
		return err
	}
	return db.inTx(ctx, "bind", func(tx *sqlx.Tx) error {
		const bind = `
			INSERT INTO instance_binding (system_identifier, timeline, database_oid, place, credentials, bound_at, bound_by)
			SELECT system_identifier, timeline, database_oid, place, $1, clock_timestamp(), $2 FROM server_identity()
			ON CONFLICT (only_row) DO UPDATE
			   SET system_identifier = excluded.system_identifier, timeline = excluded.timeline, database_oid = excluded.database_oid,
			       place = excluded.place, credentials = excluded.credentials, bound_at = excluded.bound_at, bound_by = excluded.bound_by`
		if _, err := tx.ExecContext(ctx, bind, fingerprint, by.Actor); err != nil {
			return fmt.Errorf("store binding: %w", err)
		}
		var now ServerIdentity
		if err := tx.GetContext(ctx, &now, identityQuery); err != nil {
			return fmt.Errorf("read which server this is: %w", err)
		}
		return recordAudit(ctx, tx, auditEntry{
			Actor: by.Actor, Action: "bind", ObjectKind: auditKindInstance, Object: "binding", Reason: by.Why,
			After: map[string]any{"system_identifier": now.SystemIdentifier, "timeline": now.Timeline, "database_oid": now.DatabaseOID, "place": now.Place},
		})
	})
}

// fingerprint is a keyed hash of credentials, which tells nothing about them.
func (db *DB) fingerprint(ctx context.Context, live []LiveCredential) ([]byte, error) {
	key, err := db.KeySecret(ctx)
	if err != nil {
		return nil, err
	}
	live = slices.Clone(live)
	slices.SortFunc(live, func(a, b LiveCredential) int { return strings.Compare(a.MerchantAccount, b.MerchantAccount) })
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("live credentials"))
	for _, c := range live {
		for _, field := range []string{c.MerchantAccount, c.Key.Reveal()} {
			mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field))))
			mac.Write([]byte(field))
		}
	}
	return mac.Sum(nil), nil
}
