package embeddedpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// environment returns our environment without what would change how Postgres'
// programs behave: its own variables (a PGDATA or PGOPTIONS meant for another
// server) and the locale, because we read their messages.
func environment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" {
			continue
		}
		kept = append(kept, entry)
	}
	return append(kept, "LC_ALL=C")
}

// A command is one of Postgres' programs, about to run as the cluster's account.
type command struct {
	*exec.Cmd
	account account
}

func newCommand(ctx context.Context, as account, program string, args ...string) *command {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment()
	cmd.Dir = "/" // ours may be closed to the account, and initdb insists on its own
	cmd.SysProcAttr = as.processAttributes()
	return &command{cmd, as}
}

// path returns how the program will name dir. Below a directory closed to its
// account (a clone in root's home, say) that is not dir's own name: we open the
// directory while we still may, hand the descriptor down, and the program goes
// in through /proc/self/fd. The data thus stays where it was asked for, and
// nobody's permissions are changed. release must be called after the program
// has been started.
func (c *command) path(dir string) (name string, release func(), err error) {
	if c.account.reaches(dir) {
		return dir, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("user %s, who runs Postgres for root, cannot enter the directories above %s: choose another directory", c.account.name, dir)
	}
	opened, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open directory for user %s: %w", c.account.name, err)
	}
	const firstExtra = 3 // after standard input, output and error
	c.ExtraFiles = append(c.ExtraFiles, opened)
	name = fmt.Sprintf("/proc/self/fd/%d", firstExtra+len(c.ExtraFiles)-1)
	return name, func() { opened.Close() }, nil
}

// runQuietly runs the program to its end and puts what it printed into the error.
func (c *command) runQuietly(what string) error {
	output, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", what, err, reasonIn(string(output)))
	}
	return nil
}

// reasonIn finds in a program's output the lines that say what went wrong, and
// joins them into one.
func reasonIn(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	var telling []string
	for _, line := range lines {
		for _, mark := range []string{"FATAL:", "PANIC:", "ERROR:", "error:", "DETAIL:", "HINT:"} {
			if at := strings.Index(line, mark); at >= 0 {
				telling = append(telling, strings.TrimSpace(line[at:]))
				break
			}
		}
	}
	if len(telling) == 0 {
		telling = lines[max(0, len(lines)-3):]
	}
	return strings.Join(telling, " ")
}
