package mastercard

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// A form is a request as it is written, field by field: the order of the calls is
// the order of the bytes.
type form struct{ body []byte }

// add writes a field. One without a value is left out: the gateway refuses empty
// fields as well as unknown ones.
func (f *form) add(name, value string) {
	if value == "" {
		return
	}
	if len(f.body) > 0 {
		f.body = append(f.body, '&')
	}
	f.body = append(f.body, name...)
	f.body = append(f.body, '=')
	f.body = append(f.body, url.QueryEscape(value)...)
}

// fields are an answer's, by the full dotted name.
type fields map[string]string

var (
	errNotForm = errors.New("an answer that is not form-encoded text")
	errTwice   = errors.New("an answer with a field that stands there twice")
)

// parseFields reads an answer's body. Names that nobody here knows are kept, also
// with an index in brackets (transaction[0].id): version 100 grows in place
// (Versioning). What it refuses is a body that two readers could understand
// differently: a field that stands there twice, a segment without '=', which is
// how a body looks that was cut off, bytes that are not UTF-8, and names that no
// field can have, which pages for people are full of.
func parseFields(body []byte) (fields, error) {
	text := strings.Trim(string(body), " \t\r\n")
	found := make(fields, min(strings.Count(text, "&")+1, 256))
	for text != "" {
		var segment string
		segment, text, _ = strings.Cut(text, "&")
		if segment == "" {
			continue
		}
		rawName, rawValue, ok := strings.Cut(segment, "=")
		if !ok {
			return nil, errNotForm
		}
		name, err := unescape(rawName)
		if err != nil || !isFieldName(name) {
			return nil, errNotForm
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, err
		}
		if _, twice := found[name]; twice {
			return nil, errTwice
		}
		found[name] = value
	}
	return found, nil
}

func unescape(text string) (string, error) {
	plain, err := url.QueryUnescape(text)
	if err != nil || !utf8.ValidString(plain) {
		return "", errNotForm // the error of net/url quotes the text
	}
	return plain, nil
}

func isFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._-[]", r):
			return false
		}
		return true
	})
}
