package sandbox

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/internal/secret"
)

// defaultKeyLife is how long Adyen promises to remember an idempotency key.
// (Adyen: "API idempotency")
const defaultKeyLife = 7 * 24 * time.Hour

// Options say what a Server is to be. Only DataDir is needed.
type Options struct {
	DataDir string        // where the ledger is; made if it is missing
	Latency time.Duration // how long each request takes before it is worked on; a kept answer takes none
	Rules   []Rule        // the script in force from the start

	// KeyLife is how long an answer is kept under its idempotency key, on the
	// sandbox's clock; 0 is seven days.
	KeyLife time.Duration
	// APIKey is the one X-API-Key that is good; empty makes every key good
	// that is not empty.
	APIKey secret.String
	// MerchantAccounts are the accounts and merchants that exist; none makes all
	// of them exist.
	MerchantAccounts []string
	// Mastercard says how the Mastercard Gateway behaves; the zero value is good.
	Mastercard MastercardOptions
	// Webhooks say where to send Adyen's webhooks; nil is none.
	Webhooks *WebhookOptions

	Now func() time.Time // the machine's clock; nil is time.Now
	Log hclog.Logger     // nil is silence
}

// A Server is a simulated gateway. It is safe for many goroutines.
type Server struct {
	ledger   *ledger
	keys     [dialects]*keyStore
	script   script
	holds    holds
	clock    clock
	webhooks *webhooks // nil if none are sent
	latency  time.Duration
	apiKey   []byte
	accounts []string
	log      hclog.Logger
	routes   *http.ServeMux

	adyen71, adyen72 *adyenPayments
	mastercard       *mastercard
	resolutions      resolutions
	methods          methodBook
	checkouts        checkoutBook
	shoppers         sync.Mutex // one completes a session at a time

	buffers sync.Pool // of *exchange
	closing chan struct{}
	close   sync.Once

	seq           atomic.Uint64 // of the last payment or kept answer
	payments      atomic.Int64
	verifications atomic.Int64
	duplicateKeys atomic.Int64
	otherBodies   atomic.Int64
	inFlight      atomic.Int64
	cardData      atomic.Int64
}

// New opens the ledger in the data directory, or begins one, and returns a
// server that goes on where the last one ended, however that ended. It returns
// an error if the directory is in use, or its ledger is not one.
func New(opts Options) (*Server, error) {
	if opts.DataDir == "" {
		return nil, errors.New("sandbox: no data directory given")
	}
	s := &Server{
		clock:    clock{machine: opts.Now},
		latency:  opts.Latency,
		apiKey:   []byte(opts.APIKey.Reveal()),
		accounts: slices.Clone(opts.MerchantAccounts),
		log:      opts.Log,
		closing:  make(chan struct{}),
	}
	if opts.KeyLife == 0 {
		opts.KeyLife = defaultKeyLife
	}
	s.keys[dialectAdyen] = newKeyStore(opts.KeyLife)
	s.keys[dialectMastercard] = newKeyStore(orderLife)
	if s.clock.machine == nil {
		s.clock.machine = time.Now
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.log = s.log.Named("sandbox")
	s.buffers.New = func() any { return new(exchange) }
	s.script.set(opts.Rules)
	s.adyen71, s.adyen72 = &adyenPayments{s, v71}, &adyenPayments{s, v72}
	var err error
	if s.mastercard, err = newMastercard(s, opts.Mastercard); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s.routes = s.router()
	if opts.Webhooks != nil {
		if s.webhooks, err = newWebhooks(*opts.Webhooks, s.log); err != nil {
			return nil, fmt.Errorf("sandbox: %w", err)
		}
	}
	if err := s.open(opts.DataDir); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if s.webhooks != nil {
		s.webhooks.outbox.start()
	}
	return s, nil
}

// open reads the ledger back.
func (s *Server) open(dir string) error {
	ledger, torn, err := openLedger(dir, s.recall)
	if err != nil {
		return err
	}
	s.ledger = ledger
	if torn > 0 {
		s.log.Warn("cut off a torn last record, whose payment nobody was told of", "bytes", torn)
	}
	s.log.Debug("ledger read", "payments", s.payments.Load())
	return nil
}

// recall takes one record of the ledger into memory.
func (s *Server) recall(offset int64, r *record) error {
	s.seq.Store(max(s.seq.Load(), r.seq))
	s.countRecord(r.kind)
	keys := s.keys[r.dialect]
	switch r.kind {
	case recordPayment, recordVerification, recordModification, recordAnswer, recordSession:
		if len(r.key) > 0 && len(r.answer) > 0 {
			keys.keep(keys.name(r.key), keyEntry{offset: offset, at: r.at, bodySum: r.bodySum})
		}
	case recordResend:
		s.countResend(r.otherBody)
	case recordForgotten:
		keys.release(keys.name(r.key))
	}
	if r.dialect == dialectMastercard {
		return s.mastercard.recall(offset, r)
	}
	return s.recallTokens(offset, r)
}

func (s *Server) countRecord(kind recordKind) {
	switch kind {
	case recordPayment:
		s.payments.Add(1)
	case recordVerification:
		s.verifications.Add(1)
	}
}

func (s *Server) countResend(otherBody bool) {
	s.duplicateKeys.Add(1)
	if otherBody {
		s.otherBodies.Add(1)
	}
}

// ServeHTTP implements http.Handler; the point "connected" and the tidy end of
// held requests need Serve. Payments go past the router: a look at
// the path costs less than a match.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		switch r.URL.Path {
		case "/adyen/v71/payments":
			s.handle(w, r, s.adyen71)
			return
		case "/adyen/v72/payments":
			s.handle(w, r, s.adyen72)
			return
		case nvpPath:
			s.handle(w, r, s.mastercard)
			return
		}
	}
	s.routes.ServeHTTP(w, r)
}

// Close lets go of everything that is held, ends the senders of webhooks and
// closes the ledger. Requests that are still at work are answered with an error.
func (s *Server) Close() error {
	s.stopWaiting()
	if s.webhooks != nil {
		s.webhooks.outbox.wait()
	}
	return s.ledger.close()
}

// stopWaiting ends all that waits inside the server, so that it can drain.
func (s *Server) stopWaiting() {
	s.close.Do(func() { close(s.closing) })
	s.holds.close()
	if s.webhooks != nil {
		s.webhooks.outbox.end()
	}
}

// pause waits for d, or until the server closes.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.closing:
	}
}

// authorised reports whether the request bears a good API key.
func (s *Server) authorised(r *http.Request) bool {
	keys := r.Header["X-Api-Key"]
	if len(keys) != 1 || keys[0] == "" {
		return false
	}
	return len(s.apiKey) == 0 || subtle.ConstantTimeCompare([]byte(keys[0]), s.apiKey) == 1
}
