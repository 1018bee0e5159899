package billing

import (
	"errors"
	"fmt"

	"github.com/contauth/contauth/tokens"
)

// What went wrong, as a meaning that a caller can act on. Ask with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("no longer in the state this needs") // someone else was first
	ErrInvalid  = tokens.ErrInvalid                               // the input cannot be right, that of a token included
	ErrUnknown  = errors.New("outcome unknown")                   // the gateway may or may not have acted
	ErrNotSent  = errors.New("not sent")                          // no byte of the request left

	// Two special ways of not knowing; each also is ErrUnknown.
	ErrMismatch   = fmt.Errorf("%w: the answer is about another payment", ErrUnknown)
	ErrInProgress = fmt.Errorf("%w: the gateway works on an earlier copy", ErrUnknown)
)

// A Scope says how much a refusal to process stops.
type Scope string

const (
	ScopeCharge  Scope = "charge"  // this charge alone, as it stands
	ScopeToken   Scope = "token"   // every charge of this token
	ScopeAccount Scope = "account" // every charge of this merchant account
	ScopeNow     Scope = "now"     // nothing is wrong but the moment: the same request later
)

// A NotProcessedError says that the gateway answered without trying the
// charge: no card was touched. Ask with errors.As.
type NotProcessedError struct {
	Scope Scope
	// Counted says that the gateway stored this answer under the key of the
	// attempt, so that another try needs the next number (charge protocol, step 5).
	Counted bool
	Status  int    // HTTP status
	Code    string // the gateway's own error code, as text
	Message string // the gateway's words, cut to a line; never a secret
	// RetryAfter is how long the gateway asked us to stay away, in seconds;
	// 0 when it did not say.
	RetryAfter int
}

func (e *NotProcessedError) Error() string {
	return fmt.Sprintf("not processed (%s): HTTP %d, code %s: %s", e.Scope, e.Status, e.Code, e.Message)
}
