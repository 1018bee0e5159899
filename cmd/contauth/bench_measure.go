package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/bench"
	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/scheduler"
)

// warmUp is the longest that a measured process runs before its window begins.
// At 50 ms a request the pipeline's slow start takes half of it.
const warmUp = time.Second

// smallShare is the small book of G13 as a part of the big one: 80,000 of 1,000,000.
const smallShare = 0.08

// A benchBook is one database of charges or subscriptions.
type benchBook struct {
	kind bench.BookName
	name string // of the database
	dsn  string
	run  scheduler.RunID // of the backlog: one manifest for all turns
}

// benchConfig is the configuration of a measured process: the defaults, with
// what is in flight spread over the merchant accounts.
func benchConfig(dsn, baseURL string, accounts []string, inFlight int) config.Config {
	cfg := config.Default()
	cfg.Database.URL = secret.New(dsn)
	for _, id := range accounts {
		cfg.MerchantAccounts = append(cfg.MerchantAccounts, config.MerchantAccount{
			ID: id, Gateway: config.GatewayAdyen, Environment: config.EnvironmentTest, BaseURL: baseURL,
			ReturnURL: "https://example.invalid/", APIKey: secret.New("bench"), MaxInFlight: max(1, inFlight/len(accounts)),
		})
	}
	return cfg
}

func (b *bencher) accounts() []string {
	ids := make([]string, b.flags.accounts)
	for i := range ids {
		ids[i] = fmt.Sprintf("Bench%02d", i+1)
	}
	return ids
}

func (b *bencher) window() time.Duration {
	return time.Duration(b.flags.seconds * float64(time.Second))
}

func (b *bencher) warm() time.Duration { return min(warmUp, b.window()/2) }

// measureGroup measures series that share a gateway, one after the other, and
// then compares the gateway's ledger with what they say.
func (b *bencher) measureGroup(ctx context.Context, turn int, group []bench.Series) error {
	var gw *benchGateway
	if group[0].NeedsGateway() {
		var err error
		if gw, err = b.startGateway(ctx, group[0].Latency); err != nil {
			return err
		}
		defer gw.stop()
	}
	for _, s := range group {
		sample, err := b.measure(ctx, gw, s, turn)
		if err != nil {
			return fmt.Errorf("turn %d, %s: %w", turn+1, s, err)
		}
		b.result[s.Name] = append(b.result[s.Name], sample)
		b.rates[s.Name] = sample.Rate()
		b.say("turn %d of %d: %-28s %10.0f/s", turn+1, b.flags.turns, s, sample.Rate())
	}
	if gw == nil {
		return nil
	}
	if err := gw.check(ctx); err != nil {
		return fmt.Errorf("turn %d: what was charged is not what the gateway's ledger says: %w", turn+1, err)
	}
	return nil
}

// measure measures one series once.
func (b *bencher) measure(ctx context.Context, gw *benchGateway, s bench.Series, turn int) (bench.Sample, error) {
	b.serial++
	job := bench.Job{
		Series: s, Accounts: b.accounts(), Warm: b.warm(), Window: b.window(), Server: b.server,
		RunID: int64(b.serial), Prefix: fmt.Sprintf("x%d-", b.serial),
	}
	if gw != nil {
		job.BaseURL = gw.baseURL
	}
	if s.Name == "run" && turn == b.flags.turns-1 {
		job.CPUProfile = b.flags.cpuProfile
	}
	if s.Book == "" {
		return b.ask(ctx, gw, job)
	}
	book, err := b.book(ctx, s.Book)
	if err != nil {
		return bench.Sample{}, err
	}
	job.DSN = book.dsn
	if s.SlowCommit {
		if job.DSN, err = bench.WithSlowCommits(book.dsn); err != nil {
			return bench.Sample{}, err
		}
	}
	switch s.Kind {
	case bench.KindPlan:
		// Each turn makes the next month's cycles.
		job.AsOf = time.Now().AddDate(0, turn, 1)
		return b.measurePlan(ctx, job, book)
	case bench.KindRun:
		return b.measureRun(ctx, gw, job, book)
	default:
		return b.measureNaive(ctx, gw, job, book)
	}
}

// measureRun plans a run, lets a process of its own work it, and tells the
// gateway's check what was paid.
func (b *bencher) measureRun(ctx context.Context, gw *benchGateway, job bench.Job, book *benchBook) (sample bench.Sample, err error) {
	var since time.Time
	err = b.withBook(ctx, book, func(s *session, data bench.Book) error {
		id, err := b.plan(ctx, s, data, job.Series, book)
		if err != nil {
			return err
		}
		job.RunID = int64(id)
		if err := data.Vacuum(ctx); err != nil {
			return err
		}
		since, err = data.Now(ctx)
		return err
	})
	if err != nil {
		return sample, err
	}
	before, err := b.site.Commits(ctx, book.name)
	if err != nil {
		return sample, err
	}
	if sample, err = b.ask(ctx, gw, job); err != nil {
		return sample, err
	}
	after, err := b.site.Commits(ctx, book.name)
	if err != nil {
		return sample, err
	}
	if sample.Done > 0 {
		sample.CommitsPerPiece = float64(after-before) / float64(sample.Done)
	}
	return sample, b.withBook(ctx, book, func(s *session, data bench.Book) error {
		if err := gw.expect(ctx, data, job.RunID, since); err != nil {
			return err
		}
		if err := finishRun(ctx, s, job); err != nil {
			return err
		}
		// What the vacuum of this one would take must not fall on the next.
		return data.Vacuum(ctx)
	})
}

// finishRun ends a run whose measured part is over. One that was measured as a
// whole must have come to its end by itself. The backlog's goes on next turn.
func finishRun(ctx context.Context, s *session, job bench.Job) error {
	id := scheduler.RunID(job.RunID)
	if job.Series.Whole {
		report, err := s.db.ReportRun(ctx, id)
		if err != nil {
			return err
		}
		if report.Run.State != scheduler.RunCompleted || len(report.Totals) != 1 || report.Totals[0].Paid.Count != int64(report.Run.Items) {
			return fmt.Errorf("run %d of %d charges is %s, with %+v", id, report.Run.Items, report.Run.State, report.Totals)
		}
		return nil
	}
	if job.Series.Book == bench.BookBacklog {
		return nil
	}
	if err := s.db.AbortRun(ctx, id, "bench", "measured"); err != nil && !errors.Is(err, billing.ErrConflict) {
		return err // a conflict: it came to its end
	}
	return nil
}

// plan makes sure that enough is due, and freezes a manifest for one turn.
func (b *bencher) plan(ctx context.Context, s *session, data bench.Book, series bench.Series, book *benchBook) (scheduler.RunID, error) {
	if book.run != 0 {
		return book.run, nil
	}
	wanted, limit := b.items(series), b.items(series)
	switch series.Book {
	case bench.BookSmall:
		wanted, limit = max(1, int(smallShare*float64(b.flags.backlog))), 0
	case bench.BookBacklog:
		wanted, limit = b.flags.backlog, 0
	}
	if err := data.ForgetRuns(ctx); err != nil {
		return 0, err
	}
	if err := b.topUp(ctx, data, wanted); err != nil {
		return 0, err
	}
	report, err := s.db.PlanRun(ctx, scheduler.PlanRequest{Actor: "bench", Filter: scheduler.Filter{Limit: limit}})
	if err != nil {
		return 0, err
	}
	if series.Book == bench.BookBacklog {
		book.run = report.Run.ID
	}
	return report.Run.ID, nil
}

// items is how many charges last for one turn, at half as much again as the
// last rate, or at the most that can be expected at first.
func (b *bencher) items(s bench.Series) int {
	rate := b.rates[s.Name]
	if rate == 0 {
		rate = 30_000
		if s.Latency > 0 {
			rate = min(rate, float64(s.InFlight)/s.Latency.Seconds())
		}
	}
	seconds := (b.warm() + b.window()).Seconds()
	if s.Whole {
		return min(b.flags.charges, max(100, int(rate/1.5*seconds)))
	}
	return min(b.flags.charges, int(1.5*rate*seconds)+5000)
}

// topUp makes charges until so many are due. The first time it makes the book.
func (b *bencher) topUp(ctx context.Context, data bench.Book, wanted int) error {
	due, all, err := data.Due(ctx)
	if err != nil || due >= wanted {
		return err
	}
	return data.AddCharges(ctx, all+1, wanted-due)
}

func (b *bencher) measureNaive(ctx context.Context, gw *benchGateway, job bench.Job, book *benchBook) (sample bench.Sample, err error) {
	var since time.Time
	err = b.withBook(ctx, book, func(_ *session, data bench.Book) error {
		if err := b.topUp(ctx, data, b.flags.charges); err != nil {
			return err
		}
		if err := data.Vacuum(ctx); err != nil {
			return err
		}
		since, err = data.Now(ctx)
		return err
	})
	if err != nil {
		return sample, err
	}
	if sample, err = b.ask(ctx, gw, job); err != nil {
		return sample, err
	}
	return sample, b.withBook(ctx, book, func(_ *session, data bench.Book) error {
		if err := gw.expect(ctx, data, job.RunID, since); err != nil {
			return err
		}
		return data.Vacuum(ctx)
	})
}

func (b *bencher) measurePlan(ctx context.Context, job bench.Job, book *benchBook) (bench.Sample, error) {
	sample, err := b.ask(ctx, nil, job)
	if err != nil {
		return sample, err
	}
	return sample, b.withBook(ctx, book, func(_ *session, data bench.Book) error { return data.Vacuum(ctx) })
}

// ask runs the measuring process and checks at once that the gateway counted
// as many payments as it did.
func (b *bencher) ask(ctx context.Context, gw *benchGateway, job bench.Job) (bench.Sample, error) {
	var sample bench.Sample
	var before bench.Stats
	var err error
	if gw != nil {
		if before, err = gw.stats(ctx); err != nil {
			return sample, err
		}
	}
	if err := bench.Ask(ctx, b.env.stderr, job, &sample, b.program, "bench-worker"); err != nil {
		return sample, err
	}
	if sample.Window == 0 {
		return sample, errors.New("nothing was done while it was measured")
	}
	if gw == nil {
		return sample, nil
	}
	after, err := gw.stats(ctx)
	if err != nil {
		return sample, err
	}
	counted := after.Minus(before)
	sample.GatewayMicros = counted.CPUSeconds * 1e6 / float64(sample.Done)
	gw.posts += sample.Done
	return sample, counted.Check(sample.Done)
}

// book returns a book's database, made when it is first needed.
func (b *bencher) book(ctx context.Context, name bench.BookName) (*benchBook, error) {
	if book := b.books[name]; book != nil {
		return book, nil
	}
	book := &benchBook{kind: name, name: fmt.Sprintf("contauth_bench_%d_%s", time.Now().UnixNano(), name)}
	var err error
	if book.dsn, err = b.site.Create(ctx, book.name); err != nil {
		return nil, err
	}
	b.say("making the book %q", name)
	err = b.withBook(ctx, book, func(_ *session, data bench.Book) error {
		switch name {
		case bench.BookCycles:
			if err := data.AddSubscriptions(ctx, b.flags.subscriptions); err != nil {
				return err
			}
			return data.Vacuum(ctx)
		case bench.BookMain, bench.BookNaive:
			return b.topUp(ctx, data, b.flags.charges)
		default:
			return nil // what they hold, their plan makes
		}
	})
	if err != nil {
		return nil, err
	}
	b.books[name] = book
	return book, nil
}

// nowhere is the gateway of a book while nobody is measured: nothing listens there.
const nowhere = "http://127.0.0.1:1/adyen/v71"

// withBook opens a book, for as long as it takes to prepare it or to read it:
// while a process is measured, nobody else is connected.
func (b *bencher) withBook(ctx context.Context, book *benchBook, do func(*session, bench.Book) error) error {
	s, err := b.env.connect(ctx, benchConfig(book.dsn, nowhere, b.accounts(), len(b.accounts())))
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.prepare(ctx, true); err != nil {
		return err
	}
	return do(s, bench.Book{DB: s.db.SQL(), Name: book.kind, Accounts: b.accounts()})
}
