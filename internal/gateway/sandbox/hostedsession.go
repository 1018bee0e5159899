package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// sessionLife is how long a hosted session can be used.
const sessionLife = 15 * time.Minute

// A hostedSession is a container of the Mastercard Gateway that a shopper's
// browser puts a card into.
type hostedSession struct {
	ID       string `json:"id"`
	Merchant string `json:"merchant"`
	Version  string `json:"version"`
	Status   string `json:"status"` // session.updateStatus
	Limit    string `json:"limit"`  // session.authenticationLimit
	Created  int64  `json:"created"`

	Account      *account `json:"account,omitempty"` // what was typed
	SecurityCode string   `json:"security_code,omitempty"`
	Verification string   `json:"verification,omitempty"` // what an acquirer says to the card, behind verifiedPrefix

	Amount   string `json:"amount,omitempty"`
	Currency string `json:"currency,omitempty"`
	Order    string `json:"order,omitempty"`
}

// The update statuses of a session. Only one that was filled well can be used.
const (
	updateNone    = "NO_UPDATE"
	updateSuccess = "SUCCESS"
	updateFailure = "FAILURE"
)

func (s *hostedSession) expired(now time.Time) bool {
	return now.UnixNano()-s.Created >= int64(sessionLife)
}

// sessionBook has the sessions of all merchants, those that are over too: they are
// told from those that never were.
type sessionBook struct {
	mu       sync.Mutex
	sessions map[string]*hostedSession
}

func (b *sessionBook) recall(detail []byte) error {
	s := new(hostedSession)
	if err := json.Unmarshal(detail, s); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[s.ID] = s
	return nil
}

// get returns a copy of a session that can be changed, or nil.
func (b *sessionBook) get(id string) *hostedSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[id]
	if s == nil {
		return nil
	}
	copied := *s
	if s.Account != nil {
		account := *s.Account
		copied.Account = &account
	}
	return &copied
}

// sessionID and sessionVersion have the gateway's lengths: 31 and 10 characters.
func sessionID(seed, seq uint64) string {
	return fmt.Sprintf("SESSION%016x%08x", mix(seed+seq), uint32(mix(seed^seq)))
}

func sessionVersion(seed, seq uint64) string { return fmt.Sprintf("%010x", mix(seed+seq)>>24) }

// sessionOf returns the session that a request uses. An expired one, another
// version and one without a card are told apart by the field that is named.
func (m *mastercard) sessionOf(f *form) (*hostedSession, *apiError) {
	s, wrong := m.openSession(f)
	switch {
	case wrong != nil:
		return nil, wrong
	case s.Status == updateFailure:
		return nil, invalidField("sourceOfFunds.provided.card.number", "The session's last update failed.")
	case s.Account == nil:
		return nil, missingField("sourceOfFunds.provided.card.number")
	}
	return s, nil
}

// openSession returns a session that is the merchant's and not over.
func (m *mastercard) openSession(f *form) (*hostedSession, *apiError) {
	s := m.sessions.get(f.get("session.id"))
	switch {
	case s == nil || s.Merchant != f.get("merchant"):
		return nil, invalidField("session.id", "There is no such session.")
	case s.expired(m.clock.now()):
		return nil, invalidField("session.id", "The session has expired.")
	case f.has("session.version") && f.get("session.version") != s.Version:
		return nil, invalidField("session.version", "The session has changed.")
	}
	return s, nil
}

// change puts a session in the place of the one that it was, with a version of its
// own. Of two changes at once the last one holds.
func (m *mastercard) change(s *hostedSession) error {
	s.Version = sessionVersion(m.randomness(), m.seq.Add(1))
	detail, err := json.Marshal(s)
	if err != nil {
		return err
	}
	r := record{kind: recordSession, dialect: dialectMastercard, seq: m.seq.Load(), at: m.clock.now().UnixNano(), key: []byte(s.ID), detail: detail}
	if _, err := m.ledger.append(&r); err != nil {
		return err
	}
	m.sessions.mu.Lock()
	defer m.sessions.mu.Unlock()
	m.sessions.sessions[s.ID] = s
	return nil
}

// createSession opens a session without a card.
func (m *mastercard) createSession(x *exchange, _ *Rule) reply {
	f := &x.form
	s := &hostedSession{
		ID: sessionID(m.randomness(), m.seq.Add(1)), Merchant: f.get("merchant"), Status: updateNone,
		Limit: f.get("session.authenticationLimit"), Created: m.clock.now().UnixNano(),
	}
	if s.Limit == "" {
		s.Limit = "5"
	}
	return m.answerChanged(x, s)
}

// updateSession puts what is no card into a session.
func (m *mastercard) updateSession(x *exchange, _ *Rule) reply {
	f := &x.form
	s, wrong := m.openSession(f)
	if wrong != nil {
		return x.errorReply(wrong)
	}
	s.Status = updateSuccess
	for name, to := range map[string]*string{"order.amount": &s.Amount, "order.currency": &s.Currency, "order.id": &s.Order} {
		if value := f.get(name); value != "" {
			*to = value
		}
	}
	return m.answerChanged(x, s)
}

func (m *mastercard) answerChanged(x *exchange, s *hostedSession) reply {
	if err := m.change(s); err != nil {
		m.log.Error("the ledger cannot be written", "error", err)
		return x.errorReply(errBusy)
	}
	return m.answerSession(x, s)
}

// retrieveSession tells of a session.
func (m *mastercard) retrieveSession(x *exchange, _ *Rule) reply {
	s, wrong := m.openSession(&x.form)
	if wrong != nil {
		return x.errorReply(wrong)
	}
	return m.answerSession(x, s)
}

func (m *mastercard) answerSession(x *exchange, s *hostedSession) reply {
	b := appendField(x.answer[:0], "correlationId", x.form.get("correlationId"))
	b = appendField(b, "merchant", s.Merchant)
	b = appendField(b, "order.amount", s.Amount)
	b = appendField(b, "order.currency", s.Currency)
	b = appendField(b, "order.id", s.Order)
	b = appendField(b, "result", resultSuccess)
	if x.req.operation == "CREATE_SESSION" {
		key := sha256.Sum256([]byte(s.ID + s.Version))
		b = appendField(b, "session.aes256Key", base64.StdEncoding.EncodeToString(key[:]))
	}
	b = appendField(b, "session.authenticationLimit", s.Limit)
	b = appendField(b, "session.id", s.ID)
	b = appendField(b, "session.updateStatus", s.Status)
	b = appendField(b, "session.version", s.Version)
	if s.Account != nil {
		b = s.Account.appendTo(b, "", twoFields)
	}
	x.answer = appendField(b, "version", nvpVersion)
	return reply{status: http.StatusOK, body: x.answer}
}
