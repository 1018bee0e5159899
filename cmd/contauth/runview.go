package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

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
	Totals     []scheduler.Totals               `json:"totals"`
	Exclusions []scheduler.Exclusion            `json:"exclusions,omitempty"`
	Declines   []scheduler.Decline              `json:"declines,omitempty"`
	Stops      []scheduler.AccountStop          `json:"stops,omitempty"`
	Reason     string                           `json:"reason,omitempty"`
}

type manifestJSON struct {
	Hash  string `json:"hash"`
	Items int    `json:"items"`
}

func newRunJSON(r scheduler.Report) runJSON {
	totals := r.Totals
	if totals == nil {
		totals = []scheduler.Totals{}
	}
	return runJSON{
		ID: r.Run.ID, State: r.Run.State, Model: r.Run.Filter.Model, AsOf: r.Run.AsOf,
		Manifest: manifestJSON{Hash: r.Run.ManifestHash, Items: r.Run.Items}, Totals: totals,
		Exclusions: r.Exclusions, Declines: r.Declines, Stops: r.Stops, Reason: r.Run.Reason,
	}
}

func (e *env) printJSON(v any) error { return json.NewEncoder(e.stdout).Encode(v) }

// printPlan shows what a run will charge, and what it leaves out and why.
func (e *env) printPlan(r scheduler.Report, preview bool) error {
	if e.json {
		return e.printJSON(newRunJSON(r))
	}
	what := fmt.Sprintf("Run %d", r.Run.ID)
	if preview {
		what = "Preview (nothing is stored)"
	}
	fmt.Fprintf(e.stdout, "%s: %s, due by %s\n", what, counted(r.Run.Items, "charge"), asOf(r.Run))
	if r.Run.Items > 0 {
		fmt.Fprintf(e.stdout, "Manifest %s\n", r.Run.ManifestHash)
	}
	if len(r.Totals) > 0 {
		t := e.newTable()
		t.AppendHeader(table.Row{"Currency", "To charge", "Amount", "Held", "Postponed"})
		for _, row := range r.Totals {
			t.AppendRow(table.Row{row.Currency, row.Planned.Count, money(row.Planned, row.Currency), row.Held.Count, row.Postponed.Count})
		}
		alignRight(t, 2, 3, 4, 5)
		t.Render()
	}
	e.printExclusions(r.Exclusions)
	return nil
}

// printReport shows what became of a run.
func (e *env) printReport(r scheduler.Report) error {
	if e.json {
		return e.printJSON(newRunJSON(r))
	}
	fmt.Fprintf(e.stdout, "Run %d is %s: %s, due by %s\n", r.Run.ID, r.Run.State, counted(r.Run.Items, "charge"), asOf(r.Run))
	if r.Run.Reason != "" {
		fmt.Fprintf(e.stdout, "Reason: %s\n", r.Run.Reason)
	}
	fmt.Fprintf(e.stdout, "Manifest %s\n", r.Run.ManifestHash)
	t := e.newTable()
	t.AppendHeader(table.Row{"Currency", "Planned", "Paid", "Unpaid", "Retrying", "Pending", "Unknown", "Held", "Postponed", "Skipped", "Left"})
	for _, row := range r.Totals {
		c := row.Currency
		t.AppendRow(table.Row{c, cell(row.Planned, c), cell(row.Paid, c), cell(row.Unpaid, c), cell(row.Retrying, c), cell(row.Pending, c),
			cell(row.Unknown, c), cell(row.Held, c), cell(row.Postponed, c), cell(row.Skipped, c), cell(row.Left, c)})
	}
	alignRight(t, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	t.SuppressEmptyColumns()
	t.Render()
	e.printExclusions(r.Exclusions)
	if len(r.Declines) > 0 {
		t := e.newTable()
		t.AppendHeader(table.Row{"Declined", "Class", "Code", "The gateway's words", "Account"})
		for _, d := range r.Declines {
			t.AppendRow(table.Row{d.Count, d.Class, d.Code, d.Reason, d.MerchantAccount})
		}
		t.Render()
	}
	return nil
}

func (e *env) printExclusions(exclusions []scheduler.Exclusion) {
	if len(exclusions) == 0 {
		return
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Not charged", "Count", "Amount", "Why", "Account"})
	for _, x := range exclusions {
		t.AppendRow(table.Row{x.Disposition, x.Count, money(x.Amount, x.Currency), x.Reason.Sentence() + " (" + string(x.Reason) + ")", x.MerchantAccount})
	}
	alignRight(t, 2, 3)
	t.Render()
}

func (e *env) printRuns(runs []scheduler.Run) error {
	if e.json {
		for _, r := range runs {
			if err := e.printJSON(newRunJSON(scheduler.Report{Run: r})); err != nil {
				return err
			}
		}
		return nil
	}
	if len(runs) == 0 {
		fmt.Fprintln(e.stdout, "No runs yet: contauth run plan makes one.")
		return nil
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Run", "State", "Due by", "Charges", "Planned", "By"})
	for _, r := range runs {
		t.AppendRow(table.Row{r.ID, r.State, asOf(r), r.Items, r.CreatedAt.Format("2006-01-02 15:04:05Z"), r.CreatedBy})
	}
	t.Render()
	return nil
}

// printState says in a line how a run stands after a command changed it.
func (e *env) printState(ctx context.Context, s *session, id scheduler.RunID) error {
	report, err := s.db.ReportRun(ctx, id)
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(newRunJSON(report))
	}
	fmt.Fprintf(e.stdout, "Run %d is %s.\n", id, report.Run.State)
	return nil
}

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

func asOf(r scheduler.Run) string {
	if !r.AsOfDate.IsZero() {
		return "the end of " + r.AsOfDate.String()
	}
	return r.AsOf.Format("2006-01-02 15:04:05Z")
}

func money(a scheduler.Amount, currency string) string {
	return billing.Money{Minor: a.AmountMinor, Currency: currency}.String()
}

// cell shows a count and its money, or nothing for none.
func cell(a scheduler.Amount, currency string) string {
	if a.Count == 0 {
		return ""
	}
	return strconv.FormatInt(a.Count, 10) + "\n" + money(a, currency)
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
