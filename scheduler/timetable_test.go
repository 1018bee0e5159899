package scheduler_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(t testing.TB, name string) billing.Zone {
	t.Helper()
	z, err := billing.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func timetable(t testing.TB, expression, zoneName, created string) scheduler.Timetable {
	t.Helper()
	table, err := scheduler.NewTimetable(expression, zone(t, zoneName), instant(t, created), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// fires lists what a timetable does after one instant and up to another.
func fires(t testing.TB, table scheduler.Timetable, after, until time.Time) []scheduler.Fire {
	t.Helper()
	var all []scheduler.Fire
	for at := after; ; {
		fire, ok := table.Next(at)
		if !ok || fire.At.After(until) {
			return all
		}
		if !fire.At.After(at) {
			t.Fatalf("a fire at %s, after %s", fire.At, at)
		}
		all, at = append(all, fire), fire.At
	}
}

// clockChanges are nights on which a schedule may go wrong.
var clockChanges = []struct {
	zone, what  string
	from, until string // local dates, both included
}{
	{"Europe/Berlin", "the clocks go forward from 02:00 to 03:00", "2027-03-27", "2027-03-29"},
	{"Europe/Berlin", "the clocks go back from 03:00 to 02:00", "2027-10-30", "2027-11-01"},
	{"America/New_York", "the clocks go forward from 02:00 to 03:00", "2027-03-13", "2027-03-15"},
	{"America/New_York", "the clocks go back from 02:00 to 01:00", "2027-11-06", "2027-11-08"},
	{"Australia/Lord_Howe", "the clocks go forward by half an hour from 02:00", "2027-10-02", "2027-10-04"},
	{"Australia/Lord_Howe", "the clocks go back by half an hour from 02:00", "2027-04-03", "2027-04-05"},
	{"America/Sao_Paulo", "the clocks go forward at midnight", "2018-11-03", "2018-11-05"},
	{"America/Sao_Paulo", "the clocks go back at midnight", "2018-02-17", "2018-02-19"},
	{"Pacific/Apia", "the clocks go back from 04:00 to 03:00", "2011-04-01", "2011-04-03"},
	{"Pacific/Apia", "the clocks go forward from 03:00 to 04:00", "2011-09-23", "2011-09-25"},
	{"Pacific/Apia", "there is no 30 December", "2011-12-29", "2012-01-01"},
}

var cronExpressions = []string{"30 2 * * *", "30 0 * * *", "0 * * * *", "*/30 1-4/1 * * *", "@every 90m"}

// monthlies fire too seldom for three days: they are shown from the second month
// before to the second one after, so that each change lies between two fires.
var monthlies = []string{"0 9 31 * *", "30 2 31 * *"}

// Every fire of a list of schedules across the nights on which clocks change,
// for a reviewer to read.
func TestTimetable_AcrossClockChanges(t *testing.T) {
	var b strings.Builder
	for _, change := range clockChanges {
		z := zone(t, change.zone)
		from, err := billing.ParseLocalDateTime(change.from + "T00:00")
		if err != nil {
			t.Fatal(err)
		}
		until, err := billing.ParseLocalDateTime(change.until + "T23:59")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s, %s to %s: %s\n", change.zone, change.from, change.until, change.what)
		for _, expression := range slices.Concat(cronExpressions, monthlies) {
			fmt.Fprintf(&b, "%s\n", expression)
			first, last := from, until
			if slices.Contains(monthlies, expression) {
				first.Date, last.Date = first.Date.AddDays(-62), last.Date.AddDays(62)
			}
			table := timetable(t, expression, change.zone, "2010-01-01T00:00:00Z")
			for _, fire := range fires(t, table, z.Instant(first).Add(-time.Second), z.Instant(last)) {
				line := fmt.Sprintf("  %s  %s  %s", fire.At.Format("2006-01-02T15:04Z"), z.Local(fire.At), fire.Note)
				fmt.Fprintln(&b, strings.TrimRight(line, " "))
			}
		}
		b.WriteByte('\n')
	}
	path := filepath.Join("testdata", "timetables.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("(-want +got; -update rewrites %s)\n%s", path, diff)
	}
}

// What a timetable says, found another way: by looking at the clock each minute.
func TestTimetable_AgreesWithAClock(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		change := rapid.SampledFrom(clockChanges).Draw(r, "change")
		minute := rapid.IntRange(0, 59).Draw(r, "minute")
		hour := rapid.IntRange(0, 23).Draw(r, "hour")
		z := zone(t, change.zone)
		from, _ := billing.ParseLocalDateTime(change.from + "T00:00")
		until, _ := billing.ParseLocalDateTime(change.until + "T23:59")
		first, last := z.Instant(from), z.Instant(until)

		var elapsed []time.Time
		wall := map[time.Time]bool{}
		for at := first; !at.After(last); at = at.Add(time.Minute) {
			if _, m, _ := z.Local(at).Time.Clock(); m == minute {
				elapsed = append(elapsed, at)
			}
		}
		for date := from.Date; !date.After(until.Date); date = date.AddDays(1) {
			clock, err := billing.NewLocalTime(hour, minute, 0)
			if err != nil {
				r.Fatal(err)
			}
			if at := z.Instant(billing.LocalDateTime{Date: date, Time: clock}); !at.After(last) {
				wall[at] = true
			}
		}
		compare := func(expression string, want []time.Time) {
			table := timetable(t, expression, change.zone, "2011-01-01T00:00:00Z")
			var got []time.Time
			for _, fire := range fires(t, table, first.Add(-time.Second), last) {
				got = append(got, fire.At)
			}
			if !slices.EqualFunc(got, want, time.Time.Equal) {
				r.Errorf("%s in %s from %s: fires at %v, want %v", expression, change.zone, change.from, got, want)
			}
		}
		compare(fmt.Sprintf("%d * * * *", minute), elapsed)
		var each []time.Time
		for at := range wall {
			each = append(each, at)
		}
		slices.SortFunc(each, time.Time.Compare)
		compare(fmt.Sprintf("%d %d * * *", minute, hour), each)
	})
}

func TestTimetable_EveryCountsFromTheCreation(t *testing.T) {
	table := timetable(t, "@every 90m", "UTC", "2027-01-01T00:10:00Z")
	tests := []struct{ name, after, want string }{
		{"before the creation", "2026-12-31T00:00:00Z", "2027-01-01T01:40:00Z"},
		{"at the creation", "2027-01-01T00:10:00Z", "2027-01-01T01:40:00Z"},
		{"at a fire", "2027-01-01T01:40:00Z", "2027-01-01T03:10:00Z"},
		{"months later", "2027-06-01T00:00:00Z", "2027-06-01T00:10:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fire, ok := table.Next(instant(t, tt.after))
			if want := instant(t, tt.want); !ok || !fire.At.Equal(want) {
				t.Errorf("fires at %s (%t), want %s", fire.At, ok, want)
			}
		})
	}
}

func TestNewTimetable_Refuses(t *testing.T) {
	tests := []struct{ name, expression, says string }{
		{"nothing", "", "five fields"},
		{"words", "every morning", "five fields"},
		{"six fields", "0 30 2 * * *", "five fields"},
		{"an hour too many", "30 24 * * *", "five fields"},
		{"a day that never comes", "0 9 30 2 *", "never fires"},
		{"a zone of its own", "CRON_TZ=Europe/Berlin 0 9 * * *", "field of its own"},
		{"every half minute", "@every 30s", "at least 1m0s"},
		{"a lifetime", "@every 700000h", "at most 8784h"},
		{"parts of a second", "@every 90.5s", "whole seconds"},
		{"backwards", "@every -90m", "whole seconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := scheduler.NewTimetable(tt.expression, zone(t, "Europe/Berlin"), instant(t, "2027-01-01T00:00:00Z"), time.Minute)
			if !errors.Is(err, billing.ErrInvalid) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line that says %q", err, tt.says)
			}
		})
	}
}

func FuzzNewTimetable(f *testing.F) {
	for _, expression := range append(cronExpressions, "@daily", "0 9 30 2 *", "@every 1h1s", "a b c d e") {
		f.Add(expression)
	}
	berlin := zone(f, "Europe/Berlin")
	created := instant(f, "2027-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, expression string) {
		table, err := scheduler.NewTimetable(expression, berlin, created, time.Minute)
		if err != nil {
			return
		}
		at := created
		for range 5 {
			fire, ok := table.Next(at)
			if !ok {
				return
			}
			if !fire.At.After(at) {
				t.Fatalf("%q fires at %s, after %s", expression, fire.At, at)
			}
			at = fire.At
		}
	})
}
