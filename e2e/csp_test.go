package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
)

// policyTest is a page with one front end and a policy from Page.CSP.
type policyTest struct {
	name     string
	frontEnd frontEnd
	start    func(*testing.T) *world
}

// policyTests returns the pages of the example's site, and pages with options
// that it does not use.
func policyTests() []policyTest {
	var tests []policyTest
	onApp := func(name searchtoken.FrontEnd, body string, options ...string) {
		title := strings.Join(append([]string{string(name)}, options...), " ")
		tests = append(tests, policyTest{title, frontEnd{name: name, path: "/"}, func(t *testing.T) *world {
			return newApp(t, app{frontEnd: name, options: options, body: body})
		}})
	}
	onApp(searchtoken.JSUI, jsuiBody)
	onApp(searchtoken.JSUI, jsuiBody, "lazy", "true")
	onApp(searchtoken.JSUI, jsuiBody, "assets", "https://assets.example.com")
	onApp(searchtoken.Atomic, atomicBody, "assets", "https://assets.example.com")
	for _, f := range frontEnds {
		tests = append(tests, policyTest{"the site's " + string(f.name), f, func(t *testing.T) *world {
			return newWorld(t, f.configure)
		}})
	}
	return tests
}

// TestPolicyAllowsWhatThePageDoes searches, has the token renewed and searches
// again. The browser must not report a violation.
func TestPolicyAllowsWhatThePageDoes(t *testing.T) {
	t.Parallel()
	for _, test := range policyTests() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := violations(t, test, func(policy string) string { return policy }); got != nil {
				t.Errorf("got violations %q, want none", got)
			}
		})
	}
}

// TestPolicyNeedsEverySource removes each source that Page.CSP has added, one
// at a time. The browser must then block something. A source that several pages
// of one front end need is tested on the first of them only.
func TestPolicyNeedsEverySource(t *testing.T) {
	t.Parallel()
	tested := make(map[searchtoken.FrontEnd][]source)
	for _, test := range policyTests() {
		w := test.start(t)
		list := sources(w.policy(t, test.frontEnd.path))
		before := append(sources(w.policy(t, "/nowhere")), tested[test.frontEnd.name]...)
		list = slices.DeleteFunc(list, func(s source) bool { return slices.Contains(before, s) })
		tested[test.frontEnd.name] = append(before, list...)
		for _, s := range list {
			t.Run(test.name+": "+s.directive+" "+s.source, func(t *testing.T) {
				t.Parallel()
				if violations(t, test, func(policy string) string { return without(policy, s) }) == nil {
					t.Error("got no violation without the source, so the policy does not need it")
				}
			})
		}
	}
}

// source is one source of one directive of a policy.
type source struct{ directive, source string }

// sources returns the sources of a policy, normalized.
func sources(policy string) []source {
	var list []source
	for directive := range strings.SplitSeq(policy, ";") {
		fields := strings.Fields(directive)
		for _, s := range fields[1:] {
			list = append(list, source{fields[0], normalize(s)})
		}
	}
	return list
}

var (
	nonces            = regexp.MustCompile(`'nonce-[^']*'`)
	organizationHosts = regexp.MustCompile(`acme\d+`)
)

// normalize replaces nonces and the names of test organizations in a source, so
// that sources of different pages can be compared.
func normalize(source string) string {
	return organizationHosts.ReplaceAllString(nonces.ReplaceAllString(source, "'nonce-…'"), "acme")
}

// without returns the policy without a source, given as normalized.
func without(policy string, s source) string {
	directives := strings.Split(policy, ";")
	for i, directive := range directives {
		fields := strings.Fields(directive)
		if fields[0] != s.directive {
			continue
		}
		fields = slices.DeleteFunc(fields, func(f string) bool { return normalize(f) == s.source })
		if len(fields) == 1 {
			fields = append(fields, "'none'")
		}
		directives[i] = strings.Join(fields, " ")
	}
	return strings.Join(directives, ";")
}

// policy returns the policy of the page at path, for an anonymous visitor.
func (w *world) policy(t *testing.T, path string) string {
	t.Helper()
	resp, err := internet.client.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("Content-Security-Policy")
}

// violations opens the page with its policy changed by change. alice searches,
// has her token renewed and searches again; in an In-Product Experience she
// searches once. violations returns what the browser blocked, or nil if nothing
// was blocked and every search found the right documents.
func violations(t *testing.T, test policyTest, change func(policy string) string) []string {
	t.Helper()
	w := test.start(t)
	w.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == test.frontEnd.path {
				rw = &headerWriter{rw, func(h http.Header) {
					h.Set("Content-Security-Policy", change(h.Get("Content-Security-Policy")))
				}}
			}
			next.ServeHTTP(rw, r)
		})
	}
	b := openTab(t, w.url)
	w.logIn(b)
	b.open(test.frontEnd.path)
	words := []string{"", "office"}
	if test.frontEnd.openButton != "" {
		words = words[:1]
	}
	var page *tab
	var list []string
	for _, word := range words {
		if word != "" {
			w.platform.RejectAll()
			b.search(word)
		}
		b.await(fmt.Sprintf("the documents with %q", word), func() bool {
			if page == nil {
				page = test.frontEnd.searchTab(b)
			}
			list = b.messages("error: violation: ")
			return list != nil || page != nil && slices.Equal(titles(alice, word), eval[[]string](page, "e2e.titles()"))
		})
		if list != nil {
			return list
		}
	}
	b.do(chromedp.Sleep(500 * time.Millisecond)) // for images and analytics events, which have no sign of their end
	return b.messages("error: violation: ")
}
