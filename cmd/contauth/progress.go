package main

import (
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"

	"github.com/contauth/contauth/scheduler"
)

// A progressLine shows how a run gets on, on standard error: a bar on a
// terminal, a line every few seconds elsewhere, so that logs stay readable.
type progressLine struct {
	env     *env
	started time.Time
	printed time.Time
	writer  progress.Writer // nil where there is no terminal
	tracker *progress.Tracker
}

// plainEvery is how often a plain line is printed.
const plainEvery = 2 * time.Second

func (e *env) newProgress() *progressLine {
	p := &progressLine{env: e, started: time.Now(), printed: time.Now()}
	if file, ok := e.stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) && !e.json {
		p.writer = progress.NewWriter()
		p.writer.SetOutputWriter(e.stderr)
		p.writer.SetUpdateFrequency(200 * time.Millisecond)
		p.writer.SetTrackerLength(30)
		p.writer.SetMessageLength(60)
		p.writer.SetStyle(progress.StyleBlocks)
		p.writer.Style().Visibility.ETA = true
		p.writer.Style().Visibility.Speed = true
		p.tracker = &progress.Tracker{Message: "starting"}
		p.writer.AppendTracker(p.tracker)
		go p.writer.Render()
	}
	return p
}

// update is called about once a second.
func (p *progressLine) update(now scheduler.Progress) {
	if p.writer != nil {
		p.tracker.UpdateTotal(now.Items)
		p.tracker.UpdateMessage(fmt.Sprintf("%d charged, %d declined, %d unknown", now.Charged, now.Declined, now.Unknown))
		p.tracker.SetValue(now.Done())
		return
	}
	if time.Since(p.printed) >= plainEvery {
		p.printed = time.Now()
		p.line(now)
	}
}

func (p *progressLine) line(now scheduler.Progress) {
	rate := float64(now.Done()) / time.Since(p.started).Seconds()
	left := ""
	if rate > 0 && now.Items > now.Done() {
		left = fmt.Sprintf(", about %s left", (time.Duration(float64(now.Items-now.Done())/rate) * time.Second).Round(time.Second))
	}
	fmt.Fprintf(p.env.stderr, "%d of %d: %d charged, %d declined, %d unknown, %.0f/s%s\n",
		now.Done(), now.Items, now.Charged, now.Declined, now.Unknown, rate, left)
}

// stop shows the end.
func (p *progressLine) stop(last scheduler.Progress) {
	if p.writer == nil {
		if last.Done() > 0 {
			p.line(last)
		}
		return
	}
	p.update(last)
	p.tracker.MarkAsDone()
	for p.writer.IsRenderInProgress() {
		p.writer.Stop()
		time.Sleep(10 * time.Millisecond)
	}
}
