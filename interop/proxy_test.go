package interop_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/searchtoken/searchtoken"
)

// newAuthProxy returns a reverse proxy that does what oauth2-proxy does for
// alice: it replaces the header that a visitor may have sent.
func newAuthProxy(t testing.TB, target string) http.Handler {
	t.Helper()
	upstream, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Forwarded-Email", "alice@example.com")
	}}
}

func TestReverseProxy(t *testing.T) {
	// The application that renders the page, in any language.
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Expires", "Thu, 01 Jan 2037 00:00:00 GMT")
		fmt.Fprintln(w, r.Header.Get("X-Coveo-Token"))
	}))
	defer app.Close()
	upstream, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: reverse-proxy
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			page, _ := searchtoken.FromContext(r.In.Context())
			r.SetURL(upstream)
			r.Out.Header.Set("X-Coveo-Token", page.Token.Value) // replaces what the visitor sent
		},
		ModifyResponse: func(response *http.Response) error {
			for _, name := range []string{"Cache-Control", "Expires", "CDN-Cache-Control", "Surrogate-Control"} {
				response.Header.Del(name) // coveo.Handler has set Cache-Control
			}
			return nil
		},
	}
	site := coveo.Handler(proxy)
	// end recipe

	visitor := visit(t, site)
	got := visitor.do("GET /search as alice@example.com", "X-Coveo-Token", "forged")
	check(t, "answer", "200 alice@example.com", got.String())
	got.expectPrivate(t)
	check(t, "Expires", "", got.Header.Get("Expires"))

	// Without ModifyResponse the answer has both.
	proxy.ModifyResponse = nil
	got = visitor.do("GET /search as alice@example.com")
	check(t, "Cache-Control", []string{"private, no-store", "public, max-age=3600"}, got.Header.Values("Cache-Control"))
}
