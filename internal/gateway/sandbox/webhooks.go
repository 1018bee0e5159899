package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/internal/secret"
)

// defaultRetry is Adyen's wait before a webhook is sent again first.
const defaultRetry = 9 * time.Second

// maxRetry bounds WebhookOptions.Retry, whose waits are up to 3200 times as long.
const maxRetry = time.Hour

// WebhookOptions say where webhooks go, and how. URL and Key are needed.
type WebhookOptions struct {
	URL string // http or https, without credentials
	// Key signs: 64 hexadecimal digits, as Adyen's Customer Area shows one.
	Key secret.String
	// User and Password are sent as HTTP Basic; an empty User is none.
	User     string
	Password secret.String
	// Retry is the wait after the first refusal, nine seconds if 0. The other waits,
	// which go up to 8 hours and end after 30 days at Adyen, grow and shrink with it.
	Retry time.Duration
	// Seed is where everything random about webhooks comes from.
	Seed      uint64
	Behaviour WebhookBehaviour
}

// Validate returns what is wrong with the options.
func (o *WebhookOptions) Validate() error {
	if err := checkURL(o.URL); err != nil {
		return err
	}
	if _, err := newSigningKey(o.Key); err != nil {
		return err
	}
	if o.User == "" && !o.Password.IsEmpty() {
		return errors.New("there is a webhook password and no webhook user")
	}
	if o.Retry < 0 || o.Retry > maxRetry {
		return fmt.Errorf("webhook retry is %s; it is a duration from 0 to %s", o.Retry, maxRetry)
	}
	if err := o.Behaviour.Validate(); err != nil {
		return fmt.Errorf("webhooks: %w", err)
	}
	return nil
}

// checkURL returns what is wrong with an address for webhooks. It does not quote
// one that may hold a password.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("the webhook URL is none; it begins with http:// or https:// and a host")
	case u.User != nil:
		return errors.New("the webhook URL holds a user or password, which are settings of their own")
	}
	return nil
}

// webhooks turns what happens into events, and those into deliveries.
type webhooks struct {
	key    signingKey
	seed   uint64
	outbox outbox

	mu        sync.Mutex
	behaviour WebhookBehaviour
	ordered   uint64 // events that were asked for by a control
}

func newWebhooks(opts WebhookOptions, log hclog.Logger) (*webhooks, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	key, err := newSigningKey(opts.Key)
	if err != nil {
		return nil, err
	}
	w := &webhooks{key: key, seed: opts.Seed, behaviour: opts.Behaviour, outbox: outbox{
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: senders},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		user:     opts.User,
		password: opts.Password,
		retry:    opts.Retry,
		log:      log.Named("webhooks"),
		shuffle:  rand.New(rand.NewPCG(opts.Seed, 0)),
	}}
	if opts.Retry == 0 {
		w.outbox.retry = defaultRetry
	}
	w.outbox.url.Store(&opts.URL)
	return w, nil
}

func (w *webhooks) inForce() WebhookBehaviour {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behaviour
}

// behave puts another behaviour in force for events to come. What was gathered
// for a random order is sent.
func (w *webhooks) behave(b WebhookBehaviour) {
	w.mu.Lock()
	w.behaviour = b
	w.mu.Unlock()
	w.outbox.flush()
}

// paid tells of a payment, if it is one that Adyen tells of at once.
func (s *Server) paid(p *payment) {
	success, told := p.outcome.told()
	if !told {
		return
	}
	line := p.ledgerLine()
	e := line.authorisation(success, p.at)
	if _, tried := s.webhooks.tell(&e, s.webhooks.inForce(), 0); tried != nil {
		select {
		case <-tried:
		case <-s.closing:
		}
	}
}

// order sends an event that a control asked for, and reports whether the
// behaviour loses it.
func (w *webhooks) order(e event) (lost bool) {
	w.mu.Lock()
	w.ordered++
	number, b := w.ordered, w.behaviour
	w.mu.Unlock()
	b.BeforeAnswer = false
	lost, _ = w.tell(e, b, number)
	return lost
}

// tell sends an event as b wants it, and reports whether b loses it. number tells
// apart what is random about events that are alike. With BeforeAnswer, tried is
// closed when the event was tried once; nil is nothing to wait for.
func (w *webhooks) tell(e event, b WebhookBehaviour, number uint64) (lost bool, tried <-chan struct{}) {
	code, about := e.names()
	p := b.plan(chanceOf(w.seed, code, about, number))
	lost = len(p.waits) == 0
	w.outbox.count(lost)
	batch := w.deliveries(e, code, p)
	if b.BeforeAnswer && !lost {
		done := make(chan struct{})
		batch[0].due, batch[0].tried = time.Time{}, done
		if w.outbox.add(batch[:1], 0) {
			tried = done
		}
		batch = batch[1:]
	}
	if p.forgery != "" {
		forged := &delivery{letter: e.letter(w.key, p.forgery, 0), code: code, forged: true, due: time.Now().Add(p.forgedWait)}
		if p.forgedFirst {
			forged.due = forged.due.Add(-time.Second)
		}
		batch = append(batch, forged)
	}
	w.outbox.add(batch, b.Reorder)
	return lost, tried
}

// deliveries returns an event and its copies, whose dates differ by seconds.
func (w *webhooks) deliveries(e event, code string, p plan) []*delivery {
	now := time.Now()
	batch := make([]*delivery, 0, len(p.waits)+1)
	for i, wait := range p.waits {
		batch = append(batch, &delivery{letter: e.letter(w.key, "", time.Duration(i)*time.Second), code: code, due: now.Add(wait)})
	}
	return batch
}
