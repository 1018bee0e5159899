package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

const (
	// verifyChunk is how many tokens of a job a process takes at once: what waits in
	// memory, and what others wait for if the process dies.
	verifyChunk = 50
	// maxVerifyRate is the most that --rate allows.
	maxVerifyRate = 1000
	// maxVerifyWorkers bounds the requests that are under way.
	maxVerifyWorkers = 32
	// silenceLimit is how many requests in a row may stay without an answer before a
	// job stops: the gateway is out of reach.
	silenceLimit = 10
)

// verifyWork is one process's work on a verification job. Whatever the size of the
// job, it holds one chunk of it.
type verifyWork struct {
	db     *postgres.DB
	keeper *tokens.Keeper
	job    postgres.VerificationJob
	order  tokens.Order
	wait   time.Duration // for one answer, when every worker waits for the rate
	chunk  time.Duration // for a whole chunk at the rate

	open sync.WaitGroup // requests that workers have begun

	mu      sync.Mutex
	counts  map[tokens.VerificationResult]int
	done    int
	invalid int
	held    int
	silent  []tokens.ID      // the latest without an answer, given back if there is none for long
	unable  map[string]error // accounts at which this cannot be verified
	faults  map[string]int   // other refusals, in words
	stop    error            // why the work ends before the job
	broken  error            // of the database: it ends the work, too
}

// maxFaults is how many different refusals are told.
const maxFaults = 20

// workVerifications works a job to its end, to --limit or to Ctrl-C, and reports it.
func (e *env) workVerifications(ctx context.Context, s *session, job postgres.VerificationJob, f *verifyFlags) error {
	keeper, err := s.keeper(ctx, e.logger())
	if err != nil {
		return err
	}
	slowest := s.slowestRate(f)
	w := &verifyWork{
		db: s.db, keeper: keeper, job: job,
		wait:   s.config.Timing.GatewayTimeout + 5*time.Second + secondsOf(maxVerifyWorkers/slowest),
		chunk:  secondsOf(verifyChunk / slowest),
		order:  tokens.Order{Actor: job.Actor, Strategy: job.Strategy, Currency: job.Currency},
		counts: map[tokens.VerificationResult]int{}, unable: map[string]error{}, faults: map[string]int{},
	}
	if !e.json {
		fmt.Fprintf(e.stderr, "Verification job %d: %d of %s to do by %s\n", job.ID, job.Items-job.Done, counted(job.Items, "token"), job.Strategy)
	}
	progress := &verifyProgress{progressLine: e.newProgress(), total: job.Items, before: job.Done}
	err = w.run(ctx, f.rate, f.limit, progress)
	progress.stop(w)
	if err != nil {
		return fmt.Errorf("verification job %d: %w; contauth tokens verify --job %d goes on with it", job.ID, err, job.ID)
	}
	// Ctrl-C ends the work, not the report of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if job, err = s.db.FindVerificationJob(ctx, job.ID); err != nil {
		return err
	}
	if err := e.printVerifications(job, w); err != nil {
		return err
	}
	e.exit = w.exit()
	switch left := job.Items - job.Done; {
	case w.stop != nil:
		return fmt.Errorf("job %d stopped, %s left: %w; contauth tokens verify --job %d goes on", job.ID, tokensAre(left), w.stop, job.ID)
	case left > 0 && f.limit > 0 && w.done >= f.limit:
		_, err := fmt.Fprintf(e.stderr, "%s left, by --limit: contauth tokens verify --job %d goes on.\n", tokensAre(left), job.ID)
		return err
	case left > 0:
		return fmt.Errorf("job %d stopped before its end, %s left; nothing is lost: contauth tokens verify --job %d goes on", job.ID, tokensAre(left), job.ID)
	}
	return nil
}

func tokensAre(n int) string { return counted(n, "token") + " " + isOrAre(n) }

// slowestRate is the rate at which a job goes on at the slowest of its accounts.
func (s *session) slowestRate(f *verifyFlags) float64 {
	slowest := f.rate
	for _, a := range s.config.MerchantAccounts {
		if a.RatePerSecond > 0 && (f.selection.account == "" || f.selection.account == a.ID) {
			slowest = min(slowest, a.RatePerSecond)
		}
	}
	return slowest
}

func secondsOf(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// run asks about the job's tokens until none is left, the limit is reached, ctx ends,
// or the work has to stop. What got no answer then goes back to the job.
func (w *verifyWork) run(ctx context.Context, rate float64, limit int, progress *verifyProgress) error {
	todo := make(chan tokens.Token)
	var workers sync.WaitGroup
	for range min(maxVerifyWorkers, max(2, int(math.Ceil(2*rate)))) {
		workers.Go(func() {
			for token := range todo {
				if err := w.verify(ctx, token); err != nil {
					w.fail(err)
				}
				w.open.Done()
				progress.update(w)
			}
		})
	}
	err := w.handOut(ctx, todo, newPace(rate), limit)
	close(todo)
	workers.Wait()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // Ctrl-C: nothing is wrong
	}
	if err == nil {
		err = w.broken
	}
	if back := w.giveBackSilent(ctx); err == nil {
		err = back
	}
	return err
}

// handOut takes one chunk of the job after the other and gives the workers its tokens,
// each in its turn.
func (w *verifyWork) handOut(ctx context.Context, todo chan<- tokens.Token, pace *pace, limit int) error {
	begun := 0
	for ctx.Err() == nil && !w.stopped() {
		size := verifyChunk
		if limit > 0 {
			size = min(size, limit-begun)
		}
		if size <= 0 {
			return nil
		}
		// What a process that died had taken is free again when it could have done it.
		chunk, err := w.db.TakeVerifications(ctx, w.job.ID, size, w.wait+w.chunk)
		if err != nil {
			return err
		}
		if len(chunk) == 0 {
			if over, err := w.over(ctx); over || err != nil {
				return err
			}
			continue
		}
		for i, token := range chunk {
			if w.stopped() || !w.turn(ctx, token, pace) {
				return w.giveBack(ctx, chunk[i:])
			}
			w.open.Add(1)
			select {
			case todo <- token:
				begun++
			case <-ctx.Done():
				w.open.Done()
				return w.giveBack(ctx, chunk[i:])
			}
		}
	}
	return nil
}

// over reports whether the job is at its end. What this process has begun is finished
// first; what others took, or a dead one, is waited for.
func (w *verifyWork) over(ctx context.Context) (bool, error) {
	w.open.Wait()
	if n := w.silence(); n > 0 {
		w.end(fmt.Errorf("the gateway did not answer about the last %s", counted(n, "token")))
	}
	if w.stopped() {
		return true, nil
	}
	job, err := w.db.FindVerificationJob(ctx, w.job.ID)
	if err != nil || job.Done >= job.Items {
		return true, err
	}
	return false, pauseUntil(ctx, time.Now().Add(time.Second))
}

// turn waits until a token may be asked about. It reports false when ctx has ended.
func (w *verifyWork) turn(ctx context.Context, token tokens.Token, pace *pace) bool {
	if w.unableAt(token.MerchantAccount) != nil {
		return ctx.Err() == nil // it is not asked about
	}
	return pauseUntil(ctx, pace.next(time.Now())) == nil
}

// giveBack returns tokens that were taken and not begun to the job.
func (w *verifyWork) giveBack(ctx context.Context, left []tokens.Token) error {
	for _, token := range left {
		if err := w.finish(ctx, token.ID, ""); err != nil {
			return err
		}
	}
	return nil
}

// verify asks about one token. Once it has begun it is finished: a request that has
// left counts, and its answer is written down. The error is the database's.
func (w *verifyWork) verify(ctx context.Context, token tokens.Token) error {
	if w.unableAt(token.MerchantAccount) != nil {
		return w.settle(ctx, token.ID, tokens.VerificationFailed, tokens.Applied{})
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.wait)
	defer cancel()
	applied, seen, err := w.keeper.Verify(asking, token.ID, w.order)
	var refused *tokens.RefusedError
	var exit *exitError
	switch {
	case err == nil:
		if err := w.finishSilent(ctx); err != nil { // the gateway answers: those were single ones
			return err
		}
		return w.settle(ctx, token.ID, seen.Result, applied)
	case errors.As(err, &exit): // a guard
		w.end(err)
		return w.finish(ctx, token.ID, "")
	case errors.Is(err, tokens.ErrUnsupported):
		w.setUnable(token.MerchantAccount, err)
		return w.settle(ctx, token.ID, tokens.VerificationFailed, tokens.Applied{})
	case errors.As(err, &refused) && refused.Refusal == tokens.RefusedProfile:
		// Credentials or a setting: when it is put right, every token still has its turn.
		w.end(fmt.Errorf("%s: %w", token.MerchantAccount, err))
		return w.finish(ctx, token.ID, "")
	case isSilence(err):
		w.hush(token.ID, err)
		return nil
	case isAboutToken(err):
		w.fault(err)
		return w.settle(ctx, token.ID, tokens.VerificationFailed, tokens.Applied{})
	}
	_ = w.finish(ctx, token.ID, "") // if that fails too, the first error says enough
	return err
}

// isSilence reports whether the same request may be answered later.
func isSilence(err error) bool {
	var told *billing.NotProcessedError
	if errors.As(err, &told) {
		return told.Scope == billing.ScopeNow
	}
	return errors.Is(err, tokens.ErrUnanswered) || errors.Is(err, billing.ErrNotSent) || errors.Is(err, context.DeadlineExceeded)
}

// isAboutToken reports whether an error says something about one token, and nothing
// about the next.
func isAboutToken(err error) bool {
	var refused *tokens.RefusedError
	var told *billing.NotProcessedError
	if errors.As(err, &told) {
		return told.Scope == billing.ScopeCharge || told.Scope == billing.ScopeToken
	}
	return errors.As(err, &refused) || errors.Is(err, tokens.ErrNotFound) || errors.Is(err, tokens.ErrInvalid) ||
		errors.Is(err, billing.ErrInvalid) || errors.Is(err, billing.ErrConflict)
}

// settle writes down what was found.
func (w *verifyWork) settle(ctx context.Context, id tokens.ID, result tokens.VerificationResult, applied tokens.Applied) error {
	if err := w.finish(ctx, id, result); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[result]++
	w.done++
	w.held += applied.Held
	if verificationKills(result) && applied.Token.State == tokens.Invalid {
		w.invalid++
	}
	return nil
}

// verificationKills reports whether a result makes a token invalid.
func verificationKills(result tokens.VerificationResult) bool {
	return tokens.Verification{Result: result}.Effect(tokens.Valid) == tokens.Invalid
}

// finish writes a token's result into the job, or gives it back with none.
func (w *verifyWork) finish(ctx context.Context, id tokens.ID, result tokens.VerificationResult) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return w.db.FinishVerification(ctx, w.job.ID, id, result)
}

// hush notes a request without an answer. Many in a row end the work.
func (w *verifyWork) hush(id tokens.ID, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = append(w.silent, id)
	if len(w.silent) >= silenceLimit && w.stop == nil {
		w.stop = fmt.Errorf("the gateway did not answer %d times in a row: %w", len(w.silent), err)
	}
}

// takeSilent returns the tokens without an answer, and forgets them.
func (w *verifyWork) takeSilent() []tokens.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	silent := w.silent
	w.silent = nil
	return silent
}

// silence is how many requests got no answer since the gateway last answered one.
func (w *verifyWork) silence() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.silent)
}

// finishSilent closes what got no answer while the gateway answers others.
func (w *verifyWork) finishSilent(ctx context.Context) error {
	if w.stopped() {
		return nil // those go back to the job
	}
	for _, id := range w.takeSilent() {
		if err := w.settle(ctx, id, tokens.VerificationFailed, tokens.Applied{}); err != nil {
			return err
		}
	}
	return nil
}

// giveBackSilent returns what got no answer to the job, for whoever goes on with it.
func (w *verifyWork) giveBackSilent(ctx context.Context) error {
	for _, id := range w.takeSilent() {
		if err := w.finish(ctx, id, ""); err != nil {
			return err
		}
	}
	return nil
}

func (w *verifyWork) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop == nil {
		w.stop = why
	}
}

// fail ends the work with an error of the database.
func (w *verifyWork) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
	}
}

func (w *verifyWork) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stop != nil || w.broken != nil
}

func (w *verifyWork) setUnable(account string, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unable[account] = why
}

func (w *verifyWork) unableAt(account string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unable[account]
}

func (w *verifyWork) fault(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := plainWords(err)
	if _, known := w.faults[text]; known || len(w.faults) < maxFaults {
		w.faults[text]++
	}
}

// exit is the exit code that the results ask for; the worst news wins.
func (w *verifyWork) exit() int {
	code := exitDone
	for result := range w.counts {
		switch found := verificationExit(result); {
		case found == exitUnknown:
			return exitUnknown
		case found != exitDone:
			code = found
		}
	}
	return code
}
