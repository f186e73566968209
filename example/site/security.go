package site

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/searchtoken/searchtoken"
)

type nonceKey struct{}

// basePolicy is the Content-Security-Policy of a page without scripts.
const basePolicy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'self'; img-src 'self'"

// withHeaders gives each request a nonce, and each answer the headers that all
// have. Pages with a front end of Coveo's widen the policy by what it needs.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), nonceKey{}, rand.Text()))
		h := w.Header()
		h.Set("Content-Security-Policy", basePolicy)
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

// policy is that of a page with front ends of Coveo's.
func (s *Site) policy(page *searchtoken.Page, frontEnds []searchtoken.FrontEnd) (string, error) {
	policy := basePolicy
	for _, f := range frontEnds {
		options := []string{"assets", s.base.Assets}
		if f == searchtoken.IPX || f == searchtoken.IPXBuilder {
			options = nil
		}
		var err error
		if policy, err = page.CSP(policy, f, options...); err != nil {
			return "", err
		}
	}
	return policy, nil
}
