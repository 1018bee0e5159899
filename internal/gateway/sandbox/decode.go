package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a request, so that a hostile one cannot use
// up the stack.
const maxDepth = 64

// A request is what the sandbox reads from the body of a payment. Absent
// fields are empty. The fields are Adyen's, by their names in PaymentRequest;
// other dialects fill those that mean the same to them.
type request struct {
	operation string // what is asked for: payments, sessions, or an apiOperation
	moves     bool   // it is about money, so that rules and holds without an operation touch it

	merchantAccount        string
	reference              string
	merchantOrderReference string
	returnURL              string
	shopperReference       string
	shopperInteraction     string
	model                  string // recurringProcessingModel
	currency               string // amount.currency
	value                  int64  // amount.value
	hasAmount              bool   // amount.currency and an integer amount.value were there
	methodType             string // paymentMethod.type
	token                  string // paymentMethod.storedPaymentMethodId, or its older name
	cardData               string // the first field found that carries card data; never its value
	testResult             string // additionalData.RequestedTestAcquirerResponseCode
	testError              string // additionalData.RequestedTestErrorResponseCode
	metadata               int    // pairs in metadata

	hasValue bool
}

// The operations of Adyen that rules and holds can name.
const (
	operationPayments = "payments"
	operationSessions = "sessions"
	operationMethods  = "storedPaymentMethods" // the list
	operationDisable  = "disable"              // a token that is deleted
)

// errNotObject is what a body of valid JSON that is no object gives.
var errNotObject = errors.New("the body is not a JSON object")

// decode reads body into req. It takes exactly the JSON that encoding/json
// takes, in valid UTF-8 and nested at most maxDepth deep. Of a field that is
// there twice the last one counts; a field of another type than Adyen's counts
// as absent.
//
// It is written by hand because the sandbox shares its machine with the daemon
// that it is there to measure: encoding/json would take a third of the time of
// a payment.
func (req *request) decode(body []byte) error {
	*req = request{operation: operationPayments, moves: true}
	text := string(body) // once, so that all fields are parts of it
	if !utf8.ValidString(text) {
		return errors.New("the body is not UTF-8")
	}
	s := scanner{data: text}
	s.space()
	if s.peek() != '{' {
		return errNotObject
	}
	if err := s.object(0, func(name string) error { return req.field(&s, name) }); err != nil {
		return err
	}
	s.space()
	if s.pos != len(text) {
		return s.unexpected("the end of the body")
	}
	req.hasAmount = req.hasValue && req.currency != ""
	return nil
}

func (req *request) field(s *scanner, name string) error {
	switch name {
	case "merchantAccount":
		return s.text(&req.merchantAccount)
	case "reference":
		return s.text(&req.reference)
	case "merchantOrderReference":
		return s.text(&req.merchantOrderReference)
	case "returnUrl":
		return s.text(&req.returnURL)
	case "shopperReference":
		return s.text(&req.shopperReference)
	case "shopperInteraction":
		return s.text(&req.shopperInteraction)
	case "recurringProcessingModel":
		return s.text(&req.model)
	case "amount":
		return s.maybeObject(func(name string) error { return req.amountField(s, name) })
	case "paymentMethod":
		return s.maybeObject(func(name string) error { return req.methodField(s, name) })
	case "additionalData":
		return s.maybeObject(func(name string) error { return req.additionalField(s, name) })
	case "metadata":
		req.metadata = 0
		return s.maybeObject(func(string) error { req.metadata++; return s.skip(1) })
	}
	req.noteCardData(name)
	return s.skip(0)
}

func (req *request) amountField(s *scanner, name string) error {
	switch name {
	case "currency":
		return s.text(&req.currency)
	case "value":
		return s.integer(&req.value, &req.hasValue)
	}
	return s.skip(1)
}

func (req *request) methodField(s *scanner, name string) error {
	switch name {
	case "type":
		return s.text(&req.methodType)
	case "storedPaymentMethodId":
		return s.text(&req.token)
	case "recurringDetailReference": // its name before Checkout API v49
		if req.token != "" {
			return s.skip(1)
		}
		return s.text(&req.token)
	}
	req.noteCardData(name)
	return s.skip(1)
}

func (req *request) additionalField(s *scanner, name string) error {
	switch name {
	case "RequestedTestAcquirerResponseCode":
		return s.textOrNumber(&req.testResult)
	case "RequestedTestErrorResponseCode":
		return s.textOrNumber(&req.testError)
	}
	return s.skip(1)
}

// noteCardData remembers a field that would carry a card number or its check
// digits. contauth charges stored tokens only, so each of them is an alarm.
func (req *request) noteCardData(name string) {
	switch name {
	case "number", "encryptedCardNumber", "cvc", "encryptedSecurityCode", "encryptedCard", "card", "encryptedPassword":
		req.cardData = name
	}
}

// A scanner walks once over a JSON text.
type scanner struct {
	data string
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end, which no JSON value begins with.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.data) {
		return fmt.Errorf("the body ends where %s was expected", wanted)
	}
	return fmt.Errorf("unexpected byte %d where %s was expected", s.pos, wanted)
}

// object reads an object and calls field for each name; field reads the value.
func (s *scanner) object(depth int, field func(name string) error) error {
	if depth >= maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	s.pos++ // '{'
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		name, err := s.name()
		if err != nil {
			return err
		}
		if err := field(name); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected("a comma or a closing brace")
		}
	}
}

// name reads a member's name, the colon and the space around it.
func (s *scanner) name() (string, error) {
	name, err := s.str()
	if err != nil {
		return "", err
	}
	s.space()
	if s.peek() != ':' {
		return "", s.unexpected("a colon")
	}
	s.pos++
	s.space()
	return name, nil
}

// maybeObject reads an object one level down with field, and steps over any
// other value.
func (s *scanner) maybeObject(field func(name string) error) error {
	if s.peek() != '{' {
		return s.skip(0)
	}
	return s.object(1, field)
}

// text reads a string into to; any other value counts as absent.
func (s *scanner) text(to *string) error {
	if s.peek() != '"' {
		*to = ""
		return s.skip(1)
	}
	value, err := s.str()
	*to = value
	return err
}

// textOrNumber reads a string, or a number as it is written.
func (s *scanner) textOrNumber(to *string) error {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return s.text(to)
	}
	start := s.pos
	if err := s.number(); err != nil {
		return err
	}
	*to = s.data[start:s.pos]
	return nil
}

// integer reads a whole number into to and says in has whether there was one.
func (s *scanner) integer(to *int64, has *bool) error {
	*has = false
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return s.skip(1)
	}
	start := s.pos
	if err := s.number(); err != nil {
		return err
	}
	value, err := strconv.ParseInt(s.data[start:s.pos], 10, 64)
	*to, *has = value, err == nil
	return nil
}

// skip reads any value at depth and forgets it.
func (s *scanner) skip(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth+1, func(string) error { return s.skip(depth + 1) })
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if end := s.pos + len(word); end <= len(s.data) && s.data[s.pos:end] == word {
			s.pos = end
			return nil
		}
	}
	return s.unexpected("a value")
}

func (s *scanner) array(depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	s.pos++ // '['
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.skip(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected("a comma or a closing bracket")
		}
	}
}

// number steps over a number of the JSON grammar.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.unexpected("a digit")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

// digits steps over digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// str reads a string. It is part of the text where nothing had to be unescaped.
func (s *scanner) str() (string, error) {
	if s.peek() != '"' {
		return "", s.unexpected("a string")
	}
	s.pos++
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return "", s.unexpected("a character of a string")
		}
		s.pos++
	}
	return "", s.unexpected("a closing quote")
}

// escaped reads on in a string that began at start and has an escape at pos.
func (s *scanner) escaped(start int) (string, error) {
	text := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return string(text), nil
		case c < ' ':
			return "", s.unexpected("a character of a string")
		case c != '\\':
			text = append(text, c)
			s.pos++
		default:
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, r)
		}
	}
	return "", s.unexpected("a closing quote")
}

// escape reads one escape sequence, which for a character outside the basic
// plane is two: a surrogate pair.
func (s *scanner) escape() (rune, error) {
	s.pos++ // the backslash
	c := s.peek()
	s.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return s.unicodeEscape()
	}
	s.pos--
	return 0, s.unexpected("an escaped character")
}

func (s *scanner) unicodeEscape() (rune, error) {
	r, ok := s.hex(s.pos)
	if !ok {
		return 0, s.unexpected("four hexadecimal digits")
	}
	s.pos += 4
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if s.pos+1 < len(s.data) && s.data[s.pos] == '\\' && s.data[s.pos+1] == 'u' {
		if low, ok := s.hex(s.pos + 2); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				s.pos += 6
				return pair, nil
			}
		}
	}
	return utf8.RuneError, nil // half a pair; encoding/json replaces it too
}

func (s *scanner) hex(at int) (rune, bool) {
	if at+4 > len(s.data) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s.data[at : at+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
