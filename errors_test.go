package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// sentinels are the errors that a caller tests for.
var sentinels = []error{
	searchtoken.ErrNoIdentity, searchtoken.ErrSession, searchtoken.ErrUnavailable, searchtoken.ErrRefused,
}

// errApplication is an error of the application. Visitors must not see its
// text.
var errApplication = errors.New("text of the application")

// firstRetry stands for the Retry-After header after one failure: a second and
// its jitter, rounded up.
const firstRetry = "1 or 2"

// failure is a reason why a request gets no token.
type failure struct {
	name     string
	user     string // logged in, unless Identify is set
	identify searchtoken.IdentityFunc
	prepare  func(*http.Request, *searchtoken.TokenParams) error
	answer   func() (searchtoken.Token, error) // of the Issuer; nil: a good token

	status     int
	retryAfter string // the Retry-After header, or firstRetry
	is         error  // the sentinel that the error is; nil if it is not a sentinel
	text       string // of the error
}

func (f failure) config() searchtoken.Config {
	cfg := searchtoken.Config{Identify: f.identify, Route: searchtoken.Route{Prepare: f.prepare}}
	if f.answer != nil {
		cfg.Issuer = &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return f.answer()
		}}
	}
	return cfg
}

// failures are all reasons why a request gets no token, except those that need
// earlier requests.
func failures() []failure {
	identity := func(id searchtoken.Identity, err error) searchtoken.IdentityFunc {
		return func(*http.Request) (searchtoken.Identity, error) { return id, err }
	}
	prepare := func(
		change func(*searchtoken.TokenParams), err error,
	) func(*http.Request, *searchtoken.TokenParams) error {
		return func(_ *http.Request, p *searchtoken.TokenParams) error {
			change(p)
			return err
		}
	}
	nothing := func(*searchtoken.TokenParams) {}
	issue := func(err error) func() (searchtoken.Token, error) {
		return func() (searchtoken.Token, error) { return searchtoken.Token{}, err }
	}
	api := func(status int) func() (searchtoken.Token, error) {
		return issue(&searchtoken.APIError{StatusCode: status})
	}
	ended, badName := searchtoken.Email("ann"), searchtoken.Email("ann")
	ended.Expires = time.Unix(1, 0)
	badName.DisplayName = "\xff"
	const (
		badIdentity = "searchtoken: Identify returned an identity that Coveo would refuse: "
		refused     = "searchtoken: Coveo refuses the token request: "
		unavailable = "searchtoken: no search token available: "
	)
	return []failure{
		{
			name:   "nobody is logged in",
			status: 401, is: searchtoken.ErrNoIdentity, text: "searchtoken: nobody is logged in",
		},
		{
			name: "Identify says why nobody is logged in",
			identify: identity(searchtoken.Identity{},
				fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, errApplication)),
			status: 401, is: searchtoken.ErrNoIdentity,
			text: "searchtoken: nobody is logged in: text of the application",
		},
		{
			name: "session that has ended", identify: identity(ended, nil),
			status: 401, is: searchtoken.ErrNoIdentity, text: "searchtoken: nobody is logged in: the session has ended",
		},
		{
			name: "Identify fails", identify: identity(searchtoken.Identity{}, errApplication),
			status: 500, text: "text of the application",
		},
		{
			name: "session store fails",
			identify: identity(searchtoken.Identity{},
				fmt.Errorf("%w: %w", searchtoken.ErrSession, errApplication)),
			status: 500, is: searchtoken.ErrSession,
			text: "searchtoken: the session store failed: text of the application",
		},
		{
			name: "identity without a user", identify: identity(searchtoken.Identity{}, nil),
			status: 500, text: badIdentity + "UserIDs: at least one security identity is required",
		},
		{
			name:     "identity without a provider",
			identify: identity(searchtoken.Identity{UserIDs: []searchtoken.UserID{{Name: "ann"}}}, nil),
			status:   500, text: badIdentity + "UserIDs[0].Provider: must not be empty",
		},
		{
			name: "identity with invalid UTF-8", identify: identity(badName, nil),
			status: 500, text: badIdentity + "UserDisplayName: must be valid UTF-8",
		},
		{
			name: "Prepare fails", user: "ann", prepare: prepare(nothing, errApplication),
			status: 500, text: "searchtoken: Prepare: text of the application",
		},
		{
			name: "Prepare finds nobody logged in", user: "ann", prepare: prepare(nothing, searchtoken.ErrNoIdentity),
			status: 401, is: searchtoken.ErrNoIdentity, text: "searchtoken: Prepare: nobody is logged in",
		},
		{
			name: "Prepare has no session", user: "ann", prepare: prepare(nothing, searchtoken.ErrSession),
			status: 500, is: searchtoken.ErrSession, text: "searchtoken: Prepare: the session store failed",
		},
		{
			name: "Prepare is refused by another upstream", user: "ann",
			prepare: prepare(nothing, searchtoken.ErrUnavailable),
			status:  503, is: searchtoken.ErrUnavailable, text: "searchtoken: Prepare: no search token available",
		},
		{
			name: "Prepare sets bad parameters", user: "ann",
			prepare: prepare(func(p *searchtoken.TokenParams) { p.ValidFor, p.UserIDs = 1, nil }, nil),
			status:  500,
			text: "searchtoken: Prepare returned parameters that Coveo would refuse: " +
				"UserIDs: at least one security identity is required\n" +
				"ValidFor: 1ns is not between 15m and 24h; 0 is Coveo's default, 24h",
		},
		{
			name: "redirect", user: "ann", answer: api(302),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused, text: refused + "Coveo answered 302 Found",
		},
		{
			name: "bad request", user: "ann",
			answer: issue(&searchtoken.APIError{StatusCode: 400, Type: "T", Message: "m", RequestID: "r"}),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused,
			text: refused + "Coveo answered 400 Bad Request: T: m (X-Request-ID r)",
		},
		{
			name: "wrong key", user: "ann", answer: api(401),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused,
			text: refused + "Coveo answered 401 Unauthorized",
		},
		{
			name: "no privilege", user: "ann", answer: api(403),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused,
			text: refused + "Coveo answered 403 Forbidden",
		},
		{
			name: "unknown organization", user: "ann", answer: api(404),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused,
			text: refused + "Coveo answered 404 Not Found",
		},
		{
			name: "no token in the answer", user: "ann", answer: issue(nil),
			status: 502, retryAfter: firstRetry, is: searchtoken.ErrRefused,
			text: refused + "Coveo answered 200 OK: the issuer returned an empty token",
		},
		{
			name: "too many requests", user: "ann",
			answer: issue(&searchtoken.APIError{StatusCode: 429, RetryAfter: 90 * time.Second}),
			status: 503, retryAfter: "90", is: searchtoken.ErrUnavailable,
			text: unavailable + "Coveo answered 429 Too Many Requests",
		},
		{
			name: "failure of Coveo", user: "ann", answer: api(500),
			status: 503, retryAfter: firstRetry, is: searchtoken.ErrUnavailable,
			text: unavailable + "Coveo answered 500 Internal Server Error",
		},
		{
			name: "Coveo cannot be reached", user: "ann", answer: issue(errApplication),
			status: 503, retryAfter: firstRetry, is: searchtoken.ErrUnavailable,
			text: unavailable + "text of the application",
		},
	}
}

func TestErrorsKeepTheirKindWhenTheyAreWrapped(t *testing.T) {
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				cfg := f.config()
				if cfg.Issuer == nil {
					cfg.Issuer = h.issuer
				}
				cfg.Optional = true
				h.configure(cfg)
				page, _ := pageOf(h.middleware, request(f.user))
				if page.Err == nil {
					t.Fatal("Page.Err is nil")
				}
				if diff := cmp.Diff(f.text, page.Err.Error()); diff != "" {
					t.Errorf("text (-want +got):\n%s", diff)
				}
				for _, err := range []error{page.Err, fmt.Errorf("page: %w", page.Err), errors.Join(io.EOF, page.Err)} {
					if got := searchtoken.HTTPStatus(err); got != f.status {
						t.Errorf("HTTPStatus(%q) = %d, want %d", err, got, f.status)
					}
					after := searchtoken.RetryAfter(err)
					if got := after > 0; got != (f.retryAfter != "") {
						t.Errorf("RetryAfter(%q) = %v, want one: %v", err, after, f.retryAfter != "")
					}
					var is []error
					for _, sentinel := range sentinels {
						if errors.Is(err, sentinel) {
							is = append(is, sentinel)
						}
					}
					var want []error
					if f.is != nil {
						want = append(want, f.is)
					}
					if !slices.Equal(is, want) {
						t.Errorf("%q is %q, want %q", err, is, want)
					}
				}
			})
		})
	}
}

// issueError returns the error of a page whose Issuer returned err.
func issueError(t *testing.T, err error) error {
	t.Helper()
	page, _ := pageOf(newMiddleware(t, searchtoken.Config{
		Issuer: &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{}, err
		}},
		Route: searchtoken.Route{Optional: true},
	}), request("ann"))
	return page.Err
}

func TestErrorWrapsTheAnswerOfCoveo(t *testing.T) {
	for _, status := range []int{400, 429} {
		want := &searchtoken.APIError{StatusCode: status, Message: "m", RetryAfter: time.Minute}
		var got *searchtoken.APIError
		err := issueError(t, fmt.Errorf("custom issuer: %w", want))
		if !errors.As(err, &got) || got != want {
			t.Errorf("error %v wraps %v, want the Issuer's APIError", err, got)
		}
	}
}

func TestEveryErrorNamesThePackageOnce(t *testing.T) {
	check := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if text := err.Error(); strings.Count(text, "searchtoken: ") != 1 ||
			!strings.HasPrefix(text, "searchtoken: ") {
			t.Errorf("%s: %q does not have \"searchtoken: \" once, at its start", name, text)
		}
	}
	for _, f := range failures() {
		if f.text != errApplication.Error() {
			cfg := f.config()
			cfg.Optional = true
			page, _ := pageOf(newMiddleware(t, cfg), request(f.user))
			check(f.name, page.Err)
		}
	}
	for _, err := range sentinels {
		check("sentinel", err)
		check("Issuer", issueError(t, fmt.Errorf("custom issuer: %w", err)))
	}
	for _, status := range []int{200, 400, 503} {
		check("APIError", &searchtoken.APIError{StatusCode: status, Message: "m"})
		check("Issuer", issueError(t, fmt.Errorf("custom issuer: %w", &searchtoken.APIError{StatusCode: status})))
	}
	_, err := searchtoken.New(searchtoken.Config{})
	check("New", err)
	check("Issuer that is misconfigured", issueError(t, err))
	_, err = searchtoken.NewClient(searchtoken.ClientConfig{})
	check("NewClient", err)
	check("Validate", searchtoken.TokenParams{}.Validate())
	_, err = newMiddleware(t, searchtoken.Config{}).With(func(r *searchtoken.Route) { r.RenewURL = "x" })
	check("With", err)
	check("Forget of nobody", newMiddleware(t, searchtoken.Config{}).Forget(t.Context(), searchtoken.Identity{}))
	broken := &cache{}
	broken.fail(fmt.Errorf("%w: down", searchtoken.ErrUnavailable), "Forget")
	check("Forget", newMiddleware(t, searchtoken.Config{Cache: broken}).Forget(t.Context(), searchtoken.Email("ann")))
	_, err = searchtoken.AccessToken("a", time.Unix(1, 0)).Issue(t.Context(), jsmith)
	check("AccessToken", err)
	for _, tt := range []struct {
		name       string
		credential func(context.Context) (string, error)
		upstream   roundTripper
	}{
		{"Credential fails", func(context.Context) (string, error) { return "", errApplication }, nil},
		{"Credential returns no key", func(context.Context) (string, error) { return "", nil }, nil},
		{"network fails", nil, func(*http.Request) (*http.Response, error) { return nil, errApplication }},
	} {
		client := newClient(t, searchtoken.ClientConfig{
			Credential: tt.credential, HTTPClient: &http.Client{Transport: tt.upstream},
		})
		_, err := client.Issue(t.Context(), jsmith)
		check(tt.name, err)
		check(tt.name+", in a page", issueError(t, err))
	}
}

func TestAPIErrorSaysWhatCoveoAnswered(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  searchtoken.APIError
		want string
	}{
		{
			"everything", searchtoken.APIError{StatusCode: 403, Type: "T", Message: "m", RequestID: "r"},
			"searchtoken: Coveo answered 403 Forbidden: T: m (X-Request-ID r)",
		},
		{"status", searchtoken.APIError{StatusCode: 500}, "searchtoken: Coveo answered 500 Internal Server Error"},
		{"status of Coveo", searchtoken.APIError{StatusCode: 419, Message: "m"}, "searchtoken: Coveo answered 419: m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.err.Error()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusAndRetryAfterOfAnError(t *testing.T) {
	api := func(status int, after time.Duration) error {
		return &searchtoken.APIError{StatusCode: status, RetryAfter: after}
	}
	both := fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, api(503, time.Second))
	for _, tt := range []struct {
		name       string
		err        error
		status     int
		retryAfter time.Duration
	}{
		{"nil", nil, 200, 0},
		{"unknown", errApplication, 500, 0},
		{"no identity", searchtoken.ErrNoIdentity, 401, 0},
		{"no identity because of an answer", both, 401, time.Second},
		{"session", searchtoken.ErrSession, 500, 0},
		{"session because of an answer", fmt.Errorf("%w: %w", searchtoken.ErrSession, api(429, 0)), 500, 0},
		{"unavailable", searchtoken.ErrUnavailable, 503, 0},
		{"refused", searchtoken.ErrRefused, 502, 0},
		{"answer that refuses", api(403, 0), 502, 0},
		{"answer without a token", api(200, 0), 502, 0},
		{"status below 500", api(499, 0), 502, 0},
		{"failure", api(500, 7*time.Second), 503, 7 * time.Second},
		{"too many requests", api(429, 5*time.Minute), 503, 5 * time.Minute},
		{"distant Retry-After", api(429, 1000*time.Hour), 503, 5 * time.Minute},
		{"negative Retry-After", api(429, -time.Second), 503, 0},
		{"redacted text", fmt.Errorf("page: %w", api(429, time.Second)), 503, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := searchtoken.HTTPStatus(tt.err); got != tt.status {
				t.Errorf("HTTPStatus() = %d, want %d", got, tt.status)
			}
			if got := searchtoken.RetryAfter(tt.err); got != tt.retryAfter {
				t.Errorf("RetryAfter() = %v, want %v", got, tt.retryAfter)
			}
		})
	}
}

func TestRetryAfterHeaderRoundsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			after time.Duration
			want  string
		}{{1500 * time.Millisecond, "2"}, {2 * time.Second, "2"}, {2*time.Second + 1, "3"}} {
			m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{err: func(string) error {
				return &searchtoken.APIError{StatusCode: 429, RetryAfter: tt.after}
			}}})
			if got := seen(get(m, request("ann"))).RetryAfter; got != tt.want {
				t.Errorf("Retry-After %q for %v, want %q", got, tt.after, tt.want)
			}
		}
	})
}

// TestAnIssuersErrorIsNeverTheErrorOfThePage has the Issuer return errors that
// say something else about a page.
func TestAnIssuersErrorIsNeverTheErrorOfThePage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		want   error
		status int
	}{
		{"nobody is logged in", fmt.Errorf("issuer: %w", searchtoken.ErrNoIdentity), searchtoken.ErrUnavailable, 503},
		{"the session store failed", searchtoken.ErrSession, searchtoken.ErrUnavailable, 503},
		{"refused, without an APIError", searchtoken.ErrRefused, searchtoken.ErrRefused, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
					return searchtoken.Token{}, tt.err
				}
				var got error
				h.configure(searchtoken.Config{Route: searchtoken.Route{
					ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { got = err },
				}})
				h.get("ann")
				check(h, "status", tt.status, searchtoken.HTTPStatus(got))
				check(h, "is the expected error", true, errors.Is(got, tt.want))
			})
		})
	}
}
