package site

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/searchtoken/searchtoken"
)

const (
	searchTimeout = 10 * time.Second
	maxResponse   = 4 << 20 // bytes
	maxResults    = 20
)

// searchResponse is the part of the Search API's response that the page shows.
type searchResponse struct {
	Total   int            `json:"totalCount"`
	Results []searchResult `json:"results"`
}

type searchResult struct {
	Title   string `json:"title"`
	Link    string `json:"clickUri"`
	Excerpt string `json:"excerpt"`
}

// search sends a query. The client adds the token of the page in ctx. Errors do
// not quote the response, which may contain the query and personal data.
func (s *Site) search(ctx context.Context, page *searchtoken.Page, query string) (searchResponse, error) {
	body, err := json.Marshal(map[string]any{"q": query, "numberOfResults": maxResults})
	if err != nil {
		return searchResponse{}, err
	}
	endpoint := page.PlatformURL + "/rest/search/v2?organizationId=" + url.QueryEscape(page.OrganizationID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return searchResponse{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")

	resp, err := s.searchClient.Do(req)
	if err != nil {
		return searchResponse{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return searchResponse{}, fmt.Errorf("the Search API answered %s", resp.Status)
	}
	var results searchResponse
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxResponse)).Decode(&results); err != nil {
		return searchResponse{}, fmt.Errorf("cannot decode the response of the Search API: %w", err)
	}
	return results, nil
}

// newSearchClient returns a copy of base that adds the token of the page in a
// request's context, and renews it if Coveo rejects it. The client has a
// timeout, and follows no redirects: the Search API sends none. If base is nil,
// its transport is newSearchTransport.
func newSearchClient(coveo *searchtoken.Middleware, base *http.Client) *http.Client {
	client := http.Client{Transport: newSearchTransport()}
	if base != nil {
		client = *base
	}
	client.Transport = coveo.Transport(client.Transport)
	if client.Timeout == 0 {
		client.Timeout = searchTimeout
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// newSearchTransport returns a transport that notices dead connections, or nil
// if [http.DefaultTransport] is not net/http's own.
func newSearchTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil
	}
	t = t.Clone()
	// Pings find a dead HTTP/2 connection within 7 seconds, so that one query
	// fails, not all queries of the next minutes.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second}
	return t
}
