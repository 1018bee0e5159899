package gateway

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// A scriptedConn takes what the test says.
type scriptedConn struct {
	net.Conn
	write func([]byte) (int, error)
}

func (c scriptedConn) Write(p []byte) (int, error) { return c.write(p) }

var errDead = errors.New("dead")

func TestSealableConn_seal(t *testing.T) {
	all := func(p []byte) (int, error) { return len(p), nil }
	tests := []struct {
		name  string
		write func([]byte) (int, error)
		want  bool
	}{
		{"nothing was written", nil, true},
		{"all was written", all, false},
		{"a part was written before it died", func([]byte) (int, error) { return 1, errDead }, false},
		{"it was dead already", func([]byte) (int, error) { return 0, errDead }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &sealableConn{Conn: scriptedConn{write: all}}
			c.Write([]byte("an earlier request"))
			mark := c.writes.Load()
			if tt.write != nil {
				c.Conn = scriptedConn{write: tt.write}
				c.Write([]byte("request"))
			}
			if got := c.seal(mark); got != tt.want {
				t.Errorf("seal = %t, want %t", got, tt.want)
			}
			c.Conn = scriptedConn{write: all}
			if _, err := c.Write([]byte("late")); errors.Is(err, errSealed) != tt.want {
				t.Errorf("a later Write = %v", err)
			}
			if tt.want && c.seal(mark) {
				t.Error("sealed twice")
			}
		})
	}
}

// A write that has begun may have left, even if it has not come back.
func TestSealableConn_sealDuringAWrite(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	c := &sealableConn{Conn: scriptedConn{write: func(p []byte) (int, error) {
		close(begun)
		<-end
		return len(p), nil
	}}}
	var writer sync.WaitGroup
	writer.Go(func() { c.Write([]byte("request")) })
	<-begun
	if c.seal(0) {
		t.Error("declared not sent what is being written")
	}
	close(end)
	writer.Wait()
}

// Whatever the order, either the byte left or the seal holds, never both.
func TestSealableConn_sealAgainstAWrite(t *testing.T) {
	for range 1000 {
		left := false
		c := &sealableConn{Conn: scriptedConn{write: func(p []byte) (int, error) {
			left = true
			return len(p), nil
		}}}
		var writer sync.WaitGroup
		writer.Go(func() { c.Write([]byte("request")) })
		sealed := c.seal(0)
		writer.Wait()
		if sealed == left {
			t.Fatalf("sealed = %t and left = %t", sealed, left)
		}
	}
}
