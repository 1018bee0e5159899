package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// runDemoCommand runs contauth demo as main does, in an environment that must
// not matter.
func runDemoCommand(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, log bytes.Buffer
	e := &env{
		args: append([]string{"demo"}, args...), stdin: strings.NewReader(""), stdout: &out, stderr: &log,
		lookup: func(name string) (string, bool) {
			if name == "CONTAUTH_DATABASE_URL" {
				return "postgres://nobody@127.0.0.1:1/somebodys_own?sslmode=disable", true
			}
			return os.LookupEnv(name)
		},
		environ: func() []string { return append(os.Environ(), "CONTAUTH_TIMING_LEASSE=misspelt") },
	}
	code = run(ctx, e)
	return code, out.String(), log.String()
}

func TestDemo_goesAsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	args := []string{"--dir", dir, "--subscriptions", "100", "--charges", "12"}
	code, story, log := runDemoCommand(t.Context(), args...)
	if code != exitDone {
		t.Fatalf("exit %d, want %d\n%s%s", code, exitDone, story, log)
	}
	for _, want := range []string{
		"contauth demo: 100 subscriptions and 12 unscheduled charges",
		"$ contauth import subscriptions subscriptions.csv",
		"Preview (nothing is stored)",
		"$ contauth run start --as-of 2027-01-31 --yes",
		"(exit 4: some were declined)",
		"Expired Card",
		"answer_missing",
		"One line: one payment.",
		"2027-01-31: 24 of 24 month-end subscriptions paid, each once.",
		"2027-02-28: 24 of 24 month-end subscriptions paid, each once.",
		"2027-03-31: 24 of 24 month-end subscriptions paid, each once.",
		"Made twice: none.",
		"All went as told",
		"contauth sandbox --listen",
	} {
		if !strings.Contains(story, want) {
			t.Errorf("the story does not say %q", want)
		}
	}
	t.Run("a later demo begins anew in its directory", func(t *testing.T) {
		code, again, log := runDemoCommand(t.Context(), args...)
		if code != exitDone {
			t.Errorf("exit %d, want %d\n%s%s", code, exitDone, again, log)
		}
	})
}

func TestDemo_refuses(t *testing.T) {
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, "contauth.yaml"), []byte("database: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"a directory that somebody else filled", []string{"--dir", own}, "no demo wrote what is in it"},
		{"a book too small for the story", []string{"--subscriptions", "3"}, "needs at least --subscriptions 100"},
		{"an argument", []string{"now"}, "takes flags and nothing else"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, log := runDemoCommand(t.Context(), tt.args...)
			if code != exitUsage || !strings.Contains(log, tt.want) {
				t.Errorf("exit %d, %q; want exit %d, with %q", code, log, exitUsage, tt.want)
			}
		})
	}
}

func TestDemo_interruptedLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, log := runDemoCommand(ctx, "--subscriptions", "100", "--charges", "12")
	if code != exitFailure || !strings.Contains(log, "interrupted") {
		t.Errorf("exit %d, %q; want exit %d and to be told of the interruption", code, log, exitFailure)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

func TestDemoBook_isTheSameEachTime(t *testing.T) {
	if diff := cmp.Diff(newDemoBook(500, 40), newDemoBook(500, 40), cmp.AllowUnexported(demoBook{})); diff != "" {
		t.Errorf("two books of one size differ:\n%s", diff)
	}
}

func TestDemoBook_hasWhatTheStoryNeeds(t *testing.T) {
	book := newDemoBook(leastDemoSubscriptions, leastDemoCharges)
	seen := map[string]int{}
	for i, row := range book.subscriptions {
		if len(row) != len(demoSubscriptionColumns) {
			t.Fatalf("row %d has %d cells, want %d", i, len(row), len(demoSubscriptionColumns))
		}
		seen[row[6]]++  // currency
		seen[row[13]]++ // description: the kind
		if _, ending, refused := strings.Cut(row[3], "."); refused {
			seen[ending]++
		}
	}
	for _, want := range []string{"EUR", "USD", "JPY", "KWD", "Month end", "Monthly", "Quarterly", "Every four weeks", "Yearly", "Weekly",
		"refuse12", "refuse5", "refuse9", "refuse20"} {
		if seen[want] == 0 {
			t.Errorf("the smallest book has no %s", want)
		}
	}
	if got := book.charges[0][3]; !strings.HasSuffix(got, demoExpired) {
		t.Errorf("the first charge's token is %s, want one that has expired", got)
	}
}

// Whoever began on a 31st is charged on the last day of each month, once, in
// whatever zone and currency, and whoever began on a 30th or 29th likewise.
func TestRun_chargesMonthEndsOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.contauth(exitDone, "clock", "set", "2027-01-31T00:30:00Z")
	const each = 3
	var file bytes.Buffer
	rows := csv.NewWriter(&file)
	rows.Write(demoSubscriptionColumns)
	for i, zone := range []string{"Pacific/Auckland", "Europe/Berlin", "America/New_York", "Asia/Kolkata"} {
		for j := range each {
			n := i*each + j
			rows.Write([]string{
				fmt.Sprintf("sub-%d", n), "DemoEU", fmt.Sprintf("shopper-%d", n), fmt.Sprintf("TKmonthend%d", n), "", "1000", "EUR",
				"month", "1", []string{"2027-01-31T23:30", "2026-08-31T02:30", "2024-01-31T15:00"}[j], zone, "", "", "",
			})
		}
	}
	rows.Flush()
	w.contauth(exitDone, "import", "subscriptions", w.write("book.csv", file.String()))

	days := []string{"2027-01-31", "2027-02-28", "2027-03-31"}
	for i, day := range days {
		w.contauth(exitDone, "clock", "set", day+"T00:30:00Z")
		w.contauth(exitDone, "run", "start", "--as-of", day, "--yes")
		w.contauth(exitNothingDue, "run", "plan", "--as-of", day) // nobody a second time
		charged := map[string]int{}
		rows, err := w.db.Query(`
			SELECT s.reference FROM charges c JOIN subscriptions s ON s.id = c.subscription_id
			 WHERE c.period_start = $1 AND c.state = 'paid'`, day)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var reference string
			if err := rows.Scan(&reference); err != nil {
				t.Fatal(err)
			}
			charged[reference]++
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for n := range 4 * each {
			want[fmt.Sprintf("sub-%d", n)] = 1
		}
		if diff := cmp.Diff(want, charged); diff != "" {
			t.Errorf("paid for %s (-want +got):\n%s", day, diff)
		}
		if got := len(w.ledger()); got != (i+1)*4*each {
			t.Errorf("after %s the gateway has %d payments, want %d", day, got, (i+1)*4*each)
		}
	}
	w.requireChargedOnce(len(days) * 4 * each)
}
