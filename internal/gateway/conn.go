package gateway

import (
	"errors"
	"net"
	"sync/atomic"
)

var errSealed = errors.New("connection sealed: its request was declared not sent")

// sealed is the state of a connection that accepts no more bytes.
const sealed = -1

// A sealableConn counts the writes on a connection and can be sealed against
// further ones. It lets an exchange that failed prove that nothing left: if
// the count has not moved since the request got the connection, sealing it
// makes sure that it never will, whatever net/http's goroutines still do.
//
// Under TLS the count is of records below the encryption. An alert or a key
// update also counts, which errs on the safe side: "perhaps sent".
type sealableConn struct {
	net.Conn
	writes atomic.Int64 // begun, less those that failed without taking a byte; or sealed
}

// Write implements net.Conn.
func (c *sealableConn) Write(p []byte) (int, error) {
	for {
		n := c.writes.Load()
		if n == sealed {
			return 0, errSealed
		}
		if c.writes.CompareAndSwap(n, n+1) {
			break
		}
	}
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		c.writes.Add(-1) // a connection that was already dead took nothing
	}
	return n, err
}

// seal closes the connection to writing if nothing was written since the count
// was mark, and reports whether that is so.
func (c *sealableConn) seal(mark int64) bool {
	return mark != sealed && c.writes.CompareAndSwap(mark, sealed)
}

// sealable returns the counting connection at the bottom of c, or nil if c was
// not dialled by NewHTTPClient.
func sealable(c net.Conn) *sealableConn {
	for {
		switch under := c.(type) {
		case *sealableConn:
			return under
		case interface{ NetConn() net.Conn }: // *tls.Conn
			c = under.NetConn()
		default:
			return nil
		}
	}
}
