package billing_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
)

func TestCalendar_Date(t *testing.T) {
	tests := []struct {
		name   string
		anchor string
		unit   billing.IntervalUnit
		count  int
		want   []string // cycles 1, 2, 3 …
	}{
		{"the end of the month is the anchor's day or the last", "2027-01-31T09:00", billing.Month, 1,
			[]string{"2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"}},
		{"the end of February in a leap year", "2028-01-31T09:00", billing.Month, 1,
			[]string{"2028-01-31", "2028-02-29", "2028-03-31"}},
		{"every second month across the year's end", "2026-10-31T09:00", billing.Month, 2,
			[]string{"2026-10-31", "2026-12-31", "2027-02-28", "2027-04-30"}},
		{"29 February yearly comes back in leap years", "2024-02-29T09:00", billing.Year, 1,
			[]string{"2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"}},
		{"29 February yearly in a century without a leap year", "2096-02-29T09:00", billing.Year, 4,
			[]string{"2096-02-29", "2100-02-28", "2104-02-29"}},
		{"30 days are not a month", "2027-01-31T09:00", billing.Day, 30,
			[]string{"2027-01-31", "2027-03-02", "2027-04-01"}},
		{"4 weeks are not a month", "2027-01-31T09:00", billing.Week, 4,
			[]string{"2027-01-31", "2027-02-28", "2027-03-28"}},
		{"before 1970", "1969-12-31T09:00", billing.Day, 1,
			[]string{"1969-12-31", "1970-01-01", "1970-01-02"}},
		{"long before 1970", "1899-12-31T09:00", billing.Month, 2,
			[]string{"1899-12-31", "1900-02-28", "1900-04-30"}},
		{"beyond 2038", "2037-12-31T09:00", billing.Month, 1,
			[]string{"2037-12-31", "2038-01-31", "2038-02-28"}},
		{"nothing after the year 9999", "9999-11-30T09:00", billing.Month, 1,
			[]string{"9999-11-30", "9999-12-30"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := calendar(t, tt.anchor, "Europe/Berlin", tt.unit, tt.count)
			var got []string
			for n := range len(tt.want) {
				date, ok := c.Date(n + 1)
				if !ok {
					t.Fatalf("Date(%d): no such cycle", n+1)
				}
				got = append(got, date.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCalendar_DueAt(t *testing.T) {
	c := calendar(t, "2027-01-31T09:00", "Europe/Berlin", billing.Month, 1)
	tests := []struct {
		name  string
		cycle int
		want  string
	}{
		{"winter", 1, "2027-01-31T08:00:00Z"},
		{"summer", 4, "2027-04-30T07:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.DueAt(tt.cycle).Format(time.RFC3339); got != tt.want {
				t.Errorf("DueAt(%d) = %s, want %s", tt.cycle, got, tt.want)
			}
		})
	}
}
