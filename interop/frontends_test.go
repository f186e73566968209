package interop_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
)

// TestFrontEnd starts front ends that are built separately.
func TestFrontEnd(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	cfg, _ := newConfig()
	cfg.Params.SearchHub = "products"

	// recipe: frontend
	cfg.Identify = searchtoken.SessionEmail(store, "session", "email")
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
	// end recipe

	visitor := visit(t, mux)
	cookie := sessionCookie(t, store).String()
	for _, tt := range []struct {
		name, method string
		headers      []string
	}{
		{"fetch of a page", "POST", []string{"Cookie", cookie}},
		// The fetch of Node has no other header that is about an origin.
		{"fetch of a Next server", "GET", []string{"Cookie", cookie, "Sec-Fetch-Site", "", "Sec-Fetch-Mode", "cors"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := visitor.do(tt.method+" /coveo/token", tt.headers...)
			got.expectPrivate(t)
			fields := map[string]string{}
			if err := json.Unmarshal([]byte(got.body), &fields); err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			check(t, "user", "alice@example.com", tokenClaims(fields["token"]).User)
			expires, err := time.Parse(time.RFC3339, fields["expiresAt"])
			if err != nil || time.Until(expires) < 23*time.Hour {
				t.Errorf("expiresAt is %q, error %v", fields["expiresAt"], err)
			}
			delete(fields, "token")
			delete(fields, "expiresAt")
			check(t, "the other fields", map[string]string{
				"organizationId": "acme", "environment": "prod", "searchHub": "products",
				"platformUrl": "https://acme.org.coveo.com", "analyticsUrl": "https://acme.analytics.org.coveo.com",
			}, fields)
		})
	}
	check(t, "a Next server without the visitor's cookie", "401",
		visitor.do("GET /coveo/token", "Sec-Fetch-Site", "").String())
}

// component is what a templ component is.
type component func(context.Context, io.Writer) error

func (c component) Render(ctx context.Context, w io.Writer) error { return c(ctx, w) }

// SearchPage is what templ makes of a component with Page.Snippet in its head.
func SearchPage(page *searchtoken.Page) component {
	return func(_ context.Context, w io.Writer) error {
		snippet, err := page.Snippet(searchtoken.Atomic)
		if err == nil {
			_, err = io.WriteString(w, "<head>"+string(snippet)+"</head>")
		}
		return err
	}
}

func TestTempl(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: templ
	search := func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		if err := SearchPage(page).Render(r.Context(), w); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(http.HandlerFunc(search)))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	// end recipe

	visit(t, mux).expect(searchSite[:6]...)
}
