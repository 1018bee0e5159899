package billing_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

// Every anchor of a leap year, every step of up to two years, forty years long.
func TestCalendar_Date_fortyYearsOfMonths(t *testing.T) {
	for anchorDay := 1; anchorDay <= 31; anchorDay++ {
		for step := 1; step <= 24; step++ {
			for month := time.January; month <= time.December; month++ {
				anchor, err := billing.NewLocalDate(2024, month, anchorDay)
				if err != nil {
					continue // 31 April and the like: no such anchor
				}
				checkMonths(t, anchor, step)
			}
		}
	}
}

// checkMonths compares forty years with what a person would write down: step
// months on, the anchor's day or the last of the month.
func checkMonths(t *testing.T, anchor billing.LocalDate, step int) {
	t.Helper()
	c := billing.Calendar{
		Anchor:   billing.LocalDateTime{Date: anchor},
		Zone:     zone(t, "UTC"),
		Interval: interval(t, billing.Month, step),
	}
	year, month, anchorDay := anchor.Date()
	before := anchor.AddDays(-1)
	for n := 1; year < 2064; n++ {
		// Day 0 of the next month is the last one of this.
		lastDay := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		got, ok := c.Date(n)
		gotYear, gotMonth, gotDay := got.Date()
		if !ok || gotYear != year || gotMonth != month || gotDay != min(anchorDay, lastDay) {
			t.Fatalf("every %d months from %s: cycle %d begins on %s, %t; want %d-%d-%d",
				step, anchor, n, got, ok, year, month, min(anchorDay, lastDay))
		}
		if !before.Before(got) {
			t.Fatalf("every %d months from %s: cycle %d begins on %s, not after %s", step, anchor, n, got, before)
		}
		before = got
		for month += time.Month(step); month > time.December; month -= 12 {
			year++
		}
	}
}

// drawCalendar draws any calendar that Validate accepts.
func drawCalendar(t *rapid.T) billing.Calendar {
	most := map[billing.IntervalUnit]int{billing.Day: 3660, billing.Week: 520, billing.Month: 120, billing.Year: 10}
	unit := rapid.SampledFrom([]billing.IntervalUnit{billing.Day, billing.Week, billing.Month, billing.Year}).Draw(t, "unit")
	anchor := drawDate(t, "anchor")
	c := billing.Calendar{
		Anchor:    billing.LocalDateTime{Date: anchor, Time: drawTime(t)},
		Zone:      zone(t, rapid.SampledFrom(someZones).Draw(t, "zone")),
		Interval:  interval(t, unit, rapid.IntRange(1, most[unit]).Draw(t, "count")),
		MaxCycles: rapid.SampledFrom([]int{0, 0, 1, 12, 1000}).Draw(t, "max cycles"),
	}
	if rapid.Bool().Draw(t, "ends") {
		c.EndsOn = anchor.AddDays(rapid.IntRange(0, 20_000).Draw(t, "days to the end"))
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

var someZones = []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca"}

func drawDate(t *rapid.T, label string) billing.LocalDate {
	first, last := localDate(t, "0001-01-01"), localDate(t, "9999-12-31")
	if rapid.Bool().Draw(t, label+" near today") {
		first, last = localDate(t, "1990-01-01"), localDate(t, "2060-12-31")
	}
	return first.AddDays(rapid.IntRange(0, last.DaysSince(first)).Draw(t, label))
}

func drawTime(t *rapid.T) billing.LocalTime {
	second := rapid.IntRange(0, 24*60*60-1).Draw(t, "second of the day")
	clock, err := billing.NewLocalTime(second/3600, second/60%60, second%60)
	return must(t, clock, err)
}

// The cycles of a calendar follow each other without a hole and without touching
// twice, up to its end, and nothing comes after the end.
func TestCalendar_skipsAndDoublesNoPeriod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCalendar(t)
		n := rapid.IntRange(1, 2000).Draw(t, "n")
		start, end := c.Period(n)
		next, _ := c.Period(n + 1)
		if !start.Before(end) || end != next {
			t.Fatalf("period %d is [%s, %s), the next begins on %s", n, start, end, next)
		}
		date, ok := c.Date(n)
		within := (c.MaxCycles == 0 || n <= c.MaxCycles) &&
			(c.EndsOn.IsZero() || !start.After(c.EndsOn)) &&
			!start.After(localDate(t, "9999-12-31"))
		if ok != within || ok && date != start {
			t.Fatalf("Date(%d) = %s, %t; the period begins on %s, within the bounds: %t", n, date, ok, start, within)
		}
		if after, laterOK := c.Date(n + 1); laterOK && !ok {
			t.Fatalf("cycle %d on %s exists, but not the one before it", n+1, after)
		}
		if c.DueAt(n).After(c.DueAt(n + 1)) {
			t.Fatalf("cycle %d is due at %s, after cycle %d at %s", n, c.DueAt(n), n+1, c.DueAt(n+1))
		}
	})
}

func TestCalendar_FirstCycleOn_isTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, date := drawCalendar(t), drawDate(t, "date")
		n := c.FirstCycleOn(date)
		start, _ := c.Period(n)
		if n < 1 || start.Before(date) {
			t.Fatalf("FirstCycleOn(%s) = %d, which begins on %s, earlier", date, n, start)
		}
		if before, _ := c.Period(n - 1); n > 1 && !before.Before(date) {
			t.Fatalf("FirstCycleOn(%s) = %d, but cycle %d begins on %s, not earlier", date, n, n-1, before)
		}
	})
}

// Numbers that no cycle can have are no cycles, however large they are.
func TestCalendar_Date_ofAnyNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, n := drawCalendar(t), rapid.Int().Draw(t, "n")
		date, ok := c.Date(n)
		if ok && (n < 1 || date.Before(c.Anchor.Date)) {
			t.Fatalf("Date(%d) = %s, %t", n, date, ok)
		}
		c.DueAt(n)  // far away, but it returns
		c.Period(n) // likewise
	})
}
