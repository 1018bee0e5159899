package gatewaytest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A Wire is a gateway's end of real TCP connections that does what a test
// says, down to the byte. It records every request that arrived whole.
type Wire struct {
	URL string // of its root, without a slash

	listener net.Listener
	answer   func(*Exchange)
	done     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	requests []Recorded
}

// A Recorded is a request as it arrived.
type Recorded struct {
	Header http.Header
	Body   []byte
}

// An Exchange is one request that arrived, and the connection to answer on.
// The connection is kept for the next request unless the answer closes it.
type Exchange struct {
	net.Conn
	Number int // of the request among all that arrived; 1 is the first
	Recorded
}

// Hold waits until the client goes away.
func (e *Exchange) Hold() { io.Copy(io.Discard, e.Conn) }

// Hangup closes the connection in the middle of whatever it was doing.
func (e *Exchange) Hangup() { e.Close() }

// Reset makes the client's next read fail with "connection reset".
func (e *Exchange) Reset() {
	if c, ok := e.Conn.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	e.Close()
}

// Say writes text as it is.
func (e *Exchange) Say(text string) { io.WriteString(e.Conn, text) }

// NewWire starts a Wire that ends with t. answer is called for each request,
// on a goroutine of its connection.
func NewWire(t *testing.T, answer func(*Exchange)) *Wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{URL: "http://" + listener.Addr().String(), listener: listener, answer: answer, conns: map[net.Conn]bool{}}
	w.done.Go(w.accept)
	t.Cleanup(w.Close)
	return w
}

// Close refuses all further connections and cuts the present ones.
func (w *Wire) Close() {
	w.listener.Close()
	w.Cut()
	w.done.Wait()
}

// Cut closes all connections that are open now.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

// Requests are all requests that have arrived whole.
func (w *Wire) Requests() []Recorded {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Recorded(nil), w.requests...)
}

func (w *Wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.conns[c] = true
		w.mu.Unlock()
		w.done.Go(func() { w.serve(c) })
	}
}

func (w *Wire) serve(c net.Conn) {
	defer func() {
		w.mu.Lock()
		delete(w.conns, c)
		w.mu.Unlock()
		c.Close()
	}()
	r := bufio.NewReader(c)
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		var body bytes.Buffer
		if _, err := io.Copy(&body, request.Body); err != nil {
			return
		}
		e := &Exchange{Conn: c, Recorded: Recorded{request.Header, body.Bytes()}}
		w.mu.Lock()
		w.requests = append(w.requests, e.Recorded)
		e.Number = len(w.requests)
		w.mu.Unlock()
		w.answer(e)
	}
}
