package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// verifyFlags are the flags of contauth tokens verify.
type verifyFlags struct {
	selection tokenSelection
	strategy  string
	currency  string
	why       string
	preview   bool
	job       int64
	rate      float64
	limit     int

	how   tokens.Strategy
	words string // the selection as it was typed
}

func newTokensVerifyCommand(e *env) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify TOKEN | --due-within TIME | --expiring | --unverified | --merchant-account ACCOUNT | --job N",
		Short: "Ask whether cards are good, before money is due",
		Long: `Asks whether stored cards are good: one TOKEN, or all that can be charged and that the
flags select together.

BASIC looks at the format and range of the number; it costs nothing and proves
nothing about the card's life. ACQUIRER asks the issuer, at Adyen by an authorisation
of zero; it counts at the schemes as an attempt on each card, and needs a currency:
--currency, or verification_currency of the account.

A card that has expired, or that its issuer says will not come back, makes its token
invalid and holds its charges. A decline alone does not: the next charge says more.

Many at once are a job. It asks --rate tokens a second, and no more than an account's
own rate_per_second, which charges share. Ctrl-C ends it in order, and --job N goes
on where it stopped, also after a crash. --limit N asks only N of them now: the cost.
--preview counts what would be asked and asks nothing.

Exit code 4 says that some cards were not accepted, 5 that some could not be asked
about.`,
		Example: `  contauth tokens verify 7 --strategy ACQUIRER --currency EUR
  contauth tokens verify --due-within 7d --strategy ACQUIRER --preview
  contauth tokens verify --unverified --merchant-account DemoMC --rate 20
  contauth tokens verify --job 3`,
		Args: optionalArg(tokenArgument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd, args); err != nil {
				return err
			}
			return e.with(cmd.Context(), func(s *session) error {
				switch {
				case len(args) == 1:
					return e.verifyOne(cmd.Context(), s, args[0], &f)
				case f.job > 0:
					job, err := s.db.FindVerificationJob(cmd.Context(), postgres.VerificationJobID(f.job))
					if err != nil {
						return noSuch("verification job", fmt.Sprint(f.job), "tokens verify", err)
					}
					return e.workVerifications(cmd.Context(), s, job, &f)
				default:
					return e.verifyMany(cmd.Context(), s, &f)
				}
			})
		},
	}
	flags := cmd.Flags()
	f.selection.register(cmd)
	flags.StringVar(&f.strategy, "strategy", string(tokens.StrategyBasic), "`HOW` to verify: ACQUIRER or BASIC")
	flags.StringVar(&f.currency, "currency", "", "the `CURRENCY`, such as EUR, in which an acquirer verifies (default: verification_currency)")
	flags.StringVar(&f.why, "reason", "", "why, kept on record")
	flags.BoolVar(&f.preview, "preview", false, "count what would be asked about, and ask nothing")
	flags.Int64Var(&f.job, "job", 0, "go on with the interrupted job `N`")
	flags.Float64Var(&f.rate, "rate", 10, "ask at most `N` times in a second")
	flags.IntVar(&f.limit, "limit", 0, "ask about at most `N` tokens now; the job keeps the others (0: all)")
	return cmd
}

func (f *verifyFlags) parse(cmd *cobra.Command, args []string) error {
	if err := f.how.UnmarshalText([]byte(f.strategy)); err != nil {
		return usageError("--strategy: %w", err)
	}
	if f.how == tokens.StrategyNone {
		return usageError("--strategy: NONE verifies nothing: want ACQUIRER or BASIC")
	}
	if err := checkCurrency(f.currency); err != nil {
		return err
	}
	if err := refuseCardData("--reason", f.why); err != nil {
		return err
	}
	if err := f.selection.parse(); err != nil {
		return err
	}
	if f.rate <= 0 || f.rate > maxVerifyRate {
		return usageError("--rate: want more than 0 and at most %d a second", maxVerifyRate)
	}
	if f.limit < 0 || f.job < 0 {
		return usageError("--limit and --job are not negative")
	}
	f.words = f.selection.words(cmd.Flags())
	switch chosen := f.words != ""; {
	case len(args) == 1:
		return refuseWith(cmd, "one TOKEN", "unverified", "expiring", "due-within", "job", "limit", "rate", "preview")
	case f.job > 0:
		return refuseWith(cmd, "--job", "merchant-account", "unverified", "expiring", "due-within", "strategy", "currency", "reason", "preview")
	case !chosen:
		return usageError("say which: a TOKEN, or at least one of --due-within, --expiring, --unverified and --merchant-account, or --job N")
	}
	return nil
}

// refuseWith refuses flags that mean nothing together with something else.
func refuseWith(cmd *cobra.Command, what string, names ...string) error {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return usageError("--%s: it means nothing together with %s", name, what)
		}
	}
	return nil
}

// verifiedJSON is what a verification found, as --json shows it.
type verifiedJSON struct {
	ID         tokens.ID                 `json:"id"`
	State      tokens.State              `json:"state"`
	Strategy   tokens.Strategy           `json:"strategy"`
	Result     tokens.VerificationResult `json:"result"`
	Code       string                    `json:"code"`
	Reason     string                    `json:"reason"`
	ChargeHeld int                       `json:"charges_held"`
}

func (e *env) verifyOne(ctx context.Context, s *session, name string, f *verifyFlags) error {
	found, err := s.findToken(ctx, name, f.selection.account)
	if err != nil {
		return err
	}
	if found.State == tokens.Disabled {
		return fmt.Errorf("%s was switched off for good: there is nothing to verify", found)
	}
	if err := s.mayAsk(ctx, found.MerchantAccount); err != nil {
		return err
	}
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	ctx, cancel := s.unbroken(ctx)
	defer cancel()
	applied, seen, err := keeper.Verify(ctx, found.ID, tokens.Order{Actor: e.actor, Why: f.why, Strategy: f.how, Currency: f.currency})
	if err != nil {
		return refusal(err, found.ID)
	}
	e.exit = verificationExit(seen.Result)
	if e.json {
		return e.printJSON(verifiedJSON{found.ID, applied.Token.State, seen.Strategy, seen.Result, seen.Code, seen.Reason, applied.Held})
	}
	words := ""
	if seen.Reason != "" {
		words = " The gateway says: " + seen.Reason
	}
	fmt.Fprintf(e.stdout, "%s: the card %s (%s).%s\n", named(found.Token), seen.Result.Sentence(), seen.Code, words)
	if applied.Token.State != found.State {
		fmt.Fprintf(e.stdout, "It is %s now.%s\n", applied.Token.State, chargesHeld(applied.Held))
	}
	return nil
}

// chargesHeld says how many charges wait because of a token, if any do.
func chargesHeld(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" %s %s held.", counted(n, "charge"), isOrAre(n))
}

// verificationExit is the exit code that a verification's result asks for.
func verificationExit(result tokens.VerificationResult) int {
	switch result {
	case tokens.VerificationPassed, tokens.VerificationPassedBasic, tokens.VerificationNone:
		return exitDone
	case tokens.VerificationFailed, tokens.VerificationNotUnderstood:
		return exitUnknown
	}
	return exitDeclined
}

// verifyMany makes a job of the tokens that the flags select, and works it.
func (e *env) verifyMany(ctx context.Context, s *session, f *verifyFlags) error {
	now, err := s.db.BusinessNow(ctx)
	if err != nil {
		return err
	}
	filter := f.selection.filter(now)
	counts, err := s.db.PreviewVerification(ctx, filter)
	if err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		e.exit = exitNothingDue
	}
	if f.preview || total == 0 {
		return e.printVerificationPreview(counts, total, f)
	}
	if err := s.canVerify(ctx, counts, f); err != nil {
		return err
	}
	id, _, err := s.db.CreateVerificationJob(ctx, filter, postgres.VerificationJob{
		Strategy: f.how, Currency: f.currency, Selection: f.words, Actor: e.actor, Reason: f.why,
	})
	if err != nil {
		return err
	}
	job, err := s.db.FindVerificationJob(ctx, id)
	if err != nil {
		return err
	}
	return e.workVerifications(ctx, s, job, f)
}

// canVerify refuses a job that would fail at each token of an account, before there
// is one.
func (s *session) canVerify(ctx context.Context, counts map[string]int, f *verifyFlags) error {
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		account, ok := s.account(id)
		switch {
		case !ok:
			return fmt.Errorf("--merchant-account: %s of %s among them, which is not in the configuration: verify the other accounts one by one", counted(counts[id], "token"), id)
		case f.how == tokens.StrategyAcquirer && f.currency == "" && account.VerificationCurrency == "":
			return fmt.Errorf("%w currency: an ACQUIRER verification at %s needs one: give --currency, or set verification_currency for the account", tokens.ErrInvalid, id)
		}
		if err := s.mayAsk(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// verificationPreviewJSON is what tokens verify --preview --json prints.
type verificationPreviewJSON struct {
	Strategy         tokens.Strategy `json:"strategy"`
	Tokens           int             `json:"tokens"`
	MerchantAccounts map[string]int  `json:"merchant_accounts"`
	CountsAtSchemes  bool            `json:"counts_at_schemes"`
}

func (e *env) printVerificationPreview(counts map[string]int, total int, f *verifyFlags) error {
	if e.json {
		return e.printJSON(verificationPreviewJSON{f.how, total, counts, f.how == tokens.StrategyAcquirer})
	}
	if total == 0 {
		_, err := fmt.Fprintln(e.stdout, "Nothing to verify: no token that can be charged is selected.")
		return err
	}
	fmt.Fprintf(e.stdout, "Preview (nothing is asked): %s by %s\n", counted(total, "token"), f.how)
	t := e.newTable()
	t.AppendHeader(table.Row{"Account", "Tokens"})
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		t.AppendRow(table.Row{id, counts[id]})
	}
	alignRight(t, 2)
	t.Render()
	if f.limit > 0 && f.limit < total {
		fmt.Fprintf(e.stdout, "--limit %d: the others wait in the job.\n", f.limit)
	}
	if f.how == tokens.StrategyAcquirer {
		fmt.Fprintln(e.stdout, "Each is an attempt that the card's issuer and scheme see and count, and that may cost a fee.")
	}
	return nil
}
