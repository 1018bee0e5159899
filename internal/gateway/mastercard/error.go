package mastercard

import (
	"cmp"
	"slices"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// An Error is an operation that the gateway answered with result ERROR. Its texts
// are single lines without secrets. Ask with errors.As.
//
// It is billing.ErrUnknown and tokens.ErrUnanswered if the gateway may have acted
// all the same, and tokens.ErrNotFound if it has no such token.
type Error struct {
	Operation      string // apiOperation; empty for charges
	Status         int    // HTTP status
	Cause          Cause
	Explanation    string // the gateway's words
	Field          string // the gateway's name of what was wrong
	SupportCode    string // for the provider's support
	ValidationType ValidationType
	// Refusal is what that means to the owner of a token, as far as the gateway
	// tells; set for token operations only.
	Refusal tokens.Refusal
	// Advice says in words what was refused and what to do; it begins with
	// "perhaps" where the gateway does not tell.
	Advice string

	notFound bool
}

// asError reads the error fields of an answer.
func (a *answer) asError(operation string) *Error {
	return &Error{
		Operation:      operation,
		Status:         a.status,
		Cause:          Cause(a.masked("error.cause")),
		Explanation:    a.line("error.explanation"),
		Field:          a.masked("error.field"),
		SupportCode:    a.supportCode(),
		ValidationType: ValidationType(a.masked("error.validationType")),
	}
}

// supportCode returns the code as it came: it may have as many digits as a card,
// but never what we sent. What is shorter than a secret is none, as in gateway.Line.
func (a *answer) supportCode() string {
	const shortest = 4
	code := a.word("error.supportCode")
	if slices.ContainsFunc(a.secrets, func(s string) bool { return len(s) >= shortest && strings.Contains(code, s) }) {
		return ""
	}
	return code
}

func (e *Error) Error() string {
	text := cmp.Or(string(e.Cause), "an error without a cause") + ": " + e.words()
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// words are the gateway's own about the error.
func (e *Error) words() string {
	var parts []string
	if e.Field != "" {
		parts = append(parts, strings.TrimSpace(e.Field+" "+string(e.ValidationType)))
	}
	if e.Explanation != "" {
		parts = append(parts, e.Explanation)
	}
	if e.SupportCode != "" {
		parts = append(parts, "support code "+e.SupportCode)
	}
	if len(parts) == 0 {
		return "no explanation given"
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns what the error means.
func (e *Error) Unwrap() []error {
	switch {
	case e.notFound:
		return []error{tokens.ErrNotFound}
	case e.Cause != CauseInvalidRequest && e.Cause != CauseRequestRejected:
		return []error{billing.ErrUnknown, tokens.ErrUnanswered}
	}
	return nil
}
