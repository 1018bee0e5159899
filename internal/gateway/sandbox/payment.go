package sandbox

import (
	"crypto/sha256"
	"encoding/binary"
	"mime"
	"net/http"
)

// Values of headers, ready for a header map, which then needs no memory.
var (
	headerJSON = []string{"application/json;charset=UTF-8"}
	headerTrue = []string{"true"}
)

// adyenPayments is POST /payments: what a client calls to charge a token. A
// second call with the same Idempotency-Key changes nothing and gives the first
// one's answer.
type adyenPayments struct {
	*Server
	version version
}

var adyenManners = manners{
	id:           dialectAdyen,
	contentType:  headerJSON,
	running:      errKeyRunning,
	noConnection: errNoConnection,
	storedIO:     errStoredIO,
	ledger:       errLedger,
	statusErrors: adyenStatusErrors,
	spoiled: spoiledBodies{
		contentType: "text/plain; charset=utf-8",
		other:       `{"status":"ok","items":[1,2,3]}`,
		begins:      `{"pspReference":"`,
		ends:        `"}`,
		doubled: func(body []byte) []byte {
			doubled := append([]byte(nil), body[:len(body)-1]...)
			return append(doubled, `,"resultCode":"Refused","merchantReference":"another","amount":{"currency":"XXX","value":1}}`...)
		},
	},
}

func (d *adyenPayments) manners() *manners { return &adyenManners }

// read reads the request up to the point where it is known what it asks for.
func (d *adyenPayments) read(x *exchange) *apiError {
	if wrong := d.readJSON(x); wrong != nil {
		return wrong
	}
	if err := x.req.decode(x.body); err != nil {
		return unreadable("Unexpected input: " + err.Error())
	}
	if x.req.cardData != "" {
		d.noteCardData(&x.req)
	}
	return nil
}

// readJSON checks who asks, and reads the key and the body of any request.
func (s *Server) readJSON(x *exchange) *apiError {
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
	sum := sha256.Sum256(x.body)
	x.bodySum = binary.BigEndian.Uint64(sum[:8])
	return nil
}

func (d *adyenPayments) act(x *exchange, rule *Rule) reply {
	amount, wrong := d.validate(&x.req, d.version)
	if wrong == nil {
		wrong = d.methods.mayCharge(&x.req)
	}
	if wrong != nil {
		return d.keepError(x, wrong)
	}
	if answer, ruled := d.asRuled(x, rule); ruled {
		return answer
	}
	switch errorAskedFor(&x.req) {
	case requestNoConnection:
		x.releaseKey()
		return x.errorReply(errNoConnection)
	case requestIOException:
		return d.keepError(x, errStoredIO)
	}
	p := d.newPayment(x, amount, decide(&x.req, rule))
	x.line = p.appendLine(x.line[:0])
	r := record{kind: p.recordKind(), status: http.StatusOK, seq: p.seq, at: p.at.UnixNano(), line: x.line}
	if rule != nil && rule.Do == ActionStoredIOError {
		r.status = errStoredIO.status
		x.answer = errStoredIO.appendTo(x.answer[:0], p.psp)
	} else {
		x.answer = p.appendAnswer(x.answer[:0])
	}
	answer, offset := d.keep(x, r)
	if offset == 0 {
		return answer
	}
	if d.webhooks != nil {
		d.paid(p)
	}
	answer.told = p
	return answer
}

func (s *Server) newPayment(x *exchange, amount int64, o outcome) *payment {
	seq := s.next(x)
	return &payment{key: x.key, req: &x.req, card: s.methods.cardOf(x.req.token), amount: amount, outcome: o, seq: seq, psp: x.psp, at: s.clock.now()}
}

// nobody is a pspReference that no payment has.
const nobody = "0000000000000000"

func (d *adyenPayments) untrue(x *exchange) reply {
	x.psp = append(x.psp[:0], nobody...)
	p := &payment{req: &x.req, card: cardOf(x.req.token), outcome: outcome{result: resultAuthorised}, psp: x.psp, at: d.clock.now()}
	x.answer = p.appendAnswer(x.answer[:0])
	return reply{status: http.StatusOK, body: x.answer, told: p}
}

func (d *adyenPayments) appendError(b []byte, _ *exchange, e *apiError, psp []byte) []byte {
	return e.appendTo(b, psp)
}

func (d *adyenPayments) setHeader(x *exchange, a reply) {
	h := x.w.Header()
	if a.keyed {
		h["Idempotency-Key"] = x.r.Header["Idempotency-Key"][:1]
	}
	if a.transient {
		h["Transient-Error"] = headerTrue
	}
}

// isJSON reports whether a content type is JSON's.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/json"
}
