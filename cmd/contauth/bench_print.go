package main

import (
	"fmt"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/contauth/contauth/internal/bench"
)

const formatMarkdown = "markdown"

// printBench prints the result. --json on the command line wins over --format.
func (e *env) printBench(report bench.Report, format string) error {
	if e.json || format == formatJSON {
		return e.printJSON(report)
	}
	m := report.Machine
	fmt.Fprintf(e.stdout, "%d cores of %s, %s, %s, GOGC %s, PostgreSQL %s (fsync %s, synchronous_commit %s)\n\n",
		m.Cores, orUnknown(m.Processor), m.System, m.Go, m.GOGC, m.Postgres, m.Fsync, m.SynchronousCommit)
	t := e.newTable()
	t.AppendHeader(table.Row{"Row", "What", "Value", "Unit", "Accept", "Aim", "OK"})
	alignRight(t, 3, 5, 6)
	for _, line := range report.Rows {
		t.AppendRow(benchRow(line))
	}
	if format == formatMarkdown {
		t.RenderMarkdown()
	} else {
		t.Render()
	}
	for i, note := range report.Notes {
		if i == 0 {
			fmt.Fprintln(e.stdout)
		}
		fmt.Fprintf(e.stdout, "Note: %s.\n", note)
	}
	return nil
}

func benchRow(line bench.Line) table.Row {
	what := line.What
	if line.At != "" {
		what += ", " + line.At
	}
	row := table.Row{line.ID, what, figure(line.Value), line.Unit, "", "", ""}
	if line.Accept == nil {
		return row
	}
	bound := "≥ "
	if line.Better == "lower" {
		bound = "≤ "
	}
	row[4], row[5], row[6] = bound+figure(*line.Accept), bound+figure(*line.Aim), "no"
	if *line.OK {
		row[6] = "yes"
	}
	return row
}

// figure shows three significant digits, more of large numbers.
func figure(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.1 || v == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'f', 4, 64)
	}
}

func orUnknown(text string) string {
	if text == "" {
		return "an unknown processor"
	}
	return text
}
