package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// DefaultFile is read when nobody names another.
const DefaultFile = "contauth.yaml"

// Sources is where Load reads from. A function that is nil finds nothing, so
// the zero Sources gives the defaults, and a test passes maps.
type Sources struct {
	File         string // path of the YAML file; "" = none
	FileRequired bool   // a missing file is a fault: someone named it

	Lookup   func(name string) (string, bool)  // one variable of the environment
	Environ  func() []string                   // all of them, as NAME=value: finds misspelt names
	ReadFile func(path string) ([]byte, error) // also for secrets
}

// Load reads the file, then the environment, and validates the result. The
// error is of type Faults where the configuration is wrong, and holds all that
// is wrong with it; it never holds a secret.
func Load(sources Sources) (Config, error) {
	l := loader{sources: sources.complete(), k: koanf.New("."), origin: map[string]string{}}
	if err := l.load(); err != nil {
		return Config{}, err
	}
	c := l.config()
	l.checkVariables()
	for _, fault := range c.faults(l.origin) {
		// What could not be read is told once, not again as missing.
		if !l.faults.about(fault.Key) {
			l.faults = append(l.faults, fault)
		}
	}
	l.checkCertificates(c.MerchantAccounts)
	if len(l.faults) > 0 {
		return Config{}, l.faults
	}
	return c, nil
}

func (s Sources) complete() Sources {
	if s.Lookup == nil {
		s.Lookup = func(string) (string, bool) { return "", false }
	}
	if s.Environ == nil {
		s.Environ = func() []string { return nil }
	}
	if s.ReadFile == nil {
		s.ReadFile = func(path string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	return s
}

// loader gathers values and faults. Every value is a text until config turns
// it into a field; koanf holds them by path, later layers over earlier ones.
type loader struct {
	sources  Sources
	k        *koanf.Koanf
	accounts int               // items of merchant_accounts in the file
	origin   map[string]string // path → where its value was written
	faults   Faults
}

// load fills k from the defaults, the file and the variables, in this order.
func (l *loader) load() error {
	if err := l.k.Load(confmap.Provider(defaults(), "."), nil); err != nil {
		return fmt.Errorf("config: defaults: %w", err)
	}
	if err := l.loadFile(); err != nil {
		return err
	}
	if err := l.k.Load(confmap.Provider(l.variables(), "."), nil); err != nil {
		return fmt.Errorf("config: environment: %w", err)
	}
	return nil
}

func defaults() map[string]any {
	texts := map[string]any{}
	for _, s := range settings {
		texts[s.key] = s.fallback
	}
	return texts
}

// maxFile bounds the file, in bytes: a thousand accounts need a quarter of it.
const maxFile = 1 << 20

func (l *loader) loadFile() error {
	if l.sources.File == "" {
		return nil
	}
	text, err := l.sources.ReadFile(l.sources.File)
	if errors.Is(err, fs.ErrNotExist) && !l.sources.FileRequired {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("read configuration: %s has %d bytes, more than %d: it is not a contauth.yaml", l.sources.File, len(text), maxFile)
	}
	doc := &document{name: l.sources.File, origin: l.origin}
	if err := l.k.Load(rawbytes.Provider(text), doc); err != nil {
		return err
	}
	l.accounts = doc.accounts
	l.faults = append(l.faults, doc.faults...)
	return nil
}

// config turns the gathered texts into fields.
func (l *loader) config() Config {
	var c Config
	for _, s := range settings {
		fill(l, &c, s, name{key: s.key, variable: variable(s.key)}, s.key)
	}
	for i := range l.accounts {
		c.MerchantAccounts = append(c.MerchantAccounts, l.account(i))
	}
	return c
}

func (l *loader) account(i int) MerchantAccount {
	var a MerchantAccount
	id := l.k.String(accountPath(i, "id"))
	for _, s := range accountSettings {
		fill(l, &a, s, accountName(i, id, s.key), accountPath(i, s.key))
	}
	if a.Gateway == GatewayMastercard && a.Operation == "" {
		a.Operation = OperationPay
	}
	return a
}

// fill sets one field from its text, or from its default where nothing was
// written, and notes a fault where that cannot be done.
func fill[T any](l *loader, target *T, s setting[T], n name, path string) {
	n.origin = l.origin[path]
	text := s.fallback
	if l.k.Exists(path) {
		text = l.k.String(path)
	}
	if s.secret {
		resolved, err := l.resolveAll(text, s.list)
		if err != nil {
			l.faults = append(l.faults, n.fault("%v", err))
			return
		}
		text = resolved
	}
	if err := s.set(target, text); err != nil {
		l.faults = append(l.faults, n.fault("%v", err))
	}
}

const accountsKey = "merchant_accounts"

// accountPath is where koanf keeps a setting of the i-th account.
func accountPath(i int, key string) string { return accountsKey + "." + strconv.Itoa(i) + "." + key }
