package config

import (
	"slices"
	"strings"
)

// prefix begins every variable of ours; fileSuffix makes of the variable of a
// secret one that names a file with the secret in it.
const (
	prefix     = "CONTAUTH_"
	fileSuffix = "_FILE"
)

// variable returns the variable of a path: CONTAUTH_TIMING_LEASE.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// accountVariable returns the variable of an account's setting. What a variable
// cannot hold becomes "_": Demo-EU is DEMO_EU.
func accountVariable(id, key string) string {
	shouted := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, id)
	return variable(accountsKey) + "_" + shouted + "_" + strings.ToUpper(key)
}

// variables returns the values that the environment sets, by path.
func (l *loader) variables() map[string]any {
	found := map[string]any{}
	for _, s := range settings {
		l.lookUp(found, name{key: s.key, variable: variable(s.key)}, s.key, s.secret)
	}
	owner := map[string]int{} // variable → the account it is of
	for i := range l.accounts {
		id := l.k.String(accountPath(i, "id"))
		if id == "" {
			continue
		}
		for _, s := range accountSettings {
			n := accountName(i, id, s.key)
			if n.variable == "" {
				continue
			}
			other, taken := owner[n.variable]
			owner[n.variable] = i
			if !l.lookUp(found, n, accountPath(i, s.key), s.secret) || !taken {
				continue
			}
			if otherID := l.k.String(accountPath(other, "id")); otherID != id {
				l.faults = append(l.faults, n.fault("the accounts %q and %q share this variable: set %s in the file for both", clip(otherID), clip(id), s.key))
			}
		}
	}
	return found
}

// lookUp notes the value of one variable under path and reports whether there
// is one. A secret may also come as NAME_FILE.
func (l *loader) lookUp(found map[string]any, n name, path string, secret bool) bool {
	value, ok := l.sources.Lookup(n.variable)
	if ok {
		found[path] = value
		l.origin[path] = "environment"
	}
	if !secret {
		return ok
	}
	file, fileOK := l.sources.Lookup(n.variable + fileSuffix)
	if ok && fileOK {
		l.faults = append(l.faults, n.fault("%s is set as well: keep one of the two", n.variable+fileSuffix))
	}
	if fileOK {
		found[path] = "file:" + file
		l.origin[path] = "environment"
	}
	return ok || fileOK
}

// checkVariables finds misspelt names. A variable of merchant_accounts or
// timing must be a setting. Any other one is a fault only where it is close to
// a setting: Kubernetes puts variables such as CONTAUTH_SERVICE_HOST and
// CONTAUTH_DATABASE_PORT into the environment on its own account.
func (l *loader) checkVariables() {
	known := l.knownVariables()
	ours := []string{variable(accountsKey) + "_", variable("timing") + "_"}
	for _, entry := range l.sources.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) {
			continue
		}
		near := nearest(name, known)
		claimed := slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(name, p) })
		if !claimed && len(near) == 0 {
			continue
		}
		l.faults = append(l.faults, Fault{Variable: name, Origin: "environment", Text: "no setting has this variable" + didYouMean(near)})
	}
}

func (l *loader) knownVariables() []string {
	var known []string
	add := func(variable string, secret bool) {
		known = append(known, variable)
		if secret {
			known = append(known, variable+fileSuffix)
		}
	}
	for _, s := range settings {
		add(variable(s.key), s.secret)
	}
	for i := range l.accounts {
		for _, s := range accountSettings {
			if n := accountName(i, l.k.String(accountPath(i, "id")), s.key); n.variable != "" {
				add(n.variable, s.secret)
			}
		}
	}
	return append(known, l.referenced()...)
}

// referenced returns the variables that secrets name with env:NAME; they may
// begin with our prefix too.
func (l *loader) referenced() []string {
	var names []string
	for _, path := range l.k.Keys() {
		for _, item := range items(l.k.String(path)) {
			if name, ok := strings.CutPrefix(item, "env:"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
