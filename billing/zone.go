package billing

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Zone says which instant a local time is at a place. It is an entry of the
// IANA time zone database; LoadZone makes it. The zero Zone is no zone and
// answers nothing.
type Zone struct {
	location *time.Location
}

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
	zone, _ := zones.LoadOrStore(name, Zone{location})
	return zone.(Zone), nil
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
	if z.location == nil {
		return ""
	}
	return z.location.String()
}

// IsZero reports whether z is no zone.
func (z Zone) IsZero() bool { return z.location == nil }

// Equal reports whether z and o have the same name.
func (z Zone) Equal(o Zone) bool { return z.String() == o.String() }

// Date returns the date that people in the zone write at an instant.
func (z Zone) Date(instant time.Time) LocalDate { return LocalDateOf(instant.In(z.location)) }

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
// It walks the stretches of time between two transitions, forward from one that
// is certainly too early. The first stretch that does not end before wall is
// shown contains the answer, or begins with it.
func (z Zone) find(wall int64) (instant int64, missing gap) {
	at := time.Unix(wall-widestOffset, 0).In(z.location)
	before := 0 // the offset in the stretch before at
	for {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		instant, start := wall-int64(offset), at.Unix()
		switch {
		case !end.IsZero() && instant >= end.Unix():
			at, before = end, offset
		case instant < start: // only after a step: the first stretch began too early
			return start, gap{start + int64(before), start + int64(offset)}
		default:
			return instant, gap{}
		}
	}
}
