package scheduler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func days(t testing.TB, texts ...string) []billing.LocalDate {
	t.Helper()
	var dates []billing.LocalDate
	for _, text := range texts {
		date, err := billing.ParseLocalDate(text)
		if err != nil {
			t.Fatal(err)
		}
		dates = append(dates, date)
	}
	return dates
}

// aSchedule is one in Berlin that fires daily, made before everything else here.
func aSchedule(t testing.TB) scheduler.Schedule {
	t.Helper()
	return scheduler.Schedule{
		Name: "daily", Cron: "0 9 * * *", Zone: "Europe/Berlin", CatchUp: scheduler.CatchUpFew, CreatedAt: instant(t, "2011-01-01T00:00:00Z"),
	}
}

// agendaLines lists the fires between two local times: when, up to when a later
// one takes charges, and the note.
func agendaLines(t testing.TB, s scheduler.Schedule, from, until string) []string {
	t.Helper()
	agenda, err := s.Agenda(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	z := zone(t, s.Zone)
	at := func(text string) time.Time {
		local, err := billing.ParseLocalDateTime(text)
		if err != nil {
			t.Fatal(err)
		}
		return z.Instant(local)
	}
	lines := []string{}
	after := at(from)
	for {
		fire, ok := agenda.Next(after)
		if !ok || fire.At.After(at(until)) {
			return lines
		}
		line := z.Local(fire.At).String()
		if !fire.AsOf.Equal(fire.At) {
			line += " takes up to " + z.Local(fire.AsOf).String()
		}
		if fire.Note != "" {
			line += " (" + fire.Note + ")"
		}
		lines = append(lines, line)
		after = fire.At
	}
}

// 2027-03-26 is a Friday; 2027-12-24 is one, too. The clocks of Berlin go forward
// in the night to Sunday, 28 March.
func TestAgenda_Next(t *testing.T) {
	tests := []struct {
		name              string
		cron, zone        string
		rule              scheduler.BlackoutRule
		weekends          bool
		days              []string
		from, until, want string // want: lines
	}{
		{"nothing is covered", "0 9 * * *", "Europe/Berlin", "", false, nil, "2027-03-26T00:00", "2027-03-28T12:00",
			"2027-03-26T09:00\n2027-03-27T09:00\n2027-03-28T09:00"},
		{"weekends are left out", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutSkip, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-26T09:00\n2027-03-29T09:00"},
		{"a weekend's fires are Monday's", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutLater, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-26T09:00\n2027-03-29T09:00 (moved from 2027-03-27T09:00: no charges on that day)"},
		{"a weekend's fires are Friday's, which takes what falls due by Sunday", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutEarlier, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-26T09:00 takes up to 2027-03-28T09:00 (moved from 2027-03-28T09:00: no charges on that day)\n2027-03-29T09:00"},
		{"seen from within the weekend, later", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutLater, true, nil, "2027-03-27T12:00", "2027-03-29T12:00",
			"2027-03-29T09:00 (moved from 2027-03-27T09:00: no charges on that day)"},
		{"seen from within the weekend, earlier", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutEarlier, true, nil, "2027-03-27T12:00", "2027-03-29T12:00",
			"2027-03-29T09:00"},
		{"a time that does not exist on the day it is moved from", "30 2 * * *", "Europe/Berlin", scheduler.BlackoutLater, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-26T02:30\n2027-03-29T02:30 (moved from 2027-03-27T02:30: no charges on that day)"},
		{"the same, earlier", "30 2 * * *", "Europe/Berlin", scheduler.BlackoutEarlier, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-26T02:30 takes up to 2027-03-28T03:00 (moved from 2027-03-28T03:00: no charges on that day)\n2027-03-29T02:30"},
		{"a time that does not exist on the day it is moved to", "30 2 * * *", "Europe/Berlin", scheduler.BlackoutEarlier, false, []string{"2027-03-29"}, "2027-03-27T12:00", "2027-03-31T00:00",
			"2027-03-28T03:00 takes up to 2027-03-29T02:30 (moved from 2027-03-29T02:30: no charges on that day)\n2027-03-30T02:30"},
		{"a time that comes twice on the day it is moved to", "30 2 1 11 *", "Europe/Berlin", scheduler.BlackoutEarlier, false, []string{"2027-11-01"}, "2027-10-01T00:00", "2027-12-01T00:00",
			"2027-10-31T02:30 takes up to 2027-11-01T02:30 (moved from 2027-11-01T02:30: no charges on that day)"},
		{"monthly on a Sunday, later", "0 9 28 * *", "Europe/Berlin", scheduler.BlackoutLater, true, nil, "2027-03-02T00:00", "2027-04-30T00:00",
			"2027-03-29T09:00 (moved from 2027-03-28T09:00: no charges on that day)\n2027-04-28T09:00"},
		{"monthly on a Sunday, earlier", "0 9 28 * *", "Europe/Berlin", scheduler.BlackoutEarlier, true, nil, "2027-03-02T00:00", "2027-04-30T00:00",
			"2027-03-26T09:00 takes up to 2027-03-28T09:00 (moved from 2027-03-28T09:00: no charges on that day)\n2027-04-28T09:00"},
		{"monthly on a Sunday, left out", "0 9 28 * *", "Europe/Berlin", scheduler.BlackoutSkip, true, nil, "2027-03-02T00:00", "2027-04-30T00:00",
			"2027-04-28T09:00"},
		{"holidays and a weekend in a row", "0 9 * * *", "Europe/Berlin", scheduler.BlackoutLater, true, []string{"2027-12-24", "2027-12-27"}, "2027-12-23T12:00", "2027-12-29T00:00",
			"2027-12-28T09:00 (moved from 2027-12-24T09:00: no charges on that day)"},
		{"a clock that asks for the hour", "0 */12 * * *", "Europe/Berlin", scheduler.BlackoutLater, false, []string{"2027-03-28"}, "2027-03-27T18:00", "2027-03-29T18:00",
			"2027-03-29T00:00 (moved from 2027-03-28T00:00: no charges on that day)\n2027-03-29T12:00 (moved from 2027-03-28T12:00: no charges on that day)"},
		{"a day that the zone leaves out is none to move to", "0 9 * * *", "Pacific/Apia", scheduler.BlackoutEarlier, true, nil, "2011-12-29T00:00", "2012-01-02T12:00",
			"2011-12-29T09:00 takes up to 2012-01-01T09:00 (moved from 2012-01-01T09:00: no charges on that day)\n2012-01-02T09:00"},
		{"a schedule for Saturdays alone, moved", "0 9 * * 6", "Europe/Berlin", scheduler.BlackoutLater, true, nil, "2027-03-26T00:00", "2027-03-30T00:00",
			"2027-03-29T09:00 (moved from 2027-03-27T09:00: no charges on that day)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := aSchedule(t)
			s.Cron, s.Zone = tt.cron, tt.zone
			s.Blackout = scheduler.Blackout{Rule: tt.rule, Weekends: tt.weekends, Days: days(t, tt.days...)}
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), agendaLines(t, s, tt.from, tt.until)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A schedule all of whose fires are left out has none, and says so at once.
func TestAgenda_Next_none(t *testing.T) {
	for _, cron := range []string{"0 9 * * 6", "* * * * 0,6"} {
		s := aSchedule(t)
		s.Cron, s.Blackout = cron, scheduler.Blackout{Rule: scheduler.BlackoutSkip, Weekends: true}
		agenda, err := s.Agenda(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if fire, ok := agenda.Next(s.CreatedAt); ok {
			t.Errorf("%s on open days fires at %s", cron, fire.At)
		}
	}
}

func TestSchedule_Agenda_refuses(t *testing.T) {
	row := func(t testing.TB, n int) []billing.LocalDate {
		first := days(t, "2027-03-29")[0] // a Monday
		var all []billing.LocalDate
		for i := range n {
			all = append(all, first.AddDays(i))
		}
		return all
	}
	tests := []struct {
		name   string
		change func(*scheduler.Schedule)
		says   string // nothing if it is allowed
	}{
		{"a zone that does not exist", func(s *scheduler.Schedule) { s.Zone = "Europe/Munich" }, "Europe/Munich"},
		{"no zone", func(s *scheduler.Schedule) { s.Zone = "" }, "time zone"},
		{"a day that never comes", func(s *scheduler.Schedule) { s.Cron = "0 9 30 2 *" }, "never fires"},
		{"days without a rule", func(s *scheduler.Schedule) { s.Blackout.Weekends = true }, "earlier, later or skip"},
		{"an unknown rule", func(s *scheduler.Schedule) { s.Blackout = scheduler.Blackout{Weekends: true, Rule: "nearest"} }, "earlier, later or skip"},
		{"a rule without days", func(s *scheduler.Schedule) { s.Blackout.Rule = scheduler.BlackoutLater }, ""},
		{"14 days in a row", func(s *scheduler.Schedule) {
			s.Blackout = scheduler.Blackout{Rule: scheduler.BlackoutLater, Days: row(t, 14)}
		}, ""},
		{"15 days in a row", func(s *scheduler.Schedule) {
			s.Blackout = scheduler.Blackout{Rule: scheduler.BlackoutLater, Days: row(t, 15)}
		}, "more than 14 days in a row from 2027-03-29 on"},
		{"16 days in a row, the first of them a weekend", func(s *scheduler.Schedule) {
			s.Blackout = scheduler.Blackout{Rule: scheduler.BlackoutLater, Weekends: true, Days: row(t, 12)}
		}, "more than 14 days in a row from 2027-03-27 on"},
		{"days out of order", func(s *scheduler.Schedule) {
			s.Blackout = scheduler.Blackout{Rule: scheduler.BlackoutLater, Days: days(t, "2027-12-25", "2027-01-01")}
		}, "not in order"},
		{"many fires an hour, moved", func(s *scheduler.Schedule) {
			s.Cron, s.Blackout = "*/15 * * * *", scheduler.Blackout{Weekends: true, Rule: scheduler.BlackoutLater}
		}, "only skip"},
		{"many fires an hour, skipped", func(s *scheduler.Schedule) {
			s.Cron, s.Blackout = "*/15 * * * *", scheduler.Blackout{Weekends: true, Rule: scheduler.BlackoutSkip}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := aSchedule(t)
			tt.change(&s)
			_, err := s.Agenda(time.Minute)
			if tt.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, billing.ErrInvalid) || !strings.Contains(fmt.Sprint(err), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line that says %q", err, tt.says)
			}
		})
	}
}

// Whatever the days and the rule: fires come one after the other and on open days,
// one a day if the schedule is daily, none takes less than those before it, and a
// stretch is what Next tells one by one.
func TestAgenda_properties(t *testing.T) {
	crons := []string{"30 2 * * *", "0 0 * * *", "45 23 * * *", "0 9 31 * *", "0 9 * * 1-5", "0 */6 * * *", "0 1,13 * * *", "@every 25h"}
	rapid.Check(t, func(r *rapid.T) {
		change := rapid.SampledFrom(clockChanges).Draw(r, "change")
		cron := rapid.SampledFrom(crons).Draw(r, "cron")
		middle := days(t, change.from)[0]
		s := aSchedule(t)
		s.Cron, s.Zone = cron, change.zone
		s.Blackout.Rule = rapid.SampledFrom([]scheduler.BlackoutRule{scheduler.BlackoutEarlier, scheduler.BlackoutLater, scheduler.BlackoutSkip}).Draw(r, "rule")
		s.Blackout.Weekends = rapid.Bool().Draw(r, "weekends")
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(-8, 8), 0, 6, rapid.ID).Draw(r, "days") {
			s.Blackout.Days = append(s.Blackout.Days, middle.AddDays(n))
		}
		slices.SortFunc(s.Blackout.Days, func(a, b billing.LocalDate) int { return a.DaysSince(b) })
		agenda, err := s.Agenda(time.Minute)
		if err != nil {
			r.Fatal(err)
		}
		z := zone(t, s.Zone)
		from := middle.AddDays(-20).UTC().Add(time.Duration(rapid.IntRange(0, 48*60).Draw(r, "minutes")) * time.Minute)
		until := from.Add(time.Duration(rapid.IntRange(1, 60).Draw(r, "length")) * 24 * time.Hour)

		var seen []scheduler.Fire
		perDay := map[billing.LocalDate]int{}
		for at := from; ; {
			fire, ok := agenda.Next(at)
			if !ok || fire.At.After(until) {
				break
			}
			day := z.Date(fire.At)
			perDay[day]++
			switch {
			case !fire.At.After(at):
				r.Fatalf("a fire at %s, after %s", fire.At, at)
			case s.Blackout.Covers(day):
				r.Fatalf("a fire at %s, on %s", fire.At, day)
			case fire.AsOf.Before(fire.At), len(seen) > 0 && s.Cron[0] != '@' && fire.AsOf.Before(seen[len(seen)-1].AsOf):
				r.Fatalf("the fire at %s takes up to %s only", fire.At, fire.AsOf)
			case s.Blackout.Rule != scheduler.BlackoutEarlier && !fire.AsOf.Equal(fire.At):
				r.Fatalf("the fire at %s takes up to %s", fire.At, fire.AsOf)
			case strings.HasSuffix(cron, " * * *") && !strings.ContainsAny(cron, ",/") && perDay[day] > 1:
				r.Fatalf("%d fires on %s", perDay[day], day)
			}
			seen, at = append(seen, fire), fire.At
		}
		stretch, ok := agenda.Stretch(from, until)
		if ok != (len(seen) > 0) || stretch.Count != int64(len(seen)) {
			r.Fatalf("a stretch of %d fires (%t), Next tells of %d", stretch.Count, ok, len(seen))
		}
		if !ok {
			return
		}
		last := len(seen) - 1
		var before time.Time
		if last > 0 {
			before = seen[last-1].At
		}
		if !stretch.First.Equal(seen[0].At) || stretch.Last != seen[last] || !stretch.Before.Equal(before) {
			r.Fatalf("stretch %+v, Next tells of %+v", stretch, seen)
		}
	})
}

// Whatever falls due is taken by a fire: with earlier by one before it, else by one
// after it, and never later than the longest row of covered days.
func TestAgenda_leavesNothingOut(t *testing.T) {
	for _, rule := range []scheduler.BlackoutRule{scheduler.BlackoutEarlier, scheduler.BlackoutLater} {
		s := aSchedule(t)
		s.Blackout = scheduler.Blackout{Rule: rule, Weekends: true, Days: days(t, "2027-03-26", "2027-03-29")}
		agenda, err := s.Agenda(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		plain := s
		plain.Blackout = scheduler.Blackout{}
		each, err := plain.Agenda(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		from, until := instant(t, "2027-03-15T00:00:00Z"), instant(t, "2027-04-15T00:00:00Z")
		for fire, ok := each.Next(from); ok && fire.At.Before(until); fire, ok = each.Next(fire.At) {
			taken := false
			for moved, ok := agenda.Next(fire.At.Add(-7 * 24 * time.Hour)); ok && !moved.At.After(fire.At.Add(7*24*time.Hour)); moved, ok = agenda.Next(moved.At) {
				taken = taken || !moved.AsOf.Before(fire.At)
			}
			if !taken {
				t.Errorf("%s: nothing takes what falls due at %s", rule, fire.At)
			}
		}
	}
}

func TestSchedule_Validate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*scheduler.Schedule)
		says   string // nothing if it is allowed
	}{
		{"a whole one", func(*scheduler.Schedule) {}, ""},
		{"a name of digits", func(s *scheduler.Schedule) { s.Name = "2027-monthly" }, ""},
		{"the longest name", func(s *scheduler.Schedule) { s.Name = strings.Repeat("a", 40) }, ""},
		{"a longer name", func(s *scheduler.Schedule) { s.Name = strings.Repeat("a", 41) }, "name"},
		{"no name", func(s *scheduler.Schedule) { s.Name = "" }, "name"},
		{"a name in capitals", func(s *scheduler.Schedule) { s.Name = "Daily" }, "name"},
		{"a name with a space", func(s *scheduler.Schedule) { s.Name = "every day" }, "name"},
		{"a name like a flag", func(s *scheduler.Schedule) { s.Name = "-daily" }, "name"},
		{"an unknown policy", func(s *scheduler.Schedule) { s.CatchUp = "some" }, "few, all, latest, none or ask"},
		{"no policy", func(s *scheduler.Schedule) { s.CatchUp = "" }, "few, all, latest, none or ask"},
		{"an unknown model", func(s *scheduler.Schedule) { s.Filter.Model = "OneOff" }, "model"},
		{"a model", func(s *scheduler.Schedule) { s.Filter.Model = billing.ModelUnscheduledCardOnFile }, ""},
		{"a limit below nothing", func(s *scheduler.Schedule) { s.Filter.Limit = -1 }, "negative"},
		{"a cap below nothing", func(s *scheduler.Schedule) { s.Caps.Count = -1 }, "negative"},
		{"approval below nothing", func(s *scheduler.Schedule) { s.ApproveAbove.Count = -1 }, "negative"},
		{"an amount below nothing", func(s *scheduler.Schedule) { s.Caps.AmountMinor = map[string]int64{"EUR": -1} }, "negative"},
		{"an amount of no currency", func(s *scheduler.Schedule) { s.ApproveAbove.AmountMinor = map[string]int64{"XXX": 1} }, "XXX"},
		{"an amount", func(s *scheduler.Schedule) { s.ApproveAbove.AmountMinor = map[string]int64{"JPY": 0, "KWD": 1234} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := aSchedule(t)
			tt.change(&s)
			err := s.Validate()
			if (tt.says == "") != (err == nil) || err != nil && (!errors.Is(err, billing.ErrInvalid) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestLimits_Exceeded(t *testing.T) {
	totals := []scheduler.Totals{
		{Currency: "EUR", Planned: scheduler.Amount{Count: 3, AmountMinor: 100000}},
		{Currency: "JPY", Planned: scheduler.Amount{Count: 2, AmountMinor: 5000}, Held: scheduler.Amount{Count: 9, AmountMinor: 90000}},
	}
	tests := []struct {
		name   string
		limits scheduler.Limits
		want   string
	}{
		{"none", scheduler.Limits{}, ""},
		{"as many", scheduler.Limits{Count: 5}, ""},
		{"more", scheduler.Limits{Count: 4}, "5 charges are more than 4"},
		{"as much", scheduler.Limits{AmountMinor: map[string]int64{"EUR": 100000, "JPY": 5000}}, ""},
		{"too much of one currency", scheduler.Limits{AmountMinor: map[string]int64{"EUR": 99999, "JPY": 5000}}, "1000.00 EUR is more than 999.99 EUR"},
		{"none of a currency is allowed", scheduler.Limits{AmountMinor: map[string]int64{"JPY": 0}}, "5000 JPY is more than 0 JPY"},
		{"of a currency that is not there", scheduler.Limits{AmountMinor: map[string]int64{"USD": 1}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.limits.Exceeded(totals); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
