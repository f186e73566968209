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
)

// user returns claims for one user.
func user(name string) Claims {
	return Claims{UserIDs: []UserID{{Name: name, Provider: EmailSecurityProvider}}}
}

// send makes a request with headers in pairs, and returns the answer with its whole body.
func send(t *testing.T, p *Platform, method, target, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://acme.org.coveo.com"+target, strings.NewReader(body))
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

// askToken makes a token call with the platform's key.
func askToken(t *testing.T, p *Platform, body string) (*http.Response, []byte) {
	t.Helper()
	return send(t, p, "POST", "/rest/search/v2/token?organizationId=acme", body,
		"Authorization", "Bearer "+DefaultAPIKey, "Content-Type", "application/json")
}

// search runs a query whose body is JSON, and returns status and answer.
func search(t *testing.T, p *Platform, token, body string) (int, searchAnswer) {
	t.Helper()
	resp, b := send(t, p, "POST", "/rest/search/v2?organizationId=acme", body,
		"Authorization", "Bearer "+token, "Content-Type", "application/json")
	var answer searchAnswer
	decode(t, b, &answer)
	return resp.StatusCode, answer
}

func searchStatus(t *testing.T, p *Platform, token string) int {
	t.Helper()
	status, _ := search(t, p, token, "{}")
	return status
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
}

func titles(a searchAnswer) []string {
	list := []string{}
	for _, r := range a.Results {
		list = append(list, r.Title)
	}
	return list
}

// query returns text as a query string.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}
