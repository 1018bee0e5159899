package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// runJSON is a run as --json shows it. Field names are promised.
type runJSON struct {
	ID         scheduler.RunID                  `json:"id"`
	State      scheduler.RunState               `json:"state"`
	Model      billing.RecurringProcessingModel `json:"model"`
	AsOf       time.Time                        `json:"as_of"`
	Manifest   manifestJSON                     `json:"manifest"`
	Totals     []scheduler.Totals               `json:"totals,omitzero"` // missing from lists
	Exclusions []scheduler.Exclusion            `json:"exclusions,omitempty"`
	Declines   []scheduler.Decline              `json:"declines,omitempty"`
	Stops      []scheduler.AccountStop          `json:"stops,omitempty"`
	Reason     string                           `json:"reason,omitempty"`
	Schedule   string                           `json:"schedule,omitempty"` // missing from runs that a person planned
	FireAt     time.Time                        `json:"fire_at,omitzero"`
}

type manifestJSON struct {
	Hash  string `json:"hash"`
	Items int    `json:"items"`
}

// newRunJSON is a run without its account, as in a list.
func newRunJSON(r scheduler.Run) runJSON {
	return runJSON{
		ID: r.ID, State: r.State, Model: r.Filter.Model, AsOf: r.AsOf,
		Manifest: manifestJSON{Hash: r.ManifestHash, Items: r.Items}, Reason: r.Reason,
		Schedule: r.Schedule, FireAt: r.FireAt,
	}
}

// newReportJSON is a run with its account; totals are there even if empty.
func newReportJSON(r scheduler.Report) runJSON {
	run := newRunJSON(r.Run)
	run.Totals = append([]scheduler.Totals{}, r.Totals...)
	run.Exclusions, run.Declines, run.Stops = r.Exclusions, r.Declines, r.Stops
	return run
}

// printReport shows what became of a run.
func (e *env) printReport(r scheduler.Report) error {
	if e.json {
		return e.printJSON(newReportJSON(r))
	}
	fmt.Fprintf(e.stdout, "Run %d is %s: %s, due by %s\n", r.Run.ID, r.Run.State, counted(r.Run.Items, "charge"), asOf(r.Run))
	e.printOrigin(r.Run)
	if r.Run.Items == 0 {
		fmt.Fprintln(e.stdout, "Nothing was due.")
	} else {
		fmt.Fprintf(e.stdout, "Manifest %s\n", r.Run.ManifestHash)
	}
	e.printTotals(r.Totals)
	e.printExclusions(r.Exclusions)
	e.printDeclines(r.Declines)
	return nil
}

// printOrigin says which fire made a run, and why it stands where it stands.
func (e *env) printOrigin(r scheduler.Run) {
	if r.Schedule != "" {
		fmt.Fprintf(e.stdout, "Schedule %s, fire of %s\n", r.Schedule, instant(r.FireAt))
	}
	switch {
	case r.State == scheduler.RunAwaitingApproval && r.Reason != "":
		fmt.Fprintf(e.stdout, "Awaits approval: %s\n", r.Reason)
	case r.State == scheduler.RunAwaitingApproval && r.Schedule != "":
		fmt.Fprintln(e.stdout, "Awaits approval, as each run of its schedule")
	case r.Reason != "":
		fmt.Fprintf(e.stdout, "Reason: %s\n", r.Reason)
	}
}

func (e *env) printTotals(totals []scheduler.Totals) {
	if len(totals) == 0 {
		return
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Currency", "Planned", "Paid", "Unpaid", "Retrying", "Pending", "Unknown", "Held", "Postponed", "Skipped", "Left"})
	for _, row := range totals {
		c := row.Currency
		t.AppendRow(table.Row{c, cell(row.Planned, c), cell(row.Paid, c), cell(row.Unpaid, c), cell(row.Retrying, c), cell(row.Pending, c),
			cell(row.Unknown, c), cell(row.Held, c), cell(row.Postponed, c), cell(row.Skipped, c), cell(row.Left, c)})
	}
	alignRight(t, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	t.SuppressEmptyColumns()
	t.Render()
}

func (e *env) printDeclines(declines []scheduler.Decline) {
	if len(declines) == 0 {
		return
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Declined", "Class", "Code", "The gateway's words", "Account"})
	for _, d := range declines {
		t.AppendRow(table.Row{d.Count, d.Class, d.Code, d.Reason, d.MerchantAccount})
	}
	t.Render()
}

func (e *env) printExclusions(exclusions []scheduler.Exclusion) {
	if len(exclusions) == 0 {
		return
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Not charged", "Count", "Amount", "Why", "Account"})
	for _, x := range exclusions {
		t.AppendRow(table.Row{x.Disposition, x.Count, money(x.Amount, x.Currency), because(x.Reason), x.MerchantAccount})
	}
	alignRight(t, 2, 3)
	t.Render()
}

func asOf(r scheduler.Run) string {
	if !r.AsOfDate.IsZero() {
		return "the end of " + r.AsOfDate.String()
	}
	return instant(r.AsOf)
}

// cell shows a count and its money, or nothing for none.
func cell(a scheduler.Amount, currency string) string {
	if a.Count == 0 {
		return ""
	}
	return strconv.FormatInt(a.Count, 10) + "\n" + money(a, currency)
}
