package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/robfig/cron/v3"

	"github.com/contauth/contauth/billing"
)

// A FireStore keeps schedules and what became of their fires. Any number of
// daemons may call it at once: there is no leader.
type FireStore interface {
	Planner
	// RecordFires puts on record every fire up to business now, and lets those go
	// on that waited for an unfinished run.
	RecordFires(ctx context.Context) error
	// TakeFire gives this process the oldest fire without a run for a while. It
	// reports false if there is none.
	TakeFire(ctx context.Context, lease time.Duration) (FireToPlan, bool, error)
	// PostponeFire lets a fire that could not be planned be tried again later.
	PostponeFire(ctx context.Context, fire FireToPlan, wait time.Duration, cause string) error
	// StartFiredRuns starts the runs of fires that need no approval, or have it,
	// and returns them.
	StartFiredRuns(ctx context.Context) ([]Run, error)
}

// A DaemonStore is what a daemon needs beside its runner's Store.
type DaemonStore interface {
	FireStore
	Inbox
	DayStore
}

// DaemonOptions are what a daemon tells others. Zero values tell nobody.
type DaemonOptions struct {
	// DayCompleted is called once when everything that fell due on a day turns out
	// to be accounted for.
	DayCompleted func(context.Context, DayReport) error
	// Figures reads what the database says about the whole book; what is late in it
	// is logged as an error.
	Figures func(context.Context) (Figures, error)
}

// A Daemon fires schedules and works runs until it is stopped.
type Daemon struct {
	store  DaemonStore
	runner *Runner
	opts   DaemonOptions
	logger hclog.Logger
}

// NewDaemon returns the daemon of one process.
func NewDaemon(store DaemonStore, runner *Runner, opts DaemonOptions, logger hclog.Logger) *Daemon {
	return &Daemon{store: store, runner: runner, opts: opts, logger: logger.Named("daemon")}
}

// Run fires schedules, works every running run and resolves what is unknown,
// until ctx ends. Then it takes no more, and returns when what was sent is
// answered and written down.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// In robfig/cron v3.0.1 the order matters: with Recover outside, a panic would
	// leave SkipIfStillRunning's token taken, and the job would never run again.
	log := cronLog{d.logger}
	jobs := cron.New(cron.WithLogger(log), cron.WithChain(cron.SkipIfStillRunning(log), cron.Recover(log)))
	jobs.Schedule(cron.Every(time.Second), cron.FuncJob(func() { d.fire(ctx) }))
	jobs.Schedule(cron.Every(time.Second), cron.FuncJob(func() { d.plan(ctx) }))
	jobs.Schedule(cron.Every(watchEvery), cron.FuncJob(func() { d.watch(ctx) }))
	jobs.Schedule(cron.Every(dayEvery), cron.FuncJob(func() { d.closeDays(ctx) }))
	jobs.Start()
	var others sync.WaitGroup
	others.Go(func() { d.read(ctx) })
	others.Go(func() { d.closeDays(ctx) }) // a minute before its first turn
	err := d.runner.Serve(ctx)
	stop() // a daemon that cannot work must not stay up
	<-jobs.Stop().Done()
	others.Wait()
	return err
}

// fire records what has fired and starts what may start.
func (d *Daemon) fire(ctx context.Context) {
	if err := d.store.RecordFires(ctx); err != nil {
		d.warn(ctx, "cannot look for schedules that fire", err)
		return
	}
	started, err := d.store.StartFiredRuns(ctx)
	if err != nil {
		d.warn(ctx, "cannot start the runs of schedules", err)
		return
	}
	for _, run := range started {
		d.logger.Info("run started", "run_id", run.ID, "schedule", run.Schedule, "fire_at", run.FireAt, "items", run.Items)
	}
}

// plan makes the runs of all fires that have none.
func (d *Daemon) plan(ctx context.Context) {
	for ctx.Err() == nil {
		fire, ok, err := d.store.TakeFire(ctx, d.runner.opts.Lease)
		if err != nil {
			d.warn(ctx, "cannot look for fires to plan", err)
			return
		}
		if !ok {
			return
		}
		d.planFire(ctx, fire)
	}
}

// longestPlanWait is how long a fire that cannot be planned waits at most.
const longestPlanWait = 5 * time.Minute

func (d *Daemon) planFire(ctx context.Context, fire FireToPlan) {
	logger := d.logger.With("schedule", fire.Schedule.Name, "fire_at", fire.FireAt)
	report, err := d.store.PlanRun(ctx, fire.PlanRequest())
	switch {
	case err == nil && report.Run.ID == 0:
		logger.Debug("nothing is due")
	case err == nil:
		logger.Info("run planned", "run_id", report.Run.ID, "items", report.Run.Items, "state", report.Run.State)
	case errors.Is(err, billing.ErrConflict):
		logger.Debug("another daemon planned this fire")
	case ctx.Err() != nil:
		// Another daemon may plan it at once.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := d.store.PostponeFire(ctx, fire, 0, ""); err != nil {
			logger.Warn("a fire is planned when its lease ends", "error", err)
		}
	default:
		wait := min(time.Second<<min(fire.Tries, 10), longestPlanWait)
		logger.Error("a fire cannot be planned", "error", err, "again_in", wait)
		if err := d.store.PostponeFire(ctx, fire, wait, err.Error()); err != nil {
			d.warn(ctx, "a fire is tried again when its lease ends", err)
		}
	}
}

func (d *Daemon) warn(ctx context.Context, message string, err error) {
	if ctx.Err() == nil {
		d.logger.Warn(message, "error", err)
	}
}
