package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/contauth/contauth/billing"
)

// A Request is one request. Nothing of it is changed, and Body is never used
// again by the caller of Do: net/http may still read it after Do returned.
type Request struct {
	Method string // of Do; empty means POST
	URL    *url.URL
	Header http.Header
	Body   []byte
}

// An Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Redialled says that a kept connection turned out dead before a byte was
	// written, and that a new one was taken in its place.
	Redialled bool
}

// Post is Do with the method POST.
func Post(ctx context.Context, t http.RoundTripper, r Request, limit int64) (Answer, error) {
	r.Method = http.MethodPost
	return Do(ctx, t, r, limit)
}

// Do makes one exchange and reads the whole answer, of at most limit bytes,
// before ctx ends. The transport t is one of NewHTTPClient, perhaps wrapped; a
// wrapper must pass the request's context on.
//
// The error is billing.ErrNotSent if no byte of the request left this process,
// and none will; else it is billing.ErrUnknown. With an unreadable body the
// Answer still has its Status and Header: some statuses need no body to be
// understood. Errors never quote what was sent or what came back.
//
// Do never sends a request twice. net/http on its own would: a GET, or a request
// that carries Idempotency-Key, whose body is nil or can be rewound, is sent again
// when a kept connection dies under it (Go 1.26, persistConn.shouldRetryRequest).
// A key would make that harmless, but the same bytes must leave only when the
// charge protocol says so, so there is always a body here, an empty one too, and
// it cannot be rewound. No redirect is followed, for the same reason.
//
// What Do does do is take another connection, once, when a kept one proves
// dead before a byte was written: that is no second sending, and otherwise
// every restart of a gateway would look like an outage.
func Do(ctx context.Context, t http.RoundTripper, r Request, limit int64) (Answer, error) {
	if r.Method == "" {
		r.Method = http.MethodPost // to net/http it would be a GET
	}
	answer, f, err := do(ctx, t, r, limit)
	if err != nil && f.reused && errors.Is(err, billing.ErrNotSent) && ctx.Err() == nil {
		answer, _, err = do(ctx, t, r, limit)
		answer.Redialled = true
	}
	return answer, err
}

func do(ctx context.Context, t http.RoundTripper, r Request, limit int64) (Answer, *flight, error) {
	f := new(flight)
	f.trace.GotConn = f.gotConn
	request := (&http.Request{
		Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: r.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: f.newBody(t, r.Body), ContentLength: int64(len(r.Body)),
		// No GetBody: see Do.
	}).WithContext(httptrace.WithClientTrace(ctx, &f.trace))

	response, err := t.RoundTrip(request)
	if err != nil {
		return Answer{}, f, f.failure(ctx, err)
	}
	defer response.Body.Close()
	answer := Answer{Status: response.StatusCode, Header: response.Header}
	answer.Body, err = readAll(response, limit)
	if err != nil {
		return answer, f, fmt.Errorf("%w: HTTP %d, then %w", billing.ErrUnknown, response.StatusCode, plainly(ctx, err))
	}
	return answer, f, nil
}

// A flight is what is known of a request on its way.
type flight struct {
	body  body
	trace httptrace.ClientTrace

	mu     sync.Mutex // a wrapped transport may call back from another goroutine
	got    bool       // a connection was in hand
	reused bool
	conn   *sealableConn // nil if it does not count
	mark   int64         // its count when the request got it
}

// newBody returns the request's body. From a reader that it knows, net/http
// writes header and body in one piece: one system call and one packet each way
// less than from ours. Its own transport reports each connection; for one that
// is wrapped the body tells whether it was read.
func (f *flight) newBody(t http.RoundTripper, content []byte) io.ReadCloser {
	if _, ok := t.(*http.Transport); ok {
		return io.NopCloser(bytes.NewReader(content))
	}
	f.body.Reset(content)
	if len(content) == 0 {
		f.body.touched.Store(true) // nobody need read it: that it was not proves nothing
	}
	return &f.body
}

func (f *flight) gotConn(info httptrace.GotConnInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got, f.reused, f.conn = true, info.Reused, sealable(info.Conn)
	if f.conn != nil {
		f.mark = f.conn.writes.Load()
	}
}

// failure says what the failed round trip means for the money.
func (f *flight) failure(ctx context.Context, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	meaning := billing.ErrUnknown
	switch {
	case !f.got && !f.body.touched.Load():
		meaning = billing.ErrNotSent
	case f.conn != nil && f.conn.seal(f.mark):
		meaning = billing.ErrNotSent
	}
	return fmt.Errorf("%w: %w", meaning, plainly(ctx, err))
}

// A body is a request's body. It has no GetBody and tells whether it was read,
// for transports that do not say when they have a connection.
type body struct {
	bytes.Reader
	touched atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	b.touched.Store(true)
	return b.Reader.Read(p)
}

func (b *body) WriteTo(w io.Writer) (int64, error) {
	b.touched.Store(true)
	return b.Reader.WriteTo(w)
}

func (b *body) Close() error { return nil }

var errTooLarge = errors.New("an answer larger than any real one")

// readAll reads the answer to its end, so that the connection can be used
// again. A body that is too large is left unread, which closes it.
func readAll(response *http.Response, limit int64) ([]byte, error) {
	if response.ContentLength > limit {
		return nil, errTooLarge
	}
	size := response.ContentLength
	if size < 0 {
		size = 1023
	}
	buf := make([]byte, 0, size+1) // one more, to meet the end without growing
	for {
		n, err := response.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}
