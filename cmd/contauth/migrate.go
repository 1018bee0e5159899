package main

import (
	"context"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/migrations"
)

func newMigrateCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date, or back",
	}, newMigrateUpCommand(e), newMigrateDownCommand(e), newMigrateStatusCommand(e))
}

func newMigrateUpCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Apply every migration that the database lacks",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withSchema(cmd.Context(), func(s *session) error {
				if err := migrations.Up(cmd.Context(), s.db.SQL()); err != nil {
					return err
				}
				return e.printMigrations(cmd.Context(), s)
			})
		},
	}
}

func newMigrateDownCommand(e *env) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "down --yes",
		Short: "Take the newest migration back; what it stored is lost",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withSchema(cmd.Context(), func(s *session) error {
				newest, err := newestMigration(cmd.Context(), s)
				if err != nil {
					return err
				}
				if newest == "" {
					return refusedError("migrate down: the database has no migration to take back")
				}
				if !yes {
					return refusedError("migrate down: this takes %s back, and what it stored is lost: repeat it with --yes", newest)
				}
				if err := migrations.Down(cmd.Context(), s.db.SQL()); err != nil {
					return err
				}
				return e.printMigrations(cmd.Context(), s)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// newestMigration returns the file name of the newest step that the database
// has, "" if it has none.
func newestMigration(ctx context.Context, s *session) (string, error) {
	steps, err := migrations.Status(ctx, s.db.SQL())
	if err != nil {
		return "", err
	}
	newest := ""
	for _, step := range steps {
		if step.Applied {
			newest = filepath.Base(step.Name)
		}
	}
	return newest, nil
}

func newMigrateStatusCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the migrations and whether the database has them",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withSchema(cmd.Context(), func(s *session) error { return e.printMigrations(cmd.Context(), s) })
		},
	}
}

// migrationJSON is one migration as --json shows it.
type migrationJSON struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

func (e *env) printMigrations(ctx context.Context, s *session) error {
	steps, err := migrations.Status(ctx, s.db.SQL())
	if err != nil {
		return err
	}
	if e.json {
		for _, step := range steps {
			if err := e.printJSON(migrationJSON{step.Version, filepath.Base(step.Name), step.Applied}); err != nil {
				return err
			}
		}
		return nil
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Migration", "Applied"})
	for _, step := range steps {
		applied := "no"
		if step.Applied {
			applied = "yes"
		}
		t.AppendRow(table.Row{filepath.Base(step.Name), applied})
	}
	t.Render()
	return nil
}
