package searchtokentest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"

	aliceJSON = `{"name":"alice@example.com","provider":"Email Security Provider"}`

	// endpoint is where RoundTrip is tested. Any host would do.
	endpoint = "https://acme.org.coveo.com"
)

// user returns claims for one user.
func user(name string) Claims {
	return Claims{UserIDs: []UserID{{Name: name, Provider: EmailSecurityProvider}}}
}

// testDocuments returns an index in which alice and bob each see four documents
// in the support hub, and three elsewhere.
func testDocuments() []Document {
	at := func(path string) string { return "https://example.com/" + path }
	return []Document{
		{Title: "Public page", Excerpt: "for everyone", URI: at("1"), Fields: map[string]string{"Tenant": "acme"}},
		{Title: "Alice only", Excerpt: "a Page of hers", URI: at("2"), Allowed: []string{alice}, Source: "Private files"},
		{Title: "Bob only", Excerpt: "a page of his", URI: at("3"), Allowed: []string{bob}, ObjectType: "Case"},
		{Title: "Both of them", Excerpt: "pages", URI: at("4"), Allowed: []string{alice, bob}},
		{Title: "In the support hub", URI: at("5"), SearchHubs: []string{"support"}},
	}
}

// send sends a request with headers in pairs, and returns the response with its
// whole body.
func send(t *testing.T, p *Platform, method, target, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// sendAs sends a request with a search token and, if there is a body, JSON.
func sendAs(t *testing.T, p *Platform, token, method, target, body string) (*http.Response, []byte) {
	t.Helper()
	return send(t, p, method, target, body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
}

// requestToken makes a token call with the platform's API key.
func requestToken(t *testing.T, p *Platform, body string) (*http.Response, []byte) {
	t.Helper()
	return sendAs(t, p, DefaultAPIKey, "POST", "/rest/search/v2/token?organizationId=acme", body)
}

// search runs a query whose body is JSON.
func search(t *testing.T, p *Platform, token, body string) (status int, response searchResponse) {
	t.Helper()
	resp, b := sendAs(t, p, token, "POST", "/rest/search/v2?organizationId=acme", body)
	decode(t, b, &response)
	return resp.StatusCode, response
}

func searchStatus(t *testing.T, p *Platform, token string) int {
	t.Helper()
	status, _ := search(t, p, token, "{}")
	return status
}

// callTest is a call, and what its response must contain.
type callTest struct {
	name, method, target, body string
	status                     int
	want                       string // part of the body
}

// testCalls runs tests with a token.
func testCalls(t *testing.T, p *Platform, token string, tests []callTest) {
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := sendAs(t, p, token, tc.method, tc.target, tc.body)
			if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.want) {
				t.Errorf("got status %d and %s, want %d and %s", resp.StatusCode, b, tc.status, tc.want)
			}
		})
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
}

func titles(response searchResponse) []string {
	list := []string{}
	for _, r := range response.Results {
		list = append(list, r.Title)
	}
	return list
}

// query returns a query string with the parameters in pairs.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}
