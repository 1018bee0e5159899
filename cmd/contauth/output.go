package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func (e *env) printJSON(v any) error { return json.NewEncoder(e.stdout).Encode(v) }

func (e *env) newTable() table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(e.stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.SeparateRows = false
	return t
}

func alignRight(t table.Writer, columns ...int) {
	var configs []table.ColumnConfig
	for _, n := range columns {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}

// printFacts prints names and values, one pair a line; pairs without a value are
// left out.
func (e *env) printFacts(pairs ...[2]string) {
	widest := 0
	for _, p := range pairs {
		if p[1] != "" {
			widest = max(widest, len(p[0]))
		}
	}
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(e.stdout, "%-*s  %s\n", widest, p[0], p[1])
		}
	}
}

// instant shows a time in UTC, to the second; nothing for the zero time.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// because shows a reason for people, with its code.
func because(r billing.Reason) string {
	if r == billing.ReasonNone {
		return ""
	}
	return fmt.Sprintf("%s (%s)", r.Sentence(), r)
}

// orNull is what JSON shows of a value that may be missing.
func orNull[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// numberOr returns n as text, nothing for 0.
func numberOr(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func money(a scheduler.Amount, currency string) string {
	return billing.Money{Minor: a.AmountMinor, Currency: currency}.String()
}

// counted is a number of things: "1 row", "2 rows".
func counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// isOrAre is the verb that goes with a number of things.
func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
