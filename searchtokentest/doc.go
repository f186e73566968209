// Package searchtokentest is a stand-in for the Coveo platform, as net/http/httptest is one for a server. Tests and
// example programs search with it, without an organization, an API key or a network.
//
// A Server listens on loopback. Its URL takes the place of the organization's endpoints, that of analytics too:
//
//	func TestSearchPage(t *testing.T) {
//		coveo := searchtokentest.NewServer(searchtokentest.Config{})
//		defer coveo.Close()
//
//		app, err := myapp.New(myapp.Options{
//			OrganizationID: searchtokentest.DefaultOrganizationID,
//			APIKey:         searchtokentest.DefaultAPIKey,
//			PlatformURL:    coveo.URL,
//			AnalyticsURL:   coveo.URL,
//		})
//		…
//		// One visitor, two pages, one token call:
//		if got := coveo.Count(searchtokentest.KindToken); got != 1 {
//			t.Errorf("got %d token calls, want 1", got)
//		}
//		claims := coveo.Requests(searchtokentest.KindToken)[0].Claims
//		if got, want := claims.UserIDs[0].Name, "alice@example.com"; got != want {
//			t.Errorf("got a token for %q, want %q", got, want)
//		}
//	}
//
// A Platform is the same without a socket. As an http.RoundTripper it serves an http.Client, and since nothing
// there is a socket it does so inside a testing/synctest bubble, where hours pass at once:
//
//	synctest.Test(t, func(t *testing.T) {
//		coveo := searchtokentest.New(searchtokentest.Config{})
//		client := &http.Client{Transport: coveo}
//		…
//		time.Sleep(24 * time.Hour) // every token has expired
//		…
//	})
//
// # What it answers
//
//   - POST /rest/search/v2/token issues tokens, and refuses what Coveo documents as wrong, unknown properties too. They
//     are real JWTs, signed with the Platform's Secret.
//   - /rest/search/v2 runs queries for JSUI, Atomic and Headless. A visitor finds the documents that the token's
//     identities may see, in its search hub, within its filter. Every word of q must be in the title or in the excerpt.
//     aq, cq and the token's filter may be made of @field==value and @field=="quoted value", joined by AND or white
//     space; a query with any other expression is answered 400, never with more than it should show. lq, dq and the sort
//     order have no effect.
//   - querySuggest, plan, facet and html beneath it answer as far as a search page needs them.
//   - Usage Analytics and the Event Protocol take every event that comes with a good token.
//   - The loaders of both kinds of In-Product Experiences put a button into the page, which opens a panel that searches
//     with the loader's token. Of a page's Content-Security-Policy they need what Coveo's loaders need. The classic one
//     frames a search page, which the platform serves too, and renews its token if the page has set a function for
//     that. The IPX builder's takes Atomic from https://static.cloud.coveo.com; if it cannot, the panel says so.
//
// A token that has expired, or that Reject and its like have rejected, is answered as the platform answers it: 419 on
// queries, 400 on analytics, 403 on loaders and on the page in the classic one's frame. Pages of every origin may call.
//
// # What goes wrong
//
// Inject makes calls fail in the ways that platforms, firewalls and networks have:
//
//	coveo.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: 429, RetryAfter: "30", Times: 2})
//	coveo.Inject(searchtokentest.Fault{Delay: time.Minute})
//	coveo.Inject(searchtokentest.Fault{Status: 403, ContentType: "text/html", Body: "<h1>Blocked</h1>"})
//
// SetTokenLife, Reject, RejectAll and RejectNew do the same for tokens. All of it, like the record of requests, may be
// used while calls are under way.
package searchtokentest
