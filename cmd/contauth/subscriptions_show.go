package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

// shownDates is how many of the next dates a subscription shows.
const shownDates = 5

func newSubscriptionsShowCommand(e *env) *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "show SUBSCRIPTION",
		Short: "Show a subscription's terms, next dates, charges and decisions",
		Args:  exactArgs(1, "the reference of a SUBSCRIPTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.with(cmd.Context(), func(s *session) error {
				found, err := s.findSubscription(cmd.Context(), args[0], account)
				if err != nil {
					return err
				}
				detail, err := s.db.ShowSubscription(cmd.Context(), found.ID)
				if err != nil {
					return err
				}
				var charges []billing.Charge // a subscription has few: one a cycle
				for c, err := range s.db.FindCharges(cmd.Context(), billing.ChargeFilter{Subscription: found.ID}) {
					if err != nil {
						return err
					}
					charges = append(charges, c)
				}
				return e.printSubscription(detail, charges)
			})
		},
	}
	addAccountFlag(cmd, &account)
	return cmd
}

// A cycleDate is when one cycle will fall due.
type cycleDate struct {
	Cycle int               `json:"cycle"`
	Date  billing.LocalDate `json:"date"`  // in the subscription's zone
	Local string            `json:"local"` // date and time in the subscription's zone, with its offset
	DueAt time.Time         `json:"due_at"`
}

// nextDates returns the next cycles of a subscription that may still charge.
func nextDates(s postgres.SubscriptionListing) []cycleDate {
	dates := []cycleDate{}
	if s.State == billing.SubscriptionCancelled || s.Calendar.Zone.IsZero() {
		return dates
	}
	location, err := time.LoadLocation(s.Calendar.Zone.String())
	if err != nil {
		location = time.UTC // the offset shows it; Calendar.Zone knows the name, so this does not happen
	}
	for n := s.NextCycle; len(dates) < shownDates; n++ {
		date, ok := s.Calendar.Date(n)
		if !ok {
			break
		}
		due := s.Calendar.DueAt(n)
		dates = append(dates, cycleDate{n, date, due.In(location).Format("2006-01-02 15:04:05 -07:00"), due})
	}
	return dates
}

func (e *env) printSubscription(s postgres.SubscriptionDetail, charges []billing.Charge) error {
	dates := nextDates(s.SubscriptionListing)
	if e.json {
		return e.printJSON(newSubscriptionDetailJSON(s, dates, charges))
	}
	ends := s.Calendar.EndsOn.String()
	if s.Calendar.MaxCycles > 0 {
		ends = fmt.Sprintf("after cycle %d", s.Calendar.MaxCycles)
		if !s.Calendar.EndsOn.IsZero() {
			ends += ", or on " + s.Calendar.EndsOn.String()
		}
	}
	beforeImport := ""
	if s.FirstCycle > 1 {
		beforeImport = counted(s.FirstCycle-1, "cycle") + " waived: " + billing.ReasonBeforeImport.Sentence()
	}
	fmt.Fprintf(e.stdout, "Subscription %s\n", s.Reference)
	e.printFacts([][2]string{
		{"Amount", s.Amount.String() + " every " + s.Calendar.Interval.String()},
		{"Since", s.Calendar.Anchor.String() + " " + s.Timezone},
		{"Ends", ends},
		{"State", string(s.State)},
		{"Why", because(s.Reason)},
		{"Decided", instant(s.DecidedAt) + " by " + s.DecidedBy},
		{"Account", s.MerchantAccount},
		{"Shopper", s.Token.ShopperReference},
		{"Card", fmt.Sprintf("%s (%s, %s)", s.Token.MaskedReference(), s.Token.PaymentMethod, s.Token.State)},
		{"Before", beforeImport},
		{"Description", s.Description},
	}...)
	e.printDates(s.State, dates)
	if len(charges) > 0 {
		fmt.Fprintln(e.stdout, "\nCharges")
		t := e.newTable()
		t.AppendHeader(table.Row{"Cycle", "ID", "Period", "Amount", "State", "Why"})
		for _, c := range charges {
			t.AppendRow(table.Row{c.Cycle, c.ID, period(c), c.Amount, c.State, because(c.Reason)})
		}
		alignRight(t, 1, 2, 4)
		t.Render()
	}
	e.printAudit(s.Audit)
	return nil
}

func (e *env) printDates(state billing.SubscriptionState, dates []cycleDate) {
	if len(dates) == 0 {
		return
	}
	title := "Next cycles"
	if state == billing.SubscriptionPaused {
		title += " (waived while it is paused)"
	}
	fmt.Fprintln(e.stdout, "\n"+title)
	t := e.newTable()
	t.AppendHeader(table.Row{"Cycle", "Local", "UTC"})
	for _, d := range dates {
		t.AppendRow(table.Row{d.Cycle, d.Local, instant(d.DueAt)})
	}
	t.Render()
}

// subscriptionDetailJSON is what subscriptions show --json prints: the fields of
// subscriptions list, and more.
type subscriptionDetailJSON struct {
	subscriptionJSON
	DecidedBy          string       `json:"decided_by"`
	DecidedAt          time.Time    `json:"decided_at"`
	WaivedBeforeImport int          `json:"waived_before_import"`
	NextDates          []cycleDate  `json:"next_dates"`
	Charges            []chargeJSON `json:"charges"`
	Audit              []auditJSON  `json:"audit"`
}

func newSubscriptionDetailJSON(s postgres.SubscriptionDetail, dates []cycleDate, charges []billing.Charge) subscriptionDetailJSON {
	detail := subscriptionDetailJSON{
		subscriptionJSON: newSubscriptionJSON(s.SubscriptionListing), DecidedBy: s.DecidedBy, DecidedAt: s.DecidedAt,
		WaivedBeforeImport: s.FirstCycle - 1, NextDates: dates, Charges: []chargeJSON{}, Audit: newAuditJSON(s.Audit),
	}
	for _, c := range charges {
		detail.Charges = append(detail.Charges, newChargeJSON(c))
	}
	return detail
}
