package interop_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestWorker is a program that searches for users without their requests.
func TestWorker(t *testing.T) {
	cfg, platform := newConfig()
	cfg.Prepare = func(*http.Request, *searchtoken.TokenParams) error {
		return errors.New("Prepare was called without a request")
	}
	base := cfg.HTTPClient.Transport

	// recipe: worker-config
	cfg.Identify = func(*http.Request) (searchtoken.Identity, error) { // required; Token does not call it
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// end recipe

	// recipe: worker-filter
	worker, err := coveo.With(func(route *searchtoken.Route) {
		route.Prepare = nil // it needs a request
		route.Params.Filter = `@tenant=="blue"`
	})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: worker.Transport(base), Timeout: 10 * time.Second}
	// end recipe

	if _, err := searchAs(t.Context(), coveo, client, "alice@example.com", "office"); err == nil {
		t.Error("a route with a Prepare returns a token without a request")
	}
	for _, tt := range []struct {
		name  string
		fault searchtokentest.Fault
		calls int // for tokens, in all
	}{
		{"at first", searchtokentest.Fault{}, 1},
		{"with the cached token", searchtokentest.Fault{}, 1},
		{"with a rejected token", searchtokentest.Fault{Kind: searchtokentest.KindSearch, Times: 1, Status: 419}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			platform.ClearFaults()
			platform.Inject(tt.fault)
			answer, err := searchAs(t.Context(), worker, client, "alice@example.com", "office")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			check(t, "status", http.StatusOK, answer.StatusCode)
			queries := platform.Requests(searchtokentest.KindSearch)
			query := queries[len(queries)-1]
			check(t, "user", "alice@example.com", query.User())
			check(t, "filter", `@tenant=="blue"`, query.Claims.Filter)
			check(t, "token calls", tt.calls, platform.Count(searchtokentest.KindToken))
		})
	}
}

// recipe: worker

// searchAs sends a query of a user. The caller closes the answer's Body.
func searchAs(
	ctx context.Context, coveo *searchtoken.Middleware, client *http.Client, email, query string,
) (*http.Response, error) {
	id := searchtoken.Email(email)
	token, err := coveo.Token(ctx, id)
	page := &searchtoken.Page{Token: token, Identity: id} // Transport renews the token of the Identity
	address := "https://acme.org.coveo.com/rest/search/v2?" + url.Values{"organizationId": {"acme"}, "q": {query}}.Encode()
	r, requestErr := http.NewRequestWithContext(searchtoken.NewContext(ctx, page), http.MethodGet, address, nil)
	if err := errors.Join(err, requestErr); err != nil {
		return nil, err
	}
	return client.Do(r)
}

// end recipe
