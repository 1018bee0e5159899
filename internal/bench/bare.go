package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// A Bare posts one prepared body again and again, each time under a key of its
// own, and reads the answers without understanding them: as much as net/http
// can do.
type Bare struct {
	Transport http.RoundTripper
	URL       *url.URL
	Header    http.Header
	Body      []byte
	KeyPrefix string
}

const keyHeader = "Idempotency-Key"

// buffers hold answers that nobody looks at.
var buffers = sync.Pool{New: func() any { return new([4096]byte) }}

// Post makes the request number n.
func (b *Bare) Post(ctx context.Context, n int64) error {
	header := make(http.Header, len(b.Header)+1)
	for name, values := range b.Header {
		header[name] = values
	}
	header[keyHeader] = []string{b.KeyPrefix + strconv.FormatInt(n, 10)}
	request := (&http.Request{
		Method: http.MethodPost, URL: b.URL, Host: b.URL.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(b.Body)), ContentLength: int64(len(b.Body)),
	}).WithContext(ctx)
	answer, err := b.Transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("post a prepared body: %w", err)
	}
	defer answer.Body.Close()
	buffer := buffers.Get().(*[4096]byte)
	defer buffers.Put(buffer)
	for {
		if _, err = answer.Body.Read(buffer[:]); err != nil {
			break
		}
	}
	if err != io.EOF {
		return fmt.Errorf("read the answer to a prepared body: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("a prepared body was answered with HTTP %d", answer.StatusCode)
	}
	return nil
}

// A Recorder is a transport that keeps the one request it gets and sends
// nothing: what a client makes of a charge can be had without a gateway.
type Recorder struct {
	URL    *url.URL
	Header http.Header
	Body   []byte
}

// RoundTrip implements http.RoundTripper. It always fails.
func (r *Recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	r.URL, r.Body, r.Header = request.URL, body, request.Header.Clone()
	r.Header.Del(keyHeader)
	return nil, errRecorded
}

var errRecorded = errors.New("recorded, not sent")
