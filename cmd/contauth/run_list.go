package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/scheduler"
)

func newRunListCommand(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the newest first",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.with(cmd.Context(), func(s *session) error {
				runs, err := s.db.FindRuns(cmd.Context(), limit)
				if err != nil {
					return err
				}
				return e.printRuns(runs)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most `N` runs")
	return cmd
}

func (e *env) printRuns(runs []scheduler.Run) error {
	if e.json {
		for _, r := range runs {
			if err := e.printJSON(newRunJSON(r)); err != nil {
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
	t.AppendHeader(table.Row{"Run", "State", "Due by", "Charges", "Planned", "By", "Fire", "Why"})
	for _, r := range runs {
		t.AppendRow(table.Row{r.ID, r.State, asOf(r), r.Items, instant(r.CreatedAt), r.CreatedBy, instant(r.FireAt), r.Reason})
	}
	t.SuppressEmptyColumns()
	t.Render()
	return nil
}
