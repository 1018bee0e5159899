package importer_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/tokens"
)

const tokenHeader = "merchant_account,token,shopper_reference,payment_method,expiry,brand,last_four\n"

// tokenLine is a good line after changes of the form column=value.
func tokenLine(changes ...string) string {
	names := strings.Split(strings.TrimSpace(tokenHeader), ",")
	cells := strings.Split("DemoEU,M5N7TQ4TG5PFWR50,shopper-1,scheme,2030-03,visa,0042", ",")
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		for i := range names {
			if names[i] == name {
				cells[i] = value
			}
		}
	}
	return strings.Join(cells, ",") + "\n"
}

func readTokens(t testing.TB, file string, o importer.Options) (rows []importer.Token, bad []string) {
	t.Helper()
	for row, err := range importer.Tokens(strings.NewReader(file), o) {
		switch fault := (*billing.BadRow)(nil); {
		case errors.As(err, &fault):
			bad = append(bad, fault.Error())
		case err != nil:
			t.Fatal(err)
		default:
			rows = append(rows, row)
		}
	}
	return rows, bad
}

func TestTokens(t *testing.T) {
	known := tokens.Details{Expiry: tokens.Expiry{Year: 2030, Month: time.March}, Brand: "visa", LastFour: "0042"}
	token := tokens.Token{MerchantAccount: "DemoEU", Reference: "M5N7TQ4TG5PFWR50", ShopperReference: "shopper-1"}
	cards := token
	cards.PaymentMethod = "scheme"
	named := func(reference string) tokens.Token {
		t := cards
		t.Reference = reference
		return t
	}
	tests := []struct {
		name, file string
		want       importer.Token
	}{
		{"all columns", tokenHeader + tokenLine(), importer.Token{Line: 2, Token: cards, Details: known}},
		{"a month as cards have it", tokenHeader + tokenLine("expiry=03/30"), importer.Token{Line: 2, Token: cards, Details: known}},
		{"optional cells empty", tokenHeader + tokenLine("payment_method=", "expiry=", "brand=", "last_four="), importer.Token{Line: 2, Token: token}},
		{"required columns alone, in another order", "token,shopper_reference,merchant_account\nM5N7TQ4TG5PFWR50,shopper-1,DemoEU\n",
			importer.Token{Line: 2, Token: token}},
		{"as Excel writes it", "\xef\xbb\xbf" + strings.ReplaceAll(tokenHeader+"\n"+tokenLine("shopper_reference= shopper-1 "), "\n", "\r\n") + ",,,,,,\r\n",
			importer.Token{Line: 3, Token: cards, Details: known}},
		{"a token of digits alone, with a right check digit", tokenHeader + tokenLine("token=9123456789012348"),
			importer.Token{Line: 2, Token: named("9123456789012348"), Details: known}},
		{"a token that keeps six and four digits of a card", tokenHeader + tokenLine("token=5123450000000009"),
			importer.Token{Line: 2, Token: named("5123450000000009"), Details: known}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, bad := readTokens(t, tt.file, options())
			if diff := cmp.Diff([]importer.Token{tt.want}, rows); diff != "" || len(bad) > 0 {
				t.Errorf("bad rows %q, rows (-want +got):\n%s", bad, diff)
			}
		})
	}
}

func TestTokens_badRows(t *testing.T) {
	const card = "looks like a card number, which contauth must not keep; want the gateway's token and opaque references (--allow-digits COLUMN if it is none)"
	const expiry = "want the last month of the card as YYYY-MM or MM/YY, like 2030-03 or 03/30, or nothing"
	const month = "expiry: want a month from 1 to 12 and a year from 2000 to 2099"
	const lastFour = "line 2, column last_four: want the last four characters of the number, zeros in front too, or nothing"
	const reference = "token: want 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '-'"
	tests := []struct{ name, change, want string }{
		{"unknown merchant account", "merchant_account=demoeu", `line 2, column merchant_account, "demoeu": want a merchant account of the configuration: DemoEU`},
		{"no token", "token=", `line 2, column token: ` + reference},
		{"token as Excel shortens it", "token=9.12346E+15", `line 2, column token, "…": ` + reference},
		{"token of 65 characters", "token=" + strings.Repeat("x", 61) + "tail", `line 2, column token, "…tail": ` + reference},
		{"no shopper reference", "shopper_reference=", `line 2, column shopper_reference: shopper reference: want 3 to 256 characters`},
		{"shopper reference of two characters", "shopper_reference=ab", `line 2, column shopper_reference, "ab": shopper reference: want 3 to 256 characters`},
		{"e-mail address", "shopper_reference=mia@example.invalid", `line 2, column shopper_reference: shopper reference: has an '@'; want an opaque reference, not an e-mail address`},
		{"payment method in words", "payment_method=credit card", `line 2, column payment_method, "credit card": want the gateway's name of a payment method, like scheme or sepadirectdebit, or nothing`},
		{"expiry as Excel turns it", "expiry=Mar-30", `line 2, column expiry, "Mar-30": ` + expiry},
		{"expiry with a day", "expiry=2030-03-31", `line 2, column expiry, "2030-03-31": ` + expiry},
		{"expiry of three digits", "expiry=3/30", `line 2, column expiry, "3/30": ` + expiry},
		{"expiry with the month last", "expiry=30/03", `line 2, column expiry, "30/03": ` + month},
		{"expiry with a year that Excel cut", "expiry=0030-03", `line 2, column expiry, "0030-03": ` + expiry},
		{"expiry without a sign", "expiry=0330", `line 2, column expiry, "0330": ` + expiry},
		{"expiry with a negative month", "expiry=2030--3", `line 2, column expiry, "2030--3": ` + expiry},
		{"expiry in month 0", "expiry=2030-00", `line 2, column expiry, "2030-00": ` + month},
		{"expiry in the last century", "expiry=1999-12", `line 2, column expiry, "1999-12": ` + month},
		{"brand with a line break", "brand=\"vi\nsa\"", "line 2, column brand, \"vi\ufffdsa\": want the gateway's name of a brand, like visa or MASTERCARD, or nothing"},
		{"brand of 41 characters", "brand=" + strings.Repeat("x", 41), `line 2, column brand, "` + strings.Repeat("x", 41) + `": want the gateway's name of a brand, like visa or MASTERCARD, or nothing`},
		{"last four without its zeros", "last_four=42", lastFour},
		{"last four and more", "last_four=512345xxxxxx0008", lastFour},
		{"last four of a masked number", "last_four=-042", lastFour},
		{"card number as token", "token=4111111111111111", `line 2, column token: ` + card},
		{"card number in groups", "last_four=4111 1111-1111 1111", `line 2, column last_four: ` + card},
		{"card number as brand", "brand=visa 4111111111111111", `line 2, column brand: ` + card},
		{"security code", "brand=CVC 737", `line 2, column brand: looks like a card's security code, which nobody may keep; remove it`},
		{"too few cells", "brand=visa,x", `line 2: has 8 cells where the header has 7`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := 3 + strings.Count(tt.change, "\n")
			rows, bad := readTokens(t, tokenHeader+tokenLine(tt.change)+tokenLine("token=THE-NEXT-TOKEN"), options())
			if diff := cmp.Diff([]string{tt.want}, bad); diff != "" {
				t.Errorf("bad rows (-want +got):\n%s", diff)
			}
			if len(rows) != 1 || rows[0].Reference != "THE-NEXT-TOKEN" || rows[0].Line != next {
				t.Errorf("the good row behind it was not read: %v", rows)
			}
		})
	}
}

func TestTokens_headers(t *testing.T) {
	want := "want a header line: " + strings.TrimSpace(tokenHeader)
	tests := []struct{ name, file, want string }{
		{"empty file", "", "line 1: the file is empty; " + want},
		{"a column of charges", "amount_minor," + tokenHeader, "line 1, column amount_minor: unknown column; " + want},
		{"a state", "state," + tokenHeader, "line 1, column state: unknown column; " + want},
		{"missing column", strings.Replace(tokenHeader, "shopper_reference,", "", 1), "line 1, column shopper_reference: the column is missing; " + want},
		{"security codes", "cvc," + tokenHeader, "line 1: the file has a column of security codes, which nobody may keep; remove it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, bad := readTokens(t, tt.file, options()); !cmp.Equal([]string{tt.want}, bad) {
				t.Errorf("got %q, want %q", bad, tt.want)
			}
		})
	}
}

// A month reads the same in both ways of writing it, and nothing else is one.
func TestTokens_expiry(t *testing.T) {
	text := regexp.MustCompile(`^(20[0-9]{2}-(0[1-9]|1[0-2])|(0[1-9]|1[0-2])/[0-9]{2})$`)
	rapid.Check(t, func(rt *rapid.T) {
		e := tokens.Expiry{Year: rapid.IntRange(2000, 2099).Draw(rt, "year"), Month: time.Month(rapid.IntRange(1, 12).Draw(rt, "month"))}
		for _, written := range []string{e.String(), fmt.Sprintf("%02d/%02d", e.Month, e.Year%100)} {
			rows, bad := readTokens(t, tokenHeader+tokenLine("expiry="+written), options())
			if len(bad) > 0 || len(rows) != 1 || rows[0].Details.Expiry != e {
				rt.Errorf("%q: rows %v, bad %q, want %s", written, rows, bad, e)
			}
		}
		other := rapid.StringMatching(`[0-9/-]{1,8}`).Draw(rt, "other")
		rows, _ := readTokens(t, tokenHeader+tokenLine("expiry="+other), options())
		if good := len(rows) == 1; good != text.MatchString(other) {
			rt.Errorf("%q: read %t", other, good)
		}
	})
}

// FuzzTokens compares with encoding/csv: what is read is a line there too, of a
// token that a gateway can have, and nothing that is refused as a card number is
// told.
func FuzzTokens(f *testing.F) {
	f.Add(tokenHeader + tokenLine())
	f.Add(tokenHeader + tokenLine("expiry=03/30", "last_four=4111111111111111"))
	f.Add(tokenHeader + tokenLine("brand=\"a\r\nb\"\"c\"") + tokenLine("token=4111111111111111"))
	f.Fuzz(func(t *testing.T, file string) {
		if !strings.HasPrefix(file, tokenHeader) || len(file) > 60_000 {
			file = tokenHeader + file[:min(len(file), 50_000)]
		}
		rows, bad := readTokens(t, file, options())
		for _, text := range bad {
			// Within a longer row of digits it is none: see hasCardNumber.
			if testCard.MatchString(text) {
				t.Errorf("card number told: %s", text)
			}
		}
		for _, row := range rows {
			if err := errors.Join(tokens.ValidateReference(row.Reference), tokens.ValidateShopperReference(row.ShopperReference)); err != nil {
				t.Error(err)
			}
			if d := row.Details; len(d.LastFour) != 0 && len(d.LastFour) != 4 || !d.Expiry.IsZero() && (d.Expiry.Year < 2000 || d.Expiry.Month < 1) {
				t.Errorf("details %+v", d)
			}
		}
		oracle := csv.NewReader(strings.NewReader(file))
		oracle.FieldsPerRecord = -1
		references := map[string]bool{}
		for {
			cells, err := oracle.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return // the next line begins elsewhere
			}
			if len(cells) > 1 {
				references[strings.TrimSpace(cells[1])] = true
			}
		}
		for _, row := range rows {
			if !references[row.Reference] {
				t.Errorf("token on line %d is none for encoding/csv", row.Line)
			}
		}
	})
}
