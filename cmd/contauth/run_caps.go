package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

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
			return usageError("--max-amount: %w", err)
		}
		f.amounts = append(f.amounts, amount)
	}
	return nil
}

// mayStart returns why a run must not start: a cap, or a live account on a
// database that was not bound.
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
		return refusedError("run %d has %s, more than --max-count %d: nothing was charged", report.Run.ID, counted(count, "charge"), caps.maxCount)
	}
	accounts, err := s.db.RunAccounts(ctx, report.Run.ID)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if s.isLive(a.MerchantAccount) {
			return s.requireBinding(ctx)
		}
	}
	return nil
}
