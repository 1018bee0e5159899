package main

import (
	"context"
	"fmt"
	"io"
	"os/user"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
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
	inDemo     bool   // a demo typed this command, and shares its process with it

	// understood says that the command line made sense: errors before that are
	// errors of usage.
	understood bool

	// exit is the code of a command that did its work without an error but
	// has something to tell, such as exitDeclined.
	exit int
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
	fmt.Fprintf(e.stderr, "contauth: %s\n", plainWords(err))
	return errorCode(err, e.understood)
}

func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "contauth",
		Short:         "Charge stored cards on time, once, and prove it",
		Version:       programVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,

		PersistentPreRun: func(*cobra.Command, []string) { e.understood = true },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&e.configPath, "config", "", "configuration `FILE` (default \"contauth.yaml\")")
	flags.BoolVar(&e.json, "json", false, "print JSON for programs instead of text for people")
	flags.StringVar(&e.actor, "actor", osUser(), "`NAME` of the person or program who asks, kept in the audit table")
	flags.BoolVar(&e.verbose, "verbose", false, "log what happens inside, on standard error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	return group(root,
		newBenchCommand(e),
		newBenchWorkerCommand(e),
		newChargesCommand(e),
		newCheckCommand(e),
		newClockCommand(e),
		newConfigCommand(e),
		newDemoCommand(e),
		newDoctorCommand(e),
		newExplainCommand(e),
		newImportCommand(e),
		newMigrateCommand(e),
		newPauseCommand(e),
		newRunCommand(e),
		newSandboxCommand(e),
		newScheduleCommand(e),
		newServeCommand(e),
		newSubscriptionsCommand(e),
		newTokensCommand(e),
		newUnpauseCommand(e),
		newWebhooksCommand(e),
	)
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
