package importer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// A row reads the cells of one line, and collects what is wrong with them.
type row struct {
	options *Options
	table   *table
	zones   map[string]business // those of the file so far
	record  *record
	faults  []billing.BadRow
}

// A business is the date of the import at a place.
type business struct {
	zone billing.Zone
	date billing.LocalDate
}

// begin takes the next line and returns what makes it unreadable as a whole.
func (r *row) begin(record *record) []billing.BadRow {
	r.record, r.faults = record, r.faults[:0]
	switch {
	case record.fault != "":
		r.blame(r.table.name(record.faultCell), "", record.fault)
	case record.longCell >= 0:
		r.blame(r.table.name(record.longCell), "", fmt.Sprintf("the cell has more than %d bytes", maxCell))
	case record.count != r.table.width:
		r.blame("", "", fmt.Sprintf("has %d cells where the header has %d", record.count, r.table.width))
	}
	// A card number must not be repeated as the value of another fault, so this
	// comes before the cells are looked at one by one.
	for i, cell := range record.cells {
		switch {
		case !utf8.ValidString(cell):
			r.blame(r.table.name(i), "", "is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")")
		case hasCardNumber(cell) && !(i < len(r.table.digits) && r.table.digits[i]):
			r.blame(r.table.name(i), "", "looks like a card number, which contauth must not keep; want the gateway's token and opaque references (--allow-digits COLUMN if it is none)")
		case hasSecurityCode(cell):
			r.blame(r.table.name(i), "", "looks like a card's security code, which nobody may keep; remove it")
		}
	}
	return r.faults
}

func (r *row) blame(column, value, want string) {
	r.faults = append(r.faults, billing.BadRow{Line: r.record.line, Column: column, Value: value, Want: want})
}

// refuse says what is wrong with the cell of a column.
func (r *row) refuse(col column, want string) {
	r.blame(col.String(), showCell(col, r.cell(col)), want)
}

// refuseErr is refuse with the words of billing or tokens.
func (r *row) refuseErr(col column, err error) {
	r.refuse(col, strings.TrimPrefix(err.Error(), "invalid "))
}

// cell returns the text of a column without the spaces around it; nothing if the
// file does not have the column.
func (r *row) cell(col column) string {
	i := r.table.at[col]
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(r.record.cells[i])
}

func (r *row) subscription() billing.ImportedSubscription {
	s := billing.ImportedSubscription{
		Line:             r.record.line,
		MerchantAccount:  r.cell(colMerchantAccount),
		Reference:        r.reference(),
		ShopperReference: r.shopperReference(),
		Token:            r.token(),
		PaymentMethod:    r.paymentMethod(),
		Description:      r.description(),
	}
	s.Amount, _ = r.amount()
	today := r.calendar(&s.Calendar)
	if len(r.faults) > 0 {
		return s
	}
	s.FirstCycle = 1
	if !r.options.BillPast {
		s.FirstCycle = s.Calendar.FirstCycleOn(today)
		s.Waived = cyclesBefore(s.Calendar, s.FirstCycle)
	}
	if s.FirstCycle > math.MaxInt32 {
		r.refuse(colAnchor, "too many cycles lie before the import")
	}
	if _, ok := s.Calendar.Date(s.FirstCycle); ok {
		s.FirstDueAt = s.Calendar.DueAt(s.FirstCycle)
	}
	return s
}

func (r *row) charge() billing.ImportedCharge {
	c := billing.ImportedCharge{
		Line:             r.record.line,
		MerchantAccount:  r.cell(colMerchantAccount),
		Reference:        r.reference(),
		ShopperReference: r.shopperReference(),
		Token:            r.token(),
		PaymentMethod:    r.paymentMethod(),
		Description:      r.description(),
		DueAt:            r.dueAt(),
	}
	var ok bool
	if c.Amount, ok = r.amount(); ok && c.Amount.Minor == 0 {
		r.refuse(colAmount, "want more than 0: there is nothing to charge")
	}
	return c
}

// cyclesBefore returns how many cycles before cycle n the calendar really has:
// it may have ended earlier.
func cyclesBefore(c billing.Calendar, n int) int {
	if !c.EndsOn.IsZero() {
		n = min(n, c.FirstCycleOn(c.EndsOn.AddDays(1)))
	}
	if c.MaxCycles > 0 {
		n = min(n, c.MaxCycles+1)
	}
	return n - 1
}

func (r *row) reference() string {
	s := r.cell(colReference)
	if err := billing.ValidateReference(s); err != nil {
		r.refuseErr(colReference, err)
	}
	return s
}

func (r *row) shopperReference() string {
	s := r.cell(colShopperReference)
	if err := tokens.ValidateShopperReference(s); err != nil {
		r.refuseErr(colShopperReference, err)
	}
	return s
}

func (r *row) token() string {
	s := r.cell(colToken)
	if err := tokens.ValidateReference(s); err != nil {
		r.refuseErr(colToken, err)
	}
	return s
}

func (r *row) paymentMethod() string {
	const longest = 40 // more than any gateway's name of one
	s := r.cell(colPaymentMethod)
	if len(s) > longest || strings.ContainsFunc(s, notInPaymentMethod) {
		r.refuse(colPaymentMethod, "want the gateway's name of a payment method, like scheme or sepadirectdebit, or nothing")
	}
	return s
}

func notInPaymentMethod(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		return false
	}
	return true
}

// description returns the text on one line: line breaks and tabs in it become
// spaces.
func (r *row) description() string {
	const longest = 500
	s := r.cell(colDescription)
	if utf8.RuneCountInString(s) > longest {
		r.refuse(colDescription, fmt.Sprintf("want at most %d characters", longest))
	}
	if strings.ContainsAny(s, "\r\n\t") {
		s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return c == '\r' || c == '\n' || c == '\t' }), " ")
	}
	if strings.ContainsFunc(s, isHidden) {
		r.refuse(colDescription, "has control characters; want plain text")
	}
	return s
}

// isHidden reports whether c would do something to a terminal or a page instead
// of being shown, such as turning the direction of the text around.
func isHidden(c rune) bool {
	return unicode.IsControl(c) || '\u202a' <= c && c <= '\u202e' || '\u2066' <= c && c <= '\u2069'
}

// amount reads the amount and asks the gateway of the merchant account whether it
// can express it.
func (r *row) amount() (billing.Money, bool) {
	account, known := r.merchantAccount()
	minor, err := parseMinor(r.cell(colAmount))
	if err != nil {
		r.refuse(colAmount, err.Error())
	}
	if _, currencyErr := billing.NewMoney(0, r.cell(colCurrency)); currencyErr != nil {
		r.refuseErr(colCurrency, currencyErr)
		return billing.Money{}, false
	}
	if err != nil {
		return billing.Money{}, false
	}
	money := billing.Money{Minor: minor, Currency: r.cell(colCurrency)}
	if !known {
		return money, false
	}
	if err := account.CheckAmount(money); err != nil {
		r.refuseErr(colAmount, err)
		return money, false
	}
	return money, true
}

// merchantAccount returns what the configuration has of the line's merchant account.
func (r *row) merchantAccount() (AmountChecker, bool) {
	account, known := r.options.Accounts[r.cell(colMerchantAccount)]
	if !known {
		r.refuse(colMerchantAccount, "want a merchant account of the configuration"+r.someAccounts())
	}
	return account, known
}

func (r *row) someAccounts() string {
	const most = 5
	ids := slices.Sorted(maps.Keys(r.options.Accounts))
	switch {
	case len(ids) == 0:
		return ", which has none"
	case len(ids) > most:
		return ""
	}
	return ": " + strings.Join(ids, ", ")
}

var (
	errMinor    = errors.New("want a whole number of minor units, such as 1250 for 12.50 EUR")
	errNegative = errors.New("is negative; want a whole number of minor units, such as 1250 for 12.50 EUR")
	errHuge     = errors.New("is more than an amount can be")
)

// parseMinor reads digits and nothing else: no sign, no separator, no exponent.
func parseMinor(s string) (int64, error) {
	if digits, negative := strings.CutPrefix(s, "-"); negative && digits != "" && countDigits(digits) == len(digits) {
		return 0, errNegative
	}
	if s == "" || countDigits(s) != len(s) {
		return 0, errMinor
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errHuge
	}
	return n, nil
}

// calendar reads the columns that make a calendar, and returns the date of the
// import in its zone.
func (r *row) calendar(c *billing.Calendar) (today billing.LocalDate) {
	zone, zoneErr := r.zone(r.cell(colTimezone))
	if zoneErr != nil {
		r.refuseErr(colTimezone, zoneErr)
	}
	c.Zone = zone.zone
	var err error
	if c.Anchor, err = billing.ParseLocalDateTime(r.cell(colAnchor)); err != nil {
		r.refuseErr(colAnchor, err)
	} else if c.Anchor.Date.Before(earliest) {
		r.refuse(colAnchor, "want a date from 1970 on")
	}
	r.interval(&c.Interval)
	if text := r.cell(colMaxCycles); text != "" {
		if c.MaxCycles, err = parseCount(text); err != nil {
			r.refuse(colMaxCycles, "want a whole number from 1 on, or nothing for no limit")
		}
	}
	if text := r.cell(colEndsOn); text != "" {
		if c.EndsOn, err = billing.ParseLocalDate(text); err != nil {
			r.refuseErr(colEndsOn, err)
		} else if !c.Anchor.Date.IsZero() && c.EndsOn.Before(c.Anchor.Date) {
			r.refuse(colEndsOn, "is before the anchor "+c.Anchor.String())
		}
	}
	if len(r.faults) == 0 {
		if err := c.Validate(); err != nil {
			r.refuseErr(colAnchor, err)
		}
	}
	return zone.date
}

// earliest keeps out the dates that stand for "none" in other systems.
var earliest, _ = billing.NewLocalDate(1970, time.January, 1)

func (r *row) zone(name string) (business, error) {
	if known, ok := r.zones[name]; ok {
		return known, nil
	}
	zone, err := billing.LoadZone(name)
	if err != nil {
		return business{}, err
	}
	known := business{zone, zone.Date(r.options.Now)}
	r.zones[zone.String()] = known
	return known, nil
}

func (r *row) interval(interval *billing.Interval) {
	var unit billing.IntervalUnit
	unitErr := unit.UnmarshalText([]byte(r.cell(colIntervalUnit)))
	if unitErr != nil {
		r.refuseErr(colIntervalUnit, unitErr)
	}
	count, err := parseCount(r.cell(colIntervalCount))
	if err != nil {
		r.refuse(colIntervalCount, "want a whole number from 1 on")
		return
	}
	if unitErr != nil {
		return
	}
	if *interval, err = billing.NewInterval(unit, count); err != nil {
		r.refuseErr(colIntervalCount, err)
	}
}

func parseCount(s string) (int, error) {
	if s == "" || countDigits(s) != len(s) {
		return 0, errMinor
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err == nil && n < 1 {
		err = errMinor
	}
	return int(n), err
}

func (r *row) dueAt() time.Time {
	text := r.cell(colDueAt)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.refuse(colDueAt, "want a date and time with an offset, like 2027-01-31T09:00:00+01:00 or 2027-01-31T08:00:00Z")
		return time.Time{}
	}
	t = t.UTC().Truncate(time.Microsecond) // the database keeps no more
	if t.Year() < 1970 || t.Year() > 9999 {
		r.refuse(colDueAt, "want a year from 1970 to 9999")
	}
	return t
}

// showCell returns what an error may repeat of a cell: of a token only its end,
// of what may be an e-mail address, or all of a card's number, nothing.
func showCell(col column, cell string) string {
	switch col {
	case colToken:
		if cell == "" {
			return ""
		}
		return show(tokens.Token{Reference: cell}.MaskedReference())
	case colShopperReference:
		if strings.ContainsRune(cell, '@') {
			return ""
		}
	case colLastFour:
		return ""
	}
	return show(cell)
}

// show makes one short line of a text that could be anything, and nothing of one
// that could be a card number.
func show(text string) string {
	const most = 60
	if hasCardNumber(text) || hasSecurityCode(text) {
		return ""
	}
	shown, n := make([]rune, 0, most), 0
	for _, c := range text {
		if n++; n > most {
			return string(shown) + "…"
		}
		if !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		shown = append(shown, c)
	}
	return string(shown)
}
