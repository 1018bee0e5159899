package importer

import (
	"errors"
	"io"
	"time"

	"github.com/contauth/contauth/billing"
)

// An AmountChecker knows which amounts a gateway can express. Every
// billing.Gateway is one.
type AmountChecker interface {
	// CheckAmount returns billing.ErrInvalid, in words for a person, if the
	// gateway cannot express the amount.
	CheckAmount(billing.Money) error
}

// Options say what a file is checked against.
type Options struct {
	// Accounts are the merchant accounts that exist, with their gateways.
	Accounts map[string]AmountChecker
	// Now is the business time of the import. Cycles of new subscriptions whose
	// local date is before it are not charged.
	Now time.Time
	// BillPast charges those cycles too.
	BillPast bool
	// AllowDigits are columns whose numbers may look like card numbers, such as
	// numeric references that have a right check digit by chance.
	AllowDigits []string
}

// Subscriptions reads a file of subscriptions, ahead of whoever takes the rows.
// Nothing reads src any more when the iteration has ended.
func Subscriptions(src io.Reader, options Options) billing.ImportRows[billing.ImportedSubscription] {
	return ahead(read(src, options, subscriptionColumns, (*row).subscription))
}

// Charges reads a file of UnscheduledCardOnFile charges, as Subscriptions does.
func Charges(src io.Reader, options Options) billing.ImportRows[billing.ImportedCharge] {
	return ahead(read(src, options, chargeColumns, (*row).charge))
}

// Tokens reads a file of tokens, as Subscriptions does.
func Tokens(src io.Reader, options Options) billing.ImportRows[Token] {
	return ahead(read(src, options, tokenColumns, (*row).importedToken))
}

// SubscriptionColumns are the columns of a file of subscriptions.
func SubscriptionColumns() []string { return names(subscriptionColumns) }

// ChargeColumns are the columns of a file of charges.
func ChargeColumns() []string { return names(chargeColumns) }

// TokenColumns are the columns of a file of tokens.
func TokenColumns() []string { return names(tokenColumns) }

// read makes a row of each line behind the header. parse leaves what is wrong
// with the line in the row.
func read[Row any](src io.Reader, options Options, columns []column, parse func(*row) Row) billing.ImportRows[Row] {
	return func(yield func(Row, error) bool) {
		var none Row
		r := row{options: &options, zones: make(map[string]business)}
		lines := newScanner(skipMark(src))
		header, err := lines.next()
		if err == nil || errors.Is(err, io.EOF) {
			r.table, err = newTable(columns, header, options.AllowDigits)
		}
		if err != nil {
			yield(none, err)
			return
		}
		for {
			record, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(none, err)
				return
			}
			if record.blank() {
				continue
			}
			parsed, faults := none, r.begin(record)
			if len(faults) == 0 {
				parsed = parse(&r)
				faults = r.faults
			}
			if len(faults) == 0 && !yield(parsed, nil) {
				return
			}
			for _, fault := range faults {
				if !yield(none, &fault) {
					return
				}
			}
		}
	}
}
