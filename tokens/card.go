package tokens

import (
	"fmt"
	"time"
)

// An Expiry is the last month in which a card is good. The zero Expiry is one
// that nobody told.
type Expiry struct {
	Year  int // four digits
	Month time.Month
}

// NewExpiry checks a month, 1 to 12, and a year of two or four digits. The error
// is an ErrInvalid.
func NewExpiry(year, month int) (Expiry, error) {
	if year >= 0 && year < 100 {
		year += 2000
	}
	if month < 1 || month > 12 || year < 2000 || year > 2099 {
		return Expiry{}, fmt.Errorf("%w expiry: want a month from 1 to 12 and a year from 2000 to 2099", ErrInvalid)
	}
	return Expiry{Year: year, Month: time.Month(month)}, nil
}

// IsZero reports whether the expiry is not known.
func (e Expiry) IsZero() bool { return e == Expiry{} }

// Ends is the first moment, in UTC, at which the card is no longer good.
func (e Expiry) Ends() time.Time { return time.Date(e.Year, e.Month+1, 1, 0, 0, 0, 0, time.UTC) }

// String returns the expiry as year and month, 2030-03, or nothing.
func (e Expiry) String() string {
	if e.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d", e.Year, int(e.Month))
}

// Details are what a gateway tells of the payment method behind a token. They are
// for people: no charge needs them.
type Details struct {
	Brand    string // the gateway's word, such as "mc" or "MASTERCARD"
	Funding  string // such as CREDIT or DEBIT; third parties' data, which may be wrong
	LastFour string // the last characters of the number, at most four
	Expiry   Expiry
	// Fingerprint is the same for the same card under two tokens, where the gateway
	// tells one; otherwise empty.
	Fingerprint string
	// ChangedAt is when the stored details last changed, by the gateway's clock, and
	// ChangedByGateway that an account updater did it and not the merchant.
	ChangedAt        time.Time
	ChangedByGateway bool
}
