package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"testing"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// app is a site with one page and one front end. It allows what example/site
// does not configure.
type app struct {
	frontEnd searchtoken.FrontEnd
	options  []string // of the helper; for an In-Product Experience its id
	body     string   // HTML
	config   func(*searchtoken.Config)
	page     func(*searchtoken.Page)
}

// Minimal page bodies of the front ends.
const (
	jsuiBody = `<div class="CoveoSearchInterface">
	<div class="CoveoAnalytics"></div><div class="CoveoSearchbox"></div>
	<div class="CoveoResultList">
		<script class="result-template" type="text/html"><span class="CoveoIcon"></span><a class="CoveoResultLink"></a></script>
	</div>
</div>`
	headlessBody = `<input type="search"><ul></ul>`
	atomicBody   = `<atomic-search-interface>
	<atomic-search-box></atomic-search-box>
	<atomic-result-list><atomic-result-template>
		<template><atomic-result-link></atomic-result-link></template>
	</atomic-result-template></atomic-result-list>
</atomic-search-interface>`
)

// newApp starts the site. Every visitor is alice.
func newApp(t *testing.T, a app) *world {
	t.Helper()
	w := newOrganization()
	cfg := searchtoken.Config{
		OrganizationID: w.organization,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     internet.client,
		Logger:         slog.New(slog.DiscardHandler),
		Identify:       func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Email(alice), nil },
		Route: searchtoken.Route{
			RenewURL: "/coveo/token",
			Nonce:    func(r *http.Request) string { return r.Header.Get("X-Nonce") },
		},
	}
	if a.config != nil {
		a.config(&cfg)
	}
	m, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	page := template.Must(template.Must(parseSnippet(string(a.frontEnd), len(a.options)).Clone()).New("page").Parse(
		`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Search</title>` +
			`<link rel="icon" href="data:,">{{template "snippet" .}}</head><body><main>` + a.body + `</main></body></html>`))
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", m.RenewHandler())
	mux.Handle("/coveo/", m.ProxyHandler())
	mux.Handle("/", m.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, _ := searchtoken.FromContext(r.Context())
		if a.page != nil {
			a.page(p)
		}
		policy := basePolicy
		if r.URL.Path == "/" {
			options := a.options
			if a.frontEnd == searchtoken.IPX || a.frontEnd == searchtoken.IPXBuilder {
				options = nil // the snippet has an id instead
			}
			added, err := p.CSP(policy, a.frontEnd, options...)
			if err == nil {
				policy = added
			} else if a.page == nil {
				t.Error(err)
			}
		}
		rw.Header().Set("Content-Security-Policy", policy)
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		var b bytes.Buffer
		if err := page.Execute(&b, map[string]any{"Page": p, "Options": a.options}); err != nil {
			t.Error(err)
		}
		_, _ = b.WriteTo(rw)
	})))
	w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Nonce", rand.Text())
		mux.ServeHTTP(rw, r)
	}))
	return w
}

// parseSnippet returns a template that calls a helper with n options.
func parseSnippet(helper string, n int) *template.Template {
	call := helper + " .Page"
	for i := range n {
		call += fmt.Sprintf(" (index .Options %d)", i)
	}
	return template.Must(template.New("snippet").Funcs(searchtoken.FuncMap()).Parse("{{" + call + "}}"))
}

// basePolicy is the policy that Page.CSP adds sources to. It allows only forms
// and data: images, for the icon.
const basePolicy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src data:"
