package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxScript bounds a script, in bytes.
const maxScript = 1 << 20

// ParseScript reads a list of rules from YAML or JSON; name says in errors
// where it came from. An empty text is an empty list. The error is one line
// with the line of the file, the number of the entry, the field, and what may
// stand there.
func ParseScript(name string, text []byte) ([]Rule, error) {
	if len(text) > maxScript {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, maxScript)
	}
	if json.Valid(text) { // YAML allows no tabs between tokens, JSON does
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s", name, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if doc.Kind == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	list := doc.Content[0]
	if list.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("%s: line %d: expected a list of rules", name, list.Line)
	}
	rules := make([]Rule, 0, len(list.Content))
	for i, node := range list.Content {
		rule, err := parseRule(node)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: entry %d: %w", name, err.line, i+1, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// A fieldError is a fault in one field of a rule.
type fieldError struct {
	line int
	text string
}

func (e *fieldError) Error() string { return e.text }

func fault(node *yaml.Node, format string, args ...any) *fieldError {
	return &fieldError{node.Line, fmt.Sprintf(format, args...)}
}

// ruleFields are the fields of a rule in the order in which an error names them.
var ruleFields = []string{"match", "when", "do", "code", "times", "retry_after", "transient", "error_code", "error_type", "body", "wait", "with", "rate", "size", "operation"}

func parseRule(node *yaml.Node) (Rule, *fieldError) {
	var rule Rule
	fields, err := mapping(node, "", ruleFields)
	if err != nil {
		return Rule{}, err
	}
	for _, name := range ruleFields {
		value := fields[name]
		if value == nil {
			continue
		}
		if err := rule.setField(name, value); err != nil {
			return Rule{}, err
		}
	}
	if fields["match"] == nil {
		return Rule{}, fault(node, "match is missing; it needs reference, token or every")
	}
	if fields["do"] == nil {
		return Rule{}, fault(node, "do is missing; it is one of %s", oneOf(allActions))
	}
	if rule.When == "" {
		rule.When = WhenBefore
	}
	return rule, rule.check(node, fields)
}

func (r *Rule) setField(name string, value *yaml.Node) (err *fieldError) {
	switch name {
	case "match":
		r.Match, err = parseMatch(value)
	case "when":
		r.When, err = word(value, name, allWhens)
	case "do":
		r.Do, err = word(value, name, allActions)
	case "code":
		r.Code, err = number(value, name, 0, 999)
	case "times":
		r.Times, err = number(value, name, 0, 1<<30)
	case "retry_after":
		r.RetryAfter, err = number(value, name, 0, 1<<30)
	case "transient":
		r.Transient, err = boolean(value, name)
	case "error_code":
		r.ErrorCode, err = scalar(value, name)
	case "error_type":
		r.ErrorType, err = word(value, name, allErrorTypes)
	case "body":
		r.Body, err = word(value, name, allBodies)
	case "wait":
		r.Wait, err = duration(value, name)
	case "with":
		r.With, err = scalar(value, name)
	case "rate":
		r.Rate, err = number(value, name, 1, 1<<30)
	case "size":
		var size int
		size, err = number(value, name, 1, 1<<40)
		r.Size = int64(size)
	case "operation":
		if r.Operation, err = scalar(value, name); err == nil {
			if wrong := checkOperation(r.Operation); wrong != nil {
				err = fault(value, "%v", wrong)
			}
		}
	}
	return err
}

// fieldUsers says which actions know a field that not all know.
var fieldUsers = map[string][]Action{
	"code":        {ActionRefuse, ActionStatus, ActionRedirect},
	"retry_after": {ActionStatus},
	"transient":   {ActionStatus},
	"error_code":  {ActionStatus},
	"error_type":  {ActionStatus},
	"body":        {ActionStatus, ActionGarbage},
	"wait":        {ActionDelay},
	"with":        {ActionRefuse, ActionResult, ActionWrongAmount, ActionWrongCurrency, ActionWrongReference, ActionRedirect},
	"rate":        {ActionDrip},
	"size":        {ActionStatus, ActionGarbage},
}

// check finds what is wrong between the fields of a rule.
func (r *Rule) check(node *yaml.Node, fields map[string]*yaml.Node) *fieldError {
	for _, name := range ruleFields {
		users, limited := fieldUsers[name]
		if fields[name] != nil && limited && !slices.Contains(users, r.Do) {
			return fault(fields[name], "%s is for %s, not for %s", name, oneOf(users), r.Do)
		}
	}
	switch {
	case r.Do == ActionRefuse && fields["code"] == nil && r.With == "":
		return fault(node, "code is missing; do: refuse needs the refusal code, such as 12, or with and a gatewayCode, such as DECLINED")
	case r.Do == ActionStatus && (r.status() < 200 || r.status() > 599):
		return fault(fields["code"], "code is %d; do: status takes an HTTP status from 200 to 599", r.Code)
	case r.Do == ActionRedirect && r.Code != 0 && (r.Code < 300 || r.Code > 399):
		return fault(fields["code"], "code is %d; do: redirect takes an HTTP status from 300 to 399", r.Code)
	case r.Do == ActionDelay && fields["wait"] == nil:
		return fault(node, "wait is missing; do: delay needs a duration, such as 250ms")
	case r.Do == ActionResult && r.With == "":
		return fault(node, "with is missing; do: result needs the resultCode, such as Pending")
	case r.Do == ActionWrongAmount && r.With != "":
		if _, err := strconv.ParseInt(r.With, 10, 64); err != nil {
			return fault(fields["with"], "with is %q; do: wrong_amount takes a whole number", r.With)
		}
	}
	return nil
}

var matchFields = []string{"reference", "token", "every"}

func parseMatch(node *yaml.Node) (m Match, err *fieldError) {
	fields, err := mapping(node, "match.", matchFields)
	if err != nil {
		return Match{}, err
	}
	if len(fields) != 1 {
		return Match{}, fault(node, "match has %d fields; it needs one of reference, token, every", len(fields))
	}
	for name, value := range fields {
		switch name {
		case "reference":
			m.Reference, err = scalar(value, "match.reference")
		case "token":
			m.Token, err = scalar(value, "match.token")
		case "every":
			m.Every, err = number(value, "match.every", 1, 1<<30)
		}
	}
	return m, err
}

// mapping returns the values of a mapping by name; prefix stands before the
// names in errors.
func mapping(node *yaml.Node, prefix string, known []string) (map[string]*yaml.Node, *fieldError) {
	if node.Kind != yaml.MappingNode {
		return nil, fault(node, "expected fields (%s)", strings.Join(known, ", "))
	}
	fields := make(map[string]*yaml.Node)
	for i := 0; i < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if !slices.Contains(known, name.Value) {
			return nil, fault(name, "unknown field %s%q; known are %s", prefix, name.Value, strings.Join(known, ", "))
		}
		if fields[name.Value] != nil {
			return nil, fault(name, "%s%s is there twice", prefix, name.Value)
		}
		fields[name.Value] = value
	}
	return fields, nil
}

func scalar(node *yaml.Node, name string) (string, *fieldError) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" || node.Value == "" {
		return "", fault(node, "%s needs a value", name)
	}
	return node.Value, nil
}

func word[W ~string](node *yaml.Node, name string, known []W) (W, *fieldError) {
	if node.Kind != yaml.ScalarNode || !slices.Contains(known, W(node.Value)) {
		return "", fault(node, "%s is %q; it is one of %s", name, node.Value, oneOf(known))
	}
	return W(node.Value), nil
}

func number(node *yaml.Node, name string, least, most int) (int, *fieldError) {
	n, err := strconv.Atoi(node.Value)
	if node.Kind != yaml.ScalarNode || err != nil || n < least || n > most {
		return 0, fault(node, "%s is %q; it is a whole number from %d to %d", name, node.Value, least, most)
	}
	return n, nil
}

func boolean(node *yaml.Node, name string) (*bool, *fieldError) {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" {
		return nil, fault(node, "%s is %q; it is true or false", name, node.Value)
	}
	value := strings.EqualFold(node.Value, "true")
	return &value, nil
}

func duration(node *yaml.Node, name string) (time.Duration, *fieldError) {
	d, err := time.ParseDuration(node.Value)
	if node.Kind != yaml.ScalarNode || err != nil || d <= 0 {
		return 0, fault(node, "%s is %q; it is a duration above zero, such as 250ms or 2s", name, node.Value)
	}
	return d, nil
}

func oneOf[W ~string](words []W) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}
