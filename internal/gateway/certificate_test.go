package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// clientCertificate returns a certificate for callers, and the pool that knows it.
func clientCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestNewHTTPClient_showsItsCertificate(t *testing.T) {
	certificate, callers := clientCertificate(t)
	stranger, _ := clientCertificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := r.TLS.PeerCertificates[0].SerialNumber.Int64(); n != 7 {
				t.Errorf("certificate %d came", n)
			}
			io.WriteString(w, "ok")
		}))
		s.TLS = &tls.Config{MinVersion: version, MaxVersion: version, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		tests := []struct {
			name        string
			certificate *tls.Certificate
			want        bool
		}{
			{"the certificate that the gateway knows", &certificate, true},
			{"none", nil, false},
			{"one of another authority", &stranger, false},
		}
		for _, tt := range tests {
			t.Run(tls.VersionName(version)+": "+tt.name, func(t *testing.T) {
				transport := newTransport(t, gateway.Options{RootCAs: roots, Certificate: tt.certificate})
				answer, err := gateway.Post(t.Context(), transport, request(t, s.URL), 100)
				switch {
				case tt.want && (err != nil || string(answer.Body) != "ok"):
					t.Errorf("Post = %+v, %v, want ok", answer, err)
				case !tt.want && !errors.Is(err, billing.ErrNotSent) && !errors.Is(err, billing.ErrUnknown):
					t.Errorf("Post = %+v, %v, want an error that says whether it left", answer, err)
				}
				// Before TLS 1.3 the caller is refused before anything can be written.
				if !tt.want && version == tls.VersionTLS12 && !errors.Is(err, billing.ErrNotSent) {
					t.Errorf("error = %v, want ErrNotSent", err)
				}
			})
		}
	}
}
