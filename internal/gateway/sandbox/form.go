package sandbox

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// A form is what a request in the Mastercard Gateway's NVP dialect says: names
// and values, encoded as an HTML form is.
type form struct{ fields []formField }

type formField struct{ name, value string }

// maxFields bounds a form: far above what all operations know together.
const maxFields = 500

var (
	errNotForm   = errors.New("the body is not a form")
	errNotUTF8   = errors.New("the body is not UTF-8")
	errTwice     = errors.New("a field is there twice")
	errTooMany   = errors.New("the body has too many fields")
	errEmptyName = errors.New("a field has no name")
)

// decode reads body. What is empty between two ampersands counts as nothing.
func (f *form) decode(body []byte) error {
	f.reset()
	rest := string(body) // once, so that all fields are parts of it
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var field formField
		var err error
		if field.name, err = unescape(name); err != nil {
			return err
		}
		if field.value, err = unescape(value); err != nil {
			return err
		}
		switch {
		case field.name == "":
			return errEmptyName
		case len(f.fields) == maxFields:
			return errTooMany
		}
		f.fields = append(f.fields, field)
	}
	return f.sort()
}

// sort orders the fields by name, so that forms that say the same look the same.
func (f *form) sort() error {
	slices.SortFunc(f.fields, func(a, b formField) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(f.fields); i++ {
		if f.fields[i-1].name == f.fields[i].name {
			return errTwice
		}
	}
	return nil
}

// get returns the value of a field; empty if it is not there.
func (f *form) get(name string) string {
	value, _ := f.find(name)
	return value
}

func (f *form) has(name string) bool {
	_, found := f.find(name)
	return found
}

func (f *form) find(name string) (value string, found bool) {
	i, found := slices.BinarySearchFunc(f.fields, name, func(field formField, name string) int { return strings.Compare(field.name, name) })
	if !found {
		return "", false
	}
	return f.fields[i].value, true
}

// reset forgets what was asked, so that nothing of it stays in memory.
func (f *form) reset() {
	clear(f.fields)
	f.fields = f.fields[:0]
}

// unescape undoes percent encoding. A semicolon separated fields once, so one
// that is not encoded is refused.
func unescape(text string) (string, error) {
	if strings.IndexByte(text, ';') >= 0 {
		return "", errNotForm
	}
	if strings.ContainsAny(text, "%+") {
		plain := make([]byte, 0, len(text))
		for i := 0; i < len(text); i++ {
			switch c := text[i]; c {
			case '+':
				plain = append(plain, ' ')
			case '%':
				if i+2 >= len(text) {
					return "", errNotForm
				}
				high, low := hexDigit(text[i+1]), hexDigit(text[i+2])
				if high > 15 || low > 15 {
					return "", errNotForm
				}
				plain = append(plain, high<<4|low)
				i += 2
			default:
				plain = append(plain, c)
			}
		}
		text = string(plain)
	}
	if !utf8.ValidString(text) {
		return "", errNotUTF8
	}
	return text, nil
}

// hexDigit returns the value of a hexadecimal digit, or 255.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// appendField appends a field to an encoded form; an empty value is left out.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	if len(b) > 0 {
		b = append(b, '&')
	}
	b = appendEscaped(b, name)
	b = append(b, '=')
	return appendEscaped(b, value)
}

func appendEscaped(b []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '*':
			b = append(b, c)
		case c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
