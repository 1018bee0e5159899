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

// A column of a file. Optional ones need not be there.
type column struct {
	name     string
	optional bool
}

// The places of the columns in subscriptionColumns and chargeColumns. Those that
// both have come first.
const (
	colReference = iota
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

	colDueAt = colIntervalUnit
)

var (
	commonColumns = []column{
		{name: "reference"}, {name: "merchant_account"}, {name: "shopper_reference"}, {name: "token"},
		{name: "payment_method", optional: true}, {name: "amount_minor"}, {name: "currency"}, {name: "description"},
	}
	subscriptionColumns = append(slices.Clip(commonColumns),
		column{name: "interval_unit"}, column{name: "interval_count"}, column{name: "anchor"},
		column{name: "timezone"}, column{name: "max_cycles"}, column{name: "ends_on"})
	chargeColumns = append(slices.Clip(commonColumns), column{name: "due_at"})
)

func names(columns []column) []string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = c.name
	}
	return all
}

// A table says which cell of a line belongs to which column.
type table struct {
	columns []column
	width   int    // cells of each line
	at      []int  // for each column its cell; -1 if the file does not have it
	column  []int  // for each cell its column
	digits  []bool // for each cell, whether its numbers may look like card numbers
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
	t := &table{columns: columns, width: header.count, at: make([]int, len(columns))}
	for i := range t.at {
		t.at[i] = -1
	}
	for cell, name := range header.cells {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
		switch {
		case isSecurityCodeColumn(name):
			return nil, bad("", "the file has a column of security codes, which nobody may keep; remove it")
		case !utf8.ValidString(name):
			return nil, bad("", "the header is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")")
		case i < 0:
			return nil, bad(name, "unknown column; %s", want)
		case t.at[i] >= 0:
			return nil, bad(name, "the column is there twice")
		}
		t.at[i] = cell
		t.column = append(t.column, i)
		t.digits = append(t.digits, slices.Contains(allowDigits, name))
	}
	for i, c := range columns {
		if t.at[i] < 0 && !c.optional {
			return nil, bad(c.name, "the column is missing; %s", want)
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
	return t.columns[t.column[cell]].name
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
