// Package gateway holds the HTTP manners that every gateway client shares: a
// transport that never sends anything twice, an exchange that knows whether a
// byte of a request left this process, and lines of text fit for errors.
//
// The adapters themselves live one level down and never import each other.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// Options say how connections to a gateway are made. The zero value is good.
type Options struct {
	// MaxConns is how many idle connections are kept for each host; 0 means 64.
	// Set it to the number of charges in flight, or net/http closes and dials
	// again all the time. It does not limit how many are open: the callers do.
	MaxConns int
	// DialTimeout bounds name look-up and connect together, and then TLS, each
	// on its own; 0 means 10 s.
	DialTimeout time.Duration
	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
	// Certificate is shown to a gateway that asks who calls; nil shows none. A
	// gateway that refuses it may say so only after a request was written (TLS
	// 1.3), which makes an unknown outcome: look at its dates before it ends.
	Certificate *tls.Certificate
	// ProxyFromEnvironment obeys HTTPS_PROXY and its kin. Off by default: a
	// variable that somebody exported for another program must not become a
	// stop on the way of card tokens.
	ProxyFromEnvironment bool
}

const (
	defaultConns       = 64
	defaultDialTimeout = 10 * time.Second

	// idleTimeout is short, because a kept connection that the gateway closes
	// just as a request is written on it costs an unknown outcome.
	idleTimeout = 30 * time.Second

	maxHeaderBytes = 64 << 10
)

// NewHTTPClient returns a client with a transport of its own for use with Post.
//
// It speaks HTTP/1.1 only. One request at a time on a connection is what lets
// Post tell exactly whether a byte of it left, and HTTP/2 would bring its own
// silent re-sending (refused streams, GOAWAY). It asks for no compression,
// which costs more than it saves on answers of a few hundred bytes, and whose
// unpacked size would need a second bound.
//
// It has no timeout: those are the caller's, by context.
func NewHTTPClient(o Options) *http.Client {
	if o.MaxConns <= 0 {
		o.MaxConns = defaultConns
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDialTimeout
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: o.DialTimeout, KeepAlive: 15 * time.Second}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
	if o.Certificate != nil {
		tlsConfig.Certificates = []tls.Certificate{*o.Certificate}
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &sealableConn{Conn: c}, nil
		},
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    o.DialTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    o.MaxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if o.ProxyFromEnvironment {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &http.Client{Transport: transport}
}
