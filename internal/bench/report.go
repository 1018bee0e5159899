package bench

// A Machine says where a result comes from. Absolute figures mean nothing
// without it.
type Machine struct {
	Cores             int     `json:"cores"`
	Processor         string  `json:"processor,omitempty"`
	System            string  `json:"system"` // kernel and its version
	Go                string  `json:"go"`
	GOGC              string  `json:"gogc"`
	Postgres          string  `json:"postgres"`
	Fsync             string  `json:"fsync"`
	SynchronousCommit string  `json:"synchronous_commit"`
	Load              float64 `json:"load"` // average of the last minute at the start
}

// Durable reports whether what Postgres acknowledges survives a power cut.
func (m Machine) Durable() bool { return m.Fsync == "on" && m.SynchronousCommit == "on" }

// A Line is a row with its value, as JSON shows it.
type Line struct {
	ID     string    `json:"id"`
	At     string    `json:"at,omitempty"`
	What   string    `json:"what"`
	Value  float64   `json:"value"`
	Unit   string    `json:"unit"`
	Accept *float64  `json:"accept,omitempty"`
	Aim    *float64  `json:"aim,omitempty"`
	Better string    `json:"better,omitempty"` // higher or lower
	OK     *bool     `json:"ok,omitempty"`     // the value reaches accept
	Turns  []float64 `json:"turns"`
}

// A Report is the result of a measurement.
type Report struct {
	Machine Machine  `json:"machine"`
	Rows    []Line   `json:"rows"`
	Notes   []string `json:"notes,omitempty"` // what to know before comparing
	Quick   bool     `json:"quick,omitempty"`
	Samples Result   `json:"samples"`
}

// Line computes the row from the samples.
func (r Row) Line(result Result) Line {
	value, turns := r.value(result)
	line := Line{ID: r.ID, At: r.At, What: r.What, Value: value, Unit: r.Unit, Turns: turns}
	if r.Accept == 0 {
		return line
	}
	line.Accept, line.Aim, line.Better = &r.Accept, &r.Aim, "higher"
	ok := value >= r.Accept
	if r.Lower {
		line.Better = "lower"
		ok = value > 0 && value <= r.Accept // 0 was not measured
	}
	line.OK = &ok
	return line
}
