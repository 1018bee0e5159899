package importer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/contauth/contauth/billing"
)

// A column of a file.
type column int

const (
	colReference column = iota
	colMerchantAccount
	colShopperReference
	colToken
	colPaymentMethod
	colAmount
	colCurrency
	colDescription
	colIntervalUnit
	colIntervalCount
	colAnchor
	colTimezone
	colMaxCycles
	colEndsOn
	colDueAt
	colExpiry
	colBrand
	colLastFour
	columnCount
)

var columnNames = [columnCount]string{
	"reference", "merchant_account", "shopper_reference", "token", "payment_method", "amount_minor", "currency", "description",
	"interval_unit", "interval_count", "anchor", "timezone", "max_cycles", "ends_on", "due_at", "expiry", "brand", "last_four",
}

func (c column) String() string { return columnNames[c] }

// optional reports whether a file need not have the column.
func (c column) optional() bool {
	switch c {
	case colPaymentMethod, colExpiry, colBrand, colLastFour:
		return true
	}
	return false
}

// The columns of each kind of file, as people are told them.
var (
	commonColumns = []column{
		colReference, colMerchantAccount, colShopperReference, colToken, colPaymentMethod, colAmount, colCurrency, colDescription,
	}
	subscriptionColumns = append(slices.Clip(commonColumns),
		colIntervalUnit, colIntervalCount, colAnchor, colTimezone, colMaxCycles, colEndsOn)
	chargeColumns = append(slices.Clip(commonColumns), colDueAt)
	tokenColumns  = []column{colMerchantAccount, colToken, colShopperReference, colPaymentMethod, colExpiry, colBrand, colLastFour}
)

func names(columns []column) []string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = c.String()
	}
	return all
}

// A table says which cell of a line belongs to which column.
type table struct {
	width  int              // cells of each line
	at     [columnCount]int // for each column its cell; -1 if the file does not have it
	column []column         // for each cell its column
	digits []bool           // for each cell, whether its numbers may look like card numbers
}

// newTable reads the header; a nil record is a file without one.
func newTable(columns []column, header *record, allowDigits []string) (*table, error) {
	want := "want a header line: " + strings.Join(names(columns), ",")
	if header == nil {
		return nil, &billing.BadRow{Line: 1, Want: "the file is empty; " + want}
	}
	bad := func(column, format string, args ...any) error {
		return &billing.BadRow{Line: header.line, Column: show(column), Want: fmt.Sprintf(format, args...)}
	}
	switch first := header.cells[0]; {
	case strings.HasPrefix(first, "\xff\xfe") || strings.HasPrefix(first, "\xfe\xff"):
		return nil, bad("", "the file is UTF-16; save it as UTF-8 (in Excel: \"CSV UTF-8\")")
	case header.fault != "":
		return nil, bad("", "the header %s", header.fault)
	case header.count == 1 && strings.ContainsAny(first, ";\t"):
		return nil, bad("", "the cells are not separated by commas; %s", want)
	}
	t := &table{width: header.count}
	for i := range t.at {
		t.at[i] = -1
	}
	for cell, name := range header.cells {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(columns, func(c column) bool { return c.String() == name })
		switch {
		case isSecurityCodeColumn(name):
			return nil, bad("", "the file has a column of security codes, which nobody may keep; remove it")
		case !utf8.ValidString(name):
			return nil, bad("", "the header is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")")
		case i < 0:
			return nil, bad(name, "unknown column; %s", want)
		case t.at[columns[i]] >= 0:
			return nil, bad(name, "the column is there twice")
		}
		t.at[columns[i]] = cell
		t.column = append(t.column, columns[i])
		t.digits = append(t.digits, slices.Contains(allowDigits, name))
	}
	for _, c := range columns {
		if t.at[c] < 0 && !c.optional() {
			return nil, bad(c.String(), "the column is missing; %s", want)
		}
	}
	return t, nil
}

// name returns the name of the column that a cell belongs to; empty if there is
// none.
func (t *table) name(cell int) string {
	if cell >= len(t.column) {
		return ""
	}
	return t.column[cell].String()
}

// skipMark returns src without the byte order mark that Excel puts before UTF-8.
func skipMark(src io.Reader) io.Reader {
	const mark = "\xef\xbb\xbf"
	buffered := bufio.NewReaderSize(src, 16)
	if head, err := buffered.Peek(len(mark)); err == nil && bytes.Equal(head, []byte(mark)) {
		buffered.Discard(len(mark))
	}
	return buffered
}
