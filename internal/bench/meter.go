package bench

import (
	"sync"
	"time"
)

// A Meter measures a window of steady work: from some time after the first
// piece of work, when connections are open and a slow start is over, until the
// window is full. What is measured and what it is compared with use the same
// meter. It is safe for many goroutines.
type Meter struct {
	// Warm is how long after the first work the window begins.
	Warm time.Duration
	// Window is how long is measured.
	Window time.Duration
	// Probe tells what was used up to now; nil measures the rate alone.
	Probe func() Usage
	// Stop is called once, when the window is full; it ends the work.
	Stop func()

	mu       sync.Mutex
	start    moment // when Begin was called
	first    time.Time
	from, to moment
	last     moment
}

// A moment is how much was done, and used, at some time.
type moment struct {
	at    time.Time
	done  int64
	usage Usage
}

// A Span is what a meter saw.
type Span struct {
	Done    int64   // pieces of work in the window
	Seconds float64 // length of the window
	Used    Usage   // in the window
	Short   bool    // the work ended before the window was full
}

// Begin says that the work begins now.
func (m *Meter) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start = m.look(time.Now(), 0)
}

// Observe says how much has been done by now. It is to be called about once a
// second or more often; the rate is exact however seldom it is called, since
// the window ends at the call.
func (m *Meter) Observe(now time.Time, done int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case done == 0 || !m.to.at.IsZero():
	case m.first.IsZero():
		m.first = now
		if m.Warm == 0 {
			m.from = m.look(now, done)
		}
	case m.from.at.IsZero():
		if now.Sub(m.first) >= m.Warm {
			m.from = m.look(now, done)
		}
	case now.Sub(m.from.at) >= m.Window:
		m.to = m.look(now, done)
		if m.Stop != nil {
			m.Stop()
		}
	default:
		m.last = m.look(now, done)
	}
}

// End says that the work is over with so much done, and returns what was seen.
// If the work ended before the window was full, the last observation counts if
// it saw most of the window, else everything since Begin. So it does if the
// work was over before the window began.
func (m *Meter) End(now time.Time, done int64) Span {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.to.done > m.from.done:
		return between(m.from, m.to, false)
	case m.last.done > m.from.done && !m.from.at.IsZero() && m.last.at.Sub(m.from.at) >= m.Window/2:
		return between(m.from, m.last, true)
	default:
		return between(m.start, m.look(now, done), true)
	}
}

func (m *Meter) look(now time.Time, done int64) moment {
	seen := moment{at: now, done: done}
	if m.Probe != nil {
		seen.usage = m.Probe()
	}
	return seen
}

func between(from, to moment, short bool) Span {
	return Span{
		Done: to.done - from.done, Seconds: to.at.Sub(from.at).Seconds(), Short: short,
		Used: Usage{Client: to.usage.Client - from.usage.Client, Postgres: to.usage.Postgres - from.usage.Postgres},
	}
}
