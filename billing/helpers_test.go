package billing_test

import "github.com/contauth/contauth/billing"

// A fataler is what these helpers need of a *testing.T, a *testing.B and a
// *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func must[T any](t fataler, value T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func localDate(t fataler, s string) billing.LocalDate {
	t.Helper()
	date, err := billing.ParseLocalDate(s)
	return must(t, date, err)
}

func localDateTime(t fataler, s string) billing.LocalDateTime {
	t.Helper()
	local, err := billing.ParseLocalDateTime(s)
	return must(t, local, err)
}

func zone(t fataler, name string) billing.Zone {
	t.Helper()
	z, err := billing.LoadZone(name)
	return must(t, z, err)
}

func interval(t fataler, unit billing.IntervalUnit, count int) billing.Interval {
	t.Helper()
	i, err := billing.NewInterval(unit, count)
	return must(t, i, err)
}

// calendar returns a valid calendar without an end.
func calendar(t fataler, anchor, zoneName string, unit billing.IntervalUnit, count int) billing.Calendar {
	t.Helper()
	c := billing.Calendar{
		Anchor:   localDateTime(t, anchor),
		Zone:     zone(t, zoneName),
		Interval: interval(t, unit, count),
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}
