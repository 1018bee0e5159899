package billing_test

import (
	"database/sql"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func openPostgres(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", pgtest.NewEmpty(t).DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Postgres' date + n × interval is an independent opinion about the dates of
// cycles, though not about their instants.
func TestCalendar_Date_agreesWithPostgres(t *testing.T) {
	t.Parallel()
	calendars := calendarsToCompare(t)
	var anchors, steps []string
	for _, c := range calendars {
		anchors = append(anchors, c.Anchor.Date.String())
		steps = append(steps, fmt.Sprintf("%d %s", c.Interval.Count, c.Interval.Unit))
	}
	const query = `
		SELECT c.number - 1, n + 1, (c.anchor + n * c.step)::date::text
		  FROM unnest($1::date[], $2::interval[]) WITH ORDINALITY AS c (anchor, step, number),
		       generate_series(0, 60) AS n
		 WHERE c.anchor + n * c.step < '10000-01-01'`
	rows, err := openPostgres(t).Query(query, pq.Array(anchors), pq.Array(steps))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	compared := 0
	for rows.Next() {
		var number, n int
		var want string
		if err := rows.Scan(&number, &n, &want); err != nil {
			t.Fatal(err)
		}
		c := calendars[number]
		if got, ok := c.Date(n); !ok || got.String() != want {
			t.Fatalf("every %s from %s: cycle %d begins on %s, %t; Postgres says %s", c.Interval, c.Anchor.Date, n, got, ok, want)
		}
		compared++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if compared < 50*len(calendars) {
		t.Errorf("compared %d dates of %d calendars: too few", compared, len(calendars))
	}
}

// calendarsToCompare has every day of a leap year and of years at the edges, in
// steps of each unit.
func calendarsToCompare(t *testing.T) []billing.Calendar {
	t.Helper()
	intervals := []billing.Interval{
		{Unit: billing.Day, Count: 1}, {Unit: billing.Day, Count: 30}, {Unit: billing.Day, Count: 3660},
		{Unit: billing.Week, Count: 1}, {Unit: billing.Week, Count: 4},
		{Unit: billing.Month, Count: 1}, {Unit: billing.Month, Count: 5}, {Unit: billing.Month, Count: 24},
		{Unit: billing.Year, Count: 1}, {Unit: billing.Year, Count: 4},
	}
	firsts := []struct {
		date string
		days int
	}{
		{"0001-01-01", 2}, {"1899-12-25", 90}, {"1969-12-28", 5}, {"2024-01-01", 366}, {"2037-12-25", 40}, {"2096-02-25", 10},
		{"9990-02-25", 5}, {"9999-12-30", 2},
	}
	var calendars []billing.Calendar
	for _, first := range firsts {
		for day := range first.days {
			anchor := localDate(t, first.date).AddDays(day)
			for _, step := range intervals {
				calendars = append(calendars, billing.Calendar{Anchor: billing.LocalDateTime{Date: anchor}, Interval: step})
			}
		}
	}
	return calendars
}

// newZones are zones that a Postgres with an older time zone database does not
// have, with the release that brought them.
var newZones = map[string]string{"America/Coyhaique": "2025b"}

// A zone is stored by name, and reports compute with it in Postgres. Both
// databases of names are compared, and every difference has its reason.
func TestLoadZone_knowsThePostgresNames(t *testing.T) {
	t.Parallel()
	ours, inPostgres := zoneNames(t), postgresZones(t)
	var refused, missing []string
	for _, name := range inPostgres {
		if _, err := billing.LoadZone(name); err == nil {
			continue
		}
		refused = append(refused, name)
		if !refusedOnPurpose(name) {
			t.Errorf("LoadZone refuses %s, which Postgres has, for no known reason", name)
		}
	}
	for _, name := range ours {
		if slices.Contains(inPostgres, name) {
			continue
		}
		missing = append(missing, name)
		if _, known := newZones[name]; !known {
			t.Errorf("Postgres does not have %s, for no known reason", name)
		}
	}
	t.Logf("of %d names in Postgres we refuse %d: %q", len(inPostgres), len(refused), refused)
	t.Logf("of %d names of ours Postgres lacks %d: %q", len(ours), len(missing), missing)
}

func postgresZones(t *testing.T) []string {
	t.Helper()
	var names []string
	const query = `SELECT array_agg(name ORDER BY name) FROM pg_timezone_names`
	if err := openPostgres(t).QueryRow(query).Scan((*pq.StringArray)(&names)); err != nil {
		t.Fatal(err)
	}
	if len(names) < 400 {
		t.Fatalf("Postgres has only %d zone names", len(names))
	}
	return names
}
