package searchtokentest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestZeroConfig(t *testing.T) {
	p := New(Config{})
	counts := map[string]int{}
	for _, name := range []string{alice, bob, "anonymous"} {
		_, answer := search(t, p, p.IssueToken(user(name)), "{}")
		counts[name] = answer.TotalCount
	}
	if diff := cmp.Diff(map[string]int{alice: 7, bob: 7, "anonymous": 4}, counts); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	_, answer := search(t, New(Config{Documents: []Document{}}), "", "{}")
	if answer.TotalCount != 0 {
		t.Errorf("got %d documents in an empty index", answer.TotalCount)
	}
}

func TestConfigIsCopied(t *testing.T) {
	documents := []Document{{Title: "Secret", URI: "1", Allowed: []string{bob}}}
	p := New(Config{Documents: documents})
	documents[0].Allowed[0] = alice
	if _, answer := search(t, p, p.IssueToken(user(alice)), "{}"); answer.TotalCount != 0 {
		t.Error("a change to the caller's documents reached the index")
	}
}

func TestCORS(t *testing.T) {
	const origin = "https://www.example.com"
	for _, tc := range []struct {
		name, method, target string
		headers              []string
		status               int
		want                 http.Header
	}{
		{
			"preflight", "OPTIONS", "/rest/search/v2",
			[]string{"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"},
			204,
			http.Header{
				"Access-Control-Allow-Origin": {origin}, "Access-Control-Allow-Credentials": {"true"},
				"Access-Control-Allow-Methods": {"GET, POST, OPTIONS"}, "Access-Control-Allow-Headers": {"authorization,content-type"},
				"Access-Control-Expose-Headers": {"X-Request-ID"}, "Vary": {"Origin"},
			},
		},
		{
			"error", "GET", "/rest/search/v2", []string{"Origin", origin}, 401,
			http.Header{
				"Access-Control-Allow-Origin": {origin}, "Access-Control-Allow-Credentials": {"true"},
				"Access-Control-Expose-Headers": {"X-Request-ID"}, "Vary": {"Origin"},
			},
		},
		{"no origin", "GET", "/rest/search/v2", nil, 401, http.Header{"Vary": {"Origin"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, _ := send(t, New(Config{}), tc.method, tc.target, "", tc.headers...)
			got := http.Header{}
			for name, values := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
					got[name] = values
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || resp.StatusCode != tc.status {
				t.Errorf("status %d, headers (-want +got):\n%s", resp.StatusCode, diff)
			}
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	resp, _ := askToken(t, New(Config{}), strings.Repeat(" ", maxBody+1))
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got status %d, want 413", resp.StatusCode)
	}
}

func TestAnalytics(t *testing.T) {
	p := New(Config{})
	good, rejected := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(rejected)
	const invalid = `{"message":"The provided token is not a valid token.","type":"InvalidToken"}`
	for _, tc := range []struct {
		name, target, token string
		status              int
		want                string
	}{
		{"search", "/rest/ua/v15/analytics/search?org=acme", good, 200, `"visitId"`},
		{"searches", "/rest/ua/v15/analytics/searches", good, 200, `"searchEventResponses":[{`},
		{"custom of Atomic", "/rest/v15/analytics/custom", good, 200, `"visitorId"`},
		{"visit", "/rest/ua/v15/analytics/visit", good, 200, `"id"`},
		{"top queries", "/rest/ua/v15/stats/topQueries", good, 200, `[]`},
		{"events", "/rest/organizations/acme/events/v1", good, 200, `{}`},
		{"status", "/rest/ua/v15/analytics/status", "", 200, `ok`},
		{"rejected", "/rest/ua/v15/analytics/click", rejected, 400, invalid},
		{"rejected events", "/rest/organizations/acme/events/v1", rejected, 400, invalid},
		{"no token", "/rest/ua/v15/analytics/click", "", 400, invalid},
	} {
		for _, place := range []string{"header", "query"} {
			t.Run(tc.name+" "+place, func(t *testing.T) {
				target, header := tc.target, "Bearer "+tc.token
				if place == "query" {
					separator := "?"
					if strings.Contains(target, "?") {
						separator = "&"
					}
					target, header = target+separator+"access_token="+tc.token, ""
				}
				resp, b := send(t, p, "POST", target, `[{}]`, "Authorization", header)
				if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.want) {
					t.Errorf("got status %d and %s, want %d and %s", resp.StatusCode, b, tc.status, tc.want)
				}
			})
		}
	}
	for _, r := range p.Requests() {
		if r.Kind != KindAnalytics {
			t.Errorf("got %v, want it to be analytics", r)
		}
	}
}

func TestRequests(t *testing.T) {
	p := New(Config{MaxRequests: 3})
	claims := user(alice)
	claims.SearchHub = "hub"
	token := p.IssueToken(claims)
	p.Reject(token)
	search(t, p, token, `{"q":"first"}`)
	p.AcceptAll()
	search(t, p, token, `{"q":"second"}`)
	send(t, p, "POST", "/rest/search/v2/querySuggest", `{}`)
	send(t, p, "OPTIONS", "/rest/search/v2", "")

	var kinds []string
	for _, r := range p.Requests() {
		kinds = append(kinds, fmt.Sprint(r))
	}
	want := []string{
		"search: POST /rest/search/v2: 200", "suggest: POST /rest/search/v2/querySuggest: 401", "preflight: OPTIONS /rest/search/v2: 204",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := p.Count(KindSearch); got != 2 {
		t.Errorf("got %d searches, want 2", got)
	}
	if got := p.Count(); got != 4 {
		t.Errorf("got %d requests, want 4", got)
	}

	list := p.Requests(KindSearch, KindSuggest)
	if len(list) != 2 {
		t.Fatalf("got %d requests, want 2", len(list))
	}
	r := list[0]
	if string(r.Body) != `{"q":"second"}` || r.SearchHub != "hub" || r.Claims.UserIDs[0].Name != alice || r.Query.Get("organizationId") != "acme" {
		t.Errorf("got body %s, hub %q, claims %+v, query %v", r.Body, r.SearchHub, r.Claims, r.Query)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, list); strings.Contains(text, token) {
			t.Errorf("%s shows the token", format)
		}
	}
	r.Body[0], r.Claims.UserIDs[0].Name = 'x', bob
	r.Header.Set("Authorization", "")
	if again := p.Requests(KindSearch)[0]; again.Body[0] != '{' || again.Claims.UserIDs[0].Name != alice || again.Header.Get("Authorization") == "" {
		t.Error("a change to a copy reached the record")
	}

	p.ResetRequests()
	if len(p.Requests()) != 0 || p.Count() != 0 {
		t.Error("requests are left after ResetRequests")
	}
}

// What tests do at once; the race detector looks on.
func TestConcurrentUse(t *testing.T) {
	p := New(Config{MaxRequests: 10})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				resp, b := askToken(t, p, `{"userIds":[`+aliceJSON+`]}`)
				var answer struct{ Token string }
				if decode(t, b, &answer); resp.StatusCode == 200 {
					searchStatus(t, p, answer.Token)
				}
				switch i % 4 {
				case 0:
					p.Inject(Fault{Status: 503, Times: 1})
					p.Reject(answer.Token)
				case 1:
					p.Requests()
					p.RejectAll()
					p.RejectNew()
				case 2:
					p.SetTokenLife(-1)
					p.AcceptAll()
				case 3:
					p.ClearFaults()
					p.ResetRequests()
				}
			}
		})
	}
	wg.Wait()
}
