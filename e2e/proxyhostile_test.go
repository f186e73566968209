package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// hostileMarkup is a hostile document, as HTML and as XML. Each part of it
// requests /pwned with another name.
const hostileMarkup = `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Document</title></head><body>
<h1>A hostile document</h1>
<script>fetch("/pwned?by=script"); top.pwned = 1; document.cookie = "user=mallory; path=/";</script>
<script src="/pwned?by=script file"></script>
<script type="module">import "/pwned?by=module";</script>
<link rel="stylesheet" href="/pwned?by=style sheet"/>
<style>@import url("/pwned?by=import");</style>
<img src="data:," onerror="fetch('/pwned?by=handler')"/>
<svg xmlns="http://www.w3.org/2000/svg" onload="fetch('/pwned?by=svg')"></svg>
<iframe src="/pwned?by=frame"></iframe>
<iframe srcdoc="&lt;script>fetch('/pwned?by=inner frame')&lt;/script>"></iframe>
<object data="/pwned?by=object"></object>
<embed src="/pwned?by=embed"/>
<video src="/pwned?by=video"></video>
<iframe name="sink"></iframe>
<form id="form" action="/pwned?by=form" method="post" target="sink"></form>
<script>document.getElementById("form").submit();</script>
<meta http-equiv="refresh" content="1;url=/pwned?by=refresh"/>
</body></html>`

// hostileParts are the names in hostileMarkup.
var hostileParts = []string{
	"embed", "form", "frame", "handler", "import", "inner frame", "module", "object", "refresh", "script", "script file",
	"style sheet", "svg", "video",
}

// hostileHeader is the header of a hostile document.
var hostileHeader = http.Header{
	"Set-Cookie":              {"user=mallory; Path=/"},
	"Refresh":                 {"0;url=/pwned?by=header"},
	"Link":                    {`</pwned?by=link>; rel="preload"; as="script"`},
	"Content-Security-Policy": {"default-src * 'unsafe-inline'"},
	"Clear-Site-Data":         {`"cookies"`},
}

// previewPaths are the operations that answer with a document.
var previewPaths = []string{"/html", "/datastream", "/text"}

// serveHostileDocuments makes all previews hostile.
func (w *world) serveHostileDocuments(contentType string) {
	w.platform.Inject(searchtokentest.Fault{
		Match: func(r searchtokentest.Request) bool {
			return slices.ContainsFunc(previewPaths, func(path string) bool { return strings.HasSuffix(r.Path, path) })
		},
		Header:      hostileHeader,
		ContentType: contentType,
		Body:        hostileMarkup,
	})
}

// trap records the names in requests to /pwned, and serves a page at /trap.
type trap struct {
	mu          sync.Mutex // guards the fields below
	names       map[string]bool
	contentType string // of the page
	page        string
}

// set changes the page, and forgets all names.
func (p *trap) set(contentType, page string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names, p.contentType, p.page = make(map[string]bool), contentType, page
}

// wrap adds the trap to a site.
func (p *trap) wrap(site http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/trap" && r.URL.Path != "/pwned" {
			site.ServeHTTP(rw, r)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if r.URL.Path == "/pwned" {
			p.names[r.URL.Query().Get("by")] = true
			return
		}
		rw.Header().Set("Content-Type", p.contentType)
		_, _ = io.WriteString(rw, p.page)
	})
}

// caught returns the names so far.
func (p *trap) caught() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.names))
}

// checkUntouched checks that no document has requested anything or changed the
// session.
func (p *trap) checkUntouched(t *testing.T, b *tab) {
	t.Helper()
	b.do(chromedp.Sleep(2 * time.Second)) // longer than the refresh in hostileMarkup
	if diff := cmp.Diff([]string(nil), p.caught()); diff != "" {
		t.Errorf("parts of a document that were active (-want +got):\n%s", diff)
	}
	var users []string
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.base}}).Cookies {
		if c.Name == "user" {
			users = append(users, c.Value)
		}
	}
	if diff := cmp.Diff([]string{alice}, users); diff != "" {
		t.Errorf("users of the session (-want +got):\n%s", diff)
	}
}

// TestHostileDocumentsAreHarmless opens previews of hostile documents as pages
// and in frames of a page that has no policy.
func TestHostileDocumentsAreHarmless(t *testing.T) {
	t.Parallel()
	for name, contentType := range map[string]string{
		"HTML": "text/html; charset=utf-8", "XHTML": "application/xhtml+xml", "SVG": "image/svg+xml",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newApp(t, app{frontEnd: searchtoken.Headless, config: throughTheSite})
			p := new(trap)
			p.set(contentType, hostileMarkup)
			w.wrap = p.wrap

			// Without the site's policy, the document is active.
			control := openTab(t, w.url)
			control.open("/trap")
			control.await("the requests of the document", func() bool { return slices.Equal(hostileParts, p.caught()) })
			control.do(chromedp.Navigate("about:blank"))

			w.serveHostileDocuments(contentType)
			b := openTab(t, w.url)
			b.logInAs(alice)
			frames := "<!DOCTYPE html>"
			for _, path := range previewPaths {
				address := "/coveo/rest/search/v2" + path + "?uniqueId=a&in="
				frames += fmt.Sprintf(`<iframe src="%[1]sframe"></iframe>
					<iframe src="%[1]ssandbox" sandbox="allow-scripts allow-same-origin allow-forms"></iframe>
					<object data="%[1]sobject"></object><embed src="%[1]sembed"><script src="%[1]sscript"></script>
					<link rel="stylesheet" href="%[1]sstyle"><img src="%[1]simage">`, address)
			}
			p.set("text/html", frames)
			for _, path := range previewPaths {
				page := openTab(t, w.url)
				page.logInAs(alice)
				page.open("/coveo/rest/search/v2" + path + "?uniqueId=a&in=page")
			}
			b.open("/trap")
			p.checkUntouched(t, b)
			if eval[bool](b, "'pwned' in window") {
				t.Error("a document in a frame changed the page")
			}
			var got, want []string
			for _, path := range previewPaths {
				for _, in := range []string{"frame", "page", "sandbox"} {
					want = append(want, path+" "+in)
				}
			}
			for _, r := range w.platform.Requests(searchtokentest.KindOther) {
				got = append(got, strings.TrimPrefix(r.Path, "/rest/search/v2")+" "+r.Query.Get("in"))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("calls of the platform (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostileDocumentsAreHarmlessInTheLibraries opens a hostile document with
// the libraries' own components, which write it into a frame.
func TestHostileDocumentsAreHarmlessInTheLibraries(t *testing.T) {
	t.Parallel()
	for _, page := range proxiedPages[:2] {
		t.Run(string(page.frontEnd), func(t *testing.T) {
			t.Parallel()
			w := page.newApp(t)
			p := new(trap)
			p.set("", "")
			w.wrap = p.wrap
			w.serveHostileDocuments("text/html; charset=utf-8")
			b := openTab(t, w.url)
			page.open(b, alice)
			b.clickOn(page.opener)
			waitFor(b, true, page.preview+`.includes("A hostile document")`)
			p.checkUntouched(t, b)
			if eval[bool](b, "'pwned' in window") {
				t.Error("the document changed the page")
			}
			b.screenshot("hostile document, " + string(page.frontEnd))
		})
	}
}
