package interop_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/unrolled/secure"

	"github.com/searchtoken/searchtoken"
)

func TestUnrolledSecure(t *testing.T) {
	cfg, _ := newConfig()

	// recipe: secure
	headers := secure.New(secure.Options{ContentSecurityPolicy: "default-src 'self'; script-src 'self' $NONCE"})
	cfg.Nonce = func(r *http.Request) string { return secure.CSPNonce(r.Context()) }
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(allowCoveo(searchPage)))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	site := headers.Handler(mux) // outside: it makes the nonce
	// end recipe

	visitor := visit(t, site)
	first := visitor.do("GET /search as alice@example.com")
	check(t, "answer", "200 alice@example.com", first.String())
	policies := first.Header.Values("Content-Security-Policy")
	if len(policies) != 1 {
		t.Fatalf("the policies are %q, want one", policies)
	}
	nonce := regexp.MustCompile(`script-src 'self' 'nonce-([^']+)'`).FindStringSubmatch(policies[0])
	if nonce == nil {
		t.Fatalf("the policy is %q", policies[0])
	}
	check(t, "policy", "default-src 'self'; script-src 'self' 'nonce-"+nonce[1]+
		"'; connect-src 'self' https://acme.org.coveo.com https://acme.analytics.org.coveo.com", policies[0])
	escaped := strings.NewReplacer("+", "&#43;").Replace(nonce[1])
	scripts := strings.Count(first.body, "<script")
	check(t, "scripts with the nonce", scripts, strings.Count(first.body, `nonce="`+escaped+`"`))
	if second := visitor.do("GET /search as alice@example.com"); strings.Contains(second.body, escaped) {
		t.Error("two pages have one nonce")
	}
}

// recipe: secure-page

// allowCoveo adds what Headless needs to the policy of the page.
func allowCoveo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		policy, err := page.CSP(w.Header().Get("Content-Security-Policy"), searchtoken.Headless)
		if err != nil {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		next.ServeHTTP(w, r)
	})
}

// end recipe
