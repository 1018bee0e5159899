package arch_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user of the image: a number, since there is no /etc/passwd.
const nobody = 65532

// The image is scratch: what the program needs beyond itself is not there. So
// the program is built as the image builds it and run where nothing else is.
func TestImage_theProgramRunsAlone(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "contauth")
	build := exec.CommandContext(t.Context(), "make", "-C", root, "build", "BIN="+program, "VERSION=v0.0.0-image")
	// A test under `make test` must not inherit that make's flags.
	build.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	t.Run("no loader and no library", func(t *testing.T) { checkStatic(t, program) })
	t.Run("time zones inside", func(t *testing.T) { checkZones(t, program) })
	t.Run("knows its version", func(t *testing.T) {
		if out := runAlone(t, program, "--version"); !strings.Contains(out, "v0.0.0-image") {
			t.Errorf("--version: got %q, want the version it was built with", out)
		}
	})
	t.Run("reads its settings", func(t *testing.T) {
		if out := runAlone(t, program, "config", "show"); !strings.Contains(out, "lease: 1m30s") {
			t.Errorf("config show: got %q, want the defaults", out)
		}
	})
}

// runAlone runs the program with its own directory as the root of all files and
// as an unprivileged user. Only root can change a process's root: anyone else
// runs it in place, in an empty environment, and the checks of the file
// (checkStatic, checkZones) say that it asks for nothing more.
func runAlone(t *testing.T, program string, args ...string) string {
	t.Helper()
	dir := filepath.Dir(program)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, []string{"USER=contauth", "HOME=/"}
	if os.Geteuid() == 0 {
		for _, path := range []string{dir, program} { // whatever the umask
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Path, cmd.Dir = "/contauth", "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("contauth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func checkStatic(t *testing.T, program string) {
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Error("the program asks for a loader")
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if len(libraries) > 0 {
		t.Errorf("the program needs the libraries %q", libraries)
	}
}

// checkZones looks for names that only the zone archive of time/tzdata has.
func checkZones(t *testing.T, program string) {
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"America/Argentina/ComodRivadavia", "Antarctica/Troll"} {
		if !bytes.Contains(text, []byte(zone)) {
			t.Errorf("zone %s is not in the program: is time/tzdata still imported?", zone)
		}
	}
}
