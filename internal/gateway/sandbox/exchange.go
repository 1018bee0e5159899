package sandbox

import (
	"context"
	"io"
	"net/http"
	"strconv"
)

// An exchange is one request to a gateway and its answer. Exchanges are used
// again and again, so that a payment needs next to no memory of its own.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	dialect dialect
	keys    *keyStore
	key     string // empty if the request bears none
	keyText []byte // the same, for the ledger
	keyName keyName
	bodySum uint64
	req     request
	form    form // what the request says, in a dialect of forms

	operation *operation // what the form asks for

	order  keyName // what the request works on, if it is about an order
	orders *orderBook
	locked bool // nobody else may work on the order
	left   bool // it is not in flight any more

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

	told teller // what it is about; nil if it is about no payment, or was kept
}

// handle answers one request. A second call with the same key changes nothing and
// gives the first one's answer.
func (s *Server) handle(w http.ResponseWriter, r *http.Request, d dialect) {
	s.inFlight.Add(1)
	x := s.buffers.Get().(*exchange)
	x.w, x.r, x.dialect, x.keys, x.key, x.keyText = w, r, d, s.keys[d.manners().id], "", x.keyText[:0]
	x.orders, x.locked, x.operation, x.left = nil, false, nil, false
	defer func() {
		s.leave(x)
		x.w, x.r, x.req = nil, nil, request{}
		x.form.reset()
		if cap(x.body) <= 64<<10 { // let go of what a giant request needed
			s.buffers.Put(x)
		}
	}()
	if wrong := d.read(x); wrong != nil {
		x.sendError(wrong)
		return
	}
	s.work(x)
}

// leave counts the request as done. Whoever shows the client that it is over calls it
// before, so that a client that asks next finds nothing in flight.
func (s *Server) leave(x *exchange) {
	if !x.left {
		x.left = true
		s.inFlight.Add(-1)
	}
}

// readBody reads the whole body, with a stop in its middle if a hold wants one.
func (s *Server) readBody(x *exchange) *apiError {
	if x.r.ContentLength > maxBody {
		return errTooLarge
	}
	in := io.Reader(x.r.Body)
	x.body = x.body[:0]
	if s.holds.waiting.Load() > 0 && x.r.ContentLength > 1 {
		if err := x.fill(io.LimitReader(in, x.r.ContentLength/2)); err != nil {
			return errBodyEnds
		}
		s.hold(x, PointHalfRequest, nil)
	}
	if err := x.fill(io.LimitReader(in, maxBody+1-int64(len(x.body)))); err != nil {
		return errBodyEnds
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

// noteCardData counts and tells of a request that carries card data.
func (s *Server) noteCardData(req *request) {
	s.cardData.Add(1)
	s.log.Error("a request carried card data", "field", req.cardData, "merchant_account", req.merchantAccount)
}

// work does what a request that was read asks for, and answers it.
func (s *Server) work(x *exchange) {
	manners := x.dialect.manners()
	state, entry := s.claimKey(x)
	if state == keyRunning || state == keyFinished {
		s.noteResend(x, entry)
	}
	switch {
	case state == keyRunning, state == keyBlocked:
		x.sendError(manners.running)
		return
	case state == keyFinished && manners.otherBody != nil && entry.bodySum != x.bodySum:
		x.sendError(manners.otherBody)
		return
	}
	rule := s.script.next(&x.req, state == keyFresh)
	s.hold(x, PointRequestRead, &x.req)
	if rule != nil && rule.When == WhenBefore {
		if rule.Do == ActionForgetKey && state == keyFinished {
			s.forget(x)
			if state, entry = s.claimKey(x); state != keyFresh { // another one was quicker
				x.sendError(manners.running)
				return
			}
		}
		if done := s.beforeActing(x, rule, state); done {
			return
		}
	}
	s.finish(x, rule, s.answerFor(x, rule, state, entry))
}

// claimKey looks up the key of the exchange, and its order; a request without
// either is always fresh.
func (s *Server) claimKey(x *exchange) (keyState, keyEntry) {
	if x.key == "" {
		return keyFresh, keyEntry{}
	}
	x.keyText = append(x.keyText[:0], x.key...)
	x.keyName = x.keys.name(x.keyText)
	state, entry := x.keys.claim(x.keyName, x.bodySum, s.clock.now())
	if state == keyFresh && x.orders != nil {
		if x.locked = x.orders.lock(x.order); !x.locked {
			x.keys.release(x.keyName)
			return keyBlocked, keyEntry{}
		}
	}
	return state, entry
}

// unlock lets others work on the order.
func (x *exchange) unlock() {
	if x.locked {
		x.locked = false
		x.orders.unlock(x.order)
	}
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
		x.releaseKey()
		x.unlock()
	}
	s.spoil(x, rule, x.dialect.untrue(x))
	return true
}

// answerFor does what is asked for, or finds the answer it had.
func (s *Server) answerFor(x *exchange, rule *Rule, state keyState, entry keyEntry) reply {
	if state == keyFresh {
		s.pause(context.Background(), s.latency)
		answer := x.dialect.act(x, rule)
		x.unlock()
		return answer
	}
	kept, err := s.ledger.read(entry.offset)
	if err != nil {
		s.log.Error("a kept answer cannot be read", "error", err)
		return x.errorReply(x.dialect.manners().ledger)
	}
	return x.keptReply(kept.status, kept.answer)
}

// asRuled gives the answer that a rule wants kept under the key instead of what was
// asked for, and reports whether there is one.
func (s *Server) asRuled(x *exchange, rule *Rule) (answer reply, ruled bool) {
	switch {
	case rule == nil:
	case rule.Do == ActionStatus && rule.decides():
		return s.keepError(x, rule.apiError(x.dialect.manners())), true
	case rule.Do == ActionStoredIOError && rule.When == WhenBefore:
		return s.keepError(x, x.dialect.manners().storedIO), true
	}
	return reply{}, false
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

// next numbers a payment or a kept answer, and makes its reference.
func (s *Server) next(x *exchange) (seq uint64) {
	seq = s.seq.Add(1)
	x.psp = appendPSPReference(x.psp[:0], s.ledger.seed, seq)
	return seq
}

// keepError answers with an error that the gateway keeps under the key.
func (s *Server) keepError(x *exchange, e *apiError) reply {
	if x.key == "" {
		return x.errorReply(e)
	}
	seq := s.next(x)
	x.answer = x.dialect.appendError(x.answer[:0], x, e, x.psp)
	answer, _ := s.keep(x, record{kind: recordAnswer, status: e.status, seq: seq, at: s.clock.now().UnixNano()})
	return answer
}

// keep writes the record, with the answer in x, and keeps the answer under the
// key. Nothing is said to the client before the ledger has it. It returns where
// the record stands, or 0 if the ledger cannot be written.
func (s *Server) keep(x *exchange, r record) (reply, int64) {
	r.dialect, r.key, r.bodySum, r.answer = x.dialect.manners().id, x.keyText, x.bodySum, x.answer
	offset, err := s.ledger.append(&r)
	if err != nil {
		x.releaseKey()
		s.log.Error("the ledger cannot be written", "error", err)
		return x.errorReply(x.dialect.manners().ledger), 0
	}
	s.countRecord(r.kind)
	if x.key != "" {
		x.keys.keep(x.keyName, keyEntry{offset: offset, at: r.at, bodySum: r.bodySum})
	}
	return x.keptReply(r.status, r.answer), offset
}

func (x *exchange) releaseKey() {
	if x.key != "" {
		x.keys.release(x.keyName)
	}
}

// forget drops the answer that is kept under the key.
func (s *Server) forget(x *exchange) {
	if x.key == "" {
		return
	}
	r := record{kind: recordForgotten, dialect: x.dialect.manners().id, at: s.clock.now().UnixNano(), key: x.keyText}
	if _, err := s.ledger.append(&r); err != nil {
		s.log.Error("the ledger cannot be written", "error", err)
	}
	x.keys.release(x.keyName)
}

// noteResend counts a key that came again, and whether its body was another.
func (s *Server) noteResend(x *exchange, entry keyEntry) {
	otherBody := entry.bodySum != x.bodySum
	s.countResend(otherBody)
	r := record{
		kind: recordResend, dialect: x.dialect.manners().id, otherBody: otherBody,
		at: s.clock.now().UnixNano(), bodySum: x.bodySum, key: x.keyText,
	}
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
	x.answer = x.dialect.appendError(x.answer[:0], x, e, nil)
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
	x.w.Header()["Content-Type"] = x.dialect.manners().contentType
	x.dialect.setHeader(x, a)
	x.w.WriteHeader(a.status)
}

func (x *exchange) sendError(e *apiError) {
	if e.retryAfter > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	x.send(x.errorReply(e))
}
