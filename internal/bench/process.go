package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end when it is told to.
const stopTime = 15 * time.Second

// newCommand prepares a child in a process group of its own, so that Ctrl-C in
// a terminal reaches us alone and the children end in our order. It is told to
// end with ctx, killed if it does not, and killed with us.
func newCommand(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	return cmd
}

// Ask runs a process that reads one JSON value from its standard input and
// writes one to its standard output. What it says on standard error goes to
// stderr.
func Ask(ctx context.Context, stderr io.Writer, question, answer any, program string, args ...string) error {
	input, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("ask a process: %w", err)
	}
	var output bytes.Buffer
	cmd := newCommand(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &output, stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the measuring process ended: %w", err)
	}
	if err := json.Unmarshal(output.Bytes(), answer); err != nil {
		return fmt.Errorf("read the measuring process: %w", err)
	}
	return nil
}

// A Server is a child that runs until it is stopped.
type Server struct {
	cmd  *exec.Cmd
	stop context.CancelFunc
	read chan struct{} // closed when its standard output has ended
}

// StartServer starts a process that writes one line of JSON when it is ready,
// and reads that line into hello.
func StartServer(ctx context.Context, stderr io.Writer, hello any, program string, args ...string) (*Server, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &Server{cmd: newCommand(ctx, program, args...), stop: stop, read: make(chan struct{})}
	s.cmd.Stderr = stderr
	output, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	lines := bufio.NewReader(output)
	line, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, hello)
	}
	go func() {
		defer close(s.read)
		_, _ = io.Copy(io.Discard, lines) // until it ends
	}()
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return s, nil
}

// Stop tells the process to end and waits for it.
func (s *Server) Stop() {
	s.stop()
	<-s.read
	_ = s.cmd.Wait() // it was told to end: how it ended does not matter
}
