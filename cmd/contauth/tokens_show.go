package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func newTokensShowCommand(e *env) *cobra.Command {
	return newShowTokenCommand(e, &cobra.Command{
		Use:     "show TOKEN",
		Short:   "Show all that is on record about a token, and what happens next",
		Example: "  contauth tokens show 7\n  contauth tokens show 9876543210987654 --merchant-account DemoMC",
	})
}

func newExplainCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "explain",
		Short: "Say in plain words how something came to be as it is, and what happens next",
	}, newShowTokenCommand(e, &cobra.Command{
		Use:     "token TOKEN",
		Short:   "Explain a token: its state, its card, all that happened to it, and what happens next",
		Example: "  contauth explain token 7",
	}))
}

// newShowTokenCommand completes a command that shows one token.
func newShowTokenCommand(e *env, cmd *cobra.Command) *cobra.Command {
	var account string
	cmd.Args = exactArgs(1, tokenArgument)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.with(cmd.Context(), func(s *session) error {
			story, err := s.tokenStory(cmd.Context(), args[0], account)
			if err != nil {
				return err
			}
			return e.printToken(story)
		})
	}
	addAccountFlag(cmd, &account)
	return cmd
}

// A tokenStory is all that there is to tell about a token.
type tokenStory struct {
	postgres.TokenDetail
	Sessions []postgres.TokenSession // of its shopper, the newest first
	Next     string
}

// shownSessions is how many of a shopper's sessions a token shows.
const shownSessions = 10

func (s *session) tokenStory(ctx context.Context, name, account string) (tokenStory, error) {
	found, err := s.findToken(ctx, name, account)
	if err != nil {
		return tokenStory{}, err
	}
	detail, err := s.db.ShowToken(ctx, found.ID)
	if err != nil {
		return tokenStory{}, err
	}
	now, err := s.db.BusinessNow(ctx)
	if err != nil {
		return tokenStory{}, err
	}
	sessions, err := s.db.FindTokenSessions(ctx, detail.ShopperReference, shownSessions)
	if err != nil {
		return tokenStory{}, err
	}
	story := tokenStory{TokenDetail: detail}
	for _, one := range sessions {
		if one.MerchantAccount == detail.MerchantAccount { // another account's shopper may have the same name
			story.Sessions = append(story.Sessions, one)
		}
	}
	of, _ := s.account(detail.MerchantAccount)
	story.Next = nextForToken(detail, of, now)
	return story, nil
}

// tokenStates completes "The card …" with what a state means.
var tokenStates = map[tokens.State]string{
	tokens.Unverified: "is charged; nobody asked its issuer about it",
	tokens.Valid:      "is charged",
	tokens.Invalid:    "is refused by the gateway: nothing is sent with it",
	tokens.Disabled:   "was switched off for good: nothing is sent with it",
}

// nextForToken says in a sentence or two what happens to a token by itself, or who
// must act. now is business time.
func nextForToken(t postgres.TokenDetail, of config.MerchantAccount, now time.Time) string {
	waiting := ""
	if t.Held > 0 {
		waiting = counted(t.Held, "charge") + " " + isOrAre(t.Held) + " held. "
	}
	switch t.State {
	case tokens.Disabled:
		if t.Subscriptions == 0 && t.Held == 0 {
			return "Nothing: it is finished."
		}
		return fmt.Sprintf("%sNothing by itself: give its %s another token of the shopper: contauth tokens replace %d NEW --reason TEXT",
			waiting, counted(t.Subscriptions, "subscription"), t.ID)
	case tokens.Invalid:
		return waiting + wayBack(t, of)
	}
	if end := t.Details.Expiry; !end.IsZero() && !end.Ends().After(now) {
		return fmt.Sprintf("Its card expired at the end of %s. Charges are sent all the same, since banks renew cards under their old number; ask the shopper for the new one.", end)
	}
	if end := t.Details.Expiry; !end.IsZero() && end.Ends().Before(now.Add(expiringSoon)) {
		return fmt.Sprintf("Charges are sent with it. Its card expires at the end of %s: ask the shopper for the new one in time.", end)
	}
	if t.State == tokens.Unverified {
		return fmt.Sprintf("Charges are sent with it when they are due. To know before whether it is good: contauth tokens verify %d", t.ID)
	}
	return "Charges are sent with it when they are due."
}

// wayBack says what brings an invalid token's charges to an end.
func wayBack(t postgres.TokenDetail, of config.MerchantAccount) string {
	replace := fmt.Sprintf("or the shopper has a new token: contauth tokens replace %d NEW --reason TEXT", t.ID)
	if of.Gateway == config.GatewayMastercard {
		return fmt.Sprintf("Nothing is sent until the shopper enters the card again (contauth tokens reactivate %d --session ID --reason TEXT), an account updater renews it, %s",
			t.ID, replace)
	}
	return fmt.Sprintf("Nothing is sent until its issuer accepts it again (contauth tokens reactivate %d --reason TEXT asks), %s", t.ID, replace)
}

func (e *env) printToken(t tokenStory) error {
	if e.json {
		return e.printJSON(newTokenDetailJSON(t))
	}
	fmt.Fprintln(e.stdout, named(t.Token))
	e.printFacts([][2]string{
		{"State", fmt.Sprintf("%s since %s: it %s", t.State, instant(t.StateSince), tokenStates[t.State])},
		{"Why", t.Cause},
		{"Next", t.Next},
		{"Account", t.MerchantAccount},
		{"Shopper", t.ShopperReference},
		{"Method", t.PaymentMethod},
		{"Card", cardText(t.Details)},
		{"Expires", endOf(t.Details.Expiry)},
		{"Changed", changedText(t.Details)},
		{"Same card", sameCardText(t.SameCard)},
		{"Verified", verificationText(t.TokenListing)},
		{"Read", readText(t.ReadAt)},
		{"Subscriptions", numberOr(t.Subscriptions)},
		{"Charged", usedText(t.TokenDetail)},
		{"Open", openText(t.TokenDetail)},
		{"Stored", instant(t.CreatedAt)},
	}...)
	e.printTokenEvents(t.Events)
	e.printTokenSessions("\nSessions of the shopper", t.Sessions)
	e.printAudit(t.Audit)
	return nil
}

func endOf(expiry tokens.Expiry) string {
	if expiry.IsZero() {
		return ""
	}
	return "at the end of " + expiry.String()
}

func changedText(d tokens.Details) string {
	if d.ChangedAt.IsZero() {
		return ""
	}
	if d.ChangedByGateway {
		return instant(d.ChangedAt) + ", by an account updater"
	}
	return instant(d.ChangedAt)
}

func sameCardText(same []tokens.ID) string {
	var names []string
	for _, id := range same {
		names = append(names, fmt.Sprintf("token %d", id))
	}
	return strings.Join(names, ", ")
}

func verificationText(t postgres.TokenListing) string {
	if t.VerifiedAt.IsZero() {
		return ""
	}
	code := ""
	if t.Verification.Code != "" {
		code = " (" + t.Verification.Code + ")"
	}
	return fmt.Sprintf("%s, %s: the card %s%s", instant(t.VerifiedAt), t.Verification.Strategy, t.Verification.Result.Sentence(), code)
}

func readText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return "at the gateway " + instant(at)
}

func usedText(t postgres.TokenDetail) string {
	if t.FirstUsed.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%d authorised, %d refused, from %s to %s", t.Authorised, t.Refused, instant(t.FirstUsed), instant(t.LastUsed))
}

func openText(t postgres.TokenDetail) string {
	if t.Open == 0 {
		return ""
	}
	return fmt.Sprintf("%s not finished, %d of them held", counted(t.Open, "charge"), t.Held)
}

func (e *env) printTokenEvents(events []tokens.Event) {
	if len(events) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "\nWhat happened")
	t := e.newTable()
	t.AppendHeader(table.Row{"At", "What", "Then", "Why", "From", "Who", "Detail"})
	for _, one := range events {
		t.AppendRow(table.Row{instant(one.At), one.Kind, one.State, one.Cause, one.Source, one.Actor, one.Detail})
	}
	t.SuppressEmptyColumns()
	t.Render()
}

// tokenDetailJSON is what tokens show --json prints: the fields of tokens list, and
// more.
type tokenDetailJSON struct {
	tokenJSON
	CreatedAt        time.Time          `json:"created_at"`
	ChangedAt        *time.Time         `json:"changed_at"`
	ChangedByGateway bool               `json:"changed_by_gateway"`
	Authorised       int                `json:"authorised"`
	Refused          int                `json:"refused"`
	FirstUsed        *time.Time         `json:"first_used"`
	LastUsed         *time.Time         `json:"last_used"`
	Open             int                `json:"open"`
	Held             int                `json:"held"`
	SameCard         []tokens.ID        `json:"same_card"`
	Next             string             `json:"next"`
	Events           []tokenEventJSON   `json:"events"`
	Sessions         []tokenSessionJSON `json:"sessions"`
	Audit            []auditJSON        `json:"audit"`
}

type tokenEventJSON struct {
	At     time.Time        `json:"at"`
	Kind   tokens.EventKind `json:"kind"`
	State  tokens.State     `json:"state"`
	Cause  string           `json:"cause"`
	Source tokens.Source    `json:"source"`
	Actor  string           `json:"actor"`
	Detail string           `json:"detail"`
}

func newTokenDetailJSON(t tokenStory) tokenDetailJSON {
	detail := tokenDetailJSON{
		tokenJSON: newTokenJSON(t.TokenListing), CreatedAt: t.CreatedAt, ChangedAt: orNull(t.Details.ChangedAt),
		ChangedByGateway: t.Details.ChangedByGateway, Authorised: t.Authorised, Refused: t.Refused,
		FirstUsed: orNull(t.FirstUsed), LastUsed: orNull(t.LastUsed), Open: t.Open, Held: t.Held,
		SameCard: append([]tokens.ID{}, t.SameCard...), Next: t.Next, Events: []tokenEventJSON{},
		Sessions: []tokenSessionJSON{}, Audit: newAuditJSON(t.Audit),
	}
	for _, one := range t.Events {
		detail.Events = append(detail.Events, tokenEventJSON(one))
	}
	for _, one := range t.Sessions {
		detail.Sessions = append(detail.Sessions, newTokenSessionJSON(one))
	}
	return detail
}
