package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/config"
)

// A fence is a fenced block of a Markdown file.
type fence struct{ language, text string }

func readFences(t *testing.T, path string) []fence {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fences []fence
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		fences = append(fences, fence{m[1], m[2]})
	}
	return fences
}

const readme = "../../README.md"

func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(pages, readme)
}

// A shownCommand is a line that begins with "$ contauth", and what it printed.
type shownCommand struct {
	args   []string
	output []string
}

func shownCommands(text string) []shownCommand {
	var shown []shownCommand
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ contauth ")
		switch {
		case isCommand:
			shown = append(shown, shownCommand{args: strings.Fields(command)})
		case strings.HasPrefix(line, "$ "):
			shown = append(shown, shownCommand{})
		case len(shown) > 0:
			last := &shown[len(shown)-1]
			last.output = append(last.output, line)
		}
	}
	return shown
}

// Every command that a page shows exists, with the flags that it shows.
func TestDocuments_showCommandsThatExist(t *testing.T) {
	inline := regexp.MustCompile("`contauth ([a-z][^`]*)`")
	for _, path := range documents(t) {
		var commands [][]string
		for _, f := range readFences(t, path) {
			for _, c := range shownCommands(f.text) {
				commands = append(commands, c.args)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inline.FindAllStringSubmatch(string(text), -1) {
			commands = append(commands, strings.Fields(m[1]))
		}
		for _, args := range commands {
			if len(args) == 0 {
				continue // another program's
			}
			cmd, rest, err := newRootCommand(&env{}).Find(args)
			if err != nil {
				t.Errorf("%s shows contauth %s: %v", path, strings.Join(args, " "), err)
				continue
			}
			if err := cmd.ParseFlags(withoutPlaceholders(rest)); err != nil {
				t.Errorf("%s shows contauth %s: %v", path, strings.Join(args, " "), err)
			}
			if cmd.HasSubCommands() && len(cmd.Flags().Args()) > 0 {
				t.Errorf("%s shows contauth %s: %s has no such command", path, strings.Join(args, " "), cmd.CommandPath())
			}
		}
	}
}

// withoutPlaceholders gives words such as N a number, so that flags can be parsed.
func withoutPlaceholders(args []string) []string {
	given := make([]string, len(args))
	for i, arg := range args {
		if given[i] = arg; arg == "N" || arg == "ID" {
			given[i] = "1"
		}
	}
	return given
}

// What the README shows is what happens: its configuration and its file, and the
// commands of "By hand" typed one after the other.
func TestReadme_showsWhatHappens(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var commands []shownCommand
	for _, f := range readFences(t, readme) {
		switch f.language {
		case "csv":
			w.write("book.csv", f.text)
		case "yaml":
			if _, err := config.Load(config.Sources{
				File:     "contauth.yaml",
				ReadFile: func(string) ([]byte, error) { return []byte(f.text), nil },
				Lookup:   func(name string) (string, bool) { return "a-key", name == "ADYEN_API_KEY" },
				Environ:  func() []string { return nil },
			}); err != nil {
				t.Errorf("the README's contauth.yaml: %v", err)
			}
		case "console":
			if !strings.Contains(f.text, "make demo") && !strings.Contains(f.text, "contauth sandbox") {
				commands = append(commands, shownCommands(f.text)...)
			}
		}
	}
	if len(commands) < 6 {
		t.Fatalf("the README shows %d commands to type, which cannot be all", len(commands))
	}
	for _, c := range commands {
		p := w.start(c.args...)
		if code := p.wait(); code == exitFailure || code == exitUsage {
			t.Fatalf("contauth %s: exit %d\n%s", strings.Join(c.args, " "), code, p.stderr.String())
		}
		got := strings.Split(strings.TrimRight(p.stdout.String(), "\n"), "\n")
		var progress []string
		for _, line := range strings.Split(strings.TrimSpace(p.stderr.String()), "\n") {
			if line != "" {
				progress = append(progress, line)
			}
		}
		if diff := cmp.Diff(steady(c.output), steady(withProgress(got, progress))); diff != "" {
			t.Errorf("contauth %s (-README +now):\n%s", strings.Join(c.args, " "), diff)
		}
	}
}

// withProgress puts what went to standard error where a person sees it: before
// the report of the run.
func withProgress(output, progress []string) []string {
	var merged []string
	for _, line := range output {
		if strings.Contains(line, " is completed: ") && len(progress) > 0 {
			merged = append(merged, progress[len(progress)-1]) // a slow machine prints more of them
		}
		merged = append(merged, line)
	}
	return merged
}

var unsteady = regexp.MustCompile(`clock says [0-9:Z -]+|, [0-9]+/s`)

// steady replaces what differs from one time to the next.
func steady(lines []string) []string {
	same := make([]string, len(lines))
	for i, line := range lines {
		same[i] = unsteady.ReplaceAllString(line, "*")
	}
	return same
}

// The README's table of settings has each setting with its default.
func TestReadme_listsEverySetting(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	for key, want := range map[string]string{
		"database.url": c.Database.URL.Reveal(), "timing.lease": "90s", "timing.gateway_timeout": "60s",
		"timing.claim_ahead": "2s", "timing.replays": "5s,30s,2m", "timing.flush": "20ms",
	} {
		if !strings.Contains(string(text), "| `"+key+"` | `"+want+"` |") {
			t.Errorf("the README does not list %s with default %s", key, want)
		}
	}
	if got := []string{c.Timing.Lease.String(), c.Timing.GatewayTimeout.String(), c.Timing.ClaimAhead.String(), c.Timing.Flush.String()}; !cmp.Equal(got, []string{"1m30s", "1m0s", "2s", "20ms"}) {
		t.Errorf("the defaults of timing are %v: change the README and this test", got)
	}
}

// Links between the pages lead somewhere.
func TestDocuments_linkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, path := range append(documents(t), "../../CHANGELOG.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	}
}
