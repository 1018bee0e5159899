package billing

import (
	"fmt"
	"time"
)

// An IntervalUnit is what an Interval counts. The units are kinds of their own:
// every 4 weeks is 13 times a year, every month is 12 times, every 30 days
// neither.
type IntervalUnit string

const (
	Day   IntervalUnit = "day"
	Week  IntervalUnit = "week"
	Month IntervalUnit = "month"
	Year  IntervalUnit = "year"
)

// maxCount is about ten years of each unit: longer cycles are mistakes.
var maxCount = map[IntervalUnit]int{Day: 3660, Week: 520, Month: 120, Year: 10}

// UnmarshalText implements encoding.TextUnmarshaler and refuses words that are
// no unit.
func (u *IntervalUnit) UnmarshalText(text []byte) error {
	if _, ok := maxCount[IntervalUnit(text)]; !ok {
		return errUnit
	}
	*u = IntervalUnit(text)
	return nil
}

var errUnit = fmt.Errorf("%w interval unit: want day, week, month or year", ErrInvalid)

// An Interval is the time from one cycle to the next: 1 month, 4 weeks.
type Interval struct {
	Unit  IntervalUnit
	Count int
}

// NewInterval returns an interval of count units. It returns ErrInvalid for an
// unknown unit, for a count below 1 and for intervals beyond ten years.
func NewInterval(unit IntervalUnit, count int) (Interval, error) {
	largest, ok := maxCount[unit]
	if !ok {
		return Interval{}, errUnit
	}
	if count < 1 || count > largest {
		return Interval{}, fmt.Errorf("%w interval: want 1 to %d %ss, not %d", ErrInvalid, largest, unit, count)
	}
	return Interval{unit, count}, nil
}

// String returns "1 month", "4 weeks".
func (i Interval) String() string {
	if i.Count == 1 {
		return "1 " + string(i.Unit)
	}
	return fmt.Sprintf("%d %ss", i.Count, i.Unit)
}

// valid reports whether NewInterval would make i.
func (i Interval) valid() bool { return 1 <= i.Count && i.Count <= maxCount[i.Unit] }

// monthly reports whether the interval is one of whole months; else it is one of
// whole days.
func (i Interval) monthly() bool { return i.Unit == Month || i.Unit == Year }

// steps returns the interval in months or in days.
func (i Interval) steps() int {
	switch i.Unit {
	case Week:
		return 7 * i.Count
	case Year:
		return 12 * i.Count
	}
	return i.Count
}

// A Calendar gives the cycles of a subscription. Cycle 1 begins on the date of
// the anchor, and every later one is counted from the anchor too, never from the
// cycle before it: after 31 January and 28 February comes 31 March.
type Calendar struct {
	Anchor   LocalDateTime
	Zone     Zone
	Interval Interval
	// MaxCycles is the number of the last cycle; 0 is no limit.
	MaxCycles int
	// EndsOn is the last local date on which a cycle may begin; the zero
	// LocalDate is no limit.
	EndsOn LocalDate
}

// mostCycles is more than there are days in the years 1 to 9999.
const mostCycles = 366 * maxYear

// Validate returns ErrInvalid if c cannot be the calendar of a subscription,
// because something is missing or it would have no cycle at all.
func (c Calendar) Validate() error {
	switch {
	case c.Anchor.Date.IsZero():
		return fmt.Errorf("%w calendar: it has no anchor", ErrInvalid)
	case c.Anchor.Date.After(lastDate) || c.Anchor.Date.Before(firstDate):
		return fmt.Errorf("%w calendar: the anchor is not within the years 1 and %d", ErrInvalid, maxYear)
	case c.Zone.IsZero():
		return fmt.Errorf("%w calendar: it has no time zone", ErrInvalid)
	case c.MaxCycles < 0:
		return fmt.Errorf("%w calendar: the number of cycles, %d, is negative", ErrInvalid, c.MaxCycles)
	case !c.EndsOn.IsZero() && c.EndsOn.Before(c.Anchor.Date):
		return fmt.Errorf("%w calendar: it ends on %s, before its anchor %s", ErrInvalid, c.EndsOn, c.Anchor)
	}
	_, err := NewInterval(c.Interval.Unit, c.Interval.Count)
	return err
}

// Date returns the local date on which cycle n begins. It reports false if there
// is no such cycle: n is below 1 or beyond MaxCycles, or the date would be after
// EndsOn or after the year 9999.
func (c Calendar) Date(n int) (LocalDate, bool) {
	if n < 1 || n > mostCycles || c.MaxCycles > 0 && n > c.MaxCycles || !c.Interval.valid() {
		return LocalDate{}, false
	}
	date := c.start(n)
	if date.After(lastDate) || !c.EndsOn.IsZero() && date.After(c.EndsOn) {
		return LocalDate{}, false
	}
	return date, true
}

// Period returns what cycle n is charged for: the days from start to before end.
// The last cycle has a period as long as the others, so MaxCycles and EndsOn play
// no part. Ask only for cycles that Date knows.
func (c Calendar) Period(n int) (start, end LocalDate) { return c.start(n), c.start(n + 1) }

// DueAt returns the instant, in UTC, at which cycle n falls due: when clocks in
// the zone show the anchor's time on the date of the cycle (see Zone.Instant).
// Ask only for cycles that Date knows.
func (c Calendar) DueAt(n int) time.Time {
	return c.Zone.Instant(LocalDateTime{c.start(n), c.Anchor.Time})
}

// FirstCycleOn returns the first cycle that does not begin before date. It plays
// no part whether the calendar ends earlier; Date tells.
func (c Calendar) FirstCycleOn(date LocalDate) int {
	if !date.After(c.Anchor.Date) || !c.Interval.valid() {
		return 1
	}
	// The last cycle that begins before date or in its month; the next one is
	// certainly late enough.
	n := 1 + c.distance(date)/c.Interval.steps()
	if c.start(n).Before(date) {
		n++
	}
	return n
}

// start returns the date of cycle n, whether or not the calendar has ended. A
// number that no calendar reaches counts as the nearest one that any could.
func (c Calendar) start(n int) LocalDate {
	steps := (min(max(n, -mostCycles), mostCycles) - 1) * c.Interval.steps()
	if c.Interval.monthly() {
		return c.Anchor.Date.addMonths(steps)
	}
	return c.Anchor.Date.AddDays(steps)
}

// distance returns how many months or days date is after the anchor, in months
// without regard to the day.
func (c Calendar) distance(date LocalDate) int {
	if !c.Interval.monthly() {
		return date.DaysSince(c.Anchor.Date)
	}
	fromYear, fromMonth, _ := c.Anchor.Date.Date()
	year, month, _ := date.Date()
	return 12*(year-fromYear) + int(month-fromMonth)
}
