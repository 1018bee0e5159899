package billing_test

import (
	"archive/zip"
	"fmt"
	"go/build"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

// zoneFiles returns Go's own copy of the time zone database: content by name.
func zoneFiles(t testing.TB) map[string]string {
	t.Helper()
	archive, err := zip.OpenReader(filepath.Join(build.Default.GOROOT, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := make(map[string]string)
	for _, entry := range archive.File {
		if strings.HasSuffix(entry.Name, "/") || refusedOnPurpose(entry.Name) {
			continue
		}
		content, err := fs.ReadFile(archive, entry.Name)
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name] = string(content)
	}
	if len(files) < 400 {
		t.Fatalf("found only %d time zones", len(files))
	}
	return files
}

func zoneNames(t testing.TB) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(zoneFiles(t)))
}

// refusedOnPurpose reports whether name is in a time zone database without being
// the civil time of a place.
func refusedOnPurpose(name string) bool {
	switch name {
	case "Factory", "localtime", "posixrules":
		return true
	}
	return strings.HasPrefix(name, "posix/") || strings.HasPrefix(name, "right/")
}

func loadLocation(t fataler, name string) *time.Location {
	t.Helper()
	location, err := time.LoadLocation(name)
	return must(t, location, err)
}

// A transition is an instant at which the offset from UTC changes, in seconds.
type transition struct{ at, before, after int64 }

// transitions2000To2060 looks at every midnight and halves the distance where the
// offset has changed in between: it does not rely on the bounds that Zone relies
// on.
func transitions2000To2060(location *time.Location) []transition {
	from := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	until := time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	const step = 24 * 60 * 60
	var found []transition
	before := offsetAt(from, location)
	for at := from; at < until; at += step {
		after := offsetAt(at+step, location)
		if after == before {
			continue
		}
		second := at + 1 + int64(sort.Search(step-1, func(i int) bool {
			return offsetAt(at+1+int64(i), location) != before
		}))
		found = append(found, transition{second, before, after})
		before = after
	}
	return found
}

func offsetAt(unix int64, location *time.Location) int64 {
	_, offset := time.Unix(unix, 0).In(location).Zone()
	return int64(offset)
}

// Zones that never differ between 2000 and 2060 are one case. Around each of its
// transitions, Instant must agree with a search minute by minute, and each day
// must have one firing.
func TestZone_Instant_aroundEveryTransition(t *testing.T) {
	count := 0
	cases := differentZones(t)
	for name, transitions := range cases {
		z := zone(t, name)
		location := loadLocation(t, name)
		for _, change := range transitions {
			checkMinutes(t, z, location, change)
			checkDays(t, z, location, change)
		}
		count += len(transitions)
	}
	t.Logf("%d transitions of %d different zones", count, len(cases))
	if count < 2000 {
		t.Errorf("found %d transitions: too few to be all of them", count)
	}
}

// differentZones returns the transitions of one zone of each case.
func differentZones(t *testing.T) map[string][]transition {
	t.Helper()
	files := make(map[string]bool) // many names are of the same file
	seen := make(map[string]bool)
	cases := make(map[string][]transition)
	for name, content := range zoneFiles(t) {
		if files[content] {
			continue
		}
		files[content] = true
		location := loadLocation(t, name)
		transitions := transitions2000To2060(location)
		if key := fmt.Sprint(transitions); !seen[key] {
			seen[key] = true
			cases[name] = transitions
		}
	}
	return cases
}

// checkMinutes asks for every minute that clocks show, or leave out, within three
// hours of a change.
func checkMinutes(t *testing.T, z billing.Zone, location *time.Location, change transition) {
	t.Helper()
	const hour, minute = 60 * 60, 60
	jump := max(change.before-change.after, change.after-change.before)
	window := 3*hour + jump // three hours, or 27 where a date is left out

	// What clocks show, minute by minute; the oracle searches this list.
	first := change.at - window - jump
	var shown []int64
	for at := first; at <= change.at+window+jump; at += minute {
		shown = append(shown, at+offsetAt(at, location))
	}
	low, high := change.at+min(change.before, change.after)-window+jump, change.at+max(change.before, change.after)+window-jump
	for wall := low; wall <= high; wall += minute {
		i := slices.Index(shown, wall)
		if i < 0 { // clocks leave it out
			asked := wall
			if skipped := wall - mod(wall, 24*hour); skipsDate(shown, skipped) {
				asked += 24 * hour
			}
			i = slices.IndexFunc(shown, func(s int64) bool { return s >= asked })
		}
		want := first + int64(i)*minute
		local := billing.LocalDateTimeOf(time.Unix(wall, 0).UTC())
		if got := z.Instant(local); got.Unix() != want {
			t.Fatalf("%s in %s = %v, want %v", local, z, got, time.Unix(want, 0).UTC())
		}
	}
}

// skipsDate reports whether clocks leave out the whole day that begins at the
// wall second midnight.
func skipsDate(shown []int64, midnight int64) bool {
	return !slices.ContainsFunc(shown, func(s int64) bool { return midnight <= s && s < midnight+24*60*60 })
}

// checkDays fires once a day at each quarter of an hour, from two days before a
// change until two days after it. Each firing is after the one before and on its
// own day, except where clocks leave out its time: the gap may end on the next
// day (Pyongyang went from 23:30 to midnight), and a date that does not exist is
// fired on the next one, together with that.
func checkDays(t *testing.T, z billing.Zone, location *time.Location, change transition) {
	t.Helper()
	middle := billing.LocalDateOf(time.Unix(change.at, 0).In(location))
	skipsDay := change.after-change.before >= 24*60*60
	for quarter := range 24 * 4 {
		clock, err := billing.NewLocalTime(quarter/4, quarter%4*15, 0)
		if err != nil {
			t.Fatal(err)
		}
		var before time.Time
		for day := -2; day <= 2; day++ {
			local := billing.LocalDateTime{Date: middle.AddDays(day), Time: clock}
			instant, want := z.Instant(local), local.Date
			if wall := local.UTC().Unix(); change.at+change.before <= wall && wall < change.at+change.after {
				want = middle
			}
			if got := z.Date(instant); got != want {
				t.Fatalf("%s in %s falls on %s, want %s", local, z, got, want)
			}
			together := skipsDay && day == 0 // middle is the day after the one left out
			if together != instant.Equal(before) || instant.Before(before) {
				t.Fatalf("%s in %s is %v, the day before is %v", local, z, instant, before)
			}
			before = instant
		}
	}
}

// mod returns a - b·⌊a/b⌋, which is not negative.
func mod(a, b int64) int64 { return (a%b + b) % b }

// In any zone at any time since clocks were set by cities, the answer is what it
// promises: shown there for the first time, or the end of the gap.
func TestZone_Instant_ofAnyTime(t *testing.T) {
	names := zoneNames(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "zone")
		location := loadLocation(t, name)
		z, wall := zone(t, name), drawWall(t, location)
		got := z.Instant(billing.LocalDateTimeOf(time.Unix(wall, 0).UTC())).Unix()

		shown := got + offsetAt(got, location)
		if before := got - 1 + offsetAt(got-1, location); shown != wall && mod(shown-wall, 24*60*60) != 0 && (shown < wall || before >= wall) {
			t.Fatalf("%s: wall %d gives %d, where clocks go from %d to %d", name, wall, got, before, shown)
		}
		// Every offset that was in use on the way could have shown it earlier.
		for at := wall - 26*60*60; at < got; at += 15 * 60 {
			if earlier := wall - offsetAt(at, location); earlier < got && earlier+offsetAt(earlier, location) == wall {
				t.Fatalf("%s: wall %d gives %d, but clocks show it at %d", name, wall, got, earlier)
			}
		}
	})
}

// drawWall draws what a clock may show, near a change of the offset if there is
// one soon.
func drawWall(t *rapid.T, location *time.Location) int64 {
	from := time.Date(1840, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	until := time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	at := rapid.Int64Range(from, until).Draw(t, "instant")
	if _, end := time.Unix(at, 0).In(location).ZoneBounds(); !end.IsZero() {
		at = end.Unix() + rapid.Int64Range(-2*24*60*60, 2*24*60*60).Draw(t, "seconds from the change")
	}
	return at + offsetAt(at, location)
}
