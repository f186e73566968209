package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// jsmith are the parameters of a user with two names.
var jsmith = searchtoken.TokenParams{
	UserIDs: append(searchtoken.Email("jsmith@example.com").UserIDs,
		searchtoken.UserID{Name: "OFFICE+js", Provider: "Active Directory"}),
	UserDisplayName: "John Smith",
}

// newClient returns a Client with cfg, and fills in what NewClient requires.
func newClient(t *testing.T, cfg searchtoken.ClientConfig) *searchtoken.Client {
	t.Helper()
	cfg.OrganizationID = "acme"
	if cfg.Credential == nil {
		cfg.APIKey = apiKey
	}
	client, err := searchtoken.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// clientOf returns a Client with a fake upstream.
func clientOf(t *testing.T, upstream roundTripper) *searchtoken.Client {
	t.Helper()
	return newClient(t, searchtoken.ClientConfig{HTTPClient: &http.Client{Transport: upstream}})
}

// respond returns an answer of Coveo.
func respond(status int, body string, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

// stalledBody returns a body that has no bytes and no end before ctx is done.
func stalledBody(ctx context.Context) io.ReadCloser {
	body, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return body
}

// checkHidden reports each secret that text shows.
func checkHidden(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows %s", text, secret)
		}
	}
}

// apiErrorOf returns the APIError that Issue returns for jsmith, or nil if
// Issue returns another error.
func apiErrorOf(t *testing.T, client *searchtoken.Client) *searchtoken.APIError {
	t.Helper()
	token, err := client.Issue(t.Context(), jsmith)
	if err == nil || token != (searchtoken.Token{}) {
		t.Fatalf("Issue() = %v, %v, want an error alone", token, err)
	}
	var api *searchtoken.APIError
	errors.As(err, &api)
	return api
}

func TestNewClientNamesEveryFault(t *testing.T) {
	credential := func(context.Context) (string, error) { return "", nil }
	for _, tt := range []struct {
		name string
		cfg  searchtoken.ClientConfig
		want []string
	}{
		{"API key", searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey}, nil},
		{"Credential", searchtoken.ClientConfig{OrganizationID: "acme", Credential: credential}, nil},
		{"nothing", searchtoken.ClientConfig{}, []string{"OrganizationID", "APIKey"}},
		{
			"two credentials",
			searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, Credential: credential},
			[]string{"APIKey, Credential"},
		},
		{"bad key", searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey + "\n"}, []string{"APIKey"}},
		{
			"all at once",
			searchtoken.ClientConfig{OrganizationID: "a.b", Environment: "x", PlatformURL: "http://example.com"},
			[]string{"OrganizationID", "Environment", "PlatformURL", "APIKey"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := searchtoken.NewClient(tt.cfg)
			if diff := cmp.Diff(tt.want, faultsOf(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if (client == nil) != (err != nil) {
				t.Errorf("NewClient() = %v, %v, want one of them", client, err)
			}
			if err != nil {
				checkHidden(t, err.Error(), apiKey)
			}
		})
	}
}

// wireRequest is what Coveo sees of a call.
type wireRequest struct {
	Method, URL, Authorization, ContentType, Accept, Body string
}

func TestClientSendsTheParametersToTheEndpoint(t *testing.T) {
	const emailIDs = `"userIds":[{"name":"jsmith@example.com","provider":"Email Security Provider","type":"User"}]`
	user := searchtoken.Email("jsmith@example.com").UserIDs
	all := searchtoken.TokenParams{
		UserIDs: []searchtoken.UserID{
			{Name: "a", Provider: "p"},
			{Name: "b", Provider: "q", Type: searchtoken.UserTypeGroup},
		},
		UserDisplayName:        "Ann",
		UserGroups:             []string{"g"},
		SearchHub:              "hub",
		Pipeline:               "pipe",
		Filter:                 `@a=="<b>"`,
		ValidFor:               90 * time.Minute,
		CanSeeUserProfileOf:    []string{"c"},
		DictionaryFieldContext: map[string]string{"price": "storeA"},
	}
	for _, tt := range []struct {
		name     string
		cfg      searchtoken.ClientConfig
		params   searchtoken.TokenParams
		wantURL  string
		wantBody string
	}{
		{
			name:     "least",
			params:   searchtoken.TokenParams{UserIDs: user},
			wantURL:  "https://acme.org.coveo.com/rest/search/v2/token?organizationId=acme",
			wantBody: "{" + emailIDs + "}",
		},
		{
			name:    "everything except the allowed keys",
			cfg:     searchtoken.ClientConfig{Environment: searchtoken.EnvHIPAA},
			params:  all,
			wantURL: "https://acme.orghipaa.coveo.com/rest/search/v2/token?organizationId=acme",
			wantBody: `{"userIds":[{"name":"a","provider":"p"},{"name":"b","provider":"q","type":"Group"}],` +
				`"userDisplayName":"Ann","userGroups":["g"],"searchHub":"hub","pipeline":"pipe",` +
				`"filter":"@a==\"\u003cb\u003e\"","dictionaryFieldContext":{"price":"storeA"},` +
				`"canSeeUserProfileOf":["c"],"validFor":5400000}`,
		},
		{
			name: "allowed keys",
			cfg: searchtoken.ClientConfig{
				Environment: searchtoken.EnvProduction, PlatformURL: "https://proxy.example.com/coveo/",
			},
			params: searchtoken.TokenParams{
				UserIDs: user, AllowedDictionaryFieldKeys: map[string][]string{"price": {"*"}},
			},
			wantURL:  "https://proxy.example.com/coveo/rest/search/v2/token?organizationId=acme",
			wantBody: "{" + emailIDs + `,"allowedDictionaryFieldKeys":{"price":["*"]}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got wireRequest
			tt.cfg.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				h := r.Header
				got = wireRequest{
					r.Method, r.URL.String(), h.Get("Authorization"), h.Get("Content-Type"), h.Get("Accept"), string(body),
				}
				return respond(200, `{"token":"a.b.c"}`, nil), nil
			})}
			token, err := newClient(t, tt.cfg).Issue(t.Context(), tt.params)
			if err != nil || token.Value != "a.b.c" {
				t.Fatalf("Issue() = %q, %v", token.Value, err)
			}
			want := wireRequest{"POST", tt.wantURL, "Bearer " + apiKey, "application/json", "application/json", tt.wantBody}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientRefusesBadParametersWithoutACall(t *testing.T) {
	client := clientOf(t, func(*http.Request) (*http.Response, error) {
		t.Error("Coveo is called")
		return respond(200, `{"token":"a.b.c"}`, nil), nil
	})
	_, err := client.Issue(t.Context(), searchtoken.TokenParams{ValidFor: 1})
	if diff := cmp.Diff([]string{"UserIDs", "ValidFor"}, faultsOf(t, err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestClientSaysWhatIsWrongWithAnAnswer(t *testing.T) {
	const (
		notObject = "the answer is not a JSON object"
		noToken   = "the answer has no token"
		malformed = "the token in the answer is malformed"
		htmlPage  = "the answer is an HTML page, perhaps of a firewall or a proxy"
		redirect  = "redirects are not followed; set PlatformURL to the address of the API"
		r         = "[redacted]"
	)
	type apiError = searchtoken.APIError
	tests := []struct {
		name   string
		status int
		body   string
		header map[string]string
		want   apiError // StatusCode is status
		http   int      // HTTPStatus of the error
	}{
		{
			name: "no privilege", status: 403,
			body:   `{"statusCode":403,"message":"Forbidden","type":"AccessDeniedException"}`,
			header: map[string]string{"X-Request-ID": "id-1"},
			want:   apiError{Type: "AccessDeniedException", Message: "Forbidden", RequestID: "id-1"}, http: 502,
		},
		{
			name: "wrong key", status: 401,
			body: `{"statusCode":401,"errorCode":"UNAUTHORIZED","message":"Invalid access token."}`,
			want: apiError{Type: "UNAUTHORIZED", Message: "Invalid access token."}, http: 502,
		},
		{
			name: "numeric code", status: 400, body: `{"errorCode":17,"message":"bad"}`,
			want: apiError{Type: "17", Message: "bad"}, http: 502,
		},
		{name: "not found, empty", status: 404, http: 502},
		{
			name: "paused", status: 500, body: `{"errorCode":"ORGANIZATION_PAUSED"}`,
			want: apiError{Type: "ORGANIZATION_PAUSED"}, http: 503,
		},
		{
			name: "gateway", status: 502, body: `<html>`, header: map[string]string{"Content-Type": "text/html; charset=utf-8"},
			want: apiError{Message: htmlPage}, http: 503,
		},
		{
			name: "firewall", status: 200, body: `<html>ok</html>`, header: map[string]string{"Content-Type": "text/html"},
			want: apiError{Message: htmlPage}, http: 502,
		},
		{
			name: "firewall that says so", status: 403, body: `{}`, header: map[string]string{"X-Coveo-Waf-Action": "BLOCK"},
			want: apiError{Message: "a web application firewall blocked the request"}, http: 502,
		},
		{
			name: "redirect", status: 302, header: map[string]string{"Location": "https://elsewhere.example.com"},
			want: apiError{Message: redirect}, http: 502,
		},
		{
			name: "redirect to a malformed URL", status: 302, header: map[string]string{"Location": "http://[::1"},
			want: apiError{Message: redirect}, http: 502,
		},
		{
			name: "redirect with a message", status: 307, body: `{"message":"moved"}`,
			want: apiError{Message: "moved"}, http: 502,
		},
		{name: "no content", status: 204, http: 502},
		{name: "token with another status", status: 201, body: `{"token":"a.b.c"}`, http: 502},
		{
			name: "echo of secrets", status: 400,
			body: fmt.Sprintf(`{"message":"key %s or %s, user jsmith@example.com or OFFICE+js or J.Doe@example.org or `+
				`jdoe%%40example.org, John Smith, token %s","type":"jsmith@example.com"}`, apiKey, strings.ToUpper(apiKey), secret),
			header: map[string]string{"X-Request-ID": apiKey},
			want: apiError{
				Type: r, RequestID: r,
				Message: "key " + r + " or " + r + ", user " + r + " or " + r + " or " + r + " or " + r + ", " + r + ", token " + r,
			},
			http: 502,
		},
		{
			name: "forged log line", status: 400, body: `{"message":"a\nlevel=INFO\u0000\u2028\u001b[31m"}`,
			want: apiError{Message: "a level=INFO   [31m"}, http: 502,
		},
		{
			name: "long message", status: 400, body: `{"message":"` + strings.Repeat("é", 400) + `"}`,
			want: apiError{Message: strings.Repeat("é", 150) + "…"}, http: 502,
		},
	}
	for _, tt := range []struct{ name, body, want string }{ // with the status 200
		{"empty", ``, noToken},
		{"no token", `{}`, noToken},
		{"empty token", `{"token":""}`, noToken},
		{"null token", `{"token":null}`, noToken},
		{"object for a token", `{"token":{"a":"b"}}`, noToken},
		{"number for a token", `{"token":5}`, noToken},
		{"fraction for a token", `{"token":1.5e3}`, noToken},
		{"boolean for a token", `{"token":true}`, noToken},
		{"list with a token", `{"token":["a.b.c"]}`, noToken},
		{"array", `["a.b.c"]`, notObject},
		{"string", `"a.b.c"`, notObject},
		{"null", `null`, notObject},
		{"half an object", `{"token":"a.b.c"`, notObject},
		{"two objects", `{"token":"a.b.c"}{}`, notObject},
		{"token with a line break", `{"token":"a\r\nSet-Cookie: b"}`, malformed},
		{"token with markup", `{"token":"</script>"}`, malformed},
		{
			"token too long for a URL", `{"token":"` + strings.Repeat("a", 15<<10+1) + `"}`,
			"the token has 15361 bytes and may have at most 15 KiB; long or many groups, identities and filters make a token long",
		},
		{"over 1 MiB", `{"token":"a.b.c"}` + strings.Repeat(" ", 1<<20), "the answer is longer than 1 MiB"},
	} {
		tests = append(tests, struct {
			name   string
			status int
			body   string
			header map[string]string
			want   apiError
			http   int
		}{name: tt.name, status: 200, body: tt.body, want: apiError{Message: tt.want}, http: 502})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			for name, value := range tt.header {
				header.Set(name, value)
			}
			client := clientOf(t, func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body, header), nil })
			got := apiErrorOf(t, client)
			tt.want.StatusCode = tt.status
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if got := searchtoken.HTTPStatus(got); got != tt.http {
				t.Errorf("HTTPStatus() = %d, want %d", got, tt.http)
			}
			checkHidden(t, got.Error(), apiKey, secret, "jsmith", "J.Doe", "John Smith")
		})
	}
}

func TestClientAcceptsTheLongestToken(t *testing.T) {
	value := strings.Repeat("a", 15<<10)
	client := clientOf(t, func(*http.Request) (*http.Response, error) {
		body := `{"token":"` + value + `"}`
		return respond(200, body+strings.Repeat(" ", 1<<20-len(body)), nil), nil
	})
	if token, err := client.Issue(t.Context(), jsmith); err != nil || token.Value != value {
		t.Errorf("Issue() = a token of %d bytes, %v", len(token.Value), err)
	}
}

func TestRetryAfterOfCoveoIsAtMostFiveMinutes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header func(now time.Time) string
		want   time.Duration
	}{
		{"none", func(time.Time) string { return "" }, 0},
		{"seconds", func(time.Time) string { return " 17 " }, 17 * time.Second},
		{"longest", func(time.Time) string { return "300" }, 5 * time.Minute},
		{"too long", func(time.Time) string { return "301" }, 5 * time.Minute},
		{"too many digits", func(time.Time) string { return "99999999999999999999" }, 5 * time.Minute},
		{"negative", func(time.Time) string { return "-1" }, 0},
		{"word", func(time.Time) string { return "soon" }, 0},
		{"date", func(now time.Time) string { return now.Add(90 * time.Second).UTC().Format(http.TimeFormat) }, 90 * time.Second},
		{"distant date", func(now time.Time) string { return now.Add(time.Hour).UTC().Format(http.TimeFormat) }, 5 * time.Minute},
		{"past date", func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(*http.Request) (*http.Response, error) {
					return respond(429, `{}`, http.Header{"Retry-After": {tt.header(time.Now())}}), nil
				})
				got := apiErrorOf(t, client)
				if diff := cmp.Diff(&searchtoken.APIError{StatusCode: 429, RetryAfter: tt.want}, got); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				if got := searchtoken.RetryAfter(got); got != tt.want {
					t.Errorf("RetryAfter() = %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestClientReportsAnAnswerThatIsCutOff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("X-Request-ID", "id-1")
		io.WriteString(w, `{"token":"a.b.c"`)
	}))
	defer server.Close()
	want := &searchtoken.APIError{StatusCode: 200, Message: "the answer was cut off", RequestID: "id-1"}
	if diff := cmp.Diff(want, apiErrorOf(t, newClient(t, searchtoken.ClientConfig{PlatformURL: server.URL}))); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestClientReportsTheStatusOfAStalledAnswer has an answer with a header and a
// body without end.
func TestClientReportsTheStatusOfAStalledAnswer(t *testing.T) {
	for _, tt := range []struct {
		status     int
		retryAfter string
		want       *searchtoken.APIError // nil: the error is a timeout
	}{
		{200, "", nil},
		{403, "", &searchtoken.APIError{StatusCode: 403, Message: "the answer was cut off"}},
		{429, "120", &searchtoken.APIError{StatusCode: 429, Message: "the answer was cut off", RetryAfter: 2 * time.Minute}},
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(r *http.Request) (*http.Response, error) {
					resp := respond(tt.status, "", http.Header{"Retry-After": {tt.retryAfter}})
					resp.Body = stalledBody(r.Context())
					return resp, nil
				})
				if diff := cmp.Diff(tt.want, apiErrorOf(t, client)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestClientErrorsShowNoSecret has a server that answers with what it received,
// in ways that net/http takes for malformed.
func TestClientErrorsShowNoSecret(t *testing.T) {
	for _, format := range []string{
		"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"%s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
	} {
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
			client := newClient(t, searchtoken.ClientConfig{PlatformURL: "http://" + listener.Addr().String()})
			_, err = client.Issue(t.Context(), jsmith)
			if err == nil {
				t.Fatal("no error")
			}
			checkHidden(t, fmt.Sprintf("%v %+v", err, client), apiKey, "jsmith", "OFFICE")
		})
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	follow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	for _, tt := range []struct {
		name       string
		httpClient *http.Client
	}{{"default client", nil}, {"client that follows redirects", follow}} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(tt.name, " ", status), func(t *testing.T) {
				var followed atomic.Bool
				elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
				defer elsewhere.Close()
				server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
				defer server.Close()
				cfg := searchtoken.ClientConfig{PlatformURL: server.URL, HTTPClient: tt.httpClient}
				if got := apiErrorOf(t, newClient(t, cfg)); got == nil || got.StatusCode != status {
					t.Errorf("Issue() = %v, want an APIError with the status %d", got, status)
				}
				if followed.Load() {
					t.Error("the redirect was followed, with the API key")
				}
			})
		}
	}
}

// TestClientReusesConnections makes several calls at once, in two rounds. The
// second round needs no other connections than the first one.
func TestClientReusesConnections(t *testing.T) {
	const calls = 5
	for _, status := range []int{200, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var opened atomic.Int32
			var arrived sync.WaitGroup
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				arrived.Done()
				arrived.Wait() // all calls are in flight at the same time
				w.WriteHeader(status)
				io.WriteString(w, `{"token":"a.b.c"}`)
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			server.Start()
			defer server.Close()
			client := newClient(t, searchtoken.ClientConfig{PlatformURL: server.URL})
			for range 2 {
				arrived.Add(calls)
				var round sync.WaitGroup
				for range calls {
					round.Go(func() {
						if _, err := client.Issue(t.Context(), jsmith); (err == nil) != (status == 200) {
							t.Errorf("Issue() = %v", err)
						}
					})
				}
				round.Wait()
			}
			if got := opened.Load(); got != calls {
				t.Errorf("two rounds of %d calls opened %d connections, want %[1]d", calls, got)
			}
		})
	}
}

func TestClientCallEndsAfterItsTimeout(t *testing.T) {
	noAnswer := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	stalled := func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: stalledBody(r.Context())}, nil
	}
	slowCredential := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	for _, tt := range []struct {
		name       string
		transport  roundTripper
		credential func(context.Context) (string, error)
		timeout    time.Duration
		want       time.Duration
	}{
		{"no answer", noAnswer, nil, 0, 10 * time.Second},
		{"answer without end", stalled, nil, 0, 10 * time.Second},
		{"Credential that hangs", noAnswer, slowCredential, 0, 10 * time.Second},
		{"client with a timeout", noAnswer, nil, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newClient(t, searchtoken.ClientConfig{
					Credential: tt.credential,
					HTTPClient: &http.Client{Transport: tt.transport, Timeout: tt.timeout},
				})
				started := time.Now()
				_, err := client.Issue(t.Context(), jsmith)
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

func TestClientHonorsTheProxyOfTheEnvironment(t *testing.T) {
	received := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	transport := http.DefaultTransport.(*http.Transport)
	old := transport.Proxy
	defer func() { transport.Proxy = old }()
	// net/http reads the environment once per process, so this replaces the
	// result.
	transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	if _, err := newClient(t, searchtoken.ClientConfig{}).Issue(t.Context(), jsmith); err == nil {
		t.Error("Issue() succeeded through a proxy that refuses")
	}
	if got, want := <-received, "CONNECT acme.org.coveo.com:443"; got != want {
		t.Errorf("the proxy received %s, want %s", got, want)
	}
}

func TestCredentialIsCalledForEachCall(t *testing.T) {
	sealed := errors.New("vault sealed for " + apiKey)
	tests := []struct {
		key  string
		err  error
		sent bool
	}{{"first", nil, true}, {"second", nil, true}, {"bad key", nil, false}, {"", nil, false}, {"third", sealed, false}}
	n := 0
	var sent []string
	client := newClient(t, searchtoken.ClientConfig{
		Credential: func(context.Context) (string, error) {
			n++
			return tests[n-1].key, tests[n-1].err
		},
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get("Authorization"))
			return respond(200, `{"token":"a.b.c"}`, nil), nil
		})},
	})
	var want []string
	for _, tt := range tests {
		_, err := client.Issue(t.Context(), jsmith)
		if (err == nil) != tt.sent || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("key %q: %v", tt.key, err)
		}
		if err != nil {
			checkHidden(t, err.Error(), apiKey, "bad key")
		}
		if tt.sent {
			want = append(want, "Bearer "+tt.key)
		}
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("keys sent (-want +got):\n%s", diff)
	}
}

func TestAccessTokenExpires(t *testing.T) {
	for _, tt := range []struct {
		name    string
		expires time.Duration // from now; 0: the zero time
		want    time.Duration
	}{
		{"known", time.Hour, time.Hour},
		{"unknown", 0, 4 * time.Hour},
		{"after a session of Coveo's platform", 24 * time.Hour, 4 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var expires time.Time
				if tt.expires != 0 {
					expires = start.Add(tt.expires)
				}
				issuer := searchtoken.AccessToken(secret, expires)
				time.Sleep(time.Minute)
				got, err := issuer.Issue(t.Context(), jsmith)
				if err != nil {
					t.Fatal(err)
				}
				want := searchtoken.Token{
					Value: secret, Issued: start.Add(time.Minute).Round(0), Expiry: start.Add(tt.want).Round(0),
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("token (-want +got):\n%s", diff)
				}
				time.Sleep(tt.want - time.Minute)
				got, err = issuer.Issue(t.Context(), jsmith)
				if err == nil {
					t.Fatalf("Issue() = %v after its expiry", got)
				}
				checkHidden(t, fmt.Sprintf("%v %+v %#v", err, issuer, issuer), secret)
			})
		})
	}
}

// blackHole is a TCP proxy in front of a server. From some moment on, it
// swallows everything that is sent on its first connection, which stays open.
type blackHole struct {
	net.Listener
	swallows atomic.Bool
}

// newBlackHole returns a blackHole in front of the server at an address.
func newBlackHole(t *testing.T, server string) *blackHole {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackHole{Listener: listener}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for first := true; ; first = false {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				return
			}
			t.Cleanup(func() { client.Close(); upstream.Close() })
			for _, way := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				go b.pass(way[0], way[1], first)
			}
		}
	}()
	return b
}

// pass copies what comes from one connection to the other.
func (b *blackHole) pass(from, to net.Conn, first bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			to.Close()
			return
		}
		if first && b.swallows.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestDeadHTTP2ConnectionLosesNoCall takes 7 seconds of real time: a ping of
// HTTP/2 or the timeout of a handshake has to find out that the connection is
// dead.
func TestDeadHTTP2ConnectionLosesNoCall(t *testing.T) {
	const callers = 4
	type scene struct {
		client *searchtoken.Client
		hole   *blackHole
		dies   atomic.Bool // the connection dies when the server gets a call
	}
	proxied := func(t *testing.T, own *http.Client) *scene {
		s := &scene{}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("a call by %s", r.Proto)
			}
			if s.dies.Load() {
				s.hole.swallows.Store(true)
			}
			io.WriteString(w, `{"token":"a.b.c"}`)
		}))
		server.EnableHTTP2 = true
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that break off
		server.StartTLS()
		t.Cleanup(server.Close)
		s.hole = newBlackHole(t, server.Listener.Addr().String())
		// NewClient clones the default transport, which has to trust the
		// server.
		trusting := http.DefaultTransport.(*http.Transport).Clone()
		trusting.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		trusting.TLSClientConfig.NextProtos = nil
		defer func(transport http.RoundTripper) { http.DefaultTransport = transport }(http.DefaultTransport)
		http.DefaultTransport = trusting
		s.client = newClient(t, searchtoken.ClientConfig{PlatformURL: "https://" + s.hole.Addr().String(), HTTPClient: own})
		return s
	}
	issue := func(name string, s *scene) {
		began := time.Now()
		token, err := s.client.Issue(context.Background(), jsmith)
		if err != nil || token.Value != "a.b.c" {
			t.Errorf("%s: Issue() = %q, %v after %v", name, token.Value, err, time.Since(began))
		}
	}
	var group sync.WaitGroup // all cases at once, because they wait
	for _, tt := range []struct {
		name string
		used bool // a call has succeeded on the connection
		die  func(s *scene)
		own  *http.Client // the application's
	}{
		{"idle connection", true, func(s *scene) { s.hole.swallows.Store(true) }, nil},
		{"used connection, under the next calls", true, func(s *scene) { s.dies.Store(true) }, nil},
		{"connection of the first calls", false, func(s *scene) { s.dies.Store(true) }, nil},
		{"during the handshake", false, func(s *scene) { s.hole.swallows.Store(true) }, nil},
		{"client without a Transport", true, func(s *scene) { s.hole.swallows.Store(true) }, &http.Client{Timeout: 10 * time.Second}},
	} {
		s := proxied(t, tt.own)
		if tt.used {
			issue(tt.name, s)
		}
		tt.die(s)
		for range callers {
			group.Go(func() { issue(tt.name, s) })
		}
	}
	group.Wait()
}

// TestClosingConnectionLosesNoCall has a server that closes connections instead
// of answering.
func TestClosingConnectionLosesNoCall(t *testing.T) {
	// call is what the server knows about a call.
	type call struct {
		n          int // in all, from 1
		onConn     int // on its connection, from 1
		connection int // from 1
	}
	for _, tt := range []struct {
		name   string
		warm   int // calls at once before the others
		calls  int
		closes func(call) bool
		lost   int
		tries  int // 0: any number
	}{
		{"used connection, under each tenth call", 0, 200, func(c call) bool { return c.onConn > 1 && c.n%10 == 0 }, 0, 0},
		{"restart with eight idle connections", 8, 20, func(c call) bool { return c.onConn > 1 && c.connection <= 8 }, 0, 0},
		{"fresh connection", 0, 20, func(c call) bool { return c.connection == 1 }, 0, 21},
		{"every connection", 0, 5, func(call) bool { return true }, 5, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			type connKey struct{}
			type conn struct {
				number int
				calls  atomic.Int32
			}
			var conns, calls atomic.Int32
			var warm sync.WaitGroup
			warm.Add(tt.warm)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, sent := r.Header["Idempotency-Key"]; sent {
					t.Error("Idempotency-Key is sent")
				}
				c := r.Context().Value(connKey{}).(*conn)
				this := call{int(calls.Add(1)), int(c.calls.Add(1)), c.number}
				if this.n <= tt.warm {
					warm.Done()
					warm.Wait() // each has its own connection
				} else if tt.closes(this) {
					panic(http.ErrAbortHandler)
				}
				io.WriteString(w, `{"token":"a.b.c"}`)
			}))
			server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				return context.WithValue(ctx, connKey{}, &conn{number: int(conns.Add(1))})
			}
			server.Start()
			defer server.Close()
			client := newClient(t, searchtoken.ClientConfig{PlatformURL: server.URL})
			var lost atomic.Int32
			issue := func() {
				if _, err := client.Issue(t.Context(), jsmith); err != nil {
					lost.Add(1)
				}
			}
			var first sync.WaitGroup
			for range tt.warm {
				first.Go(issue)
			}
			first.Wait()
			for range tt.calls {
				issue()
			}
			if got := int(lost.Load()); got != tt.lost {
				t.Errorf("%d of %d calls were lost, want %d", got, tt.calls, tt.lost)
			}
			if got := int(calls.Load()); tt.tries != 0 && got != tt.tries {
				t.Errorf("the server got %d calls, want %d", got, tt.tries)
			}
		})
	}
}

// badKeys are API keys that cannot work, with a word of what the error says.
var badKeys = []struct{ name, key, says string }{
	{"newline", apiKey + "\n", "white space"},
	{"space in front", " " + apiKey, "white space"},
	{"space within", "xx0f6a2b1c 7d3e", "white space"},
	{"spaces only", "  ", "white space"},
	{"DEL", apiKey + "\x7f", "characters"},
	{"another alphabet", apiKey + "é", "characters"},
	{"no-break space", apiKey + "\u00a0", "characters"},
	{"typographic quotes", "“" + apiKey + "”", "characters"},
	{"double quotes", `"` + apiKey + `"`, "quotes"},
	{"single quotes", "'" + apiKey + "'", "quotes"},
	{"backquotes", "`" + apiKey + "`", "quotes"},
	{"quote at the end", apiKey + `"`, "quotes"},
	{"variable", "${COVEO_API_KEY}", "variable"},
	{"variable without braces", "$COVEO_API_KEY", "variable"},
	{"variable of a template", "{{.APIKey}}", "variable"},
	{"variable of Windows", "%COVEO_API_KEY%", "variable"},
	{"placeholder", "<your-api-key>", "placeholder"},
	{"Bearer", "Bearer " + apiKey, "Bearer"},
	{"bearer in lower case", "bearer " + apiKey, "Bearer"},
	{"Bearer and a tab", "Bearer\t" + apiKey, "Bearer"},
	{"Bearer alone", "Bearer", "Bearer"},
	{"header", "Authorization: Bearer " + apiKey, "Bearer"},
	{"line of a file", "COVEO_API_KEY=" + apiKey, "characters"},
}

func TestErrorSaysWhatIsWrongWithAnAPIKeyWithoutTheKey(t *testing.T) {
	for _, tt := range badKeys {
		t.Run(tt.name, func(t *testing.T) {
			errs := map[string]error{}
			_, errs["New"] = searchtoken.New(validConfig(func(c *searchtoken.Config) { c.APIKey = tt.key }))
			_, errs["NewClient"] = searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: tt.key})
			if strings.TrimSpace(tt.key) != "" && tt.key == strings.TrimSpace(tt.key) {
				client := newClient(t, searchtoken.ClientConfig{
					Credential: func(context.Context) (string, error) { return tt.key, nil },
					HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
						t.Error("Coveo is called")
						return nil, errDown
					})},
				})
				_, errs["Credential"] = client.Issue(t.Context(), jsmith)
				_, errs["AccessToken"] = searchtoken.AccessToken(tt.key, time.Time{}).Issue(t.Context(), jsmith)
			}
			for name, err := range errs {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
					continue
				}
				checkHidden(t, err.Error(), apiKey)
			}
		})
	}
}

func TestSecretsOfAFileMayEndWithANewline(t *testing.T) {
	for _, space := range []string{"", "\n", "\r\n", " \n", "\n\n"} {
		t.Run(fmt.Sprintf("%q", space), func(t *testing.T) {
			var sent string
			client := newClient(t, searchtoken.ClientConfig{
				Credential: func(context.Context) (string, error) { return apiKey + space, nil },
				HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					sent = r.Header.Get("Authorization")
					return respond(200, `{"token":"a.b.c"}`, nil), nil
				})},
			})
			if _, err := client.Issue(t.Context(), jsmith); err != nil || sent != "Bearer "+apiKey {
				t.Errorf("Issue: %v, sent %q", err, sent)
			}
			token, err := searchtoken.AccessToken(secret+space, time.Time{}).Issue(t.Context(), jsmith)
			if err != nil || token.Value != secret {
				t.Errorf("AccessToken: %q, %v", token.Value, err)
			}
		})
	}
}

// TestHintNamesTheLikelyCauseOfARefusal looks for the hint in the log line of a
// failed fetch.
func TestHintNamesTheLikelyCauseOfARefusal(t *testing.T) {
	const key = "is the API key one of the Authenticated search template, and of this organization?"
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"key that Coveo does not know", `{"message":"Invalid access token.","errorCode":"UNAUTHORIZED"}`, 401, key},
		{"key without the privilege", `{"message":"Forbidden","type":"AccessDeniedException"}`, 403, key},
		{"key that has expired", `{"message":"The API key has Expired."}`, 401, "has the API key expired?"},
		{
			"key that was disabled", `{"type":"DISABLED_FOR_INACTIVITY"}`, 403,
			"is the API key disabled, because nobody used it for long or because it was exposed?",
		},
		{"organization that is paused", `{"errorCode":"ORGANIZATION_PAUSED"}`, 500, "is the organization paused?"},
		{
			"organization that does not exist", `{"type":"OrganizationNotFoundException"}`, 404,
			"are OrganizationID, Environment and PlatformURL right?",
		},
		{"redirect", ``, 302, "does another server than Coveo answer at PlatformURL, or a proxy on the way?"},
		{"refusal of a firewall", `{"message":"Blocked by the firewall."}`, 403, ""},
		{"request that Coveo refuses", `{"message":"The filter has expired."}`, 400, ""},
		{"throttled", `{}`, 429, ""},
		{"down", `{}`, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{APIKey: apiKey, HTTPClient: &http.Client{
					Transport: roundTripper(func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body, nil), nil }),
				}})
				h.get("ann")
				_, hint, _ := strings.Cut(h.log.take()[0], " hint=")
				if got := strings.Trim(hint, `"`); got != tt.want {
					t.Errorf("hint %q, want %q", got, tt.want)
				}
			})
		})
	}
}
