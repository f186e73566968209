// Package searchtokentest is a stand-in for the Coveo platform, as
// [net/http/httptest] is for a server. Tests and example programs search with
// it. They need no organization, API key or network.
//
// A [Server] listens on loopback. Use its URL for both the search and the
// analytics endpoint of the organization:
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
// A [Platform] is the same without a socket: it is an [http.RoundTripper], so
// it can be the Transport of an [http.Client]. Without sockets it also works
// inside a [testing/synctest] bubble, where hours pass in an instant:
//
//	synctest.Test(t, func(t *testing.T) {
//		coveo := searchtokentest.New(searchtokentest.Config{})
//		client := &http.Client{Transport: coveo}
//		…
//		time.Sleep(24 * time.Hour) // every token has expired
//		…
//	})
//
// # What it serves
//
//   - POST /rest/search/v2/token issues tokens: JWTs, signed with
//     [Config.Secret]. It refuses what Coveo documents as wrong, and unknown
//     properties.
//   - /rest/search/v2 runs queries for JSUI, Atomic and Headless. A query finds
//     the documents that the token's identities may see, in its search hub,
//     within its filter. Every word of q must occur in the title or in the
//     excerpt. aq, cq and the token's filter may consist of @field==value and
//     @field=="quoted value", joined by AND or white space. A query with any
//     other expression gets status 400, so it never shows more than it should.
//     lq, dq and the sort order have no effect.
//   - querySuggest, plan, facet, fields, values, document, text, html and
//     datastream below that path serve what a search page needs. A query with
//     the parameter recommendation gets its results as recommendations. html
//     and datastream send [Document.HTML] as it is.
//   - Generated answers stream as server-sent events, for a query's answer, for
//     the Answer API and for agents. [Platform.GenerateAnswers] sets the text
//     and the pause between events.
//   - The Commerce API has a product for each document. Insight panels and Case
//     Assist get the same results as queries.
//   - Usage Analytics and the Event Protocol accept every event that comes with
//     a valid token.
//   - The loaders of both kinds of In-Product Experiences add a button to the
//     page. It opens a panel that searches with the loader's token. They need
//     the same sources in the page's Content-Security-Policy as Coveo's
//     loaders. The classic loader frames a search page, which the platform
//     serves too; it renews the token if the page has set a function for that.
//     The loader of the IPX builder loads Atomic from
//     https://static.cloud.coveo.com, and its panel shows a message if that
//     fails.
//
// A token that has expired or that a test has rejected gets the platform's own
// status: 419 for queries, 400 for analytics, 403 for loaders and for the page
// in the classic loader's frame. Pages of every origin may call the platform.
//
// # Failures
//
// [Platform.Inject] makes calls fail as platforms, firewalls and networks do:
//
//	coveo.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: 429, RetryAfter: "30", Times: 2})
//	coveo.Inject(searchtokentest.Fault{Delay: time.Minute})
//	coveo.Inject(searchtokentest.Fault{Status: 403, ContentType: "text/html", Body: "<h1>Blocked</h1>"})
//
// Match selects requests by what the platform records of them, and Handler
// sends any other response. Here, queries of one user hang until the client
// leaves:
//
//	coveo.Inject(searchtokentest.Fault{
//		Kind:    searchtokentest.KindSearch,
//		Match:   func(r searchtokentest.Request) bool { return r.User() == "bob@example.com" },
//		Handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
//	})
//
// [Platform.SetTokenLife], [Platform.Reject], [Platform.RejectAll] and
// [Platform.RejectNew] make tokens fail. All methods may be called while
// requests are in progress.
package searchtokentest
