package config

import (
	"fmt"
	"slices"
	"strings"
)

// Faults are all that is wrong with a configuration. As an error they read one
// line a fault.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%d faults in the configuration:\n  %s", len(f), strings.Join(lines, "\n  "))
}

func (f Faults) about(key string) bool {
	return slices.ContainsFunc(f, func(fault Fault) bool { return fault.Key == key })
}

// A Fault is one thing to put right.
type Fault struct {
	Key      string // path in the file, such as merchant_accounts[0].base_url; "" = no setting
	Variable string // the variable that sets the same; "" = none does
	Origin   string // where the value was written; "" = nowhere
	Text     string // what is wrong and what to do, on one line, without secrets
}

// String renders the fault as one line.
func (f Fault) String() string {
	subject := f.Key
	if f.Key != "" && f.Variable != "" {
		subject += " (" + f.Variable + ")"
	} else if f.Key == "" {
		subject = f.Variable
	}
	line := f.Text
	if subject != "" {
		line = subject + ": " + line
	}
	if f.Origin != "" {
		line = f.Origin + ": " + line
	}
	return oneLine(line)
}

// oneLine keeps control characters of the file off the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// A name is what a setting is called and where its value was written.
type name struct{ key, variable, origin string }

func (n name) fault(format string, args ...any) Fault {
	return Fault{Key: n.key, Variable: n.variable, Origin: n.origin, Text: fmt.Sprintf(format, args...)}
}

// accountName names a setting of the i-th account. Its variable is known once
// the account has an id.
func accountName(i int, id, key string) name {
	n := name{key: fmt.Sprintf("%s[%d].%s", accountsKey, i, key)}
	if id != "" && key != "id" {
		n.variable = accountVariable(id, key)
	}
	return n
}
