package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

// A BlackoutRule says where a fire goes that falls on a day without charges.
type BlackoutRule string

const (
	BlackoutEarlier BlackoutRule = "earlier" // to the last day before, for what would fall due by then
	BlackoutLater   BlackoutRule = "later"   // to the next day after
	BlackoutSkip    BlackoutRule = "skip"    // nowhere: the schedule's next fire takes what is due
)

// A Blackout lists the local days on which a schedule does not fire. The zero
// value lists none.
type Blackout struct {
	Rule     BlackoutRule        `json:"rule,omitempty"`
	Weekends bool                `json:"weekends,omitempty"` // Saturdays and Sundays
	Days     []billing.LocalDate `json:"days,omitempty"`     // ascending
}

// longestBlackout is how many days in a row may be without charges: a longer
// stretch would move fires out of the shortest month.
const longestBlackout = 14

// IsZero reports whether every day may have charges.
func (b Blackout) IsZero() bool { return !b.Weekends && len(b.Days) == 0 }

// Covers reports whether a local day has no charges.
func (b Blackout) Covers(day billing.LocalDate) bool {
	if weekday := day.UTC().Weekday(); b.Weekends && (weekday == time.Saturday || weekday == time.Sunday) {
		return true
	}
	_, found := slices.BinarySearchFunc(b.Days, day, compareDates)
	return found
}

// CoveredBefore returns the first of the covered days just before a day, or the
// day itself if there are none.
func (b Blackout) CoveredBefore(day billing.LocalDate) billing.LocalDate {
	for b.Covers(day.AddDays(-1)) {
		day = day.AddDays(-1)
	}
	return day
}

func compareDates(a, b billing.LocalDate) int { return a.DaysSince(b) }

// validate returns billing.ErrInvalid for an unknown rule and for more days in a
// row than a charge may be moved by.
func (b Blackout) validate() error {
	if b.IsZero() {
		return nil
	}
	switch b.Rule {
	case BlackoutEarlier, BlackoutLater, BlackoutSkip:
	default:
		return fmt.Errorf("%w blackout rule %q: want earlier, later or skip", billing.ErrInvalid, b.Rule)
	}
	if !slices.IsSortedFunc(b.Days, compareDates) {
		return fmt.Errorf("%w blackout: its days are not in order", billing.ErrInvalid)
	}
	for _, day := range b.Days {
		first := day
		for n := 0; n <= longestBlackout && b.Covers(first.AddDays(-1)); n++ {
			first = first.AddDays(-1)
		}
		for n := 0; b.Covers(first.AddDays(n)); n++ {
			if n == longestBlackout {
				return fmt.Errorf("%w blackout: more than %d days in a row from %s on have no charges", billing.ErrInvalid, longestBlackout, first)
			}
		}
	}
	return nil
}

// An Agenda is a Timetable with the days on which it does not fire.
type Agenda struct {
	times    Timetable
	zone     billing.Zone
	blackout Blackout
}

// NewAgenda returns billing.ErrInvalid for a blackout that cannot be, and for one
// that would move the fires of a schedule that fires more than once an hour.
func NewAgenda(times Timetable, zone billing.Zone, blackout Blackout) (Agenda, error) {
	if err := blackout.validate(); err != nil {
		return Agenda{}, err
	}
	if !blackout.IsZero() && blackout.Rule != BlackoutSkip && times.isDense() {
		return Agenda{}, fmt.Errorf("%w blackout: a schedule that fires more than once an hour cannot move its fires, only skip them", billing.ErrInvalid)
	}
	return Agenda{times: times, zone: zone, blackout: blackout}, nil
}

// isDense reports whether some of the next fires are less than an hour apart.
func (t Timetable) isDense() bool {
	last, ok := t.Next(t.created)
	for range 100 {
		if !ok {
			return false
		}
		var next Fire
		if next, ok = t.Next(last.At); ok && next.At.Sub(last.At) < time.Hour {
			return true
		}
		last = next
	}
	return false
}

// A Stretch is the fires of a schedule between two moments.
type Stretch struct {
	First time.Time
	Last  Fire
	Count int64
	// Before is the fire before the last one; zero if there is only one.
	Before time.Time
}

// Stretch returns the fires after one moment, up to and including another. It
// reports false if there are none.
func (a Agenda) Stretch(after, until time.Time) (Stretch, bool) {
	var s Stretch
	for fire, ok := a.Next(after); ok && !fire.At.After(until); fire, ok = a.Next(fire.At) {
		if s.Count++; s.Count == 1 {
			s.First = fire.At
		}
		s.Before, s.Last = s.Last.At, fire
	}
	return s, s.Count > 0
}

// Next returns the first fire after an instant, or false if there is none in the
// next years. Fires that a blackout moves to one instant are one fire.
func (a Agenda) Next(after time.Time) (Fire, bool) {
	if a.blackout.IsZero() {
		fire, ok := a.times.Next(after)
		fire.AsOf = fire.At
		return fire, ok
	}
	if a.blackout.Rule == BlackoutSkip {
		return a.nextOpen(after)
	}
	// What is moved earlier comes from at most the longest blackout away; a day
	// more is for the length of days.
	const reach = (longestBlackout + 1) * 24 * time.Hour
	var best Fire
	for fire, ok := a.times.Next(a.movedFrom(after)); ok; fire, ok = a.times.Next(fire.At) {
		if !best.At.IsZero() && (fire.At.After(best.At.Add(reach)) || a.blackout.Rule == BlackoutLater && fire.At.After(best.At)) {
			break
		}
		moved := a.move(fire)
		switch {
		case !moved.At.After(after):
		case best.At.IsZero() || moved.At.Before(best.At):
			best = moved
		case moved.At.Equal(best.At) && moved.AsOf.After(best.AsOf):
			best.AsOf, best.Note = moved.AsOf, moved.Note
		}
	}
	return best, !best.At.IsZero()
}

// longestSearch is how far ahead a fire on an open day is looked for: as far as
// the library looks for a fire.
const longestSearch = 5 * 366 * 24 * time.Hour

// nextOpen returns the first fire after an instant on a day with charges.
func (a Agenda) nextOpen(after time.Time) (Fire, bool) {
	for from := after; !from.After(after.Add(longestSearch)); {
		fire, ok := a.times.Next(from)
		if !ok {
			break
		}
		day := a.zone.Date(fire.At)
		if !a.blackout.Covers(day) {
			fire.AsOf = fire.At
			return fire, true
		}
		// The rest of the day has nothing to offer.
		from = a.zone.Instant(billing.LocalDateTime{Date: day.AddDays(1)}).Add(-time.Second)
		from = laterOf(from, fire.At)
	}
	return Fire{}, false
}

func laterOf(t, o time.Time) time.Time {
	if t.After(o) {
		return t
	}
	return o
}

// movedFrom returns the instant from which on fires may be moved beyond another
// one: that one, or with BlackoutLater the beginning of the covered days before it.
func (a Agenda) movedFrom(after time.Time) time.Time {
	if a.blackout.Rule != BlackoutLater {
		return after
	}
	day := a.zone.Date(after)
	first := a.blackout.CoveredBefore(day)
	if first.Equal(day) && !a.blackout.Covers(day) {
		return after
	}
	return a.zone.Instant(billing.LocalDateTime{Date: first}).Add(-time.Second)
}

// move carries out the rules earlier and later for one fire.
func (a Agenda) move(fire Fire) Fire {
	fire.AsOf = fire.At
	local := a.zone.Local(fire.At)
	if !a.blackout.Covers(local.Date) {
		return fire
	}
	step := 1
	if a.blackout.Rule == BlackoutEarlier {
		step = -1
	}
	to := billing.LocalDateTime{Date: local.Date, Time: a.timeAsked(fire, local)}
	// A day that the zone leaves out is its next one, and that may be covered.
	for a.blackout.Covers(to.Date) || a.blackout.Covers(a.zone.Date(a.zone.Instant(to))) {
		to.Date = to.Date.AddDays(step)
	}
	fire.At = a.zone.Instant(to)
	fire.AsOf = laterOf(fire.AsOf, fire.At)
	fire.Note = fmt.Sprintf("moved from %s: no charges on that day", local)
	return fire
}

// timeAsked is the time of day that a fire's expression asks for. It is not what
// clocks show at the fire if they go forward there: on the day to which the fire is
// moved that time exists, and the schedule may fire there by itself.
func (a Agenda) timeAsked(fire Fire, local billing.LocalDateTime) billing.LocalTime {
	if a.times.spec == nil || a.times.elapsed {
		return local.Time
	}
	before := a.zone.Local(fire.At.Add(-time.Second))
	asked := billing.LocalDateTimeOf(a.times.spec.Next(before.UTC()))
	if asked.Date.Equal(local.Date) && asked.UTC().Before(local.UTC()) {
		return asked.Time
	}
	return local.Time
}
