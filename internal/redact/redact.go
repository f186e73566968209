// Package redact removes secrets and personal data from text that is meant for
// logs and error messages.
//
// A redacted text contains none of the known secrets that the caller names, no
// JWT, no bearer token, no API key of the form xx00000000-0000-0000-0000, and
// no email address: "[redacted]" replaces each of them. It is one line of
// printable characters and at most 300 bytes long, plus an ellipsis. The work
// for a text is bounded, however long the text is.
package redact

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	replacement = "[redacted]"

	maxText  = 300     // bytes kept of a text
	maxInput = 8 << 10 // bytes examined of a text, of which maxText are kept

	// Shorter known secrets are skipped: they would match almost any text.
	minKnown = 3
)

// Two expressions, because one that matches both takes quadratic time.
var (
	// credentials matches a JWT, an API key, and the value after "Bearer " or
	// "access_token=".
	credentials = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+|(?i:xx[0-9a-f]{8}-[0-9a-f-]+)|((?i:bearer |access_token=))[^\s"'&]+`)
	// addresses matches an email address, whose @ may be escaped.
	addresses = regexp.MustCompile(`[^\s"'<>(),:;=/?]+(?:@|%40|&#64;)[^\s"'<>(),:;&]+`)
)

// Text returns s without the known secrets and without anything that looks like
// a secret, truncated as [Truncate] does. Known secrets shorter than three
// bytes are skipped. Text does not modify known.
func Text(s string, known ...string) string {
	if len(s) > maxInput { // drop the last word: it may be half a secret
		s = s[:max(strings.LastIndexByte(s[:maxInput], ' '), 0)]
	}
	s = printable(s) // before the search: a tab may stand for the space in a known secret
	known = slices.DeleteFunc(slices.Clone(known), func(secret string) bool { return len(secret) < minKnown })
	// Longest first, so that "Ann" does not leave half of "Ann Lee".
	slices.SortFunc(known, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, secret := range known {
		pairs = append(pairs, printable(secret), replacement)
	}
	s = strings.NewReplacer(pairs...).Replace(s)
	s = credentials.ReplaceAllString(s, "${1}"+replacement)
	return Truncate(addresses.ReplaceAllString(s, replacement))
}

// Error returns an error whose message is that of err, redacted as [Text] does.
// It wraps err, so that errors.Is and errors.As still find what err wraps. The
// err must not be nil.
func Error(err error, known ...string) error {
	return &redactedError{Text(err.Error(), known...), err}
}

type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// Truncate returns the first 300 bytes of s with a space for each unprintable
// character, followed by an ellipsis if s is longer. It never cuts a character
// in two. Use it alone for text that contains no secret.
func Truncate(s string) string {
	s = printable(s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// printable replaces control characters, which could forge a line of a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
