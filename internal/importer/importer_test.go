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

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/importer"
)

// wholeUnits is a gateway that knows no decimals of IDR.
type wholeUnits struct{}

func (wholeUnits) CheckAmount(amount billing.Money) error {
	if amount.Currency != "IDR" {
		return nil
	}
	_, err := amount.WithExponent(0)
	return err
}

func options() importer.Options {
	return importer.Options{
		Accounts: map[string]importer.AmountChecker{"DemoEU": wholeUnits{}},
		Now:      time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC),
	}
}

const header = "reference,merchant_account,shopper_reference,token,payment_method,amount_minor,currency,interval_unit,interval_count,anchor,timezone,max_cycles,ends_on,description\n"

// line is a good line after changes of the form column=value.
func line(changes ...string) string {
	names := strings.Split(strings.TrimSpace(header), ",")
	cells := strings.Split("A1,DemoEU,shopper-1,M5N7TQ4TG5PFWR50,,1250,EUR,month,1,2027-01-31T09:00,Europe/Berlin,,,bread", ",")
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

func readAll(t testing.TB, file string, o importer.Options) (rows []billing.ImportedSubscription, bad []string) {
	t.Helper()
	for row, err := range importer.Subscriptions(strings.NewReader(file), o) {
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

func TestSubscriptions_badRows(t *testing.T) {
	const utf8Hint = "is not UTF-8; save the file as UTF-8 (in Excel: \"CSV UTF-8\")"
	const card = "looks like a card number, which contauth must not keep; want the gateway's token and opaque references (--allow-digits COLUMN if it is none)"
	const minor = "want a whole number of minor units, such as 1250 for 12.50 EUR"
	tests := []struct{ name, change, want string }{
		{"unknown zone", "timezone=Mars/Base", `line 2, column timezone, "Mars/Base": time zone: Mars/Base is unknown, want an IANA name like Europe/Berlin`},
		{"impossible date", "anchor=2027-02-30T09:00", `line 2, column anchor, "2027-02-30T09:00": date: 2027-02-30 does not exist, February 2027 has 28 days`},
		{"date before 1970", "anchor=1969-12-31T09:00", `line 2, column anchor, "1969-12-31T09:00": want a date from 1970 on`},
		{"negative amount", "amount_minor=-5", `line 2, column amount_minor, "-5": is negative; ` + minor},
		{"fractional amount", "amount_minor=12.50", `line 2, column amount_minor, "12.50": ` + minor},
		{"amount as Excel shortens it", "amount_minor=1.25E+05", `line 2, column amount_minor, "1.25E+05": ` + minor},
		{"amount beyond 64 bits", "amount_minor=9223372036854775808", `line 2, column amount_minor, "9223372036854775808": is more than an amount can be`},
		{"unknown currency", "currency=EUX", `line 2, column currency, "EUX": currency: EUX is no active ISO 4217 currency with minor units`},
		{"amount the gateway cannot express", "currency=IDR", ``},
		{"interval 0", "interval_count=0", `line 2, column interval_count, "0": want a whole number from 1 on`},
		{"interval of no unit", "interval_unit=moon", `line 2, column interval_unit, "moon": interval unit: want day, week, month or year`},
		{"end before the anchor", "ends_on=2027-01-30", `line 2, column ends_on, "2027-01-30": is before the anchor 2027-01-31T09:00`},
		{"no cycles", "max_cycles=0", `line 2, column max_cycles, "0": want a whole number from 1 on, or nothing for no limit`},
		{"unknown merchant account", "merchant_account=demoeu", `line 2, column merchant_account, "demoeu": want a merchant account of the configuration: DemoEU`},
		{"e-mail address", "shopper_reference=mia@example.invalid", `line 2, column shopper_reference: shopper reference: has an '@'; want an opaque reference, not an e-mail address`},
		{"10 MB cell", "description=" + strings.Repeat("x", 10<<20), `line 2, column description: the cell has more than 65536 bytes`},
		{"not UTF-8", "description=Br\xf6tchen", `line 2, column description: ` + utf8Hint},
		{"card number as reference", "reference=4111111111111111", `line 2, column reference: ` + card},
		{"card number in groups", "description=card 4111 1111-1111 1111 please", `line 2, column description: ` + card},
		{"card number behind other digits", "description=12 378282246310005", `line 2, column description: ` + card},
		{"security code", "description=CVC: 737", `line 2, column description: looks like a card's security code, which nobody may keep; remove it`},
		{"text turned around", "description=a\u202eb", "line 2, column description, \"a\ufffdb\": has control characters; want plain text"},
		{"quote in the middle", `description=a"b`, `line 2, column description: has a '"' in the middle; want the whole cell between '"', and each '"' in it doubled`},
		{"too many cells", "description=a,b", `line 2: has 15 cells where the header has 14`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := []string{tt.want}
			if tt.name == "amount the gateway cannot express" {
				want[0] = `line 2, column amount_minor, "1250": amount: 12.50 IDR cannot be expressed with 0 decimals`
			}
			rows, bad := readAll(t, header+line(tt.change)+line("reference=A2"), options())
			if diff := cmp.Diff(want, bad); diff != "" {
				t.Errorf("bad rows (-want +got):\n%s", diff)
			}
			if len(rows) != 1 || rows[0].Reference != "A2" || rows[0].Line != 3 {
				t.Errorf("the good row behind it was not read: %v", rows)
			}
		})
	}
}

func TestSubscriptions_headers(t *testing.T) {
	want := "want a header line: reference,merchant_account,shopper_reference,token,payment_method,amount_minor,currency,description,interval_unit,interval_count,anchor,timezone,max_cycles,ends_on"
	tests := []struct{ name, file, want string }{
		{"empty file", "", "line 1: the file is empty; " + want},
		{"semicolons", strings.ReplaceAll(header, ",", ";"), "line 1: the cells are not separated by commas; " + want},
		{"UTF-16", "\xff\xfer\x00e\x00", "line 1: the file is UTF-16; save it as UTF-8 (in Excel: \"CSV UTF-8\")"},
		{"unknown column", "price," + header, "line 1, column price: unknown column; " + want},
		{"missing column", strings.Replace(header, "timezone,", "", 1), "line 1, column timezone: the column is missing; " + want},
		{"column twice", "reference," + header, "line 1, column reference: the column is there twice"},
		{"security codes", "CVV2," + header, "line 1: the file has a column of security codes, which nobody may keep; remove it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, bad := readAll(t, tt.file, options()); !cmp.Equal([]string{tt.want}, bad) {
				t.Errorf("got %q, want %q", bad, tt.want)
			}
		})
	}
}

func TestSubscriptions_asExcelWritesThem(t *testing.T) {
	file := "\xef\xbb\xbf" + strings.ReplaceAll(strings.Replace(header, "payment_method,", "", 1), "\n", "\r\n") +
		"\r\n" + `"A1",DemoEU, shopper-1 ,M5N7TQ4TG5PFWR50,1250,EUR,month,1,2027-01-31T09:00,Europe/Berlin,,,"bread, ""fresh""` + "\r\n" + `daily"` + "\r\n,,,,,,,,,,,,\r\n"
	rows, bad := readAll(t, file, options())
	if len(bad) > 0 || len(rows) != 1 {
		t.Fatalf("rows %v, bad %q", rows, bad)
	}
	got := rows[0]
	if got.Line != 3 || got.Description != `bread, "fresh" daily` || got.ShopperReference != "shopper-1" {
		t.Errorf("got %+v", got)
	}
	if got.FirstCycle != 3 || got.Waived != 2 || !got.FirstDueAt.Equal(time.Date(2027, 3, 31, 7, 0, 0, 0, time.UTC)) {
		t.Errorf("first cycle %d due at %s with %d waived, want 3 on 31 March with 2", got.FirstCycle, got.FirstDueAt, got.Waived)
	}
}

func TestSubscriptions_allowDigits(t *testing.T) {
	o := options()
	o.AllowDigits = []string{"reference"}
	rows, bad := readAll(t, header+line("reference=4111111111111111"), o)
	if len(rows) != 1 || len(bad) > 0 {
		t.Errorf("rows %v, bad %q", rows, bad)
	}
}

var testCard = regexp.MustCompile(`(^|[^0-9])4111111111111111([^0-9]|$)`)

// FuzzSubscriptions compares with encoding/csv: what it takes for a table is one
// here too, line by line, and nothing that is refused as a card number is told.
func FuzzSubscriptions(f *testing.F) {
	f.Add(header + line())
	f.Add(header + line("amount_minor=A04111111111111111"))
	f.Add(header + line("description=\"a\r\nb\"\"c\"") + line("reference=4111111111111111"))
	f.Fuzz(func(t *testing.T, file string) {
		if !strings.HasPrefix(file, header) || len(file) > 60_000 {
			file = header + file[:min(len(file), 50_000)]
		}
		rows, bad := readAll(t, file, options())
		for _, text := range bad {
			// Within a longer row of digits it is none: see hasCardNumber.
			if testCard.MatchString(text) {
				t.Errorf("card number told: %s", text)
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
			references[strings.TrimSpace(cells[0])] = true
		}
		for _, row := range rows {
			if !references[row.Reference] {
				t.Errorf("row %q is none for encoding/csv", fmt.Sprint(row.Reference))
			}
		}
	})
}
