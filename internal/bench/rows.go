package bench

import (
	"fmt"
	"slices"
	"strings"
)

// A Result holds the samples of each series, a turn each.
type Result map[string][]Sample

// A Row is one line of the result: what is asked, and how near we came.
type Row struct {
	ID     string
	At     string // where one id has several rows
	What   string
	Unit   string
	Accept float64 // 0 if nothing is asked
	Aim    float64
	Lower  bool // less is better

	from  []string // series
	value func(Result) (float64, []float64)
}

// rows are all that can be measured. docs/performance.md says what each means.
var rows = []Row{
	ratio("G1", "", "pipeline / HTTP ceiling", "run", "ceiling", 0.60, 0.75),
	ratio("G2", "", "pipeline / HTTP ceiling, bare body", "run", "bare", 0.45, 0.60),
	ratio("G5", "", "pipeline / naive loop, 32 workers", "run", "naive32", 7, 11),
	ratio("G5b", "", "pipeline / naive loop, 1 worker", "run", "naive1", 20, 30),
	ratio("G6", "256 in flight", "pipeline / HTTP ceiling, gateway 50 ms away", "run far 256", "ceiling far 256", 0.93, 0.96),
	ratio("G6", "1024 in flight", "pipeline / HTTP ceiling, gateway 50 ms away", "run far 1024", "ceiling far 1024", 0.75, 0.85),
	ratio("G6", "2048 in flight", "pipeline / HTTP ceiling, gateway 50 ms away", "run far 2048", "ceiling far 2048", 0.60, 0.70),
	memory("64 in flight", "run", 64),
	memory("1024 in flight", "run far 1024", 1024),
	memory("2048 in flight", "run far 2048", 2048),
	memory("64 in flight, backlog", "run backlog", 64),
	lower("G8", "", "commits per charge", "commits", "run", 0.03, 0.012, func(s Sample) float64 { return s.CommitsPerPiece }),
	lower("G9", "Postgres", "processor time per charge", "µs", "run", 30, 20, func(s Sample) float64 { return s.PostgresMicros }),
	lower("G9", "client", "processor time per charge", "µs", "run", 55, 40, func(s Sample) float64 { return s.ClientMicros }),
	ratio("G13", "", "rate over a big backlog / over a small one", "run backlog", "run small", 0.85, 0.95),
	ratio("G14", "", "rate with commits 2 ms slower / normal", "run slow commits", "run", 0.80, 0.90),
	rate("G15", "cycles made into charges", "rows/s", "plan", 15_000, 30_000),
	rate("rate", "charges of the pipeline", "charges/s", "run", 15_000, 22_000),
	told("whole", "charges of a whole run, from its start to its end", "charges/s", "run whole", Sample.Rate),
	told("ceiling", "requests at the HTTP ceiling", "requests/s", "ceiling", Sample.Rate),
	told("bare", "requests with a bare body", "requests/s", "bare", Sample.Rate),
	told("naive32", "charges of the naive loop, 32 workers", "charges/s", "naive32", Sample.Rate),
	told("naive1", "charges of the naive loop, 1 worker", "charges/s", "naive1", Sample.Rate),
	told("ceiling_cpu", "processor time of the ceiling's client", "µs", "ceiling", func(s Sample) float64 { return s.ClientMicros }),
	told("gateway", "the gateway's processor time per payment", "µs", "run", func(s Sample) float64 { return s.GatewayMicros }),
}

// Select returns the rows with these ids, all if there are none. It returns an
// error for an id that does not exist.
func Select(ids []string) ([]Row, error) {
	if len(ids) == 0 {
		return slices.Clone(rows), nil
	}
	var chosen []Row
	for _, id := range ids {
		found := false
		for _, r := range rows {
			if strings.EqualFold(r.ID, strings.TrimSpace(id)) {
				chosen, found = append(chosen, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no row %q: the rows are %s", id, strings.Join(IDs(), ", "))
		}
	}
	return chosen, nil
}

// IDs lists the ids of all rows.
func IDs() []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return slices.Compact(ids)
}

// ratio compares the medians of two series' rates.
func ratio(id, at, what, over, under string, accept, aim float64) Row {
	return Row{ID: id, At: at, What: what, Unit: "ratio", Accept: accept, Aim: aim, from: []string{over, under},
		value: func(r Result) (float64, []float64) {
			a, b := each(r[over], Sample.Rate), each(r[under], Sample.Rate)
			turns := make([]float64, min(len(a), len(b)))
			for i := range turns {
				turns[i] = quotient(a[i], b[i])
			}
			return quotient(Median(a), Median(b)), turns
		}}
}

// memory is the most that a daemon had resident in any turn.
func memory(at, series string, inFlight int) Row {
	const ownMiB, eachKiB, aimMiB, aimKiB = 40, 80, 24, 64
	row := told("G7", "peak memory of the daemon", "MiB", series, func(s Sample) float64 { return float64(s.PeakBytes) / (1 << 20) })
	row.At, row.Lower = at, true
	row.Accept, row.Aim = ownMiB+eachKiB*float64(inFlight)/1024, aimMiB+aimKiB*float64(inFlight)/1024
	median := row.value
	row.value = func(r Result) (float64, []float64) {
		_, turns := median(r)
		if len(turns) == 0 {
			return 0, nil
		}
		return slices.Max(turns), turns
	}
	return row
}

func lower(id, at, what, unit, series string, accept, aim float64, of func(Sample) float64) Row {
	row := told(id, what, unit, series, of)
	row.At, row.Accept, row.Aim, row.Lower = at, accept, aim, true
	return row
}

func rate(id, what, unit, series string, accept, aim float64) Row {
	row := told(id, what, unit, series, Sample.Rate)
	row.Accept, row.Aim = accept, aim
	return row
}

// told is a row of which nothing is asked: the median of one series.
func told(id, what, unit, series string, of func(Sample) float64) Row {
	return Row{ID: id, What: what, Unit: unit, from: []string{series}, value: func(r Result) (float64, []float64) {
		turns := each(r[series], of)
		return Median(turns), turns
	}}
}

func each(samples []Sample, of func(Sample) float64) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return values
}

func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
