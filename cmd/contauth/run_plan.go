package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// planFlags are those that say what a run is about.
type planFlags struct {
	asOf            string
	model           string
	merchantAccount string
	currency        string
	referenceFile   string
	limit           int
	needsApproval   bool
}

func (f *planFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.asOf, "as-of", "", "take what is due up to `TIME`: RFC 3339, or a date meaning all cycles whose local date is on or before it (default: now)")
	flags.StringVar(&f.model, "model", "", "only charges of this `MODEL`: Subscription or UnscheduledCardOnFile")
	flags.StringVar(&f.merchantAccount, "merchant-account", "", "only charges of merchant account `ID`")
	flags.StringVar(&f.currency, "currency", "", "only charges in this currency, such as `EUR`")
	flags.StringVar(&f.referenceFile, "reference-file", "", "only the charges or subscriptions whose references stand in `FILE`, one a line")
	flags.IntVar(&f.limit, "limit", 0, "at most `N` charges, the oldest first (0: no limit)")
	flags.BoolVar(&f.needsApproval, "needs-approval", false, "let the run wait until somebody approves its manifest")
}

func (f *planFlags) request(e *env) (scheduler.PlanRequest, error) {
	req := scheduler.PlanRequest{Actor: e.actor, NeedsApproval: f.needsApproval}
	var err error
	if req.AsOf, err = scheduler.ParseAsOf(f.asOf); err != nil {
		return req, usageError("--as-of: %w", err)
	}
	if req.Filter.Model, err = parseModel(f.model); err != nil {
		return req, err
	}
	if req.Filter.Currency, err = parseCurrency(f.currency); err != nil {
		return req, err
	}
	if f.limit < 0 {
		return req, usageError("--limit: %d is negative", f.limit)
	}
	req.Filter.MerchantAccount, req.Filter.Limit = f.merchantAccount, f.limit
	if f.referenceFile != "" {
		if req.Filter.References, err = readReferences(f.referenceFile); err != nil {
			return req, err
		}
	}
	return req, nil
}

// parseModel reads --model; empty text means any.
func parseModel(text string) (billing.RecurringProcessingModel, error) {
	switch model := billing.RecurringProcessingModel(text); model {
	case "", billing.ModelSubscription, billing.ModelUnscheduledCardOnFile:
		return model, nil
	}
	return "", usageError("--model: %q is neither Subscription nor UnscheduledCardOnFile", text)
}

// parseCurrency reads --currency; empty text means any.
func parseCurrency(text string) (string, error) {
	if _, ok := billing.Exponent(text); text != "" && !ok {
		return "", usageError("--currency: %q is no currency that ISO 4217 lists", text)
	}
	return text, nil
}

// maxReferences bounds a reference file; a longer list is a filter, not a list.
const maxReferences = 1_000_000

func readReferences(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError("--reference-file: %w", err)
	}
	defer file.Close()
	references := []string{}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		subscription, _, _ := strings.Cut(text, "~") // a cycle's charge is <subscription>~<cycle>
		if err := billing.ValidateReference(subscription); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		if len(references) == maxReferences {
			return nil, fmt.Errorf("%s: more than %d references", path, maxReferences)
		}
		references = append(references, text)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return references, nil
}

func newRunPlanCommand(e *env) *cobra.Command {
	var flags planFlags
	var preview bool
	var schedule string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Freeze the list of what a run will charge; charges nothing",
		Args:  exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schedule != "" {
				if err := onlySchedule(cmd, preview); err != nil {
					return err
				}
				return e.with(cmd.Context(), func(s *session) error { return e.previewFire(cmd.Context(), s, schedule) })
			}
			req, err := flags.request(e)
			if err != nil {
				return err
			}
			req.Preview = preview
			return e.with(cmd.Context(), func(s *session) error {
				report, err := s.db.PlanRun(cmd.Context(), req)
				if err != nil {
					return err
				}
				if report.Run.Items == 0 {
					e.exit = exitNothingDue
				}
				return e.printPlan(report, preview)
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&preview, "preview", false, "show the plan and store nothing")
	cmd.Flags().StringVar(&schedule, "schedule", "", "with --preview: what the schedule `NAME` would do if it fired now")
	return cmd
}

// onlySchedule refuses what does not go with --schedule: its fires make its runs,
// and it says itself what they take.
func onlySchedule(cmd *cobra.Command, preview bool) error {
	if !preview {
		return usageError("--schedule wants --preview: the runs of a schedule are made by its fires")
	}
	for _, flag := range []string{"as-of", "model", "merchant-account", "currency", "reference-file", "limit", "needs-approval"} {
		if cmd.Flags().Changed(flag) {
			return usageError("--schedule says what is taken: leave out --%s", flag)
		}
	}
	return nil
}

// previewFire shows what a schedule would do if it fired now.
func (e *env) previewFire(ctx context.Context, s *session, name string) error {
	fire, err := s.db.FireNow(ctx, name)
	if err != nil {
		return noSuchSchedule(name, err)
	}
	report, err := s.db.PreviewFire(ctx, name)
	if err != nil {
		return noSuchSchedule(name, err)
	}
	if report.Run.Items == 0 {
		e.exit = exitNothingDue
	}
	if !fire.MissedBefore.IsZero() && !e.json {
		fmt.Fprintf(e.stdout, "Cycles that fell due by %s were missed. Catch-up %s: %s.\n",
			instant(fire.MissedBefore), fire.Schedule.CatchUp, catchUpSentences[fire.Schedule.CatchUp])
	}
	return e.printPlan(report, true)
}

// printPlan shows what a run will charge, and what it leaves out and why.
func (e *env) printPlan(r scheduler.Report, preview bool) error {
	if e.json {
		return e.printJSON(newReportJSON(r))
	}
	e.printPlannedTotals(r, preview)
	e.printExclusions(r.Exclusions)
	return nil
}

func (e *env) printPlannedTotals(r scheduler.Report, preview bool) {
	what := fmt.Sprintf("Run %d", r.Run.ID)
	if preview {
		what = "Preview (nothing is stored)"
	}
	fmt.Fprintf(e.stdout, "%s: %s, due by %s\n", what, counted(r.Run.Items, "charge"), asOf(r.Run))
	if preview {
		e.printOrigin(r.Run)
	}
	if r.Run.Items == 0 {
		fmt.Fprintln(e.stdout, "Nothing is due.")
	} else {
		fmt.Fprintf(e.stdout, "Manifest %s\n", r.Run.ManifestHash)
	}
	if len(r.Totals) == 0 {
		return
	}
	t := e.newTable()
	t.AppendHeader(table.Row{"Currency", "To charge", "Amount", "Held", "Postponed"})
	for _, row := range r.Totals {
		t.AppendRow(table.Row{row.Currency, row.Planned.Count, money(row.Planned, row.Currency), row.Held.Count, row.Postponed.Count})
	}
	alignRight(t, 2, 3, 4, 5)
	t.Render()
}
