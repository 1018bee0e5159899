package billing

import (
	"fmt"
	"strconv"
	"strings"
)

const maxReference = 36 // a UUID fits; with "~cycle" and "~attempt" it still fits every gateway

// ValidateReference checks the merchant's name of a subscription or of a charge:
// 1 to 36 letters, digits, dots, dashes, underscores and slashes. A '~' is kept
// for the names we build from it, such as "<subscription>~<cycle>". The error is
// an ErrInvalid and never repeats s, which may be a card number in the wrong
// column.
func ValidateReference(s string) error {
	if s == "" || len(s) > maxReference || strings.ContainsFunc(s, notInReference) {
		return fmt.Errorf("%w reference: want 1 to %d characters of A-Z, a-z, 0-9, '.', '_', '/', '-'", ErrInvalid, maxReference)
	}
	return nil
}

func notInReference(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '/', r == '-':
		return false
	}
	return true
}

// numberMark stands between a name of the merchant's and a number of ours. No
// name of the merchant's holds it.
const numberMark = "~"

// CycleReference is the reference of the charge for a subscription's cycle:
// <subscription>~<cycle>.
func CycleReference(subscription string, cycle int) string {
	return subscription + numberMark + strconv.Itoa(cycle)
}

// AttemptReference is what the gateway is told as the name of one attempt of a
// charge, and shows on its own screens: <charge>~<attempt>.
func AttemptReference(charge string, attempt int) string {
	return charge + numberMark + strconv.Itoa(attempt)
}

// SplitAttemptReference undoes AttemptReference. The charge's reference may hold
// a cycle's number, so the last number is the attempt's. ok is false if
// reference names no attempt.
func SplitAttemptReference(reference string) (charge string, attempt int, ok bool) {
	at := strings.LastIndex(reference, numberMark)
	if at < 0 {
		return "", 0, false
	}
	number, err := strconv.ParseInt(reference[at+len(numberMark):], 10, 32) // an integer of the database
	if err != nil || number < 1 {
		return "", 0, false
	}
	return reference[:at], int(number), true
}
