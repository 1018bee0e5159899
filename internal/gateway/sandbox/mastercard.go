package sandbox

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/contauth/contauth/internal/secret"
)

// MastercardOptions say how the Mastercard Gateway behaves. The zero value is good.
type MastercardOptions struct {
	// Passwords are the API passwords that are good; there can be two at a time.
	// None makes every password good that is not empty.
	Passwords []secret.String
	// Generation and Management are how the token repository is set up at first;
	// empty is RANDOM_WITH_LUHN and UNIQUE_TOKEN.
	Generation Generation
	Management Management
	// Verification is the profile's way to verify a card that is stored: ACQUIRER,
	// BASIC or NONE; empty is BASIC.
	Verification string
	// StrictTokens lets only tokens exist that were stored here. Otherwise a token
	// that nobody has heard of counts as one that was stored before.
	StrictTokens bool
	// StoreDeclined stores a card although its verification failed: the gateway's
	// pages leave open what becomes of it.
	StoreDeclined bool
	// OldUsage gives the times of a token in the shape of older versions.
	OldUsage bool
	// OnlyKnownFields leaves out the field that no reader can know.
	OnlyKnownFields bool
	// StrangeEvery gives each n-th transaction an enumeration value that nobody
	// knows; 0 is none.
	StrangeEvery int
}

// check returns what is wrong with the options, and fills in what is left out.
func (o *MastercardOptions) check() error {
	if o.Generation == "" {
		o.Generation = GenerationRandom
	}
	if o.Management == "" {
		o.Management = ManagementUniqueToken
	}
	if o.Verification == "" {
		o.Verification = verifyBasic
	}
	s := strategy{o.Generation, o.Management}
	if err := s.check(); err != nil {
		return err
	}
	if !slices.Contains(allVerifications, o.Verification) {
		return fmt.Errorf("verification is %q; it is one of %s", o.Verification, oneOf(allVerifications))
	}
	if o.StrangeEvery < 0 {
		return fmt.Errorf("strange every is %d; it cannot be below zero", o.StrangeEvery)
	}
	return nil
}

// Where the NVP dialect is spoken, and its version.
const (
	nvpVersion = "100"
	nvpPath    = "/mastercard/api/nvp/version/" + nvpVersion
)

// gatewayVersion is what GET …/information tells.
const gatewayVersion = "26.1.0-sandbox"

var headerForm = []string{"text/plain;charset=UTF-8"}

var mastercardManners = manners{
	id:           dialectMastercard,
	contentType:  headerForm,
	otherBody:    errOtherContent,
	running:      errLocked,
	noConnection: errBusy,
	storedIO:     errServerFailed,
	ledger:       errBusy,
	statusErrors: nvpStatusErrors,
	spoiled: spoiledBodies{
		contentType: "application/octet-stream",
		other:       "status=ok&items=3",
		begins:      "gatewayEntryPoint=",
		ends:        "&result=SUCCESS",
		doubled: func(body []byte) []byte {
			return append(append([]byte(nil), body...), "&result=FAILURE&response.gatewayCode=DECLINED&order.id=another&order.amount=0.01&order.currency=XXX"...)
		},
	},
}

// A mastercard is a gateway of Mastercard's that is spoken to in NVP.
type mastercard struct {
	*Server
	options   MastercardOptions
	passwords [][]byte
	orders    orderBook
	tokens    *tokenBook
	sessions  sessionBook
}

func newMastercard(s *Server, options MastercardOptions) (*mastercard, error) {
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("mastercard: %w", err)
	}
	m := &mastercard{
		Server: s, options: options,
		orders:   orderBook{orders: make(map[keyName]order)},
		tokens:   newTokenBook(strategy{options.Generation, options.Management}, options.StrictTokens),
		sessions: sessionBook{sessions: make(map[string]*hostedSession)},
	}
	for _, password := range options.Passwords {
		m.passwords = append(m.passwords, []byte(password.Reveal()))
	}
	return m, nil
}

func (m *mastercard) manners() *manners { return &mastercardManners }

// read checks who asks, and reads a form whose fields are good, each by itself.
func (m *mastercard) read(x *exchange) *apiError {
	if kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return errNotNVP
	}
	if wrong := m.readBody(x); wrong != nil {
		return wrong
	}
	f := &x.form
	if err := f.decode(x.body); err != nil {
		return &apiError{status: http.StatusBadRequest, message: "Unexpected input: " + err.Error()}
	}
	if !m.isMerchant(f) {
		return errBadCredentials
	}
	m.describe(x)
	if x.req.cardData != "" {
		m.noteCardData(&x.req)
		return invalidField(x.req.cardData, "The sandbox takes no card numbers and no security codes.")
	}
	if x.req.operation == "" {
		return missingField("apiOperation")
	}
	if x.operation = operationNamed(x.req.operation); x.operation == nil {
		return invalidField("apiOperation", "There is no such operation.")
	}
	if wrong := checkFields(f, x.operation.name); wrong != nil {
		return wrong
	}
	if x.operation.kind != "" {
		m.identify(x)
	}
	return nil
}

// isMerchant reports whether a request bears good credentials.
func (m *mastercard) isMerchant(f *form) bool {
	merchant, password := f.get("merchant"), []byte(f.get("apiPassword"))
	if merchant == "" || f.get("apiUsername") != "merchant."+merchant || len(password) == 0 {
		return false
	}
	if len(m.accounts) > 0 && !slices.Contains(m.accounts, merchant) {
		return false
	}
	for _, good := range m.passwords {
		if subtle.ConstantTimeCompare(password, good) == 1 {
			return true
		}
	}
	return len(m.passwords) == 0
}

// describe fills in what rules, holds and alarms want to know of a request.
func (m *mastercard) describe(x *exchange) {
	f := &x.form
	x.req = request{operation: f.get("apiOperation"), merchantAccount: f.get("merchant"), merchantOrderReference: f.get("order.id")}
	if x.req.token = f.get("sourceOfFunds.token"); x.req.token == "" {
		x.req.token = f.get("token")
	}
	if id := f.get("transaction.id"); id != "" {
		x.req.reference = x.req.merchantOrderReference + "~" + id
	}
	for _, name := range []string{"sourceOfFunds.provided.card.number", "sourceOfFunds.provided.card.securityCode"} {
		if f.has(name) && x.req.cardData == "" {
			x.req.cardData = name
		}
	}
}

// identify makes the key of a transaction: merchant, order.id and transaction.id.
// The rest of the request, but who asks and correlationId, must be the same when
// it comes again.
func (m *mastercard) identify(x *exchange) {
	f := &x.form
	orderKey := orderKey(f.get("merchant"), f.get("order.id"))
	x.key = orderKey + "/" + keyPart(f.get("transaction.id"))
	x.req.moves = true
	x.req.currency = f.get("order.currency")
	amount := f.get("order.amount")
	if x.req.currency == "" {
		x.req.currency, amount = f.get("transaction.currency"), f.get("transaction.amount")
	}
	x.req.value, _ = parseAmount(amount, currencies[x.req.currency].iso)
	x.orders, x.order = &m.orders, x.keys.name([]byte(orderKey))
	sum := sha256.New()
	for _, field := range f.fields {
		switch field.name {
		case "apiUsername", "apiPassword", "correlationId":
			continue
		}
		var length [8]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(field.name)))
		binary.BigEndian.PutUint32(length[4:], uint32(len(field.value)))
		sum.Write(length[:])
		sum.Write([]byte(field.name))
		sum.Write([]byte(field.value))
	}
	x.bodySum = binary.BigEndian.Uint64(sum.Sum(nil))
}

// orderKey names an order of a merchant; the key of a transaction goes on from it.
func orderKey(merchant, order string) string { return keyPart(merchant) + "/" + keyPart(order) }

// keyPart makes a name fit between two slashes.
func keyPart(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "%", "%25"), "/", "%2F")
}

func (m *mastercard) act(x *exchange, rule *Rule) reply {
	if answer, ruled := m.asRuled(x, rule); ruled {
		return answer
	}
	answer := x.operation.do(m, x, rule)
	if rule != nil && rule.Do == ActionStoredIOError && x.key == "" {
		return x.errorReply(errServerFailed)
	}
	return answer
}

// refuse answers with an error, after which nothing stands under the key: the
// gateway refuses before it makes a transaction.
func (m *mastercard) refuse(x *exchange, e *apiError) reply {
	x.releaseKey()
	return x.errorReply(e)
}

// untrue pretends that a charge was approved. Of anything else there is nothing to
// pretend.
func (m *mastercard) untrue(x *exchange) reply {
	f := &x.form
	if !x.req.moves {
		x.answer = appendField(x.answer[:0], "result", resultSuccess)
		return reply{status: http.StatusOK, body: x.answer}
	}
	t := m.begin(x, x.req.value)
	t.verdict, t.Granted, t.Receipt = verdicts[codeApproved], t.Amount, "000000000000"
	var o order
	o.add(t)
	told := &nvpAnswer{t, o, f.get("correlationId")}
	x.answer = told.appendTo(x.answer[:0])
	return reply{status: http.StatusOK, body: x.answer, told: told}
}

func (m *mastercard) appendError(b []byte, x *exchange, e *apiError, psp []byte) []byte {
	return appendNVPError(b, &x.form, e, psp)
}

func (m *mastercard) setHeader(*exchange, reply) {}

// handleInformation tells that the gateway is there. Clients ask it before they
// have credentials.
func (m *mastercard) handleInformation(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = headerForm
	b := appendField(nil, "gatewayVersion", gatewayVersion)
	w.Write(appendField(b, "status", "OPERATING"))
}

// recall takes a record of the ledger into memory.
func (m *mastercard) recall(offset int64, r *record) error {
	switch r.kind {
	case recordToken:
		return m.tokens.recall(r.detail)
	case recordSession:
		return m.sessions.recall(r.detail)
	case recordPayment, recordVerification, recordModification, recordResolved:
		t := new(transaction)
		if err := json.Unmarshal(r.detail, t); err != nil {
			return err
		}
		if r.kind == recordResolved {
			m.Server.resolutions.add(r.seq, offset)
		}
		m.count(t, offset, r.kind)
	}
	return nil
}

// count adds a transaction that stands in the ledger to its order, and does to its
// token what it brings about.
func (m *mastercard) count(t *transaction, offset int64, kind recordKind) {
	name := m.keys[dialectMastercard].name([]byte(orderKey(t.Merchant, t.Order)))
	m.orders.change(name, func(o *order) {
		o.add(t)
		if kind != recordResolved {
			o.last = offset
		}
	})
	if t.Token != "" {
		m.tokens.used(t)
	}
}
