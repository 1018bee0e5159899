package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A pgProxy stands between contauth and Postgres. It lets everything pass but
// the one moment that a trap names: there it keeps a message, or its answer,
// until the test has done what it came for.
type pgProxy struct {
	listener net.Listener
	upstream string // unix socket

	mu    sync.Mutex
	trap  *pgTrap
	conns map[net.Conn]bool
}

// A pgMoment is where a trap stops.
type pgMoment int

const (
	beforeStatement pgMoment = iota // the statement has not reached the server
	afterStatement                  // the server has done it, its own commit included; nobody knows
	beforeCommit                    // the statement is done, its COMMIT has not reached the server
	afterCommit                     // the COMMIT is done; nobody knows
)

// A pgTrap stops the skip+1-th passing of a moment of a statement.
type pgTrap struct {
	statement string // a part of the SQL text
	moment    pgMoment
	skip      int
	reached   chan struct{} // closed when something stands still
	release   chan struct{} // close to let it go on
}

func newPGProxy(t *testing.T, socket string) *pgProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pgProxy{listener: listener, upstream: socket, conns: map[net.Conn]bool{}}
	t.Cleanup(p.close)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *pgProxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// set arms a trap; there is one at a time, and it works once.
func (p *pgProxy) set(statement string, moment pgMoment, skip int) *pgTrap {
	trap := &pgTrap{statement: statement, moment: moment, skip: skip, reached: make(chan struct{}), release: make(chan struct{})}
	p.mu.Lock()
	p.trap = trap
	p.mu.Unlock()
	return trap
}

// cut breaks every connection.
func (p *pgProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *pgProxy) close() {
	p.listener.Close()
	p.mu.Lock()
	trap := p.trap
	p.trap = nil
	p.mu.Unlock()
	if trap != nil {
		trap.open()
	}
	p.cut()
}

// open lets what stands in the trap go on.
func (t *pgTrap) open() {
	defer func() { recover() }() // open already
	close(t.release)
}

// A pgSession is one connection's memory.
type pgSession struct {
	named  map[string][]byte      // prepared statements, by their names
	seen   bool                   // the trap's statement was sent in this transaction
	holdup atomic.Pointer[pgTrap] // keep the server's next answer
}

func (p *pgProxy) serve(client net.Conn) {
	server, err := net.Dial("unix", p.upstream)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	defer func() {
		client.Close()
		server.Close()
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	session := pgSession{named: map[string][]byte{}}
	go func() {
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			if trap := session.holdup.Swap(nil); trap != nil {
				close(trap.reached)
				<-trap.release
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	p.forward(client, server, &session)
}

func (p *pgProxy) forward(client, server net.Conn, session *pgSession) {
	for first := true; ; first = false {
		message, err := readPGMessage(client, first)
		if err != nil {
			return
		}
		if trap := p.trapped(message, first, session); trap != nil {
			switch trap.moment {
			case beforeStatement, beforeCommit:
				close(trap.reached)
				<-trap.release
			default:
				session.holdup.Store(trap)
			}
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}

// trapped returns the trap that this message walks into.
func (p *pgProxy) trapped(message []byte, first bool, session *pgSession) *pgTrap {
	p.mu.Lock()
	defer p.mu.Unlock()
	trap := p.trap
	if first {
		return nil
	}
	statement := session.statement(message)
	if trap == nil {
		return nil
	}
	kind := message[0]
	isStatement := bytes.Contains(statement, []byte(trap.statement))
	isCommit := kind == 'Q' && bytes.Contains(message, []byte("COMMIT"))
	hit := false
	switch trap.moment {
	case beforeStatement:
		hit = isStatement
	case afterStatement:
		hit = session.seen && kind == 'E'
	default:
		hit = session.seen && isCommit
	}
	switch {
	case isStatement:
		session.seen = true
	case isCommit, kind == 'E' && trap.moment == afterStatement:
		session.seen = false
	}
	if !hit {
		return nil
	}
	if trap.skip > 0 {
		trap.skip--
		return nil
	}
	p.trap = nil
	return trap
}

// statement returns the text that a message is about to run, if it is one that
// runs a statement: an unnamed one, or one that was prepared under a name before.
func (s *pgSession) statement(message []byte) []byte {
	body := message[5:]
	switch message[0] {
	case 'Q':
		return body
	case 'P':
		name, text, _ := bytes.Cut(body, []byte{0})
		if len(name) == 0 {
			return text
		}
		s.named[string(name)] = text
	case 'B':
		_, rest, _ := bytes.Cut(body, []byte{0}) // the portal
		name, _, _ := bytes.Cut(rest, []byte{0})
		return s.named[string(name)]
	}
	return nil
}

// readPGMessage reads one message of the frontend; the first has no type byte.
func readPGMessage(r io.Reader, first bool) ([]byte, error) {
	header := make([]byte, 5)
	if first {
		header = header[:4]
	}
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[len(header)-4:])
	if size < 4 || size > 1<<30 {
		return nil, errors.New("not a message of the protocol")
	}
	message := append(header, make([]byte, size-4)...)
	_, err := io.ReadFull(r, message[len(header):])
	return message, err
}
