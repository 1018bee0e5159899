package scheduler

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/contauth/contauth/billing"
)

// A Timetable says when a schedule fires. It is a cron expression in a time
// zone, read as finance people mean it on the nights when the clocks change:
//
//   - With fixed hours it follows the clock on the wall. A time that does not
//     exist is the first instant after the gap; one that comes twice is the
//     first. The library alone would leave the first out and fire the second
//     twice.
//   - With an hour field of * or a step it follows elapsed time: an hour that
//     comes twice fires twice, and one that is missing not at all.
//   - @every D fires at the schedule's creation plus D, plus 2D and so on, so
//     that every daemon agrees whenever it was started.
//
// The zero Timetable never fires.
type Timetable struct {
	zone    billing.Zone
	created time.Time     // of the schedule
	every   time.Duration // of @every; else 0
	spec    cron.Schedule
	elapsed bool // spec follows elapsed time and not the wall clock
}

// A Fire is one moment at which a schedule fires.
type Fire struct {
	At   time.Time // UTC
	AsOf time.Time // UTC; up to when its run takes charges: At, or later if a blackout moved it earlier
	Note string    // how a clock change or a blackout moved it; empty if none did
}

// longestPeriod is the longest that @every may wait: a leap year.
const longestPeriod = 366 * 24 * time.Hour

// cronFields are those of crontab(5), and words such as @daily.
var cronFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// NewTimetable reads a cron expression of five fields, a word such as @daily, or
// @every with a duration of whole seconds, from least to a year. created is when the
// schedule was made. It returns billing.ErrInvalid for anything else, and for an
// expression that never fires.
func NewTimetable(expression string, zone billing.Zone, created time.Time, least time.Duration) (Timetable, error) {
	t := Timetable{zone: zone, created: created.UTC().Truncate(time.Second)}
	if zone.IsZero() {
		return t, fmt.Errorf("%w schedule: it has no time zone", billing.ErrInvalid)
	}
	if strings.Contains(expression, "TZ=") {
		return t, fmt.Errorf("%w cron expression: the time zone has a field of its own", billing.ErrInvalid)
	}
	spec, err := cronFields.Parse(expression)
	if err != nil {
		return t, fmt.Errorf("%w cron expression: want five fields (minute hour day month weekday), a word such as @daily, or @every 90m; %w", billing.ErrInvalid, err)
	}
	if delay, ok := spec.(cron.ConstantDelaySchedule); ok {
		// The library rounds; what was asked for is not quietly changed.
		asked, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(expression, "@every")))
		if err != nil || asked != delay.Delay {
			return t, fmt.Errorf("%w cron expression: @every wants whole seconds", billing.ErrInvalid)
		}
		if asked < least || asked > longestPeriod {
			return t, fmt.Errorf("%w cron expression: @every wants at least %s and at most %s", billing.ErrInvalid, least, longestPeriod)
		}
		t.every = asked
		return t, nil
	}
	t.spec, t.elapsed = spec, followsElapsedTime(expression)
	if _, ok := t.Next(created); !ok {
		return t, fmt.Errorf("%w cron expression: it never fires, there is no such day", billing.ErrInvalid)
	}
	return t, nil
}

// followsElapsedTime reports whether the hour of an expression is * or a step.
func followsElapsedTime(expression string) bool {
	fields := strings.Fields(expression)
	if len(fields) < 2 {
		return expression == "@hourly"
	}
	return strings.ContainsAny(fields[1], "*/?")
}

// Next returns the first fire after an instant. It reports false if there is
// none in the next years.
func (t Timetable) Next(after time.Time) (Fire, bool) {
	switch {
	case t.every > 0:
		past := max(0, after.Sub(t.created)/t.every)
		return Fire{At: t.created.Add((past + 1) * t.every)}, true
	case t.spec == nil:
		return Fire{}, false
	case t.elapsed:
		return t.nextElapsed(after)
	default:
		return t.nextOnTheWall(after)
	}
}

// nextElapsed asks the library within each stretch of time in which the zone's
// offset stays the same: there, wall clock and elapsed time do not differ.
func (t Timetable) nextElapsed(after time.Time) (Fire, bool) {
	offset, end := t.zone.Stretch(after)
	for at := after; ; {
		next := t.spec.Next(at.In(time.FixedZone(t.zone.String(), offset)))
		if next.IsZero() {
			return Fire{}, false
		}
		if end.IsZero() || next.Before(end) {
			fire := Fire{At: next.UTC()}
			if first := t.zone.Instant(t.zone.Local(next)); first.Before(next) {
				fire.Note = fmt.Sprintf("%s for the second time: the clocks went back", t.zone.Local(next))
			}
			return fire, true
		}
		at = end.Add(-1) // the library looks from the next whole second on
		offset, end = t.zone.Stretch(end)
	}
}

// nextOnTheWall asks the library for times on the wall, in a calendar without
// clock changes, and the zone for their instants. A missing time and the first
// one after the gap are one instant, and one fire.
func (t Timetable) nextOnTheWall(after time.Time) (Fire, bool) {
	var best Fire
	for wall := t.zone.Local(after).UTC(); ; {
		if wall = t.spec.Next(wall); wall.IsZero() {
			return best, !best.At.IsZero()
		}
		asked := billing.LocalDateTimeOf(wall)
		at := t.zone.Instant(asked)
		if at.After(after) && (best.At.IsZero() || at.Before(best.At)) {
			best = Fire{At: at, Note: t.changeNote(asked, at)}
		}
		// A time on a date that the zone leaves out is that of the next date,
		// perhaps after an earlier hour of it.
		if !best.At.IsZero() && !wall.Before(t.zone.Local(best.At).UTC()) {
			return best, true
		}
	}
}

// changeNote says what a clock change did to a time on the wall.
func (t Timetable) changeNote(asked billing.LocalDateTime, at time.Time) string {
	if shown := t.zone.Local(at); shown != asked {
		return fmt.Sprintf("%s does not exist: the clocks go forward", asked)
	}
	offset, end := t.zone.Stretch(at)
	if end.IsZero() {
		return ""
	}
	back, _ := t.zone.Stretch(end)
	if again := at.Add(time.Duration(offset-back) * time.Second); back < offset && !again.Before(end) {
		return fmt.Sprintf("%s comes twice: this is the first", asked)
	}
	return ""
}
