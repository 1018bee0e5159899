package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a koanf.Parser that knows the lines. It keeps every scalar as the
// text that was written, because YAML's own idea of a type would read the
// account id 0012 as the number ten; sequences of scalars become texts with
// commas, and merchant_accounts becomes a map by index, so that a variable can
// change one field of one account.
type document struct {
	name     string            // of the file, for faults
	origin   map[string]string // path → file and line, filled while parsing
	accounts int               // items of merchant_accounts
	faults   Faults
}

// Marshal implements koanf.Parser; nothing here is ever written back.
func (*document) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("config: the file is read, never written")
}

// Unmarshal implements koanf.Parser. It returns an error only for what is not
// YAML at all; what is wrong inside is gathered in faults.
func (d *document) Unmarshal(text []byte) (map[string]any, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return map[string]any{}, nil // an empty file sets nothing
	} else if err != nil {
		return nil, d.notYAML(err)
	}
	if err := decoder.Decode(new(yaml.Node)); err == nil {
		return nil, Faults{{Origin: d.name, Text: "the file holds a second YAML document: remove the line --- and what follows"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, d.notYAML(err)
	}
	values := map[string]any{}
	if top := root.Content[0]; !isNull(top) {
		d.section(values, top, "", schema())
	}
	return values, nil
}

// notYAML passes on the line that the parser names, and not the text it quotes:
// that may be a secret with a quotation mark too few.
func (d *document) notYAML(err error) error {
	origin := d.name
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		if line, _, ok := strings.Cut(rest, ":"); ok && isNumber(line) {
			origin += ":" + line
		}
	}
	return Faults{{Origin: origin, Text: "this is not YAML: look for a missing quotation mark, a tab, or a wrong indentation near this line"}}
}

func isNumber(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil
}

// A shape says what may stand in one place of the file.
type shape struct {
	fields map[string]shape // a section, by key
	items  map[string]shape // a sequence of sections
	list   bool             // a sequence of scalars
}

// schema is the shape of the whole file, made from the tables of settings.
func schema() map[string]shape {
	top := map[string]shape{}
	for _, s := range settings {
		section, field, _ := strings.Cut(s.key, ".")
		if _, ok := top[section]; !ok {
			top[section] = shape{fields: map[string]shape{}}
		}
		top[section].fields[field] = shape{list: s.list}
	}
	item := map[string]shape{}
	for _, s := range accountSettings {
		item[s.key] = shape{list: s.list}
	}
	top[accountsKey] = shape{items: item}
	return top
}

// section reads a mapping whose keys must be those of fields. path is the
// section's own, "" for the whole file.
func (d *document) section(into map[string]any, node *yaml.Node, path string, fields map[string]shape) {
	if node.Kind != yaml.MappingNode {
		d.fault(node, path, "here belong the keys %s", keyList(fields))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		keyNode, value := node.Content[i], node.Content[i+1]
		key := keyNode.Value
		where := join(path, key)
		field, known := fields[key]
		switch {
		case keyNode.Kind != yaml.ScalarNode || !known:
			d.unknownKey(keyNode, path, fields)
		case seen[key] > 0:
			d.fault(keyNode, where, "this key stands in line %d already: keep one of the two", seen[key])
		default:
			seen[key] = keyNode.Line
			d.value(into, key, value, where, field)
		}
	}
}

// value reads what stands behind a known key. A key with nothing behind it
// keeps its default.
func (d *document) value(into map[string]any, key string, node *yaml.Node, path string, s shape) {
	if node.Kind == yaml.AliasNode {
		d.fault(node, path, "aliases (*%s) are not read: write the value out", clip(node.Value))
		return
	}
	if isNull(node) {
		return
	}
	switch {
	case s.fields != nil:
		below := map[string]any{}
		d.section(below, node, path, s.fields)
		into[key] = below
	case s.items != nil:
		d.itemSections(into, key, node, path, s.items)
	case s.list && node.Kind == yaml.SequenceNode:
		d.scalars(into, key, node, path)
	case node.Kind == yaml.ScalarNode:
		into[key] = node.Value
		d.note(path, node)
	default:
		d.fault(node, path, "here belongs one value, not a list or a section")
	}
}

// itemSections reads a sequence of sections into a map by index.
func (d *document) itemSections(into map[string]any, key string, node *yaml.Node, path string, fields map[string]shape) {
	if node.Kind != yaml.SequenceNode {
		d.fault(node, path, "here belongs a list: begin each item with a dash")
		return
	}
	items := map[string]any{}
	for i, item := range node.Content {
		below := map[string]any{}
		d.section(below, item, join(path, strconv.Itoa(i)), fields)
		items[strconv.Itoa(i)] = below
	}
	d.accounts = len(node.Content)
	into[key] = items
}

func (d *document) scalars(into map[string]any, key string, node *yaml.Node, path string) {
	var texts []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			d.fault(item, path, "here belong single values, not lists or sections")
			return
		}
		texts = append(texts, item.Value)
	}
	into[key] = strings.Join(texts, ",")
	d.note(path, node)
}

// note remembers where the value of path stands.
func (d *document) note(path string, node *yaml.Node) { d.origin[path] = d.at(node) }

func (d *document) at(node *yaml.Node) string { return fmt.Sprintf("%s:%d", d.name, node.Line) }

func (d *document) unknownKey(node *yaml.Node, section string, fields map[string]shape) {
	key := clip(node.Value)
	if node.Kind != yaml.ScalarNode {
		d.fault(node, section, "a key must be a word: %s", keyList(fields))
		return
	}
	if strings.Contains(key, ".") {
		d.fault(node, section, "unknown key %q: keys stand inside each other, they are not written with dots", key)
		return
	}
	hint := didYouMean(nearest(key, keysOf(fields)))
	if hint == "" {
		hint = ": known here are " + keyList(fields)
	}
	d.fault(node, section, "unknown key %q%s", key, hint)
}

func (d *document) fault(node *yaml.Node, path, format string, args ...any) {
	n := name{key: display(path), origin: d.at(node)}
	if slices.ContainsFunc(settings, func(s setting[Config]) bool { return s.key == path }) {
		n.variable = variable(path)
	}
	d.faults = append(d.faults, n.fault(format, args...))
}

// display writes merchant_accounts.0.id as merchant_accounts[0].id.
func display(path string) string {
	rest, ok := strings.CutPrefix(path, accountsKey+".")
	if !ok {
		return path
	}
	index, field, more := strings.Cut(rest, ".")
	if !more {
		return accountsKey + "[" + index + "]"
	}
	return accountsKey + "[" + index + "]." + field
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

func keysOf(fields map[string]shape) []string {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func keyList(fields map[string]shape) string { return strings.Join(keysOf(fields), ", ") }
