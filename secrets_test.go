package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

var errDirectory = errors.New("the directory failed")

// directoryError is an error of an application. Its text and its field are
// names.
type directoryError struct{ user string }

func (e *directoryError) Error() string { return "no user " + e.user }
func (e *directoryError) Unwrap() error { return errDirectory }

// annsNames are the names of Ann Lee in spellings of an upstream. Each of them
// contains "lee".
var annsNames = strings.Join([]string{
	`CORP\annlee`, `CORP\\annlee`, `CORP\\\\annlee`, `corp\AnnLee`, `CORP%5Cannlee`,
	`Ann Lee (R&D)`, `Ann Lee (R\u0026D)`, `ANN LEE (R&D)`, `Ann%20Lee%20%28R%26D%29`, `Ann+Lee+(R%26D)`, `Ann Lee (R&amp;D)`,
	`boss.lee@example.com`, `boss.lee\u0040example.com`, `boss.lee%40example.com`,
}, "; ")

// ann is the identity of Ann Lee.
func ann() searchtoken.Identity {
	id := searchtoken.Email(`CORP\annlee`)
	id.DisplayName = "Ann Lee (R&D)"
	return id
}

// texts returns the texts of err, and of all errors to which errors.Unwrap
// leads from it.
func textsOf(err error) (texts []string) {
	if err == nil {
		return nil
	}
	texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		texts = append(texts, textsOf(err.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			texts = append(texts, textsOf(err)...)
		}
	}
	var api *searchtoken.APIError
	if errors.As(err, &api) {
		texts = append(texts, fmt.Sprintf("%+v", *api))
	}
	return texts
}

// TestNoErrorLeadsToAName has each part of an application return an error with
// names, and looks at all that the application gets in return.
func TestNoErrorLeadsToAName(t *testing.T) {
	raw := fmt.Errorf("directory: %w", &directoryError{annsNames})
	identify := func(*http.Request) (searchtoken.Identity, error) { return ann(), nil }
	issue := func(h *harness, err error) searchtoken.Config {
		h.issuer.fail(err)
		return searchtoken.Config{Identify: identify}
	}
	for _, tt := range []struct {
		name      string
		configure func(h *harness) searchtoken.Config
		want      error // that errors.Is finds
		events    []string
	}{
		{"Issuer", func(h *harness) searchtoken.Config { return issue(h, raw) }, errDirectory, []string{"fetch 503", "miss 503"}},
		{"Issuer, as an APIError", func(h *harness) searchtoken.Config {
			return issue(h, fmt.Errorf("%w: %w", raw, &searchtoken.APIError{
				StatusCode: 400, Type: annsNames, Message: annsNames, RequestID: annsNames,
			}))
		}, searchtoken.ErrRefused, []string{"fetch 502", "miss 502"}},
		{"Issuer, wrong key", func(h *harness) searchtoken.Config {
			return issue(h, &searchtoken.APIError{StatusCode: 401, Message: annsNames})
		}, searchtoken.ErrRefused, []string{"fetch 502", "held_back 502", "miss 502"}},
		{"Issuer, from another Middleware", func(h *harness) searchtoken.Config {
			cfg := issue(h, raw)
			cfg.Issuer, h.issuer = h.issuer, &issuer{}
			_, err := newMiddleware(h.T, cfg).Page(request(""))
			return issue(h, err)
		}, searchtoken.ErrUnavailable, []string{"fetch 503", "miss 503"}},
		{"Identify, which knows the user", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) { return ann(), raw }}
		}, errDirectory, []string{"request_refused 500"}},
		{"Identify finds that nobody is logged in", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
				return ann(), fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, raw)
			}}
		}, searchtoken.ErrNoIdentity, []string{"request_refused 401"}},
		{"session store", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
				return ann(), fmt.Errorf("%w: %w", searchtoken.ErrSession, raw)
			}}
		}, searchtoken.ErrSession, []string{"request_refused 500"}},
		{"Prepare", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: identify, Route: searchtoken.Route{
				Prepare: func(*http.Request, *searchtoken.TokenParams) error { return raw },
			}}
		}, errDirectory, []string{"request_refused 500"}},
		{"Prepare, about another user", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: byHeader, Route: searchtoken.Route{
				Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
					p.CanSeeUserProfileOf, p.UserDisplayName = []string{ann().UserIDs[0].Name}, ann().DisplayName
					return raw
				},
			}}
		}, errDirectory, []string{"request_refused 500"}},
		{"cause of the request's context", func(h *harness) searchtoken.Config {
			h.issuer.slow(time.Hour)
			return searchtoken.Config{Identify: identify}
		}, errDirectory, []string{"miss 503"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				cfg := tt.configure(h)
				var errs []error
				cfg.ErrorHandler = func(_ http.ResponseWriter, _ *http.Request, err error) { errs = append(errs, err) }
				h.configure(cfg)
				ctx, cancel := context.WithCancelCause(h.Context())
				defer cancel(nil)
				h.background(func() {
					time.Sleep(time.Second)
					cancel(raw)
				})
				h.serve(request("zoe").WithContext(ctx))
				var kinds []string
				for _, e := range h.events.takeAll() {
					kinds = append(kinds, fmt.Sprint(e.Kind, " ", searchtoken.HTTPStatus(e.Err)))
					errs = append(errs, e.Err)
				}
				check(h, "events", tt.events, kinds)
				for _, err := range errs {
					if !errors.Is(err, tt.want) {
						h.Errorf("errors.Is does not find %q in %q", tt.want, err)
					}
					var directory *directoryError
					if errors.As(err, &directory) {
						h.Errorf("errors.As finds %v", directory)
					}
					for _, text := range append(textsOf(err), h.log.take()...) {
						if strings.Contains(strings.ToLower(text), "lee") {
							h.Errorf("an error leads to the text %s", text)
						}
					}
				}
			})
		})
	}
}

// TestARememberedErrorSaysNothingAboutItsUser has the calls for all users held
// back after Ann's call, and looks at Zoe's page.
func TestARememberedErrorSaysNothingAboutItsUser(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"APIError", &searchtoken.APIError{StatusCode: 401, Message: annsNames}},
		{"APIError in another error", fmt.Errorf("%w: %w", &directoryError{annsNames}, &searchtoken.APIError{StatusCode: 429})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.fail(tt.err)
				h.configure(searchtoken.Config{
					Identify: func(r *http.Request) (searchtoken.Identity, error) {
						if r.Header.Get("User") == "ann" {
							return ann(), nil
						}
						return byHeader(r)
					},
					Route: searchtoken.Route{Optional: true},
				})
				h.get("ann")
				page, _ := pageOf(h.middleware, request("zoe"))
				var api *searchtoken.APIError
				if !errors.As(page.Err, &api) || len(h.issuer.take()) != 1 {
					h.Errorf("Page.Err = %v, want the remembered answer of Coveo", page.Err)
				}
				for _, text := range textsOf(page.Err) {
					if strings.Contains(strings.ToLower(text), "lee") {
						h.Errorf("Zoe's error leads to the text %s", text)
					}
				}
			})
		})
	}
}

func TestTimeoutOfAnIssuerIsATimeoutOfThePage(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&net.OpError{Op: "dial", Net: annsNames, Err: context.DeadlineExceeded})
		h.configure(searchtoken.Config{Route: searchtoken.Route{Optional: true}})
		page, _ := pageOf(h.middleware, request("zoe"))
		var timeout net.Error
		if !errors.As(page.Err, &timeout) || !timeout.Timeout() || !errors.Is(page.Err, context.DeadlineExceeded) {
			h.Errorf("Page.Err = %v, want a timeout", page.Err)
		}
	})
}

// TestAnIssuersAnswerStaysAsItIs has an Issuer return the same APIError to all.
func TestAnIssuersAnswerStaysAsItIs(t *testing.T) {
	answer := searchtoken.APIError{StatusCode: 400, Message: "no ann"}
	returned := answer
	var got *searchtoken.APIError
	if err := issueError(t, &returned); !errors.As(err, &got) || got.Message != "no [redacted]" {
		t.Errorf("error %v, want a redacted copy", err)
	}
	check(t, "the Issuer's error", answer, returned)
	clean := &searchtoken.APIError{StatusCode: 400, Message: "no"}
	if err := issueError(t, clean); !errors.As(err, &got) || got != clean {
		t.Errorf("error %v, want the Issuer's own", err)
	}
}

func TestErrorsOfAClientAreRedacted(t *testing.T) {
	p := searchtoken.TokenParams{UserIDs: ann().UserIDs, UserDisplayName: ann().DisplayName}
	for _, tt := range []struct {
		name       string
		credential func(context.Context) (string, error)
		upstream   roundTripper
		want       error
	}{
		{"network", nil, func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("%w: %w", &directoryError{annsNames + r.Header.Get("Authorization")}, errDown)
		}, errDown},
		{"answer", nil, func(r *http.Request) (*http.Response, error) {
			return respond(400, fmt.Sprintf(`{"message":%q,"type":%q}`, annsNames, r.Header.Get("Authorization")), nil), nil
		}, nil},
		{"Credential", func(context.Context) (string, error) {
			return "key-of-Lee\n", fmt.Errorf("boss.lee@example.com: KEY-of-lee: %w", errDown)
		}, nil, errDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient(t, searchtoken.ClientConfig{
				Credential: tt.credential, HTTPClient: &http.Client{Transport: tt.upstream},
			})
			_, err := client.Issue(t.Context(), p)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v is not %v", err, tt.want)
			}
			for _, text := range textsOf(err) {
				if lower := strings.ToLower(text); strings.Contains(lower, "lee") || strings.Contains(lower, apiKey[:8]) {
					t.Errorf("an error leads to the text %s", text)
				}
			}
			var directory *directoryError
			if err == nil || errors.As(err, &directory) {
				t.Errorf("error %v", err)
			}
		})
	}
	if !slices.ContainsFunc(textsOf(errDown), func(s string) bool { return strings.Contains(s, "down") }) {
		t.Error("textsOf finds nothing")
	}
}
