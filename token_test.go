package searchtoken_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

const (
	secret = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
	apiKey = "xx0f6a2b1c-7d3e-4f58-9a61-3c2b1d0e9f87"
)

func TestTokenHidesItsValue(t *testing.T) {
	token := searchtoken.Token{Value: secret, Expiry: time.Unix(1800000000, 0)}
	page := &searchtoken.Page{Token: token}
	logged := func(handler func(io.Writer, *slog.HandlerOptions) slog.Handler) func(any) string {
		return func(v any) string {
			var b bytes.Buffer
			slog.New(handler(&b, nil)).Info("a", "b", v)
			return b.String()
		}
	}
	show := map[string]func(any) string{
		"text log": logged(func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) }),
		"JSON log": logged(func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) }),
		"JSON": func(v any) string {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		},
		"template": func(v any) string {
			var b strings.Builder
			if err := template.Must(template.New("").Parse(`{{.}}<script>{{.}}</script>`)).Execute(&b, v); err != nil {
				t.Fatal(err)
			}
			return b.String()
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		show[verb] = func(v any) string { return fmt.Sprintf(verb, v) }
	}
	for name, show := range show {
		for _, v := range []any{token, &token, *page, page, []searchtoken.Token{token}, map[string]any{"t": token}} {
			t.Run(fmt.Sprintf("%s of %T", name, v), func(t *testing.T) {
				for _, part := range append(strings.Split(secret, "."), fmt.Sprintf("%x", secret)) {
					if got := show(v); strings.Contains(got, part) {
						t.Errorf("%s shows the token", got)
					}
				}
			})
		}
	}
	if got, want := token.String(), "search token (redacted) until 2027-01-15T08:00:00Z"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := (searchtoken.Token{}).String(), "search token (none)"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestTokenAuthenticatesRequests(t *testing.T) {
	for _, tt := range []struct {
		name      string
		token     searchtoken.Token
		wantAuth  string
		wantQuery string
	}{
		{"token", searchtoken.Token{Value: "a.b-c+/="}, "Bearer a.b-c+/=", "access_token=a.b-c%2B%2F%3D&q=x"},
		{"no token", searchtoken.Token{}, "", "q=x&access_token=old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?q=x&access_token=old", nil)
			tt.token.SetAuthHeader(r)
			tt.token.AddToQuery(r.URL)
			if got := r.Header.Get("Authorization"); got != tt.wantAuth {
				t.Errorf("Authorization = %q, want %q", got, tt.wantAuth)
			}
			if got := r.URL.RawQuery; got != tt.wantQuery {
				t.Errorf("query = %q, want %q", got, tt.wantQuery)
			}
		})
	}
}

func TestTokenParamsValidate(t *testing.T) {
	const email = "jsmith@example.com"
	fields := func(n int) map[string][]string {
		m := map[string][]string{}
		for i := range n {
			m[fmt.Sprint("field", i)] = []string{"*"}
		}
		return m
	}
	user := searchtoken.Email(email).UserIDs
	for _, tt := range []struct {
		name   string
		params searchtoken.TokenParams
		want   []string // what the error names; none: no error
	}{
		{"least", searchtoken.TokenParams{UserIDs: user}, nil},
		{"every type", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{
			{Name: "a", Provider: "p"}, {Name: "a", Provider: "p", Type: searchtoken.UserTypeUser}, {Name: "a", Provider: "p", Type: searchtoken.UserTypeGroup},
			{Name: "a", Provider: "p", Type: searchtoken.UserTypeVirtualGroup}, {Name: "a", Provider: "p", Type: searchtoken.UserTypeUnknown},
		}}, nil},
		{"no user", searchtoken.TokenParams{}, []string{"UserIDs"}},
		{"no name", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{{Provider: "p"}}}, []string{"UserIDs[0].Name"}},
		{"blank name", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{{Name: " ", Provider: "p"}}}, []string{"UserIDs[0].Name"}},
		{"no provider", searchtoken.TokenParams{UserIDs: append(searchtoken.Email(email).UserIDs, searchtoken.UserID{Name: email})}, []string{"UserIDs[1].Provider"}},
		{"type unknown to Coveo", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{{Name: email, Provider: "p", Type: "user"}}}, []string{"UserIDs[0].Type"}},
		{"name that JSON would change", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{{Name: "a\xff", Provider: "p"}}}, []string{"UserIDs[0].Name"}},
		{"group that JSON would change", searchtoken.TokenParams{UserIDs: user, UserGroups: []string{"a", "\xff"}}, []string{"UserGroups"}},
		{"profile that JSON would change", searchtoken.TokenParams{UserIDs: user, CanSeeUserProfileOf: []string{"\xff"}}, []string{"CanSeeUserProfileOf"}},
		{"dictionary that JSON would change", searchtoken.TokenParams{UserIDs: user, DictionaryFieldContext: map[string]string{"a": "\xff"}}, []string{"DictionaryFieldContext"}},
		{"filter that JSON would change", searchtoken.TokenParams{UserIDs: user, Filter: "\xff"}, []string{"Filter"}},
		{"shortest life", searchtoken.TokenParams{UserIDs: user, ValidFor: 15 * time.Minute}, nil},
		{"longest life", searchtoken.TokenParams{UserIDs: user, ValidFor: 24 * time.Hour}, nil},
		{"too short", searchtoken.TokenParams{UserIDs: user, ValidFor: 15*time.Minute - 1}, []string{"ValidFor"}},
		{"too long", searchtoken.TokenParams{UserIDs: user, ValidFor: 24*time.Hour + 1}, []string{"ValidFor"}},
		{"negative", searchtoken.TokenParams{UserIDs: user, ValidFor: -time.Hour}, []string{"ValidFor"}},
		{"both dictionaries", searchtoken.TokenParams{UserIDs: user,
			DictionaryFieldContext: map[string]string{"price": "a"}, AllowedDictionaryFieldKeys: fields(1)},
			[]string{"DictionaryFieldContext", "AllowedDictionaryFieldKeys"}},
		{"100 fields", searchtoken.TokenParams{UserIDs: user, AllowedDictionaryFieldKeys: fields(100)}, nil},
		{"101 fields", searchtoken.TokenParams{UserIDs: user, AllowedDictionaryFieldKeys: fields(101)}, []string{"AllowedDictionaryFieldKeys"}},
		{"a key", searchtoken.TokenParams{UserIDs: user, AllowedDictionaryFieldKeys: map[string][]string{"a": {"vip"}}}, []string{"AllowedDictionaryFieldKeys"}},
		{"no keys", searchtoken.TokenParams{UserIDs: user, AllowedDictionaryFieldKeys: map[string][]string{"a": {}}}, []string{"AllowedDictionaryFieldKeys"}},
		{"all at once", searchtoken.TokenParams{UserIDs: []searchtoken.UserID{{Name: email, Type: email}}, ValidFor: time.Second,
			AllowedDictionaryFieldKeys: map[string][]string{email: {email}}},
			[]string{"UserIDs[0].Provider", "UserIDs[0].Type", "ValidFor", "AllowedDictionaryFieldKeys"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.params.Validate()
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("Validate() = %v, want an error that names %v", err, tt.want)
			}
			for _, field := range tt.want {
				if !strings.Contains(err.Error(), field) {
					t.Errorf("Validate() = %q, which does not name %s", err, field)
				}
			}
			if err != nil && strings.Contains(err.Error(), email) {
				t.Errorf("Validate() = %q, which shows an e-mail address", err)
			}
		})
	}
}

func TestNewClientRefuses(t *testing.T) {
	good := searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey}
	with := func(change func(*searchtoken.ClientConfig)) searchtoken.ClientConfig {
		cfg := good
		change(&cfg)
		return cfg
	}
	cases := map[string]struct {
		cfg  searchtoken.ClientConfig
		want []string
	}{
		"good":    {good, nil},
		"nothing": {searchtoken.ClientConfig{}, []string{"OrganizationID", "APIKey"}},
		"two credentials": {with(func(c *searchtoken.ClientConfig) {
			c.Credential = func(context.Context) (string, error) { return "", nil }
		}), []string{"APIKey", "Credential"}},
		"key with newline":    {with(func(c *searchtoken.ClientConfig) { c.APIKey += "\n" }), []string{"APIKey"}},
		"key as organization": {with(func(c *searchtoken.ClientConfig) { c.OrganizationID = apiKey }), []string{"OrganizationID"}},
		"environment":         {with(func(c *searchtoken.ClientConfig) { c.Environment = "production" }), []string{"Environment"}},
	}
	for _, org := range []string{"acme.evil.com", "acme/", "a b", "-acme", "acme-", "acme#", "acme\n", "ácme", "a@b", `"></script>`, "\u2028", strings.Repeat("a", 64), "127.0.0.1", "acme:80"} {
		cases[fmt.Sprintf("organization %q", org)] = struct {
			cfg  searchtoken.ClientConfig
			want []string
		}{with(func(c *searchtoken.ClientConfig) { c.OrganizationID = org }), []string{"OrganizationID"}}
	}
	for _, u := range []string{"http://coveo.example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "ftp://127.0.0.1", "//host", "/path", "host",
		"https://", "https://:443", "https://user:password@host", "https://host?a=b", "https://host#f", "https://host?", "javascript:alert(1)", "https://a b", "http://10.0.0.1", "::",
		"https://host#", "https://host/#", "https://host:99999", "https://*", "https://.", "https://host/a b", `https://host/"`, "https://hóst"} {
		cases[fmt.Sprintf("platform %q", u)] = struct {
			cfg  searchtoken.ClientConfig
			want []string
		}{with(func(c *searchtoken.ClientConfig) { c.PlatformURL = u }), []string{"PlatformURL"}}
	}
	for _, u := range []string{"https://platform-eu.cloud.coveo.com", "https://proxy.example.com/coveo/", "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"} {
		cases["platform "+u] = struct {
			cfg  searchtoken.ClientConfig
			want []string
		}{with(func(c *searchtoken.ClientConfig) { c.PlatformURL = u }), nil}
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := searchtoken.NewClient(tt.cfg)
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("NewClient: %v, want an error that names %v", err, tt.want)
			}
			for _, field := range tt.want {
				if !strings.Contains(err.Error(), field) {
					t.Errorf("NewClient: %q does not name %s", err, field)
				}
			}
			if err != nil && (strings.Contains(err.Error(), apiKey) || strings.Contains(err.Error(), "password")) {
				t.Errorf("NewClient: %q shows a secret", err)
			}
		})
	}
}

// wireRequest is what Coveo sees of a call.
type wireRequest struct {
	Method, URL, Authorization, ContentType, Accept, Body string
}

func TestClientRequest(t *testing.T) {
	user := searchtoken.Email("jsmith@example.com").UserIDs
	all := searchtoken.TokenParams{
		UserIDs:             []searchtoken.UserID{{Name: "a", Provider: "p"}, {Name: "b", Provider: "q", Type: searchtoken.UserTypeGroup}},
		UserDisplayName:     "Ann",
		UserGroups:          []string{"g"},
		SearchHub:           "hub",
		Pipeline:            "pipe",
		Filter:              `@a=="<b>"`,
		ValidFor:            90 * time.Minute,
		CanSeeUserProfileOf: []string{"c"},
		DictionaryFieldContext: map[string]string{
			"price": "storeA",
		},
	}
	for _, tt := range []struct {
		name    string
		cfg     searchtoken.ClientConfig
		params  searchtoken.TokenParams
		wantURL string
		body    string
	}{
		{"least", searchtoken.ClientConfig{OrganizationID: "acme"}, searchtoken.TokenParams{UserIDs: user},
			"https://acme.org.coveo.com/rest/search/v2/token?organizationId=acme",
			`{"userIds":[{"name":"jsmith@example.com","provider":"Email Security Provider","type":"User"}]}`},
		{"all but allowed keys", searchtoken.ClientConfig{OrganizationID: "acme", Environment: searchtoken.EnvHIPAA}, all,
			"https://acme.orghipaa.coveo.com/rest/search/v2/token?organizationId=acme",
			`{"userIds":[{"name":"a","provider":"p"},{"name":"b","provider":"q","type":"Group"}],"userDisplayName":"Ann","userGroups":["g"],"searchHub":"hub","pipeline":"pipe",` +
				`"filter":"@a==\"\u003cb\u003e\"","dictionaryFieldContext":{"price":"storeA"},"canSeeUserProfileOf":["c"],"validFor":5400000}`},
		{"allowed keys", searchtoken.ClientConfig{OrganizationID: "acme", Environment: searchtoken.EnvProduction, PlatformURL: "https://proxy.example.com/coveo/"},
			searchtoken.TokenParams{UserIDs: user, AllowedDictionaryFieldKeys: map[string][]string{"price": {"*"}}},
			"https://proxy.example.com/coveo/rest/search/v2/token?organizationId=acme",
			`{"userIds":[{"name":"jsmith@example.com","provider":"Email Security Provider","type":"User"}],"allowedDictionaryFieldKeys":{"price":["*"]}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got wireRequest
			tt.cfg.APIKey = apiKey
			tt.cfg.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				got = wireRequest{r.Method, r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), r.Header.Get("Accept"), string(body)}
				return respond(200, `{"token":"a.b.c"}`, nil), nil
			})}
			client, err := searchtoken.NewClient(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			token, err := client.Issue(t.Context(), tt.params)
			if err != nil || token.Value != "a.b.c" {
				t.Fatalf("Issue() = %q, %v", token.Value, err)
			}
			want := wireRequest{"POST", tt.wantURL, "Bearer " + apiKey, "application/json", "application/json", tt.body}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// respond is an answer of Coveo.
func respond(status int, body string, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

// clientOf is a Client whose upstream is transport.
func clientOf(t *testing.T, transport roundTripper) *searchtoken.Client {
	t.Helper()
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var jsmith = searchtoken.TokenParams{
	UserIDs:         append(searchtoken.Email("jsmith@example.com").UserIDs, searchtoken.UserID{Name: "OFFICE+js", Provider: "Active Directory"}),
	UserDisplayName: "John Smith",
}

func TestClientAnswersWithoutToken(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	const date = "Fri, 15 Jan 2027 08:00:00 GMT"
	for _, tt := range []struct {
		name   string
		status int
		body   string
		header http.Header
		want   searchtoken.APIError
		http   int
	}{
		{"no privilege", 403, `{"statusCode":403,"message":"Forbidden","type":"AccessDeniedException"}`, header("X-Request-ID", "id-1"),
			searchtoken.APIError{StatusCode: 403, Type: "AccessDeniedException", Message: "Forbidden", RequestID: "id-1"}, 502},
		{"wrong key", 401, `{"statusCode":401,"errorCode":"UNAUTHORIZED","message":"Invalid access token."}`, nil,
			searchtoken.APIError{StatusCode: 401, Type: "UNAUTHORIZED", Message: "Invalid access token."}, 502},
		{"numeric code", 400, `{"errorCode":17,"message":"bad"}`, nil, searchtoken.APIError{StatusCode: 400, Type: "17", Message: "bad"}, 502},
		{"not found, empty", 404, ``, nil, searchtoken.APIError{StatusCode: 404}, 502},
		{"too many", 429, `{}`, header("Retry-After", "17"), searchtoken.APIError{StatusCode: 429, RetryAfter: 17 * time.Second}, 503},
		{"absurd Retry-After", 429, `{}`, header("Retry-After", "99999999999999999999"), searchtoken.APIError{StatusCode: 429, RetryAfter: 5 * time.Minute}, 503},
		{"negative Retry-After", 503, `{}`, header("Retry-After", "-1"), searchtoken.APIError{StatusCode: 503}, 503},
		{"Retry-After that is neither", 503, `{}`, header("Retry-After", "soon"), searchtoken.APIError{StatusCode: 503}, 503},
		{"far Retry-After date", 503, `{}`, header("Retry-After", date), searchtoken.APIError{StatusCode: 503, RetryAfter: 5 * time.Minute}, 503},
		{"past Retry-After date", 503, `{}`, header("Retry-After", "Fri, 15 Jan 1999 08:00:00 GMT"), searchtoken.APIError{StatusCode: 503}, 503},
		{"paused", 500, `{"errorCode":"ORGANIZATION_PAUSED"}`, nil, searchtoken.APIError{StatusCode: 500, Type: "ORGANIZATION_PAUSED"}, 503},
		{"gateway", 502, `<html>`, header("Content-Type", "text/html; charset=utf-8"),
			searchtoken.APIError{StatusCode: 502, Message: "the answer is an HTML page, perhaps of a firewall or a proxy"}, 503},
		{"firewall", 200, `<html>ok</html>`, header("Content-Type", "text/html"),
			searchtoken.APIError{StatusCode: 200, Message: "the answer is an HTML page, perhaps of a firewall or a proxy"}, 502},
		{"firewall that says so", 403, `{}`, header("X-Coveo-Waf-Action", "block"),
			searchtoken.APIError{StatusCode: 403, Message: "a web application firewall blocked the request"}, 502},
		{"redirect", 302, ``, header("Location", "https://elsewhere.example.com"),
			searchtoken.APIError{StatusCode: 302, Message: "redirects are not followed; set PlatformURL to the address of the API"}, 502},
		{"no content", 204, ``, nil, searchtoken.APIError{StatusCode: 204}, 502},
		{"empty", 200, ``, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer has no token"}, 502},
		{"no token", 200, `{}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer has no token"}, 502},
		{"empty token", 200, `{"token":""}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer has no token"}, 502},
		{"null token", 200, `{"token":null}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer has no token"}, 502},
		{"token of another type", 200, `{"token":{"a":"b"}}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer has no token"}, 502},
		{"array", 200, `["a.b.c"]`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is not a JSON object"}, 502},
		{"string", 200, `"a.b.c"`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is not a JSON object"}, 502},
		{"null", 200, `null`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is not a JSON object"}, 502},
		{"half an object", 200, `{"token":"a.b.c"`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is not a JSON object"}, 502},
		{"two objects", 200, `{"token":"a.b.c"}{}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is not a JSON object"}, 502},
		{"token with a line break", 200, `{"token":"a\r\nSet-Cookie: b"}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the token in the answer is malformed"}, 502},
		{"token with markup", 200, `{"token":"</script>"}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the token in the answer is malformed"}, 502},
		{"token too long for a URL", 200, `{"token":"` + strings.Repeat("a", 16<<10) + `"}`, nil, searchtoken.APIError{StatusCode: 200, Message: "the token in the answer is malformed"}, 502},
		{"over 1 MiB", 200, `{"token":"a.b.c"}` + strings.Repeat(" ", 1<<20), nil, searchtoken.APIError{StatusCode: 200, Message: "the answer is longer than 1 MiB"}, 502},
		{"echo of secrets", 400, fmt.Sprintf(`{"message":"key %s or %s, user jsmith@example.com or OFFICE+js or J.Doe@example.org or jdoe%%40example.org, John Smith, token %s","type":"jsmith@example.com"}`,
			apiKey, strings.ToUpper(apiKey), secret),
			header("X-Request-ID", apiKey), searchtoken.APIError{StatusCode: 400, Type: "[redacted]", RequestID: "[redacted]",
				Message: "key [redacted] or [redacted], user [redacted] or [redacted] or [redacted] or [redacted], [redacted], token [redacted]"}, 502},
		{"redirect to nowhere", 302, ``, header("Location", "http://[::1"),
			searchtoken.APIError{StatusCode: 302, Message: "redirects are not followed; set PlatformURL to the address of the API"}, 502},
		{"forged log line", 400, `{"message":"a\nlevel=INFO\u0000\u2028\u001b[31m"}`, nil, searchtoken.APIError{StatusCode: 400, Message: "a level=INFO   [31m"}, 502},
		{"long message", 400, `{"message":"` + strings.Repeat("é", 400) + `"}`, nil, searchtoken.APIError{StatusCode: 400, Message: strings.Repeat("é", 150) + "…"}, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(t, func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body, tt.header), nil })
			_, err := client.Issue(t.Context(), jsmith)
			var got *searchtoken.APIError
			if !errors.As(err, &got) {
				t.Fatalf("Issue() = %v, want an *APIError", err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if got := searchtoken.HTTPStatus(err); got != tt.http {
				t.Errorf("HTTPStatus() = %d, want %d", got, tt.http)
			}
			if got := searchtoken.RetryAfter(err); got != tt.want.RetryAfter {
				t.Errorf("RetryAfter() = %v, want %v", got, tt.want.RetryAfter)
			}
			for _, leak := range []string{apiKey, secret, "jsmith", "J.Doe", "John Smith"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("%q shows %s", err, leak)
				}
			}
		})
	}
}

func TestAPIErrorText(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  searchtoken.APIError
		want string
	}{
		{"all", searchtoken.APIError{StatusCode: 403, Type: "T", Message: "m", RequestID: "r"}, "searchtoken: Coveo answered 403 Forbidden: T: m (X-Request-ID r)"},
		{"status", searchtoken.APIError{StatusCode: 500}, "searchtoken: Coveo answered 500 Internal Server Error"},
		{"status of Coveo's own", searchtoken.APIError{StatusCode: 419, Message: "m"}, "searchtoken: Coveo answered 419: m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClientCutOffAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("X-Request-ID", "id-1")
		io.WriteString(w, `{"token":"a.b.c"`)
	}))
	defer server.Close()
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, PlatformURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Issue(t.Context(), jsmith)
	var got *searchtoken.APIError
	if !errors.As(err, &got) {
		t.Fatalf("Issue() = %v, want an *APIError", err)
	}
	if diff := cmp.Diff(&searchtoken.APIError{StatusCode: 200, Message: "the answer was cut off", RequestID: "id-1"}, got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestClientStalledAnswer has the header of an answer, and then nothing.
func TestClientStalledAnswer(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   *searchtoken.APIError // nil: a timeout
	}{
		{200, nil},
		{403, &searchtoken.APIError{StatusCode: 403, Message: "the answer was cut off"}},
		{429, &searchtoken.APIError{StatusCode: 429, Message: "the answer was cut off", RetryAfter: 2 * time.Minute}},
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(r *http.Request) (*http.Response, error) {
					body, w := io.Pipe()
					context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
					resp := respond(tt.status, "", nil)
					resp.Body = body
					if tt.status == 429 {
						resp.Header.Set("Retry-After", "120")
					}
					return resp, nil
				})
				_, err := client.Issue(t.Context(), jsmith)
				var got *searchtoken.APIError
				if errors.As(err, &got); err == nil {
					t.Error("no error")
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestClientErrorsShowNoSecret has a server that answers with what it was sent,
// in no way that HTTP knows.
func TestClientErrorsShowNoSecret(t *testing.T) {
	for _, format := range []string{"HTTP/1.1 200 OK\r\n%s\r\n\r\n", "%s\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n"} {
		t.Run(format, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				conn.Read(make([]byte, 1<<16))
				fmt.Fprintf(conn, format, "Authorization Bearer "+apiKey+" jsmith@example.com OFFICE+js")
			}()
			client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, PlatformURL: "http://" + listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Issue(t.Context(), jsmith)
			if err == nil {
				t.Fatal("no error")
			}
			for _, leak := range []string{apiKey, "jsmith", "OFFICE"} {
				if strings.Contains(err.Error(), leak) || strings.Contains(fmt.Sprintf("%+v", client), leak) {
					t.Errorf("%q or %+v shows %s", err, client, leak)
				}
			}
		})
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var followed atomic.Bool
			elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
			defer elsewhere.Close()
			server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
			defer server.Close()
			for name, httpClient := range map[string]*http.Client{
				"default client": nil,
				"own client":     {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }},
			} {
				client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, PlatformURL: server.URL, HTTPClient: httpClient})
				if err != nil {
					t.Fatal(err)
				}
				if _, err = client.Issue(t.Context(), jsmith); searchtoken.HTTPStatus(err) != 502 || followed.Load() {
					t.Errorf("%s: Issue() = %v, followed: %v", name, err, followed.Load())
				}
			}
		})
	}
}

func TestClientReusesConnections(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "broken") {
			w.WriteHeader(500)
		}
		io.WriteString(w, `{"token":"a.b.c"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, PlatformURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := client.Issue(t.Context(), jsmith); err != nil {
			t.Fatal(err)
		}
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("5 calls opened %d connections, want 1", got)
	}
}

func TestClientTimesOut(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	stall := func(r *http.Request) (*http.Response, error) {
		body, w := io.Pipe()
		context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body}, nil
	}
	for _, tt := range []struct {
		name      string
		transport roundTripper
		timeout   time.Duration
		want      time.Duration
	}{
		{"no answer", hang, 0, 10 * time.Second},
		{"answer without end", stall, 0, 10 * time.Second},
		{"own timeout", hang, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey,
					HTTPClient: &http.Client{Transport: tt.transport, Timeout: tt.timeout}})
				if err != nil {
					t.Fatal(err)
				}
				started := time.Now()
				_, err = client.Issue(t.Context(), jsmith)
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("Issue() = %v, want a timeout", err)
				}
				if got := time.Since(started); got != tt.want {
					t.Errorf("Issue() took %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestClientHonoursProxy(t *testing.T) {
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	transport := http.DefaultTransport.(*http.Transport)
	old := transport.Proxy
	defer func() { transport.Proxy = old }()
	// The environment is read only once in a process; this is where it ends up.
	transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Issue(t.Context(), jsmith); err == nil {
		t.Error("Issue() succeeded through a proxy that refuses")
	}
	if got, want := <-asked, "CONNECT acme.org.coveo.com:443"; got != want {
		t.Errorf("the proxy was asked to %s, want %s", got, want)
	}
}

func TestClientCredential(t *testing.T) {
	keys := []string{"first", "second", "bad key", ""}
	failure := errors.New("vault sealed")
	var sent []string
	calls := 0
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{
		OrganizationID: "acme",
		Credential: func(context.Context) (string, error) {
			if calls++; calls > len(keys) {
				return "", failure
			}
			return keys[calls-1], nil
		},
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get("Authorization"))
			return respond(200, `{"token":"a.b.c"}`, nil), nil
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	var errs []bool
	for range 5 {
		_, err = client.Issue(t.Context(), jsmith)
		errs = append(errs, err != nil)
	}
	if !errors.Is(err, failure) {
		t.Errorf("Issue() = %v, want %v", err, failure)
	}
	if diff := cmp.Diff([]string{"Bearer first", "Bearer second"}, sent); diff != "" {
		t.Errorf("keys sent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{false, false, true, true, true}, errs); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestClientExpiry(t *testing.T) {
	const skew = 17 * time.Hour // of the platform's clock
	for _, tt := range []struct {
		name     string
		validFor time.Duration
		token    func(platform time.Time) string
		want     time.Duration // from the moment before the call
	}{
		{"JWT", 0, func(p time.Time) string { return jwt(map[string]any{"iat": p.Unix(), "exp": p.Add(time.Hour).Unix()}) }, time.Hour},
		{"fractions of seconds", 0, func(p time.Time) string { return jwt(map[string]any{"iat": 1000.25, "exp": 4600.75}) }, time.Hour},
		{"longer than asked for", 20 * time.Minute, func(p time.Time) string { return jwt(map[string]any{"iat": p.Unix(), "exp": p.Add(time.Hour).Unix()}) }, 20 * time.Minute},
		{"absurdly long", 0, func(time.Time) string { return jwt(map[string]any{"iat": 1, "exp": 1e12}) }, 24 * time.Hour},
		{"beyond all numbers", 0, func(time.Time) string { return jwt(map[string]any{"iat": 1, "exp": 1e300}) }, 24 * time.Hour},
		{"expired when issued", 0, func(time.Time) string { return jwt(map[string]any{"iat": 2000, "exp": 1000}) }, 0},
		{"no iat, early exp", 0, func(p time.Time) string {
			return jwt(map[string]any{"exp": p.Add(time.Hour - skew - 2*time.Second).Unix()})
		}, time.Hour},
		{"no iat, late exp", time.Hour, func(p time.Time) string { return jwt(map[string]any{"exp": p.Unix()}) }, time.Hour},
		{"no claims", 30 * time.Minute, func(time.Time) string { return jwt(nil) }, 30 * time.Minute},
		{"claims of other types", 0, func(time.Time) string { return jwt(map[string]any{"iat": "1", "exp": true}) }, 24 * time.Hour},
		{"no JWT", 0, func(time.Time) string { return "opaque" }, 24 * time.Hour},
		{"no base64", 0, func(time.Time) string { return "a._.c" }, 24 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(*http.Request) (*http.Response, error) {
					time.Sleep(2 * time.Second) // the call takes its time, on a fake clock
					body, err := json.Marshal(map[string]string{"token": tt.token(time.Now().Add(skew))})
					return respond(200, string(body), nil), err
				})
				params := jsmith
				params.ValidFor = tt.validFor
				asked := time.Now()
				token, err := client.Issue(t.Context(), params)
				if err != nil {
					t.Fatal(err)
				}
				if !token.Issued.Equal(asked) {
					t.Errorf("Issued %v after the call began, want 0s", token.Issued.Sub(asked))
				}
				if got := token.Expiry.Sub(asked); got != tt.want {
					t.Errorf("Expiry %v after the call began, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestAccessToken(t *testing.T) {
	for _, tt := range []struct {
		name    string
		expires time.Duration // from now; 0: the zero time
		want    time.Duration
	}{
		{"known", time.Hour, time.Hour},
		{"unknown", 0, 4 * time.Hour},
		{"longer than Coveo's sessions", 24 * time.Hour, 4 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var expires time.Time
				if tt.expires != 0 {
					expires = start.Add(tt.expires)
				}
				issuer := searchtoken.AccessToken(secret, expires)
				token, err := issuer.Issue(t.Context(), jsmith)
				if err != nil || token.Value != secret {
					t.Fatalf("Issue() = %q, %v", token.Value, err)
				}
				if got := token.Expiry.Sub(start); got != tt.want {
					t.Errorf("good for %v, want %v", got, tt.want)
				}
				time.Sleep(tt.want)
				if token, err := issuer.Issue(t.Context(), jsmith); err == nil {
					t.Errorf("Issue() = %v after its end", token)
				} else if strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprintf("%+v %#v", issuer, issuer), secret) {
					t.Errorf("the token shows in %q or %v", err, issuer)
				}
			})
		})
	}
}
