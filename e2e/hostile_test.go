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

// hostile would set window.pwned wherever a browser, or html/template, took it for
// more than text.
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

// TestHostileSearchHub: a hub may be any text. It reaches the platform as it is.
func TestHostileSearchHub(t *testing.T) {
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
					b.do(chromedp.Evaluate[chromedp.Void](`coveoEngine.then((engine) => engine.executeFirstSearch())`, chromedp.EvalAwaitPromise))
				}
				var q searchtokentest.Request
				w.await(t, "the query", func() bool {
					queries := w.platform.Requests(searchtokentest.KindSearch)
					if len(queries) > 0 {
						q = queries[0]
					}
					return q.Status != 0
				})
				if diff := cmp.Diff([]string{hub, hub}, []string{q.SearchHub, q.Claims.SearchHub}); diff != "" {
					t.Errorf("hubs of the query and the token (-want +got):\n%s", diff)
				}
				b.harmless(t)
			})
		}
	}
}

// TestHostilePage: what New or the helpers would refuse is harmless in a Page that
// a handler has made itself.
func TestHostilePage(t *testing.T) {
	t.Parallel()
	for _, a := range hostileApps {
		for i, text := range hostile {
			t.Run(fmt.Sprint(a.frontEnd, " ", i), func(t *testing.T) {
				t.Parallel()
				a := a
				a.page = func(p *searchtoken.Page) {
					p.OrganizationID, p.Environment, p.SearchHub, p.RenewURL = text, searchtoken.Environment(text), text, text
					p.Token.Value = text
				}
				if a.frontEnd == searchtoken.JSUI || a.frontEnd == searchtoken.Atomic {
					a.options = []string{"root", text}
				}
				w := newApp(t, a)
				b := openTab(t, w.url)
				b.open("/")
				b.harmless(t)
			})
		}
	}
}

// TestHostileValues are refused before there is a page.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	for i, text := range hostile {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if _, err := searchtoken.New(searchtoken.Config{OrganizationID: text}); err == nil || !strings.Contains(err.Error(), "OrganizationID") {
				t.Errorf("an organization: the error is %v", err)
			}
			page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
			for name, args := range map[string][]string{"coveoJSUI": {"culture", text}, "coveoIPX": {text}, "coveoIPXBuilder": {text}} {
				var b strings.Builder
				if err := parseSnippet(name, len(args)).Execute(&b, map[string]any{"Page": page, "Options": args}); err == nil || b.Len() > 0 {
					t.Errorf("%s: the error is %v, and the output %q", name, err, b.String())
				}
			}
		})
	}
}

// harmless reports what has been executed or blocked.
func (b *tab) harmless(t *testing.T) {
	t.Helper()
	if eval[bool](b, "'pwned' in window") {
		t.Error("it was executed")
	}
	if got := b.said("error: violation: script-src"); got != nil {
		t.Errorf("it was blocked only: %q", got)
	}
	if n := eval[int](b, `document.querySelectorAll('script:not([nonce], [src], [type="text/html"])').length`); n != 0 {
		t.Errorf("%d scripts of its own", n)
	}
}
