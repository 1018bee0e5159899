package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
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

// exitMeanings says in words what an exit code other than 0 tells.
var exitMeanings = map[int]string{
	exitFailure:    "failure",
	exitUsage:      "usage",
	exitNothingDue: "nothing was due",
	exitDeclined:   "some were declined",
	exitUnknown:    "some outcomes are unknown",
	exitRefused:    "refused by a cap or a guard",
}

// An exitError is an error that ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is for a command line that cannot be obeyed.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// refusedError is for what a cap or a guard keeps from happening.
func refusedError(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...)}
}

// errorCode is the exit code for an error. understood says that the command
// line made sense; errors before that are errors of usage.
func errorCode(err error, understood bool) int {
	switch exit := (*exitError)(nil); {
	case errors.As(err, &exit):
		return exit.code
	case !understood:
		return exitUsage
	default:
		return exitFailure
	}
}

// plainWords is an error as a person reads it. What programs tell apart, such as
// "no longer in the state this needs", stands behind sentences that say why, and
// is left out there.
func plainWords(err error) string {
	text := err.Error()
	for _, sentinel := range []error{billing.ErrConflict, billing.ErrInvalid, tokens.ErrInvalid} {
		if errors.Is(err, sentinel) {
			text = strings.TrimSuffix(text, ": "+sentinel.Error())
		}
	}
	return text
}

// noSuch says in plain words that a thing is not there, if that is what err
// means: there is no run 99. list is the command that shows what is there.
func noSuch(kind, name, list string, err error) error {
	if errors.Is(err, billing.ErrNotFound) {
		return fmt.Errorf("there is no %s %s: `contauth %s` shows them", kind, name, list)
	}
	return err
}

// exitCode says in one number how a run went; the worst news wins.
func exitCode(report scheduler.Report) int {
	var unknown, declined, planned int64
	for _, t := range report.Totals {
		unknown += t.Unknown.Count
		declined += t.Unpaid.Count + t.Retrying.Count
		planned += t.Planned.Count
	}
	for _, d := range report.Declines {
		declined += d.Count
	}
	switch {
	case unknown > 0:
		return exitUnknown
	case declined > 0:
		return exitDeclined
	case planned == 0:
		return exitNothingDue
	default:
		return exitDone
	}
}
