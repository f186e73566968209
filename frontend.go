package searchtoken

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/searchtoken/searchtoken/internal/redact"
)

// A FrontEnd is one of Coveo's front ends. Its value is the name of its
// template function in [FuncMap].
type FrontEnd string

// The front ends that [FuncMap] has a function for.
const (
	JSUI       FrontEnd = "coveoJSUI"       // JavaScript Search Framework
	Atomic     FrontEnd = "coveoAtomic"     // Atomic, a library of web components
	Headless   FrontEnd = "coveoHeadless"   // Headless, a library without a user interface
	IPX        FrontEnd = "coveoIPX"        // classic In-Product Experience
	IPXBuilder FrontEnd = "coveoIPXBuilder" // In-Product Experience made with the IPX builder
)

// The default versions of Coveo's libraries, as they stand in the paths of its
// CDN.
const (
	jsuiVersion     = "2.10126"
	atomicVersion   = "3"
	headlessVersion = "3"
)

// proxiedToken is the token of a page with a ProxyURL. Headless refuses an
// empty one.
const proxiedToken = "proxied"

// assetsOrigin is Coveo's CDN, the same one in every environment.
const assetsOrigin = "https://static.cloud.coveo.com"

// options are the options of one call, by name.
type options map[string]string

// optionDefaults are the options of each front end.
var optionDefaults = map[FrontEnd]options{
	JSUI: {
		"assets": assetsOrigin, "culture": "", "integrity": "", "lazy": "false",
		"root": ".CoveoSearchInterface", "version": jsuiVersion,
	},
	Atomic:     {"assets": assetsOrigin, "root": "atomic-search-interface", "version": atomicVersion},
	Headless:   {"assets": assetsOrigin, "build": "true", "version": headlessVersion},
	IPX:        {},
	IPXBuilder: {},
}

// optionChecks return what is wrong with the value of an option, or "".
var optionChecks = map[string]func(value string) string{
	"assets": func(v string) string {
		if err := checkBaseURL(v); err != nil {
			return err.Error()
		}
		if u, err := url.Parse(v); err != nil || u.Path != "" {
			return "must be an origin, without a path"
		}
		return ""
	},
	"build":   mustMatch(`^(true|false)$`, `must be "true" or "false"`),
	"culture": mustMatch(`^[a-z]{2}(-[a-z]{2})?$`, `must be one of JSUI's languages, such as "fr" or "pt-br"`),
	"integrity": mustMatch(`^sha(256|384|512)-[A-Za-z0-9+/]+=*( sha(256|384|512)-[A-Za-z0-9+/]+=*)*$`,
		`must be a hash, "sha384-…"`),
	"lazy":    mustMatch(`^(true|false)$`, `must be "true" or "false"`),
	"root":    mustMatch(`\S`, "must be a CSS selector"),
	"version": mustMatch(`^[0-9]+(\.[0-9]+)*$`, "must consist of digits and dots"),
}

func mustMatch(pattern, why string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(value string) string {
		if re.MatchString(value) {
			return ""
		}
		return why
	}
}

// parseOptions returns the defaults of f, overridden by pairs of a name and a
// value.
func parseOptions(f FrontEnd, pairs []string) (options, error) {
	defaults, ok := optionDefaults[f]
	switch {
	case !ok:
		return nil, fmt.Errorf("searchtoken: unknown front end %q; use a constant, for example searchtoken.Atomic",
			redact.Text(string(f)))
	case len(defaults) == 0 && len(pairs) > 0:
		return nil, fmt.Errorf("searchtoken: %s: takes no options; CSP does not need the id", f)
	case len(pairs)%2 != 0:
		return nil, fmt.Errorf("searchtoken: %s: options must be pairs of a name and a value; the names are %s",
			f, defaults.names())
	}
	o := maps.Clone(defaults)
	for pair := range slices.Chunk(pairs, 2) {
		name, value := pair[0], pair[1]
		if _, ok := o[name]; !ok {
			return nil, fmt.Errorf("searchtoken: %s: unknown option %q; the options are %s", f, redact.Text(name), o.names())
		}
		if why := optionChecks[name](value); why != "" {
			return nil, fmt.Errorf("searchtoken: %s: option %q: %s", f, name, why)
		}
		o[name] = value
	}
	return o, nil
}

func (o options) names() string { return strings.Join(slices.Sorted(maps.Keys(o)), ", ") }

// library returns the URL of a library. The name is its folder on the CDN.
func (o options) library(name string) string { return o["assets"] + "/" + name + "/v" + o["version"] }

// templateData is the data of the files in templates/.
type templateData struct {
	StyleSheet, Library string   // URLs
	Scripts             []string // URLs of the scripts to load after the library
	Integrity, Nonce    string
	Renews              bool // the page renews its token
	Page, Assets, Proxy any  // become JavaScript objects; Assets and Proxy may be nil
}

// templateInput returns the name of the file in templates/ that starts f, and
// its data. The arguments are those of f's template function.
func (f FrontEnd) templateInput(p *Page, args []string) (file string, data templateData, err error) {
	data = templateData{Nonce: p.Nonce, Renews: p.RenewURL != ""}
	switch f {
	case IPX:
		data.Library, err = p.ipxLoader(f, args, "pages", "inappwidget/loader")
		return "ipx.html", data, err
	case IPXBuilder:
		data.Library, err = p.ipxLoader(f, args, "ipxinterface/v1/interfaces", "loader")
		return "ipx.html", data, err
	}
	o, err := parseOptions(f, args)
	if err != nil {
		return "", templateData{}, err
	}
	if p.ProxyURL != "" {
		data.Proxy = map[string]any{"url": p.ProxyURL, "direct": p.directURLs(), "accessToken": proxiedToken}
	}
	switch f {
	case JSUI:
		data.startJSUI(p, o)
		return "jsui.html", data, nil
	case Atomic:
		data.startAtomic(p, o)
		return "atomic.html", data, nil
	default:
		data.startHeadless(p, o)
		return "headless.html", data, nil
	}
}

func (d *templateData) startJSUI(p *Page, o options) {
	base := o.library("searchui")
	d.StyleSheet = base + "/css/CoveoFullSearch.min.css"
	d.Library = base + "/js/CoveoJsSearch.min.js"
	if o["lazy"] == "true" {
		d.Library = base + "/js/CoveoJsSearch.Lazy.min.js"
	}
	d.Integrity = o["integrity"]
	if culture := o["culture"]; culture != "" {
		d.Scripts = []string{base + "/js/cultures/" + culture + ".js"}
	}
	platform, analytics := p.endpoints()
	page := map[string]any{
		"root":           o["root"],
		"organizationId": p.OrganizationID,
		"renewUrl":       p.RenewURL,
		// JSUI does not derive the organization's endpoints.
		"restUri":   platform + "/rest/search",
		"analytics": p.withSearchHub(map[string]any{"endpoint": analytics + "/rest/ua"}),
	}
	if p.ProxyURL == "" {
		page["accessToken"] = p.Token.Value
	}
	d.Page = page
}

func (d *templateData) startAtomic(p *Page, o options) {
	base := o.library("atomic")
	d.StyleSheet = base + "/themes/coveo.css"
	d.Library = base + "/atomic.esm.js"
	d.Page = map[string]any{"root": o["root"], "renewUrl": p.RenewURL, "configuration": p.engineConfiguration()}
	if o["assets"] != assetsOrigin {
		d.Assets = map[string]string{"root": o["root"], "language": base + "/lang", "icon": base + "/assets"}
	}
}

func (d *templateData) startHeadless(p *Page, o options) {
	if o["build"] == "true" {
		d.Library = o.library("headless") + "/headless.esm.js"
	}
	d.Page = map[string]any{"renewUrl": p.RenewURL, "configuration": p.engineConfiguration()}
}

// engineConfiguration returns the configuration of a Headless engine, which
// Atomic takes as well. Headless derives the organization's production
// endpoints; all others are set as proxies. That includes those of other
// environments, because Headless 3.50 and Atomic 3.41 forget the environment
// when they renew a token. Headless refuses a URL without an origin: the script
// adds the site's to a ProxyURL.
func (p *Page) engineConfiguration() map[string]any {
	platform, analytics := p.endpoints()
	ownPlatform, ownAnalytics := ownEndpoints(p.OrganizationID, p.Environment)
	search := p.withSearchHub(map[string]any{})
	production := p.Environment.suffix() == ""
	if !production || platform != ownPlatform {
		search["proxyBaseUrl"] = platform + "/rest/search/v2"
	}
	// Headless 3's default mode, "next", is for commerce only.
	events := map[string]any{"analyticsMode": "legacy"}
	if !production || analytics != ownAnalytics {
		events["proxyBaseUrl"] = analytics
	}
	return map[string]any{
		"organizationId": p.OrganizationID,
		"environment":    cmp.Or(p.Environment, EnvProduction),
		"accessToken":    p.Token.Value,
		"search":         search,
		"analytics":      events,
	}
}

// withSearchHub adds the search hub that the token enforces. Coveo would
// override any other.
func (p *Page) withSearchHub(m map[string]any) map[string]any {
	if p.SearchHub != "" {
		m["searchHub"] = p.SearchHub
	}
	return m
}

// endpoints returns the base URLs of the calls of a front end. The default is
// the organization's own endpoints.
func (p *Page) endpoints() (platform, analytics string) {
	platform, analytics = ownEndpoints(p.OrganizationID, p.Environment)
	return cmp.Or(p.ProxyURL, strings.TrimRight(p.PlatformURL, "/"), platform),
		cmp.Or(p.ProxyURL, strings.TrimRight(p.AnalyticsURL, "/"), analytics)
}

// directURLs returns the base URLs of calls that a front end makes without
// regard to its proxies, and those that the page is configured with.
func (p *Page) directURLs() []string {
	platform, analytics := ownEndpoints(p.OrganizationID, p.Environment)
	urls := []string{platform, analytics, strings.TrimRight(p.PlatformURL, "/"), strings.TrimRight(p.AnalyticsURL, "/")}
	slices.Sort(urls)
	return slices.DeleteFunc(slices.Compact(urls), func(u string) bool { return u == "" })
}

// ipxID matches the id of a page or an interface. The ids that are known are
// UUIDs.
var ipxID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ipxLoader returns the URL of the script that loads an In-Product Experience.
func (p *Page) ipxLoader(f FrontEnd, args []string, collection, loader string) (string, error) {
	if len(args) != 1 {
		return "", fmt.Errorf("searchtoken: %s: takes one argument, an id, but got %d", f, len(args))
	}
	id := args[0]
	if !ipxID.MatchString(id) {
		return "", fmt.Errorf("searchtoken: %s: %q is not an id (letters, digits, hyphens and underscores)", f, redact.Text(id))
	}
	if err := p.checkProxy(f); err != nil {
		return "", err
	}
	organization := p.ipxPlatform() + "/rest/organizations/" + url.PathEscape(p.OrganizationID)
	query := url.Values{"access_token": {p.Token.Value}}
	return organization + "/" + collection + "/" + id + "/" + loader + "?" + query.Encode(), nil
}

// checkProxy returns an error if f cannot start on p, because its calls do not
// go through the site.
func (p *Page) checkProxy(f FrontEnd) error {
	if p.ProxyURL == "" || f != IPX && f != IPXBuilder {
		return nil
	}
	return fmt.Errorf("searchtoken: %s: needs the token in the page, but the page has a ProxyURL: use a route without ProxyURL", f)
}

// ipxPlatform returns the base URL of the loaders. The default is the
// platform's general endpoint: whether the organization's endpoints serve
// loaders is not documented. That the builder's loader takes access_token
// follows from https://docs.coveo.com/en/56; its own reference lists no
// parameters.
func (p *Page) ipxPlatform() string {
	own, _ := ownEndpoints(p.OrganizationID, p.Environment)
	if platform, _ := p.endpoints(); platform != own {
		return platform
	}
	return "https://platform" + p.Environment.suffix() + ".cloud.coveo.com"
}
