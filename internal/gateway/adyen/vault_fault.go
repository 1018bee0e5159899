package adyen

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/tokens"
)

// A vaultFault is what Adyen says in an answer that is no success: in its own shape,
// or in that of RFC 7807, which newer calls have.
type vaultFault struct {
	met     fieldSet
	code    []byte // errorCode
	kind    []byte // errorType
	message []byte
	detail  []byte // RFC 7807's message
	title   []byte // and its headline
	field   []byte // name of the first of RFC 7807's invalidFields
}

func (f *vaultFault) parse(body []byte) error {
	f.met = fieldSet{}
	return scanObject(body, f.topField)
}

func (f *vaultFault) topField(s *scanner, name []byte) {
	into := (*[]byte)(nil)
	switch string(name) {
	case "errorCode":
		into = &f.code
	case "errorType":
		into = &f.kind
	case "message":
		into = &f.message
	case "detail":
		into = &f.detail
	case "title":
		into = &f.title
	case "invalidFields":
		if s.peek() == '[' {
			f.met.once(s, name)
			s.elements(func() { f.invalidField(s) })
			return
		}
	}
	if into == nil {
		s.skip()
		return
	}
	f.met.once(s, name)
	*into = s.loose()
}

// invalidField reads one of invalidFields. Its value is what we sent, and is left.
func (f *vaultFault) invalidField(s *scanner) {
	if s.peek() != '{' {
		s.skip()
		return
	}
	s.object(func(s *scanner, name []byte) {
		if string(name) != "name" || len(f.field) > 0 {
			s.skip()
			return
		}
		f.field = s.loose()
	})
}

// faultFields are the fields that Adyen's error codes are about, where a code is
// about one (specification v72, and "Error codes and messages").
var faultFields = map[string]string{
	"130":                "reference",
	"14_030":             "returnUrl",
	"177":                "metadata",
	errorMerchantAccount: "merchantAccount",
}

// fault says what an answer that is no success means for a vault. bodyErr is not nil
// if its body could not be read. What is not known to be a refusal is no answer: the
// same request may be sent again, and moves no money.
func (v *Vault) fault(from gateway.Answer, bodyErr error, private []string) error {
	var f vaultFault
	known := bodyErr == nil && isJSON(from.Header) && f.parse(from.Body) == nil
	if !known {
		f = vaultFault{}
	}
	secrets := v.secrets(private...)
	code := line(f.code, maxWord, secrets)
	refused := func(why tokens.Refusal, what string) error {
		return &tokens.RefusedError{Refusal: why, Field: f.about(code, secrets), Text: what + f.words(from.Status, code, secrets)}
	}
	validation := known && code != "" // a page of somebody else's has no code
	switch {
	case code == errorInProgress:
		return unanswered(fmt.Errorf("HTTP %d, code %s: an earlier copy of the request is being worked on", from.Status, code))
	case from.Status == http.StatusTooManyRequests, code == errorRateLimited:
		return unanswered(errors.New("too many requests" + f.words(from.Status, code, secrets)))
	case isGone(from.Status, code):
		return fmt.Errorf("%w: HTTP %d, code %s", tokens.ErrNotFound, from.Status, code)
	case from.Status == http.StatusUnauthorized:
		return refused(tokens.RefusedProfile, "Adyen does not know the API key: check api_key of the merchant account")
	case validation && code == errorMerchantAccount:
		return refused(tokens.RefusedProfile, "Adyen does not know the merchant account: check its name, and whether base_url is that of its environment")
	case from.Status == http.StatusForbidden, validation && code == errorNotAllowed:
		return refused(tokens.RefusedProfile, "the API key may not do this: it needs the Checkout webservice role and the Merchant Recurring role, for this merchant account")
	case from.Status == http.StatusBadRequest, from.Status == http.StatusNotAcceptable, from.Status == http.StatusRequestEntityTooLarge:
		return refused(tokens.RefusedRequest, "Adyen does not understand the request")
	case isAccountFault(from.Status):
		return refused(tokens.RefusedProfile, "Adyen has no such call at this address: check base_url of the merchant account")
	case validation && (from.Status == http.StatusUnprocessableEntity || from.Status == http.StatusInternalServerError && isPermanent(f.kind)):
		if kind := string(f.kind); kind == "security" || kind == "configuration" {
			return refused(tokens.RefusedProfile, "the merchant account is not set up for this")
		}
		return refused(tokens.RefusedRequest, "Adyen refused the request")
	case bodyErr != nil:
		return unanswered(bodyErr)
	}
	return unanswered(errors.New("an error that says nothing certain" + f.words(from.Status, code, secrets)))
}

// isGone reports whether an error says that the shopper has no such token: 800 and
// 803 are answered with 422, and with 500 by older calls.
func isGone(status int, code string) bool {
	switch status {
	case http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity, http.StatusInternalServerError:
		return code == errorContractUnknown || code == errorTokenUnknown
	}
	return false
}

// about returns the gateway's name of the field that is wrong, if it tells.
func (f *vaultFault) about(code string, secrets []string) string {
	if field := line(f.field, maxWord, secrets); field != "" {
		return field
	}
	return faultFields[code]
}

// words returns the gateway's own words with where they come from, to follow ours.
func (f *vaultFault) words(status int, code string, secrets []string) string {
	source := fmt.Sprintf(" (HTTP %d)", status)
	if code != "" {
		source = fmt.Sprintf(" (HTTP %d, code %s)", status, code)
	}
	for _, text := range [][]byte{f.message, f.detail, f.title} {
		if said := line(text, maxLine, secrets); said != "" {
			return source + ": " + said
		}
	}
	return source
}
