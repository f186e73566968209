package searchtoken

import (
	"errors"
	"fmt"
	"github.com/searchtoken/searchtoken/internal/redact"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// CSP returns policy, a Content-Security-Policy of the application, with what
// front end f needs on this page added to it, and no more:
//
//	csp, err := page.CSP("default-src 'self'; object-src 'none'", searchtoken.Atomic)
//	…
//	w.Header().Set("Content-Security-Policy", csp)
//
// An empty policy is one of default-src 'none'. The options are those that the
// template function of f is called with. A directive that is missing in policy
// begins with the sources of the one that stands in for it, default-src for
// example; where there is none, nothing is restricted and nothing is added. A page
// without a token needs nothing.
//
// The page's tags are allowed by its Nonce; but where policy has 'unsafe-inline'
// in force, which a nonce would end, by their origin. IPX and IPXBuilder add style
// elements that have no nonce: for them 'unsafe-inline' takes the place of the
// nonces and hashes in style-src. Name the origins of the application's own style
// sheets there, 'self' for example, and add IPX before other front ends.
//
// What the application adds is its own: 'unsafe-eval' for JSUI's templates of type
// text/underscore, img-src for pictures in results and data: for those of JSUI's
// date picker. JSUI is known in its default version: older ones have fonts from
// elsewhere. None of them bears require-trusted-types-for.
//
// The error says which option or URL is wrong, that f is none of the front ends, or
// that the page has no Nonce, or none in base64. CSP is safe for concurrent use, if
// nobody changes the Page meanwhile.
func (p *Page) CSP(policy string, f FrontEnd, options ...string) (string, error) {
	needs, err := p.needs(f, options)
	if err != nil {
		return "", err
	}
	for _, need := range needs {
		if err := need.check(); err != nil {
			return "", err
		}
	}
	if strings.TrimSpace(policy) == "" {
		policy = "default-src 'none'"
	}
	// A header may hold several policies, all of which must allow a thing.
	policies := strings.Split(policy, ",")
	for i, text := range policies {
		d := parsePolicy(text)
		for _, need := range needs {
			d.allow(need)
		}
		policies[i] = d.String()
	}
	return strings.Join(policies, ", "), nil
}

// need is what one directive has to allow.
type need struct {
	directive string
	sources   []string
	// noNonce takes the place of a nonce, where there can be none.
	noNonce string
}

const unsafeInline = "'unsafe-inline'"

// needs are what the tests in e2e have shown to be needed, front end by front end:
// without any one of the sources something of the page is blocked.
func (p *Page) needs(f FrontEnd, pairs []string) ([]need, error) {
	if _, ok := optionDefaults[f]; !ok {
		return nil, fmt.Errorf("searchtoken: CSP: there is no front end %q", redact.Truncate(string(f)))
	}
	o, err := parseOptions(f, pairs)
	if err != nil || p.noToken() != "" {
		return nil, err
	}
	if !nonceValue.MatchString(p.Nonce) {
		return nil, errors.New("searchtoken: CSP: the page's nonce must be base64, and not be empty: set Route.Nonce")
	}
	nonce := "'nonce-" + p.Nonce + "'"
	platform, analytics := p.endpoints()
	connect := []string{origin(platform), origin(analytics)}
	if p.RenewURL != "" {
		connect = append(connect, "'self'")
	}
	scripts := need{"script-src", []string{nonce}, o["assets"]}
	if o["build"] == "false" {
		scripts.noNonce = ""
	}
	styles := need{"style-src", []string{nonce}, o["assets"]}
	switch f {
	case JSUI:
		if o["lazy"] == "true" {
			scripts.sources = append(scripts.sources, o.library("searchui")+"/js/")
		}
		return []need{
			scripts, styles, {"style-src-attr", []string{unsafeInline}, ""},
			// Its style sheet names fonts on Coveo's own hosts, wherever it comes from.
			{"font-src", []string{o["assets"], assetsOrigin, "https://staticdev.cloud.coveo.com"}, ""},
			{"img-src", []string{o["assets"]}, ""},
			{"connect-src", connect, ""},
		}, nil
	case Atomic:
		return []need{
			scripts, styles, {"style-src-attr", []string{unsafeInline}, ""},
			{"connect-src", append(connect, o["assets"]), ""},
		}, nil
	case Headless:
		return []need{scripts, {"connect-src", connect, ""}}, nil
	case IPX:
		loader := p.ipxPlatform()
		return []need{
			{"script-src", []string{nonce}, origin(loader)},
			{"style-src", []string{unsafeInline}, ""},
			{"connect-src", []string{ipxHost(loader, "analytics")}, ""},
			{"frame-src", []string{ipxHost(loader, "search")}, ""},
		}, nil
	default: // IPXBuilder
		// It is Atomic, from Coveo's CDN, and knows of no endpoints but the
		// organization's own.
		loader := p.ipxPlatform()
		platform, analytics := origin(loader), origin(loader)
		if coveoHost.MatchString(loader) {
			platform, analytics = ownEndpoints(p.OrganizationID, p.Environment)
		}
		return []need{
			{"script-src", []string{nonce, assetsOrigin}, origin(loader)},
			{"style-src", []string{unsafeInline, assetsOrigin}, ""},
			{"connect-src", []string{assetsOrigin, platform, analytics}, ""},
		}, nil
	}
}

var (
	nonceValue = regexp.MustCompile(`^[A-Za-z0-9+/_-]+=*$`)
	// originOrPath is a source that is no keyword. A policy cannot name IPv6
	// addresses.
	originOrPath = regexp.MustCompile(`^https?://[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$`)
)

// origin is a URL without its path.
func origin(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL // which check refuses
	}
	return u.Scheme + "://" + u.Host
}

// check returns an error if a source is none, or more than one.
func (n need) check() error {
	for _, source := range append([]string{n.noNonce}, n.sources...) {
		if source != "" && source[0] != '\'' && !originOrPath.MatchString(source) {
			return fmt.Errorf("searchtoken: CSP: %q cannot stand in a policy: its host must be a name or an IPv4 address", redact.Truncate(source))
		}
	}
	return nil
}

// coveoHost is the platform's general host, of one region or environment.
var coveoHost = regexp.MustCompile(`^https://platform([a-z-]*\.cloud\.coveo\.com)$`)

// ipxHost is the host of that name beside the loader's. Elsewhere than on Coveo's
// hosts, which a page has been seen to be on, there is but one.
func ipxHost(loader, name string) string {
	if match := coveoHost.FindStringSubmatch(loader); match != nil {
		return "https://" + name + match[1]
	}
	return origin(loader)
}

// directives are those of one policy, in their order.
type directives []directive

type directive struct {
	name    string
	sources []string
}

func parsePolicy(policy string) directives {
	var d directives
	for text := range strings.SplitSeq(policy, ";") {
		// Browsers know ASCII white space only.
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

// standIns are those that take a directive's place where it is missing; for all
// others it is default-src alone.
var standIns = map[string][]string{
	"frame-src":      {"child-src", "default-src"},
	"style-src-attr": {"style-src", "default-src"},
}

func (d directives) index(name string) int {
	return slices.IndexFunc(d, func(other directive) bool { return other.name == name })
}

// allow adds what n needs.
func (d *directives) allow(n need) {
	// Where it is there, the directive for elements is the one that counts.
	for _, name := range []string{n.directive + "-elem", n.directive} {
		if at := d.index(name); at >= 0 {
			(*d)[at].sources = n.widen((*d)[at].sources)
			return
		}
	}
	instead, ok := standIns[n.directive]
	if !ok {
		instead = []string{"default-src"}
	}
	for _, name := range instead {
		at := d.index(name)
		if at < 0 {
			continue
		}
		sources := (*d)[at].sources
		if widened := n.widen(sources); !slices.Equal(sources, widened) {
			if n.directive == "style-src-attr" {
				widened = n.sources // an attribute has no origin
			}
			*d = append(*d, directive{n.directive, widened})
		}
		return
	}
}

// widen returns a copy of sources with those of n.
func (n need) widen(sources []string) []string {
	widened := slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return strings.EqualFold(s, "'none'") })
	inline := contains(widened, unsafeInline) && !slices.ContainsFunc(widened, n.endsUnsafeInline)
	for _, source := range n.sources {
		switch {
		case source == unsafeInline:
			widened = slices.DeleteFunc(widened, n.endsUnsafeInline)
		case inline && n.endsUnsafeInline(source):
			source = n.noNonce
		}
		if source != "" && !contains(widened, source) {
			widened = append(widened, source)
		}
	}
	return widened
}

// contains ignores case, as browsers do, except in nonces.
func contains(sources []string, source string) bool {
	return slices.ContainsFunc(sources, func(s string) bool {
		return s == source || strings.EqualFold(s, source) && !strings.HasPrefix(source, "'nonce-")
	})
}

// endsUnsafeInline reports whether 'unsafe-inline' means nothing beside source.
func (n need) endsUnsafeInline(source string) bool {
	source = strings.ToLower(source)
	return source == "'strict-dynamic'" && n.directive == "script-src" || strings.HasPrefix(source, "'nonce-") || strings.HasPrefix(source, "'sha")
}
