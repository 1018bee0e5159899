package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/embeddedpg"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/migrations"
)

// A session is what a command needs to work: the configuration, the database
// brought up to date, and the merchant accounts known to it.
type session struct {
	config config.Config
	db     *postgres.DB
	stderr io.Writer // for what goes wrong while closing

	embedded *embeddedpg.Server // nil unless the database is a private one
}

// open loads the configuration and opens the database. The caller closes the
// session. An embedded database is started, and migrated, if need be; another
// one must have been migrated with `contauth migrate up`.
func (e *env) open(ctx context.Context) (*session, error) {
	cfg, err := e.loadConfig()
	if err != nil {
		return nil, err
	}
	return e.openWith(ctx, cfg)
}

func (e *env) openWith(ctx context.Context, cfg config.Config) (*session, error) {
	s, err := e.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, s.embedded != nil); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// connect opens the database as it is, starting a private one if need be.
func (e *env) connect(ctx context.Context, cfg config.Config) (_ *session, err error) {
	s := &session{config: cfg, stderr: e.stderr}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	dsn := cfg.Database.URL.Reveal()
	dir, private := cfg.Database.Embedded()
	if private {
		s.embedded, err = embeddedpg.Start(ctx, dir, embeddedpg.Options{
			Log: e.logger(),
			Say: func(line string) { fmt.Fprintln(e.stderr, line) },
		})
		if err != nil {
			return nil, err
		}
		dsn = s.embedded.DSN(embeddedpg.Database)
	}
	if s.db, err = postgres.Open(ctx, dsn, e.logger()); err != nil {
		return nil, fmt.Errorf("%w: check database.url (`contauth config show` prints it)", err)
	}
	return s, nil
}

// prepare migrates a private database, refuses one that is behind this program or
// ahead of it, and stores the configured merchant accounts.
func (s *session) prepare(ctx context.Context, private bool) error {
	if private {
		if err := migrations.Up(ctx, s.db.SQL()); err != nil {
			return err
		}
	}
	own, err := migrations.Status(ctx, s.db.SQL())
	if err != nil {
		return err
	}
	health, err := s.db.Health(ctx)
	if err != nil {
		return err
	}
	if err := migrationFault(own, health.Migrations); err != nil {
		return err
	}
	s.db.LimitShopperDay(s.config.Guards.MaxChargesPerShopperDay)
	return s.db.SyncAccounts(ctx, accountSettings(s.config))
}

func accountSettings(cfg config.Config) []postgres.AccountSettings {
	var accounts []postgres.AccountSettings
	for _, a := range cfg.MerchantAccounts {
		accounts = append(accounts, postgres.AccountSettings{
			ID: a.ID, Gateway: a.Gateway, Environment: a.Environment, BaseURL: endpoint(a), ReturnURL: a.ReturnURL,
			MaxInFlight: a.MaxInFlight, RatePerSecond: a.RatePerSecond, HourLimits: hourLimits(a),
		})
	}
	return accounts
}

func hourLimits(a config.MerchantAccount) postgres.HourLimits {
	limits := postgres.HourLimits{Charges: a.MaxChargesPerHour}
	for _, l := range a.MaxAmountPerHour {
		if limits.AmountMinor == nil {
			limits.AmountMinor = map[string]int64{}
		}
		limits.AmountMinor[l.Currency] = l.Minor
	}
	return limits
}

// close gives everything back. The last process that uses a private Postgres
// stops it.
func (s *session) close() {
	if s.db != nil {
		s.db.Close()
	}
	if s.embedded != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.embedded.Stop(ctx); err != nil {
			fmt.Fprintf(s.stderr, "contauth: stop embedded Postgres: %v\n", err)
		}
	}
}

// with opens the database for a command.
func (e *env) with(ctx context.Context, do func(*session) error) error {
	s, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s)
}

// withDecision opens the database for a command that a person must give a
// reason for.
func (e *env) withDecision(ctx context.Context, why string, do func(*session, billing.Decision) error) error {
	decision := billing.Decision{Actor: e.actor, Why: why}
	if err := decision.Validate(); err != nil {
		return usageError("%w: use --reason TEXT and --actor NAME", err)
	}
	return e.with(ctx, func(s *session) error { return do(s, decision) })
}

// withSchema opens the configured database as it is, migrated or not.
func (e *env) withSchema(ctx context.Context, do func(*session) error) error {
	cfg, err := e.loadConfig()
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s)
}
