package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// drainTime is how long Serve lets requests at work come to their end.
const drainTime = 5 * time.Second

// Listen opens a TCP address for Serve. It must be one of this machine's
// loopback addresses: everybody who reaches the sandbox can set its clock and
// make it lie.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("sandbox: listen address %q is not host:port, such as 127.0.0.1:8090", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("sandbox: listen address %q is not a loopback address; the sandbox has no lock on its controls, so it listens on 127.0.0.1, [::1] or localhost only", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return l, nil
}

// Serve answers on l until ctx ends. Then it lets go of everything that is
// held, gives requests at work five seconds, and returns nil. The ledger stays
// open; Close closes it. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s,
		// No timeouts: this server keeps clients waiting on purpose, for as long
		// as a test wants, and only programs of this machine reach it.
		ErrorLog: s.log.StandardLogger(nil),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.stopWaiting()
		draining, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if err := server.Shutdown(draining); err != nil {
			server.Close()
		}
		stopped <- nil
	})
	err := server.Serve(holdListener{l, &s.holds})
	if stop() { // it ended before ctx did
		server.Close()
		return fmt.Errorf("sandbox: %w", err)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("sandbox: %w", err)
	}
	return <-stopped
}

// A holdListener can hold a connection before its first byte is read.
type holdListener struct {
	net.Listener
	holds *holds
}

func (l holdListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if h := l.holds.take(PointConnected, nil); h != nil {
		close(h.arrived)
		return &heldConn{conn, h}, nil
	}
	return conn, nil
}

// A heldConn is a connection of which nothing is read before its hold ends.
type heldConn struct {
	net.Conn
	hold *hold
}

// SetLinger lets a rule reset a held connection, as it does any other.
func (c *heldConn) SetLinger(seconds int) error {
	return c.Conn.(interface{ SetLinger(int) error }).SetLinger(seconds)
}

func (c *heldConn) Read(b []byte) (int, error) {
	<-c.hold.released
	return c.Conn.Read(b)
}
