package bench

import (
	"fmt"
	"slices"
	"time"
)

// A Kind is a program that is measured.
type Kind string

const (
	KindRun     Kind = "run"     // the real pipeline: what run start does
	KindCeiling Kind = "ceiling" // the real client without a database: encode, post, decode
	KindBare    Kind = "bare"    // a prepared body posted, the answer read but not decoded
	KindNaive   Kind = "naive"   // one charge at a time, two transactions each
	KindPlan    Kind = "plan"    // due cycles become charges
)

// A BookName says which of the measured databases a series works on.
type BookName string

const (
	BookMain    BookName = "main"    // as many due charges as most measurements want
	BookNaive   BookName = "naive"   // the same for the naive loop, so that neither disturbs the other
	BookSmall   BookName = "small"   // a small part of the backlog: 80,000 due of the usual 1,000,000
	BookBacklog BookName = "backlog" // as many due as --backlog says, all of them in one manifest
	BookCycles  BookName = "cycles"  // subscriptions with a cycle that is due
)

// A Series is one thing that is measured once in each turn.
type Series struct {
	Name       string
	Kind       Kind
	Book       BookName // empty without a database
	InFlight   int
	Latency    time.Duration // of the gateway
	SlowCommit bool          // commits take 2 ms more
	Whole      bool          // a run from its start to its end, not a window of it
}

// NeedsGateway reports whether the series posts payments.
func (s Series) NeedsGateway() bool { return s.Kind != KindPlan }

// farGateway is the latency of a gateway that is not on this machine.
const farGateway = 50 * time.Millisecond

// allSeries are in the order of a turn; those of one latency share a gateway.
var allSeries = []Series{
	{Name: "run", Kind: KindRun, Book: BookMain, InFlight: 64},
	{Name: "ceiling", Kind: KindCeiling, InFlight: 64},
	{Name: "bare", Kind: KindBare, InFlight: 64},
	{Name: "naive32", Kind: KindNaive, Book: BookNaive, InFlight: 32},
	{Name: "naive1", Kind: KindNaive, Book: BookNaive, InFlight: 1},
	{Name: "run slow commits", Kind: KindRun, Book: BookMain, InFlight: 64, SlowCommit: true},
	{Name: "run whole", Kind: KindRun, Book: BookMain, InFlight: 64, Whole: true},
	{Name: "run small", Kind: KindRun, Book: BookSmall, InFlight: 64},
	{Name: "run backlog", Kind: KindRun, Book: BookBacklog, InFlight: 64},
	{Name: "run far 256", Kind: KindRun, Book: BookMain, InFlight: 256, Latency: farGateway},
	{Name: "ceiling far 256", Kind: KindCeiling, InFlight: 256, Latency: farGateway},
	{Name: "run far 1024", Kind: KindRun, Book: BookMain, InFlight: 1024, Latency: farGateway},
	{Name: "ceiling far 1024", Kind: KindCeiling, InFlight: 1024, Latency: farGateway},
	{Name: "run far 2048", Kind: KindRun, Book: BookMain, InFlight: 2048, Latency: farGateway},
	{Name: "ceiling far 2048", Kind: KindCeiling, InFlight: 2048, Latency: farGateway},
	{Name: "plan", Kind: KindPlan, Book: BookCycles},
}

// A Job is what a measuring process is asked to do.
type Job struct {
	Series     Series        `json:"series"`
	BaseURL    string        `json:"base_url"`
	DSN        string        `json:"dsn"`
	Accounts   []string      `json:"accounts"`
	RunID      int64         `json:"run_id"` // the run to work; for the naive loop, its mark
	Prefix     string        `json:"prefix"` // of keys and references that no book has
	Warm       time.Duration `json:"warm"`
	Window     time.Duration `json:"window"`
	Server     int           `json:"server"`      // first process of Postgres, 0 if unseen
	AsOf       time.Time     `json:"as_of"`       // of a plan
	CPUProfile string        `json:"cpu_profile"` // file, or empty
}

// A Sample is what a measuring process saw. Its rates are of the window alone.
type Sample struct {
	Done            int64   `json:"done"`   // in its whole life; each is one payment at the gateway
	Window          int64   `json:"window"` // pieces done within the window
	Seconds         float64 `json:"seconds"`
	Short           bool    `json:"short,omitempty"` // the work ran out before the window was full
	ClientMicros    float64 `json:"client_cpu_us"`   // per piece of work
	PostgresMicros  float64 `json:"postgres_cpu_us"` // likewise; 0 if unseen
	PeakBytes       int64   `json:"peak_bytes"`
	CommitsPerPiece float64 `json:"commits"`        // in its whole life
	GatewayMicros   float64 `json:"gateway_cpu_us"` // of the sandbox, per payment, in its whole life
}

// NewSample makes a sample of what a meter saw in this process.
func NewSample(done int64, span Span) Sample {
	s := Sample{Done: done, Window: span.Done, Seconds: span.Seconds, Short: span.Short, PeakBytes: OwnPeakMemory()}
	if span.Done > 0 {
		s.ClientMicros = micros(span.Used.Client) / float64(span.Done)
		s.PostgresMicros = micros(span.Used.Postgres) / float64(span.Done)
	}
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Rate is how many pieces of work were done in a second.
func (s Sample) Rate() float64 {
	if s.Seconds == 0 {
		return 0
	}
	return float64(s.Window) / s.Seconds
}

// Needed returns the series that the rows are made of, in the order of a turn.
func Needed(rows []Row) []Series {
	var needed []Series
	for _, s := range allSeries {
		if slices.ContainsFunc(rows, func(r Row) bool { return slices.Contains(r.from, s.Name) }) {
			needed = append(needed, s)
		}
	}
	return needed
}

// Groups puts series together that share a gateway, in the order of a turn.
// Each further turn begins with another one, so that none is always first.
func Groups(series []Series, turn int) [][]Series {
	var groups [][]Series
	for i := 0; i < len(series); {
		end := i + 1
		for end < len(series) && series[end].Latency == series[i].Latency && series[end].NeedsGateway() == series[i].NeedsGateway() {
			end++
		}
		group := slices.Clone(series[i:end])
		shift := turn % len(group)
		groups = append(groups, append(group[shift:len(group):len(group)], group[:shift]...))
		i = end
	}
	return groups
}

// String names the series for people.
func (s Series) String() string {
	text := s.Name
	if s.InFlight > 0 {
		text += fmt.Sprintf(" (%d in flight)", s.InFlight)
	}
	return text
}
