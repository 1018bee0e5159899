package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/contauth/contauth/internal/secret"
)

// A signingKey signs webhooks: HMAC-SHA256, in Base64. (Adyen: "Verify HMAC
// signatures")
type signingKey []byte

var errSigningKey = errors.New("the webhook key is not 64 hexadecimal digits, as Adyen's Customer Area shows one")

// newSigningKey reads a key as Adyen's Customer Area shows it. The 32 bytes that
// the digits stand for sign, not the digits.
func newSigningKey(text secret.String) (signingKey, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text.Reveal()))
	if err != nil || len(key) != sha256.Size {
		return nil, errSigningKey
	}
	return key, nil
}

func (k signingKey) sign(text []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write(text)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// another returns a key that is not k, always the same.
func (k signingKey) another() signingKey {
	sum := sha256.Sum256(k)
	return sum[:]
}
