package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// verificationJobJSON is a verification job as --json shows it.
type verificationJobJSON struct {
	Job          postgres.VerificationJobID        `json:"job"`
	Strategy     tokens.Strategy                   `json:"strategy"`
	Currency     *string                           `json:"currency"`
	Selection    string                            `json:"selection"`
	Actor        string                            `json:"actor"`
	Reason       string                            `json:"reason"`
	CreatedAt    time.Time                         `json:"created_at"`
	Tokens       int                               `json:"tokens"`
	Done         int                               `json:"done"`
	Results      map[tokens.VerificationResult]int `json:"results"`       // of the whole job
	Invalid      int                               `json:"invalid"`       // since this command began
	ChargesHeld  int                               `json:"charges_held"`  // since this command began
	NotSupported map[string]string                 `json:"not_supported"` // by merchant account
}

func (e *env) printVerifications(job postgres.VerificationJob, w *verifyWork) error {
	if e.json {
		row := verificationJobJSON{
			Job: job.ID, Strategy: job.Strategy, Currency: orNull(job.Currency), Selection: job.Selection, Actor: job.Actor, Reason: job.Reason,
			CreatedAt: job.CreatedAt, Tokens: job.Items, Done: job.Done, Results: map[tokens.VerificationResult]int{},
			Invalid: w.invalid, ChargesHeld: w.held, NotSupported: map[string]string{},
		}
		for _, r := range job.Results {
			row.Results[r.Result] = r.Count
		}
		for account, why := range w.unable {
			row.NotSupported[account] = plainWords(why)
		}
		return e.printJSON(row)
	}
	fmt.Fprintf(e.stdout, "Verification job %d: %d of %s asked about by %s.\n", job.ID, job.Done, counted(job.Items, "token"), job.Strategy)
	for _, r := range job.Results {
		fmt.Fprintf(e.stdout, "  %6d %-14s the card %s\n", r.Count, r.Result, r.Result.Sentence())
	}
	if w.invalid > 0 {
		fmt.Fprintf(e.stdout, "%s invalid now.%s contauth tokens list --state invalid shows them.\n", tokensAre(w.invalid), chargesHeld(w.held))
	}
	for _, account := range slices.Sorted(maps.Keys(w.unable)) {
		fmt.Fprintf(e.stdout, "Not asked at %s: %s\n", account, plainWords(w.unable[account]))
	}
	for _, text := range slices.Sorted(maps.Keys(w.faults)) {
		fmt.Fprintf(e.stdout, "Failed %s: %s\n", times(w.faults[text]), text)
	}
	return nil
}

// times is how often something happened: "once", "3 times".
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// verifyProgress shows how a job gets on, as a run's progress is shown.
type verifyProgress struct {
	*progressLine
	total, before int // tokens of the job, and those that were done before

	mu sync.Mutex
}

func (p *verifyProgress) update(w *verifyWork) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer == nil && time.Since(p.printed) < plainEvery {
		return
	}
	p.printed = time.Now()
	p.show(w)
}

func (p *verifyProgress) show(w *verifyWork) {
	w.mu.Lock()
	done, invalid, failed := w.done, w.invalid, w.counts[tokens.VerificationFailed]
	w.mu.Unlock()
	if p.writer != nil {
		p.tracker.UpdateTotal(int64(p.total))
		p.tracker.UpdateMessage(fmt.Sprintf("%d asked, %d invalid, %d failed", done, invalid, failed))
		p.tracker.SetValue(int64(p.before + done))
		return
	}
	rate := float64(done) / time.Since(p.started).Seconds()
	fmt.Fprintf(p.env.stderr, "%d of %d: %d invalid, %d failed, %.0f/s\n", p.before+done, p.total, invalid, failed, rate)
}

// stop shows the end.
func (p *verifyProgress) stop(w *verifyWork) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show(w)
	if p.writer == nil {
		return
	}
	p.tracker.MarkAsDone()
	for p.writer.IsRenderInProgress() {
		p.writer.Stop()
		time.Sleep(10 * time.Millisecond)
	}
}
