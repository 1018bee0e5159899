package adyen

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/secret"
)

// An Inbox stores the events of a delivery, all or none, before they are
// acknowledged. An event that it has already is no error.
type Inbox interface {
	StoreEvents(ctx context.Context, gateway string, events []billing.Event) error
}

// A ReceiverAccount is a merchant account whose webhooks are received.
type ReceiverAccount struct {
	MerchantAccount string
	Environment     string // test or live
	User            string // of HTTP Basic, as set in the Customer Area
	Password        secret.String
	Keys            []WebhookKey // several while one is being replaced
}

// A Receiver takes Adyen's webhooks: it checks, stores and acknowledges, and
// leaves the rest to others. A delivery is answered
//
//   - 200 [accepted] once it is stored, whatever becomes of it;
//   - 401 without the right user and password, and where an event that would
//     change something is not signed by one of the keys: Adyen tries again, so
//     that a key set too late loses nothing;
//   - 503 while the database is away.
//
// The signature covers eight fields alone; the others are vouched for by nobody
// but the sender's password.
type Receiver struct {
	inbox    Inbox
	accounts []ReceiverAccount
	logger   hclog.Logger
}

// NewReceiver returns the handler of POST /webhooks/adyen.
func NewReceiver(inbox Inbox, accounts []ReceiverAccount, logger hclog.Logger) *Receiver {
	return &Receiver{inbox: inbox, accounts: accounts, logger: logger.Named("webhooks")}
}

// MaxDelivery bounds a body, in bytes. Adyen's batches are a few kilobytes.
const MaxDelivery = 1 << 20

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	senders := r.authenticate(req)
	if len(senders) == 0 {
		r.logger.Warn("a webhook came with a wrong user or password: compare webhook_user and webhook_password with the Customer Area")
		w.Header().Set("WWW-Authenticate", `Basic realm="webhooks"`)
		http.Error(w, "wrong user or password", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, MaxDelivery))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "the body did not arrive", http.StatusBadRequest)
		return
	}
	events, err := read(senders, body, req.Header.Get("hmacsignature"))
	if err != nil {
		r.logger.Error("a webhook is refused: compare webhook_keys with the Customer Area", "error", err)
		http.Error(w, "the signature is wrong", http.StatusUnauthorized)
		return
	}
	if err := r.inbox.StoreEvents(req.Context(), "adyen", events); err != nil {
		r.logger.Error("a webhook cannot be stored; the gateway will send it again", "events", len(events), "error", err)
		http.Error(w, "not stored, send it again", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "[accepted]")
}

// authenticate returns the accounts whose user and password the request has. It
// compares all of them, in time that does not tell how near a guess came.
func (r *Receiver) authenticate(req *http.Request) []ReceiverAccount {
	user, password, _ := req.BasicAuth()
	var senders []ReceiverAccount
	for _, a := range r.accounts {
		sameUser := equal(user, a.User)
		samePassword := equal(password, a.Password.Reveal())
		if sameUser&samePassword == 1 && a.User != "" {
			senders = append(senders, a)
		}
	}
	return senders
}

// equal compares digests, which have one length.
func equal(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

var errUnsigned = errors.New("unsigned event")

// read turns a delivery into events. A body that is none is an event too: it is
// kept for people, so that it cannot hold up what comes after it. It returns
// errUnsigned if anything in it would change something without being signed.
func read(senders []ReceiverAccount, body []byte, signature string) ([]billing.Event, error) {
	if signature != "" {
		return readToken(senders, body, signature)
	}
	notifications, err := ParseNotifications(body)
	if err != nil {
		return []billing.Event{unreadable(senders[0], body, err)}, nil
	}
	events := make([]billing.Event, len(notifications))
	for i, n := range notifications {
		account, ours := find(senders, n.MerchantAccount)
		signed := ours && n.IsSigned(account.Keys)
		e := n.event(signed, live(account.Environment))
		if !ours {
			e.Kind = billing.EventOther // another account's user: kept, without effect
		}
		if e.Kind.MovesMoneyOrTokens() && !signed {
			return nil, fmt.Errorf("%w: %s of %s", errUnsigned, e.Code, e.MerchantAccount)
		}
		events[i] = e
	}
	return events, nil
}

// readToken reads a token event, whose signature covers the bytes received.
func readToken(senders []ReceiverAccount, body []byte, signature string) ([]billing.Event, error) {
	var signer *ReceiverAccount
	for i := range senders {
		if IsSignedBody(senders[i].Keys, body, signature) {
			signer = &senders[i]
		}
	}
	if signer == nil {
		return nil, errUnsigned
	}
	t, err := ParseTokenEvent(body)
	if err != nil {
		return []billing.Event{unreadable(*signer, body, err)}, nil
	}
	account, ours := find(senders, t.MerchantAccount)
	if ours && !IsSignedBody(account.Keys, body, signature) {
		return nil, errUnsigned // by another account's key
	}
	e := t.event(account.Environment)
	if !ours {
		e.Kind = billing.EventOther
	}
	return []billing.Event{e}, nil
}

func find(accounts []ReceiverAccount, id string) (ReceiverAccount, bool) {
	for _, a := range accounts {
		if a.MerchantAccount == id {
			return a, true
		}
	}
	return ReceiverAccount{}, false
}

// live is what a notification's field of that name says for an environment.
func live(environment string) string { return strconv.FormatBool(environment == "live") }

// unreadable is the event of a delivery that cannot be read. Its text is kept as
// far as it may be: see clipped.
func unreadable(sender ReceiverAccount, body []byte, cause error) billing.Event {
	digest := sha256.Sum256(body)
	return billing.Event{
		Kind: billing.EventOther, Code: "unreadable", MerchantAccount: sender.MerchantAccount, GatewayReference: hex.EncodeToString(digest[:8]),
		Document: document(map[string]string{"error": cause.Error(), "begins": string(body), "bytes": strconv.Itoa(len(body))}),
	}
}
