package site

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/searchtoken/searchtoken"
)

// basePolicy is the Content-Security-Policy of a page without scripts.
const basePolicy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"style-src 'self'; img-src 'self'"

// nonceKey is the context key of the nonce.
type nonceKey struct{}

// withHeaders adds a nonce to each request, and the security headers to each
// response. Pages with a Coveo front end replace the policy; see Site.policy.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), nonceKey{}, rand.Text()))
		h := w.Header()
		h.Set("Content-Security-Policy", basePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		// The URL of the plain page contains the visitor's query.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// nonce returns the request's nonce, for the policy and the script tags.
func nonce(r *http.Request) string {
	n, _ := r.Context().Value(nonceKey{}).(string)
	return n
}

// policy returns the Content-Security-Policy of a page: basePolicy plus what
// its front ends need.
func (s *Site) policy(page *searchtoken.Page, frontEnds []searchtoken.FrontEnd) (string, error) {
	policy := basePolicy
	for _, f := range frontEnds {
		options := []string{"assets", s.base.Assets}
		if f == searchtoken.IPX || f == searchtoken.IPXBuilder {
			options = nil // Coveo's platform serves their assets
		}
		var err error
		if policy, err = page.CSP(policy, f, options...); err != nil {
			return "", err
		}
	}
	return policy, nil
}
