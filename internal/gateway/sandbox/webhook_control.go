package sandbox

import (
	"fmt"
	"net/http"
	"time"
)

// Webhooks returns what was counted about webhooks; zeros if none are sent.
func (s *Server) Webhooks() WebhookCounts {
	if s.webhooks == nil {
		return WebhookCounts{}
	}
	o := &s.webhooks.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

// handleWebhooks tells what became of webhooks. Whoever waits for them polls it
// until nothing is waiting.
func (s *Server) handleWebhooks(w http.ResponseWriter, _ *http.Request) error {
	if s.webhooks == nil {
		return errNoWebhooks
	}
	writeJSON(w, http.StatusOK, s.Webhooks())
	return nil
}

// behaviourState is what the behaviour's routes take and give.
type behaviourState struct {
	Delay           durationText `json:"delay"`
	DelayUpTo       durationText `json:"delay_up_to"`
	Duplicate       int          `json:"duplicate"`
	DuplicateWithin durationText `json:"duplicate_within"`
	Reorder         int          `json:"reorder"`
	Lose            float64      `json:"lose"`
	BeforeAnswer    bool         `json:"before_answer"`
	Forge           float64      `json:"forge"`
	Forgeries       []Forgery    `json:"forgeries"`
}

// A durationText is a duration written as 250ms or 2s.
type durationText time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d durationText) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *durationText) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration, such as 250ms or 2s", text)
	}
	*d = durationText(parsed)
	return nil
}

func (s *Server) handleBehaviour(w http.ResponseWriter, _ *http.Request) error {
	if s.webhooks == nil {
		return errNoWebhooks
	}
	b := s.webhooks.inForce()
	writeJSON(w, http.StatusOK, behaviourState{
		Delay: durationText(b.Delay), DelayUpTo: durationText(b.DelayUpTo), Duplicate: b.Duplicate, DuplicateWithin: durationText(b.DuplicateWithin),
		Reorder: b.Reorder, Lose: b.Lose, BeforeAnswer: b.BeforeAnswer, Forge: b.Forge, Forgeries: b.Forgeries,
	})
	return nil
}

// handleBehaviourSet puts a behaviour in force for events to come; what is left
// out is as if it never was set, so that {} sends each event once, at once.
func (s *Server) handleBehaviourSet(w http.ResponseWriter, r *http.Request) error {
	if s.webhooks == nil {
		return errNoWebhooks
	}
	var to behaviourState
	if err := readJSON(r, &to); err != nil {
		return err
	}
	b := WebhookBehaviour{
		Delay: time.Duration(to.Delay), DelayUpTo: time.Duration(to.DelayUpTo), Duplicate: to.Duplicate, DuplicateWithin: time.Duration(to.DuplicateWithin),
		Reorder: to.Reorder, Lose: to.Lose, BeforeAnswer: to.BeforeAnswer, Forge: to.Forge, Forgeries: to.Forgeries,
	}
	if err := b.Validate(); err != nil {
		return badRequest(err)
	}
	s.webhooks.behave(b)
	return s.handleBehaviour(w, r)
}

// webhookURL is what PUT /sandbox/webhooks/url takes and gives.
type webhookURL struct {
	URL string `json:"url"`
}

// handleWebhookURL sends webhooks elsewhere, those that wait too: a test may know
// its receiver's address only after the receiver knows the sandbox's.
func (s *Server) handleWebhookURL(w http.ResponseWriter, r *http.Request) error {
	if s.webhooks == nil {
		return errNoWebhooks
	}
	var to webhookURL
	if err := readJSON(r, &to); err != nil {
		return err
	}
	if err := checkURL(to.URL); err != nil {
		return badRequest(err)
	}
	s.webhooks.outbox.url.Store(&to.URL)
	writeJSON(w, http.StatusOK, to)
	return nil
}
