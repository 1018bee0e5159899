package sandbox

import (
	_ "embed"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed fields.csv
var fieldsCSV string

// A fieldRule says what a field of an NVP request may be, and who knows it.
type fieldRule struct {
	form        string
	least, most int
	words       []string
	needed      []string // operations that do nothing without it
	known       []string // operations that take it, needed by them or not
}

// operationGroups are the short names of fields.csv.
var operationGroups = map[string][]string{
	"CHARGE": {"PAY", "AUTHORIZE"},
	"FUNDS":  {"PAY", "AUTHORIZE", "VERIFY"},
	"CHANGE": {"CAPTURE", "REFUND", "VOID"},
	"ANY":    operationNames,
}

var (
	fieldRules   = mustReadFields(fieldsCSV)
	neededFields = fieldsByOperation(fieldRules)
)

func mustReadFields(text string) map[string]fieldRule {
	table := make(map[string]fieldRule)
	for _, row := range mustReadTable(text, 7) {
		needed := operationsOf(row[5])
		table[row[0]] = fieldRule{
			form: row[1], least: mustAtoi(row[2]), most: mustAtoi(row[3]), words: strings.Fields(row[4]),
			needed: needed, known: append(operationsOf(row[6]), needed...),
		}
	}
	return table
}

func operationsOf(text string) []string {
	var names []string
	for _, name := range strings.Fields(text) {
		if group, is := operationGroups[name]; is {
			names = append(names, group...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

// fieldsByOperation returns the fields that each operation needs, in the order of
// their names.
func fieldsByOperation(rules map[string]fieldRule) map[string][]string {
	needed := make(map[string][]string)
	for name, rule := range rules {
		for _, operation := range rule.needed {
			needed[operation] = append(needed[operation], name)
		}
	}
	for _, names := range needed {
		slices.Sort(names)
	}
	return needed
}

// checkFields returns what is wrong with the fields of a request, each by itself.
func checkFields(f *form, operation string) *apiError {
	for _, name := range neededFields[operation] {
		if !f.has(name) {
			return missingField(name)
		}
	}
	for _, field := range f.fields {
		rule, known := fieldRules[field.name]
		switch {
		case !known || !slices.Contains(rule.known, operation):
			return unsupportedField(field.name)
		case !rule.allows(field.value):
			return invalidField(field.name, "Value is not what this field takes.")
		}
	}
	return nil
}

// allows reports whether a value is one that the field may have.
func (r *fieldRule) allows(value string) bool {
	switch r.form {
	case "word":
		return slices.Contains(r.words, value)
	case "integer":
		n, err := strconv.Atoi(value)
		return err == nil && n >= r.least && n <= r.most && value[0] != '+'
	}
	if length := utf8.RuneCountInString(value); length < r.least || length > r.most {
		return false
	}
	switch r.form {
	case "text":
		return strings.IndexByte(value, 0) < 0
	case "decimal":
		return isDecimal(value)
	case "date":
		_, err := time.Parse(time.DateOnly, value)
		return err == nil
	case "url":
		u, err := url.Parse(value)
		return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	}
	return consistsOf(value, fieldForms[r.form])
}

// fieldForms are the characters of forms that are nothing but those.
var fieldForms = map[string]func(c byte) bool{
	"digits":  isDigit,
	"upper":   isUpper,
	"letters": isLetterOrDigit,
	"name":    func(c byte) bool { return isLetterOrDigit(c) || c == '-' || c == '_' },
	"account": func(c byte) bool { return isLetterOrDigit(c) || c == ' ' || c == '-' || c == '/' },
	"ascii":   func(c byte) bool { return c >= ' ' && c <= '~' },
}

func isDigit(c byte) bool         { return c >= '0' && c <= '9' }
func isUpper(c byte) bool         { return c >= 'A' && c <= 'Z' }
func isLetterOrDigit(c byte) bool { return isDigit(c) || isUpper(c) || c >= 'a' && c <= 'z' }

// consistsOf reports whether all bytes of a text are good.
func consistsOf(text string, good func(c byte) bool) bool {
	for i := range len(text) {
		if !good(text[i]) {
			return false
		}
	}
	return true
}

// isDecimal reports whether a text is digits, with at most one full stop between them.
func isDecimal(text string) bool {
	whole, fraction, dotted := strings.Cut(text, ".")
	return whole != "" && consistsOf(whole, isDigit) && consistsOf(fraction, isDigit) && (!dotted || fraction != "")
}
