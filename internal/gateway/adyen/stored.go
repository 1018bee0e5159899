package adyen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/contauth/contauth/tokens"
)

// storedPath is where the stored payment methods of a shopper are (Checkout
// specification v72).
const storedPath = "/storedPaymentMethods"

// Read implements tokens.Vault: it looks for the token in the list of its shopper's,
// which is the only way to ask. Adyen's list has no word for whether a token may be
// charged, so the status is tokens.StatusUntold.
func (v *Vault) Read(ctx context.Context, ref tokens.Ref) (tokens.Reading, error) {
	reading, err := v.read(ctx, ref)
	if err != nil {
		return tokens.Reading{}, fmt.Errorf("adyen: read a stored payment method: %w", err)
	}
	return reading, nil
}

func (v *Vault) read(ctx context.Context, ref tokens.Ref) (tokens.Reading, error) {
	if err := checkRef(ref); err != nil {
		return tokens.Reading{}, err
	}
	private := []string{ref.Token, ref.ShopperReference}
	answer, err := v.send(ctx, vaultRequest{method: http.MethodGet, path: storedPath + v.query(ref.ShopperReference), private: private})
	if err != nil {
		return tokens.Reading{}, err
	}
	body, err := readable(answer, http.StatusOK)
	if err != nil {
		return tokens.Reading{}, err
	}
	list, err := parseStoredList(body, ref.Token)
	if err == nil {
		err = list.check(v.options.MerchantAccount, ref.ShopperReference)
	}
	if err != nil {
		return tokens.Reading{}, unanswered(fmt.Errorf("HTTP %d: %w", answer.Status, err))
	}
	if list.found == nil {
		return tokens.Reading{}, fmt.Errorf("%w: the shopper's list does not have it", tokens.ErrNotFound)
	}
	return tokens.Reading{Status: tokens.StatusUntold, Details: list.found.details(v.secrets(private...))}, nil
}

// Delete implements tokens.Vault.
//
// What Adyen answers for a token that is gone is not documented. Codes 800 and 803
// say it as they do elsewhere. Another refusal of the request, or a 404, which may
// be the token's or a wrong address's, is only believed if the list still has the
// token, or cannot be read.
func (v *Vault) Delete(ctx context.Context, ref tokens.Ref) error {
	if err := v.delete(ctx, ref); err != nil {
		return fmt.Errorf("adyen: delete a stored payment method: %w", err)
	}
	return nil
}

func (v *Vault) delete(ctx context.Context, ref tokens.Ref) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	// A valid token has no character that an address would escape.
	answer, err := v.send(ctx, vaultRequest{
		method: http.MethodDelete, path: storedPath + "/" + ref.Token + v.query(ref.ShopperReference),
		private: []string{ref.Token, ref.ShopperReference},
	})
	switch {
	case err == nil && answer.Status == http.StatusNoContent:
		return nil
	case err == nil:
		_, err = readable(answer, http.StatusOK, http.StatusAccepted)
		return err
	case errors.Is(err, tokens.ErrNotFound):
		return nil
	}
	switch answer.Status {
	case http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity:
		if _, gone := v.read(ctx, ref); errors.Is(gone, tokens.ErrNotFound) {
			return nil
		}
	}
	return err
}

// A storedList is the answer of GET /storedPaymentMethods, less all tokens but one.
type storedList struct {
	met             fieldSet
	wanted          string
	merchantAccount []byte
	shopper         []byte
	found           *storedMethod // nil if it is not there
}

// A storedMethod is what is read of one token. The others' fields, and the holder's
// name and address, are left where they are.
type storedMethod struct {
	id, kind, brand, funding, lastFour, month, year []byte
}

var (
	errOtherShopper = errors.New("a list of another shopper's, or of another account's")
	errNoList       = errors.New("an answer without a list, or the name of whose it is")
	errTwoAlike     = errors.New("a list that has the token twice, and differently")
)

// parseStoredList reads a list for one token. Its errors quote nothing.
func parseStoredList(body []byte, wanted string) (*storedList, error) {
	l := &storedList{met: fieldSet{}, wanted: wanted}
	var err error
	parsed := scanObject(body, func(s *scanner, name []byte) {
		switch string(name) {
		case "merchantAccount":
			l.met.once(s, name)
			l.merchantAccount = s.loose()
		case "shopperReference":
			l.met.once(s, name)
			l.shopper = s.loose()
		case "storedPaymentMethods":
			l.met.once(s, name)
			if s.peek() != '[' {
				s.skip() // null stands for an empty list
				return
			}
			s.elements(func() {
				if twice := l.element(s); twice != nil {
					err = twice
				}
			})
		default:
			s.skip()
		}
	})
	if parsed != nil {
		return nil, parsed
	}
	return l, err
}

// element reads one element, and keeps the one that is looked for.
func (l *storedList) element(s *scanner) error {
	if s.peek() != '{' {
		s.skip()
		return nil
	}
	var m storedMethod
	met := fieldSet{}
	s.object(func(s *scanner, name []byte) {
		into := m.field(name)
		if into == nil {
			s.skip()
			return
		}
		met.once(s, name)
		*into = s.loose()
	})
	if s.err != nil || string(m.id) != l.wanted {
		return nil
	}
	if l.found != nil && !l.found.same(m) {
		return errTwoAlike
	}
	l.found = &m
	return nil
}

// field returns where a field of an element belongs, or nil. fundingSource is not
// among the fields of the specification's list; Adyen tells it so elsewhere.
func (m *storedMethod) field(name []byte) *[]byte {
	switch string(name) {
	case "id":
		return &m.id
	case "type":
		return &m.kind
	case "brand":
		return &m.brand
	case "fundingSource":
		return &m.funding
	case "lastFour":
		return &m.lastFour
	case "expiryMonth":
		return &m.month
	case "expiryYear":
		return &m.year
	}
	return nil
}

func (m *storedMethod) same(other storedMethod) bool {
	return bytes.Equal(m.kind, other.kind) && bytes.Equal(m.brand, other.brand) && bytes.Equal(m.funding, other.funding) &&
		bytes.Equal(m.lastFour, other.lastFour) && bytes.Equal(m.month, other.month) && bytes.Equal(m.year, other.year)
}

// check returns an error unless the list is the shopper's, as far as it says. A list
// that is not there is an empty one only if the answer says whose it is: the page of
// somebody else must not make a token look deleted.
func (l *storedList) check(account, shopper string) error {
	switch {
	case l.met["merchantAccount"] && string(l.merchantAccount) != account, l.met["shopperReference"] && string(l.shopper) != shopper:
		return errOtherShopper
	case !l.met["storedPaymentMethods"] && !l.met["shopperReference"]:
		return errNoList
	}
	return nil
}

// details are for people: what does not look right is left out.
func (m *storedMethod) details(secrets []string) tokens.Details {
	d := tokens.Details{
		Brand:   line(m.brand, maxWord, secrets),
		Funding: line(m.funding, maxWord, secrets),
		Expiry:  m.expiry(),
	}
	if d.Brand == "" && string(m.kind) != cardType {
		d.Brand = line(m.kind, maxWord, secrets) // what is no card has no brand
	}
	if four := wordOf(m.lastFour); len(four) <= 4 {
		d.LastFour = four
	}
	return d
}

// expiry reads a month, and a year of two digits, as documented, or of four, as in
// Adyen's own example.
func (m *storedMethod) expiry() tokens.Expiry {
	year, yearErr := strconv.Atoi(string(m.year))
	month, monthErr := strconv.Atoi(string(m.month))
	if yearErr != nil || monthErr != nil {
		return tokens.Expiry{}
	}
	expiry, err := tokens.NewExpiry(year, month)
	if err != nil {
		return tokens.Expiry{}
	}
	return expiry
}
