package tokens

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrInvalid says that a text from outside cannot be what it should be. The
// errors never repeat that text: it may be an e-mail address or a card number
// in the wrong column.
var ErrInvalid = errors.New("invalid")

// An ID is our own number of a token.
type ID int64

// A State says whether a token may be charged.
type State string

const (
	Unverified State = "unverified" // its issuer was not asked about it
	Valid      State = "valid"      // its issuer or its gateway confirmed it
	Invalid    State = "invalid"    // the gateway refuses it; why is its cause
	Disabled   State = "disabled"   // removed at the gateway, or switched off by a person
)

var states = []State{Unverified, Valid, Invalid, Disabled}

// moves are the states that each state may become. A disabled token is gone at its
// gateway, so nothing brings it back.
var moves = map[State][]State{
	Unverified: {Valid, Invalid, Disabled},
	Valid:      {Invalid, Disabled},
	Invalid:    {Valid, Disabled},
	Disabled:   nil,
}

// CanMove reports whether a token may go from s to next.
func (s State) CanMove(next State) bool { return slices.Contains(moves[s], next) }

// Moves are all legal moves, for the drawing in the documentation.
func Moves() map[State][]State { return maps.Clone(moves) }

// Chargeable reports whether charges may be sent with a token in this state.
// An unverified token is: its first charge is what verifies it.
func (s State) Chargeable() bool { return s == Unverified || s == Valid }

// UnmarshalText implements encoding.TextUnmarshaler and refuses words that are
// no state.
func (s *State) UnmarshalText(text []byte) error {
	if !slices.Contains(states, State(text)) {
		return fmt.Errorf("%w token state: want one of %q", ErrInvalid, states)
	}
	*s = State(text)
	return nil
}

// DefaultPaymentMethod is the payment method of a token that came without one:
// a card of any scheme, in Adyen's words for the type of a payment method.
const DefaultPaymentMethod = "scheme"

// A Token is a payment method stored at a gateway.
type Token struct {
	ID              ID
	MerchantAccount string
	// ShopperReference is the merchant's own opaque name of the shopper.
	ShopperReference string
	// Reference is the gateway's name of the token: storedPaymentMethodId at
	// Adyen, token at Mastercard. Whoever has it and the API key can charge.
	Reference     string
	PaymentMethod string // the gateway's type, such as "scheme" or "sepadirectdebit"
	State         State
	StateSince    time.Time // by the database's clock
	Cause         string    // why the state is invalid or disabled; otherwise empty
}

// String names the token by our own number alone, so that neither of its
// references reaches a log by accident.
func (t Token) String() string { return fmt.Sprintf("token %d", t.ID) }

// GoString keeps %#v as silent as String.
func (t Token) GoString() string { return t.String() }

// MaskedReference returns enough of the gateway's name to recognise the token
// on the gateway's own screens, and too little to use it: its last four
// characters, or nothing of a name that is shorter than twelve.
func (t Token) MaskedReference() string {
	const shown, shortest = 4, 12
	if len(t.Reference) < shortest {
		return "…"
	}
	return "…" + t.Reference[len(t.Reference)-shown:]
}

const (
	maxReference        = 64
	minShopperReference = 3 // Adyen's own minimum for shopperReference
	maxShopperReference = 256
)

// ValidateReference checks the gateway's name of a token: 1 to 64 letters,
// digits, dots, dashes and underscores. The error is an ErrInvalid.
func ValidateReference(s string) error {
	if s == "" || len(s) > maxReference || strings.ContainsFunc(s, notInReference) {
		return fmt.Errorf("%w token: want 1 to %d characters of A-Z, a-z, 0-9, '.', '_', '-'", ErrInvalid, maxReference)
	}
	return nil
}

func notInReference(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
		return false
	}
	return true
}

// ValidateShopperReference checks the merchant's name of a shopper: 3 to 256
// printable ASCII characters without spaces. An '@' is refused, because an
// e-mail address is personal data and may not serve as a reference. The error
// is an ErrInvalid.
func ValidateShopperReference(s string) error {
	if len(s) < minShopperReference || len(s) > maxShopperReference {
		return fmt.Errorf("%w shopper reference: want %d to %d characters", ErrInvalid, minShopperReference, maxShopperReference)
	}
	if strings.ContainsRune(s, '@') {
		return fmt.Errorf("%w shopper reference: has an '@'; want an opaque reference, not an e-mail address", ErrInvalid)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w shopper reference: want printable ASCII characters without spaces", ErrInvalid)
	}
	return nil
}
