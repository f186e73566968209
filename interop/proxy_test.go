package interop_test

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
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
