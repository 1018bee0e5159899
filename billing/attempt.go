package billing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strconv"
	"sync"
	"time"
)

// An Outcome is what one observation says about an attempt.
type Outcome string

const (
	OutcomeAuthorised   Outcome = "authorised"
	OutcomeRefused      Outcome = "refused"
	OutcomePending      Outcome = "pending"       // accepted; the result comes later
	OutcomeNotSent      Outcome = "not_sent"      // no byte left: the attempt never happened
	OutcomeNotProcessed Outcome = "not_processed" // the gateway answered that it did not try
	OutcomeUnknown      Outcome = "unknown"       // it may have been charged
)

// A Source says from whom an observation came.
type Source string

const (
	SourceAPI      Source = "api"      // the answer to the request
	SourceReplay   Source = "replay"   // the answer to the same request sent again
	SourceResolver Source = "resolver" // a lease that ran out
	SourceWebhook  Source = "webhook"  // what the gateway told unasked
	SourcePerson   Source = "person"
)

// SafeLife is how long after its first claim an attempt may be sent again with
// the same key. Adyen keeps a key for at least 7 days ("API idempotency"); a
// day is left for clocks that disagree.
const SafeLife = 6 * 24 * time.Hour

// An Operation is what a key is for, so that a charge and its refund differ.
type Operation string

const (
	OperationCharge Operation = "charge" // a charge's attempt
	OperationVerify Operation = "verify" // a verification of a token, or the session that stores one
)

// An AttemptKeyer derives idempotency keys. It is safe for many goroutines.
type AttemptKeyer struct {
	gateway, environment string
	macs                 sync.Pool
}

// NewAttemptKeyer returns the keyer of one gateway environment. The secret is
// the instance's own 32 bytes, from the database.
func NewAttemptKeyer(secret []byte, gateway, environment string) *AttemptKeyer {
	k := &AttemptKeyer{gateway: gateway, environment: environment}
	k.macs.New = func() any { return &keyMaker{mac: hmac.New(sha256.New, secret)} }
	return k
}

// Key returns the idempotency key of an attempt: 43 characters of base64url.
//
// It is made of natural references only. An attempt that a failover lost and
// that is made again gets the same key, so the gateway removes the duplicate;
// and nobody who sees references can guess it without the secret.
func (k *AttemptKeyer) Key(op Operation, merchantAccount, chargeReference string, attempt int) string {
	m := k.macs.Get().(*keyMaker)
	defer k.macs.Put(m)
	text := m.text[:0]
	for _, field := range [...]string{"v1", string(op), k.gateway, k.environment, merchantAccount, chargeReference, strconv.Itoa(attempt)} {
		// The length in front keeps ("ab","c") and ("a","bc") apart.
		text = binary.BigEndian.AppendUint32(text, uint32(len(field)))
		text = append(text, field...)
	}
	m.text = text
	m.mac.Reset()
	m.mac.Write(text)
	m.sum = m.mac.Sum(m.sum[:0])
	return base64.RawURLEncoding.EncodeToString(m.sum)
}

// A keyMaker is what one key after the other is made in.
type keyMaker struct {
	mac       hash.Hash
	text, sum []byte
}
