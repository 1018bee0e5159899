package billing

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Zone says which instant a local time is at a place. It is an entry of the
// IANA time zone database; LoadZone makes it. The zero Zone is no zone: only
// String, IsZero and Equal may be asked of it.
type Zone struct {
	*rules // shared by all Zones of a name, so that == compares names
}

// rules is what a zone's name stands for.
type rules struct {
	name     string
	location *time.Location
	known    []stretch // without a hole from knownFrom to knownUntil
}

// A stretch is a time in which the offset from UTC does not change. It lasts from
// the end of the stretch before it to before its own end.
type stretch struct {
	end    int64 // Unix time
	offset int64 // seconds east of UTC
}

// The stretches of these times are worked out once a zone, since nearly all
// charges are due in them; package time would interpret the zone's rule for the
// future again for each of them. Unix times of 1970-01-01 and 2100-01-01.
const (
	knownFrom  int64 = 0
	knownUntil int64 = 4102444800
)

// zones holds every Zone that was loaded, by name. It cannot outgrow the
// database: unknown names are not kept.
var zones sync.Map

// LoadZone returns the zone with an IANA name such as Europe/Berlin. It returns
// ErrInvalid for names the database does not have, and for the names whose
// meaning depends on the machine or that do not count civil time.
func LoadZone(name string) (Zone, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(Zone), nil
	}
	if !isPlace(name) {
		return Zone{}, unknownZone(name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return Zone{}, unknownZone(name)
	}
	zone, _ := zones.LoadOrStore(name, newZone(name, location))
	return zone.(Zone), nil
}

func newZone(name string, location *time.Location) Zone {
	r := &rules{name: name, location: location}
	for at := knownFrom; at < knownUntil; {
		next := r.lookUp(at)
		at = next.end
		if last := len(r.known) - 1; last >= 0 && r.known[last].offset == next.offset {
			r.known[last].end = next.end // only the zone's abbreviation changed, or the year
			continue
		}
		r.known = append(r.known, next)
	}
	return Zone{r}
}

// isPlace refuses names that time.LoadLocation would take: the machine's own
// zone under each of its names, the file's placeholder, and the copies of the
// database under posix/ and right/ (the latter count leap seconds).
func isPlace(name string) bool {
	switch name {
	case "", "Local", "localtime", "posixrules", "Factory":
		return false
	}
	return !strings.HasPrefix(name, "posix/") && !strings.HasPrefix(name, "right/")
}

// unknownZone names the zone only if it could be one: other text may be
// anything, also what nobody should read in an error.
func unknownZone(name string) error {
	const longest = 40
	if name == "" || len(name) > longest || strings.ContainsFunc(name, notInZoneName) {
		return fmt.Errorf("%w time zone: want an IANA name like Europe/Berlin", ErrInvalid)
	}
	return fmt.Errorf("%w time zone: %s is unknown, want an IANA name like Europe/Berlin", ErrInvalid, name)
}

func notInZoneName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', r == '/', r == '_', r == '-', r == '+':
		return false
	}
	return true
}

// String returns the IANA name.
func (z Zone) String() string {
	if z.IsZero() {
		return ""
	}
	return z.name
}

// IsZero reports whether z is no zone.
func (z Zone) IsZero() bool { return z.rules == nil }

// Equal reports whether z and o have the same name, as == does.
func (z Zone) Equal(o Zone) bool { return z == o }

// Date returns the date that people in the zone write at an instant.
func (z Zone) Date(instant time.Time) LocalDate { return LocalDateOf(instant.In(z.location)) }

// Local returns what clocks and calendars in the zone show at an instant.
func (z Zone) Local(instant time.Time) LocalDateTime { return LocalDateTimeOf(instant.In(z.location)) }

// Stretch returns the offset from UTC at an instant, in seconds east, and until
// when it certainly stays the same: its next change, or an earlier instant. The
// end is the zero time if it stays the same for ever.
func (z Zone) Stretch(at time.Time) (offset int, end time.Time) {
	s := z.stretchAt(at.Unix())
	if s.end == math.MaxInt64 {
		return int(s.offset), time.Time{}
	}
	return int(s.offset), time.Unix(s.end, 0).UTC()
}

// Instant returns the moment, in UTC, at which clocks in the zone show local.
//
//   - A time that clocks show twice, because they were put back, is the first.
//   - A time that they leave out, because they were put forward, is the first
//     instant after the gap.
//   - A date that the zone leaves out altogether (Samoa moved across the date
//     line and had no 30 December 2011) is the next date that exists, at the
//     same time of day.
//
// time.Date promises none of this, so the answer is found among the zone's
// transitions.
func (z Zone) Instant(local LocalDateTime) time.Time {
	instant, missing := z.find(local.wall())
	for missing.covers(local.Date) {
		local.Date = local.Date.AddDays(1)
		instant, missing = z.find(local.wall())
	}
	return time.Unix(instant, 0).UTC()
}

// A gap is what clocks leave out when they are put forward: the wall seconds
// from start to before end.
type gap struct{ start, end int64 }

// covers reports whether no moment of date is outside the gap.
func (g gap) covers(date LocalDate) bool {
	return g.start <= date.midnight() && date.AddDays(1).midnight() <= g.end
}

// widestOffset is more than any zone was ever away from UTC (16 hours), in
// seconds.
const widestOffset = 26 * 60 * 60

// find returns the Unix time of the first instant at which clocks show wall, or
// of the end of the gap that wall lies in, and that gap.
//
// It walks the zone's stretches, forward from one that is certainly too early.
// The first that does not end before wall is shown contains the answer, or begins
// with it.
func (z Zone) find(wall int64) (instant int64, missing gap) {
	start := wall - widestOffset
	before := int64(0) // the offset in the stretch before start
	for {
		s := z.stretchAt(start)
		switch instant := wall - s.offset; {
		case instant >= s.end:
			start, before = s.end, s.offset
		case instant < start: // only after a step: the first stretch began too early
			return start, gap{start + before, start + s.offset}
		default:
			return instant, gap{}
		}
	}
}

// stretchAt returns the stretch that a Unix time lies in.
func (r *rules) stretchAt(at int64) stretch {
	last := len(r.known) - 1
	if at < knownFrom || at >= r.known[last].end {
		return r.lookUp(at)
	}
	i, _ := slices.BinarySearchFunc(r.known, at, func(s stretch, at int64) int {
		if s.end <= at {
			return -1
		}
		return +1
	})
	return r.known[i]
}

// lookUp asks package time for the stretch that a Unix time lies in. The end is
// that of the stretch or earlier, but always after at.
func (r *rules) lookUp(at int64) stretch {
	t := time.Unix(at, 0).In(r.location)
	_, offset := t.Zone()
	_, bound := t.ZoneBounds()
	end := bound.Unix()
	switch {
	case bound.IsZero():
		end = math.MaxInt64
	case end <= at:
		// Package time takes every year for one of 365 days where it applies the
		// zone's rule for the future, so on the last day of a leap year the bound
		// is in the past (golang.org/issue/81583). That day is a safe step.
		end = at - at%secondsPerDay + secondsPerDay
	}
	return stretch{end, int64(offset)}
}
