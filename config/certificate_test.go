package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/contauth/contauth/config"
)

// A keyPair is a client certificate and its key, as PEM.
type keyPair struct{ cert, key string }

// files are those that the account certified names.
func (p keyPair) files() map[string]string {
	return map[string]string{"mc.crt": p.cert, "mc.key": p.key}
}

// pair and otherPair are made once: no key belongs into a repository.
var (
	pair      = sync.OnceValue(newPair)
	otherPair = sync.OnceValue(newPair)
)

func newPair() keyPair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return keyPair{cert: pemText("CERTIFICATE", cert), key: pemText("PRIVATE KEY", pkcs8)}
}

func pemText(kind string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
}

func TestLoad_certificates(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string // whole lines; nil for none
	}{
		{"a pair", pair().files(), nil},
		{
			"a pair with remarks before it, as programs write them",
			map[string]string{"mc.crt": "subject=CN = demo\n" + pair().cert, "mc.key": "Bag Attributes\n" + pair().key}, nil,
		},
		{
			"neither file", nil,
			[]string{
				`contauth.yaml:7: merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT): cannot read the file "mc.crt": file does not exist`,
				`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): cannot read the file "mc.key": file does not exist`,
			},
		},
		{
			"an empty key", map[string]string{"mc.crt": pair().cert, "mc.key": "\n"},
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): the file "mc.key" is empty: write the key into it`},
		},
		{
			"a certificate in another form", map[string]string{"mc.crt": "0\x82\x03", "mc.key": pair().key},
			[]string{`contauth.yaml:7: merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT): the file "mc.crt" holds no certificate: store it there as PEM, which begins with -----BEGIN CERTIFICATE-----`},
		},
		{
			"a certificate that was cut short", map[string]string{"mc.crt": pemText("CERTIFICATE", []byte("0")), "mc.key": pair().key},
			[]string{`contauth.yaml:7: merchant_accounts[0].client_cert (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_CERT): the file "mc.crt" holds a certificate that cannot be read: download it again`},
		},
		{
			"the certificate in the key's place", map[string]string{"mc.crt": pair().cert, "mc.key": pair().cert},
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): the file "mc.key" holds no private key: store it there as PEM, which begins with -----BEGIN PRIVATE KEY-----`},
		},
		{
			"a key with a passphrase", map[string]string{"mc.crt": pair().cert, "mc.key": pemText("ENCRYPTED PRIVATE KEY", []byte("hush"))},
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): the file "mc.key" holds a key with a passphrase, and nobody is there to type it: store the key without`},
		},
		{
			"a key with a passphrase, in the old form",
			map[string]string{"mc.crt": pair().cert, "mc.key": "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"},
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): the file "mc.key" holds a key with a passphrase, and nobody is there to type it: store the key without`},
		},
		{
			"the key of another certificate", map[string]string{"mc.crt": pair().cert, "mc.key": otherPair().key},
			[]string{`contauth.yaml:8: merchant_accounts[0].client_key (CONTAUTH_MERCHANT_ACCOUNTS_DEMOCERT_CLIENT_KEY): the file "mc.key" holds another key than client_cert's, or one that cannot be read: store the key that the certificate was made for`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world{file: "merchant_accounts:" + certified, files: tt.files}
			_, err := config.Load(w.sources())
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkFaults(t, err, tt.want)
		})
	}
}

// One file may hold both, as some programs write it.
func TestLoad_certificateAndKeyInOneFile(t *testing.T) {
	w := world{
		file:  "merchant_accounts:" + strings.Replace(certified, "mc.key", "mc.crt", 1),
		files: map[string]string{"mc.crt": pair().key + pair().cert},
	}
	if _, err := config.Load(w.sources()); err != nil {
		t.Error(err)
	}
}
