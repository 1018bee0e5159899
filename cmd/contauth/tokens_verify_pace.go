package main

import "time"

// A pace spreads requests evenly over time.
type pace struct {
	every time.Duration
	last  time.Time
}

func newPace(rate float64) *pace { return &pace{every: secondsOf(1 / rate)} }

// paceSlack is how late a request may be without moving those behind it.
const paceSlack = 10 * time.Millisecond

// next returns when the next request may leave.
func (p *pace) next(now time.Time) time.Time {
	p.last = p.last.Add(p.every)
	if late := now.Add(-paceSlack); p.last.Before(late) {
		p.last = late
	}
	return p.last
}
