// Package redact removes secrets and personal data from text that is meant for
// logs and error messages.
//
// A redacted text contains none of the known secrets that the caller names, no
// JWT, no bearer token, no API key of the form xx00000000-0000-0000-0000, and
// no email address: "[redacted]" replaces each of them. Spelling does not
// matter: a secret is found in any letter case, and with escapes of JSON, of
// Go's %q, of URLs and of HTML, even if one encoding is inside another. A
// redacted text is one line of printable characters and at most 300 bytes long,
// plus an ellipsis. The work for a text is bounded, however long the text is.
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
	maxInput = 4 << 10 // bytes examined of a text, of which maxText are kept

	// Shorter known secrets are skipped: they would match almost any text.
	minKnown = 3
)

// Two expressions, because one that matches both takes quadratic time.
var (
	// credentials matches a JWT, an API key, and the value after "Bearer " or
	// "access_token=". The first group is what to keep.
	credentials = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+|(?i:xx[0-9a-f]{8}-[0-9a-f-]+)|((?i:bearer[ +]|access_token=))[^\s"'&]+`)
	// addresses matches an email address.
	addresses = regexp.MustCompile(`[^\s"'<>(),:;=/?]+@[^\s"'<>(),:;&]+`)
)

// Text returns s without the known secrets and without anything that looks like
// a secret, as one line. If that is longer than 300 bytes, Text cuts it and
// adds an ellipsis. Known secrets shorter than three bytes are skipped. Text
// does not modify known.
func Text(s string, known ...string) string {
	s = head(s, known)
	var secrets []string
	for _, secret := range known {
		if len(secret) >= minKnown {
			secrets = append(secrets, newView(printable(secret)).fold().text)
		}
	}
	var found spans
	for _, v := range viewsOf(s) {
		found.addSecrets(v.fold(), secrets)
		found.addPatterns(v)
	}
	return truncate(found.replaceIn(s))
}

// head returns the part of s to examine, as printable text. If that is not all
// of s, its last words may be a part of a secret, so they are missing.
func head(s string, known []string) string {
	if len(s) <= maxInput {
		return printable(s)
	}
	s = printable(s[:maxInput])
	words := 1
	for _, secret := range known {
		words = max(words, len(strings.Fields(printable(secret))))
	}
	for range words {
		s = s[:max(strings.LastIndexByte(s, ' '), 0)]
	}
	return s
}

// span is a part of a text that must not be shown.
type span struct{ from, to int }

type spans []span

// addSecrets adds the spans of the secrets in a folded view.
func (found *spans) addSecrets(folded view, secrets []string) {
	for _, secret := range secrets {
		for i := 0; ; i++ { // occurrences may overlap
			next := strings.Index(folded.text[i:], secret)
			if next < 0 {
				break
			}
			i += next
			*found = append(*found, folded.span(i, i+len(secret)))
		}
	}
}

// addPatterns adds the spans of what looks like a secret in a view.
func (found *spans) addPatterns(v view) {
	for _, match := range credentials.FindAllStringSubmatchIndex(v.text, -1) {
		*found = append(*found, v.span(max(match[0], match[3]), match[1]))
	}
	for _, match := range addresses.FindAllStringIndex(v.text, -1) {
		*found = append(*found, v.span(match[0], match[1]))
	}
}

// replaceIn returns s with a replacement for each span. Spans that overlap get
// one replacement.
func (found spans) replaceIn(s string) string {
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	done := 0 // bytes of s that are written or replaced
	for _, f := range found {
		if f.from > done || done == 0 {
			b.WriteString(s[done:f.from] + replacement)
		}
		done = max(done, f.to)
	}
	return b.String() + s[done:]
}

// truncate returns the first 300 bytes of s with a space for each unprintable
// character, followed by an ellipsis if s is longer. It never cuts a character
// in two.
func truncate(s string) string {
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
