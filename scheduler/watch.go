package scheduler

import (
	"context"
	"fmt"
	"time"
)

const (
	// watchEvery is how often a daemon says what is late: as often as a person would
	// want to be told again.
	watchEvery = 15 * time.Minute
	// A fire without a run for so long, and an unknown charge that old, want a person.
	lateFire    = 15 * time.Minute
	oldUnknown  = time.Hour
	lateDue     = 36 * time.Hour // a daily schedule takes it within a day
	idleRunning = 10 * time.Minute
)

// watch logs at error level what the alerts tell those who have no Prometheus: that
// there is no run when there should be one, and money that nobody knows of.
func (d *Daemon) watch(ctx context.Context) {
	if d.opts.Figures == nil {
		return
	}
	f, err := d.opts.Figures(ctx)
	if err != nil {
		d.warn(ctx, "cannot look for what is late", err)
		return
	}
	for _, late := range f.late() {
		d.logger.Error(late.what, "for", late.time.Round(time.Second), "detail", late.detail)
	}
}

// A lateness is something that should have happened.
type lateness struct {
	what   string
	time   time.Duration
	detail string
}

// late lists what a person should look at, in words.
func (f Figures) late() []lateness {
	var found []lateness
	if f.FireLag > lateFire {
		found = append(found, lateness{"there is no run when there should be one", f.FireLag, "a fire has no run: contauth schedule list"})
	}
	if f.CycleLag > lateDue {
		found = append(found, lateness{"cycles are due and no plan has taken them", f.CycleLag, "contauth schedule list"})
	}
	if f.OpenKnown && f.DueLag > lateDue {
		found = append(found, lateness{"charges are due and in no run", f.DueLag, "contauth charges list --state due"})
	}
	if f.OpenKnown && f.UnknownOldest > oldUnknown {
		detail := "contauth charges list --state unknown"
		for _, u := range f.Unknown {
			detail += fmt.Sprintf("; %s: %d charges, %d minor units of %s", u.MerchantAccount, u.Count, u.AmountMinor, u.Currency)
		}
		found = append(found, lateness{"outcomes are unknown", f.UnknownOldest, detail})
	}
	if f.RunIdle > idleRunning {
		found = append(found, lateness{"a running run stands still", f.RunIdle, "contauth run list"})
	}
	return found
}
