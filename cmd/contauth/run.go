package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func newRunCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Plan, start, watch and account for runs",
		Long: `A run is one batch of charges. Its plan freezes a manifest: the list of what
is to be charged. Starting it charges exactly that list, less what no longer
stands when its turn comes; the report explains every difference.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newRunPlanCommand(e),
		newRunStartCommand(e),
		newRunResumeCommand(e),
		newRunListCommand(e),
		newRunShowCommand(e),
		newRunReportCommand(e),
		newRunApproveCommand(e),
		newRunPauseCommand(e),
		newRunAbortCommand(e),
	)
	return cmd
}

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
		return req, usageError("--as-of: %v", err)
	}
	switch model := billing.RecurringProcessingModel(f.model); model {
	case "", billing.ModelSubscription, billing.ModelUnscheduledCardOnFile:
		req.Filter.Model = model
	default:
		return req, usageError("--model: %q is neither Subscription nor UnscheduledCardOnFile", f.model)
	}
	if f.currency != "" {
		if _, ok := billing.Exponent(f.currency); !ok {
			return req, usageError("--currency: %q is no currency that ISO 4217 lists", f.currency)
		}
	}
	if f.limit < 0 {
		return req, usageError("--limit: %d is negative", f.limit)
	}
	req.Filter.MerchantAccount, req.Filter.Currency, req.Filter.Limit = f.merchantAccount, f.currency, f.limit
	if f.referenceFile != "" {
		if req.Filter.References, err = readReferences(f.referenceFile); err != nil {
			return req, err
		}
	}
	return req, nil
}

// maxReferences bounds a reference file; a longer list is a filter, not a list.
const maxReferences = 1_000_000

func readReferences(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--reference-file: %w", err)
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
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Freeze the list of what a run will charge; charges nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := flags.request(e)
			if err != nil {
				return err
			}
			req.Preview = preview
			s, err := e.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			report, err := s.db.PlanRun(cmd.Context(), req)
			if err != nil {
				return err
			}
			if report.Run.Items == 0 {
				e.exit = exitNothingDue
			}
			return e.printPlan(report, preview)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&preview, "preview", false, "show the plan and store nothing")
	return cmd
}

func newRunStartCommand(e *env) *cobra.Command {
	var flags planFlags
	var caps capFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "start [ID]",
		Short: "Charge a planned run, or plan one and charge it",
		Long: `Charges the manifest of run ID. Without an ID it plans a run from the filter
flags first. It shows the plan and needs --yes to charge. Ctrl-C stops taking
more, waits for what was sent, and leaves the rest for run resume.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := caps.parse(); err != nil {
				return err
			}
			s, err := e.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			report, err := e.planOrFind(cmd.Context(), s, args, &flags)
			if err != nil {
				return err
			}
			if !e.json {
				if err := e.printPlan(report, false); err != nil {
					return err
				}
			}
			if err := s.mayStart(cmd.Context(), report, &caps); err != nil {
				return err
			}
			if report.Run.Items > 0 && !yes {
				return refusedError("nothing was charged: add --yes to charge run %d (contauth run start %d --yes)", report.Run.ID, report.Run.ID)
			}
			return e.work(cmd.Context(), s, report.Run.ID)
		},
	}
	flags.register(cmd)
	caps.register(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "charge, without asking again")
	return cmd
}

func (e *env) planOrFind(ctx context.Context, s *session, args []string, flags *planFlags) (scheduler.Report, error) {
	if len(args) == 1 {
		id, err := parseRunID(args[0])
		if err != nil {
			return scheduler.Report{}, err
		}
		return s.db.ReportRun(ctx, id)
	}
	req, err := flags.request(e)
	if err != nil {
		return scheduler.Report{}, err
	}
	return s.db.PlanRun(ctx, req)
}

func newRunResumeCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "resume ID",
		Short: "Go on with a run, whatever stopped it",
		Long: `Goes on with a run that was paused, interrupted or crashed. What a dead
process had claimed is resolved first: its leases must run out, then the same
requests are sent again under their own keys, which charges nobody twice.`,
		Args: exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseRunID(args[0])
			if err != nil {
				return err
			}
			s, err := e.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			report, err := s.db.ReportRun(cmd.Context(), id)
			if err != nil {
				return err
			}
			if report.Run.State.IsFinished() {
				return fmt.Errorf("run %d is %s: there is nothing to resume", id, report.Run.State)
			}
			if err := s.mayStart(cmd.Context(), report, &capFlags{}); err != nil {
				return err
			}
			return e.work(cmd.Context(), s, id)
		},
	}
}

// work works a run to its end, reports it, and sets the exit code.
func (e *env) work(ctx context.Context, s *session, id scheduler.RunID) error {
	runner, err := s.newRunner(ctx, e.logger())
	if err != nil {
		return err
	}
	progress := e.newProgress()
	result, err := runner.Work(ctx, id, e.actor, progress.update)
	progress.stop(result.Progress)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	report, err := s.db.ReportRun(ctx, id)
	if err != nil {
		return err
	}
	if err := e.printReport(report); err != nil {
		return err
	}
	e.exit = exitCode(report)
	if result.Interrupted && !report.Run.State.IsFinished() {
		return fmt.Errorf("run %d stopped before its end; nothing is lost: contauth run resume %d", id, id)
	}
	return stopsError(result.Stops)
}

// stopsError says which accounts the run gave up and why, in one line. A
// gateway that cannot be reached is a failure; one that refuses us is a guard.
func stopsError(stops []scheduler.AccountStop) error {
	if len(stops) == 0 {
		return nil
	}
	code := exitRefused
	var told []string
	for _, stop := range stops {
		told = append(told, fmt.Sprintf("%s: %s%s", stop.MerchantAccount, stop.Reason.Sentence(), detail(stop.Detail)))
		if stop.Reason == billing.ReasonGatewayUnavailable {
			code = exitFailure
		}
	}
	return &exitError{code, fmt.Errorf("nothing more was sent to %s", strings.Join(told, "; "))}
}

func detail(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// exitCode says in one number how a run went; the worst news wins.
func exitCode(report scheduler.Report) int {
	var unknown, declined, planned int64
	for _, t := range report.Totals {
		unknown += t.Unknown.Count
		declined += t.Unpaid.Count + t.Retrying.Count
		planned += t.Planned.Count
	}
	for _, d := range report.Declines {
		declined += d.Count
	}
	switch {
	case unknown > 0:
		return exitUnknown
	case declined > 0:
		return exitDeclined
	case planned == 0:
		return exitNothingDue
	default:
		return exitDone
	}
}

func newRunListCommand(e *env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := e.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			runs, err := s.db.FindRuns(cmd.Context(), limit)
			if err != nil {
				return err
			}
			return e.printRuns(runs)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most `N` runs")
	return cmd
}

func newRunShowCommand(e *env) *cobra.Command {
	var manifest bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a run, or with --manifest exactly the bytes that its hash covers",
		Args:  exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if manifest {
					out := bufio.NewWriter(e.stdout)
					if err := s.db.WriteManifest(cmd.Context(), id, out); err != nil {
						return err
					}
					return out.Flush()
				}
				report, err := s.db.ReportRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				return e.printReport(report)
			})
		},
	}
	cmd.Flags().BoolVar(&manifest, "manifest", false, "print the manifest: position,merchant_account,charge_reference,attempt,amount_minor,currency,token")
	return cmd
}

func newRunReportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "report ID",
		Short: "Account for every item of a run, by currency and reason",
		Args:  exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				report, err := s.db.ReportRun(cmd.Context(), id)
				if err != nil {
					return err
				}
				e.exit = exitCode(report)
				return e.printReport(report)
			})
		},
	}
}

func newRunApproveCommand(e *env) *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Approve the manifest of a run that waits for it",
		Args:  exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if err := s.db.ApproveRun(cmd.Context(), id, hash, e.actor); err != nil {
					return err
				}
				return e.printState(cmd.Context(), s, id)
			})
		},
	}
	cmd.Flags().StringVar(&hash, "manifest-hash", "", "approve only if the manifest has this `HASH`")
	return cmd
}

func newRunPauseCommand(e *env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause ID --reason TEXT",
		Short: "Keep a running run from taking more until it is resumed",
		Args:  exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if err := s.db.PauseRun(cmd.Context(), id, e.actor, reason); err != nil {
					return err
				}
				return e.printState(cmd.Context(), s, id)
			})
		},
	}
	requireReason(cmd, &reason)
	return cmd
}

func newRunAbortCommand(e *env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "abort ID --reason TEXT",
		Short: "End a run: what was sent is finished, nothing more is taken",
		Args:  exactArgs(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withRun(cmd.Context(), args[0], func(s *session, id scheduler.RunID) error {
				if err := s.db.AbortRun(cmd.Context(), id, e.actor, reason); err != nil {
					return err
				}
				return e.printState(cmd.Context(), s, id)
			})
		},
	}
	requireReason(cmd, &reason)
	return cmd
}

func requireReason(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, kept on record")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *reason == "" {
			return usageError("%s needs --reason: it is kept on record", cmd.CommandPath())
		}
		return nil
	}
}

// withRun opens the database for a command about one run.
func (e *env) withRun(ctx context.Context, text string, do func(*session, scheduler.RunID) error) error {
	id, err := parseRunID(text)
	if err != nil {
		return err
	}
	s, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s, id)
}

func parseRunID(text string) (scheduler.RunID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError("%q is no run: give the number that `contauth run list` shows", text)
	}
	return scheduler.RunID(id), nil
}

// capFlags are the limits of a run that is about to start.
type capFlags struct {
	maxCount   int64
	maxAmounts []string

	amounts []billing.Money
}

func (f *capFlags) register(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.maxCount, "max-count", 0, "refuse to start a run of more than `N` charges (0: no cap)")
	cmd.Flags().StringArrayVar(&f.maxAmounts, "max-amount", nil, "refuse to start a run of more than this in a currency, in minor units, such as `EUR:100000`; repeatable")
}

func (f *capFlags) parse() error {
	for _, text := range f.maxAmounts {
		currency, digits, ok := strings.Cut(text, ":")
		minor, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil {
			return usageError("--max-amount: %q is not like EUR:100000 (minor units)", text)
		}
		amount, err := billing.NewMoney(minor, currency)
		if err != nil {
			return usageError("--max-amount: %v", err)
		}
		f.amounts = append(f.amounts, amount)
	}
	return nil
}

// mayStart returns why a run must not start: a cap, or a live account.
func (s *session) mayStart(ctx context.Context, report scheduler.Report, caps *capFlags) error {
	var count int64
	for _, t := range report.Totals {
		count += t.Planned.Count
		for _, limit := range caps.amounts {
			if limit.Currency == t.Currency && t.Planned.AmountMinor > limit.Minor {
				planned := billing.Money{Minor: t.Planned.AmountMinor, Currency: t.Currency}
				return refusedError("run %d would charge %s, more than --max-amount %s: nothing was charged", report.Run.ID, planned, limit)
			}
		}
	}
	if caps.maxCount > 0 && count > caps.maxCount {
		return refusedError("run %d has %d charges, more than --max-count %d: nothing was charged", report.Run.ID, count, caps.maxCount)
	}
	accounts, err := s.db.RunAccounts(ctx, report.Run.ID)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		for _, configured := range s.config.MerchantAccounts {
			if configured.ID == a.MerchantAccount && configured.Environment == "live" {
				return refusedError("merchant account %s is live: this version charges test accounts only, since the guards that live money needs are not built yet", a.MerchantAccount)
			}
		}
	}
	return nil
}
