package billing

import (
	"fmt"
	"iter"
	"time"
)

// An ImportedSubscription is what one line of a file says about a subscription.
type ImportedSubscription struct {
	Line             int // in the file, from 1
	MerchantAccount  string
	Reference        string
	ShopperReference string
	Token            string // the gateway's name of it
	PaymentMethod    string // empty if the file says nothing
	Amount           Money
	Calendar         Calendar
	Description      string
	FirstCycle       int       // the first that is charged, if the subscription is new
	FirstDueAt       time.Time // its instant; zero if the calendar ends before it
	Waived           int       // cycles of the calendar before FirstCycle
}

// An ImportedCharge is what one line of a file says about an
// UnscheduledCardOnFile charge.
type ImportedCharge struct {
	Line             int // in the file, from 1
	MerchantAccount  string
	Reference        string
	ShopperReference string
	Token            string // the gateway's name of it
	PaymentMethod    string // empty if the file says nothing
	Amount           Money
	DueAt            time.Time
	Description      string
}

// A BadRow says what is wrong with a line of a file. It is an ErrInvalid.
type BadRow struct {
	Line   int    `json:"line"`
	Column string `json:"column"` // empty if the line as a whole is wrong
	Value  string `json:"value"`  // shortened to one safe line; empty if it must not be shown
	Want   string `json:"want"`   // what is wrong and what was expected
}

// Error implements error: `line 3, column timezone, "Mars/Base": want an IANA name`.
func (b *BadRow) Error() string {
	text := fmt.Sprintf("line %d", b.Line)
	if b.Column != "" {
		text += ", column " + b.Column
	}
	if b.Value != "" {
		text += fmt.Sprintf(", %q", b.Value)
	}
	return text + ": " + b.Want
}

// Is makes every BadRow an ErrInvalid.
func (b *BadRow) Is(target error) bool { return target == ErrInvalid }

// ImportRows are the lines of a file, good and bad. A *BadRow in place of a row
// speaks of its line alone, and the reader goes on; any other error is the last.
type ImportRows[Row any] = iter.Seq2[Row, error]

// An ImportRequest says how to import, and who wants to know what.
type ImportRequest struct {
	Actor  string
	File   string        // its name, for the audit
	Hash   func() string // SHA-256 of the file; asked after its last row was read
	DryRun bool          // do all, tell all, store nothing
	// Bad is told every fault, and so a row with two faults twice: first what the
	// reader found, in order, then what the database reveals, in order.
	Bad func(BadRow) error
	// Changed is told every difference to what was stored, in the order of lines.
	Changed func(ImportChange) error
}

// An ImportChange is one field of a subscription or a charge that an import
// brings another value for.
type ImportChange struct {
	Line      int    `json:"line"`
	Reference string `json:"reference"`
	Field     string `json:"field"` // as the column is called
	Before    string `json:"before"`
	After     string `json:"after"`
}

// An ImportResult counts what an import did, or with DryRun would do.
type ImportResult struct {
	Rows      int  `json:"rows"` // read, good and bad
	Bad       int  `json:"bad"`  // rows with a fault, however many each has; nothing is stored unless it is 0
	New       int  `json:"new"`
	Changed   int  `json:"changed"`
	Unchanged int  `json:"unchanged"`
	NewTokens int  `json:"new_tokens"`
	Held      int  `json:"held"`      // new charges that wait for a card that can be charged
	Charges   int  `json:"charges"`   // existing charges that follow a changed subscription
	Waived    int  `json:"waived"`    // cycles of new subscriptions that lay before the import
	Completed int  `json:"completed"` // new subscriptions whose calendar had ended before the import
	DryRun    bool `json:"dry_run"`
}
