package adyen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// ecommerce is the shopperInteraction of a shopper who enters a payment method.
const ecommerce = "Ecommerce"

// cardOnFile is the recurringProcessingModel of a payment that its shopper makes
// with a stored method.
const cardOnFile = "CardOnFile"

var sessionModels = []string{string(billing.ModelSubscription), string(billing.ModelUnscheduledCardOnFile), cardOnFile}

// The values of storePaymentMethodMode that store.
const (
	storeAsked  = "askForConsent" // the shopper ticks a box
	storeAlways = "enabled"       // storing is part of the agreement
)

// OpenSession implements tokens.Vault: one POST /sessions (Adyen, "Create and use
// tokens with the Sessions flow"). The answer has no token: it comes by webhook
// when the shopper is done.
//
// A session to pay with a token is for CardOnFile alone; Adyen takes the other two
// models at /payments, without the shopper. It needs "skipCvcForOneClick" of the
// account, because no security code is ever in our hands.
func (v *Vault) OpenSession(ctx context.Context, req tokens.SessionRequest) (tokens.Session, error) {
	session, err := v.openSession(ctx, req)
	if err != nil {
		return tokens.Session{}, fmt.Errorf("adyen: open a session: %w", err)
	}
	return session, nil
}

func (v *Vault) openSession(ctx context.Context, req tokens.SessionRequest) (tokens.Session, error) {
	order, err := newSessionOrder(v.options.MerchantAccount, req)
	if err != nil {
		return tokens.Session{}, err
	}
	body, err := bodyOf(order)
	if err != nil {
		return tokens.Session{}, err
	}
	answer, err := v.send(ctx, vaultRequest{
		method: http.MethodPost, path: "/sessions", key: req.Key, body: body,
		private: order.private(req.Key),
	})
	if err != nil {
		return tokens.Session{}, err
	}
	body, err = readable(answer, http.StatusOK, http.StatusCreated)
	if err != nil {
		return tokens.Session{}, err
	}
	opened, err := parseSession(body)
	if err == nil {
		err = opened.compare(order)
	}
	if err != nil {
		return tokens.Session{}, unanswered(fmt.Errorf("HTTP %d: %w", answer.Status, err))
	}
	return opened.session, nil
}

// A sessionOrder is the body of POST /sessions.
type sessionOrder struct {
	MerchantAccount  string          `json:"merchantAccount"`
	Amount           wireValue       `json:"amount"`
	Reference        string          `json:"reference"`
	ReturnURL        string          `json:"returnUrl"`
	PaymentMethod    *storedMethodID `json:"paymentMethod,omitempty"` // to pay with it
	ShopperReference string          `json:"shopperReference"`
	Interaction      string          `json:"shopperInteraction"`
	Model            string          `json:"recurringProcessingModel"`
	StoreMode        string          `json:"storePaymentMethodMode,omitempty"` // to store one
}

// private is what no error may repeat of an order. An empty text hides nothing.
func (o sessionOrder) private(key string) []string {
	texts := []string{o.ShopperReference, key}
	if o.PaymentMethod != nil {
		texts = append(texts, o.PaymentMethod.ID)
	}
	return texts
}

// newSessionOrder checks req against Adyen's limits. Its error is a
// tokens.ErrInvalid and repeats nothing secret.
func newSessionOrder(account string, req tokens.SessionRequest) (sessionOrder, error) {
	o := sessionOrder{
		MerchantAccount: account, Reference: req.Reference, ReturnURL: req.ReturnURL,
		ShopperReference: req.ShopperReference, Model: req.Model,
	}
	if err := o.setPurpose(req); err != nil {
		return o, err
	}
	if err := tokens.ValidateShopperReference(req.ShopperReference); err != nil {
		return o, err
	}
	if err := checkKey(req.Key); err != nil {
		return o, err
	}
	if err := checkText("reference", req.Reference, 1, maxReference); err != nil {
		return o, err
	}
	if !isVisibleASCII(req.Reference) || strings.ContainsAny(req.Reference, `:\`) {
		// The signature of a webhook joins its fields with colons.
		return o, invalid(`the reference has a space, a colon, a '\' or a letter that is not ASCII`)
	}
	if err := checkText("return URL", req.ReturnURL, 1, maxReturnURL); err != nil {
		return o, err
	}
	if req.AmountMinor < 0 {
		return o, invalid("an amount of %d is negative", req.AmountMinor)
	}
	value, err := gatewayValue(billing.Money{Minor: req.AmountMinor, Currency: req.Currency})
	o.Amount = wireValue{Currency: req.Currency, Value: value}
	return o, err
}

// setPurpose sets what storing and paying have not in common.
func (o *sessionOrder) setPurpose(req tokens.SessionRequest) error {
	switch req.Purpose {
	case tokens.PurposeCreate:
		if !slices.Contains(sessionModels, req.Model) {
			return invalid("the model is none of %q", sessionModels)
		}
		o.Interaction, o.StoreMode = ecommerce, storeAlways
		if req.AskForConsent {
			o.StoreMode = storeAsked
		}
		return nil
	case tokens.PurposePay:
		if req.Model != cardOnFile {
			return invalid("a session pays with a stored method as %s alone; the other models are charged without a session", cardOnFile)
		}
		if req.AmountMinor < 1 {
			return invalid("there is nothing to pay")
		}
		o.Interaction, o.PaymentMethod = contAuth, &storedMethodID{ID: req.Token}
		return checkRef(tokens.Ref{Token: req.Token, ShopperReference: req.ShopperReference})
	}
	return invalid("the purpose is neither %q nor %q", tokens.PurposeCreate, tokens.PurposePay)
}

// A sessionAnswer is what is read of the answer to POST /sessions.
type sessionAnswer struct {
	met             fieldSet
	session         tokens.Session
	merchantAccount []byte
	reference       []byte
	shopper         []byte
	currency        []byte
	value           int64
}

// maxSessionID bounds a session's id, in bytes. Those seen have 16 to 34.
const maxSessionID = 256

var (
	errNoSession      = errors.New("an answer without the id of a session, its sessionData or url, or when it expires")
	errOtherSession   = errors.New("the answer is about another session")
	errSessionAddress = errors.New("a url that is no http or https address")
)

// parseSession reads an answer. Its errors quote nothing.
func parseSession(body []byte) (*sessionAnswer, error) {
	a := &sessionAnswer{met: fieldSet{}}
	var id, data, address, expires []byte
	err := scanObject(body, func(s *scanner, name []byte) {
		into := (*[]byte)(nil)
		switch string(name) {
		case "id":
			into = &id
		case "sessionData":
			into = &data
		case "url":
			into = &address
		case "expiresAt":
			into = &expires
		case "merchantAccount":
			into = &a.merchantAccount
		case "reference":
			into = &a.reference
		case "shopperReference":
			into = &a.shopper
		case "amount":
			if s.peek() == '{' {
				a.met.once(s, name)
				s.object(a.amountField)
				return
			}
		}
		if into == nil {
			s.skip()
			return
		}
		a.met.once(s, name)
		*into = s.loose()
	})
	if err != nil {
		return nil, err
	}
	until, timeErr := time.Parse(time.RFC3339, string(expires))
	if len(id) == 0 || len(id) > maxSessionID || !isVisibleASCII(string(id)) || len(data)+len(address) == 0 || timeErr != nil {
		return nil, errNoSession
	}
	if len(address) > 0 && !isWebAddress(string(address)) {
		return nil, errSessionAddress
	}
	a.session = tokens.Session{ID: string(id), Data: string(data), URL: string(address), Expires: until}
	return a, nil
}

func (a *sessionAnswer) amountField(s *scanner, name []byte) {
	switch string(name) {
	case "currency":
		a.met.once(s, name)
		a.currency = s.text()
	case "value":
		a.met.once(s, name)
		a.value = s.integer()
	default:
		s.skip()
	}
}

// compare returns an error unless the answer is about order, as far as it says; its
// reference it must say. The session of another shopper, by a key that two requests
// had, would show that shopper's stored methods.
func (a *sessionAnswer) compare(order sessionOrder) error {
	for _, f := range [...]struct{ name, got, want string }{
		{"merchantAccount", string(a.merchantAccount), order.MerchantAccount},
		{"shopperReference", string(a.shopper), order.ShopperReference},
		{"currency", string(a.currency), order.Amount.Currency},
	} {
		if a.met[f.name] && f.got != f.want {
			return errOtherSession
		}
	}
	if string(a.reference) != order.Reference || a.met["value"] && a.value != order.Amount.Value {
		return errOtherSession
	}
	return nil
}

// isWebAddress reports whether a shopper can be sent there.
func isWebAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
