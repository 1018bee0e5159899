package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// checkCertificates reads client certificates as it reads secrets in files: a path
// that is wrong shows at the start, not at the first charge. What the files hold is
// forgotten; whoever makes the connections reads them again.
func (l *loader) checkCertificates(accounts []MerchantAccount) {
	for i, a := range accounts {
		if a.Gateway != GatewayMastercard || a.ClientCert == "" || a.ClientKey == "" {
			continue
		}
		cert, key := l.accountName(i, a.ID, "client_cert"), l.accountName(i, a.ID, "client_key")
		if l.faults.about(cert.key) || l.faults.about(key.key) {
			continue // not paths at all
		}
		certPEM, err := l.readSmall(a.ClientCert, "certificate")
		if err != nil {
			l.faults = append(l.faults, cert.fault("%v", err))
		}
		keyPEM, keyErr := l.readSmall(a.ClientKey, "key")
		if keyErr != nil {
			l.faults = append(l.faults, key.fault("%v", keyErr))
		}
		if err != nil || keyErr != nil {
			continue
		}
		if text := certificateFault(certPEM); text != "" {
			l.faults = append(l.faults, cert.fault("the file %q %s", clip(a.ClientCert), text))
		} else if text := keyFault(certPEM, keyPEM); text != "" {
			l.faults = append(l.faults, key.fault("the file %q %s", clip(a.ClientKey), text))
		}
	}
}

// accountName names a setting of the i-th account, with where it was written.
func (l *loader) accountName(i int, id, key string) name {
	n := accountName(i, id, key)
	n.origin = l.origin[accountPath(i, key)]
	return n
}

// certificateFault returns what is wrong with the text of client_cert, "" if nothing.
func certificateFault(text string) string {
	block := firstBlock(text, "CERTIFICATE")
	if block == nil {
		return "holds no certificate: store it there as PEM, which begins with -----BEGIN CERTIFICATE-----"
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return "holds a certificate that cannot be read: download it again"
	}
	return ""
}

// keyFault returns what is wrong with the text of client_key, "" if nothing. It
// repeats nothing of what the parsers say, since they may quote the file.
func keyFault(cert, key string) string {
	block := firstBlock(key, "PRIVATE KEY")
	switch {
	case block == nil:
		return "holds no private key: store it there as PEM, which begins with -----BEGIN PRIVATE KEY-----"
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return "holds a key with a passphrase, and nobody is there to type it: store the key without"
	}
	if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		return "holds another key than client_cert's, or one that cannot be read: store the key that the certificate was made for"
	}
	return ""
}

// firstBlock returns the first block of text whose type ends with kind, or nil.
func firstBlock(text, kind string) *pem.Block {
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || strings.HasSuffix(block.Type, kind) {
			return block
		}
	}
}
