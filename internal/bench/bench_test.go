package bench_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lib/pq"

	"github.com/contauth/contauth/internal/bench"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   float64
	}{
		{"none", nil, 0},
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 2, 9}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := bench.Median(tt.values); got != tt.want {
				t.Errorf("Median(%v) = %v, want %v", tt.values, got, tt.want)
			}
		})
	}
}

func TestMeter(t *testing.T) {
	type look struct {
		after time.Duration
		done  int64
	}
	tests := []struct {
		name    string
		looks   []look
		end     look
		want    float64 // pieces a second; NaN if it depends on when Begin was called
		short   bool
		stopped bool
	}{
		{
			"what happens while it warms up does not count",
			[]look{{1 * time.Second, 5}, {2 * time.Second, 10}, {3 * time.Second, 110}, {4 * time.Second, 210}},
			look{9 * time.Second, 999}, 100, false, true,
		},
		{
			"warming up begins with the first work, not with the first look",
			[]look{{1 * time.Second, 0}, {5 * time.Second, 1}, {6 * time.Second, 50}, {7 * time.Second, 60}, {8 * time.Second, 70}},
			look{9 * time.Second, 999}, 10, false, true,
		},
		{
			"work that ends late in the window counts to the last look",
			[]look{{1 * time.Second, 5}, {2 * time.Second, 10}, {3500 * time.Millisecond, 40}},
			look{9 * time.Second, 999}, 20, true, false,
		},
		{
			"work that ends early counts from its beginning",
			[]look{{1 * time.Second, 5}, {2 * time.Second, 10}},
			look{3 * time.Second, 12}, math.NaN(), true, false,
		},
		{
			"work that is over before the window begins counts from its beginning",
			[]look{{1 * time.Second, 12}, {2 * time.Second, 12}, {3500 * time.Millisecond, 12}},
			look{4 * time.Second, 12}, math.NaN(), true, false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stopped := 0
			m := bench.Meter{Warm: time.Second, Window: 2 * time.Second, Stop: func() { stopped++ }}
			start := time.Now()
			m.Begin()
			for _, l := range tt.looks {
				m.Observe(start.Add(l.after), l.done)
			}
			span := m.End(start.Add(tt.end.after), tt.end.done)
			if span.Short != tt.short {
				t.Errorf("Short = %t, want %t", span.Short, tt.short)
			}
			if got := stopped == 1; got != tt.stopped || stopped > 1 {
				t.Errorf("stopped %d times, want it stopped: %t", stopped, tt.stopped)
			}
			if math.IsNaN(tt.want) {
				if span.Done != tt.end.done {
					t.Errorf("counted %d pieces, want all %d", span.Done, tt.end.done)
				}
				return
			}
			if got := float64(span.Done) / span.Seconds; math.Abs(got-tt.want) > 1e-6 {
				t.Errorf("rate = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDrive_givesEachPieceItsNumber(t *testing.T) {
	var mu sync.Mutex
	seen := map[int64]int{}
	m := bench.Meter{Window: 150 * time.Millisecond}
	done, span, err := bench.Drive(t.Context(), 4, &m, func(_ context.Context, n int64) error {
		mu.Lock()
		defer mu.Unlock()
		seen[n]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(seen)) != done || seen[1] != 1 || seen[done] != 1 {
		t.Errorf("%d pieces done, %d numbers seen, want each once", done, len(seen))
	}
	if span.Done == 0 || span.Done > done {
		t.Errorf("%d of %d pieces are in the window", span.Done, done)
	}
}

func TestDrive_ends(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name     string
		err      error
		want     error
		wantDone int64
	}{
		{"with the first error", broken, broken, 10},
		{"when there is no more to do", bench.ErrNoMore, nil, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := bench.Meter{Window: time.Hour}
			done, span, err := bench.Drive(t.Context(), 1, &m, func(_ context.Context, n int64) error {
				if n > 10 {
					return tt.err
				}
				return nil
			})
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if done != tt.wantDone || !span.Short {
				t.Errorf("%d done, short %t; want %d, true", done, span.Short, tt.wantDone)
			}
		})
	}
}

const (
	paidOne = `{"idempotency_key":"k1","reference":"bench-main-1~1","result_code":"Authorised"}` + "\n"
	paidTwo = `{"idempotency_key":"k2","reference":"bench-main-2~1","result_code":"Authorised"}` + "\n"
	peer    = `{"idempotency_key":"k3","reference":"x7-1~1","result_code":"Authorised"}` + "\n"
)

func TestLedger_Check(t *testing.T) {
	paid := []string{"bench-main-1", "bench-main-2"}
	tests := []struct {
		name   string
		ledger string
		posts  int64
		want   string // a part of the fault; empty if there is none
	}{
		{"all is as it was said", paidOne + paidTwo + peer, 3, ""},
		{"a payment is missing", paidOne + peer, 2, "charge bench-main-2 is paid here, but was charged 0 times"},
		{"a request left no payment", paidOne + paidTwo, 3, "3 requests were answered, but the ledger has 2 payments"},
		{"a key is there twice", paidOne + paidTwo + strings.Replace(peer, "k3", "k1", 1), 3, "the key of payment 3"},
		{"a key is empty", paidOne + paidTwo + strings.Replace(peer, "k3", "", 1), 3, "the key of payment 3"},
		{"a charge was paid twice under two keys", paidOne + paidTwo + strings.Replace(paidTwo, "k2", "k9", 1), 3, "charge bench-main-2 is paid here, but was charged 2 times"},
		{"a second attempt is the same charge", paidOne + paidTwo + strings.NewReplacer("k2", "k9", "~1", "~2").Replace(paidTwo), 3, "charge bench-main-2 is paid here, but was charged 2 times"},
		{"two cycles of a subscription are two charges", paidOne + paidTwo + strings.Replace(peer, "x7-1", "x7~1", 1) + strings.Replace(strings.Replace(peer, "k3", "k4", 1), "x7-1", "x7~2", 1), 4, ""},
		{"a second attempt at a cycle is the same charge", paidOne + paidTwo + strings.Replace(peer, "x7-1", "bench-main-3~7", 1), 3, "charge bench-main-3~7 was charged at the gateway, but is not paid here"},
		{"a payment without an attempt is of no charge", paidOne + paidTwo + strings.Replace(peer, "x7-1~1", "x7-1", 1), 3, "names no attempt of a charge"},
		{"a refused payment pays nothing", paidOne + strings.Replace(paidTwo, "Authorised", "Refused", 1), 2, "charge bench-main-2 is paid here, but was charged 0 times"},
		{"a payment that nobody knows of", paidOne + paidTwo + strings.Replace(peer, "x7-1", "bench-main-3", 1), 3, "charge bench-main-3 was charged at the gateway, but is not paid here"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ledger, err := bench.ReadLedger(strings.NewReader(tt.ledger))
			if err != nil {
				t.Fatal(err)
			}
			checkFault(t, ledger.Check(tt.posts, bench.ChargePrefix, paid), tt.want)
		})
	}
}

func TestReadLedger_refusesWhatIsNoLedger(t *testing.T) {
	if _, err := bench.ReadLedger(strings.NewReader(paidOne + "<html>\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error = %v, want one that names line 2", err)
	}
}

func TestStats_Check(t *testing.T) {
	tests := []struct {
		name  string
		stats bench.Stats
		want  string
	}{
		{"as many as were posted", bench.Stats{Payments: 7}, ""},
		{"one payment less", bench.Stats{Payments: 6}, "7 requests were answered, but the gateway made 6 payments"},
		{"a key came again", bench.Stats{Payments: 7, DuplicateKeys: 1}, "1 requests came with a key that the gateway knew"},
		{"with other bytes", bench.Stats{Payments: 7, SameKeyOtherBody: 1}, "other bytes"},
	}
	before := bench.Stats{Payments: 100, DuplicateKeys: 3, SameKeyOtherBody: 2}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := bench.Stats{
				Payments: 100 + tt.stats.Payments, DuplicateKeys: 3 + tt.stats.DuplicateKeys, SameKeyOtherBody: 2 + tt.stats.SameKeyOtherBody,
			}
			checkFault(t, after.Minus(before).Check(7), tt.want)
		})
	}
}

func checkFault(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("fault = %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("fault = %v, want one with %q", err, want)
	}
}

// line makes a line of /proc/PID/stat.
func line(command, parent string, utime, stime, cutime, cstime string) *fstest.MapFile {
	fields := []string{"7", "(" + command + ")", "S", parent, "1", "1", "0", "-1", "4194560", "1", "2", "3", "4", utime, stime, cutime, cstime, "20", "0"}
	return &fstest.MapFile{Data: []byte(strings.Join(fields, " ") + "\n")}
}

func TestProcessTree(t *testing.T) {
	proc := fstest.MapFS{
		"100/stat":   line("postgres", "1", "10", "20", "300", "400"),
		"101/stat":   line("postgres: a) (b", "100", "1", "2", "0", "0"),
		"102/stat":   line("postgres", "100", "3", "4", "0", "0"),
		"103/stat":   line("other", "99", "1000", "1000", "1000", "1000"),
		"104/status": &fstest.MapFile{},
		"self/stat":  line("test", "100", "5000", "0", "0", "0"),
	}
	got, err := bench.ProcessTree{Proc: proc, PID: 100}.CPU()
	if want := 7400 * time.Millisecond; err != nil || got != want {
		t.Errorf("CPU = %v, %v; want %v: the ended children count, others' processes do not", got, err, want)
	}
	if _, err := (bench.ProcessTree{Proc: proc, PID: 5}).CPU(); err == nil {
		t.Error("a process that is not there has no error")
	}
	if got := bench.ServerOf(proc, 102); got != 100 {
		t.Errorf("ServerOf(102) = %d, want 100", got)
	}
	for _, pid := range []int{103, 104, 105} {
		if got := bench.ServerOf(proc, pid); got != 0 {
			t.Errorf("ServerOf(%d) = %d, want 0: it is no backend", pid, got)
		}
	}
}

func FuzzProcessTree(f *testing.F) {
	f.Add("7 (postgres) S 1 1 1 0 -1 4194560 1 2 3 4 1 2 3 4 20 0\n")
	f.Add("7 (a) b) S")
	f.Add(")(")
	f.Fuzz(func(t *testing.T, line string) {
		proc := fstest.MapFS{"7/stat": &fstest.MapFile{Data: []byte(line)}}
		if _, err := (bench.ProcessTree{Proc: proc, PID: 7}).CPU(); err == nil && !strings.Contains(line, ")") {
			t.Errorf("%q was read as a process", line)
		}
	})
}

// Whoever measures must see himself.
func TestOwn(t *testing.T) {
	before := bench.OwnCPU()
	for n := 0; bench.OwnCPU() == before; n++ {
		if n > 1e9 {
			t.Fatal("a busy process uses no processor time")
		}
	}
	if got := bench.OwnPeakMemory(); got < 1<<20 {
		t.Errorf("peak memory = %d bytes, less than any Go program", got)
	}
}

func TestSelect(t *testing.T) {
	rows, err := bench.Select([]string{"G5b", " g1"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range bench.Needed(rows) {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"run", "ceiling", "naive1"}, names); diff != "" {
		t.Errorf("series needed for G1 and G5b (-want +got):\n%s", diff)
	}
	if _, err := bench.Select([]string{"G99"}); err == nil || !strings.Contains(err.Error(), "G15") {
		t.Errorf("error = %v, want one that lists the rows", err)
	}
}

// What is asked of contauth stands here a second time, on purpose: nobody
// should lower it in passing.
func TestRows_whatIsAsked(t *testing.T) {
	rows, err := bench.Select(nil)
	if err != nil {
		t.Fatal(err)
	}
	type asked struct{ Accept, Aim float64 }
	got := map[string]asked{}
	for _, r := range rows {
		if r.Accept != 0 {
			got[strings.TrimSpace(r.ID+" "+r.At)] = asked{r.Accept, r.Aim}
		}
	}
	want := map[string]asked{
		"G1": {0.60, 0.75}, "G2": {0.45, 0.60}, "G5": {7, 11}, "G5b": {20, 30},
		"G6 256 in flight": {0.93, 0.96}, "G6 1024 in flight": {0.75, 0.85}, "G6 2048 in flight": {0.60, 0.70},
		"G7 64 in flight": {45, 28}, "G7 64 in flight, backlog": {45, 28}, "G7 1024 in flight": {120, 88}, "G7 2048 in flight": {200, 152},
		"G8": {0.03, 0.012}, "G9 Postgres": {30, 20}, "G9 client": {55, 40},
		"G13": {0.85, 0.95}, "G14": {0.80, 0.90}, "G15": {15_000, 30_000}, "rate": {15_000, 22_000},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is asked (-want +got):\n%s", diff)
	}
}

func TestRow_Line(t *testing.T) {
	perSecond := func(rates ...int64) []bench.Sample {
		var samples []bench.Sample
		for _, r := range rates {
			samples = append(samples, bench.Sample{Window: 2 * r, Seconds: 2, PeakBytes: r << 20, PostgresMicros: float64(r)})
		}
		return samples
	}
	tests := []struct {
		name   string
		row    string
		at     string
		result bench.Result
		value  float64
		turns  []float64
		ok     bool
	}{
		{"a ratio is one of medians", "G1", "", bench.Result{"run": perSecond(10, 60, 90), "ceiling": perSecond(100, 100, 90)}, 0.6, []float64{0.1, 0.6, 1}, true},
		{"too slow", "G1", "", bench.Result{"run": perSecond(59), "ceiling": perSecond(100)}, 0.59, []float64{0.59}, false},
		{"memory is the most of any turn", "G7", "64 in flight", bench.Result{"run": perSecond(20, 46, 21)}, 46, []float64{20, 46, 21}, false},
		{"less is better", "G9", "Postgres", bench.Result{"run": perSecond(29, 28, 99)}, 29, []float64{29, 28, 99}, true},
		{"what could not be seen is not good", "G9", "Postgres", bench.Result{"run": perSecond(0)}, 0, []float64{0}, false},
		{"nothing measured", "G14", "", bench.Result{}, 0, []float64{}, false},
	}
	rows, err := bench.Select(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(rows, func(r bench.Row) bool { return r.ID == tt.row && r.At == tt.at })
			got := rows[i].Line(tt.result)
			if got.Value != tt.value || got.OK == nil || *got.OK != tt.ok {
				t.Errorf("value %v, ok %v; want %v, %t", got.Value, *got.OK, tt.value, tt.ok)
			}
			if diff := cmp.Diff(tt.turns, got.Turns); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGroups_noSeriesIsAlwaysFirst(t *testing.T) {
	rows, err := bench.Select(nil)
	if err != nil {
		t.Fatal(err)
	}
	series := bench.Needed(rows)
	first := map[string]bool{}
	for turn := range 3 {
		seen := 0
		for _, group := range bench.Groups(series, turn) {
			seen += len(group)
			first[group[0].Name] = true
			for _, s := range group {
				if s.Latency != group[0].Latency || s.NeedsGateway() != group[0].NeedsGateway() {
					t.Errorf("%s cannot share the gateway of %s", s, group[0])
				}
			}
		}
		if seen != len(series) {
			t.Errorf("turn %d has %d series, want %d", turn, seen, len(series))
		}
	}
	if !first["run"] || !first["ceiling"] || !first["bare"] {
		t.Errorf("first in their groups were only %v", first)
	}
}

func TestConnectionStrings(t *testing.T) {
	for _, dsn := range []string{
		"host='/run/here' user=u dbname='postgres' sslmode=disable",
		"postgres://u:p@localhost:5433/postgres?sslmode=disable",
	} {
		other, err := bench.WithDatabase(dsn, "other")
		if err != nil {
			t.Fatal(err)
		}
		slow, err := bench.WithSlowCommits(other)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := pq.NewConfig(slow)
		if err != nil {
			t.Fatalf("%s: %v", slow, err)
		}
		if cfg.Database != "other" || cfg.User != "u" || cfg.Options != "-c commit_delay=2000 -c commit_siblings=0" {
			t.Errorf("%s is read as database %q, user %q, options %q", slow, cfg.Database, cfg.User, cfg.Options)
		}
	}
}

func TestBare_Post(t *testing.T) {
	type seen struct{ Key, Other, Body string }
	var got []seen
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, seen{r.Header.Get("Idempotency-Key"), r.Header.Get("X-Other"), string(body)})
		w.WriteHeader(status)
		io.WriteString(w, strings.Repeat("answer ", 2000)) // longer than one read
	}))
	defer server.Close()

	var recorder bench.Recorder
	prepared := httptest.NewRequest(http.MethodPost, server.URL, strings.NewReader("body"))
	prepared.Header = http.Header{"Idempotency-Key": {"old"}, "X-Other": {"kept"}}
	if _, err := recorder.RoundTrip(prepared); err == nil {
		t.Error("a recorder answered")
	}
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	bare := bench.Bare{Transport: transport, URL: mustParse(t, server.URL), Header: recorder.Header, Body: recorder.Body, KeyPrefix: "k-"}
	for n := range int64(2) {
		if err := bare.Post(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]seen{{"k-0", "kept", "body"}, {"k-1", "kept", "body"}}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	status = http.StatusTooManyRequests
	if err := bare.Post(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("error = %v, want one with the status", err)
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// A child that is told to end does, and one that says nothing sensible is an error.
func TestProcesses(t *testing.T) {
	var hello struct{ URL string }
	server, err := bench.StartServer(t.Context(), io.Discard, &hello, "sh", "-c", `echo '{"URL":"here"}'; exec sleep 300`)
	if err != nil {
		t.Fatal(err)
	}
	if hello.URL != "here" {
		t.Errorf("hello = %+v", hello)
	}
	server.Stop()
	if _, err := bench.StartServer(t.Context(), io.Discard, &hello, "sh", "-c", "echo no"); err == nil {
		t.Error("a server that says nothing sensible has started")
	}
	var answer []int
	if err := bench.Ask(t.Context(), io.Discard, []int{4, 2}, &answer, "cat"); err != nil || !slices.Equal(answer, []int{4, 2}) {
		t.Errorf("answer = %v, %v", answer, err)
	}
	if err := bench.Ask(t.Context(), io.Discard, 1, &answer, "false"); err == nil {
		t.Error("a process that fails has no error")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bench.Ask(over, io.Discard, 1, &answer, "sleep", "300"); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want that it was cancelled", err)
	}
}
