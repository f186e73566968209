package searchtoken_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestCheckSaysWhatIsWrong(t *testing.T) {
	answer := func(status int, body string, ahead time.Duration) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) {
			resp := respond(status, body, nil)
			if resp.Header == nil {
				resp.Header = http.Header{}
			}
			resp.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return resp, nil
		})
	}
	fails := func(err error) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
	}
	const token = `{"token":"a.b.c"}`
	for _, tt := range []struct {
		name     string
		upstream http.RoundTripper
		want     string // a part of the error; "": no error
	}{
		{"everything is right", answer(200, token, 0), ""},
		{"clock that differs a little", answer(200, token, 110*time.Second), ""},
		{"clock that is behind", answer(200, token, 10*time.Minute), "the clock of this machine is 10m"},
		{"clock that is ahead", answer(200, token, -10*time.Minute), "ahead of Coveo's"},
		{"wrong key", answer(401, `{"message":"Invalid access token."}`, 0), "is the API key one of the Authenticated search template"},
		{"answer without a token", answer(200, `{}`, 0), "searchtoken: Check: Coveo answered 200 OK"},
		{"throttled", answer(429, `{}`, 0), "searchtoken: Check: Coveo answered 429 Too Many Requests"},
		{
			"host that does not exist", fails(&net.DNSError{Err: "no such host", Name: "acme.org.coveo.com", IsNotFound: true}),
			"no such host (are OrganizationID, Environment and PlatformURL right",
		},
		{"certificate", fails(&tls.CertificateVerificationError{Err: errors.New("x509: unknown authority")}), "(does this machine trust the certificate"},
		{"no TLS", fails(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "(does the host speak TLS at this port?)"},
		{"connection refused", fails(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), "connection refused"},
		{"no answer", roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), "(does a firewall block the host, or is HTTPS_PROXY missing?)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{APIKey: apiKey, HTTPClient: &http.Client{Transport: tt.upstream}})
				err := h.middleware.Check(h.Context())
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("Check() = %v", err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("Check() = %v, want an error with %q", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), apiKey) {
					t.Errorf("Check() = %v, which contains the API key", err)
				}
			})
		})
	}
}

func TestCheckAsksForTheRoutesTokenAndKeepsNothing(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{
			Params:  searchtoken.TokenParams{Filter: "@source==kb"},
			Prepare: func(*http.Request, *searchtoken.TokenParams) error { return errApplication },
		}})
		if err := h.middleware.Check(h.Context()); err != nil {
			t.Fatal(err)
		}
		got := h.issuer.params()
		if len(got) != 1 || got[0].Filter != "@source==kb" || got[0].UserIDs[0].Name != "anonymous" || h.memory.Len() != 0 {
			t.Errorf("Issuer got %+v, cached %d, want one anonymous request with the filter, and nothing cached", got, h.memory.Len())
		}
	})
}

func TestCheckOfAnIssuerOfYourOwn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token searchtoken.Token
		err   error
		want  string
	}{
		{"token", searchtoken.Token{Value: "a.b.c"}, nil, ""},
		{"error", searchtoken.Token{}, errors.New("no vault for ann@example.com"), "searchtoken: Check: no vault for [redacted]"},
		{"empty token", searchtoken.Token{}, nil, "the issuer returned an empty token"},
		{"expired token", searchtoken.Token{Value: "a", Issued: time.Unix(1, 0), Expiry: time.Unix(2, 0)}, nil, "the issuer returned an expired token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{
				answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
					return tt.token, tt.err
				},
			}})
			if err := m.Check(t.Context()); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFailedCheckHoldsNothingBack(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 401})
		if err := h.middleware.Check(h.Context()); err == nil {
			t.Fatal("Check succeeded")
		}
		h.issuer.fail(nil)
		if got := h.get("ann"); got.Status != 200 {
			t.Errorf("status %d after a Check that failed", got.Status)
		}
	})
}

func TestCheckAgainstTheStandIn(t *testing.T) {
	platform := httptest.NewServer(searchtokentest.New(searchtokentest.Config{}))
	defer platform.Close()
	for _, tt := range []struct{ name, organization, key, want string }{
		{"right", searchtokentest.DefaultOrganizationID, searchtokentest.DefaultAPIKey, ""},
		{"wrong key", searchtokentest.DefaultOrganizationID, apiKey, "is the API key one of the Authenticated search template"},
		{"wrong organization", "other", searchtokentest.DefaultAPIKey, "are OrganizationID, Environment and PlatformURL right?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{OrganizationID: tt.organization, APIKey: tt.key, PlatformURL: platform.URL})
			if err := m.Check(t.Context()); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check() = %v, want %q", err, tt.want)
			}
		})
	}
}
