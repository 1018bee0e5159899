package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// liveWorld is a directory with a private database and a live account whose
// gateway cannot be reached.
func liveWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dialect: adyenDialect, dir: t.TempDir()}
	w.configureLive("a")
	return w
}

func (w *world) configureLive(database string) {
	w.t.Helper()
	w.write("contauth.yaml", fmt.Sprintf(`
database: {url: "embedded://%s"}
timing: {lease: 4s, gateway_timeout: 1s, claim_ahead: 500ms, replays: [100ms]}
merchant_accounts:
  - {id: DemoEU, gateway: adyen, environment: live, base_url: "https://127.0.0.1:1/v71", return_url: "https://example.invalid/", api_key: "env:ADYEN_API_KEY"}
`, filepath.Join(w.dir, database)))
}

// A copied data directory, started again with live credentials, refuses, says why
// and what to type. So does one that nobody ever bound.
func TestDoctor_CopiedDataDirectory(t *testing.T) {
	t.Parallel()
	w := liveWorld(t)
	w.importCharges(2, nil)
	id := w.plan()

	refused := func(command []string, says ...string) {
		t.Helper()
		p := w.start(command...)
		if code := p.wait(); code != exitRefused {
			t.Fatalf("contauth %v: exit %d\n%s%s", command, code, p.stdout.String(), p.stderr.String())
		}
		text := p.stderr.String()
		for _, part := range append(says, "contauth doctor --bind --reason TEXT") {
			if !strings.Contains(text, part) {
				t.Errorf("contauth %v does not say %q:\n%s", command, part, text)
			}
		}
		if lines := strings.Count(strings.TrimSpace(text), "\n"); lines > 1 { // the embedded server may say where it is
			t.Errorf("contauth %v says more than a line:\n%s", command, text)
		}
	}
	start, serve := []string{"run", "start", id, "--yes"}, []string{"serve", "--listen", ""}
	refused(start, "nobody has bound it yet")
	refused(serve, "nobody has bound it yet")

	w.contauth(exitUsage, "doctor", "--bind")
	w.contauth(exitDone, "doctor", "--bind", "--reason", "this is the only one")
	bound := func(when string) {
		t.Helper()
		// The gateway is not there, which doctor says too.
		if out := w.contauth(exitFailure, "doctor"); !strings.Contains(out, "ok      binding") {
			t.Errorf("%s:\n%s", when, out)
		}
	}
	bound("after it was bound")

	if out, err := exec.Command("cp", "-a", filepath.Join(w.dir, "a"), filepath.Join(w.dir, "b")).CombinedOutput(); err != nil {
		t.Fatalf("copy the data directory: %v\n%s", err, out)
	}
	w.configureLive("b")
	refused([]string{"run", "start", "--yes"}, "it is at")
	refused(serve, "it is at")

	w.configureLive("a")
	bound("the original, after it was copied")
}

// Doctor looks at everything and says what is not in order.
func TestDoctor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	out := w.contauth(exitDone, "doctor")
	for _, part := range []string{"configuration", "database", "clock", "binding", "gateway of DemoEU"} {
		if !strings.Contains(out, part) {
			t.Errorf("doctor says nothing of %s:\n%s", part, out)
		}
	}
	if strings.Contains(out, "NOT OK") {
		t.Errorf("a sound world:\n%s", out)
	}
	w.contauth(exitRefused, "doctor", "--bind", "--reason", "there is nothing live")
	w.sandbox.kill()
	if out := w.contauth(exitFailure, "doctor"); !strings.Contains(out, "NOT OK  gateway of DemoEU") {
		t.Errorf("without a gateway:\n%s", out)
	}
}
