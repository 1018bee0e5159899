package mastercard

import (
	"context"
	"fmt"
	"strconv"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// The name of this operation was seen and is not documented in what could be read.
const opCreateSession = "CREATE_SESSION"

// A SessionRequest opens a hosted session.
type SessionRequest struct {
	// AuthenticationLimit is how many requests a browser may make with the
	// session's id in place of a password, 0 to 25 (Payment sessions); 0 is not sent.
	AuthenticationLimit int
	CorrelationID       string
}

// maxAuthentications is the largest AuthenticationLimit.
const maxAuthentications = 25

// A Session is a temporary container for what a payer enters. It lives for about
// 15 minutes: use it at once, and never queue it. The key that the gateway gives
// with it (session.aes256Key) is not read.
//
// It prints without its id.
type Session struct {
	ID           string
	Version      string
	UpdateStatus string // SUCCESS before it may be used; NO_UPDATE of a new one
}

// String is silent: whoever has the id can use the session.
func (Session) String() string { return "session" }

// GoString keeps %#v as silent as String.
func (s Session) GoString() string { return s.String() }

// CreateSession opens a session, CREATE_SESSION. Errors are as those of Tokenize.
func (c *Client) CreateSession(ctx context.Context, r SessionRequest) (Session, error) {
	if r.AuthenticationLimit < 0 || r.AuthenticationLimit > maxAuthentications {
		return Session{}, fmt.Errorf("mastercard: %s: %w", opCreateSession, invalidField("session.authenticationLimit", "want 0 to %d", maxAuthentications))
	}
	if err := checkCorrelation(r.CorrelationID); err != nil {
		return Session{}, fmt.Errorf("mastercard: %s: %w", opCreateSession, err)
	}
	f := c.newForm(opCreateSession)
	f.add("correlationId", r.CorrelationID)
	if r.AuthenticationLimit > 0 {
		f.add("session.authenticationLimit", strconv.Itoa(r.AuthenticationLimit))
	}
	a, err := c.operate(ctx, opCreateSession, r.CorrelationID, c.sign(f))
	if err != nil {
		return Session{}, err
	}
	s := Session{ID: a.fields["session.id"], Version: a.word("session.version"), UpdateStatus: a.word("session.updateStatus")}
	if a.result() != ResultSuccess || s.ID == "" || checkSession(s.ID, s.Version) != nil {
		return Session{}, fmt.Errorf("mastercard: %s: %w: result %s without a usable session: %w",
			opCreateSession, tokens.ErrUnanswered, a.masked("result"), billing.ErrUnknown)
	}
	return s, nil
}
