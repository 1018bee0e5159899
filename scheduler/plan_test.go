package scheduler_test

import (
	"errors"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func TestParseAsOf(t *testing.T) {
	now := time.Date(2027, 1, 31, 10, 30, 0, 0, time.UTC)
	tests := []struct {
		name  string
		text  string
		until string
		day   string
	}{
		{"nothing means now", "", "2027-01-31T10:30:00Z", "2027-01-31"},
		{"an instant", "2027-02-28T23:30:00-05:00", "2027-03-01T04:30:00Z", "2027-03-01"},
		{"a date ends when it has ended everywhere", "2027-01-31", "2027-02-01T12:00:00Z", "2027-01-31"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asOf, err := scheduler.ParseAsOf(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := asOf.Until(now).Format(time.RFC3339); got != tt.until {
				t.Errorf("until %s, want %s", got, tt.until)
			}
			if got := asOf.BusinessDay(now).String(); got != tt.day {
				t.Errorf("business day %s, want %s", got, tt.day)
			}
		})
	}
	for _, text := range []string{"yesterday", "2027-02-30", "2027-01-31T10:00", "31.01.2027"} {
		if _, err := scheduler.ParseAsOf(text); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("%q: error %v, want ErrInvalid", text, err)
		}
	}
}

// The manifest's bytes are promised: an approval signs their hash.
func TestManifestItem_AppendLine(t *testing.T) {
	item := scheduler.ManifestItem{Position: 3, MerchantAccount: "DemoEU", ChargeReference: "sub-1~2", Attempt: 1, AmountMinor: 1999, Currency: "EUR", Token: "TK0001"}
	if got, want := string(item.AppendLine(nil)), "3,DemoEU,sub-1~2,1,1999,EUR,TK0001\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
