package main

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// timeFlags say when a schedule fires.
type timeFlags struct {
	cron, zone   string
	weekends     bool
	blackoutDays []string
	blackoutFile string
	blackoutRule string

	dates []billing.LocalDate // of all blackout flags, once they were read
}

func (f *timeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.cron, "cron", "", "when it fires: `EXPRESSION` of five fields (minute hour day month weekday), a word such as @daily, or @every 90m")
	flags.StringVar(&f.zone, "zone", "", "the time zone of the expression, such as `Europe/Berlin`")
	flags.BoolVar(&f.weekends, "weekends", false, "do not charge on Saturdays and Sundays")
	flags.StringArrayVar(&f.blackoutDays, "blackout-day", nil, "do not charge on `DATE`; repeatable")
	flags.StringVar(&f.blackoutFile, "blackout-file", "", "do not charge on the dates in `FILE`, one a line")
	flags.StringVar(&f.blackoutRule, "blackout-rule", "", "where a fire goes on a day without charges: `RULE` earlier, later or skip")
}

// apply changes a schedule by the flags that were given, and checks its times.
func (f *timeFlags) apply(flags *pflag.FlagSet, s *scheduler.Schedule) error {
	if flags.Changed("cron") {
		s.Cron = f.cron
	}
	if flags.Changed("zone") {
		s.Zone = f.zone
	}
	if flags.Changed("weekends") {
		s.Blackout.Weekends = f.weekends
	}
	if flags.Changed("blackout-rule") {
		s.Blackout.Rule = scheduler.BlackoutRule(f.blackoutRule)
	}
	if flags.Changed("blackout-day") || flags.Changed("blackout-file") {
		if f.dates == nil {
			dates, err := f.readDates()
			if err != nil {
				return err
			}
			f.dates = dates
		}
		s.Blackout.Days = f.dates
	}
	return nil
}

// readDates returns the dates of all blackout flags, in order.
func (f *timeFlags) readDates() ([]billing.LocalDate, error) {
	days := []billing.LocalDate{}
	for _, text := range f.blackoutDays {
		if text == "" { // none: how edit takes them away
			continue
		}
		day, err := billing.ParseLocalDate(text)
		if err != nil {
			return nil, usageError("--blackout-day %q: %w", text, err)
		}
		days = append(days, day)
	}
	if f.blackoutFile != "" {
		listed, err := readDateFile(f.blackoutFile)
		if err != nil {
			return nil, err
		}
		days = append(days, listed...)
	}
	slices.SortFunc(days, func(a, b billing.LocalDate) int { return a.DaysSince(b) })
	return slices.Compact(days), nil
}

// maxBlackoutDays is more than a century has weekdays off.
const maxBlackoutDays = 10_000

// readDateFile reads a file of dates; empty lines and those that begin with # are
// left out.
func readDateFile(path string) ([]billing.LocalDate, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError("--blackout-file: %w", err)
	}
	defer file.Close()
	var days []billing.LocalDate
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		day, err := billing.ParseLocalDate(text)
		if err != nil {
			return nil, usageError("--blackout-file %s, line %d: %w", path, n, err)
		}
		if len(days) == maxBlackoutDays {
			return nil, usageError("--blackout-file %s: more than %d dates", path, maxBlackoutDays)
		}
		days = append(days, day)
	}
	if err := lines.Err(); err != nil {
		return nil, usageError("--blackout-file %s: %w", path, err)
	}
	return days, nil
}

// scheduleFlags describe a schedule.
type scheduleFlags struct {
	timeFlags
	model, merchantAccount, currency string
	limit                            int
	dueAgain                         bool
	catchUp                          string
	needsApproval                    bool
	approveAboveCount, maxCount      int
	approveAboveAmounts, maxAmounts  []string
}

func (f *scheduleFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.timeFlags.register(flags)
	flags.StringVar(&f.model, "model", "", "only charges of this `MODEL`: Subscription or UnscheduledCardOnFile")
	flags.StringVar(&f.merchantAccount, "merchant-account", "", "only charges of merchant account `ACCOUNT`")
	flags.StringVar(&f.currency, "currency", "", "only charges in this currency, such as `EUR`")
	flags.IntVar(&f.limit, "limit", 0, "at most `N` charges a run, the oldest first (0: no limit)")
	flags.BoolVar(&f.dueAgain, "due-again", false, "only what is due again: retries, releases, and what earlier runs put off")
	flags.StringVar(&f.catchUp, "catch-up", string(scheduler.CatchUps[0]), "what becomes of cycles that were missed: `POLICY` few, all, latest, none or ask")
	flags.BoolVar(&f.needsApproval, "needs-approval", false, "let each run wait until somebody approves it")
	flags.IntVar(&f.approveAboveCount, "approve-above-count", 0, "let runs of more than `N` charges wait for approval (0: no such limit)")
	flags.StringArrayVar(&f.approveAboveAmounts, "approve-above-amount", nil, "let runs of more than `MONEY` in a currency wait for approval, such as \"1000.00 EUR\"; repeatable")
	flags.IntVar(&f.maxCount, "max-count", 0, "cap: runs of more than `N` charges wait for approval, with an alert (0: no cap)")
	flags.StringArrayVar(&f.maxAmounts, "max-amount", nil, "cap: runs of more than `MONEY` in a currency wait for approval, with an alert; repeatable")
}

// apply changes a schedule by the flags that were given. An empty value or 0
// takes a setting away; a list replaces the list that was there.
func (f *scheduleFlags) apply(flags *pflag.FlagSet, s *scheduler.Schedule) error {
	if err := f.timeFlags.apply(flags, s); err != nil {
		return err
	}
	if err := f.applyFilter(flags, &s.Filter); err != nil {
		return err
	}
	if flags.Changed("catch-up") {
		s.CatchUp = scheduler.CatchUp(f.catchUp)
		if f.catchUp == "" {
			s.CatchUp = scheduler.CatchUps[0]
		}
	}
	if flags.Changed("needs-approval") {
		s.NeedsApproval = f.needsApproval
	}
	if err := applyLimits(flags, "approve-above-count", f.approveAboveCount, "approve-above-amount", f.approveAboveAmounts, &s.ApproveAbove); err != nil {
		return err
	}
	return applyLimits(flags, "max-count", f.maxCount, "max-amount", f.maxAmounts, &s.Caps)
}

func (f *scheduleFlags) applyFilter(flags *pflag.FlagSet, filter *scheduler.Filter) (err error) {
	if flags.Changed("model") {
		if filter.Model, err = parseModel(f.model); err != nil {
			return err
		}
	}
	if flags.Changed("merchant-account") {
		filter.MerchantAccount = f.merchantAccount
	}
	if flags.Changed("currency") {
		if filter.Currency, err = parseCurrency(f.currency); err != nil {
			return err
		}
	}
	if flags.Changed("limit") {
		if f.limit < 0 {
			return usageError("--limit: %d is negative", f.limit)
		}
		filter.Limit = f.limit
	}
	if flags.Changed("due-again") {
		filter.DueAgain = f.dueAgain
	}
	return nil
}

func applyLimits(flags *pflag.FlagSet, countFlag string, count int, amountFlag string, amounts []string, limits *scheduler.Limits) error {
	if flags.Changed(countFlag) {
		if count < 0 {
			return usageError("--%s: %d is negative", countFlag, count)
		}
		limits.Count = count
	}
	if !flags.Changed(amountFlag) {
		return nil
	}
	limits.AmountMinor = nil
	for _, text := range amounts {
		if text == "" { // none: how edit takes them away
			continue
		}
		amount, err := parseMoney(text)
		if err != nil {
			return usageError("--%s: %w", amountFlag, err)
		}
		if _, twice := limits.AmountMinor[amount.Currency]; twice {
			return usageError("--%s: %s is given twice", amountFlag, amount.Currency)
		}
		if limits.AmountMinor == nil {
			limits.AmountMinor = map[string]int64{}
		}
		limits.AmountMinor[amount.Currency] = amount.Minor
	}
	return nil
}

// parseMoney reads money as people write it, 1000.00 EUR, or in minor units as
// run start takes it, EUR:100000.
func parseMoney(text string) (billing.Money, error) {
	if currency, digits, ok := strings.Cut(text, ":"); ok {
		minor, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return billing.Money{}, errMoneyForm(text)
		}
		return billing.NewMoney(minor, currency)
	}
	number, currency, ok := strings.Cut(strings.TrimSpace(text), " ")
	if !ok {
		return billing.Money{}, errMoneyForm(text)
	}
	money, err := billing.NewMoney(0, currency)
	if err != nil {
		return money, err
	}
	exponent, _ := billing.Exponent(currency)
	whole, decimals, pointed := strings.Cut(number, ".")
	if !pointed {
		decimals = strings.Repeat("0", exponent)
	}
	if len(decimals) != exponent || pointed && exponent == 0 {
		return money, fmt.Errorf("%w amount: %q: %s has %s", billing.ErrInvalid, text, currency, counted(exponent, "decimal"))
	}
	digits := whole + decimals
	if whole == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return money, errMoneyForm(text)
	}
	minor, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return money, fmt.Errorf("%w amount: %q is too large", billing.ErrInvalid, text)
	}
	return billing.NewMoney(minor, currency)
}

func errMoneyForm(text string) error {
	return fmt.Errorf("%w amount: %q is not like \"1000.00 EUR\", nor EUR:100000 in minor units", billing.ErrInvalid, text)
}

// limitAmounts are the amounts of limits, by currency.
func limitAmounts(l scheduler.Limits) []billing.Money {
	var amounts []billing.Money
	for _, currency := range slices.Sorted(maps.Keys(l.AmountMinor)) {
		amounts = append(amounts, billing.Money{Minor: l.AmountMinor[currency], Currency: currency})
	}
	return amounts
}
