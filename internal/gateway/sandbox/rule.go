package sandbox

import (
	"slices"
	"sync"
	"time"
)

// A Rule makes the sandbox misbehave for the requests that match. A request is
// touched by the first rule of the script that matches and is not used up.
type Rule struct {
	Match Match
	When  When
	Do    Action

	// Code is the refusal code of ActionRefuse, at the Mastercard Gateway the
	// acquirer's; or the HTTP status of ActionStatus (500 if 0) and ActionRedirect
	// (307 if 0).
	Code int
	// Times is how many requests the rule touches; 0 is all of them.
	Times int

	// The rest is for some actions only; the zero value is a good one.

	RetryAfter int           // ActionStatus: seconds in a Retry-After header; 0 is no header
	Transient  *bool         // ActionStatus: the transient-error header; nil is true for 429 and 503 before acting
	ErrorCode  string        // ActionStatus: errorCode of the body
	ErrorType  string        // ActionStatus: errorType of the body
	Body       Body          // ActionStatus and ActionGarbage: what stands in the body
	Wait       time.Duration // ActionDelay: how long
	Operation  string        // only requests of this kind: payments, sessions, storedPaymentMethods, disable, or an apiOperation; empty is all that are about money
	With       string        // ActionRefuse: the Mastercard Gateway's gatewayCode; ActionResult: the resultCode; ActionWrongAmount, …Currency, …Reference: the wrong value; ActionRedirect: where to
	Rate       int           // ActionDrip: bytes a second; 0 is 1
	Size       int64         // BodyHuge: bytes; 0 is 1 GiB
}

// A Match says which requests a rule, or a hold, is about. Exactly one field is set.
type Match struct {
	// Reference is the payment's reference or its merchantOrderReference: the
	// reference of one attempt, or of the charge with all its attempts. At the
	// Mastercard Gateway these are <order.id>~<transaction.id> and order.id.
	Reference string
	Token     string // paymentMethod.storedPaymentMethodId; sourceOfFunds.token, or token
	Every     int    // each n-th request since the script was set; 1 is all
}

// When says on which side of acting a rule works.
type When string

const (
	WhenBefore When = "before" // no payment is made
	WhenAfter  When = "after"  // the payment is made and its answer kept under the key, then the answer is spoiled
)

// An Action is what a rule does.
type Action string

const (
	// These two decide what becomes of the payment. They touch only requests
	// that are worked on for the first time, and mean the same before and after.

	ActionRefuse Action = "refuse" // the payment is refused with Code
	ActionResult Action = "result" // the payment ends with the resultCode With, known or not

	// ActionStoredIOError answers 500 and keeps that under the key: before, no
	// payment is made and none ever will be with that key; after, it is made.
	ActionStoredIOError Action = "stored_io_error"

	// ActionForgetKey drops the answer kept under the key: before, the request
	// is worked on as a first one; after, the next one with the key will be.
	ActionForgetKey Action = "forget_key"

	ActionDelay Action = "delay" // waits for Wait, before or after acting, then goes on as usual

	// The others spoil the answer.

	ActionReset          Action = "reset"           // the connection is reset
	ActionDrop           Action = "drop"            // no answer, until the client goes
	ActionStatus         Action = "status"          // an HTTP status and an error body
	ActionDrip           Action = "drip"            // the answer comes at Rate bytes a second; before: of a transient error
	ActionGarbage        Action = "garbage"         // 200 with a body that is not the answer, see Body
	ActionWrongAmount    Action = "wrong_amount"    // the answer names another amount
	ActionWrongCurrency  Action = "wrong_currency"  // the answer names another currency
	ActionWrongReference Action = "wrong_reference" // the answer names another merchantReference
	ActionRedirect       Action = "redirect"        // to With
	ActionContinue       Action = "continue"        // 100 Continue, which nobody asked for, then the answer; before: then a transient error
)

// A Body is what stands in a spoiled body.
type Body string

const (
	BodyBytes         Body = "bytes"          // ActionGarbage's default: bytes that are no text
	BodyHTML          Body = "html"           // an HTML page
	BodyEmpty         Body = "empty"          // nothing
	BodyTruncated     Body = "truncated"      // the first half of the answer, as if it were all
	BodyCut           Body = "cut"            // the first half of the answer, then the connection is closed
	BodyHuge          Body = "huge"           // a JSON string that goes on for Size bytes
	BodyDuplicateKeys Body = "duplicate_keys" // the answer with a second, contradicting resultCode, amount and merchantReference
	BodyContentType   Body = "content_type"   // the answer, called text/plain
	BodyOther         Body = "other"          // valid JSON that is no answer to a payment
)

var (
	allWhens   = []When{WhenBefore, WhenAfter}
	allActions = []Action{ActionRefuse, ActionResult, ActionStoredIOError, ActionForgetKey, ActionDelay, ActionReset, ActionDrop, ActionStatus,
		ActionDrip, ActionGarbage, ActionWrongAmount, ActionWrongCurrency, ActionWrongReference, ActionRedirect, ActionContinue}
	allBodies = []Body{BodyBytes, BodyHTML, BodyEmpty, BodyTruncated, BodyCut, BodyHuge, BodyDuplicateKeys, BodyContentType, BodyOther}
)

// decides reports whether the rule says what becomes of the payment, and so
// touches only a request that is worked on for the first time.
func (r *Rule) decides() bool {
	switch r.Do {
	case ActionRefuse, ActionResult, ActionStoredIOError:
		return true
	case ActionStatus:
		return r.When == WhenBefore && r.keptStatus()
	}
	return false
}

// keptStatus reports whether an error of this kind is one that the gateway
// keeps under the key: it is sure to come again for the same request.
func (r *Rule) keptStatus() bool {
	switch r.status() {
	case 422:
		return r.ErrorCode != errorInProgress
	case 500:
		return slices.Contains([]string{typeValidation, typeConfiguration, typeSecurity}, r.ErrorType)
	}
	return false
}

func (r *Rule) status() int {
	if r.Code == 0 {
		return 500
	}
	return r.Code
}

// A turn is the place of a request among those that came since a script was set,
// or a hold: among those about money, and among those of its operation.
type turn struct{ ofAll, ofOperation int64 }

// isMeant reports whether a request is one of operation, and its place among those.
func (t turn) isMeant(operation string, req *request) (n int64, meant bool) {
	if operation == "" {
		return t.ofAll, req.moves
	}
	return t.ofOperation, operation == req.operation
}

// matches reports whether the n-th request is one that m is about.
func (m *Match) matches(req *request, n int64) bool {
	switch {
	case m.Every > 0:
		return n%int64(m.Every) == 0
	case m.Token != "":
		return m.Token == req.token
	}
	return m.Reference == req.reference || m.Reference == req.merchantOrderReference
}

// A script is the list of rules in force, with what each has done so far.
type script struct {
	mu    sync.Mutex
	rules []Rule
	used  []int
	turns turns
}

// turns count requests.
type turns struct {
	all         int64
	ofOperation map[string]int64
}

// next returns the turn of a request.
func (t *turns) next(req *request) turn {
	if t.ofOperation == nil {
		t.ofOperation = make(map[string]int64)
	}
	if req.moves {
		t.all++
	}
	n := t.ofOperation[req.operation] + 1
	t.ofOperation[req.operation] = n
	return turn{t.all, n}
}

func (s *script) set(rules []Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.used, s.turns = slices.Clone(rules), make([]int, len(rules)), turns{}
}

// next returns the rule that touches the request, or nil. first says that the
// request is worked on for the first time, not an answer given again.
func (s *script) next(req *request, first bool) *Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.turns.next(req)
	for i := range s.rules {
		rule := &s.rules[i]
		if rule.Times > 0 && s.used[i] >= rule.Times || rule.decides() && !first {
			continue
		}
		if n, meant := now.isMeant(rule.Operation, req); !meant || !rule.Match.matches(req, n) {
			continue
		}
		s.used[i]++
		return rule
	}
	return nil
}
