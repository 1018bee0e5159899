package billing

import (
	"fmt"
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
