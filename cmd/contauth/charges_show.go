package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

func newChargesShowCommand(e *env) *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "show CHARGE",
		Short: "Show all that is on record about a charge, and what happens next",
		Args:  exactArgs(1, chargeArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.with(cmd.Context(), func(s *session) error {
				id, err := s.findCharge(cmd.Context(), args[0], account)
				if err != nil {
					return err
				}
				charge, err := s.db.ShowCharge(cmd.Context(), id)
				if err != nil {
					return err
				}
				now, err := s.db.BusinessNow(cmd.Context())
				if err != nil {
					return err
				}
				return e.printCharge(charge, now)
			})
		},
	}
	addAccountFlag(cmd, &account)
	return cmd
}

// nextStep says in a sentence what happens to a charge by itself, or who must
// act. now is business time.
func nextStep(c postgres.ChargeDetail, now time.Time) string {
	switch c.State {
	case billing.ChargeDue:
		if c.NextAttemptAt.After(now) {
			return "A run planned for " + instant(c.NextAttemptAt) + " or later takes it."
		}
		return "The next run that is planned takes it."
	case billing.ChargeClaimed:
		return "A process is charging it now; its lease ends at " + instant(c.LeaseUntil) + "."
	case billing.ChargePending, billing.ChargeUnknown:
		if c.ResolveAt.IsZero() {
			return "Nothing is sent again by itself, and no command of this version settles it: look it up at the gateway; it stays as it is."
		}
		return "From " + instant(c.ResolveAt) + " on the gateway is asked what became of it: by a look-up, or by the same request under the same key, which charges only if the first one never arrived."
	case billing.ChargeHeld:
		return "Nothing, until " + wayOutOfHold(c.Charge) + "."
	case billing.ChargeUnpaid:
		return "Nothing by itself: release it to try again, or close it if it was paid elsewhere."
	default:
		return "Nothing: it is finished."
	}
}

func wayOutOfHold(c billing.Charge) string {
	switch c.Reason {
	case billing.ReasonSubscriptionPaused:
		return "its subscription is resumed"
	case billing.ReasonTokenInvalid, billing.ReasonTokenNotFound:
		return fmt.Sprintf("its token is reactivated or replaced (contauth explain token %d says how), or somebody cancels it", c.Token.ID)
	default:
		return "somebody releases it"
	}
}

func (e *env) printCharge(c postgres.ChargeDetail, now time.Time) error {
	if e.json {
		return e.printJSON(newChargeDetailJSON(c, now))
	}
	subscription := ""
	if c.Subscription != "" {
		subscription = fmt.Sprintf("%s, cycle %d, %s", c.Subscription, c.Cycle, period(c.Charge))
	}
	fmt.Fprintf(e.stdout, "Charge %d (%s)\n", c.ID, c.Reference)
	e.printFacts([][2]string{
		{"Amount", c.Amount.String()},
		{"State", string(c.State)},
		{"Why", because(c.Reason)},
		{"Decided", instant(c.DecidedAt) + " by " + c.DecidedBy},
		{"Next", nextStep(c, now)},
		{"Wanted", wantedStop(c)},
		{"Model", string(c.Model)},
		{"Subscription", subscription},
		{"Account", c.MerchantAccount},
		{"Shopper", c.Token.ShopperReference},
		{"Card", fmt.Sprintf("%s (%s, %s)", c.Token.MaskedReference(), c.Token.PaymentMethod, c.Token.State)},
		{"Due", instant(c.DueAt)},
		{"Finished", instant(c.FinishedAt)},
		{"Description", c.Description},
	}...)
	e.printObservations(c.Observations)
	e.printChargeRuns(c.Runs)
	e.printAudit(c.Audit)
	return nil
}

func wantedStop(c postgres.ChargeDetail) string {
	if c.StopRequest == "" {
		return ""
	}
	return fmt.Sprintf("%s wants to %s it: %s", c.StopActor, c.StopRequest, c.StopReason.Sentence())
}

func (e *env) printObservations(observations []postgres.Observation) {
	if len(observations) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "\nAttempts")
	t := e.newTable()
	t.AppendHeader(table.Row{"Attempt", "At", "Run", "Source", "Outcome", "Why", "Gateway's reference", "Gateway's words"})
	for _, o := range observations {
		run := ""
		if o.RunID.Valid {
			run = fmt.Sprint(o.RunID.Int64)
		}
		words := slices.DeleteFunc([]string{o.ResultCode, o.RefusalCode, o.RefusalReason, o.Detail}, func(word string) bool { return word == "" })
		t.AppendRow(table.Row{o.Attempt, instant(o.At), run, o.Source, o.Outcome, o.Reason, o.GatewayReference, strings.Join(words, " ")})
	}
	t.SuppressEmptyColumns()
	t.Render()
}

func (e *env) printChargeRuns(runs []postgres.ChargeRun) {
	if len(runs) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "\nRuns")
	t := e.newTable()
	t.AppendHeader(table.Row{"Run", "State", "Position", "Not charged", "Why"})
	for _, r := range runs {
		t.AppendRow(table.Row{r.RunID, r.State, numberOr(r.Position), r.Disposition, because(r.Reason)})
	}
	t.SuppressEmptyColumns()
	t.Render()
}

func (e *env) printAudit(entries []postgres.AuditEntry) {
	if len(entries) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "\nDecisions")
	t := e.newTable()
	t.AppendHeader(table.Row{"At", "Who", "Did", "Why", "Before", "After"})
	for _, a := range entries {
		t.AppendRow(table.Row{instant(a.At), a.Actor, a.Action, a.Reason, string(a.Before), string(a.After)})
	}
	t.Render()
}

// chargeDetailJSON is what charges show --json prints: the fields of charges
// list, and more.
type chargeDetailJSON struct {
	chargeJSON
	Description  string            `json:"description"`
	DecidedBy    string            `json:"decided_by"`
	DecidedAt    time.Time         `json:"decided_at"`
	FinishedAt   *time.Time        `json:"finished_at"`
	NextAttempt  time.Time         `json:"next_attempt_at"`
	ResolveAt    *time.Time        `json:"resolve_at"`
	StopRequest  *string           `json:"stop_request"`
	Next         string            `json:"next"`
	Observations []observationJSON `json:"observations"`
	Runs         []chargeRunJSON   `json:"runs"`
	Audit        []auditJSON       `json:"audit"`
}

type observationJSON struct {
	Attempt          int             `json:"attempt"`
	At               time.Time       `json:"at"`
	Run              *int64          `json:"run"`
	Source           string          `json:"source"`
	Outcome          billing.Outcome `json:"outcome"`
	Reason           *billing.Reason `json:"reason"`
	GatewayReference string          `json:"gateway_reference"`
	ResultCode       string          `json:"result_code"`
	RefusalCode      string          `json:"refusal_code"`
	RefusalReason    string          `json:"refusal_reason"`
}

type chargeRunJSON struct {
	Run         int64           `json:"run"`
	State       string          `json:"state"`
	Position    *int            `json:"position"`
	Disposition *string         `json:"disposition"`
	Reason      *billing.Reason `json:"reason"`
}

type auditJSON struct {
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	Reason string          `json:"reason"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

func newChargeDetailJSON(c postgres.ChargeDetail, now time.Time) chargeDetailJSON {
	detail := chargeDetailJSON{
		chargeJSON: newChargeJSON(c.Charge), Description: c.Description, DecidedBy: c.DecidedBy, DecidedAt: c.DecidedAt,
		FinishedAt: orNull(c.FinishedAt), NextAttempt: c.NextAttemptAt, ResolveAt: orNull(c.ResolveAt),
		StopRequest: orNull(c.StopRequest), Next: nextStep(c, now),
		Observations: []observationJSON{}, Runs: []chargeRunJSON{}, Audit: newAuditJSON(c.Audit),
	}
	for _, o := range c.Observations {
		detail.Observations = append(detail.Observations, observationJSON{
			Attempt: o.Attempt, At: o.At.UTC(), Run: orNull(o.RunID.Int64), Source: o.Source, Outcome: o.Outcome, Reason: orNull(o.Reason),
			GatewayReference: o.GatewayReference, ResultCode: o.ResultCode, RefusalCode: o.RefusalCode, RefusalReason: o.RefusalReason,
		})
	}
	for _, r := range c.Runs {
		detail.Runs = append(detail.Runs, chargeRunJSON{r.RunID, r.State, orNull(r.Position), orNull(r.Disposition), orNull(r.Reason)})
	}
	return detail
}

func newAuditJSON(entries []postgres.AuditEntry) []auditJSON {
	rows := make([]auditJSON, 0, len(entries))
	for _, a := range entries {
		rows = append(rows, auditJSON{a.At.UTC(), a.Actor, a.Action, a.Reason, a.Before, a.After})
	}
	return rows
}
