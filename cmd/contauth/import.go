package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/internal/postgres"
)

// importFlags are the flags of contauth import.
type importFlags struct {
	dryRun      bool
	billPast    bool
	allowDigits []string
	check       bool
	rate        float64
}

func newImportCommand(e *env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "import",
		Short: "Store subscriptions, charges or tokens from a CSV file",
		Long: `Store subscriptions, charges or tokens from a CSV file.

All or nothing: if a line is bad, every bad line is told, nothing is stored and
the exit code is 1. Importing a file again changes nothing; a changed file
changes what is stored, and each difference is told. With --dry-run all is
checked and told, and nothing is stored.

The file is UTF-8 with commas, as Excel saves it as "CSV UTF-8". The order of
the columns does not matter; payment_method may be left out.

With --json the answer is one object a line: {"kind": "bad_row", …} for each
fault, {"kind": "change", …} for each difference, and last {"kind": "result", …}
with the counts.`,
	}, newImportChargesCommand(e), newImportSubscriptionsCommand(e), newImportTokensCommand(e))
}

func newImportSubscriptionsCommand(e *env) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "subscriptions FILE.csv",
		Short: "Store subscriptions from a CSV file",
		Long: `Store subscriptions from a CSV file with the columns
` + columnList(importer.SubscriptionColumns()) + `

anchor is the local date and time of the first cycle, such as 2027-01-31T09:00;
interval_unit is day, week, month or year; max_cycles and ends_on may be empty.

Cycles of a new subscription that lie before today, in its own zone, are waived:
they are on record and never charged. --bill-past charges them too.

A later import may change amount_minor (also of charges without an attempt),
token (also of charges that are not in progress), max_cycles, ends_on and
description; currency, interval, anchor and zone only while there is no charge.`,
		Example: "  contauth import subscriptions book.csv --dry-run\n  contauth import subscriptions book.csv",
		Args:    exactArgs(1, "one FILE.csv"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), e, args[0], f, importKind[billing.ImportedSubscription]{
				name: "subscriptions", columns: importer.SubscriptionColumns(),
				read: importer.Subscriptions, store: (*postgres.DB).ImportSubscriptions,
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.billPast, "bill-past", false, "also charge the cycles of new subscriptions that lie before today")
	return cmd
}

func newImportChargesCommand(e *env) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "charges FILE.csv",
		Short: "Store UnscheduledCardOnFile charges from a CSV file",
		Long: `Store charges without a schedule (UnscheduledCardOnFile) from a CSV file with the columns
` + columnList(importer.ChargeColumns()) + `

due_at is an instant with its offset, such as 2027-01-31T09:00:00+01:00. Charges
of a token that cannot be charged are stored as held.

A later import may change amount_minor (before the first attempt), token (while
no attempt is in progress) and description.`,
		Example: "  contauth import charges topups.csv",
		Args:    exactArgs(1, "one FILE.csv"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), e, args[0], f, importKind[billing.ImportedCharge]{
				name: "charges", columns: importer.ChargeColumns(),
				read: importer.Charges, store: (*postgres.DB).ImportCharges,
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newImportTokensCommand(e *env) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "tokens FILE.csv",
		Short: "Store tokens that exist at the gateways already, from a CSV file",
		Long: `Store tokens that exist at the gateways already, from a CSV file with the columns
` + columnList(importer.TokenColumns()) + `

token is the gateway's name of it: storedPaymentMethodId at Adyen, token at
Mastercard, where it is 1 to 40 letters and digits. expiry is the last month of
the card, as 2030-03 or 03/30. Only the first three columns must be there. New
tokens are unverified until the gateway confirms them; charges may use them.

A later import may change expiry, brand and last_four; what the file leaves empty
stays as it is. A token is one shopper's for good, and keeps its payment method.

With --check the gateway is asked, for each token of a good file, whether it knows
it as that shopper's: after the tokens were stored, or with --dry-run instead. What
it does not know is told, and the exit code is 1. The check only reads. With --json
it ends with {"kind": "check", …}, behind an {"kind": "unknown_token", …} or
{"kind": "unanswered_token", …} for each such line.`,
		Example: "  contauth import tokens book.csv --dry-run --check\n  contauth import tokens book.csv",
		Args:    exactArgs(1, "one FILE.csv"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := importKind[importer.Token]{
				name: "tokens", columns: importer.TokenColumns(), read: importer.Tokens, store: storeTokens,
			}
			switch {
			case f.check && !(f.rate > 0 && f.rate <= mostChecks):
				return usageError("--rate %g: want more than 0 and at most %d tokens a second", f.rate, mostChecks)
			case f.check:
				kind.check = func(ctx context.Context, s *session, out *importOutput, rows billing.ImportRows[importer.Token]) error {
					return checkTokens(ctx, s, out, f.rate, rows)
				}
			case cmd.Flags().Changed("rate"):
				return usageError("--rate is for --check")
			}
			return runImport(cmd.Context(), e, args[0], f, kind)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.check, "check", false, "ask the gateway whether it knows each token as that shopper's")
	cmd.Flags().Float64Var(&f.rate, "rate", 10, "`TOKENS` a second that --check asks about")
	return cmd
}

// storeTokens hands the tokens of a file to the database.
func storeTokens(db *postgres.DB, ctx context.Context, rows billing.ImportRows[importer.Token], req billing.ImportRequest) (billing.ImportResult, error) {
	return db.ImportTokens(ctx, func(yield func(postgres.ImportedToken, error) bool) {
		for row, err := range rows {
			if !yield(postgres.ImportedToken(row), err) {
				return
			}
		}
	}, req)
}

func (f *importFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "check and tell everything, store nothing")
	cmd.Flags().StringArrayVar(&f.allowDigits, "allow-digits", nil,
		"`COLUMN` whose numbers may look like card numbers, such as numeric references (repeatable)")
}

// columnList breaks the names of the columns into lines of help.
func columnList(columns []string) string {
	const perLine = 6
	var lines []string
	for chunk := range slices.Chunk(columns, perLine) {
		lines = append(lines, "  "+strings.Join(chunk, ","))
	}
	return strings.Join(lines, ",\n")
}

// An importKind is what differs between the files that can be imported.
type importKind[Row any] struct {
	name    string
	columns []string
	read    func(io.Reader, importer.Options) billing.ImportRows[Row]
	store   func(*postgres.DB, context.Context, billing.ImportRows[Row], billing.ImportRequest) (billing.ImportResult, error)
	// check looks at the rows of a good file once more, after they were stored; nil
	// for no check.
	check func(context.Context, *session, *importOutput, billing.ImportRows[Row]) error
}

func runImport[Row any](ctx context.Context, e *env, path string, f importFlags, kind importKind[Row]) error {
	for _, column := range f.allowDigits {
		if !slices.Contains(kind.columns, column) {
			return usageError("--allow-digits %s: there is no such column, want one of %s", column, strings.Join(kind.columns, ", "))
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return usageError("import %s: %w", kind.name, err)
	}
	defer file.Close()
	if _, err := file.Seek(0, io.SeekStart); err != nil && kind.check != nil {
		return usageError("--check reads %s twice: want a file, not a pipe", path)
	}
	s, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	now, err := s.db.BusinessNow(ctx)
	if err != nil {
		return err
	}
	sum := sha256.New()
	options := importer.Options{Accounts: amountCheckers(s.config), Now: now, BillPast: f.billPast, AllowDigits: f.allowDigits}
	rows := kind.read(io.TeeReader(file, sum), options)
	out := newImportOutput(e, path)
	result, err := kind.store(s.db, ctx, rows, billing.ImportRequest{
		Actor: e.actor, File: filepath.Base(path), Hash: hexOf(sum), DryRun: f.dryRun,
		Bad: out.bad, Changed: out.changed,
	})
	if errors.Is(err, billing.ErrInvalid) {
		err = errors.Join(out.result(kind.name, result), fmt.Errorf("import %s: %s: %s, nothing was stored", kind.name, path, counted(result.Bad, "bad row")))
		return err
	}
	if err != nil {
		return err
	}
	if err := out.result(kind.name, result); err != nil || kind.check == nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s again: %w", path, err)
	}
	return kind.check(ctx, s, out, kind.read(file, options))
}

func hexOf(sum hash.Hash) func() string {
	return func() string { return hex.EncodeToString(sum.Sum(nil)) }
}

// amountCheckers are the gateways of the merchant accounts, for the one question
// that they answer without a connection.
func amountCheckers(cfg config.Config) map[string]importer.AmountChecker {
	checkers := make(map[string]importer.AmountChecker, len(cfg.MerchantAccounts))
	for _, a := range cfg.MerchantAccounts {
		checkers[a.ID] = newGateway(a, hclog.NewNullLogger())
	}
	return checkers
}

// An importOutput tells what an import finds while it finds it.
type importOutput struct {
	env     *env
	path    string
	changes int // told or not
}

func newImportOutput(e *env, path string) *importOutput { return &importOutput{env: e, path: path} }

// mostChanges is how many differences people are shown; --json has all.
const mostChanges = 20

func (o *importOutput) bad(row billing.BadRow) error { return o.fault("bad_row", row) }

// fault tells what is wrong with a line of the file.
func (o *importOutput) fault(kind string, row billing.BadRow) error {
	if o.env.json {
		return o.line(kind, row)
	}
	where := fmt.Sprintf("%s:%d", o.path, row.Line)
	if row.Column != "" {
		where += ": " + row.Column
	}
	if row.Value != "" {
		where += fmt.Sprintf(" %q", row.Value)
	}
	_, err := fmt.Fprintf(o.env.stderr, "%s: %s\n", where, row.Want)
	return err
}

func (o *importOutput) changed(c billing.ImportChange) error {
	if o.env.json {
		return o.line("change", c)
	}
	if o.changes++; o.changes > mostChanges {
		return nil
	}
	_, err := fmt.Fprintf(o.env.stdout, "%s: %s: %q → %q\n", c.Reference, c.Field, c.Before, c.After)
	return err
}

func (o *importOutput) result(kind string, r billing.ImportResult) error {
	if o.env.json {
		return o.line("result", r)
	}
	if r.Bad > 0 {
		return nil // the error says it
	}
	w := o.env.stdout
	if more := o.changes - mostChanges; more > 0 {
		fmt.Fprintf(w, "… and %s more (--json shows all)\n", counted(more, "difference"))
	}
	verb := "imported"
	if r.DryRun {
		verb = "would import"
	}
	fmt.Fprintf(w, "%s %s: %s: %d new, %d changed, %d unchanged", verb, kind, counted(r.Rows, "row"), r.New, r.Changed, r.Unchanged)
	if kind != "tokens" {
		fmt.Fprintf(w, "; %s new", counted(r.NewTokens, "token"))
	}
	fmt.Fprintln(w)
	for _, note := range []struct {
		n    int
		text string
	}{
		{r.Waived, counted(r.Waived, "cycle") + " before today waived (--bill-past would charge them)"},
		{r.Completed, fmt.Sprintf("%d of the new subscriptions had ended before today: nothing to charge", r.Completed)},
		{r.Held, counted(r.Held, "new charge") + " held: the token cannot be charged"},
		{r.Charges, counted(r.Charges, "open charge") + " changed to match the subscription"},
	} {
		if note.n > 0 {
			fmt.Fprintf(w, "  %s\n", note.text)
		}
	}
	if r.DryRun {
		fmt.Fprintln(w, "dry run: nothing was stored")
	}
	return nil
}

// checked tells what gateways said about the tokens of the file.
func (o *importOutput) checked(r checkResult) error {
	if o.env.json {
		return o.line("check", r)
	}
	_, err := fmt.Fprintf(o.env.stdout, "checked %s at the gateway: %d unknown, %d that it would not charge, %d without an answer\n",
		counted(r.Checked, "token"), r.Unknown, r.Invalid, r.Unanswered)
	return err
}

// line writes one object whose first field says what it is.
func (o *importOutput) line(kind string, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.env.stdout, "{\"kind\":%q,%s\n", kind, text[1:])
	return err
}
