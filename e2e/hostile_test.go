package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// hostile has texts that set window.pwned, or confuse a parser, if a browser or
// html/template interprets them as more than text.
var hostile = []string{
	`</script><script>window.pwned = 1</script>`,
	`"+(window.pwned=1)+"'+(window.pwned=1)+'`,
	"\u2028window.pwned=1;\u2029//",
	"`${window.pwned=1}`{{.}}{{printf \"%c\" 60}}",
	`<!--<script>`,
	`\";window.pwned=1;//`,
}

var hostileApps = []app{
	{frontEnd: searchtoken.JSUI, body: jsuiBody},
	{frontEnd: searchtoken.Atomic, body: atomicBody},
	{frontEnd: searchtoken.Headless, body: headlessBody},
	{frontEnd: searchtoken.IPX, options: []string{"page"}},
	{frontEnd: searchtoken.IPXBuilder, options: []string{"interface"}},
}

// TestHostileSearchHubReachesThePlatformUnchanged: a search hub may be any
// text.
func TestHostileSearchHubReachesThePlatformUnchanged(t *testing.T) {
	t.Parallel()
	for _, a := range hostileApps {
		for i, hub := range hostile {
			t.Run(fmt.Sprint(a.frontEnd, " ", i), func(t *testing.T) {
				t.Parallel()
				a := a
				a.config = func(cfg *searchtoken.Config) { cfg.Params.SearchHub = hub }
				w := newApp(t, a)
				b := openTab(t, w.url)
				b.open("/")
				if a.frontEnd == searchtoken.Headless {
					const search = `coveoEngine.then((engine) => engine.executeFirstSearch())`
					b.do(chromedp.Evaluate[chromedp.Void](search, chromedp.EvalAwaitPromise))
				}
				var q searchtokentest.Request
				w.await(t, "a response to the query", func() bool {
					queries := w.platform.Requests(searchtokentest.KindSearch)
					if len(queries) > 0 {
						q = queries[0]
					}
					return q.Status != 0
				})
				if diff := cmp.Diff([]string{hub, hub}, []string{q.SearchHub, q.Claims.SearchHub}); diff != "" {
					t.Errorf("search hubs of the query and the token (-want +got):\n%s", diff)
				}
				b.checkHarmless(t)
			})
		}
	}
}

// TestHostilePageIsHarmless: a handler may modify a Page, and put texts into it
// that New refuses.
func TestHostilePageIsHarmless(t *testing.T) {
	t.Parallel()
	for _, a := range hostileApps {
		for i, text := range hostile {
			urls := map[string]func(*searchtoken.Page){
				"RenewURL": func(p *searchtoken.Page) { p.RenewURL = text },
				"ProxyURL": func(p *searchtoken.Page) { p.ProxyURL = text },
			}
			if a.options != nil {
				delete(urls, "ProxyURL") // an In-Product Experience takes none
			}
			for name, setURL := range urls {
				t.Run(fmt.Sprint(a.frontEnd, " ", i, ", ", name), func(t *testing.T) {
					t.Parallel()
					a := a
					a.page = func(p *searchtoken.Page) {
						p.OrganizationID, p.SearchHub, p.Token.Value = text, text, text
						p.Environment = searchtoken.Environment(text)
						setURL(p)
					}
					if a.frontEnd == searchtoken.JSUI || a.frontEnd == searchtoken.Atomic {
						a.options = []string{"root", text}
					}
					w := newApp(t, a)
					b := openTab(t, w.url)
					b.open("/")
					b.checkHarmless(t)
				})
			}
		}
	}
}

// TestHostileValuesAreRefused by New and by the template helpers.
func TestHostileValuesAreRefused(t *testing.T) {
	t.Parallel()
	for i, text := range hostile {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, err := searchtoken.New(searchtoken.Config{OrganizationID: text})
			if err == nil || !strings.Contains(err.Error(), "OrganizationID") {
				t.Errorf("New: got error %v, want one about OrganizationID", err)
			}
			page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
			for name, args := range map[string][]string{
				"coveoJSUI": {"culture", text}, "coveoIPX": {text}, "coveoIPXBuilder": {text},
			} {
				var b strings.Builder
				err := parseSnippet(name, len(args)).Execute(&b, map[string]any{"Page": page, "Options": args})
				if err == nil || b.Len() > 0 {
					t.Errorf("%s: got error %v and output %q, want an error only", name, err, b.String())
				}
			}
		})
	}
}

// checkHarmless reports an error if a hostile text was executed or blocked.
func (b *tab) checkHarmless(t *testing.T) {
	t.Helper()
	if eval[bool](b, "'pwned' in window") {
		t.Error("the hostile text was executed")
	}
	if got := b.messages("error: violation: script-src"); got != nil {
		t.Errorf("the hostile text became a script, which only the policy blocked: %q", got)
	}
	if n := eval[int](b, `document.querySelectorAll('script:not([nonce], [src], [type="text/html"])').length`); n != 0 {
		t.Errorf("got %d scripts that are not the page's, want 0", n)
	}
}
