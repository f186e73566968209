package searchtoken

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/searchtoken/searchtoken/internal/csp"
)

// CSP adds to policy, the application's own Content-Security-Policy, what front
// end f needs on this page, and nothing else. The options are those that f's
// template function is called with, without the id of an IPX:
//
//	policy, err := page.CSP("default-src 'self'; object-src 'none'", searchtoken.Atomic)
//	…
//	w.Header().Set("Content-Security-Policy", policy)
//
// An empty policy counts as default-src 'none'. If policy lacks a directive,
// CSP adds it with the sources of its fallback directive, such as default-src.
// If there is no fallback either, nothing is restricted and CSP adds nothing. A
// page without a token needs nothing.
//
// On a page with a ProxyURL, connect-src needs 'self' only, and for Atomic the
// origin of its texts and icons.
//
// The Nonce of the page allows its scripts and style sheets. If 'unsafe-inline'
// is in effect in policy, a nonce would turn it off; CSP then adds the origins
// of the scripts and style sheets instead.
//
// [IPX] and [IPXBuilder] add style elements that have no nonce. CSP therefore
// replaces the nonces and hashes in style-src by 'unsafe-inline'. Name the
// origins of the application's own style sheets in style-src, such as 'self',
// and call CSP for IPX before other front ends.
//
// The application itself has to add what depends on its pages: 'unsafe-eval'
// for JSUI's templates of type text/underscore, img-src for pictures in
// results, and img-src data: for JSUI's date picker. For JSUI, CSP knows the
// default version: older versions load fonts from other hosts. No front end
// works under require-trusted-types-for.
//
// CSP returns an error if f is unknown, if an option or a URL of the page is
// bad, if the page has no Nonce in base64, or if f is [IPX] or [IPXBuilder] and
// the page has a ProxyURL. It is safe for concurrent use as
// long as nobody modifies the Page.
func (p *Page) CSP(policy string, f FrontEnd, options ...string) (string, error) {
	requirements, err := p.cspRequirements(f, options)
	if err != nil {
		return "", err
	}
	merged, err := csp.Merge(policy, requirements)
	if err != nil {
		return "", fmt.Errorf("searchtoken: CSP: %w", err)
	}
	return merged, nil
}

const unsafeInline = "'unsafe-inline'"

// staticDevOrigin serves a font that JSUI's style sheet names.
const staticDevOrigin = "https://staticdev.cloud.coveo.com"

var base64Nonce = regexp.MustCompile(`^[A-Za-z0-9+/_-]+=*$`)

// cspRequirements returns what f needs. The tests in e2e show in a browser that
// each source is needed: without it, a part of the page is blocked.
func (p *Page) cspRequirements(f FrontEnd, pairs []string) ([]csp.Requirement, error) {
	o, err := parseOptions(f, pairs)
	if err == nil && p != nil {
		err = p.checkProxy(f)
	}
	if err != nil || p.placeholderComment() != "" {
		return nil, err
	}
	if !base64Nonce.MatchString(p.Nonce) {
		return nil, errors.New("searchtoken: CSP: the page has no nonce, or one that is not base64: set Route.Nonce," +
			" and put the middleware that makes the nonce outside of Handler")
	}
	allow := func(directive string, sources ...string) csp.Requirement {
		return csp.Requirement{Directive: directive, Sources: sources}
	}
	allowTags := func(directive, origin string, sources ...string) csp.Requirement {
		sources = append([]string{"'nonce-" + p.Nonce + "'"}, sources...)
		return csp.Requirement{Directive: directive, Sources: sources, NonceSubstitute: origin}
	}
	connect := allow("connect-src")
	if p.ProxyURL == "" {
		platform, analytics := p.endpoints()
		connect.Sources = append(connect.Sources, originOf(platform), originOf(analytics))
	}
	if p.ProxyURL != "" || p.RenewURL != "" {
		connect.Sources = append(connect.Sources, "'self'")
	}
	assets := o["assets"]
	switch f {
	case JSUI:
		scripts := allowTags("script-src", assets)
		if o["lazy"] == "true" {
			scripts.Sources = append(scripts.Sources, o.library("searchui")+"/js/")
		}
		return []csp.Requirement{
			scripts,
			allowTags("style-src", assets),
			allow("style-src-attr", unsafeInline),
			// JSUI's style sheet names fonts on Coveo's hosts, even if it comes
			// from another host.
			allow("font-src", assets, assetsOrigin, staticDevOrigin),
			allow("img-src", assets),
			connect,
		}, nil
	case Atomic:
		connect.Sources = append(connect.Sources, assets)
		return []csp.Requirement{
			allowTags("script-src", assets),
			allowTags("style-src", assets),
			allow("style-src-attr", unsafeInline),
			connect,
		}, nil
	case Headless:
		scripts := allowTags("script-src", assets)
		if o["build"] == "false" {
			scripts.NonceSubstitute = "" // no library is loaded
		}
		return []csp.Requirement{scripts, connect}, nil
	case IPX:
		loader := p.ipxPlatform()
		return []csp.Requirement{
			allowTags("script-src", originOf(loader)),
			allow("style-src", unsafeInline),
			allow("connect-src", ipxHost(loader, "analytics")),
			allow("frame-src", ipxHost(loader, "search")),
		}, nil
	default: // IPXBuilder
		// Its page is Atomic from Coveo's CDN. On Coveo's platform it calls the
		// organization's own endpoints only.
		loader := p.ipxPlatform()
		platform, analytics := originOf(loader), originOf(loader)
		if coveoPlatform.MatchString(loader) {
			platform, analytics = ownEndpoints(p.OrganizationID, p.Environment)
		}
		return []csp.Requirement{
			allowTags("script-src", originOf(loader), assetsOrigin),
			allow("style-src", unsafeInline, assetsOrigin),
			allow("connect-src", assetsOrigin, platform, analytics),
		}, nil
	}
}

// originOf returns a URL without its path. It returns what is not a URL
// unchanged: [csp.Merge] refuses it.
func originOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	return u.Scheme + "://" + u.Host
}

// coveoPlatform matches Coveo's general platform host, in any region or
// environment.
var coveoPlatform = regexp.MustCompile(`^https://platform([a-z-]*\.cloud\.coveo\.com)$`)

// ipxHost returns the host of that name in the region or environment of the
// loader. If the loader is not on Coveo's platform, it serves everything
// itself.
func ipxHost(loader, name string) string {
	if match := coveoPlatform.FindStringSubmatch(loader); match != nil {
		return "https://" + name + match[1]
	}
	return originOf(loader)
}
