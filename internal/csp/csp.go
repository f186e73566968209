// Package csp adds sources to the directives of a Content-Security-Policy.
package csp

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Requirement is a list of sources that one directive must allow.
type Requirement struct {
	// Directive is a fetch directive, in lower case.
	Directive string
	// Sources are quoted keywords and nonces, and origins or URLs.
	Sources []string
	// NonceSubstitute replaces the nonces in Sources if 'unsafe-inline' is in
	// effect, which a nonce would turn off. Empty: the nonces are left out.
	NonceSubstitute string
}

const unsafeInline = "'unsafe-inline'"

// fallbacks are the directives that apply if a directive is missing, in the
// order in which browsers look for them. All others fall back to default-src.
var fallbacks = map[string][]string{
	"frame-src":      {"child-src", "default-src"},
	"style-src-attr": {"style-src", "default-src"},
}

// Merge returns policy with the sources of the requirements. An empty policy
// counts as default-src 'none'. If policy is a list of policies, separated by
// commas, Merge changes each of them, because browsers enforce all.
//
// Merge adds sources to the -elem variant of a directive if policy has one. If
// policy lacks a directive, Merge adds it with the sources of its fallback
// directive. If there is no fallback either, nothing is restricted and Merge
// adds nothing.
//
// A required 'unsafe-inline' replaces the nonces and hashes that would turn it
// off. Merge returns an error if a source is malformed. It does not modify
// requirements.
func Merge(policy string, requirements []Requirement) (string, error) {
	for _, r := range requirements {
		if err := r.check(); err != nil {
			return "", err
		}
	}
	if strings.TrimSpace(policy) == "" {
		policy = "default-src 'none'"
	}
	policies := strings.Split(policy, ",")
	for i, text := range policies {
		d := parse(text)
		for _, r := range requirements {
			d.allow(r)
		}
		policies[i] = d.String()
	}
	return strings.Join(policies, ", "), nil
}

var (
	// A policy cannot name an IPv6 address.
	originOrURL = regexp.MustCompile(`^https?://[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$`)
	quoted      = regexp.MustCompile(`^'[A-Za-z0-9+/_-]+=*'$`)
)

func (r Requirement) check() error {
	sources := r.Sources
	if r.NonceSubstitute != "" {
		sources = append(slices.Clip(sources), r.NonceSubstitute)
	}
	for _, source := range sources {
		switch {
		case strings.HasPrefix(source, "'"):
			if !quoted.MatchString(source) {
				return fmt.Errorf("%.300q is not a valid keyword, nonce or hash", source)
			}
		case !originOrURL.MatchString(source):
			return fmt.Errorf("%.300q is not a valid source: its host must be a name or an IPv4 address", source)
		}
	}
	return nil
}

// directives are the directives of one policy, in their order.
type directives []directive

type directive struct {
	name    string // in lower case
	sources []string
}

func parse(policy string) directives {
	var d directives
	for text := range strings.SplitSeq(policy, ";") {
		// Browsers split at ASCII white space only.
		fields := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\n\f\r", c) })
		if len(fields) > 0 {
			d = append(d, directive{strings.ToLower(fields[0]), fields[1:]})
		}
	}
	return d
}

func (d directives) String() string {
	var texts []string
	for _, directive := range d {
		texts = append(texts, strings.Join(append([]string{directive.name}, directive.sources...), " "))
	}
	return strings.Join(texts, "; ")
}

// find returns the first directive with that name: browsers ignore the others.
// It returns nil if there is none.
func (d directives) find(name string) *directive {
	i := slices.IndexFunc(d, func(other directive) bool { return other.name == name })
	if i < 0 {
		return nil
	}
	return &d[i]
}

// allow adds the sources of r.
func (d *directives) allow(r Requirement) {
	for _, name := range []string{r.Directive + "-elem", r.Directive} {
		if existing := d.find(name); existing != nil {
			existing.sources = r.addTo(existing.sources)
			return
		}
	}
	names, ok := fallbacks[r.Directive]
	if !ok {
		names = []string{"default-src"}
	}
	for _, name := range names {
		fallback := d.find(name)
		if fallback == nil {
			continue
		}
		if sources := r.addTo(fallback.sources); !slices.Equal(sources, fallback.sources) {
			if r.Directive == "style-src-attr" {
				sources = r.Sources // attributes have no origin
			}
			*d = append(*d, directive{r.Directive, sources})
		}
		return
	}
}

// addTo returns a copy of sources with those of r.
func (r Requirement) addTo(sources []string) []string {
	sum := slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return strings.EqualFold(s, "'none'") })
	inline := contains(sum, unsafeInline) && !slices.ContainsFunc(sum, r.disablesInline)
	for _, source := range r.Sources {
		switch {
		case source == unsafeInline:
			sum = slices.DeleteFunc(sum, r.disablesInline)
		case inline && r.disablesInline(source):
			source = r.NonceSubstitute
		}
		if source != "" && !contains(sum, source) {
			sum = append(sum, source)
		}
	}
	return sum
}

// contains ignores case except in nonces, as browsers do.
func contains(sources []string, source string) bool {
	return slices.ContainsFunc(sources, func(s string) bool {
		return s == source || strings.EqualFold(s, source) && !strings.HasPrefix(source, "'nonce-")
	})
}

// disablesInline reports whether 'unsafe-inline' has no effect in a directive
// that contains source.
func (r Requirement) disablesInline(source string) bool {
	source = strings.ToLower(source)
	return source == "'strict-dynamic'" && r.Directive == "script-src" ||
		strings.HasPrefix(source, "'nonce-") || strings.HasPrefix(source, "'sha")
}
