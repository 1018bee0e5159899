package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// plainly returns err in words that cannot contain anything that was sent or
// received. net/http quotes a malformed answer in its error, and an answer may
// echo a token; so only errors known to be harmless keep their text.
func plainly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var (
		operation *net.OpError
		lookup    *net.DNSError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		host      x509.HostnameError
		number    syscall.Errno
	)
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errSealed):
		return err
	case errors.As(err, &verify), errors.As(err, &host), errors.As(err, &record), errors.As(err, &alert):
		return plain("TLS: " + Line(err.Error(), maxCause))
	case errors.As(err, &lookup):
		return plain("look up the gateway's name: " + Line(lookup.Error(), maxCause))
	case errors.As(err, &operation):
		return plain(Line(operation.Error(), maxCause))
	case errors.As(err, &number):
		return plain(number.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed"):
		return plain("the gateway closed the connection")
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return plain("TLS: the handshake took too long")
	default:
		return plain("the answer is not readable as HTTP")
	}
}

// maxCause bounds the text of a network error.
const maxCause = 200

type plain string

func (p plain) Error() string { return string(p) }

// masked stands where a secret, or what looks like a card number, was.
const masked = "[removed]"

// Line returns the words of a gateway as one line of at most limit bytes that
// may be stored and shown: without control characters, without the given
// secrets, and without any number as long as a card's.
//
// Secrets shorter than 4 bytes are left alone: they are no secrets, and
// removing each "1" would only garble the line.
func Line(text string, limit int, secrets ...string) string {
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, masked)
		}
	}
	text = maskCardNumbers(oneLine(text))
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// oneLine makes runs of spaces and characters that are not printable one space.
func oneLine(text string) string {
	clean := true
	for i := range len(text) {
		if c := text[i]; c <= ' ' && c != ' ' || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return strings.TrimSpace(text)
	}
	words := strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
	return strings.Join(words, " ")
}

// shortestCardNumber is the fewest digits that a payment card has.
const shortestCardNumber = 13

// maskCardNumbers replaces every run of digits that is long enough for a card,
// also when it is written in groups with single spaces or dashes between.
func maskCardNumbers(text string) string {
	if len(text) < shortestCardNumber {
		return text
	}
	var out strings.Builder
	kept := 0
	for i := 0; i < len(text); {
		end, digits := digitRun(text, i)
		if digits >= shortestCardNumber {
			out.WriteString(text[kept:i])
			out.WriteString(masked)
			kept = end
		}
		i = max(end, i+1)
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// digitRun returns where the run of grouped digits that begins at start ends,
// and how many digits it has.
func digitRun(text string, start int) (end, digits int) {
	end = start
	for i := start; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
			end = i + 1
		case (c == ' ' || c == '-') && i == end && digits > 0:
		default:
			return end, digits
		}
	}
	return end, digits
}
