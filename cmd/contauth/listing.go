package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// The values of --format.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSON  = "json"
)

// tableRows is how many rows one table shows. Longer lists are several tables,
// so that memory does not grow with them.
const tableRows = 500

// A list prints items as they come, in the form that was asked for.
type list[Item any] struct {
	noun    string              // in the plural, for an empty list
	header  []string            // of the table
	numbers []int               // columns of the table that stand to the right, from 1
	row     func(Item) []any    // of the table
	columns []string            // of the CSV: the names of the JSON fields
	record  func(Item) []string // of the CSV
	object  func(Item) any      // of the JSON, one a line
}

// print writes all items. --json on the command line wins over --format.
func (l list[Item]) print(e *env, format string, items iter.Seq2[Item, error]) error {
	if e.json {
		format = formatJSON
	}
	switch format {
	case formatTable:
		return l.printTables(e, items)
	case formatCSV:
		return l.printCSV(e.stdout, items)
	case formatJSON:
		return l.printJSON(e.stdout, items)
	}
	return usageError("--format %q is unknown: want table, csv or json", format)
}

func (l list[Item]) printJSON(w io.Writer, items iter.Seq2[Item, error]) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	for item, err := range items {
		if err == nil {
			err = encoder.Encode(l.object(item))
		}
		if err != nil {
			out.Flush()
			return err
		}
	}
	return out.Flush()
}

func (l list[Item]) printCSV(w io.Writer, items iter.Seq2[Item, error]) error {
	out := csv.NewWriter(w)
	out.Write(l.columns) // a csv.Writer keeps its first error for Flush
	for item, err := range items {
		if err != nil {
			out.Flush()
			return err
		}
		record := l.record(item)
		for i, cell := range record {
			record[i] = harmless(cell)
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// harmless keeps a spreadsheet from taking text for a formula: a cell that
// begins like one gets an apostrophe in front.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

func (l list[Item]) printTables(e *env, items iter.Seq2[Item, error]) error {
	printed := 0
	var t table.Writer
	for item, err := range items {
		if err != nil {
			return err
		}
		if t == nil {
			t = e.newTable()
			t.AppendHeader(cells(l.header))
			alignRight(t, l.numbers...)
		}
		t.AppendRow(l.row(item))
		printed++
		if printed%tableRows == 0 {
			t.Render()
			t = nil
		}
	}
	if t != nil {
		t.Render()
	}
	if printed == 0 {
		fmt.Fprintf(e.stdout, "No %s.\n", l.noun)
	}
	return nil
}

func cells(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for i, text := range texts {
		row[i] = text
	}
	return row
}
