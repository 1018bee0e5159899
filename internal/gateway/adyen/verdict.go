package adyen

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// Adyen's error codes that decide. They are text: some have leading zeros.
const (
	errorNotAllowed      = "010"
	errorInProgress      = "704" // the same key is being worked on, or was
	errorRateLimited     = "705"
	errorContractUnknown = "800" // no stored details for the shopper
	errorTokenUnknown    = "803" // the token does not exist for the shopper
	errorMerchantAccount = "901"
)

// maxRetryAfter bounds what a gateway can make us wait, in seconds.
const maxRetryAfter = 3600

// verdict says what an answer with an error status means for the money. bodyErr
// is not nil if its body could not be read.
//
// Whatever is not known to mean "not processed" is unknown: that only costs
// another look with the same key.
func verdict(from gateway.Answer, bodyErr error, secrets []string) error {
	var a answer
	readable := bodyErr == nil && isJSON(from.Header) && a.parse(from.Body) == nil
	if !readable {
		a = answer{}
	}
	no := &billing.NotProcessedError{
		Status:  from.Status,
		Code:    line(a.errorCode, maxWord, secrets),
		Message: line(a.message, maxLine, secrets),
	}
	transient := from.Header.Get("Transient-Error") == "true"
	switch {
	case no.Code == errorInProgress:
		return fmt.Errorf("%w: HTTP %d, code %s", billing.ErrInProgress, from.Status, no.Code)
	case from.Status == http.StatusConflict:
		return unknownStatus(no, bodyErr)
	case from.Status == http.StatusTooManyRequests, no.Code == errorRateLimited,
		from.Status == http.StatusServiceUnavailable && transient:
		no.Scope, no.RetryAfter = billing.ScopeNow, retryAfter(from.Header)
	case isAccountFault(from.Status):
		no.Scope = billing.ScopeAccount
	case from.Status == http.StatusUnprocessableEntity && readable && len(a.errorCode) > 0:
		no.Scope, no.Counted = storedScope(no.Code), true
	case from.Status == http.StatusInternalServerError && readable && isPermanent(a.errorType):
		no.Scope, no.Counted = storedScope(no.Code), true
	default:
		return unknownStatus(no, bodyErr)
	}
	if no.Message == "" {
		no.Message = http.StatusText(from.Status)
	}
	return no
}

// unknownStatus is the error of an answer that leaves the outcome open.
func unknownStatus(no *billing.NotProcessedError, bodyErr error) error {
	switch {
	case bodyErr != nil:
		return bodyErr // unknown too, and says what was wrong with the body
	case no.Code == "":
		return fmt.Errorf("%w: HTTP %d without a readable error", billing.ErrUnknown, no.Status)
	}
	return fmt.Errorf("%w: HTTP %d, code %s: %s", billing.ErrUnknown, no.Status, no.Code, no.Message)
}

// isAccountFault reports whether a status says that every request of the
// account would be turned away alike: by credentials, address or method, by a
// permanent redirect of the address (301), or (400) because the shape of what this
// program sends is not understood.
func isAccountFault(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
		return true
	}
	return false
}

// isPermanent reports whether a 500 of this errorType was decided before the
// payment: the same body would be answered alike.
func isPermanent(errorType []byte) bool {
	switch string(errorType) {
	case "validation", "configuration", "security":
		return true
	}
	return false
}

// storedScope says how far an error reaches that Adyen keeps under the key.
func storedScope(code string) billing.Scope {
	switch code {
	case errorContractUnknown, errorTokenUnknown:
		return billing.ScopeToken
	case errorNotAllowed, errorMerchantAccount:
		return billing.ScopeAccount
	}
	return billing.ScopeCharge
}

// retryAfter reads Retry-After, in seconds: a number, or a date, counted from
// the answer's own Date so that two clocks need not agree. 0 means not said.
func retryAfter(h http.Header) int {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return min(max(seconds, 0), maxRetryAfter)
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = time.Now()
	}
	return min(max(int(until.Sub(from)/time.Second), 0), maxRetryAfter)
}
