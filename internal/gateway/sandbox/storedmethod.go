package sandbox

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A storedMethod is a token of Adyen's that was stored here. One that was deleted
// stays, so that it is not taken for one that was stored elsewhere.
type storedMethod struct {
	Token           string   `json:"token"` // storedPaymentMethodId
	MerchantAccount string   `json:"merchant_account"`
	Shopper         string   `json:"shopper_reference"`
	Account         *account `json:"account"`
	Created         int64    `json:"created"` // Unix nanoseconds
	Deleted         bool     `json:"deleted,omitempty"`
}

// adyenBrands are Adyen's names of the brands of test cards.
var adyenBrands = map[string]string{
	"MASTERCARD": "mc", "VISA": "visa", "AMEX": "amex", "DINERS_CLUB": "diners", "JCB": "jcb", "DISCOVER": "discover", "MAESTRO": "maestro", "UATP": "uatp",
}

// card is the method as answers about payments show it.
func (m *storedMethod) card() card { return m.Account.card() }

func (a *account) card() card {
	c := card{brand: adyenBrands[a.Brand]}
	copy(c.summary[:], a.Number[len(a.Number)-4:])
	month, year, _ := strings.Cut(a.Expiry, "/")
	c.expiry = month + "/20" + year
	return c
}

// A methodBook has all tokens of Adyen's that were stored or deleted here. Every
// other token is one that was stored elsewhere, and anybody's.
type methodBook struct {
	known atomic.Int64 // so that a payment pays one load while there are none

	mu     sync.Mutex
	tokens map[string]*storedMethod
}

func (b *methodBook) put(m *storedMethod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens == nil {
		b.tokens = make(map[string]*storedMethod)
	}
	b.tokens[m.Token] = m
	b.known.Store(int64(len(b.tokens)))
}

func (b *methodBook) recall(detail []byte) error {
	m := new(storedMethod)
	if err := json.Unmarshal(detail, m); err != nil {
		return err
	}
	b.put(m)
	return nil
}

// find returns a token that was stored or deleted here, or nil. Nobody changes it.
func (b *methodBook) find(token string) *storedMethod {
	if b.known.Load() == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens[token]
}

// cardOf is the card behind a token: the one that was stored, or one that is made up.
func (b *methodBook) cardOf(token string) card {
	if m := b.find(token); m != nil {
		return m.card()
	}
	return cardOf(token)
}

// of returns the tokens of a shopper, oldest first; an empty name is any.
func (b *methodBook) of(merchantAccount, shopper string) []*storedMethod {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []*storedMethod
	for _, m := range b.tokens {
		if !m.Deleted && (merchantAccount == "" || m.MerchantAccount == merchantAccount) && (shopper == "" || m.Shopper == shopper) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b *storedMethod) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.Token, b.Token))
	})
	return found
}

// holder returns the shopper's token of a card, or nil: a card that is stored again
// keeps its token.
func (b *methodBook) holder(merchantAccount, shopper, account string) *storedMethod {
	for _, m := range b.of(merchantAccount, shopper) {
		if m.Account.Name == account {
			return m
		}
	}
	return nil
}

// mayCharge returns why a token cannot be charged for a shopper.
func (b *methodBook) mayCharge(req *request) *apiError {
	m := b.find(req.token)
	if m == nil || !m.Deleted && m.Shopper == req.shopperReference && m.MerchantAccount == req.merchantAccount {
		return nil
	}
	return errNoMethod
}

var errNoMethod = invalid(errorToken, "PaymentDetail not found")

// keepMethod writes a token into the ledger, and then into the book.
func (s *Server) keepMethod(m *storedMethod) error {
	detail, err := json.Marshal(m)
	if err != nil {
		return err
	}
	r := record{kind: recordToken, seq: s.seq.Load(), at: s.clock.now().UnixNano(), detail: detail}
	if _, err := s.ledger.append(&r); err != nil {
		return err
	}
	s.methods.put(m)
	return nil
}
