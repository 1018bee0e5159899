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
	Latency time.Duration // how long each payment takes before it is made
	Rules   []Rule        // the script in force from the start

	// KeyLife is how long an answer is kept under its idempotency key, on the
	// sandbox's clock; 0 is seven days.
	KeyLife time.Duration
	// APIKey is the one X-API-Key that is good; empty makes every key good
	// that is not empty.
	APIKey secret.String
	// MerchantAccounts are the accounts that exist; none makes all of them exist.
	MerchantAccounts []string
	// Webhooks say where to send webhooks; nil is none.
	Webhooks *WebhookOptions

	Now func() time.Time // the machine's clock; nil is time.Now
	Log hclog.Logger     // nil is silence
}

// A Server is a simulated gateway. It is safe for many goroutines.
type Server struct {
	ledger   *ledger
	keys     *keyStore
	script   script
	holds    holds
	clock    clock
	webhooks *webhooks // nil if none are sent
	latency  time.Duration
	apiKey   []byte
	accounts []string
	log      hclog.Logger
	routes   *http.ServeMux
	buffers  sync.Pool // of *exchange
	closing  chan struct{}
	close    sync.Once

	seq           atomic.Uint64 // of the last payment or kept answer
	payments      atomic.Int64
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
		keys:     newKeyStore(opts.KeyLife),
		clock:    clock{machine: opts.Now},
		latency:  opts.Latency,
		apiKey:   []byte(opts.APIKey.Reveal()),
		accounts: slices.Clone(opts.MerchantAccounts),
		log:      opts.Log,
		closing:  make(chan struct{}),
	}
	if s.keys.life == 0 {
		s.keys.life = defaultKeyLife
	}
	if s.clock.machine == nil {
		s.clock.machine = time.Now
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.log = s.log.Named("sandbox")
	s.buffers.New = func() any { return new(exchange) }
	s.script.set(opts.Rules)
	s.routes = s.router()
	if opts.Webhooks != nil {
		var err error
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
func (s *Server) recall(offset int64, r *record) {
	s.seq.Store(max(s.seq.Load(), r.seq))
	switch r.kind {
	case recordPayment:
		s.payments.Add(1)
		s.keepKey(r, offset)
	case recordAnswer:
		s.keepKey(r, offset)
	case recordResend:
		s.countResend(r.otherBody)
	case recordForgotten:
		s.keys.release(s.keys.name(r.key))
	}
}

func (s *Server) keepKey(r *record, offset int64) {
	if len(r.key) > 0 {
		s.keys.keep(s.keys.name(r.key), keyEntry{offset: offset, at: r.at, bodySum: r.bodySum})
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
			s.handlePayment(w, r, v71)
			return
		case "/adyen/v72/payments":
			s.handlePayment(w, r, v72)
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
