package searchtokentest

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault describes how the platform, or a server in front of it, fails. The zero
// Fault changes nothing. A Fault that sets only Delay, RetryAfter or Header
// keeps the platform's own status and body. Match selects the requests that a
// Fault applies to, and Handler sends any other response.
type Fault struct {
	// Kind is the kind of requests that the Fault applies to. Empty: every kind
	// except [KindPreflight].
	Kind Kind

	// Match restricts the Fault to the requests for which it returns true: to
	// one path, one user or one header. It gets a copy of the record, without a
	// Status. Several goroutines may call it at a time. Default: every request
	// of the Kind.
	Match func(Request) bool

	// Times is the number of requests that the Fault applies to. 0: every
	// request until [Platform.ClearFaults].
	Times int

	// Delay passes before the response begins. It ends early if the client
	// leaves.
	Delay time.Duration

	// Drop closes the connection without a response.
	Drop bool

	// Status is the status of the response. Default: 307 if Location is set,
	// otherwise 200. If Status is 400 or above and Body is empty, the body is
	// an error of the Search API.
	Status int

	// RetryAfter is the value of the Retry-After header, sent unchanged:
	// seconds, a date or a malformed value.
	RetryAfter string

	// Location makes the response a redirect to this address.
	Location string

	// Header is set on the response. Its Content-Type replaces the platform's
	// own.
	Header http.Header

	// ContentType is the content type of a response that the Fault sends
	// itself. Default: the Content-Type in Header, otherwise application/json.
	ContentType string

	// Body is sent instead of the platform's own body. It may be malformed.
	Body string

	// Endless sends spaces after Body, 4 KiB every millisecond, until the
	// client leaves or the server closes. A JSON decoder never stops reading
	// unless Body is a complete value.
	Endless bool

	// Handler serves the request in place of the platform, after Delay and with
	// RetryAfter and Header set. The other fields about the response are
	// ignored then. The handler can read the request's body, and its writer
	// flushes. The request's context ends when the client leaves. Default: nil.
	Handler http.HandlerFunc

	// CutOff announces a longer body than it sends, and closes the connection
	// after Body.
	CutOff bool
}

// Inject makes later requests fail as f says. Faults are queued: each request
// gets the oldest Fault that applies to it, and only that one.
func (p *Platform) Inject(f Fault) {
	f.Header = f.Header.Clone()
	p.faults.add(f)
}

// ClearFaults removes all faults. It does not affect requests that a fault
// already applies to.
func (p *Platform) ClearFaults() { p.faults.clear() }

// faultQueue holds the faults that still apply, oldest first. It is safe for
// concurrent use; the zero faultQueue is empty.
type faultQueue struct {
	mu     sync.Mutex // guards the fields below
	faults []*queuedFault
}

// queuedFault is a Fault in a queue.
type queuedFault struct {
	Fault
	left int // the requests that it still applies to; guarded by faultQueue.mu
}

func (q *faultQueue) add(f Fault) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.faults = append(q.faults, &queuedFault{Fault: f, left: f.Times})
}

func (q *faultQueue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.faults = nil
}

// take returns the fault for a request, if any, and counts the request. record
// returns a copy of its record.
func (q *faultQueue) take(kind Kind, record func() Request) (Fault, bool) {
	q.mu.Lock()
	faults := slices.Clone(q.faults)
	q.mu.Unlock()
	for _, f := range faults {
		// Match runs without the lock: it may call methods of the Platform.
		if f.appliesTo(kind, record) && q.use(f) {
			return f.Fault, true
		}
	}
	return Fault{}, false
}

// use counts a request that f applies to. It returns false if f has left the
// queue.
func (q *faultQueue) use(f *queuedFault) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.faults, f)
	if i < 0 {
		return false
	}
	if f.Times > 0 {
		if f.left--; f.left == 0 {
			q.faults = slices.Delete(q.faults, i, i+1)
		}
	}
	return true
}

func (f *Fault) appliesTo(kind Kind, record func() Request) bool {
	if f.Kind == "" && kind == KindPreflight || f.Kind != "" && f.Kind != kind {
		return false
	}
	return f.Match == nil || f.Match(record())
}

// serve applies the fault, and reports whether it wrote the whole response.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request) bool {
	if !sleep(r.Context(), f.Delay) || f.Drop {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for name, values := range f.Header {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if f.RetryAfter != "" {
		h.Set("Retry-After", f.RetryAfter)
	}
	if f.Handler != nil {
		f.Handler(w, r)
		return true
	}
	if f.Status == 0 && f.Location == "" && f.Body == "" && !f.Endless && !f.CutOff {
		return false
	}

	status := f.status()
	if f.Location != "" {
		h.Set("Location", f.Location)
	}
	if f.ContentType != "" {
		h.Set("Content-Type", f.ContentType)
	}
	if f.Body == "" && status >= http.StatusBadRequest && !f.Endless && !f.CutOff {
		writeError(w, status, errorMessage(status))
		return true
	}
	setDefaultContentType(h, "application/json")
	if f.CutOff {
		h.Set("Content-Length", strconv.Itoa(len(f.Body)+1024))
	}
	w.WriteHeader(status)
	_, err := w.Write([]byte(f.Body))
	for err == nil && f.Endless {
		if !sleep(r.Context(), time.Millisecond) {
			panic(http.ErrAbortHandler)
		}
		_, err = w.Write(filler)
	}
	return true
}

var filler = []byte(strings.Repeat(" ", 4<<10))

// status returns the status to send. It is never below 200 or above 999:
// net/http does not end an exchange with such a status, or panics.
func (f *Fault) status() int {
	switch {
	case f.Status == 0 && f.Location != "":
		return http.StatusTemporaryRedirect
	case f.Status == 0:
		return http.StatusOK
	case f.Status < 200 || f.Status > 999:
		return http.StatusInternalServerError
	}
	return f.Status
}

// sleep waits for d, and reports whether d passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
