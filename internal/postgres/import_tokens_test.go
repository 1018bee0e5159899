package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

func (b *book) tokens(rows ...postgres.ImportedToken) imported {
	b.t.Helper()
	var got imported
	var err error
	got.Result, err = b.db.ImportTokens(b.t.Context(), good(rows), b.request(&got))
	b.checkError(err, got)
	return got
}

// storedToken is a line about a token whose card the file tells.
func storedToken(line int, name string, change ...func(*postgres.ImportedToken)) postgres.ImportedToken {
	t := postgres.ImportedToken{
		Line:    line,
		Token:   tokens.Token{MerchantAccount: "DemoEU", Reference: "A-TOKEN-OF-" + name, ShopperReference: "shopper-" + name},
		Details: tokens.Details{Brand: "visa", LastFour: "0042", Expiry: tokens.Expiry{Year: 2030, Month: time.March}},
	}
	for _, c := range change {
		c(&t)
	}
	return t
}

func bare(t *postgres.ImportedToken) { t.Details = tokens.Details{} }

// stored is all that is on record about tokens and their cards.
func (b *book) stored() []string {
	b.t.Helper()
	return b.table(`
		SELECT concat_ws(' ', t.merchant_account, t.token, t.shopper_reference, t.payment_method, t.state,
		                 CASE WHEN k.token_id IS NOT NULL THEN concat_ws('/', k.expires, k.brand, k.last_four, k.fingerprint, k.read_at) END)
		  FROM tokens t LEFT JOIN cards k ON k.token_id = t.id ORDER BY t.merchant_account, t.token`)
}

func TestImportTokens_new(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	got := b.tokens(
		storedToken(2, "A1"),
		storedToken(3, "A2", bare, func(t *postgres.ImportedToken) { t.PaymentMethod = "sepadirectdebit" }),
		storedToken(4, "A1", func(t *postgres.ImportedToken) {
			t.MerchantAccount = "DemoUS"
			t.Details = tokens.Details{LastFour: "0042"}
		}),
	)
	if diff := cmp.Diff(imported{Result: billing.ImportResult{Rows: 3, New: 3, NewTokens: 3}}, got); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	b.want("tokens", b.stored(), []string{
		"DemoEU A-TOKEN-OF-A1 shopper-A1 scheme unverified 2030-03-01/visa/0042/",
		"DemoEU A-TOKEN-OF-A2 shopper-A2 sepadirectdebit unverified",
		"DemoUS A-TOKEN-OF-A1 shopper-A1 scheme unverified /0042/",
	})
	b.want("audit", b.table(`SELECT actor || ' ' || action || ' ' || object || ' ' || (after->>'sha256') || ' ' || (after->'result'->>'new') FROM audit`),
		[]string{"mia import_tokens book.csv 0123 3"})
}

func TestImportTokens_againChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	file := []postgres.ImportedToken{storedToken(2, "A1"), storedToken(3, "A2", bare)}
	b.tokens(file...)
	// What the file does not tell, the gateway told.
	b.exec(`INSERT INTO cards (token_id, brand, last_four, read_at) SELECT id, 'mc', '0008', now() FROM tokens WHERE token = 'A-TOKEN-OF-A2'`)
	b.exec(`UPDATE tokens SET state = 'invalid', cause = 'refusal 7' WHERE token = 'A-TOKEN-OF-A1'`)
	before := b.stored()
	if diff := cmp.Diff(imported{Result: billing.ImportResult{Rows: 2, Unchanged: 2}}, b.tokens(file...)); diff != "" {
		t.Errorf("import (-want +got):\n%s", diff)
	}
	b.want("tokens", b.stored(), before)
}

func TestImportTokens_changes(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.subscriptions(monthly(2, "A3"))
	b.tokens(storedToken(2, "A1"), storedToken(3, "A2"))
	b.exec(`UPDATE cards SET read_at = now(), fingerprint = 'F' || token_id`)
	file := []postgres.ImportedToken{
		storedToken(2, "A1", func(t *postgres.ImportedToken) {
			t.Details = tokens.Details{Expiry: tokens.Expiry{Year: 2034, Month: time.December}}
		}),
		storedToken(3, "A2", func(t *postgres.ImportedToken) { t.Details.Brand, t.Details.LastFour = "mc", "0008" }),
		storedToken(4, "A3"),
		storedToken(5, "A4"),
	}
	for _, dry := range []bool{true, false} {
		before := b.stored()
		var got imported
		req := b.request(&got)
		req.DryRun = dry
		result, err := b.db.ImportTokens(t.Context(), good(file), req)
		if err != nil {
			t.Fatal(err)
		}
		want := billing.ImportResult{Rows: 4, New: 1, Changed: 3, NewTokens: 1, DryRun: dry}
		if diff := cmp.Diff(want, result); diff != "" {
			t.Errorf("dry run %t (-want +got):\n%s", dry, diff)
		}
		b.want("differences", got.Changes, []string{
			`2 …F-A1 expiry: "2030-03" → "2034-12"`,
			`3 …F-A2 brand: "visa" → "mc"`,
			`3 …F-A2 last_four: "0042" → "0008"`,
			`4 …F-A3 expiry: "" → "2030-03"`,
			`4 …F-A3 brand: "" → "visa"`,
			`4 …F-A3 last_four: "" → "0042"`,
		})
		if dry {
			b.want("tokens after a dry run", b.stored(), before)
		}
	}
	// A2 has another number now, and so another fingerprint.
	b.want("tokens", b.stored(), []string{
		"DemoEU A-TOKEN-OF-A1 shopper-A1 scheme unverified 2034-12-01/visa/0042/F2",
		"DemoEU A-TOKEN-OF-A2 shopper-A2 scheme unverified 2030-03-01/mc/0008/",
		"DemoEU A-TOKEN-OF-A3 shopper-A3 scheme unverified 2030-03-01/visa/0042/",
		"DemoEU A-TOKEN-OF-A4 shopper-A4 scheme unverified 2030-03-01/visa/0042/",
	})
	b.want("audit", b.table(`
		SELECT concat_ws(' ', t.token, a.actor, a.object_kind, a.merchant_account, a.before, a.after)
		  FROM audit a JOIN tokens t ON t.id::text = a.object
		 WHERE a.action = 'import_token_change' ORDER BY a.id`), []string{
		`A-TOKEN-OF-A1 mia token DemoEU {"expiry": "2030-03"} {"expiry": "2034-12"}`,
		`A-TOKEN-OF-A2 mia token DemoEU {"brand": "visa", "last_four": "0042"} {"brand": "mc", "last_four": "0008"}`,
		`A-TOKEN-OF-A3 mia token DemoEU {"brand": "", "expiry": "", "last_four": ""} {"brand": "visa", "expiry": "2030-03", "last_four": "0042"}`,
	})
}

func TestImportTokens_badRows(t *testing.T) {
	t.Parallel()
	const form = "want 1 to 40 letters and digits: the Mastercard Gateway has no other tokens"
	mastercard := func(reference string) postgres.ImportedToken {
		return storedToken(9, "M1", func(t *postgres.ImportedToken) { t.MerchantAccount, t.Reference = "DemoMC", reference })
	}
	tests := []struct {
		name string
		line postgres.ImportedToken
		want []string
	}{
		{"a new token is there twice", storedToken(9, "A1"),
			[]string{`line 9, column token, "…F-A1": is on line 3 already, for the same merchant account`}},
		{"a known token is there twice", storedToken(9, "OLD"),
			[]string{`line 9, column token, "…-OLD": is on line 4 already, for the same merchant account`}},
		{"a known token of another shopper", storedToken(9, "KNOWN", func(t *postgres.ImportedToken) { t.ShopperReference = "shopper-9" }),
			[]string{`line 9, column token: belongs to another shopper reference: a token is one shopper's for good`}},
		{"a new token of two shoppers", storedToken(9, "A1", func(t *postgres.ImportedToken) { t.ShopperReference = "shopper-9" }), []string{
			`line 9, column token: belongs to another shopper reference: a token is one shopper's for good`,
			`line 9, column token, "…F-A1": is on line 3 already, for the same merchant account`,
		}},
		{"another payment method of a known token", storedToken(9, "KNOWN", func(t *postgres.ImportedToken) { t.PaymentMethod = "paypal" }),
			[]string{`line 9, column payment_method, "paypal": the token is known with payment method scheme`}},
		{"a dash in a Mastercard token", mastercard("A-TOKEN-OF-M1"), []string{`line 9, column token, "…F-M1": ` + form}},
		{"a Mastercard token of 41 characters", mastercard("90000000000000000000000000000000000000001"),
			[]string{`line 9, column token, "…0001": ` + form}},
		{"a Mastercard token of 40 characters", mastercard("9000000000000000000000000000000000000001"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBook(t)
			b.addMastercard()
			b.tokens(storedToken(2, "KNOWN"), storedToken(3, "OLD"))
			file := []postgres.ImportedToken{storedToken(3, "A1"), tt.line}
			if tt.line.Reference != "A-TOKEN-OF-A1" {
				file = []postgres.ImportedToken{storedToken(3, "A1"), storedToken(4, "OLD"), tt.line}
			}
			before := b.stored()
			got := b.tokens(file...)
			b.want("bad rows", got.Bad, tt.want)
			if len(tt.want) == 0 {
				return
			}
			if got.Result.Bad < 1 {
				t.Error("no bad row counted")
			}
			b.want("tokens", b.stored(), before)
		})
	}
}

// addMastercard adds the merchant account DemoMC.
func (b *book) addMastercard() {
	b.t.Helper()
	err := b.db.SyncAccounts(b.t.Context(), []postgres.AccountSettings{{ID: "DemoMC", Gateway: "mastercard", Environment: "test",
		BaseURL: "http://127.0.0.1:1/mastercard/api/nvp/version/100", ReturnURL: "https://example.invalid/", MaxInFlight: 4}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// A token whose charge is being settled is imported at the same time: a file says
// nothing about charging it, and so waits for nobody but who writes about its card.
func TestImportTokens_doesNotWaitForCharges(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.tokens(storedToken(2, "A1"))
	tx, err := b.sql.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`UPDATE tokens SET state = 'invalid', cause = 'refusal 7'`); err != nil {
		t.Fatal(err)
	}
	got := b.tokens(storedToken(2, "A1", func(t *postgres.ImportedToken) { t.Details.Brand = "mc" }))
	if got.Result.Changed != 1 {
		t.Errorf("%d changed, want 1", got.Result.Changed)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	b.want("tokens", b.stored(), []string{"DemoEU A-TOKEN-OF-A1 shopper-A1 scheme invalid 2030-03-01/mc/0042/"})
}
