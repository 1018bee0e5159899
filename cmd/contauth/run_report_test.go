package main

import (
	"strings"
	"testing"
)

// An empty plan and an empty run say so, and show neither a hash nor a table.
func TestRun_nothingIsDue(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	d.exec(`DELETE FROM charges`)
	const due = "0 charges, due by the end of 2026-01-31\n"
	for _, step := range []struct{ line, want string }{
		{"run plan --as-of 2026-01-31", "Run 1: " + due + "Nothing is due.\n"},
		{"run start 1", "Run 1 is completed: " + due + "Nothing was due.\n"},
		{"run report 1", "Run 1 is completed: " + due + "Nothing was due.\n"},
	} {
		stdout, stderr, code := d.types(step.line)
		if code != exitNothingDue || stdout != step.want {
			t.Errorf("contauth %s: exit code %d, %q, %q; want %d, %q", step.line, code, stdout, stderr, exitNothingDue, step.want)
		}
	}
}

// What a plan leaves out is shown with the plan, and only once if the run is
// started at once: in its report.
func TestRunStart_showsOnceWhatIsNotCharged(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.importCharges(2, nil)
	w.contauth(exitDone, "charges", "hold", "req-0", "--reason", "waits for the contract")
	if shown := w.contauth(exitRefused, "run", "start"); strings.Count(shown, "Not charged") != 1 {
		t.Errorf("run start without --yes does not show once what is not charged:\n%s", shown)
	}
	shown := w.contauth(exitDone, "run", "start", "1", "--yes")
	plan, report, reported := strings.Cut(shown, "Run 1 is completed")
	if !reported || strings.Contains(plan, "Not charged") || strings.Count(report, "Not charged") != 1 {
		t.Errorf("run start --yes does not show once, in its report, what is not charged:\n%s", shown)
	}
}

// A list has no totals; a report has them even if there are none.
func TestRunJSON_totals(t *testing.T) {
	t.Parallel()
	d := newCommandDesk(t)
	d.exec(`DELETE FROM charges`)
	stdout, _, _ := d.types("run plan --as-of 2026-01-31 --json")
	if !strings.Contains(stdout, `"totals":[]`) {
		t.Errorf("run plan --json of nothing has no totals: %s", stdout)
	}
	if stdout := d.must("run list --json"); strings.Contains(stdout, "totals") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("run list --json: %s, want one line without totals", stdout)
	}
}
