package scheduler

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/contauth/contauth/billing"
)

// A DayReport accounts for one local day: everything that fell due on it is in
// exactly one of the columns, in count and in money.
type DayReport struct {
	Day        billing.LocalDate `json:"day"`
	Currencies []DayTotals       `json:"currencies"`
}

// DayTotals is a day in one currency. Expected is the sum of the others.
type DayTotals struct {
	Currency  string `json:"currency"`
	Expected  Amount `json:"expected"`
	Paid      Amount `json:"paid"`
	Unpaid    Amount `json:"unpaid"`
	Retrying  Amount `json:"retrying"` // refused for now, due again later
	Pending   Amount `json:"pending"`  // the gateway tells later, or a process has it now
	Unknown   Amount `json:"unknown"`
	Held      Amount `json:"held"`
	Waived    Amount `json:"waived"`
	Cancelled Amount `json:"cancelled"`
	Postponed Amount `json:"postponed"` // a run left it out, with a reason
	InRun     Amount `json:"in_run"`    // in a run that has not ended: it may await approval, or be paused
	Untouched Amount `json:"untouched"` // due, and no run has looked at it
	Unplanned Amount `json:"unplanned"` // cycles that no plan has made into charges
}

// IsComplete reports whether nothing of the day was missed.
func (r DayReport) IsComplete() bool {
	for _, t := range r.Currencies {
		if t.InRun.Count > 0 || t.Untouched.Count > 0 || t.Unplanned.Count > 0 {
			return false
		}
	}
	return true
}

// Missing says what of the day is not accounted for, or "".
func (r DayReport) Missing() string {
	var told []string
	for _, t := range r.Currencies {
		if n := t.Untouched.Count + t.Unplanned.Count; n > 0 {
			sum := billing.Money{Minor: t.Untouched.AmountMinor + t.Unplanned.AmountMinor, Currency: t.Currency}
			told = append(told, fmt.Sprintf("%d due on %s, %s, were in no run", n, r.Day, sum))
		}
		if t.InRun.Count > 0 {
			told = append(told, fmt.Sprintf("%d due on %s, %s, are in a run that has not ended", t.InRun.Count, r.Day,
				billing.Money{Minor: t.InRun.AmountMinor, Currency: t.Currency}))
		}
	}
	return strings.Join(told, "; ")
}

// A DayStore accounts for days.
type DayStore interface {
	// DayToClose returns the oldest local day, over everywhere, that is not yet
	// known to be complete and was not looked at within a while. It reports false if
	// there is none.
	DayToClose(ctx context.Context) (billing.LocalDate, bool, error)
	// ReportDay accounts for one local day.
	ReportDay(ctx context.Context, day billing.LocalDate) (DayReport, error)
	// CloseDay stores a report. It reports whether this call was the first to find
	// the day complete.
	CloseDay(ctx context.Context, report DayReport) (bool, error)
}

// dayEvery is how often a daemon looks whether a day is over.
const dayEvery = time.Minute

// closeDays looks whether the days that are over are accounted for. An incomplete
// one is told again and again until it is complete.
func (d *Daemon) closeDays(ctx context.Context) {
	for ctx.Err() == nil {
		day, ok, err := d.store.DayToClose(ctx)
		if err != nil {
			d.warn(ctx, "cannot look for days to account for", err)
			return
		}
		if !ok {
			return
		}
		if !d.closeDay(ctx, day) {
			return
		}
	}
}

func (d *Daemon) closeDay(ctx context.Context, day billing.LocalDate) bool {
	report, err := d.store.ReportDay(ctx, day)
	if err != nil {
		d.warn(ctx, "cannot account for a day", err)
		return false
	}
	first, err := d.store.CloseDay(ctx, report)
	if err != nil {
		d.warn(ctx, "cannot store a day's account", err)
		return false
	}
	if !report.IsComplete() {
		d.logger.Error("a day is not complete", "day", day, "missing", report.Missing())
		return true
	}
	if first {
		d.logger.Info("a day is complete", "day", day)
		if d.opts.DayCompleted != nil {
			if err := d.opts.DayCompleted(ctx, report); err != nil {
				d.logger.Error("the dead-man's switch was not told of a complete day", "day", day, "error", err)
			}
		}
	}
	return true
}
