package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// maxSmall bounds a file that holds a secret or a certificate, in bytes.
const maxSmall = 64 << 10

// resolveAll resolves a secret, or each item of a list of them.
func (l *loader) resolveAll(text string, list bool) (string, error) {
	if !list {
		return l.resolve(text)
	}
	parts := items(text)
	for i, part := range parts {
		resolved, err := l.resolve(part)
		if err != nil {
			return "", err
		}
		if strings.Contains(resolved, ",") {
			return "", fmt.Errorf("what item %d stands for has a comma, which separates items: give each its own", i+1)
		}
		parts[i] = resolved
	}
	return strings.Join(parts, ","), nil
}

// resolve returns the secret that text stands for: env:NAME, file:PATH
// (relative to the working directory), or itself. Errors name the reference,
// never the secret.
func (l *loader) resolve(text string) (string, error) {
	if variable, ok := strings.CutPrefix(text, "env:"); ok {
		value, found := l.sources.Lookup(variable)
		if !found || value == "" {
			return "", fmt.Errorf("the variable %s is not set: set it to the secret", clip(variable))
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		return l.readSmall(path, "secret")
	}
	return text, nil
}

// readSmall returns the content of a file that holds one thing, such as a secret.
// Errors name the path, never the content.
func (l *loader) readSmall(path, thing string) (string, error) {
	content, err := l.sources.ReadFile(path)
	if err != nil {
		// The path error repeats the path and may repeat more; its cause is enough.
		cause := err
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			cause = pathErr.Err
		}
		return "", fmt.Errorf("cannot read the file %q: %w", clip(path), cause)
	}
	if len(content) > maxSmall {
		return "", fmt.Errorf("the file %q has %d bytes, which is no %s", clip(path), len(content), thing)
	}
	value := strings.TrimRight(string(content), "\r\n") // editors add one
	if value == "" {
		return "", fmt.Errorf("the file %q is empty: write the %s into it", clip(path), thing)
	}
	return value, nil
}
