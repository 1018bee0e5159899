package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// remembered is what a payment in a session changes besides the ledger: one record
// has all of it, so that no crash can part them.
type remembered struct {
	Checkout *checkout     `json:"checkout,omitempty"`
	Method   *storedMethod `json:"method,omitempty"` // a token that was made with it
}

// recallTokens takes what a record tells of Adyen's tokens and sessions into memory.
func (s *Server) recallTokens(offset int64, r *record) error {
	if r.kind == recordResolved {
		s.resolutions.add(r.seq, offset)
	}
	switch {
	case len(r.detail) == 0:
		return nil
	case r.kind == recordToken:
		return s.methods.recall(r.detail)
	case r.kind == recordSession:
		c := new(checkout)
		if err := json.Unmarshal(r.detail, c); err != nil {
			return err
		}
		s.checkouts.put(c)
		return nil
	}
	var also remembered
	if err := json.Unmarshal(r.detail, &also); err != nil {
		return err
	}
	s.remember(&also)
	return nil
}

func (s *Server) remember(also *remembered) {
	if also.Checkout != nil {
		s.checkouts.put(also.Checkout)
	}
	if also.Method != nil {
		s.methods.put(also.Method)
	}
}

// A checkoutResult is what POST /sandbox/checkouts/{id} takes: what the shopper
// typed, and what became of it.
type checkoutResult struct {
	Result      string   `json:"result"`
	RefusalCode int      `json:"refusal_code"` // of Refused; 2 if left out
	Card        string   `json:"card"`         // the name of a test card
	Expiry      string   `json:"expiry"`       // MM/YY; 03/30 if left out
	Consent     *bool    `json:"consent"`      // to storing the card, where the shopper is asked; true if left out
	Webhooks    []string `json:"webhooks"`     // those to send; all if left out
}

// checkoutWebhooks are what a payment in a session may send.
var checkoutWebhooks = []string{"AUTHORISATION", "RECURRING_CONTRACT", tokenEventPrefix + "created", tokenEventPrefix + "alreadyExisting"}

// checkoutResults are what a payment in a session may come to.
var checkoutResults = []string{resultAuthorised, resultPending, resultRefused, resultError, resultCancelled}

// check returns what is wrong with a result by itself.
func (c *checkoutResult) check() error {
	if !slices.Contains(checkoutResults, c.Result) {
		return fmt.Errorf("result is %q; it is one of %s", c.Result, oneOf(checkoutResults))
	}
	if c.RefusalCode != 0 && c.Result != resultRefused {
		return fmt.Errorf("refusal_code is for %s", resultRefused)
	}
	for _, code := range c.Webhooks {
		if !slices.Contains(checkoutWebhooks, code) {
			return fmt.Errorf("webhooks has %q; known are %s", code, oneOf(checkoutWebhooks))
		}
	}
	return checkExpiry(c.Expiry)
}

// checkoutState is what it gives.
type checkoutState struct {
	PSPReference string `json:"psp_reference"`
	Result       string `json:"result"`
	Token        string `json:"token"`     // empty if none stands for the card
	Operation    string `json:"operation"` // created or alreadyExisting
}

var errNoCheckout = &controlError{http.StatusNotFound, errors.New("there is no such session of Adyen's")}

// handleCheckout stands for the shopper who pays in a session. A second call decides
// a payment that is pending; others are refused.
func (s *Server) handleCheckout(w http.ResponseWriter, r *http.Request) error {
	var wanted checkoutResult
	if err := readJSON(r, &wanted); err != nil {
		return err
	}
	if err := wanted.check(); err != nil {
		return badRequest(err)
	}
	s.shoppers.Lock()
	defer s.shoppers.Unlock()
	c, found := s.checkouts.get(r.PathValue("id"))
	if !found {
		return errNoCheckout
	}
	if err := c.begin(&wanted, s.clock.now()); err != nil {
		return err
	}
	state, line, err := s.complete(&c, &wanted)
	if err != nil {
		return err
	}
	s.tellOfCheckout(&wanted, state, line)
	writeJSON(w, http.StatusOK, state)
	return nil
}

// begin notes what the shopper typed, if the session can be completed.
func (c *checkout) begin(wanted *checkoutResult, now time.Time) error {
	switch {
	case c.Result != "" && c.Result != resultPending:
		return &controlError{http.StatusConflict, fmt.Errorf("the session was completed: %s", c.Result)}
	case c.Result == "" && now.UnixNano() >= c.Expires:
		return &controlError{http.StatusConflict, errors.New("the session has expired")}
	case c.Result == "":
		c.Card, c.Expiry = wanted.Card, wanted.Expiry
		if c.Expiry == "" {
			c.Expiry = "03/30"
		}
	case wanted.Result == resultPending:
		return &controlError{http.StatusConflict, errors.New("the payment is pending already")}
	}
	if _, known := testCardNamed(c.Card); !known {
		return badRequest(unknownCard(c.Card))
	}
	return nil
}

// complete makes the payment of a session, or decides it, and the token with it.
func (s *Server) complete(c *checkout, wanted *checkoutResult) (*checkoutState, *ledgerLine, error) {
	typed, _ := testCardNamed(c.Card)
	state := &checkoutState{Result: wanted.Result}
	also := remembered{Checkout: c}
	now := s.clock.now()
	first := c.Seq == 0
	if first {
		c.Seq, c.Paid = s.seq.Add(1), now.UnixNano()
	}
	c.Result = wanted.Result
	stores := c.Store == storeEnabled || c.Store == storeAsk && (wanted.Consent == nil || *wanted.Consent)
	if wanted.Result == resultAuthorised && stores {
		if held := s.methods.holder(c.MerchantAccount, c.Shopper, typed.name); held != nil {
			state.Token, state.Operation = held.Token, "alreadyExisting"
		} else {
			state.Token, state.Operation = string(appendPSPReference(nil, s.ledger.seed, s.seq.Add(1))), "created"
			also.Method = &storedMethod{
				Token: state.Token, MerchantAccount: c.MerchantAccount, Shopper: c.Shopper, Account: typed.account(c.Expiry), Created: now.UnixNano(),
			}
		}
	}
	req := request{
		merchantAccount: c.MerchantAccount, reference: c.Reference, token: state.Token, shopperReference: c.Shopper,
		model: c.Model, value: c.Value, currency: c.Currency,
	}
	p := &payment{
		req: &req, card: typed.account(c.Expiry).card(), amount: c.Amount, outcome: outcomeNamed(wanted.Result),
		seq: c.Seq, psp: appendPSPReference(nil, s.ledger.seed, c.Seq), at: time.Unix(0, c.Paid),
	}
	if wanted.RefusalCode != 0 {
		p.outcome = refused(wanted.RefusalCode)
	}
	detail, err := json.Marshal(&also)
	if err != nil {
		return nil, nil, err
	}
	kind := p.recordKind()
	if !first {
		kind = recordResolved
	}
	offset, err := s.ledger.append(&record{kind: kind, seq: c.Seq, at: now.UnixNano(), line: p.appendLine(nil), detail: detail})
	if err != nil {
		return nil, nil, err
	}
	s.countRecord(kind)
	if !first {
		s.resolutions.add(c.Seq, offset)
	}
	s.remember(&also)
	state.PSPReference = string(p.psp)
	line := p.ledgerLine()
	line.session, line.stored = c.ID, state.Operation
	return state, line, nil
}

// tellOfCheckout sends the webhooks of a payment in a session.
func (s *Server) tellOfCheckout(wanted *checkoutResult, state *checkoutState, line *ledgerLine) {
	if s.webhooks == nil || wanted.Result == resultPending {
		return
	}
	now := s.clock.now()
	send := func(code string, e event) {
		if wanted.Webhooks == nil || slices.Contains(wanted.Webhooks, code) {
			s.webhooks.order(e)
		}
	}
	authorisation := line.authorisation(wanted.Result == resultAuthorised, now)
	send("AUTHORISATION", &authorisation)
	if state.Token == "" {
		return
	}
	contract := line.contract(now)
	send("RECURRING_CONTRACT", &contract)
	kind := tokenEventPrefix + state.Operation
	send(kind, line.tokenEvent(kind, line.PSPReference, now))
}

// A methodChange is what PUT /sandbox/methods/{token} takes.
type methodChange struct {
	MerchantAccount string `json:"merchant_account"`
	Shopper         string `json:"shopper_reference"`
	Card            string `json:"card"`
	Expiry          string `json:"expiry"`
}

// handleMethod puts a token of a shopper into the book: one that was stored
// elsewhere, or one whose card was replaced. A second call replaces it again.
func (s *Server) handleMethod(w http.ResponseWriter, r *http.Request) error {
	var to methodChange
	if err := readJSON(r, &to); err != nil {
		return err
	}
	card, known := testCardNamed(to.Card)
	switch {
	case !known:
		return badRequest(unknownCard(to.Card))
	case to.MerchantAccount == "" || to.Shopper == "":
		return badRequest(errors.New("the token needs merchant_account and shopper_reference"))
	}
	if err := checkExpiry(to.Expiry); err != nil {
		return badRequest(err)
	}
	if to.Expiry == "" {
		to.Expiry = "03/30"
	}
	m := &storedMethod{
		Token: r.PathValue("token"), MerchantAccount: to.MerchantAccount, Shopper: to.Shopper,
		Account: card.account(to.Expiry), Created: s.clock.now().UnixNano(),
	}
	if old := s.methods.find(m.Token); old != nil {
		m.Created = old.Created
	}
	if err := s.keepMethod(m); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, json.RawMessage(m.appendTo(nil)))
	return nil
}
