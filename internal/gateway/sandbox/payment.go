package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"mime"
	"net/http"
	"strconv"
)

// An exchange is one payment request and its answer. Exchanges are used again
// and again, so that a payment needs next to no memory of its own.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	version version
	key     string // empty if the request bears none
	keyText []byte // the same, for the ledger
	keyName keyName
	bodySum uint64
	req     request

	body   []byte
	line   []byte
	answer []byte
	psp    []byte
}

// A reply is an answer that is ready to be sent.
type reply struct {
	status    int
	body      []byte
	transient bool // with transient-error: true
	keyed     bool // with the Idempotency-Key, as answers are that are kept under it

	payment *payment // what it is about; nil if it is about none, or was kept
}

// Values of headers, ready for a header map, which then needs no memory.
var (
	headerJSON = []string{"application/json;charset=UTF-8"}
	headerTrue = []string{"true"}
)

// handlePayment is POST /payments: what a client calls to charge a token. A
// second call with the same Idempotency-Key changes nothing and gives the
// first one's answer.
func (s *Server) handlePayment(w http.ResponseWriter, r *http.Request, v version) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	x := s.buffers.Get().(*exchange)
	x.w, x.r, x.version, x.key, x.keyText = w, r, v, "", x.keyText[:0]
	defer func() {
		x.w, x.r, x.req = nil, nil, request{}
		if cap(x.body) <= 64<<10 { // let go of what a giant request needed
			s.buffers.Put(x)
		}
	}()
	if wrong := s.read(x); wrong != nil {
		x.sendError(wrong)
		return
	}
	s.pay(x)
}

// read reads the request up to the point where it is known what it asks for.
func (s *Server) read(x *exchange) *apiError {
	if !s.authorised(x.r) {
		return errUnauthorised
	}
	if !isJSON(x.r.Header.Get("Content-Type")) {
		return errNotJSON
	}
	if keys := x.r.Header["Idempotency-Key"]; len(keys) > 0 {
		x.key = keys[0]
	}
	if len(x.key) > maxKey {
		return errKeyTooLong
	}
	if wrong := s.readBody(x); wrong != nil {
		return wrong
	}
	if err := x.req.decode(x.body); err != nil {
		return &apiError{status: 400, code: errorUnreadable, kind: typeValidation, message: "Unexpected input: " + err.Error()}
	}
	if x.req.cardData != "" {
		s.cardData.Add(1)
		s.log.Error("a request carried card data", "field", x.req.cardData, "merchant_account", x.req.merchantAccount)
	}
	sum := sha256.Sum256(x.body)
	x.bodySum = binary.BigEndian.Uint64(sum[:8])
	return nil
}

func (s *Server) readBody(x *exchange) *apiError {
	if x.r.ContentLength > maxBody {
		return errTooLarge
	}
	in := io.Reader(x.r.Body)
	x.body = x.body[:0]
	if s.holds.waiting.Load() > 0 && x.r.ContentLength > 1 {
		if err := x.fill(io.LimitReader(in, x.r.ContentLength/2)); err != nil {
			return &apiError{status: 400, code: errorUnreadable, kind: typeValidation, message: "The body ends early"}
		}
		s.hold(x, PointHalfRequest, nil)
	}
	if err := x.fill(io.LimitReader(in, maxBody+1-int64(len(x.body)))); err != nil {
		return &apiError{status: 400, code: errorUnreadable, kind: typeValidation, message: "The body ends early"}
	}
	if len(x.body) > maxBody {
		return errTooLarge
	}
	return nil
}

// fill appends all of in to the body.
func (x *exchange) fill(in io.Reader) error {
	for {
		if len(x.body) == cap(x.body) {
			x.body = append(x.body, make([]byte, 1024)...)[:len(x.body)]
		}
		n, err := in.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pay works on a request that was read, and answers it.
func (s *Server) pay(x *exchange) {
	state, entry := s.claimKey(x)
	if state != keyFresh {
		s.noteResend(x, entry)
	}
	if state == keyRunning {
		x.sendError(errKeyRunning)
		return
	}
	rule := s.script.next(&x.req, state == keyFresh)
	s.hold(x, PointRequestRead, &x.req)
	if rule != nil && rule.When == WhenBefore {
		if rule.Do == ActionForgetKey && state == keyFinished {
			s.forget(x)
			if state, entry = s.claimKey(x); state != keyFresh { // another one was quicker
				x.sendError(errKeyRunning)
				return
			}
		}
		if done := s.beforeActing(x, rule, state); done {
			return
		}
	}
	s.finish(x, rule, s.answerFor(x, rule, state, entry))
}

// claimKey looks up the key of the exchange; a request without one is always fresh.
func (s *Server) claimKey(x *exchange) (keyState, keyEntry) {
	if x.key == "" {
		return keyFresh, keyEntry{}
	}
	x.keyText = append(x.keyText[:0], x.key...)
	x.keyName = s.keys.name(x.keyText)
	return s.keys.claim(x.keyName, x.bodySum, s.clock.now())
}

// beforeActing does what a rule does instead of acting, and reports whether
// that was all.
func (s *Server) beforeActing(x *exchange, rule *Rule, state keyState) (done bool) {
	switch {
	case rule.decides(), rule.Do == ActionForgetKey:
		return false
	case rule.Do == ActionDelay:
		s.pause(context.Background(), rule.Wait)
		return false
	}
	if state == keyFresh {
		s.releaseKey(x)
	}
	s.spoil(x, rule, s.untrue(x))
	return true
}

// answerFor makes the payment, or finds the answer it had.
func (s *Server) answerFor(x *exchange, rule *Rule, state keyState, entry keyEntry) reply {
	if state == keyFresh {
		return s.act(x, rule)
	}
	kept, err := s.ledger.read(entry.offset)
	if err != nil {
		s.log.Error("a kept answer cannot be read", "error", err)
		return x.errorReply(errLedger)
	}
	return x.keptReply(kept.status, kept.answer)
}

// finish sends the answer, or what a rule makes of it.
func (s *Server) finish(x *exchange, rule *Rule, answer reply) {
	s.hold(x, PointActed, &x.req)
	if rule == nil || rule.When != WhenAfter || rule.decides() {
		s.send(x, answer)
		return
	}
	switch rule.Do {
	case ActionDelay:
		s.pause(x.r.Context(), rule.Wait)
		s.send(x, answer)
	case ActionForgetKey:
		s.forget(x)
		s.send(x, answer)
	default:
		s.spoil(x, rule, answer)
	}
}

// act does what the request asks for, for the first time under its key. When
// it returns, the ledger has it and the key is kept or released.
func (s *Server) act(x *exchange, rule *Rule) reply {
	s.pause(context.Background(), s.latency)
	amount, wrong := s.validate(&x.req, x.version)
	if wrong != nil {
		return s.keepError(x, wrong)
	}
	if rule != nil && rule.Do == ActionStatus && rule.decides() {
		return s.keepError(x, rule.apiError())
	}
	ioError := rule != nil && rule.Do == ActionStoredIOError
	if ioError && rule.When == WhenBefore {
		return s.keepError(x, errStoredIO)
	}
	switch errorAskedFor(&x.req) {
	case requestNoConnection:
		s.releaseKey(x)
		return x.errorReply(errNoConnection)
	case requestIOException:
		return s.keepError(x, errStoredIO)
	}
	p := s.newPayment(x, amount, decide(&x.req, rule))
	x.line = p.appendLine(x.line[:0])
	if ioError {
		x.answer = errStoredIO.appendTo(x.answer[:0], p.psp)
		return s.keep(x, record{kind: recordPayment, status: errStoredIO.status, seq: p.seq, at: p.at.UnixNano(), line: x.line}, p)
	}
	x.answer = p.appendAnswer(x.answer[:0])
	return s.keep(x, record{kind: recordPayment, status: http.StatusOK, seq: p.seq, at: p.at.UnixNano(), line: x.line}, p)
}

func (s *Server) newPayment(x *exchange, amount int64, o outcome) *payment {
	seq := s.seq.Add(1)
	x.psp = appendPSPReference(x.psp[:0], s.ledger.seed, seq)
	return &payment{key: x.key, req: &x.req, amount: amount, outcome: o, seq: seq, psp: x.psp, at: s.clock.now()}
}

// keepError answers with an error that the gateway keeps under the key.
func (s *Server) keepError(x *exchange, e *apiError) reply {
	if x.key == "" {
		return x.errorReply(e)
	}
	seq := s.seq.Add(1)
	x.psp = appendPSPReference(x.psp[:0], s.ledger.seed, seq)
	x.answer = e.appendTo(x.answer[:0], x.psp)
	return s.keep(x, record{kind: recordAnswer, status: e.status, seq: seq, at: s.clock.now().UnixNano()}, nil)
}

// keep writes the record, with the answer in x, and keeps the answer under the
// key. Nothing is said to the client before the ledger has it.
func (s *Server) keep(x *exchange, r record, p *payment) reply {
	r.key, r.bodySum, r.answer = x.keyText, x.bodySum, x.answer
	offset, err := s.ledger.append(&r)
	if err != nil {
		s.releaseKey(x)
		s.log.Error("the ledger cannot be written", "error", err)
		return x.errorReply(errLedger)
	}
	if r.kind == recordPayment {
		s.payments.Add(1)
	}
	if x.key != "" {
		s.keys.keep(x.keyName, keyEntry{offset: offset, at: r.at, bodySum: r.bodySum})
	}
	if p != nil && s.webhooks != nil {
		s.paid(p)
	}
	kept := x.keptReply(r.status, r.answer)
	kept.payment = p
	return kept
}

func (s *Server) releaseKey(x *exchange) {
	if x.key != "" {
		s.keys.release(x.keyName)
	}
}

// forget drops the answer that is kept under the key.
func (s *Server) forget(x *exchange) {
	if x.key == "" {
		return
	}
	if _, err := s.ledger.append(&record{kind: recordForgotten, at: s.clock.now().UnixNano(), key: x.keyText}); err != nil {
		s.log.Error("the ledger cannot be written", "error", err)
	}
	s.keys.release(x.keyName)
}

// noteResend counts a key that came again, and whether its body was another.
func (s *Server) noteResend(x *exchange, entry keyEntry) {
	otherBody := entry.bodySum != x.bodySum
	s.countResend(otherBody)
	r := record{kind: recordResend, otherBody: otherBody, at: s.clock.now().UnixNano(), bodySum: x.bodySum, key: x.keyText}
	if _, err := s.ledger.append(&r); err != nil {
		s.log.Error("the ledger cannot be written", "error", err)
	}
}

// hold stops the exchange at point if a hold says so.
func (s *Server) hold(x *exchange, point Point, req *request) {
	if h := s.holds.take(point, req); h != nil {
		h.stop(x.r.Context())
	}
}

// keptReply is an answer that is kept under the key. Adyen sends the key back
// with results and validation errors, not with a 500.
func (x *exchange) keptReply(status int, body []byte) reply {
	return reply{status: status, body: body, keyed: x.key != "" && status < 500}
}

func (x *exchange) errorReply(e *apiError) reply {
	x.answer = e.appendTo(x.answer[:0], nil)
	return reply{status: e.status, body: x.answer, transient: e.transient}
}

// send sends an answer, in two halves if a hold wants to stand between them.
func (s *Server) send(x *exchange, a reply) {
	h := s.holds.take(PointHalfAnswer, &x.req)
	if h == nil {
		x.send(a)
		return
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	x.header(a)
	half := len(a.body) / 2
	x.w.Write(a.body[:half])
	http.NewResponseController(x.w).Flush()
	h.stop(x.r.Context())
	x.w.Write(a.body[half:])
}

func (x *exchange) send(a reply) {
	x.header(a)
	x.w.Write(a.body) // an error means that nobody listens any more
}

// header sends the status line and the headers.
func (x *exchange) header(a reply) {
	h := x.w.Header()
	h["Content-Type"] = headerJSON
	if a.keyed {
		h["Idempotency-Key"] = x.r.Header["Idempotency-Key"][:1]
	}
	if a.transient {
		h["Transient-Error"] = headerTrue
	}
	x.w.WriteHeader(a.status)
}

func (x *exchange) sendError(e *apiError) {
	if e.retryAfter > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	x.send(x.errorReply(e))
}

// isJSON reports whether a content type is JSON's.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/json"
}
