package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/internal/embeddedpg"
	"github.com/contauth/contauth/migrations"
)

// demoFlags are the flags of contauth demo.
type demoFlags struct {
	dir           string
	subscriptions int
	charges       int
	keep          bool
}

// The least for which the story can be told: each kind of subscription and each
// kind of answer occurs.
const (
	leastDemoSubscriptions = 100
	leastDemoCharges       = 10
)

func newDemoCommand(e *env) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Charge a sample book at a simulated gateway, from nothing to a proven result",
		Long: `Charge a sample book at a simulated gateway, from nothing to a proven result.

It starts a private Postgres and a sandbox, writes a book of subscriptions and
charges to files, and then types the commands that anybody would: import, plan,
charge, report, check. One answer of the gateway is lost on purpose. At a second
gateway cards die, and come back when their shoppers enter others.

Everything lies in a temporary directory, which is removed at the end; with --dir
or --keep it stays. Settings of the environment (CONTAUTH_…) are not read.

Exit 0 if all went as told, 1 if not.`,
		Example: "  contauth demo\n  contauth demo --subscriptions 500 --charges 50 --dir ./try",
		Args:    exactArgs(0, "flags"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), e, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "`DIR` to work in; it stays, and a later demo begins anew in it")
	flags.IntVar(&f.subscriptions, "subscriptions", 10_000, "how many subscriptions the book has")
	flags.IntVar(&f.charges, "charges", 500, "how many unscheduled charges the book has")
	flags.BoolVar(&f.keep, "keep", false, "keep the temporary directory")
	return cmd
}

func runDemo(ctx context.Context, e *env, f demoFlags) error {
	if f.subscriptions < leastDemoSubscriptions || f.charges < leastDemoCharges {
		return usageError("the story needs at least --subscriptions %d and --charges %d", leastDemoSubscriptions, leastDemoCharges)
	}
	if e.json {
		return usageError("demo takes no --json: its story is for people, and the commands that it types take it")
	}
	dir, remove, err := f.prepareDir()
	if err != nil {
		return err
	}
	d := &demo{env: e, dir: dir, stays: !remove, began: time.Now(), book: newDemoBook(f.subscriptions, f.charges)}
	err = d.perform(ctx)
	if remove {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if ctx.Err() != nil {
		return errors.New("demo: interrupted; nothing runs any more")
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// demoMark begins the configuration that a demo writes. A directory without it
// is somebody's own, and left alone.
const demoMark = "# Written by contauth demo."

// prepareDir returns the directory to work in, absolute, and whether it is to be
// removed at the end.
func (f *demoFlags) prepareDir() (dir string, remove bool, err error) {
	if f.dir == "" {
		if dir, err = os.MkdirTemp("", "contauth-demo-"); err != nil {
			return "", false, err
		}
		// Postgres does not run as root, so another user must get through to its data.
		return dir, !f.keep, os.Chmod(dir, 0o755)
	}
	if dir, err = filepath.Abs(f.dir); err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false, err
	}
	written, err := os.ReadFile(filepath.Join(dir, demoConfig))
	if len(entries) > 0 && (err != nil || !strings.HasPrefix(string(written), demoMark)) {
		return "", false, usageError("--dir %s: it is not empty, and no demo wrote what is in it: give another", f.dir)
	}
	return dir, false, nil
}

// A demo is one performance of the story. It runs the very commands that it
// shows, so that it cannot differ from them.
type demo struct {
	env     *env
	dir     string // absolute
	stays   bool   // the directory is there afterwards
	began   time.Time
	book    demoBook
	gateway string // the sandbox's base URL
	lost    string // the reference of the charge whose answer is lost
	step    int
}

// The files of the demo, in its directory.
const (
	demoConfig        = "contauth.yaml"
	demoKey           = "api-key"
	demoDatabase      = "data"
	demoLedger        = "ledger"
	demoSubscriptions = "subscriptions.csv"
	demoCharges       = "charges.csv"
)

// perform sets the stage, tells the story, and clears up whatever happened.
func (d *demo) perform(ctx context.Context) (err error) {
	d.say("contauth demo: %d subscriptions and %d unscheduled charges, from two files to a proven result.",
		len(d.book.subscriptions), len(d.book.charges))

	d.headline("A database, a gateway, a configuration",
		"All of it on this machine, in %s.", d.dir)
	server, err := embeddedpg.Start(ctx, d.path(demoDatabase), embeddedpg.Options{
		Log: d.env.logger(), Say: func(line string) { fmt.Fprintln(d.env.stderr, line) },
	})
	if err != nil {
		return err
	}
	// Held from here to the end: otherwise each command would start it anew.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, server.Stop(ctx))
	}()
	if err := os.RemoveAll(d.path(demoLedger)); err != nil { // of an earlier demo
		return err
	}
	stop, err := d.startSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := d.configure(ctx); err != nil {
		return err
	}
	return d.tell(ctx)
}

// configure writes the configuration and the book, and empties the database of
// what an earlier demo in the same directory left.
func (d *demo) configure(ctx context.Context) error {
	text := fmt.Sprintf(`database: {url: "embedded://%s"}
timing: {replays: [1s, 5s, 30s]}   # sooner than the default: a demo is short
merchant_accounts:
  - {id: %s, gateway: adyen, environment: test, base_url: "%s/adyen/v71",
     return_url: "https://example.invalid/", api_key: "file:%s"}
  - {id: %s, gateway: mastercard, environment: test, merchant_id: %s,
     base_url: "%s%s", api_password: "file:%s"}
`, d.path(demoDatabase), demoAccount, d.gateway, d.path(demoKey), demoCardsAccount, demoCardsMerchant, d.gateway, demoCardsPath, d.path(demoPassword))
	if err := os.WriteFile(d.path(demoConfig), []byte(demoMark+"\n"+text), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(d.path(demoKey), []byte("any-key-is-good-at-the-sandbox\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(d.path(demoPassword), []byte("any-password-is-good-at-the-sandbox\n"), 0o600); err != nil {
		return err
	}
	d.typed("cat %s", demoConfig)
	fmt.Fprint(d.env.stdout, text)
	if err := d.book.writeSubscriptions(d.path(demoSubscriptions)); err != nil {
		return err
	}
	if err := d.book.writeCharges(d.path(demoCharges)); err != nil {
		return err
	}
	if err := writeCSV(d.path(demoCards), demoSubscriptionColumns, cardsBook()); err != nil {
		return err
	}
	return d.emptyDatabase(ctx)
}

func (d *demo) emptyDatabase(ctx context.Context) error {
	e := d.command(nil)
	cfg, err := e.loadConfig()
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	for {
		newest, err := newestMigration(ctx, s)
		if err != nil || newest == "" {
			return err
		}
		if err := migrations.Down(ctx, s.db.SQL()); err != nil {
			return fmt.Errorf("take back what an earlier demo stored: %w", err)
		}
	}
}

// startSandbox runs contauth sandbox beside the demo, and returns what ends it.
func (d *demo) startSandbox(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	e := d.command([]string{"sandbox", "--listen", "127.0.0.1:0", "--data", d.path(demoLedger)})
	said := &firstLine{line: make(chan string, 1)}
	e.stdout = said
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, e) }()
	stop = func() error {
		cancel()
		if code := <-ended; code != exitDone {
			return fmt.Errorf("the sandbox ended with exit %d", code)
		}
		return nil
	}
	select {
	case code := <-ended:
		cancel()
		return nil, fmt.Errorf("the sandbox did not start (exit %d)", code)
	case line := <-said.line:
		d.typed("contauth sandbox --listen 127.0.0.1:0 --data %s &", demoLedger)
		d.say("%s", line)
		for word := range strings.FieldsSeq(line) {
			if strings.HasPrefix(word, "http://") {
				d.gateway = word
			}
		}
		return stop, nil
	}
}

// A firstLine passes on the first line that is written to it.
type firstLine struct {
	text []byte
	line chan string
}

func (f *firstLine) Write(p []byte) (int, error) {
	before, _, whole := strings.Cut(string(append(f.text, p...)), "\n")
	f.text = append(f.text, p...)
	if whole {
		select {
		case f.line <- before:
		default: // it was passed on already
		}
	}
	return len(p), nil
}

// command is the environment of one command of the story: its settings come from
// the demo's own file, whatever the person who tries it has in theirs.
func (d *demo) command(args []string) *env {
	e := *d.env
	e.args, e.exit, e.json, e.inDemo = slices.Clone(args), exitDone, false, true
	e.configPath = d.path(demoConfig)
	e.lookup = func(name string) (string, bool) {
		if isSetting(name) {
			return "", false
		}
		return d.env.lookup(name)
	}
	e.environ = func() []string { return slices.DeleteFunc(slices.Clone(d.env.environ()), isSetting) }
	return &e
}

// isSetting reports whether a variable, or its NAME=value, is one of contauth's.
func isSetting(variable string) bool { return strings.HasPrefix(variable, "CONTAUTH_") }

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// headline begins a step of the story.
func (d *demo) headline(title, text string, args ...any) {
	d.step++
	d.say("\n%d. %s\n   %s", d.step, title, fmt.Sprintf(text, args...))
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.env.stdout, format+"\n", args...) }

// typed shows a command line.
func (d *demo) typed(format string, args ...any) { d.say("\n$ "+format, args...) }

// contauth shows a command and runs it. Another exit code than wanted is an error.
func (d *demo) contauth(ctx context.Context, wanted int, args ...string) error {
	d.typed("contauth %s", commandLine(args))
	code := run(ctx, d.command(d.withPaths(args)))
	if code != exitDone {
		d.say("(exit %d: %s)", code, exitMeanings[code])
	}
	if code != wanted && ctx.Err() == nil {
		return fmt.Errorf("contauth %s ended with exit %d, and not with %d", strings.Join(args, " "), code, wanted)
	}
	return ctx.Err()
}

// commandLine is how a person would type the arguments.
func commandLine(args []string) string {
	typed := slices.Clone(args)
	for i, arg := range typed {
		if strings.ContainsRune(arg, ' ') {
			typed[i] = "'" + arg + "'"
		}
	}
	return strings.Join(typed, " ")
}

// withPaths gives a shown command line what it has in the demo's directory: its
// files, and the configuration.
func (d *demo) withPaths(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == demoSubscriptions || arg == demoCharges || arg == demoCards {
			args[i] = d.path(arg)
		}
	}
	return append(args, "--config", d.path(demoConfig))
}
