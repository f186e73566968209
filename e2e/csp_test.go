package e2e

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
)

// policyTest is a page with one front end, the policy of which Page.CSP makes.
type policyTest struct {
	name     string
	frontEnd frontEnd
	start    func(*testing.T) *world
}

// policyTests are pages with what the example's site has not, and its own.
func policyTests() []policyTest {
	var tests []policyTest
	onApp := func(name searchtoken.FrontEnd, body string, options ...string) {
		tests = append(tests, policyTest{strings.Join(append([]string{string(name)}, options...), " "), frontEnd{name: name, path: "/"}, func(t *testing.T) *world {
			return newApp(t, app{frontEnd: name, options: options, body: body})
		}})
	}
	onApp(searchtoken.JSUI, jsuiBody)
	onApp(searchtoken.JSUI, jsuiBody, "lazy", "true")
	onApp(searchtoken.JSUI, jsuiBody, "assets", "https://assets.example.com")
	onApp(searchtoken.Atomic, atomicBody, "assets", "https://assets.example.com")
	for _, f := range frontEnds {
		tests = append(tests, policyTest{"the site's " + string(f.name), f, func(t *testing.T) *world { return newWorld(t, f.configure) }})
	}
	return tests
}

// TestNoViolations lets a visitor search, have the token renewed and search again.
func TestNoViolations(t *testing.T) {
	t.Parallel()
	for _, test := range policyTests() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := violations(t, test, func(policy string) string { return policy }); got != nil {
				t.Errorf("violations: %q", got)
			}
		})
	}
}

// TestNoSourceIsSuperfluous takes away what Page.CSP has added to the policy,
// source by source: each time something of the page must be blocked. Options are
// tested for what they change.
func TestNoSourceIsSuperfluous(t *testing.T) {
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
					t.Error("nothing is blocked without it")
				}
			})
		}
	}
}

// source is one source of one directive of a policy.
type source struct{ directive, source string }

// sources are those of a policy.
func sources(policy string) []source {
	var list []source
	for directive := range strings.SplitSeq(policy, ";") {
		fields := strings.Fields(directive)
		for _, s := range fields[1:] {
			list = append(list, source{fields[0], general(s)})
		}
	}
	return list
}

var (
	nonces            = regexp.MustCompile(`'nonce-[^']*'`)
	organizationHosts = regexp.MustCompile(`acme\d+`)
)

// general is a source of one page as it is on the same page of any organization.
func general(source string) string {
	return organizationHosts.ReplaceAllString(nonces.ReplaceAllString(source, "'nonce-…'"), "acme")
}

// without returns the policy less one source.
func without(policy string, s source) string {
	directives := strings.Split(policy, ";")
	for i, directive := range directives {
		fields := strings.Fields(directive)
		if fields[0] != s.directive {
			continue
		}
		fields = slices.DeleteFunc(fields, func(f string) bool { return general(f) == s.source })
		if len(fields) == 1 {
			fields = append(fields, "'none'")
		}
		directives[i] = strings.Join(fields, " ")
	}
	return strings.Join(directives, ";")
}

// policy is that of the page at path, as anonymous visitors get it.
func (w *world) policy(t *testing.T, path string) string {
	t.Helper()
	resp, err := internet.client.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("Content-Security-Policy")
}

// violations opens the page, under the policy that change makes of its own, and
// lets alice search, have her token renewed and search again; an In-Product
// Experience searches once. They are nil if all of that worked, and nothing was
// blocked.
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
	if test.frontEnd.experience != "" {
		words = words[:1]
	}
	var page *tab
	var list []string
	for _, word := range words {
		if word != "" {
			w.platform.RejectAll()
			b.search(word)
		}
		b.await("the documents with "+word, func() bool {
			if page == nil {
				page = test.frontEnd.enter(b)
			}
			list = b.said("error: violation: ")
			return list != nil || page != nil && slices.Equal(titles(alice, word), eval[[]string](page, "e2e.titles()"))
		})
		if list != nil {
			return list
		}
	}
	b.do(chromedp.Sleep(500 * time.Millisecond)) // for images and events, which nothing waits for
	return b.said("error: violation: ")
}
