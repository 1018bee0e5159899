package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

func TestPlainWords(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a conflict that says why", fmt.Errorf("run 5 is completed and cannot become aborted: %w", billing.ErrConflict),
			"run 5 is completed and cannot become aborted"},
		{"wrapped with a code of its own", usageError("--as-of: %w", fmt.Errorf("%q is no date: %w", "soon", billing.ErrInvalid)),
			`--as-of: "soon" is no date`},
		{"of the other package's kind", fmt.Errorf("want a token: %w", tokens.ErrInvalid), "want a token"},
		{"the word is part of the sentence", fmt.Errorf("%w currency: want an ISO 4217 code", billing.ErrInvalid),
			"invalid currency: want an ISO 4217 code"},
		{"what is not found is the news", fmt.Errorf("token 5: %w", billing.ErrNotFound), "token 5: not found"},
		{"the same words of somebody else", errors.New("certificate of the database: invalid"), "certificate of the database: invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := plainWords(tt.err); got != tt.want {
				t.Errorf("plainWords = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorCode(t *testing.T) {
	tests := []struct {
		name       string
		err        error
		understood bool
		want       int
	}{
		{"a fault on the way", errors.New("connection refused"), true, exitFailure},
		{"a command that does not exist", errors.New("unknown command"), false, exitUsage},
		{"a code of its own, wrapped", fmt.Errorf("start: %w", refusedError("too much")), true, exitRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := errorCode(tt.err, tt.understood); got != tt.want {
				t.Errorf("errorCode = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestCounted(t *testing.T) {
	for n, want := range map[int]string{0: "0 cycles are", 1: "1 cycle is", 2: "2 cycles are"} {
		if got := counted(n, "cycle") + " " + isOrAre(n); got != want {
			t.Errorf("counted and isOrAre of %d: %q, want %q", n, got, want)
		}
	}
}

// What is not there is told in a sentence, with the command that shows what is.
func TestCommands_sayThatAThingIsNotThere(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	for line, want := range map[string]string{
		"run show 99":                         "there is no run 99: `contauth run list` shows them",
		"run start 99 --yes":                  "there is no run 99: `contauth run list` shows them",
		"run resume 99":                       "there is no run 99: `contauth run list` shows them",
		"run abort 99 --reason fire":          "there is no run 99: `contauth run list` shows them",
		"charges show gone":                   "there is no charge gone: `contauth charges list` shows them",
		"charges hold 99 --reason fire":       "there is no charge 99: `contauth charges list` shows them",
		"subscriptions show 99":               "there is no subscription 99: `contauth subscriptions list` shows them",
		"subscriptions pause 99 --reason ill": "there is no subscription 99: `contauth subscriptions list` shows them",
		"pause --gateway gone --reason fire":  "there is no gateway gone in the configuration: `contauth config show` prints it",
		"unpause --gateway gone --reason out": "gateway gone is not paused: `contauth pause --list` shows what is",
	} {
		if _, stderr, code := d.types(line); code != exitFailure || stderr != "contauth: "+want+"\n" {
			t.Errorf("contauth %s: exit code %d, %q; want %d, %q", line, code, stderr, exitFailure, want)
		}
	}
}

func TestRun_decisionsSayWhyNot(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	d.must("run plan")
	if got, want := d.must("run abort 1 --reason 'wrong day'"), "Run 1 is aborted.\n"; got != want {
		t.Errorf("abort: %q, want %q", got, want)
	}
	_, stderr, code := d.types("run abort 1 --reason 'once more'")
	if want := "contauth: abort run: run 1 is aborted and cannot become aborted\n"; code != exitFailure || stderr != want {
		t.Errorf("a second abort: exit code %d, %q; want %d, %q", code, stderr, exitFailure, want)
	}
}

// A database that is not there is told with the setting that names it, whether
// that came from a file or from the environment.
func TestOpen_saysWhichSettingNamesTheDatabase(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, env: map[string]string{"CONTAUTH_DATABASE_URL": "postgres://nobody@127.0.0.1:1/none?sslmode=disable"}}
	_, stderr, code := d.types("run list")
	if want := ": check database.url (`contauth config show` prints it)\n"; code != exitFailure || !strings.HasSuffix(stderr, want) {
		t.Errorf("exit code %d, %q; want %d and the end %q", code, stderr, exitFailure, want)
	}
}
