package mastercard

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/contauth/contauth/billing"
)

// A Cause is why an operation ended in an error (Transaction errors).
type Cause string

const (
	CauseInvalidRequest  Cause = "INVALID_REQUEST"  // the request is wrong
	CauseRequestRejected Cause = "REQUEST_REJECTED" // credentials, certificate or a firewall's rule
	CauseServerBusy      Cause = "SERVER_BUSY"      // the identical request later; money may have moved
	CauseServerFailed    Cause = "SERVER_FAILED"    // the same
)

// A ValidationType says what was wrong with the field that an error names.
type ValidationType string

const (
	ValidationInvalid     ValidationType = "INVALID"     // a value that did not pass
	ValidationMissing     ValidationType = "MISSING"     // a mandatory field is absent
	ValidationUnsupported ValidationType = "UNSUPPORTED" // a field that this operation does not have
)

// maxRetryAfter bounds what a gateway can make us wait, in seconds.
const maxRetryAfter = 3600

// failure says what an answer that tells no outcome means for the money of a
// charge; nil if it does tell one. A body with a result wins over the status.
//
// Whatever is not known to mean "not processed" is unknown: that only costs
// another look.
func (a *answer) failure() error {
	switch {
	case a.fields == nil:
		return a.bareStatus()
	case a.result() == ResultError:
		return a.refusal()
	}
	return nil
}

// refusal says what an error means for the money.
//
// INVALID_REQUEST is refused before anything is processed (inferred from its
// documented next step, to correct the request). Whether the gateway keeps that
// answer under the ids is not verified, so it counts: the next try has a new
// transaction.id, which is right in both cases. Two kinds do not count. What
// every request of the account has alike stops the account, with nothing spent.
// And a complaint about the ids or references leaves the outcome open: it may say
// that they were used before, by a copy that was processed.
func (a *answer) refusal() error {
	e := a.asError("")
	no := &billing.NotProcessedError{Scope: billing.ScopeCharge, Status: a.status, Code: string(e.Cause), Message: e.words()}
	switch {
	case e.isAccountFault():
		no.Scope = billing.ScopeAccount
	case e.Cause != CauseInvalidRequest:
		return fmt.Errorf("%w: %w", billing.ErrUnknown, e)
	case slices.Contains(identityFields, e.Field):
		return fmt.Errorf("%w: the ids were perhaps used before: %w", billing.ErrUnknown, e)
	case e.Field == fieldToken:
		no.Scope, no.Counted = billing.ScopeToken, true
	default:
		no.Counted = true
	}
	return no
}

// fieldToken names the stored token in charges.
const fieldToken = "sourceOfFunds.token"

var (
	// identityFields make a request the one it is.
	identityFields = []string{"order.id", "transaction.id", "order.reference", "transaction.reference"}

	// accountFields have the same value in every charge of an account.
	accountFields = []string{
		"apiOperation", "apiUsername", "apiPassword", "merchant", "transaction.source", "sourceOfFunds.type",
		"sourceOfFunds.provided.card.storedOnFile",
	}

	// accountWords are in explanations of wrong credentials and privileges (seen:
	// "Invalid credentials."; "Authenticated entity not authorised to perform
	// operation for target entity"; "Pay request not permitted for this merchant").
	// Explanations have no promised form, so they are believed only here, where a
	// mistake costs nothing but a stop.
	accountWords = []string{"credential", "not authorised", "not authorized", "not permitted for this merchant"}
)

// isAccountFault reports whether every request of the account would be turned
// away alike. Wrong credentials have the cause INVALID_REQUEST too, and only the
// status or the words tell (API error handling).
func (e *Error) isAccountFault() bool {
	switch e.Cause {
	case CauseRequestRejected:
		return true
	case CauseInvalidRequest:
	default:
		return false
	}
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden ||
		e.ValidationType == ValidationUnsupported || slices.Contains(accountFields, e.Field) ||
		slices.ContainsFunc(accountWords, func(word string) bool { return strings.Contains(strings.ToLower(e.Explanation), word) })
}

// bareStatus says what an answer without a readable body means. Some statuses are
// given before a request is looked at, by whatever stands there; none of them is
// documented for this protocol (not verified), and 503 least of all: it may come
// from a server that had begun.
func (a *answer) bareStatus() error {
	no := &billing.NotProcessedError{Status: a.status, Message: http.StatusText(a.status)}
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge:
		no.Scope = billing.ScopeAccount
		return no
	case http.StatusTooManyRequests:
		no.Scope, no.RetryAfter = billing.ScopeNow, retryAfter(a.header)
		return no
	}
	if a.received != nil {
		return a.received // unknown too, and says what was wrong with the body
	}
	return fmt.Errorf("%w: HTTP %d: %w", billing.ErrUnknown, a.status, a.bad)
}

// retryAfter reads Retry-After in seconds; 0 means not said.
func retryAfter(h http.Header) int {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return min(max(seconds, 0), maxRetryAfter)
}
