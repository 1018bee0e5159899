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
	_, found := slices.BinarySearchFunc(b.Days, day, func(a, o billing.LocalDate) int { return a.DaysSince(o) })
	return found
}

// move returns the day to which the rule moves day, and false if it moves it
// nowhere. A day that is not covered stays.
func (b Blackout) move(day billing.LocalDate) (billing.LocalDate, bool) {
	step := 1
	if b.Rule == BlackoutEarlier {
		step = -1
	}
	for b.Covers(day) {
		if b.Rule == BlackoutSkip {
			return day, false
		}
		day = day.AddDays(step)
	}
	return day, true
}

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
	for _, day := range b.Days {
		for n := 0; b.Covers(day.AddDays(n)); n++ {
			if n == longestBlackout {
				return fmt.Errorf("%w blackout: more than %d days in a row from %s on have no charges", billing.ErrInvalid, longestBlackout, day)
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
	// What is moved comes from at most the longest blackout away; a day more is
	// for the length of days.
	const reach = (longestBlackout + 1) * 24 * time.Hour
	var best Fire
	from := after
	if a.blackout.Rule == BlackoutLater {
		from = after.Add(-reach)
	}
	for fire, ok := a.times.Next(from); ok; fire, ok = a.times.Next(fire.At) {
		if !best.At.IsZero() && (fire.At.After(best.At.Add(reach)) || a.blackout.Rule != BlackoutEarlier && fire.At.After(best.At)) {
			break
		}
		moved, ok := a.move(fire)
		switch {
		case !ok || !moved.At.After(after):
		case best.At.IsZero() || moved.At.Before(best.At):
			best = moved
		case moved.At.Equal(best.At) && moved.AsOf.After(best.AsOf):
			best.AsOf, best.Note = moved.AsOf, moved.Note
		}
	}
	return best, !best.At.IsZero()
}

// move carries out the blackout rule for one fire.
func (a Agenda) move(fire Fire) (Fire, bool) {
	fire.AsOf = fire.At
	local := a.zone.Local(fire.At)
	day, ok := a.blackout.move(local.Date)
	if !ok || day.Equal(local.Date) {
		return fire, ok
	}
	moved := a.zone.Instant(billing.LocalDateTime{Date: day, Time: local.Time})
	fire.Note = fmt.Sprintf("moved from %s: no charges on that day", local)
	if fire.At = moved; moved.After(fire.AsOf) {
		fire.AsOf = moved
	}
	return fire, true
}
