package searchtokentest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Kind is what a request asks of the platform.
type Kind string

// The kinds of requests.
const (
	KindToken     Kind = "token"     // a search token is asked for
	KindSearch    Kind = "search"    // a query
	KindSuggest   Kind = "suggest"   // query suggestions
	KindAnalytics Kind = "analytics" // usage analytics and events
	KindIPX       Kind = "ipx"       // the loader of an In-Product Experience, or the page in its frame
	KindPreflight Kind = "preflight" // a CORS preflight, whatever it is for
	KindOther     Kind = "other"     // all else: query plans, facet search, item previews, unknown paths
)

// maxRecordedBody is how much of a body a Request keeps, in bytes.
const maxRecordedBody = 64 << 10

// Request is a request that reached the platform. What a Platform returns is the caller's own copy.
//
// Header, Query and Body hold what was sent, API keys and tokens included; formatting a Request shows none of them.
type Request struct {
	Kind   Kind
	Time   time.Time // when it arrived, by time.Now
	Method string
	Host   string // with the port, where the URL has one
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte // at most the first 64 KiB

	// Claims are those of the search token that came with the request, even if it is expired or rejected; for
	// KindToken those of the token that was issued. Nil: there is no token of this platform.
	Claims *Claims

	// SearchHub is the search hub in effect: the token's, or else the query's. Empty for kinds that have none.
	SearchHub string

	// Status is that of the answer. 0: there is none yet, or there never will be.
	Status int
}

// String tells kind, method, path and status, and no secret.
func (r Request) String() string {
	return fmt.Sprintf("%s: %s %s: %d", r.Kind, r.Method, r.Path, r.Status)
}

// GoString is String.
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

// Requests returns the requests of the kinds given that the platform remembers (see Config.MaxRequests), oldest first;
// without kinds, all of them.
func (p *Platform) Requests(kinds ...Kind) []Request { return p.requests.list(kinds) }

// Count returns how many requests of the kinds given have arrived since the last ResetRequests, without kinds how many
// in all. It counts those too that the platform no longer remembers.
func (p *Platform) Count(kinds ...Kind) int { return p.requests.count(kinds) }

// ResetRequests forgets all requests, and counts from zero again.
func (p *Platform) ResetRequests() { p.requests.reset() }

// requestLog remembers the last requests. Its mutex guards the Requests that are in it, too.
type requestLog struct {
	max int

	mu     sync.Mutex
	last   []*Request
	counts map[Kind]int
}

func newRequestLog(limit int) *requestLog {
	return &requestLog{max: limit, counts: make(map[Kind]int)}
}

func (l *requestLog) add(kind Kind, r *http.Request, body []byte, claims *Claims) *Request {
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
	if len(l.last) >= l.max {
		l.last = slices.Delete(l.last, 0, 1)
	}
	l.last = append(l.last, req)
	l.counts[kind]++
	return req
}

func (l *requestLog) update(r *Request, change func(*Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(r)
}

func (l *requestLog) list(kinds []Kind) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Request
	for _, r := range l.last {
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
	l.last = nil
	clear(l.counts)
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	log    *requestLog
	record *Request
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		w.log.update(w.record, func(r *Request) { r.Status = status })
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
