package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/config"
)

// loadConfig reads the configuration that --config names, with the
// environment over it. Without --config a missing ./contauth.yaml means the
// defaults; a file that was named must be there.
func (e *env) loadConfig() (config.Config, error) {
	sources := config.Sources{
		File:         e.configPath,
		FileRequired: e.configPath != "",
		Lookup:       e.lookup,
		Environ:      e.environ,
		ReadFile:     os.ReadFile,
	}
	if sources.File == "" {
		sources.File = config.DefaultFile
	}
	return config.Load(sources)
}

func newConfigCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "See the settings as contauth understands them",
	}, newConfigShowCommand(e))
}

func newConfigShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the settings in force, credentials redacted",
		Long: `Print the settings in force: the defaults, the file over them, and the
environment over both. Credentials and the database's password are redacted.
Whatever is wrong is told at once, one line a fault, and the exit code is 1.`,
		Example: "  contauth config show\n  contauth config show --config /etc/contauth.yaml --json",
		Args:    exactArgs(0, "flags"),
		RunE: func(*cobra.Command, []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return fmt.Errorf("config show: %w", err)
			}
			if e.json {
				return c.DumpJSON(e.stdout)
			}
			return c.Dump(e.stdout)
		},
	}
}
