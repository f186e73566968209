package searchtoken

import (
	"cmp"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"github.com/searchtoken/searchtoken/internal/redact"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Page is all that a page needs to search as its user. The Middleware makes one
// for each request; it belongs to that request, whose handler may change it.
type Page struct {
	// Token is the user's search token. The zero Token if there is none.
	Token Token
	// Identity is the user, as Identify said.
	Identity Identity
	// OrganizationID is the Coveo organization.
	OrganizationID string
	// Environment is the platform. The zero value is EnvProduction.
	Environment Environment
	// PlatformURL is the base URL of Coveo's APIs, without a slash at its end:
	// PlatformURL + "/rest/search/v2" takes queries. Empty: the
	// organization's own endpoint.
	PlatformURL string
	// AnalyticsURL is the base URL of analytics, likewise.
	AnalyticsURL string
	// RenewURL is where the page gets its next token. Empty: nowhere.
	RenewURL string
	// SearchHub is the hub that the token enforces. Empty: none.
	SearchHub string
	// Nonce is the Content-Security-Policy nonce of the page. Empty: none.
	Nonce string
	// Err says why an Optional route has no Token; HTTPStatus(Err) is the kind.
	// For operators, not for visitors. Nil where there is a token.
	Err error
}

// The versions of Coveo's libraries that the snippets load by default, in the
// words of the CDN's paths.
const (
	jsuiVersion     = "2.10126"
	atomicVersion   = "3"
	headlessVersion = "3"

	assetsOrigin = "https://static.cloud.coveo.com" // for HIPAA as well
)

// A FrontEnd is one of Coveo's front ends, by the name of its template function.
type FrontEnd string

// The front ends that FuncMap has a function for.
const (
	JSUI       FrontEnd = "coveoJSUI"       // the JavaScript Search Framework
	Atomic     FrontEnd = "coveoAtomic"     // Atomic, web components
	Headless   FrontEnd = "coveoHeadless"   // Headless, without a user interface
	IPX        FrontEnd = "coveoIPX"        // a classic In-Product Experience
	IPXBuilder FrontEnd = "coveoIPXBuilder" // one of the IPX builder
)

// FuncMap returns the template functions that render what belongs into the
// <head> of a search page: style sheet, library and start-up script. The first
// argument of each is the *Page; then come options, a name and a value each:
//
//	{{coveoJSUI .Coveo "culture" "fr"}}
//
// coveoJSUI starts the JavaScript Search Framework on the element that matches
// the option "root", a CSS selector (".CoveoSearchInterface"). "version"
// (2.10126) and "assets" (https://static.cloud.coveo.com), an origin with the
// CDN's paths, say where the library comes from. "culture" is a language to load,
// "fr" for example; "lazy" "true" loads the library in parts; "integrity" is its
// Subresource Integrity value. Without a CoveoAnalytics element on the page no
// events are logged, and no search hub is named. The snippet may as well stand at
// the end of the <body>, where a library that does not come holds up nothing.
//
// coveoAtomic starts Atomic 3 on "root" ("atomic-search-interface"), with
// "version" (3) and "assets". Atomic looks for the nonce of its style sheets, a
// <meta name="csp-nonce"> that the snippet has, in the <head> only.
//
// coveoHeadless sets window.coveoEngine to a Promise of a Headless 3 search
// engine, and window.coveoEngineConfiguration to its configuration, with
// "version" (3) and "assets". With "build" "false" it sets the configuration
// only, for sites that bundle Headless.
//
// coveoIPX and coveoIPXBuilder load an In-Product Experience, by the id of its
// page or interface: {{coveoIPX .Coveo "page-id"}}. They take no options. The
// token is part of the script's URL and cannot be renewed: see
// Route.MinRemaining.
//
// Where the page renews its token (RenewURL), one request does it for all parallel
// calls of the library, and ends after 20 seconds. For a second after it, and until
// Retry-After where the route says so, further calls get the same token; after a
// failure they fail for 1 second, doubling to 30. From the fifth of them on, they
// wait for up to 4 seconds each. Atomic 3.41 gives up a query that is the fifth to be
// refused at once: the next one works.
//
// What a Content-Security-Policy has to allow for each of them, Page.CSP says.
//
// A nil *Page, or one without a token, renders an HTML comment that says why and
// no script. Unknown options, bad values and ids end the template's execution
// with an error. The functions are safe for concurrent use.
func FuncMap() template.FuncMap {
	funcs := template.FuncMap{}
	for _, f := range []FrontEnd{JSUI, Atomic, Headless} {
		funcs[string(f)] = func(p *Page, options ...string) (template.HTML, error) { return f.render(p, options) }
	}
	for _, f := range []FrontEnd{IPX, IPXBuilder} {
		funcs[string(f)] = func(p *Page, id string) (template.HTML, error) { return f.render(p, []string{id}) }
	}
	return funcs
}

//go:embed templates/*.html
var templateFiles embed.FS

var snippets = template.Must(template.ParseFS(templateFiles, "templates/*.html"))

// snippet is what the files in templates/ render.
type snippet struct {
	StyleSheet, Library string   // URLs
	Scripts             []string // URLs of what comes after the library
	Integrity, Nonce    string
	Renews              bool
	Page, Assets        any // become JavaScript objects; Assets may be nil
}

// render renders the snippet of a page that has a token, else a comment.
func (f FrontEnd) render(p *Page, args []string) (template.HTML, error) {
	if comment := p.noToken(); comment != "" {
		_, _, err := f.snippet(&Page{}, args) // a bad argument is one all the same
		return comment, err
	}
	r, err := f.rendered(p, args)
	if err != nil {
		return "", err
	}
	return r.with(p)
}

// value is what differs from request to request. A snippet is rendered without
// the values once, and with them for each request.
type value int

const (
	theToken value = iota
	theNonce
	theSearchHub
	numValues
)

func (p *Page) values() [numValues]string {
	return [...]string{theToken: p.Token.Value, theNonce: p.Nonce, theSearchHub: p.SearchHub}
}

// rendered is a snippet without the values.
type rendered struct {
	texts    []string // one more than values
	values   []value  // values[i] follows texts[i]
	escapers [numValues]*escaper
	size     int // at least that of the texts
}

// with returns the snippet with the values of p, each of which is escaped once
// for all its places.
func (r *rendered) with(p *Page) (template.HTML, error) {
	values, size := p.values(), r.size
	for v, e := range r.escapers {
		var err error
		if values[v], err = e.escape(values[v]); err != nil {
			return "", err
		}
	}
	for _, v := range r.values {
		size += len(values[v])
	}
	var b strings.Builder
	b.Grow(size)
	for i, v := range r.values {
		b.WriteString(r.texts[i])
		b.WriteString(values[v])
	}
	b.WriteString(r.texts[len(r.values)])
	return template.HTML(b.String()), nil
}

// escaper has html/template escape a value for where it stands.
type escaper struct {
	before, after string
	template      *template.Template
	plain         string // the characters that stand for themselves there
}

func newEscaper(before, after, plain string) *escaper {
	return &escaper{before, after, template.Must(template.New("").Parse(before + "{{.}}" + after)), plain}
}

// unreserved is what means nothing in HTML, in a URL or in a script: a JWT, all of
// it.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

var (
	inAttribute = newEscaper(`<script nonce="`, `"></script>`, unreserved+"/=")
	inURL       = newEscaper(`<script src="?`, `"></script>`, unreserved)
	inScript    = newEscaper(`<script>"`, `"</script>`, unreserved+" ")
)

func (e *escaper) escape(s string) (string, error) {
	if strings.TrimLeft(s, e.plain) == "" {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(e.before) + len(s) + len(e.after))
	if err := e.template.Execute(&b, s); err != nil {
		return "", err
	}
	return b.String()[len(e.before) : b.Len()-len(e.after)], nil
}

// renderedKey is all that makes one rendered snippet differ from another. Most
// sites have a few of them; one takes about 4 KB.
type renderedKey struct {
	frontEnd                            FrontEnd
	args                                string
	organizationID                      string
	environment                         Environment
	platformURL, analyticsURL, renewURL string
	hasNonce, hasSearchHub              bool
}

// What is beyond these limits is rendered for each request.
const (
	maxRendered     = 1024
	maxRenderedSize = 32 << 10 // bytes
)

var allRendered = struct {
	sync.RWMutex
	m map[renderedKey]*rendered
}{m: map[renderedKey]*rendered{}}

// rendered is the snippet without the values of p.
func (f FrontEnd) rendered(p *Page, args []string) (*rendered, error) {
	options := ""
	if len(args) > 0 {
		options = string(appendStrings(nil, args))
	}
	key := renderedKey{
		f, options,
		p.OrganizationID, p.Environment, p.PlatformURL, p.AnalyticsURL, p.RenewURL,
		p.Nonce != "", p.SearchHub != "",
	}
	allRendered.RLock()
	r := allRendered.m[key]
	allRendered.RUnlock()
	if r != nil {
		return r, nil
	}
	r, err := f.renderWithout(p, args)
	if err != nil || r.size > maxRenderedSize {
		return r, err
	}
	allRendered.Lock()
	defer allRendered.Unlock()
	for other := range allRendered.m {
		if len(allRendered.m) < maxRendered {
			break
		}
		delete(allRendered.m, other)
	}
	allRendered.m[key] = r
	return r, nil
}

// Where values are left out, actions of html/template stand, with delimiters that
// pass all escapers unchanged. They are random: no page has them in its values.
var (
	leftDelim, rightDelim = "searchtoken" + rand.Text(), "-" + rand.Text()

	actions = [numValues]string{
		theToken:     leftDelim + ".Token.Value" + rightDelim,
		theNonce:     leftDelim + ".Nonce" + rightDelim,
		theSearchHub: leftDelim + ".SearchHub" + rightDelim,
	}
	anyAction = regexp.MustCompile(leftDelim + `\.[A-Za-z.]+` + rightDelim)
)

func (f FrontEnd) renderWithout(p *Page, args []string) (*rendered, error) {
	text, err := f.withActions(p, args)
	if err != nil {
		return nil, err
	}
	r := &rendered{escapers: [...]*escaper{theToken: inScript, theNonce: inAttribute, theSearchHub: inScript}, size: len(text)}
	if f == IPX || f == IPXBuilder {
		r.escapers[theToken] = inURL
	}
	end := 0
	for _, at := range anyAction.FindAllStringIndex(text, -1) {
		r.texts = append(r.texts, text[end:at[0]])
		r.values = append(r.values, value(slices.Index(actions[:], text[at[0]:at[1]])))
		end = at[1]
	}
	r.texts = append(r.texts, text[end:])
	return r, nil
}

// withActions is the snippet with actions in the places of the values of p.
func (f FrontEnd) withActions(p *Page, args []string) (string, error) {
	bare := *p
	bare.Token.Value = actions[theToken]
	if p.Nonce != "" {
		bare.Nonce = actions[theNonce]
	}
	if p.SearchHub != "" {
		bare.SearchHub = actions[theSearchHub]
	}
	name, s, err := f.snippet(&bare, args)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = snippets.ExecuteTemplate(&b, name, s)
	return b.String(), err
}

// snippet says which of the files in templates/ to render, and with what.
func (f FrontEnd) snippet(p *Page, args []string) (name string, s snippet, err error) {
	s = snippet{Nonce: p.Nonce, Renews: p.RenewURL != ""}
	switch f {
	case IPX:
		s.Library, err = p.ipxLoader(f, args[0], "pages", "inappwidget/loader")
		return "ipx.html", s, err
	case IPXBuilder:
		s.Library, err = p.ipxLoader(f, args[0], "ipxinterface/v1/interfaces", "loader")
		return "ipx.html", s, err
	}
	o, err := parseOptions(f, args)
	if err != nil {
		return "", snippet{}, err
	}
	switch f {
	case JSUI:
		return "jsui.html", s.ofJSUI(p, o), nil
	case Atomic:
		return "atomic.html", s.ofAtomic(p, o), nil
	default:
		return "headless.html", s.ofHeadless(p, o), nil
	}
}

func (s snippet) ofJSUI(p *Page, o options) snippet {
	base := o.library("searchui")
	s.StyleSheet = base + "/css/CoveoFullSearch.min.css"
	s.Library = base + "/js/CoveoJsSearch.min.js"
	if o["lazy"] == "true" {
		s.Library = base + "/js/CoveoJsSearch.Lazy.min.js"
	}
	s.Integrity = o["integrity"]
	if culture := o["culture"]; culture != "" {
		s.Scripts = append(s.Scripts, base+"/js/cultures/"+culture+".js")
	}
	platform, analytics := p.endpoints()
	s.Page = map[string]any{
		"root":           o["root"],
		"organizationId": p.OrganizationID,
		"accessToken":    p.Token.Value,
		"renewUrl":       p.RenewURL,
		// JSUI does not find the organization's endpoints by itself.
		"restUri":   platform + "/rest/search",
		"analytics": withSearchHub(p, map[string]any{"endpoint": analytics + "/rest/ua"}),
	}
	return s
}

func (s snippet) ofAtomic(p *Page, o options) snippet {
	base := o.library("atomic")
	s.StyleSheet = base + "/themes/coveo.css"
	s.Library = base + "/atomic.esm.js"
	s.Page = map[string]any{"root": o["root"], "renewUrl": p.RenewURL, "configuration": p.engineConfiguration()}
	if o["assets"] != assetsOrigin {
		s.Assets = map[string]string{"root": o["root"], "language": base + "/lang", "icon": base + "/assets"}
	}
	return s
}

func (s snippet) ofHeadless(p *Page, o options) snippet {
	if o["build"] == "true" {
		s.Library = o.library("headless") + "/headless.esm.js"
	}
	s.Page = map[string]any{"renewUrl": p.RenewURL, "configuration": p.engineConfiguration()}
	return s
}

// ipxID is a page's or an interface's id: a UUID, as far as is known.
var ipxID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ipxLoader is the URL of the loader of an In-Product Experience.
func (p *Page) ipxLoader(f FrontEnd, id, collection, loader string) (string, error) {
	if !ipxID.MatchString(id) {
		return "", fmt.Errorf("searchtoken: %s: %q is no id (letters, digits, hyphens and underscores)", f, redact.Truncate(id))
	}
	query := url.Values{"access_token": {p.Token.Value}}
	return p.ipxPlatform() + "/rest/organizations/" + url.PathEscape(p.OrganizationID) + "/" + collection + "/" + id + "/" + loader + "?" + query.Encode(), nil
}

// ipxPlatform is where the loaders come from. It is not known to us that an
// organization's own endpoint serves them; the platform's general one does. That
// the builder's loader takes access_token, too, is what
// https://docs.coveo.com/en/56 says of IPX interfaces; its own reference lists no
// parameter.
func (p *Page) ipxPlatform() string {
	own, _ := ownEndpoints(p.OrganizationID, p.Environment)
	if platform, _ := p.endpoints(); platform != own {
		return platform
	}
	return "https://platform" + p.Environment.suffix() + ".cloud.coveo.com"
}

// noToken is the comment to render in the place of a snippet; empty where the
// page has a token. It says what the visitor may know.
func (p *Page) noToken() template.HTML {
	switch {
	case p == nil:
		return "<!-- searchtoken: no search here: the request did not pass through Middleware.Handler, or the template was not given its *Page -->"
	case errors.Is(p.Err, ErrNoIdentity):
		return "<!-- searchtoken: no search here: nobody is logged in -->"
	case p.Err != nil:
		return template.HTML("<!-- searchtoken: no search here: no token for the moment (" + http.StatusText(HTTPStatus(p.Err)) + ") -->")
	case p.Token.Value == "":
		return "<!-- searchtoken: no search here: the page has no token -->"
	}
	return ""
}

// endpoints are those of p, or the organization's own in the place of none.
func (p *Page) endpoints() (platform, analytics string) {
	platform, analytics = ownEndpoints(p.OrganizationID, p.Environment)
	return cmp.Or(strings.TrimRight(p.PlatformURL, "/"), platform), cmp.Or(strings.TrimRight(p.AnalyticsURL, "/"), analytics)
}

// engineConfiguration is the configuration of a Headless engine, which Atomic
// takes as well. Headless finds the organization's production endpoints by
// itself. Others it takes as proxies; those of other environments, too, since a
// renewal makes Headless 3.50 and Atomic 3.41 forget the environment.
func (p *Page) engineConfiguration() map[string]any {
	platform, analytics := p.endpoints()
	ownPlatform, ownAnalytics := ownEndpoints(p.OrganizationID, p.Environment)
	search := withSearchHub(p, map[string]any{})
	production := p.Environment.suffix() == ""
	if !production || platform != ownPlatform {
		search["proxyBaseUrl"] = platform + "/rest/search/v2"
	}
	// Headless 3's default, "next", is for commerce only.
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

// withSearchHub adds the hub that the token enforces. A page that names another
// would only be overruled.
func withSearchHub(p *Page, m map[string]any) map[string]any {
	if p.SearchHub != "" {
		m["searchHub"] = p.SearchHub
	}
	return m
}

// optionChecks say what is wrong with an option's value.
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
	"build":     mustMatch(`^(true|false)$`, `must be "true" or "false"`),
	"culture":   mustMatch(`^[a-z]{2}(-[a-z]{2})?$`, `must be one of JSUI's languages, "fr" or "pt-br" for example`),
	"integrity": mustMatch(`^sha(256|384|512)-[A-Za-z0-9+/]+=*( sha(256|384|512)-[A-Za-z0-9+/]+=*)*$`, `must be a hash, "sha384-…"`),
	"lazy":      mustMatch(`^(true|false)$`, `must be "true" or "false"`),
	"root":      mustMatch(`\S`, "must be a CSS selector"),
	"version":   mustMatch(`^[0-9]+(\.[0-9]+)*$`, "must be digits and dots"),
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

// optionDefaults are the options that a front end has.
var optionDefaults = map[FrontEnd]options{
	JSUI:       {"assets": assetsOrigin, "culture": "", "integrity": "", "lazy": "false", "root": ".CoveoSearchInterface", "version": jsuiVersion},
	Atomic:     {"assets": assetsOrigin, "root": "atomic-search-interface", "version": atomicVersion},
	Headless:   {"assets": assetsOrigin, "build": "true", "version": headlessVersion},
	IPX:        {},
	IPXBuilder: {},
}

// options are those of one call, by their names.
type options map[string]string

// library is the URL of a library, the name of which is its folder on the CDN.
func (o options) library(name string) string { return o["assets"] + "/" + name + "/v" + o["version"] }

// parseOptions puts the pairs of a helper's arguments into the place of its
// defaults.
func parseOptions(f FrontEnd, pairs []string) (options, error) {
	o := maps.Clone(optionDefaults[f])
	names := cmp.Or(strings.Join(slices.Sorted(maps.Keys(o)), ", "), "none")
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("searchtoken: %s: options are pairs of a name and a value; the names are %s", f, names)
	}
	for pair := range slices.Chunk(pairs, 2) {
		name, value := pair[0], pair[1]
		if _, ok := o[name]; !ok {
			return nil, fmt.Errorf("searchtoken: %s: there is no option %q; the options are %s", f, redact.Truncate(name), names)
		}
		if why := optionChecks[name](value); why != "" {
			return nil, fmt.Errorf("searchtoken: %s: option %q: %s", f, name, why)
		}
		o[name] = value
	}
	return o, nil
}
