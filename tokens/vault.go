package tokens

import (
	"context"
	"errors"
	"time"
)

// What a vault answers when it does not do what was asked.
var (
	// ErrNotFound: the gateway has no such token for this shopper.
	ErrNotFound = errors.New("not found")
	// ErrUnanswered: nobody knows what became of the request. The same request may
	// be sent again.
	ErrUnanswered = errors.New("no answer")
	// ErrUnsupported: this gateway, or this merchant's profile there, cannot do it.
	ErrUnsupported = errors.New("not supported")
)

// A Refusal says why a gateway did not store details or did not open a session.
type Refusal string

const (
	RefusedSessionExpired Refusal = "session_expired" // a hosted session lives about 15 minutes
	RefusedSessionChanged Refusal = "session_changed" // the session has another version by now
	RefusedSessionEmpty   Refusal = "session_empty"   // the shopper has entered nothing yet
	RefusedNumberKept     Refusal = "number_kept"     // PRESERVE_6_4: a token keeps its card number for good
	RefusedCardTaken      Refusal = "card_taken"      // UNIQUE_CARD: the card is stored under another token
	RefusedProfile        Refusal = "profile"         // the merchant's profile does not allow it
	RefusedRequest        Refusal = "request"         // any other fault of the request
)

// A RefusedError is a gateway's refusal. Text is for people: what, and what to do.
type RefusedError struct {
	Refusal Refusal
	Field   string // the gateway's name of what was wrong; may be empty
	Text    string // one line without secrets
}

func (e *RefusedError) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Text
	}
	return e.Text
}

// A Vault is where a gateway keeps the payment methods of one merchant account.
// Nothing in it moves money but a verification's nominal amount. Implementations
// are safe for many goroutines; errors are those above, or ErrInvalid for what
// was not sent at all, and never hold a token, a shopper or a secret.
type Vault interface {
	// Read asks what is stored under a token.
	Read(ctx context.Context, ref Ref) (Reading, error)
	// Verify asks whether the stored card is good. The same request, with the same
	// Number, asks once.
	Verify(ctx context.Context, req VerifyRequest) (Verification, error)
	// Save stores the details that a shopper entered into a hosted session, under a
	// new token or, to bring a token back to life, under the one it has. It is
	// ErrUnsupported where tokens come by webhook alone (Adyen).
	Save(ctx context.Context, req SaveRequest) (Saved, error)
	// OpenSession opens the session in which a shopper enters or confirms a card.
	OpenSession(ctx context.Context, req SessionRequest) (Session, error)
	// Delete removes a token at the gateway, for good. A token that is already gone
	// is no error.
	Delete(ctx context.Context, ref Ref) error
}

// A Ref names a token at its gateway.
type Ref struct {
	Token            string
	ShopperReference string
}

// String is silent: both names are references that no log needs.
func (Ref) String() string { return "token" }

// GoString keeps %#v as silent as String.
func (Ref) GoString() string { return "token" }

// A Status is what a gateway says about charging a token.
type Status string

const (
	StatusValid   Status = "valid"
	StatusInvalid Status = "invalid" // the gateway refuses to charge it
	StatusUntold  Status = ""        // the gateway knows the token, and has no such word
)

// A Reading is what a gateway has stored under a token now.
type Reading struct {
	Status  Status
	Details Details
}

// A VerifyRequest asks about a stored card.
type VerifyRequest struct {
	Ref
	Strategy Strategy
	Currency string // of StrategyAcquirer
	// Key and Number tell this verification from any other: Key is an idempotency
	// key, Number counts the verifications of the token.
	Key    string
	Number int
	// PaymentMethod and ReturnURL are what a charge of the token has.
	PaymentMethod, ReturnURL string
}

// A SaveRequest stores what a shopper entered into a hosted session, or a bank
// account. It has no field for the number of a card.
type SaveRequest struct {
	Token          string // the token to create or update; empty lets the gateway name a new one
	SessionID      string
	SessionVersion string       // if set, the session must still have it
	ACH            *BankAccount // in place of a session
	Strategy       Strategy
	Currency       string // of StrategyAcquirer
}

// Saved is what was stored.
type Saved struct {
	Token string
	Reading
	Verification Verification
}

// The purposes of a session.
const (
	PurposeCreate = "create" // store a payment method for later charges
	PurposePay    = "pay"    // the shopper pays an open charge with a stored one
)

// A SessionRequest opens a session.
type SessionRequest struct {
	Purpose          string
	Reference        string // ours, of the payment: it comes back with the webhook
	ShopperReference string
	Token            string // of PurposePay
	Model            string // what later charges are for: Subscription, UnscheduledCardOnFile or CardOnFile
	AskForConsent    bool   // show the shopper a box to tick; otherwise storing is part of the agreement
	AmountMinor      int64  // 0 only checks the card
	Currency         string
	ReturnURL        string
	Key              string // idempotency key
}

// A Session is what a shop's front end needs to go on.
type Session struct {
	ID      string
	Data    string // Adyen sessionData; secret enough not to be logged
	Version string // Mastercard session.version
	URL     string // of a hosted page, where there is one
	Expires time.Time
}
