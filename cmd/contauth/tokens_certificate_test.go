package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/contauth/contauth/config"
)

// writeCertificate writes a client certificate with its key and returns their paths.
func writeCertificate(t *testing.T, from, until time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("certificate.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

// A client certificate that ends soon is told before charges fail.
func TestExamineCertificate(t *testing.T) {
	now := time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	tests := []struct {
		name        string
		from, until time.Time
		ok          bool
		says        string
	}{
		{"good for long", now.Add(-day), now.Add(100 * day), true, "it ends 2027-05-11"},
		{"ends soon", now.Add(-day), now.Add(13 * day), false, "it ends 2027-02-13"},
		{"ended", now.Add(-2 * day), now, false, "it ended 2027-01-31"},
		{"not yet good", now.Add(day), now.Add(100 * day), false, "only from 2027-02-01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			certificate, key := writeCertificate(t, tt.from, tt.until)
			got := examineCertificate(config.MerchantAccount{ID: "DemoMC", ClientCert: certificate, ClientKey: key}, now)
			if got.OK != tt.ok || !strings.Contains(got.Detail, tt.says) {
				t.Errorf("got %+v, want OK %t and %q", got, tt.ok, tt.says)
			}
		})
	}
}

// The client certificate is shown on the connections of charges and of tokens alike.
func TestConnectionsTo_haveTheCertificate(t *testing.T) {
	certificate, key := writeCertificate(t, time.Now(), time.Now().Add(time.Hour))
	if _, err := connectionsTo(config.MerchantAccount{ID: "DemoMC", ClientCert: certificate, ClientKey: key}); err != nil {
		t.Error(err)
	}
	_, err := connectionsTo(config.MerchantAccount{ID: "DemoMC", ClientCert: key, ClientKey: certificate})
	if err == nil || !strings.Contains(err.Error(), "DemoMC") {
		t.Errorf("a key for a certificate: %v", err)
	}
}
