package sandbox

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// spoil sends what the rule makes of an answer.
func (s *Server) spoil(x *exchange, rule *Rule, a reply) {
	switch rule.Do {
	case ActionReset:
		s.leave(x)
		x.reset()
	case ActionDrop:
		s.drop(x)
	case ActionStatus:
		x.status(rule, a)
	case ActionDrip:
		s.drip(x, rule, x.truth(rule, a))
	case ActionGarbage:
		x.garbage(rule, a)
	case ActionWrongAmount, ActionWrongCurrency, ActionWrongReference:
		x.sendWrong(rule, a)
	case ActionRedirect:
		x.redirect(rule)
	case ActionContinue:
		x.w.WriteHeader(http.StatusContinue)
		x.send(x.truth(rule, a))
	}
}

// truth is what a rule may say that spoils not the words but their way: the
// answer if the payment was made, else that it was not.
func (x *exchange) truth(rule *Rule, a reply) reply {
	if rule.When == WhenAfter {
		return a
	}
	return x.errorReply(x.dialect.manners().noConnection)
}

// reset ends the connection with a TCP reset.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // no TCP underneath; the nearest thing is to end it
	}
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		tcp.SetLinger(0) // what was not sent is dropped and a reset goes out
	}
	conn.Close()
}

// drop says nothing until the client goes.
func (s *Server) drop(x *exchange) {
	select {
	case <-x.r.Context().Done():
	case <-s.closing:
	}
	panic(http.ErrAbortHandler)
}

// apiError is the error that an ActionStatus rule answers with.
func (r *Rule) apiError(m *manners) *apiError {
	status := r.status()
	e, known := m.statusErrors[status]
	if !known {
		e = apiError{code: errorGeneral, kind: typeInternal, message: http.StatusText(status)}
	}
	e.status = status
	if r.ErrorCode != "" {
		e.code, e.cause = r.ErrorCode, r.ErrorCode
	}
	if e.code == errorInProgress {
		e.message = errKeyRunning.message
	}
	if r.ErrorType != "" {
		e.kind = r.ErrorType
	}
	// After acting the marker would be a lie about money, so that takes an explicit word.
	e.transient = r.When == WhenBefore && (status == 429 || status == 503 || e.code == errorInProgress)
	if r.Transient != nil {
		e.transient = *r.Transient
	}
	e.retryAfter = r.RetryAfter
	return &e
}

// adyenStatusErrors are the bodies that Adyen's errors have by their status.
var adyenStatusErrors = map[int]apiError{
	400: {code: errorUnreadable, kind: typeValidation, message: "Unexpected input"},
	401: {code: errorGeneral, kind: typeSecurity, message: "HTTP Status Response - Unauthorized"},
	403: {code: errorPermission, kind: typeSecurity, message: "Not allowed"},
	422: {code: errorGeneral, kind: typeValidation, message: "The request cannot be processed as it stands"},
	429: {code: errorRateLimited, kind: typeInternal, message: "Too many requests"},
	503: {code: errorUnavailable, kind: typeInternal, message: "Required resource temporarily unavailable"},
}

// status answers with a status and a body that Adyen might send with it, or
// one that it would not.
func (x *exchange) status(rule *Rule, a reply) {
	if rule.Body == "" {
		x.sendError(rule.apiError(x.dialect.manners()))
		return
	}
	e := rule.apiError(x.dialect.manners())
	if e.transient {
		x.w.Header()["Transient-Error"] = headerTrue
	}
	if e.retryAfter > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	a.status = e.status
	a.keyed = false
	x.spoilBody(rule, a)
}

// garbage answers with a body that is no answer to the payment.
func (x *exchange) garbage(rule *Rule, a reply) {
	a.status = http.StatusOK
	x.spoilBody(rule, a)
}

const htmlPage = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"

// spoilBody sends the answer's status with a rule's body.
func (x *exchange) spoilBody(rule *Rule, a reply) {
	spoiled, contentType := x.dialect.manners().spoiled, x.dialect.manners().contentType[0]
	switch rule.Body {
	case BodyHTML:
		x.sendAs("text/html; charset=utf-8", a.status, []byte(htmlPage))
	case BodyEmpty:
		x.sendAs(contentType, a.status, nil)
	case BodyTruncated:
		x.sendAs(contentType, a.status, a.body[:len(a.body)/2])
	case BodyCut:
		x.cut(a)
	case BodyHuge:
		x.huge(rule, a.status)
	case BodyDuplicateKeys:
		x.sendAs(contentType, a.status, spoiled.doubled(a.body))
	case BodyContentType:
		x.sendAs(spoiled.contentType, a.status, a.body)
	case BodyOther:
		x.sendAs(contentType, a.status, []byte(spoiled.other))
	default:
		x.sendAs(contentType, a.status, []byte("\x00\xff\xfe{{not JSON\x01\x80"))
	}
}

func (x *exchange) sendAs(contentType string, status int, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	x.w.Write(body)
}

// cut promises the whole answer, sends half of it and closes the connection.
func (x *exchange) cut(a reply) {
	x.w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	x.header(a)
	x.w.Write(a.body[:len(a.body)/2])
	http.NewResponseController(x.w).Flush()
	panic(http.ErrAbortHandler)
}

// hugeSize is how much BodyHuge sends unless the rule says otherwise.
const hugeSize = 1 << 30

// huge sends a text that begins like an answer and does not end for a long time.
func (x *exchange) huge(rule *Rule, status int) {
	left := rule.Size
	if left == 0 {
		left = hugeSize
	}
	chunk := make([]byte, 64<<10)
	for i := range chunk {
		chunk[i] = 'A'
	}
	manners := x.dialect.manners()
	x.w.Header()["Content-Type"] = manners.contentType
	x.w.WriteHeader(status)
	io.WriteString(x.w, manners.spoiled.begins)
	for ; left > 0; left -= int64(len(chunk)) {
		if _, err := x.w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return
		}
	}
	io.WriteString(x.w, manners.spoiled.ends)
}

// sendWrong sends the answer about another amount, currency or reference. A
// kept answer that is sent again is no payment any more, so that one is made
// up from the request. An answer that is about no payment is sent as it is.
func (x *exchange) sendWrong(rule *Rule, a reply) {
	told := a.told
	if told == nil || a.status != http.StatusOK {
		if told = x.dialect.untrue(x).told; told == nil {
			x.send(a)
			return
		}
	}
	wrong := wrongness{x.req.value, x.req.currency, x.req.reference}
	switch rule.Do {
	case ActionWrongAmount:
		wrong.value = wrongAmount(rule.With, x.req.value)
	case ActionWrongCurrency:
		wrong.currency = wrongText(rule.With, "XTS") // ISO 4217's code for tests
	case ActionWrongReference:
		wrong.reference = wrongText(rule.With, x.req.reference+"-other")
	}
	a.status, a.body = http.StatusOK, told.appendAs(nil, wrong)
	x.send(a)
}

func wrongAmount(with string, value int64) int64 {
	if n, err := strconv.ParseInt(with, 10, 64); err == nil {
		return n
	}
	return value + 1
}

func wrongText(with, otherwise string) string {
	if with != "" {
		return with
	}
	return otherwise
}

// redirect sends the client elsewhere: by default to a path that knows nothing.
func (x *exchange) redirect(rule *Rule) {
	status := rule.Code
	if status == 0 {
		status = http.StatusTemporaryRedirect
	}
	x.w.Header().Set("Location", wrongText(rule.With, "/sandbox/elsewhere"))
	x.w.WriteHeader(status)
}

// drip sends an answer Rate bytes a second.
func (s *Server) drip(x *exchange, rule *Rule, a reply) {
	x.w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	x.header(a)
	ticker := time.NewTicker(time.Second / time.Duration(max(rule.Rate, 1)))
	defer ticker.Stop()
	flush := http.NewResponseController(x.w).Flush
	for i := range a.body {
		if i == len(a.body)-1 {
			s.leave(x)
		}
		x.w.Write(a.body[i : i+1])
		if flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-x.r.Context().Done():
			return
		case <-s.closing:
			return
		}
	}
}
