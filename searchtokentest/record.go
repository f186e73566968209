package searchtokentest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Kind classifies the requests to a [Platform].
type Kind string

// The kinds of requests.
const (
	KindToken     Kind = "token"     // a token call
	KindSearch    Kind = "search"    // a query
	KindSuggest   Kind = "suggest"   // query suggestions
	KindAnswer    Kind = "answer"    // a generated answer, its evaluation, or an agent
	KindCommerce  Kind = "commerce"  // the Commerce API
	KindService   Kind = "service"   // insight panels and Case Assist
	KindAnalytics Kind = "analytics" // an event of Usage Analytics or of the Event Protocol
	KindIPX       Kind = "ipx"       // the loader of an In-Product Experience, or the page in its frame
	KindPreflight Kind = "preflight" // a CORS preflight for a request of any kind
	KindOther     Kind = "other"     // the other operations of the Search API, and unknown paths
)

// maxRecordedBody is the size limit of Request.Body, in bytes.
const maxRecordedBody = 64 << 10

// Request is a request that a [Platform] received. [Platform.Requests] returns
// deep copies, which the caller may modify.
//
// Query, Header and Body contain the API keys and tokens that the client sent.
// [Request.String] and the verbs %v, %+v, %#v and %s show none of them.
type Request struct {
	Kind   Kind
	Time   time.Time // when it arrived, according to time.Now without Config.ClockSkew
	Method string
	Host   string // with the port, if the URL has one
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte // at most the first 64 KiB

	// Claims are the claims of the search token in the request, even if it has
	// expired or was rejected. For [KindToken] they are the claims of the
	// issued token. Nil if there is no token with the platform's signature.
	Claims *Claims

	// SearchHub is the search hub in effect: the token's, or else the query's.
	// It is set for queries and query suggestions only.
	SearchHub string

	// Status is the status of the response. It is 0 while the request is in
	// progress, or if the connection was dropped.
	Status int

	// Left is when the client left before the response was complete, or the
	// server closed, according to time.Now. It is zero for other requests.
	Left time.Time
}

// User returns the name of the first identity in Claims: for whom the request
// was made. It is "" if there is no token with the platform's signature.
func (r Request) User() string {
	if r.Claims == nil || len(r.Claims.UserIDs) == 0 {
		return ""
	}
	return r.Claims.UserIDs[0].Name
}

// String returns kind, method, path and status. The result contains no secret.
func (r Request) String() string {
	return fmt.Sprintf("%s: %s %s: %d", r.Kind, r.Method, r.Path, r.Status)
}

// GoString returns [Request.String], so that %#v shows no secret.
func (r Request) GoString() string { return r.String() }

func (r *Request) clone() Request {
	c := *r
	c.Query = url.Values(http.Header(r.Query).Clone())
	c.Header = r.Header.Clone()
	c.Body = bytes.Clone(r.Body)
	if r.Claims != nil {
		claims := r.Claims.clone()
		c.Claims = &claims
	}
	return c
}

// Requests returns the remembered requests of the given kinds, or of every kind
// if none is given, oldest first. The platform remembers the last
// [Config.MaxRequests] requests.
func (p *Platform) Requests(kinds ...Kind) []Request { return p.requests.list(kinds) }

// Count returns the number of requests of the given kinds, or of every kind if
// none is given, since New or the last [Platform.ResetRequests]. It includes
// requests that the platform no longer remembers.
func (p *Platform) Count(kinds ...Kind) int { return p.requests.count(kinds) }

// ResetRequests forgets all requests and sets every count to zero.
func (p *Platform) ResetRequests() { p.requests.reset() }

// requestLog holds the last requests. It is safe for concurrent use.
type requestLog struct {
	max int

	mu       sync.Mutex // guards the fields below, and every Request in requests
	requests []*Request // oldest first
	counts   map[Kind]int
}

func newRequestLog(limit int) *requestLog {
	return &requestLog{max: limit, counts: make(map[Kind]int)}
}

func (l *requestLog) add(kind Kind, r *http.Request, body []byte, claims *Claims) *call {
	req := &Request{
		Kind:   kind,
		Time:   time.Now(),
		Method: r.Method,
		Host:   r.Host,
		Path:   r.URL.Path,
		Query:  r.URL.Query(),
		Header: r.Header.Clone(),
		Body:   bytes.Clone(body[:min(len(body), maxRecordedBody)]),
		Claims: claims,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.requests) >= l.max {
		l.requests = slices.Delete(l.requests, 0, 1)
	}
	l.requests = append(l.requests, req)
	l.counts[kind]++
	return &call{Request: r, body: body, log: l, record: req}
}

func (l *requestLog) list(kinds []Kind) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Request
	for _, r := range l.requests {
		if len(kinds) == 0 || slices.Contains(kinds, r.Kind) {
			list = append(list, r.clone())
		}
	}
	return list
}

func (l *requestLog) count(kinds []Kind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for kind, c := range l.counts {
		if len(kinds) == 0 || slices.Contains(kinds, kind) {
			n += c
		}
	}
	return n
}

func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = nil
	clear(l.counts)
}

// call is a request that is being served.
type call struct {
	*http.Request
	body []byte

	log    *requestLog
	record *Request // guarded by log.mu
}

// update changes the record of the call.
func (c *call) update(change func(*Request)) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	change(c.record)
}

// recorded returns a copy of the record of the call.
func (c *call) recorded() Request {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.record.clone()
}

// withBody returns the request with its whole body, for another handler.
func (c *call) withBody() *http.Request {
	r := c.Request.WithContext(c.Context()) // a copy
	r.Body = io.NopCloser(bytes.NewReader(c.body))
	return r
}

// form returns the fields of the body if it is a form, else nil.
func (c *call) form() url.Values {
	if mediaType(c.Request) != "application/x-www-form-urlencoded" {
		return nil
	}
	form, _ := url.ParseQuery(string(c.body))
	return form
}

// watchClient records when the client leaves, until stop is called. The record
// is complete when stop returns.
func (c *call) watchClient() (stop func()) {
	recorded := make(chan struct{})
	record := func() {
		defer close(recorded)
		c.update(func(r *Request) { r.Left = time.Now() })
	}
	unwatch := context.AfterFunc(c.Context(), record)
	return func() {
		switch {
		case !unwatch():
			<-recorded
		case c.Context().Err() != nil:
			record() // the handler noticed it first
		}
	}
}

// statusWriter records the status of the response.
type statusWriter struct {
	http.ResponseWriter
	call  *call
	wrote bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		w.call.update(func(r *Request) { r.Status = status })
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Flush sends what was written so far, and the header.
func (w *statusWriter) Flush() {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a recorder in a test may be unable to
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
