// Package secret holds credentials in a form that cannot be printed by
// accident.
package secret

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// String holds a credential. It prints as "[redacted]" everywhere but in
// Reveal: under every verb, in JSON and YAML, in logs, and, because the text is
// behind a pointer, inside a struct that is printed with its unexported fields.
type String struct{ text *string }

// New returns a String that holds text.
func New(text string) String { return String{&text} }

// Reveal returns the credential itself, for the one line that sends it.
func (s String) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsEmpty reports whether there is no credential.
func (s String) IsEmpty() bool { return s.Reveal() == "" }

// Format implements fmt.Formatter.
func (s String) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler.
func (s String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *String) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}
