package billing

import (
	"fmt"
	"time"
)

// A LocalTime is what a clock on the wall shows, to the second: 09:00. The zero
// LocalTime is midnight.
type LocalTime struct {
	second int32 // since midnight
}

// NewLocalTime returns a time of day. It returns ErrInvalid for one that no clock
// shows, such as 24:00; leap seconds are not shown.
func NewLocalTime(hour, minute, second int) (LocalTime, error) {
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return LocalTime{}, fmt.Errorf("%w time: %02d:%02d:%02d does not exist, the day is from 00:00:00 to 23:59:59",
			ErrInvalid, hour, minute, second)
	}
	return LocalTime{int32((hour*60+minute)*60 + second)}, nil
}

// ParseLocalTime reads 09:00 or 09:00:30. It returns ErrInvalid for any other
// form and for times that do not exist.
func ParseLocalTime(s string) (LocalTime, error) {
	switch {
	case len(s) == len("09:00"):
		s += ":00"
	case len(s) != len("09:00:30"):
		return LocalTime{}, errTimeForm
	}
	hour, ok1 := number(s[0:2])
	minute, ok2 := number(s[3:5])
	second, ok3 := number(s[6:8])
	if !ok1 || !ok2 || !ok3 || s[2] != ':' || s[5] != ':' {
		return LocalTime{}, errTimeForm
	}
	return NewLocalTime(hour, minute, second)
}

var errTimeForm = fmt.Errorf("%w time: want a time of day like 09:00 or 09:00:30", ErrInvalid)

// Clock returns the parts of t.
func (t LocalTime) Clock() (hour, minute, second int) {
	s := int(t.second)
	return s / 3600, s / 60 % 60, s % 60
}

// Equal reports whether t and o are the same time, as == does.
func (t LocalTime) Equal(o LocalTime) bool { return t == o }

// String returns 09:00, or 09:00:30 if there are seconds.
func (t LocalTime) String() string {
	hour, minute, second := t.Clock()
	if second == 0 {
		return fmt.Sprintf("%02d:%02d", hour, minute)
	}
	return fmt.Sprintf("%02d:%02d:%02d", hour, minute, second)
}

// A LocalDateTime is a date and a time of day as people at a place say it. Which
// instant it is, only a Zone can tell.
type LocalDateTime struct {
	Date LocalDate
	Time LocalTime
}

// ParseLocalDateTime reads 2027-01-31T09:00 or 2027-01-31T09:00:30. It returns
// ErrInvalid for any other form, one with an offset among them, and for dates
// and times that do not exist.
func ParseLocalDateTime(s string) (LocalDateTime, error) {
	const date = len("2027-01-31")
	if len(s) <= date || s[date] != 'T' {
		return LocalDateTime{}, errDateTimeForm
	}
	day, err := ParseLocalDate(s[:date])
	if err != nil {
		return LocalDateTime{}, err
	}
	clock, err := ParseLocalTime(s[date+1:])
	if err != nil {
		return LocalDateTime{}, err
	}
	return LocalDateTime{day, clock}, nil
}

var errDateTimeForm = fmt.Errorf("%w date and time: want local ones like 2027-01-31T09:00", ErrInvalid)

// LocalDateTimeOf returns the date and the time, to the second, that t shows in
// its own location.
func LocalDateTimeOf(t time.Time) LocalDateTime {
	hour, minute, second := t.Clock()
	return LocalDateTime{LocalDateOf(t), LocalTime{int32((hour*60+minute)*60 + second)}}
}

// UTC returns the instant at which a clock in UTC shows t: the form in which a
// column "timestamp without time zone" takes it.
func (t LocalDateTime) UTC() time.Time { return time.Unix(t.wall(), 0).UTC() }

// String returns 2027-01-31T09:00, with seconds if there are any, and nothing if
// there is no date.
func (t LocalDateTime) String() string {
	if t.Date.IsZero() {
		return ""
	}
	return t.Date.String() + "T" + t.Time.String()
}

// MarshalText implements encoding.TextMarshaler.
func (t LocalDateTime) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *LocalDateTime) UnmarshalText(text []byte) (err error) {
	*t, err = ParseLocalDateTime(string(text))
	return err
}

// wall returns the seconds that a clock at the place has counted since it showed
// 1970-01-01T00:00, had it never been changed.
func (t LocalDateTime) wall() int64 { return t.Date.midnight() + int64(t.Time.second) }
