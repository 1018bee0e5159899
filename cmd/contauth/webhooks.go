package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

func newWebhooksCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "webhooks",
		Short: "See what the gateways told unasked, and apply it again",
	},
		newWebhooksListCommand(e),
		newWebhooksShowCommand(e),
		newWebhooksReplayCommand(e),
	)
}

// webhookJSON is a stored event as --json shows it. Names and order are promised.
type webhookJSON struct {
	ID                int64             `json:"id"`
	ReceivedAt        time.Time         `json:"received_at"`
	TimesReceived     int               `json:"times_received"`
	Gateway           string            `json:"gateway"`
	MerchantAccount   string            `json:"merchant_account"`
	Kind              billing.EventKind `json:"kind"`
	Code              string            `json:"code"`
	GatewayReference  string            `json:"gateway_reference"`
	OriginalReference string            `json:"original_reference"`
	Reference         string            `json:"reference"`
	AmountMinor       int64             `json:"amount_minor"`
	Currency          string            `json:"currency"`
	Signed            bool              `json:"signed"`
	State             string            `json:"state"`
	Verdict           billing.Verdict   `json:"verdict"`
	Reason            string            `json:"reason"`
	ChargeID          *billing.ChargeID `json:"charge_id"`
	Attempt           *int              `json:"attempt"`
	Tries             int               `json:"tries"`
	Document          json.RawMessage   `json:"document"`
}

func newWebhookJSON(e postgres.InboxEvent) webhookJSON {
	return webhookJSON{
		ID: e.ID, ReceivedAt: e.ReceivedAt.UTC(), TimesReceived: e.TimesReceived, Gateway: e.Gateway, MerchantAccount: e.MerchantAccount,
		Kind: e.Kind, Code: e.Code, GatewayReference: e.GatewayReference, OriginalReference: e.OriginalReference, Reference: e.Reference,
		AmountMinor: e.AmountMinor, Currency: e.Currency, Signed: e.Signed, State: e.State, Verdict: e.Verdict, Reason: e.Reason,
		ChargeID: orNull(e.ChargeID), Attempt: orNull(e.Attempt), Tries: e.Tries, Document: e.Document,
	}
}

var webhookList = list[postgres.InboxEvent]{
	noun:    "webhooks",
	header:  []string{"ID", "Received", "Times", "Account", "Event", "Payment", "State", "Meaning", "Why"},
	numbers: []int{1, 3},
	row: func(e postgres.InboxEvent) []any {
		return []any{e.ID, instant(e.ReceivedAt), e.TimesReceived, e.MerchantAccount, e.Code, e.Reference, e.State, e.Verdict, e.Reason}
	},
	columns: []string{"id", "received_at", "times_received", "gateway", "merchant_account", "kind", "code", "gateway_reference",
		"original_reference", "reference", "amount_minor", "currency", "signed", "state", "verdict", "reason", "charge_id", "attempt"},
	record: func(e postgres.InboxEvent) []string {
		return []string{strconv.FormatInt(e.ID, 10), e.ReceivedAt.UTC().Format(time.RFC3339Nano), strconv.Itoa(e.TimesReceived), e.Gateway,
			e.MerchantAccount, string(e.Kind), e.Code, e.GatewayReference, e.OriginalReference, e.Reference, strconv.FormatInt(e.AmountMinor, 10),
			e.Currency, strconv.FormatBool(e.Signed), e.State, string(e.Verdict), e.Reason, numberOr(int(e.ChargeID)), numberOr(e.Attempt)}
	},
	object: func(e postgres.InboxEvent) any { return newWebhookJSON(e) },
}

func newWebhooksListCommand(e *env) *cobra.Command {
	var filter postgres.EventFilter
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List stored events, the newest first",
		Example: `  contauth webhooks list --state quarantined
  contauth webhooks list --reference req-7~1 --json`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch filter.State {
			case "", "stored", "waiting", "applied", "kept", "quarantined":
			default:
				return usageError("--state: %q is none of stored, waiting, applied, kept, quarantined", filter.State)
			}
			return e.with(cmd.Context(), func(s *session) error {
				return webhookList.print(e, format, s.db.FindEvents(cmd.Context(), filter))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&filter.State, "state", "", "only events in this `STATE`: stored, waiting, applied, kept or quarantined")
	flags.StringVar(&filter.MerchantAccount, "merchant-account", "", "only events of this merchant `ACCOUNT`")
	flags.StringVar(&filter.Code, "code", "", "only events with this `CODE` of the gateway, such as CHARGEBACK")
	flags.StringVar(&filter.Reference, "reference", "", "only events about this `PAYMENT`: <charge>~<attempt>, or the gateway's reference")
	flags.IntVar(&filter.Limit, "limit", 100, "at most `N` events (0: no limit)")
	addFormatFlag(cmd, &format)
	return cmd
}

const webhookArgument = "ID (of webhooks list)"

func parseWebhookID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError("%q is no event's number: `contauth webhooks list` shows them", text)
	}
	return id, nil
}

func newWebhooksShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one stored event and what followed from it",
		Args:  exactArgs(1, webhookArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseWebhookID(args[0])
			if err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				event, err := s.db.FindEvent(cmd.Context(), id)
				if err != nil {
					return noSuch("event", args[0], "webhooks list", err)
				}
				return e.printWebhook(event)
			})
		},
	}
}

func (e *env) printWebhook(event postgres.InboxEvent) error {
	if e.json {
		return e.printJSON(newWebhookJSON(event))
	}
	amount := "none"
	if event.Currency != "" {
		amount = billing.Money{Minor: event.AmountMinor, Currency: event.Currency}.String()
	}
	fmt.Fprintf(e.stdout, "Event %d: %s at %s, received %s, %s\n", event.ID, event.Code, event.MerchantAccount, instant(event.ReceivedAt), counted(event.TimesReceived, "time"))
	fmt.Fprintf(e.stdout, "Payment %s, gateway's reference %s, original %s, amount %s, signed %t\n",
		orDash(event.Reference), orDash(event.GatewayReference), orDash(event.OriginalReference), amount, event.Signed)
	fmt.Fprintf(e.stdout, "State %s%s\n", event.State, detail(eventNext(event)))
	var kept map[string]string
	if err := json.Unmarshal(event.Document, &kept); err != nil {
		return fmt.Errorf("read event %d: %w", event.ID, err)
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintf(e.stdout, "  %-22s %s\n", name, kept[name])
	}
	return nil
}

// verdictSentences say in words what an event meant.
var verdictSentences = map[billing.Verdict]string{
	billing.VerdictKnown:    "it says what was known",
	billing.VerdictSettles:  "it settled what it is about",
	billing.VerdictPays:     "an earlier attempt was approved after all",
	billing.VerdictReverses: "money was taken back, disputed, or came again",
	billing.VerdictAlerts:   "an alert tells a person",
}

// eventNext says what an event meant, or what happens to it next.
func eventNext(event postgres.InboxEvent) string {
	switch event.State {
	case "applied":
		text := verdictSentences[event.Verdict]
		if event.ChargeID != 0 {
			text += ", charge " + strconv.FormatInt(int64(event.ChargeID), 10)
		}
		return text
	case "waiting":
		return "an open attempt of the charge is settled first"
	case "quarantined":
		return event.Reason + ": contauth webhooks replay " + strconv.FormatInt(event.ID, 10) + " --reason TEXT looks again"
	case "kept":
		return "it changes nothing"
	}
	return "a daemon applies it"
}

func newWebhooksReplayCommand(e *env) *cobra.Command {
	var why string
	var quarantined bool
	cmd := &cobra.Command{
		Use:   "replay [ID...] --reason TEXT",
		Short: "Let daemons apply events again; what is applied already changes nothing",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == quarantined {
				return usageError("replay: name events, or say --quarantined for all of those")
			}
			var ids []int64
			for _, arg := range args {
				id, err := parseWebhookID(arg)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			return e.withDecision(cmd.Context(), why, func(s *session, by billing.Decision) error {
				return e.replayWebhooks(cmd.Context(), s, ids, by)
			})
		},
	}
	cmd.Flags().BoolVar(&quarantined, "quarantined", false, "all events that matched nothing so far")
	addReasonFlag(cmd, &why)
	return cmd
}

func (e *env) replayWebhooks(ctx context.Context, s *session, ids []int64, by billing.Decision) error {
	n, err := s.db.ReplayEvents(ctx, ids, by)
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(map[string]int{"replayed": n})
	}
	_, err = fmt.Fprintf(e.stdout, "%s will be applied again by a daemon.\n", counted(n, "event"))
	return err
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
