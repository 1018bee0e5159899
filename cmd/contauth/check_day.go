package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// checkDay accounts for one local day.
func (e *env) checkDay(ctx context.Context, text string) error {
	day, err := billing.ParseLocalDate(text)
	if err != nil {
		return usageError("--day: %q is no date: want one like 2027-01-31", text)
	}
	return e.with(ctx, func(s *session) error {
		report, err := s.db.ReportDay(ctx, day)
		if err != nil {
			return err
		}
		if !report.IsComplete() {
			e.exit = exitFailure
		}
		return e.printDay(report)
	})
}

// dayJSON is a day's account as --json shows it.
type dayJSON struct {
	scheduler.DayReport
	Complete bool `json:"complete"`
}

func (e *env) printDay(r scheduler.DayReport) error {
	if e.json {
		if r.Currencies == nil {
			r.Currencies = []scheduler.DayTotals{}
		}
		return e.printJSON(dayJSON{r, r.IsComplete()})
	}
	if len(r.Currencies) == 0 {
		_, err := fmt.Fprintf(e.stdout, "Nothing fell due on %s.\n", r.Day)
		return err
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Due on " + r.Day.String(), "Charges", "Amount"})
	for i, c := range r.Currencies {
		if i > 0 {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{c.Currency, c.Expected.Count, money(c.Expected, c.Currency)})
		for _, row := range []struct {
			name   string
			amount scheduler.Amount
		}{
			{"paid", c.Paid}, {"unpaid", c.Unpaid}, {"retrying", c.Retrying}, {"pending", c.Pending}, {"unknown", c.Unknown}, {"held", c.Held},
			{"postponed", c.Postponed}, {"waived", c.Waived}, {"cancelled", c.Cancelled},
			{"MISSING: its run has not ended", c.InRun}, {"MISSING: in no run", c.Untouched}, {"MISSING: no charge yet", c.Unplanned},
		} {
			if row.amount.Count > 0 {
				t.AppendRow(table.Row{"  " + row.name, row.amount.Count, money(row.amount, c.Currency)})
			}
		}
	}
	alignRight(t, 2, 3)
	t.Render()
	if missing := r.Missing(); missing != "" {
		_, err := fmt.Fprintf(e.stdout, "Not complete: %s.\n", missing)
		return err
	}
	_, err := fmt.Fprintln(e.stdout, "Complete: everything is accounted for.")
	return err
}
