package site

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/searchtoken/searchtoken"
)

type nonceKey struct{}

// withHeaders gives each request a nonce, and each answer the headers that all
// have. Pages with a front end of Coveo's widen the policy by what it needs.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), nonceKey{}, rand.Text()))
		h := w.Header()
		h.Set("Content-Security-Policy", newPolicy(nonce(r)).String())
		h.Set("X-Content-Type-Options", "nosniff")
		// Queries stand in the URLs of the plain page.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// nonce is the request's Content-Security-Policy nonce.
func nonce(r *http.Request) string {
	n, _ := r.Context().Value(nonceKey{}).(string)
	return n
}

// policy is a Content-Security-Policy: what each directive allows, and
// otherwise nothing.
type policy struct {
	script, style, styleAttr, img, font, connect, frame []string
}

// newPolicy is that of a page without scripts.
func newPolicy(nonce string) policy {
	return policy{style: []string{"'nonce-" + nonce + "'"}, img: []string{"'self'", "data:"}}
}

// String is the value of the header.
func (p policy) String() string {
	var b strings.Builder
	b.WriteString("default-src 'none'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'")
	for _, d := range []struct {
		name    string
		sources []string
	}{
		{"script-src", p.script}, {"style-src", p.style}, {"style-src-attr", p.styleAttr},
		{"img-src", p.img}, {"font-src", p.font}, {"connect-src", p.connect}, {"frame-src", p.frame},
	} {
		if len(d.sources) > 0 {
			b.WriteString("; " + d.name + " " + strings.Join(d.sources, " "))
		}
	}
	return b.String()
}

// frontEndPolicy is the policy of a page with a front end of Coveo's. Each is as
// strict as that front end can stand.
func frontEndPolicy(name string, page *searchtoken.Page, assets string) policy {
	p := newPolicy(page.Nonce)
	// The libraries load more of themselves: hence strict-dynamic.
	p.script = []string{"'nonce-" + page.Nonce + "'", "'strict-dynamic'"}
	p.img = append(p.img, assets)
	// 'self' is for RenewURL.
	p.connect = []string{"'self'", origin(page.PlatformURL), origin(page.AnalyticsURL)}
	switch name {
	case "jsui":
		p.styleAttr = []string{"'unsafe-inline'"}
		// Its style sheet names Coveo's own hosts, wherever it comes from.
		p.font = slices.Compact([]string{assets, DefaultAssets, "https://staticdev.cloud.coveo.com"})
	case "atomic":
		p.styleAttr = []string{"'unsafe-inline'"}
		// It fetches its languages and icons.
		p.connect = append(p.connect, assets)
	case "ipx":
		// It adds style elements that have no nonce, and its page is a frame.
		// The IPX builder's is Atomic, always from Coveo's CDN.
		p.style = []string{"'self'", "'unsafe-inline'", DefaultAssets}
		p.connect = append(p.connect, sharedHost("platform", page.Environment), sharedHost("analytics", page.Environment), DefaultAssets)
		p.frame = []string{sharedHost("search", page.Environment)}
	}
	return p
}

// sharedHost is the origin of a host that all organizations of a platform share.
func sharedHost(name string, env searchtoken.Environment) string {
	if env != searchtoken.EnvProduction {
		name += string(env)
	}
	return "https://" + name + ".cloud.coveo.com"
}

// origin is a URL without its path, as a source of a policy.
func origin(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}
