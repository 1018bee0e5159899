package adyen

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting. Adyen's deepest answer has 5 levels.
const maxDepth = 32

var errNotJSON = errors.New("not valid JSON")

// A scanner walks one JSON document (RFC 8259) in a single pass without
// building a tree. It is stricter than encoding/json on purpose: what two
// readers could understand differently is an error here, such as bytes that
// are not UTF-8, half of a surrogate pair, or a second value behind the first.
//
// The first error stays in err and stops everything; callers look once, at the
// end. Names of fields are compared exactly.
type scanner struct {
	data  []byte
	at    int
	depth int
	err   error
}

// scanObject calls field for each member of the one object that data holds.
// field must consume the member's value with one of the scanner's methods.
func scanObject(data []byte, field func(s *scanner, name []byte)) error {
	s := scanner{data: data}
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not UTF-8", errNotJSON)
	}
	s.object(field)
	s.space()
	if s.err == nil && s.at != len(data) {
		s.fail("something follows the value")
	}
	return s.err
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s at byte %d", errNotJSON, what, s.at)
	}
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, or 0 at the end or after an
// error. A real 0 is no legal byte there either.
func (s *scanner) peek() byte {
	s.space()
	if s.err != nil || s.at == len(s.data) {
		return 0
	}
	return s.data[s.at]
}

// take consumes c, or fails.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		s.fail("expected " + strconv.QuoteRune(rune(c)))
		return false
	}
	s.at++
	return true
}

func (s *scanner) object(field func(s *scanner, name []byte)) {
	if !s.open('{') {
		return
	}
	for more := s.peek() != '}'; more; more = s.comma() {
		name := s.text()
		s.take(':')
		if s.err != nil {
			return
		}
		field(s, name)
	}
	s.shut('}')
}

func (s *scanner) array() {
	if !s.open('[') {
		return
	}
	for more := s.peek() != ']'; more; more = s.comma() {
		s.skip()
	}
	s.shut(']')
}

func (s *scanner) open(c byte) bool {
	if s.depth++; s.depth > maxDepth {
		s.fail("nested too deep")
		return false
	}
	return s.take(c)
}

func (s *scanner) shut(c byte) {
	s.depth--
	s.take(c)
}

// comma consumes a comma if one is next and reports whether it did.
func (s *scanner) comma() bool {
	if s.peek() != ',' {
		return false
	}
	s.at++
	return true
}

// skip consumes any value.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		s.object(func(s *scanner, _ []byte) { s.skip() })
	case '[':
		s.array()
	case '"':
		s.text()
	default:
		s.scalar()
	}
}

// scalar consumes a number, true, false or null and returns its bytes.
func (s *scanner) scalar() []byte {
	s.space()
	start := s.at
	for s.at < len(s.data) && isScalarByte(s.data[s.at]) {
		s.at++
	}
	word := s.data[start:s.at]
	switch string(word) {
	case "true", "false", "null":
		return word
	}
	if !isNumber(word) {
		s.at = start
		s.fail("expected a value")
		return nil
	}
	return word
}

func isScalarByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '-' || c == '.'
}

// isNumber reports whether w is a number as JSON writes them.
func isNumber(w []byte) bool {
	w = bytes.TrimPrefix(w, []byte("-"))
	whole := leadingDigits(w)
	if whole == 0 || whole > 1 && w[0] == '0' {
		return false
	}
	w = w[whole:]
	if len(w) > 0 && w[0] == '.' {
		fraction := leadingDigits(w[1:])
		if fraction == 0 {
			return false
		}
		w = w[1+fraction:]
	}
	if len(w) > 0 && (w[0] == 'e' || w[0] == 'E') {
		w = w[1:]
		if len(w) > 0 && (w[0] == '+' || w[0] == '-') {
			w = w[1:]
		}
		return len(w) > 0 && leadingDigits(w) == len(w)
	}
	return len(w) == 0
}

func leadingDigits(w []byte) int {
	n := 0
	for n < len(w) && w[n] >= '0' && w[n] <= '9' {
		n++
	}
	return n
}

// integer consumes a whole number that fits in an int64, written as one.
func (s *scanner) integer() int64 {
	start := s.at
	n, err := strconv.ParseInt(string(s.scalar()), 10, 64)
	if err != nil && s.err == nil {
		s.at = start
		s.fail("expected a whole number")
	}
	return n
}

// loose consumes a string, a number, true, false or null: additionalData's
// values are strings, but the specification allows the others.
func (s *scanner) loose() []byte {
	if s.peek() == '"' {
		return s.text()
	}
	word := s.scalar()
	if string(word) == "null" {
		return nil
	}
	return word
}

// text consumes a string and returns its bytes, which point into the document
// unless it had escapes.
func (s *scanner) text() []byte {
	if !s.take('"') {
		return nil
	}
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return s.data[start : s.at-1]
		case c == '\\':
			return s.escapedText(start)
		case c < ' ':
			s.fail("a control character in a string")
			return nil
		}
		s.at++
	}
	s.fail("a string without end")
	return nil
}

// escapedText goes on with a string that began at start, from its first escape.
func (s *scanner) escapedText(start int) []byte {
	out := append([]byte(nil), s.data[start:s.at]...)
	for s.at < len(s.data) {
		c := s.data[s.at]
		s.at++
		switch {
		case c == '"':
			return out
		case c < ' ':
			s.fail("a control character in a string")
			return nil
		case c != '\\':
			out = append(out, c)
		default:
			r := s.escape()
			if s.err != nil {
				return nil
			}
			out = utf8.AppendRune(out, r)
		}
	}
	s.fail("a string without end")
	return nil
}

// escape consumes what follows a backslash.
func (s *scanner) escape() rune {
	if s.at == len(s.data) {
		s.fail("a string without end")
		return 0
	}
	c := s.data[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return rune(c)
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'u':
		return s.codePoint()
	}
	s.fail("an unknown escape")
	return 0
}

// codePoint consumes the digits behind \u, and a second \u for the other half
// of a surrogate pair.
func (s *scanner) codePoint() rune {
	first := s.hex4()
	if !utf16.IsSurrogate(first) {
		return first
	}
	if !bytes.HasPrefix(s.data[s.at:], []byte(`\u`)) {
		s.fail("half of a surrogate pair")
		return 0
	}
	s.at += 2
	r := utf16.DecodeRune(first, s.hex4())
	if r == utf8.RuneError {
		s.fail("half of a surrogate pair")
	}
	return r
}

func (s *scanner) hex4() rune {
	if s.at+4 > len(s.data) {
		s.fail("an unknown escape")
		return 0
	}
	n, err := strconv.ParseUint(string(s.data[s.at:s.at+4]), 16, 16)
	if err != nil {
		s.fail("an unknown escape")
		return 0
	}
	s.at += 4
	return rune(n)
}
