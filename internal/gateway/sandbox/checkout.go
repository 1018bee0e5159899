package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// How long a session of Adyen's can be completed.
const (
	checkoutLife    = time.Hour
	maxCheckoutLife = 24 * time.Hour
)

// What storePaymentMethodMode may be.
const (
	storeDisabled = "disabled"
	storeAsk      = "askForConsent"
	storeEnabled  = "enabled"
)

// A checkout is a session of Adyen's, in which a shopper pays, or only stores a card.
type checkout struct {
	ID              string `json:"id"`
	MerchantAccount string `json:"merchant_account"`
	Reference       string `json:"reference"`
	ReturnURL       string `json:"return_url"`
	Shopper         string `json:"shopper_reference,omitempty"`
	Model           string `json:"model,omitempty"`
	Store           string `json:"store"` // storePaymentMethodMode
	Currency        string `json:"currency"`
	Value           int64  `json:"value"`
	Amount          int64  `json:"amount"` // the value in minor units of ISO 4217
	Expires         int64  `json:"expires"`
	Result          string `json:"result,omitempty"` // of its payment; empty before
	Seq             uint64 `json:"seq,omitempty"`    // of its payment
	Paid            int64  `json:"paid,omitempty"`   // when that was
	Card            string `json:"card,omitempty"`
	Expiry          string `json:"expiry,omitempty"`
}

// checkoutBook has all sessions of Adyen's.
type checkoutBook struct {
	mu        sync.Mutex
	checkouts map[string]*checkout
}

func (b *checkoutBook) put(c *checkout) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.checkouts == nil {
		b.checkouts = make(map[string]*checkout)
	}
	b.checkouts[c.ID] = c
}

func (b *checkoutBook) get(id string) (checkout, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.checkouts[id]; c != nil {
		return *c, true
	}
	return checkout{}, false
}

// adyenSessions is POST /sessions: what a merchant calls before a shopper types a
// card into its page.
type adyenSessions struct{ *adyenPayments }

// sessionRequest is what the sandbox reads of CreateCheckoutSessionRequest.
type sessionRequest struct {
	MerchantAccount          string     `json:"merchantAccount"`
	Amount                   *amountDTO `json:"amount"`
	Reference                string     `json:"reference"`
	ReturnURL                string     `json:"returnUrl"`
	ShopperReference         string     `json:"shopperReference"`
	ShopperInteraction       string     `json:"shopperInteraction"`
	RecurringProcessingModel string     `json:"recurringProcessingModel"`
	StorePaymentMethodMode   string     `json:"storePaymentMethodMode"`
	StorePaymentMethod       bool       `json:"storePaymentMethod"`
	ExpiresAt                *time.Time `json:"expiresAt"`
	Mode                     string     `json:"mode"`
}

// amountDTO is Adyen's amount.
type amountDTO struct {
	Currency string `json:"currency"`
	Value    *int64 `json:"value"`
}

// read implements dialect.
func (d *adyenSessions) read(x *exchange) *apiError {
	if wrong := d.readJSON(x); wrong != nil {
		return wrong
	}
	if err := x.req.decode(x.body); err != nil { // as strict as for payments, and it looks for card data
		return unreadable("Unexpected input: " + err.Error())
	}
	x.req.operation, x.req.moves = operationSessions, false
	if x.req.cardData != "" {
		d.noteCardData(&x.req)
	}
	return nil
}

// act implements dialect: it opens a session.
func (d *adyenSessions) act(x *exchange, rule *Rule) reply {
	if answer, ruled := d.asRuled(x, rule); ruled {
		return answer
	}
	c, wrong := d.open(x)
	if wrong != nil {
		return d.keepError(x, wrong)
	}
	r := record{kind: recordSession, status: http.StatusCreated, seq: d.next(x), at: d.clock.now().UnixNano()}
	c.ID = "CS" + string(x.psp)
	var err error
	if r.detail, err = json.Marshal(c); err != nil {
		panic(err) // a struct of texts and numbers
	}
	if rule != nil && rule.Do == ActionStoredIOError {
		r.status = errStoredIO.status
		x.answer = errStoredIO.appendTo(x.answer[:0], x.psp)
	} else {
		x.answer = c.appendAnswer(x.answer[:0])
	}
	answer, offset := d.keep(x, r)
	if offset != 0 {
		d.checkouts.put(c)
	}
	return answer
}

// open checks a request for a session, and makes it.
func (d *adyenSessions) open(x *exchange) (*checkout, *apiError) {
	var req sessionRequest
	if err := json.Unmarshal(x.body, &req); err != nil {
		return nil, invalid(errorUnreadable, "A field has the wrong type.")
	}
	if wrong := d.validateAccount(&x.req); wrong != nil {
		return nil, wrong
	}
	amount, wrong := validateAmount(&x.req)
	if wrong != nil {
		return nil, wrong
	}
	store := req.StorePaymentMethodMode
	if store == "" {
		store = storeDisabled
		if req.StorePaymentMethod {
			store = storeEnabled
		}
	}
	now := d.clock.now()
	expires := now.Add(checkoutLife)
	if req.ExpiresAt != nil {
		expires = *req.ExpiresAt
	}
	switch {
	case req.Reference == "" || len(req.Reference) > maxReference:
		return nil, invalid(errorReference, "Required field 'reference' is not provided, or longer than 80 characters.")
	case req.ReturnURL == "" || len(req.ReturnURL) > d.version.returnURL:
		return nil, invalid(errorReturnURL, "Return URL is missing, or too long.")
	case !slices.Contains([]string{storeDisabled, storeAsk, storeEnabled}, store):
		return nil, invalid(errorGeneral, "Field 'storePaymentMethodMode' is not valid.")
	case store != storeDisabled && (len(req.ShopperReference) < minShopperReference || len(req.ShopperReference) > maxShopperReference):
		return nil, invalid(errorGeneral, "Recurring payments need a shopperReference of 3 to 256 characters.")
	case store != storeDisabled && !slices.Contains([]string{modelCardOnFile, modelSubscribed, modelUnscheduled}, req.RecurringProcessingModel):
		return nil, invalid(errorGeneral, "Field 'recurringProcessingModel' is not valid.")
	case expires.Before(now) || expires.After(now.Add(maxCheckoutLife)):
		return nil, invalid(errorGeneral, "Field 'expiresAt' is not within 24 hours.")
	}
	return &checkout{
		MerchantAccount: req.MerchantAccount, Reference: req.Reference, ReturnURL: req.ReturnURL, Shopper: req.ShopperReference,
		Model: req.RecurringProcessingModel, Store: store, Currency: x.req.currency, Value: x.req.value, Amount: amount, Expires: expires.UnixNano(),
	}, nil
}

// appendAnswer appends what Adyen answers. It never has a token: the token comes
// with a webhook, after the shopper paid.
func (c *checkout) appendAnswer(b []byte) []byte {
	b = appendMember(b, `{"amount":{"currency":`, c.Currency)
	b = append(b, fmt.Sprintf(`,"value":%d}`, c.Value)...)
	b = appendMember(b, `,"expiresAt":`, time.Unix(0, c.Expires).In(eventZone).Format(eventTime))
	b = appendMember(b, `,"id":`, c.ID)
	b = appendMember(b, `,"merchantAccount":`, c.MerchantAccount)
	b = append(b, `,"mode":"embedded"`...)
	b = appendMember(b, `,"reference":`, c.Reference)
	b = appendMember(b, `,"returnUrl":`, c.ReturnURL)
	b = appendMember(b, `,"sessionData":`, "sandbox!"+c.ID)
	if c.Shopper != "" {
		b = appendMember(b, `,"shopperReference":`, c.Shopper)
	}
	if c.Store != storeDisabled {
		b = append(b, `,"storePaymentMethod":true`...)
		b = appendMember(b, `,"storePaymentMethodMode":`, c.Store)
	}
	return append(b, '}')
}

// untrue implements dialect.
func (d *adyenSessions) untrue(x *exchange) reply {
	c := checkout{ID: "CS" + nobody, MerchantAccount: x.req.merchantAccount, Reference: x.req.reference, Store: storeDisabled, Currency: x.req.currency, Value: x.req.value}
	x.answer = c.appendAnswer(x.answer[:0])
	return reply{status: http.StatusCreated, body: x.answer}
}
