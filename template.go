package searchtoken

import (
	"cmp"
	"embed"
	"html/template"
	"net/http"

	"github.com/searchtoken/searchtoken/internal/snippet"
)

// Page holds what a web page needs to search as its user. The [Middleware]
// makes one for each request. The handler of that request may modify it.
type Page struct {
	// Token is the user's search token, or the zero Token if there is none.
	Token Token
	// Identity is the user, as [Config.Identify] returned it.
	Identity Identity
	// OrganizationID is the Coveo organization.
	OrganizationID string
	// Environment is the Coveo platform. The zero value is [EnvProduction].
	Environment Environment
	// PlatformURL is the base URL of Coveo's APIs, without a slash at its end:
	// queries go to PlatformURL + "/rest/search/v2". Empty: the organization's
	// own endpoint.
	PlatformURL string
	// AnalyticsURL is the base URL of Coveo's analytics, without a slash at its
	// end. Empty: the organization's own endpoint.
	AnalyticsURL string
	// RenewURL is where the page gets its next token. Empty: the page cannot
	// renew its token.
	RenewURL string
	// ProxyURL is the path under which the site answers the calls of the front
	// ends itself, without a slash at its end. Empty: they call Coveo.
	ProxyURL string
	// SearchHub is the search hub that the token enforces. Empty: none.
	SearchHub string
	// Nonce is the Content-Security-Policy nonce of the page. Empty: none.
	Nonce string
	// Err says why the page of an Optional route has no Token. [HTTPStatus]
	// returns the kind of failure. It is for operators, not for visitors. It is
	// nil if there is a Token.
	Err error
}

// FuncMap returns one template function for each of Coveo's front ends. It
// renders what belongs in the <head> of a search page to start the front end:
// style sheet, library and start-up script. Its first argument is the *[Page]:
//
//	{{coveoAtomic .Coveo}}
//
// Options follow in pairs of a name and a value:
//
//	{{coveoJSUI .Coveo "culture" "fr" "lazy" "true"}}
//
// [Page.CSP] returns a Content-Security-Policy under which a front end works.
// The functions are safe for concurrent use.
//
// # JavaScript Search Framework
//
// coveoJSUI starts it on an element of the page. Options:
//
//   - root: the CSS selector of the element. Default: .CoveoSearchInterface.
//   - version: the version of the library. Default: 2.10126.
//   - assets: the origin that serves the library, under the same paths as
//     Coveo's CDN. Default: https://static.cloud.coveo.com.
//   - culture: a language to load, such as fr or pt-br. Default: none.
//   - lazy: true loads the library in parts, when they are needed. Default:
//     false.
//   - integrity: the Subresource Integrity value of the library. Default: none.
//
// Without a CoveoAnalytics element on the page, JSUI logs no analytics events
// and names no search hub. The snippet may also stand at the end of the <body>.
// There, a library that does not load does not delay the page.
//
// # Atomic
//
// coveoAtomic starts Atomic on an element of the page. Options:
//
//   - root: the CSS selector of the element. Default: atomic-search-interface.
//   - version: the version of the library. Default: 3.
//   - assets: as for coveoJSUI.
//
// The snippet must stand in the <head>. Only there does Atomic look for the
// <meta name="csp-nonce"> with the nonce of its style sheets.
//
// # Headless
//
// coveoHeadless sets window.coveoEngineConfiguration to the configuration of a
// search engine, and window.coveoEngine to a Promise of the engine. Options:
//
//   - build: false sets only the configuration, for sites that bundle Headless.
//     Default: true.
//   - version: the version of the library. Default: 3.
//   - assets: as for coveoJSUI.
//
// # In-Product Experience
//
// coveoIPX loads a classic In-Product Experience, and coveoIPXBuilder one that
// was made with the IPX builder. They take the id of its page or interface, and
// no options:
//
//	{{coveoIPX .Coveo "0e5ae9d9-4f4a-4f4c-8b2c-0b2f2f9b5b3e"}}
//
// The token is part of the script's URL and cannot be renewed: see
// [Route.MinRemaining].
//
// # Through the site
//
// If the page has a ProxyURL, the snippet contains no token. The front end
// calls the site, whose [Middleware.ProxyHandler] adds the token and renews it,
// so a RenewURL has no effect. The search hub of the page is rendered as
// always.
//
// Headless refuses an empty token: it gets the word "proxied" instead, and so
// does Atomic. For generated answers and agents, both call the organization's
// own hosts, even if they are configured otherwise. So the snippet wraps
// window.fetch: calls of these hosts, of PlatformURL and of AnalyticsURL go to
// the site. If a site bundles Headless, its script must stand below the
// snippet.
//
// In-Product Experiences have their token in the URL of their script. coveoIPX
// and coveoIPXBuilder therefore end the execution of the template with an
// error: use a route without ProxyURL.
//
// # Renewal
//
// If the page has a RenewURL, JSUI, Atomic and Headless renew their token
// there:
//
//   - Parallel calls of the library share one request, which is aborted after
//     20 seconds.
//   - Several engines of Headless share the renewed token, if each is built on
//     window.coveoEngineConfiguration, or on a copy for that engine alone.
//   - For 1 second after a success, further calls get the same token. After a
//     status 429, they get it for the time in Retry-After.
//   - After a failure, further calls fail for 1 second, doubling up to 30
//     seconds.
//   - From the fifth of these further calls on, each waits first: 0.25 seconds,
//     doubling up to 4 seconds.
//   - If the clock of the device is ahead by more than the life of a token,
//     Atomic and Headless call before each query. Further calls then get the
//     same token for 20 seconds, and wait for 0.25 seconds at most.
//
// Atomic 3.41 gives up a query if it is the fifth that is refused at the same
// time. The next query works.
//
// # Errors
//
// For a nil *Page and for a page without a token, the functions render an HTML
// comment that says why, and no script. Unknown options, bad values and bad ids
// end the execution of the template with an error, even on a page without a
// token.
func FuncMap() template.FuncMap {
	funcs := template.FuncMap{}
	for f := range optionDefaults {
		funcs[string(f)] = func(p *Page, args ...string) (template.HTML, error) { return p.Snippet(f, args...) }
	}
	return funcs
}

// Snippet returns what the template function of f renders, for template engines
// other than html/template. The arguments and the errors are those of the
// function: options, or the id for [IPX] and [IPXBuilder]. p may be nil. It is
// safe for concurrent use as long as nobody modifies the Page.
func (p *Page) Snippet(f FrontEnd, args ...string) (template.HTML, error) {
	if comment := p.placeholderComment(); comment != "" {
		_, _, err := f.templateInput(cmp.Or(p, &Page{}), args) // report bad arguments even so
		return comment, err
	}
	key := snippetKey{
		f, "",
		p.OrganizationID, p.Environment, p.PlatformURL, p.AnalyticsURL, p.RenewURL, p.ProxyURL,
		p.Nonce != "", p.SearchHub != "",
	}
	if len(args) > 0 {
		key.args = string(appendStrings(nil, args))
	}
	s, err := compiled.Get(key, func() (*snippet.Snippet, error) { return p.compile(f, args) })
	if err != nil {
		return "", err
	}
	return s.Fill(p.Token.Value, p.Nonce, p.SearchHub)
}

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(snippet.ParseFS(templateFiles, "templates/*.html"))

// The slots for the values that differ from request to request. Pages that
// differ in nothing else share a compiled snippet.
var (
	slotToken      = snippet.ScriptString()
	slotTokenInURL = snippet.URLQuery()
	slotNonce      = snippet.Attribute()
	slotSearchHub  = snippet.ScriptString()
)

// snippetKey is everything that two compiled snippets can differ in. Most sites
// have a few; one takes about 4 KB.
type snippetKey struct {
	frontEnd                                      FrontEnd
	args                                          string
	organizationID                                string
	environment                                   Environment
	platformURL, analyticsURL, renewURL, proxyURL string
	hasNonce, hasSearchHub                        bool
}

var compiled snippet.Cache[snippetKey]

// compile returns the snippet of f for all pages that differ from p in their
// values only.
func (p *Page) compile(f FrontEnd, args []string) (*snippet.Snippet, error) {
	token := slotToken
	if f == IPX || f == IPXBuilder {
		token = slotTokenInURL
	}
	// Empty values stay empty: the templates leave out what depends on them.
	page := *p
	page.Token.Value = token.Placeholder()
	if p.Nonce != "" {
		page.Nonce = slotNonce.Placeholder()
	}
	if p.SearchHub != "" {
		page.SearchHub = slotSearchHub.Placeholder()
	}
	if p.ProxyURL != "" {
		page.Token.Value, page.RenewURL = proxiedToken, "" // the site has the token, and renews it
	}
	file, data, err := f.templateInput(&page, args)
	if err != nil {
		return nil, err
	}
	return snippet.Compile(templates, file, data, token, slotNonce, slotSearchHub)
}

// placeholderComment returns the comment to render instead of a snippet. It is
// empty if the page has a token. It says nothing that visitors may not know.
func (p *Page) placeholderComment() template.HTML {
	var why string
	switch {
	case p == nil:
		why = "the request did not pass through Middleware.Handler, or the template did not get its *Page"
	case p.Err != nil && HTTPStatus(p.Err) == http.StatusUnauthorized:
		why = "nobody is logged in"
	case p.Err != nil:
		why = "no token is available right now (" + http.StatusText(HTTPStatus(p.Err)) + ")"
	case p.Token.Value == "":
		why = "the page has no token"
	default:
		return ""
	}
	return template.HTML("<!-- searchtoken: no search here: " + why + " -->")
}
