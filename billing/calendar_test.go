package billing_test

import (
	"errors"
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

func TestCalendar_Date_endsWhereTheCalendarDoes(t *testing.T) {
	monthly := calendar(t, "2027-01-31T09:00", "Europe/Berlin", billing.Month, 1)
	with := func(change func(*billing.Calendar)) billing.Calendar {
		c := monthly
		change(&c)
		return c
	}
	tests := []struct {
		name     string
		calendar billing.Calendar
		last     int // 0: there is none
	}{
		{"max_cycles counts from cycle 1", with(func(c *billing.Calendar) { c.MaxCycles = 3 }), 3},
		{"a cycle may begin on ends_on", with(func(c *billing.Calendar) { c.EndsOn = localDate(t, "2027-02-28") }), 2},
		{"but not a day later", with(func(c *billing.Calendar) { c.EndsOn = localDate(t, "2027-02-27") }), 1},
		{"the narrower bound counts", with(func(c *billing.Calendar) {
			c.MaxCycles, c.EndsOn = 5, localDate(t, "2027-03-30")
		}), 2},
		{"the year 9999", with(func(c *billing.Calendar) { c.Anchor = localDateTime(t, "9999-10-31T09:00") }), 3},
		{"an interval of nothing has no cycles", with(func(c *billing.Calendar) { c.Interval.Count = 0 }), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for n := -1; n <= tt.last+2; n++ {
				if date, ok := tt.calendar.Date(n); ok != (1 <= n && n <= tt.last) {
					t.Errorf("Date(%d) = %s, %t; the last cycle is %d", n, date, ok, tt.last)
				}
			}
		})
	}
}

func TestCalendar_Period(t *testing.T) {
	c := calendar(t, "2027-01-31T09:00", "Europe/Berlin", billing.Month, 1)
	c.MaxCycles = 2
	start, end := c.Period(2)
	if want := [2]string{"2027-02-28", "2027-03-31"}; start.String() != want[0] || end.String() != want[1] {
		t.Errorf("the last cycle is [%s, %s), want [%s, %s)", start, end, want[0], want[1])
	}
}

func TestCalendar_FirstCycleOn(t *testing.T) {
	monthly := calendar(t, "2027-01-31T09:00", "Europe/Berlin", billing.Month, 1)
	tests := []struct {
		name     string
		calendar billing.Calendar
		date     string
		want     int
	}{
		{"long before the anchor", monthly, "1950-01-01", 1},
		{"on the anchor", monthly, "2027-01-31", 1},
		{"a day after the anchor", monthly, "2027-02-01", 2},
		{"on a shortened month's cycle", monthly, "2027-02-28", 2},
		{"a day after it, in the next month", monthly, "2027-03-01", 3},
		{"a day before a cycle", monthly, "2027-03-30", 3},
		{"on a yearly cycle", calendar(t, "2024-02-29T09:00", "UTC", billing.Year, 1), "2026-02-28", 3},
		{"a day after a yearly cycle", calendar(t, "2024-02-29T09:00", "UTC", billing.Year, 1), "2026-03-01", 4},
		{"weeks", calendar(t, "2027-01-31T09:00", "UTC", billing.Week, 4), "2027-03-01", 3},
		{"days over centuries", calendar(t, "1600-01-01T09:00", "UTC", billing.Day, 1), "2000-01-01", 146098},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.calendar.FirstCycleOn(localDate(t, tt.date)); got != tt.want {
				t.Errorf("FirstCycleOn(%s) = %d, want %d", tt.date, got, tt.want)
			}
		})
	}
}

func TestCalendar_Validate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*billing.Calendar)
		valid  bool
	}{
		{"a monthly calendar", func(*billing.Calendar) {}, true},
		{"one that ends on its anchor", func(c *billing.Calendar) { c.EndsOn = c.Anchor.Date }, true},
		{"one that ends before it", func(c *billing.Calendar) { c.EndsOn = c.Anchor.Date.AddDays(-1) }, false},
		{"no anchor", func(c *billing.Calendar) { c.Anchor = billing.LocalDateTime{} }, false},
		{"an anchor after the year 9999", func(c *billing.Calendar) { c.Anchor.Date = localDate(t, "9999-12-31").AddDays(1) }, false},
		{"an anchor before the year 1", func(c *billing.Calendar) { c.Anchor.Date = localDate(t, "0001-01-01").AddDays(-2) }, false},
		{"no zone", func(c *billing.Calendar) { c.Zone = billing.Zone{} }, false},
		{"a negative number of cycles", func(c *billing.Calendar) { c.MaxCycles = -1 }, false},
		{"no interval", func(c *billing.Calendar) { c.Interval = billing.Interval{} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := calendar(t, "2027-01-31T09:00", "Europe/Berlin", billing.Month, 1)
			tt.change(&c)
			if err := c.Validate(); tt.valid != (err == nil) || err != nil && !errors.Is(err, billing.ErrInvalid) {
				t.Errorf("got %v, want valid %t", err, tt.valid)
			}
		})
	}
}

func TestNewInterval(t *testing.T) {
	tests := []struct {
		name  string
		unit  billing.IntervalUnit
		count int
		want  string // how it is written; empty: refused
	}{
		{"a month", billing.Month, 1, "1 month"},
		{"four weeks", billing.Week, 4, "4 weeks"},
		{"ten years", billing.Year, 10, "10 years"},
		{"nothing", billing.Month, 0, ""},
		{"backwards", billing.Day, -1, ""},
		{"more than ten years of months", billing.Month, 121, ""},
		{"an unknown unit", "hour", 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := billing.NewInterval(tt.unit, tt.count)
			if tt.want == "" {
				if !errors.Is(err, billing.ErrInvalid) {
					t.Errorf("got %v, %v; want ErrInvalid", got, err)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("got %v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestIntervalUnit_UnmarshalText(t *testing.T) {
	for _, word := range []string{"day", "week", "month", "year"} {
		var unit billing.IntervalUnit
		if err := unit.UnmarshalText([]byte(word)); err != nil || string(unit) != word {
			t.Errorf("%q: got %q, %v", word, unit, err)
		}
	}
	for _, word := range []string{"", "Month", "months", "hour"} {
		unit := billing.Day
		if err := unit.UnmarshalText([]byte(word)); !errors.Is(err, billing.ErrInvalid) || unit != billing.Day {
			t.Errorf("%q: got %q, %v; want ErrInvalid and no change", word, unit, err)
		}
	}
}
