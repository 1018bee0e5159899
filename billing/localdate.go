package billing

import (
	"fmt"
	"time"
)

// A LocalDate is a day on a calendar on the wall, without a zone: 2027-01-31. It
// is comparable and serves as a map key. The zero LocalDate is no date.
//
// Dates are those of the Gregorian calendar, also before it was introduced. Only
// the years 1 to 9999 can be written and read; arithmetic may leave them.
type LocalDate struct {
	day int64 // 1 is 0001-01-01, so that 0 is no date
}

const (
	secondsPerDay = 24 * 60 * 60
	unixEpochDay  = 719163 // LocalDate.day of 1970-01-01
	maxYear       = 9999
)

var (
	firstDate = civil(1, time.January, 1)
	lastDate  = civil(maxYear, time.December, 31)
)

// NewLocalDate returns a date of the years 1 to 9999. It returns ErrInvalid for
// one that does not exist, such as 30 February.
func NewLocalDate(year int, month time.Month, day int) (LocalDate, error) {
	if year < 1 || year > maxYear {
		return LocalDate{}, fmt.Errorf("%w date: the year %d is not within 1 and %d", ErrInvalid, year, maxYear)
	}
	if month < time.January || month > time.December {
		return LocalDate{}, fmt.Errorf("%w date: there is no month %d", ErrInvalid, month)
	}
	if last := daysIn(year, month); day < 1 || day > last {
		return LocalDate{}, fmt.Errorf("%w date: %04d-%02d-%02d does not exist, %s %d has %d days",
			ErrInvalid, year, month, day, month, year, last)
	}
	return civil(year, month, day), nil
}

// ParseLocalDate reads a date as ISO 8601 writes it: 2027-01-31. It returns
// ErrInvalid for any other form and for dates that do not exist.
func ParseLocalDate(s string) (LocalDate, error) {
	if len(s) != len("2027-01-31") || s[4] != '-' || s[7] != '-' {
		return LocalDate{}, errDateForm
	}
	year, ok1 := number(s[0:4])
	month, ok2 := number(s[5:7])
	day, ok3 := number(s[8:10])
	if !ok1 || !ok2 || !ok3 {
		return LocalDate{}, errDateForm
	}
	return NewLocalDate(year, time.Month(month), day)
}

var errDateForm = fmt.Errorf("%w date: want a date like 2027-01-31", ErrInvalid)

// LocalDateOf returns the date that t shows in its own location. A date column
// read from the database is midnight UTC, and LocalDateOf gives it back.
func LocalDateOf(t time.Time) LocalDate {
	year, month, day := t.Date()
	return civil(year, month, day)
}

// UTC returns midnight UTC of the date: the form in which a date column takes it.
// It is not the instant at which the date begins anywhere else.
func (d LocalDate) UTC() time.Time { return time.Unix(d.midnight(), 0).UTC() }

// Date returns the parts of d.
func (d LocalDate) Date() (year int, month time.Month, day int) { return d.UTC().Date() }

// AddDays returns the date n days later, or earlier if n is negative.
func (d LocalDate) AddDays(n int) LocalDate { return LocalDate{d.day + int64(n)} }

// DaysSince returns the number of days from earlier to d.
func (d LocalDate) DaysSince(earlier LocalDate) int { return int(d.day - earlier.day) }

// IsZero reports whether d is no date.
func (d LocalDate) IsZero() bool { return d == LocalDate{} }

// Before reports whether d is before o.
func (d LocalDate) Before(o LocalDate) bool { return d.day < o.day }

// After reports whether d is after o.
func (d LocalDate) After(o LocalDate) bool { return d.day > o.day }

// Equal reports whether d and o are the same day, as == does.
func (d LocalDate) Equal(o LocalDate) bool { return d == o }

// String returns the date as ISO 8601 writes it, 2027-01-31, and nothing for the
// zero LocalDate.
func (d LocalDate) String() string {
	if d.IsZero() {
		return ""
	}
	year, month, day := d.Date()
	return fmt.Sprintf("%04d-%02d-%02d", year, month, day)
}

// MarshalText implements encoding.TextMarshaler; no date is an empty text.
func (d LocalDate) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; an empty text is no date.
func (d *LocalDate) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*d = LocalDate{}
		return nil
	}
	*d, err = ParseLocalDate(string(text))
	return err
}

// addMonths returns the day of month in the month that is n months after d's, or
// the last day of that month if it is shorter.
func (d LocalDate) addMonths(n int) LocalDate {
	year, month, day := d.Date()
	first := time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	year, month, _ = first.Date()
	return LocalDateOf(first).AddDays(min(day, daysIn(year, month)) - 1)
}

// midnight returns the Unix time of midnight UTC.
func (d LocalDate) midnight() int64 { return (d.day - unixEpochDay) * secondsPerDay }

// civil returns a date that is known to exist.
func civil(year int, month time.Month, day int) LocalDate {
	seconds := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()
	return LocalDate{seconds/secondsPerDay + unixEpochDay} // exact: midnights are multiples of a day
}

func daysIn(year int, month time.Month) int {
	switch month {
	case time.April, time.June, time.September, time.November:
		return 30
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// number reads decimal digits and nothing else: no sign, no space.
func number(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, true
}
