package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/searchtoken/searchtoken"
)

const (
	queryTimeout = 10 * time.Second
	maxAnswer    = 4 << 20 // bytes
	maxResults   = 20

	statusExpiredToken = 419 // Coveo's own
)

// errTokenRejected is what query returns when another token may do better.
var errTokenRejected = errors.New("the Search API rejected the token")

// plainView is what the plain page shows.
type plainView struct {
	Query  string
	Answer answer
	Error  string // in place of an answer
}

// answer is the part of the Search API's answer that is shown.
type answer struct {
	Total   int      `json:"totalCount"`
	Results []result `json:"results"`
}

type result struct {
	Title   string `json:"title"`
	Link    string `json:"clickUri"`
	Excerpt string `json:"excerpt"`
}

// plain serves the page that needs no JavaScript: the server searches in its
// place, and the token never leaves the server.
func (s *Site) plain(w http.ResponseWriter, r *http.Request) {
	v := s.newView(r)
	v.Plain.Query = r.URL.Query().Get("q")
	status := http.StatusOK
	var err error
	v.Plain.Answer, err = s.query(r.Context(), v.Coveo, v.Plain.Query)
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		return // the visitor has left
	case errors.Is(err, errTokenRejected):
		// Without this the token would stay in use until it expires.
		s.forget(r.Context(), v.Coveo.Identity)
		s.logger.WarnContext(r.Context(), "site: the query failed; the next one gets another token", "error", err)
		v.Plain.Error, status = "The search did not work this time. Please try again.", http.StatusServiceUnavailable
	default:
		s.logger.ErrorContext(r.Context(), "site: the query failed", "error", err)
		v.Plain.Error, status = errorTexts[http.StatusServiceUnavailable], http.StatusBadGateway
	}
	s.render(w, r, status, "plain", v)
}

// query searches as the page's user. What the platform says in an error is not
// repeated: it may repeat the query, or worse.
func (s *Site) query(ctx context.Context, page *searchtoken.Page, q string) (answer, error) {
	body, err := json.Marshal(map[string]any{"q": q, "numberOfResults": maxResults})
	if err != nil {
		return answer{}, err
	}
	endpoint := page.PlatformURL + "/rest/search/v2?organizationId=" + url.QueryEscape(page.OrganizationID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	page.Token.SetAuthHeader(req)

	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, statusExpiredToken:
		return answer{}, fmt.Errorf("%w: %s", errTokenRejected, resp.Status)
	default:
		return answer{}, fmt.Errorf("the Search API answered %s", resp.Status)
	}
	var a answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("the answer of the Search API: %w", err)
	}
	return a, nil
}

// newClient is base with a time-out, and without redirects: none is expected of
// the Search API.
func newClient(base *http.Client) *http.Client {
	client := http.Client{}
	if base != nil {
		client = *base
	}
	if client.Timeout == 0 {
		client.Timeout = queryTimeout
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}
