package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// The exit codes, in the order in which they win when several hold:
// 1, 2, 6, 5, 4, 3, 0.
const (
	exitDone       = 0
	exitFailure    = 1
	exitUsage      = 2
	exitNothingDue = 3
	exitDeclined   = 4
	exitUnknown    = 5
	exitRefused    = 6
)

// env is all that a command may touch of the world around the process, so
// that a test can be that world.
type env struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
	environ        func() []string

	configPath string // --config; "" = ./contauth.yaml, which need not exist
	json       bool   // --json
	actor      string // --actor; who is asking, for the audit table
	verbose    bool   // --verbose

	// understood says that the command line made sense: errors before that are
	// errors of usage.
	understood bool

	// exit is the code of a command that did its work without an error but
	// has something to tell, such as exitDeclined.
	exit int
}

// An exitError is an error that ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func refusedError(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...)}
}

// run executes one command line and returns the exit code. Every error is
// printed here, once, as one line.
func run(ctx context.Context, e *env) int {
	root := newRootCommand(e)
	root.SetArgs(e.args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return e.exit
	}
	fmt.Fprintf(e.stderr, "contauth: %v\n", err)
	switch exit := (*exitError)(nil); {
	case errors.As(err, &exit):
		return exit.code
	case !e.understood:
		return exitUsage
	default:
		return exitFailure
	}
}

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "contauth",
		Short:         "Charge stored cards on time, once, and prove it",
		Version:       programVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRun: func(*cobra.Command, []string) { e.understood = true },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&e.configPath, "config", "", "configuration `FILE` (default \"contauth.yaml\")")
	flags.BoolVar(&e.json, "json", false, "print JSON for programs instead of text for people")
	flags.StringVar(&e.actor, "actor", osUser(), "`NAME` of the person or program who asks, kept in the audit table")
	flags.BoolVar(&e.verbose, "verbose", false, "log what happens inside, on standard error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(newConfigCommand(e), newImportCommand(e), newSandboxCommand(e), newRunCommand(e))
	root.AddCommand(newBenchCommand(e), newBenchWorkerCommand(e))
	root.AddCommand(newChargesCommand(e))
	root.AddCommand(newCheckCommand(e))
	root.AddCommand(newClockCommand(e))
	root.AddCommand(newDemoCommand(e))
	root.AddCommand(newMigrateCommand(e))
	root.AddCommand(newPauseCommand(e))
	root.AddCommand(newSubscriptionsCommand(e))
	root.AddCommand(newUnpauseCommand(e))
	return root
}

// logger writes to standard error: warnings and errors, or with --verbose
// everything, so that standard output stays what the command answers.
func (e *env) logger() hclog.Logger {
	level := hclog.Warn
	if e.verbose {
		level = hclog.Debug
	}
	return hclog.New(&hclog.LoggerOptions{Name: "contauth", Level: level, Output: e.stderr})
}

func osUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
