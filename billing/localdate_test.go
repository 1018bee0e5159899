package billing_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
)

func TestParseLocalDate(t *testing.T) {
	tests := []struct {
		name, text string
		wrong      string // what the error says; empty: the text is a date
	}{
		{"a date", "2027-01-31", ""},
		{"a leap day", "2028-02-29", ""},
		{"a leap day of a fourth century", "2000-02-29", ""},
		{"the first date", "0001-01-01", ""},
		{"the last date", "9999-12-31", ""},
		{"before 1970", "1969-12-31", ""},
		{"no leap day", "2027-02-29", "2027-02-29 does not exist, February 2027 has 28 days"},
		{"no leap day in most centuries", "2100-02-29", "February 2100 has 28 days"},
		{"31 April", "2027-04-31", "April 2027 has 30 days"},
		{"day 0", "2027-01-00", "does not exist"},
		{"month 13", "2027-13-01", "there is no month 13"},
		{"year 0", "0000-01-01", "the year 0"},
		{"five digits", "10000-01-01", "like 2027-01-31"},
		{"a day first", "31-01-2027", "like 2027-01-31"},
		{"no leading zero", "2027-1-31", "like 2027-01-31"},
		{"a sign", "+027-01-31", "like 2027-01-31"},
		{"a space", "2027-01- 1", "like 2027-01-31"},
		{"digits of another script", "2027-01-٣", "like 2027-01-31"},
		{"a time behind it", "2027-01-31T09:00", "like 2027-01-31"},
		{"empty", "", "like 2027-01-31"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := billing.ParseLocalDate(tt.text)
			checkParsed(t, tt.text, got.String(), err, tt.wrong)
		})
	}
}

func TestParseLocalDateTime(t *testing.T) {
	tests := []struct{ name, text, wrong string }{
		{"to the minute", "2027-01-31T09:00", ""},
		{"to the second", "2027-01-31T09:00:30", ""},
		{"the last second of a day", "2027-01-31T23:59:59", ""},
		{"24 o'clock", "2027-01-31T24:00", "24:00:00 does not exist"},
		{"a leap second", "2027-01-31T23:59:60", "does not exist"},
		{"minute 60", "2027-01-31T09:60", "does not exist"},
		{"an impossible date", "2027-02-30T09:00", "February 2027 has 28 days"},
		{"an offset", "2027-01-31T09:00+01:00", "like 09:00"},
		{"UTC", "2027-01-31T09:00Z", "like 09:00"},
		{"a fraction", "2027-01-31T09:00:00.5", "like 09:00"},
		{"a space between", "2027-01-31 09:00", "like 2027-01-31T09:00"},
		{"dots between", "2027-01-31T09.00", "like 09:00"},
		{"no time", "2027-01-31", "like 2027-01-31T09:00"},
		{"no time after the T", "2027-01-31T", "like 09:00"},
		{"empty", "", "like 2027-01-31T09:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := billing.ParseLocalDateTime(tt.text)
			checkParsed(t, tt.text, got.String(), err, tt.wrong)
		})
	}
}

func checkParsed(t *testing.T, text, got string, err error, wrong string) {
	t.Helper()
	if wrong == "" {
		if err != nil || got != text {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
		return
	}
	if !errors.Is(err, billing.ErrInvalid) || !strings.Contains(err.Error(), wrong) {
		t.Errorf("%q: got %s, %v; want ErrInvalid that says %q", text, got, err, wrong)
	}
}

// A wrong cell may be a card number, or ten megabytes long: errors keep it to
// themselves.
func TestParseErrors_repeatNothing(t *testing.T) {
	const text = "4111111111111111"
	_, dateErr := billing.ParseLocalDate(text)
	_, dateTimeErr := billing.ParseLocalDateTime(text + "T09:00")
	_, timeErr := billing.ParseLocalTime(text)
	_, zoneErr := billing.LoadZone(text)
	_, moneyErr := billing.NewMoney(1, text)
	for _, err := range []error{dateErr, dateTimeErr, timeErr, zoneErr, moneyErr} {
		if err == nil || strings.Contains(err.Error(), "4111") {
			t.Errorf("got %v, want an error without the text", err)
		}
	}
}

func TestLocalDate_conversions(t *testing.T) {
	date := localDate(t, "2027-01-31")
	midnight := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	if got := date.UTC(); got != midnight {
		t.Errorf("UTC() = %v, want %v", got, midnight)
	}
	if got := billing.LocalDateOf(midnight); got != date {
		t.Errorf("LocalDateOf(%v) = %s", midnight, got)
	}
	local := localDateTime(t, "1969-12-31T23:59:58")
	if got := billing.LocalDateTimeOf(local.UTC()); got != local {
		t.Errorf("%s comes back from %v as %s", local, local.UTC(), got)
	}
}

func TestLocalDate_order(t *testing.T) {
	early, late := localDate(t, "1969-12-31"), localDate(t, "1970-01-01")
	if !early.Before(late) || !late.After(early) || early.Before(early) || early.After(early) {
		t.Errorf("%s and %s are out of order", early, late)
	}
	if early.Equal(late) || !early.AddDays(1).Equal(late) || late.DaysSince(early) != 1 {
		t.Errorf("%s is not a day before %s", early, late)
	}
	nine, ten := localDateTime(t, "2027-01-31T09:00"), localDateTime(t, "2027-01-31T10:00")
	if ten.Time.Equal(nine.Time) || !nine.Time.Equal(localDateTime(t, "2027-02-01T09:00").Time) {
		t.Errorf("%s and %s: equal times of day are not told from others", nine, ten)
	}
}

func TestLocalDate_inJSON(t *testing.T) {
	type row struct {
		EndsOn billing.LocalDate
		Anchor billing.LocalDateTime
	}
	for _, text := range []string{
		`{"EndsOn":"2027-01-31","Anchor":"2027-01-31T09:00"}`,
		`{"EndsOn":"","Anchor":"2027-01-31T09:00:30"}`,
	} {
		var r row
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(r); err != nil || string(got) != text {
			t.Errorf("got %s, %v; want %s", got, err, text)
		}
	}
	for _, text := range []string{`{"EndsOn":"2027-02-30"}`, `{"Anchor":""}`} {
		if err := json.Unmarshal([]byte(text), new(row)); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", text, err)
		}
	}
}

func TestNewLocalDate_refusesWhatIsNoDate(t *testing.T) {
	for _, year := range []int{math.MinInt, -1, 0, 10000, math.MaxInt} {
		if got, err := billing.NewLocalDate(year, time.January, 1); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("year %d: got %s, %v; want ErrInvalid", year, got, err)
		}
	}
}

func TestNewLocalTime_refusesWhatNoClockShows(t *testing.T) {
	for _, c := range [][3]int{{-1, 0, 0}, {24, 0, 0}, {0, -1, 0}, {0, 60, 0}, {0, 0, -1}, {0, 0, 60}} {
		if got, err := billing.NewLocalTime(c[0], c[1], c[2]); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("%v: got %s, %v; want ErrInvalid", c, got, err)
		}
	}
}

// Whatever is read, package time reads the same way, and it is written as it was.
func FuzzParseLocalDate(f *testing.F) {
	for _, seed := range []string{"2027-01-31", "2027-02-29", "0001-01-01", "9999-12-31", "2027-1-1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := billing.ParseLocalDate(text)
		want, wantErr := time.Parse(time.DateOnly, text)
		wantOK := wantErr == nil && want.Year() > 0
		if (err == nil) != wantOK || err == nil && (got.UTC() != want || got.String() != text) {
			t.Errorf("%q: got %s, %v; package time says %v, %v", text, got, err, want, wantErr)
		}
	})
}

func FuzzParseLocalDateTime(f *testing.F) {
	for _, seed := range []string{"2027-01-31T09:00", "2027-01-31T09:00:30", "2027-01-31T24:00", "2027-02-30T09:00", "T", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := billing.ParseLocalDateTime(text)
		full := text
		if len(text) == len("2027-01-31T09:00") {
			full += ":00"
		}
		// Package time also takes a single digit for the hour, and fractions.
		want, wantErr := time.Parse("2006-01-02T15:04:05", full)
		wantOK := wantErr == nil && want.Year() > 0 && len(full) == len("2027-01-31T09:00:30")
		if (err == nil) != wantOK || err == nil && got.UTC() != want {
			t.Errorf("%q: got %s, %v; package time says %v, %v", text, got, err, want, wantErr)
		}
	})
}
