package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// router knows the gateway's paths, and the controls under /sandbox, which no
// gateway has.
func (s *Server) router() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /adyen/v71/payments", s.asking(s.adyen71))
	mux.HandleFunc("POST /adyen/v72/payments", s.asking(s.adyen72))
	for path, payments := range map[string]*adyenPayments{"/adyen/v71": s.adyen71, "/adyen/v72": s.adyen72} {
		mux.HandleFunc("POST "+path+"/sessions", s.asking(&adyenSessions{payments}))
		mux.HandleFunc("GET "+path+"/storedPaymentMethods", s.asking(&adyenMethods{payments}))
		mux.HandleFunc("DELETE "+path+"/storedPaymentMethods/{id}", s.asking(&adyenMethods{payments}))
	}
	mux.HandleFunc("POST /sandbox/checkouts/{id}", answering(s.handleCheckout))
	mux.HandleFunc("PUT /sandbox/methods/{token}", answering(s.handleMethod))
	mux.HandleFunc("GET /sandbox/ledger", s.linesOf(recordPayment))
	mux.HandleFunc("GET /sandbox/verifications", s.linesOf(recordVerification))
	mux.HandleFunc("GET /sandbox/modifications", s.linesOf(recordModification))
	mux.HandleFunc("POST "+nvpPath, s.asking(s.mastercard))
	mux.HandleFunc("GET "+nvpPath+"/information", s.mastercard.handleInformation)
	mux.HandleFunc("POST "+nvpPath+"/information", s.mastercard.handleInformation)
	mux.HandleFunc("POST /sandbox/resolutions", answering(s.mastercard.handleResolution))
	mux.HandleFunc("GET /sandbox/repository", s.mastercard.handleRepository)
	mux.HandleFunc("PUT /sandbox/repository", answering(s.mastercard.handleRepositorySet))
	mux.HandleFunc("GET /sandbox/tokens/{token}", answering(s.mastercard.handleToken))
	mux.HandleFunc("POST /sandbox/tokens/{token}", answering(s.mastercard.handleTokenChange))
	mux.HandleFunc("PUT /sandbox/sessions/{id}", answering(s.mastercard.handleSessionFill))
	mux.HandleFunc("GET /sandbox/stats", s.handleStats)
	mux.HandleFunc("GET /sandbox/clock", s.handleClock)
	mux.HandleFunc("PUT /sandbox/clock", answering(s.handleClockSet))
	mux.HandleFunc("DELETE /sandbox/clock", s.handleClockReset)
	mux.HandleFunc("PUT /sandbox/script", answering(s.handleScript))
	mux.HandleFunc("POST /sandbox/holds", answering(s.handleHoldAdd))
	mux.HandleFunc("GET /sandbox/holds/{id}", answering(s.handleHold))
	mux.HandleFunc("DELETE /sandbox/holds/{id}", answering(s.handleHoldEnd))
	mux.HandleFunc("GET /sandbox/webhooks", answering(s.handleWebhooks))
	mux.HandleFunc("POST /sandbox/webhooks", answering(s.handleWebhookOrder))
	mux.HandleFunc("GET /sandbox/webhooks/behaviour", answering(s.handleBehaviour))
	mux.HandleFunc("PUT /sandbox/webhooks/behaviour", answering(s.handleBehaviourSet))
	mux.HandleFunc("PUT /sandbox/webhooks/url", answering(s.handleWebhookURL))
	return mux
}

// asking serves requests in a dialect.
func (s *Server) asking(d dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.handle(w, r, d) }
}

// A controlError is what is wrong with a request to a control, for its sender.
type controlError struct {
	status int
	err    error
}

func (e *controlError) Error() string { return e.err.Error() }

func badRequest(err error) error { return &controlError{http.StatusBadRequest, err} }

var errNoWebhooks = &controlError{http.StatusConflict, errors.New("this sandbox sends no webhooks; start it with --webhook-url")}

var errNoHold = &controlError{http.StatusNotFound, errors.New("there is no such hold")}

// answering turns a handler's error into an answer: {"error": "one line"}.
func answering(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil {
			return
		}
		status := http.StatusInternalServerError
		if wrong := (*controlError)(nil); errors.As(err, &wrong) {
			status = wrong.status
		}
		writeJSON(w, status, map[string]string{"error": err.Error()})
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header()["Content-Type"] = headerJSON
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // an error means that nobody listens any more
}

// readJSON reads a small body strictly.
func readJSON(r *http.Request, to any) error {
	in := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxScript))
	in.DisallowUnknownFields()
	if err := in.Decode(to); err != nil {
		return badRequest(fmt.Errorf("the body is not what this takes: %w", err))
	}
	return nil
}

// linesOf streams all payments, or what else has lines in the ledger, one JSON
// object a line, oldest first. Checkers call it.
func (s *Server) linesOf(kind recordKind) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if err := s.ledger.writeLines(w, kind, s.lineNow); err != nil {
			s.log.Warn("the ledger was not sent to its end", "error", err)
			panic(http.ErrAbortHandler) // a ledger that ends early must not look whole
		}
	}
}

// Stats are the numbers of GET /sandbox/stats.
type Stats struct {
	Payments          int64   `json:"payments"`             // in the ledger, refused ones too
	DuplicateKeys     int64   `json:"duplicate_keys"`       // requests whose key was known
	SameKeyOtherBody  int64   `json:"same_key_other_body"`  // those of them with other bytes than the first
	InFlight          int64   `json:"in_flight"`            // payment requests being worked on
	CPUSeconds        float64 `json:"cpu_seconds"`          // of this process, user and system
	Verifications     int64   `json:"verifications"`        // cards that were checked without money
	CardDataInRequest int64   `json:"card_data_in_request"` // requests that carried a card number or check digits: must be 0
}

// Stats returns what the sandbox has counted. The first three and the
// verifications survive a restart.
func (s *Server) Stats() Stats {
	return Stats{
		Payments:          s.payments.Load(),
		DuplicateKeys:     s.duplicateKeys.Load(),
		SameKeyOtherBody:  s.otherBodies.Load(),
		InFlight:          s.inFlight.Load(),
		CPUSeconds:        cpuSeconds(),
		Verifications:     s.verifications.Load(),
		CardDataInRequest: s.cardData.Load(),
	}
}

func (s *Server) handleStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Stats())
}

// cpuSeconds returns the processor time that this process has used.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// clockState is what the clock's routes take and give.
type clockState struct {
	Now     time.Time `json:"now"`
	Stopped bool      `json:"stopped"`
}

func (s *Server) handleClock(w http.ResponseWriter, _ *http.Request) {
	setting := s.clock.set.Load()
	writeJSON(w, http.StatusOK, clockState{Now: s.clock.now(), Stopped: setting != nil && setting.stopped})
}

// handleClockSet sets the clock, which then runs on, or stands still if stopped.
func (s *Server) handleClockSet(w http.ResponseWriter, r *http.Request) error {
	var to clockState
	if err := readJSON(r, &to); err != nil {
		return err
	}
	if to.Now.IsZero() {
		return badRequest(errors.New(`now is missing; it is an instant such as "2027-01-31T09:00:00Z"`))
	}
	s.clock.setTo(to.Now, to.Stopped)
	s.handleClock(w, r)
	return nil
}

// handleClockReset gives the clock back to the machine.
func (s *Server) handleClockReset(w http.ResponseWriter, r *http.Request) {
	s.clock.reset()
	s.handleClock(w, r)
}

// handleScript replaces all rules; what the old ones counted is forgotten.
func (s *Server) handleScript(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScript))
	if err != nil {
		return badRequest(err)
	}
	rules, err := ParseScript("script", text)
	if err != nil {
		return badRequest(err)
	}
	s.script.set(rules)
	writeJSON(w, http.StatusOK, map[string]int{"rules": len(rules)})
	return nil
}

// holdRequest is what POST /sandbox/holds takes.
type holdRequest struct {
	Match struct {
		Reference string `json:"reference"`
		Token     string `json:"token"`
		Every     int    `json:"every"`
	} `json:"match"`
	Operation string `json:"operation"`
	Point     Point  `json:"point"`
}

// holdState is what the hold's routes give.
type holdState struct {
	ID         string `json:"id"`
	Point      Point  `json:"point"`
	Arrived    bool   `json:"arrived"`             // a request is held, or was
	Reference  string `json:"reference,omitempty"` // of the held request, where it is known
	ClientGone bool   `json:"client_gone"`         // and so the request went on
}

func stateOf(h *hold) holdState {
	state := holdState{ID: h.id, Point: h.point, Arrived: h.holding(), ClientGone: h.clientGone.Load()}
	if req := h.request.Load(); req != nil {
		state.Reference = req.reference
	}
	return state
}

// handleHoldAdd makes the next matching request stop at a point.
func (s *Server) handleHoldAdd(w http.ResponseWriter, r *http.Request) error {
	var wanted holdRequest
	if err := readJSON(r, &wanted); err != nil {
		return err
	}
	match := Match(wanted.Match)
	if err := match.check(); err != nil {
		return badRequest(err)
	}
	h, err := s.holds.add(match, wanted.Operation, wanted.Point)
	if err != nil {
		return badRequest(err)
	}
	writeJSON(w, http.StatusCreated, stateOf(h))
	return nil
}

// check returns what is wrong with a match that did not come from a script.
func (m *Match) check() error {
	set := 0
	for _, is := range []bool{m.Reference != "", m.Token != "", m.Every != 0} {
		if is {
			set++
		}
	}
	if set != 1 || m.Every < 0 {
		return errors.New("match needs one of reference, token, every (from 1)")
	}
	return nil
}

// maxWait bounds how long a call may wait for a request.
const maxWait = 10 * time.Minute

// handleHold tells whether a request is held, and with ?wait=10s waits for one.
func (s *Server) handleHold(w http.ResponseWriter, r *http.Request) error {
	h := s.holds.find(r.PathValue("id"))
	if h == nil {
		return errNoHold
	}
	if text := r.URL.Query().Get("wait"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > maxWait {
			return badRequest(fmt.Errorf("wait is %q; it is a duration up to %s, such as 10s", text, maxWait))
		}
		h.wait(r.Context(), d)
	}
	writeJSON(w, http.StatusOK, stateOf(h))
	return nil
}

// handleHoldEnd ends a hold: what it holds goes on.
func (s *Server) handleHoldEnd(w http.ResponseWriter, r *http.Request) error {
	h := s.holds.remove(r.PathValue("id"))
	if h == nil {
		return errNoHold
	}
	writeJSON(w, http.StatusOK, stateOf(h))
	return nil
}
