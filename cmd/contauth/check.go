package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/internal/postgres"
)

func newCheckCommand(e *env) *cobra.Command {
	var merchantAccount, ledger, day string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Prove that nobody was missed and nobody paid twice",
		Long: `Check evaluates the invariants of the charge protocol against the database and
against the ledgers of the sandboxes that the configured test accounts use. It
changes nothing and may run at any time, also beside a run.

An invariant that compares with a gateway is "not checked" (in JSON, ok is null)
if no ledger can be read. A payment whose charge still waits for its answer
breaks nothing; it is counted in a note.

With --day it accounts for one local day instead: everything that fell due on it,
in count and money, by what became of it. What no run has looked at is missing.

Exit 0 if everything that was checked holds, 1 if not.`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if day != "" {
				if merchantAccount != "" || ledger != "" {
					return usageError("--day accounts for all that fell due: it takes neither --merchant-account nor --ledger")
				}
				return e.checkDay(cmd.Context(), day)
			}
			return e.with(cmd.Context(), func(s *session) error {
				return e.check(cmd.Context(), s, merchantAccount, ledger)
			})
		},
	}
	cmd.Flags().StringVar(&merchantAccount, "merchant-account", "", "only charges and subscriptions of merchant account `ID`")
	cmd.Flags().StringVar(&day, "day", "", "account for the local `DATE`, such as 2027-01-31")
	cmd.Flags().StringVar(&ledger, "ledger", "", "compare with this ledger instead: a sandbox's `URL`, or a file of JSON lines")
	return cmd
}

func (e *env) check(ctx context.Context, s *session, merchantAccount, ledger string) error {
	if merchantAccount != "" && !isConfigured(s.config, merchantAccount) {
		return usageError("--merchant-account: %q is not in the configuration", merchantAccount)
	}
	ledgers, err := checkLedgers(ctx, s.config, ledger)
	if err != nil {
		return err
	}
	results, err := s.db.Check(ctx, postgres.CheckRequest{
		MerchantAccount: merchantAccount, Lease: s.config.Timing.Lease, Ledgers: ledgers, HoldsCardData: importer.HoldsCardData,
	})
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Violations > 0 {
			e.exit = exitFailure
		}
	}
	if e.json {
		return e.printCheckJSON(results)
	}
	e.printCheck(results)
	return nil
}

func checkLedgers(ctx context.Context, cfg config.Config, name string) ([]postgres.Ledger, error) {
	if name == "" {
		return sandboxLedgers(ctx, cfg), nil
	}
	ledger, err := namedLedger(ctx, cfg, name)
	return []postgres.Ledger{ledger}, err
}

func isConfigured(cfg config.Config, merchantAccount string) bool {
	for _, a := range cfg.MerchantAccounts {
		if a.ID == merchantAccount {
			return true
		}
	}
	return false
}

// checkJSON is one line of check --json. The first four names are promised.
type checkJSON struct {
	ID         string   `json:"id"`
	OK         *bool    `json:"ok"` // null: not checked
	Violations int      `json:"violations"`
	Sample     []string `json:"sample"`
	Meaning    string   `json:"meaning"`
	Note       string   `json:"note,omitempty"`
}

func (e *env) printCheckJSON(results []postgres.CheckResult) error {
	encoder := json.NewEncoder(e.stdout)
	for _, r := range results {
		line := checkJSON{ID: r.ID, Violations: r.Violations, Sample: r.Sample, Meaning: r.Meaning, Note: r.Note}
		if r.Checked {
			ok := r.OK()
			line.OK = &ok
		}
		if line.Sample == nil {
			line.Sample = []string{}
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// printCheck shows the invariants as a table, and below it what breaks them.
func (e *env) printCheck(results []postgres.CheckResult) {
	t := e.newTable()
	t.AppendHeader(table.Row{"", "What must hold", "Result"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 72, WidthMaxEnforcer: text.WrapSoft}})
	var faults []string
	for _, r := range results {
		t.AppendRow(table.Row{r.ID, r.Meaning, checkVerdict(r)})
		for _, what := range r.Sample {
			faults = append(faults, r.ID+": "+what)
		}
		if more := r.Violations - len(r.Sample); more > 0 {
			faults = append(faults, fmt.Sprintf("%s: and %d more", r.ID, more))
		}
		if r.Note != "" && r.Checked {
			faults = append(faults, r.ID+": "+r.Note)
		}
	}
	t.Render()
	if len(faults) > 0 {
		fmt.Fprintln(e.stdout, strings.Join(faults, "\n"))
	}
}

func checkVerdict(r postgres.CheckResult) string {
	switch {
	case !r.Checked:
		return r.Note
	case r.OK():
		return "ok"
	}
	return counted(r.Violations, "violation")
}
