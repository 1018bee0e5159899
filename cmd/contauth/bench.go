package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/bench"
	"github.com/contauth/contauth/internal/embeddedpg"
)

// benchFlags are the flags of contauth bench.
type benchFlags struct {
	quick         bool
	turns         int
	seconds       float64
	rows          []string
	format        string
	database      string
	accounts      int
	charges       int
	backlog       int
	subscriptions int
	cpuProfile    string
}

func newBenchCommand(e *env) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how near contauth comes to what the machine allows",
		Long: `Measure the real pipeline, the one that run start uses, against the same
gateway client without a database, and against simpler programs that do the
same work. All take turns on this machine, each in a process of its own, at a
private Postgres and a sandbox in processes of their own. Postgres keeps its
durability (fsync and synchronous_commit on). Every payment is checked in the
gateway's ledger; a difference ends the measurement with an error.

docs/performance.md says what each row means. Compare ratios, and figures of
one machine: on a busy machine no figure means anything.`,
		Example: `  contauth bench --quick
  contauth bench --rows G1,G9 --turns 3
  contauth bench --format markdown`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.fillQuick(cmd)
			return e.bench(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.quick, "quick", false, "smaller books, fewer and shorter turns: a first look, no measurement")
	flags.IntVar(&f.turns, "turns", 5, "how often each thing is measured; medians are told")
	flags.Float64Var(&f.seconds, "seconds", 3, "how long each is measured, after it has warmed up")
	flags.StringSliceVar(&f.rows, "rows", nil, "only these `ROWS`, such as G1,G5 (default: all)")
	flags.StringVar(&f.format, "format", formatTable, "table, markdown or json")
	flags.StringVar(&f.database, "database", "", "measure at the server of this `DSN`, as a superuser, in databases made for it and dropped again (default: a private one)")
	flags.IntVar(&f.accounts, "accounts", 1, "spread the charges over `N` merchant accounts")
	flags.IntVar(&f.charges, "charges", 200_000, "due charges in the book")
	flags.IntVar(&f.backlog, "backlog", 1_000_000, "due charges in the big book of G7 and G13")
	flags.IntVar(&f.subscriptions, "subscriptions", 100_000, "subscriptions in the book of G15")
	flags.StringVar(&f.cpuProfile, "cpuprofile", "", "write a processor profile of the pipeline's last turn to `FILE`; profiling itself takes memory and time")
	flags.MarkHidden("cpuprofile")
	return cmd
}

// fillQuick makes everything small that was not asked for by a flag of its own.
func (f *benchFlags) fillQuick(cmd *cobra.Command) {
	if !f.quick {
		return
	}
	set := func(name string, apply func()) {
		if !cmd.Flags().Changed(name) {
			apply()
		}
	}
	set("turns", func() { f.turns = 2 })
	set("seconds", func() { f.seconds = 1 })
	set("charges", func() { f.charges = 60_000 })
	set("backlog", func() { f.backlog = 150_000 })
	set("subscriptions", func() { f.subscriptions = 20_000 })
}

func (f *benchFlags) check() error {
	switch {
	case f.turns < 1 || f.seconds <= 0 || f.accounts < 1:
		return usageError("bench: --turns and --accounts must be at least 1, and --seconds above 0")
	case f.charges < 100 || f.backlog < 100 || f.subscriptions < 100:
		return usageError("bench: --charges, --backlog and --subscriptions must be at least 100")
	case f.format != formatTable && f.format != formatMarkdown && f.format != formatJSON:
		return usageError("--format %q is unknown: want table, markdown or json", f.format)
	}
	return nil
}

// bench measures what the flags ask for and prints it.
func (e *env) bench(ctx context.Context, f benchFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	rows, err := bench.Select(f.rows)
	if err != nil {
		return usageError("--rows: %w", err)
	}
	b := &bencher{env: e, flags: f, books: map[bench.BookName]*benchBook{}, result: bench.Result{}, rates: map[string]float64{}}
	defer func() {
		if closing := b.close(); err == nil {
			err = closing
		}
	}()
	machine, err := b.open(ctx)
	if err != nil {
		return err
	}
	series := bench.Needed(rows)
	started := time.Now()
	for turn := range f.turns {
		for _, group := range bench.Groups(series, turn) {
			if err := b.measureGroup(ctx, turn, group); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(e.stderr, "measured in %s; every payment was checked in the gateway's ledger\n", time.Since(started).Round(time.Second))
	report := bench.Report{Machine: machine, Quick: f.quick, Samples: b.result, Notes: b.notes(machine)}
	for _, row := range rows {
		report.Rows = append(report.Rows, row.Line(b.result))
	}
	return e.printBench(report, f.format)
}

// A bencher is one measurement: its server, its books, its gateways one after
// the other, and what it saw.
type bencher struct {
	env     *env
	flags   benchFlags
	program string // this program, to run as children
	dir     string
	private *embeddedpg.Server // nil if --database names another
	site    *bench.Site
	server  int // first process of Postgres; 0 if it cannot be seen
	books   map[bench.BookName]*benchBook
	result  bench.Result
	rates   map[string]float64 // of each series, when last measured
	serial  int                // of gateways and of marks
}

// open starts the server, or connects to the given one.
func (b *bencher) open(ctx context.Context) (bench.Machine, error) {
	machine := bench.ThisMachine(gcSetting(b.env.lookup))
	var err error
	if b.program, err = os.Executable(); err != nil {
		return machine, fmt.Errorf("find this program: %w", err)
	}
	if b.dir, err = os.MkdirTemp("", "contauth-bench-"); err != nil {
		return machine, fmt.Errorf("make a directory to measure in: %w", err)
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // for root: Postgres runs as another user
		return machine, fmt.Errorf("open the directory to measure in: %w", err)
	}
	dsn := b.flags.database
	if dsn == "" {
		b.private, err = embeddedpg.Start(ctx, filepath.Join(b.dir, "postgres"), embeddedpg.Options{
			Log: b.env.logger(), Say: func(line string) { fmt.Fprintln(b.env.stderr, line) },
		})
		if err != nil {
			return machine, err
		}
		dsn = b.private.DSN("postgres")
	}
	if b.site, err = bench.OpenSite(ctx, dsn); err != nil {
		return machine, err
	}
	if b.server, err = b.site.PID(ctx); err != nil {
		return machine, err
	}
	machine.Postgres, machine.Fsync, machine.SynchronousCommit, err = b.site.Settings(ctx)
	return machine, err
}

// close drops the databases, stops the server and removes the directory.
func (b *bencher) close() error {
	var err error
	if b.site != nil {
		err = b.site.Close()
	}
	if b.private != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if stopping := b.private.Stop(ctx); err == nil {
			err = stopping
		}
	}
	if b.dir != "" {
		if removing := os.RemoveAll(b.dir); err == nil {
			err = removing
		}
	}
	return err
}

// notes say what a reader must know before comparing.
func (b *bencher) notes(m bench.Machine) []string {
	var notes []string
	if b.flags.quick {
		notes = append(notes, "a quick look: too short and too small for a comparison")
	}
	if m.Load > 0.5*float64(m.Cores) {
		notes = append(notes, fmt.Sprintf("the machine was busy with other things (load %.1f on %d cores)", m.Load, m.Cores))
	}
	if !m.Durable() {
		notes = append(notes, "the server does not keep what it acknowledges (fsync or synchronous_commit is not on)")
	}
	if b.server == 0 {
		notes = append(notes, "the server's processes cannot be seen from here: their processor time is missing")
	}
	for _, s := range bench.Needed(mustSelect()) {
		short := 0
		for _, sample := range b.result[s.Name] {
			if sample.Short && !s.Whole && s.Kind != bench.KindPlan {
				short++
			}
		}
		if short > 0 {
			notes = append(notes, fmt.Sprintf("%s ran out of charges in %d of %d turns, before its time was over: raise --charges or --backlog", s.Name, short, len(b.result[s.Name])))
		}
	}
	return notes
}

// mustSelect returns all rows.
func mustSelect() []bench.Row {
	rows, _ := bench.Select(nil) // without ids there is nothing to get wrong
	return rows
}

// say tells a person what goes on.
func (b *bencher) say(format string, args ...any) {
	fmt.Fprintln(b.env.stderr, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}
