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
// keeps the platform's own status and body.
type Fault struct {
	// Kind is the kind of requests that the Fault applies to. Empty: every kind
	// except [KindPreflight].
	Kind Kind

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

	// CutOff announces a longer body than it sends, and closes the connection
	// after Body.
	CutOff bool
}

// Inject makes later requests fail as f says. Faults are queued: each request
// gets the oldest Fault for its kind, and only that one.
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
	mu     sync.Mutex // guards faults
	faults []*Fault
}

func (q *faultQueue) add(f Fault) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.faults = append(q.faults, &f)
}

func (q *faultQueue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.faults = nil
}

// take returns the fault for a request of this kind, if any, and counts it.
func (q *faultQueue) take(kind Kind) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range q.faults {
		if !f.appliesTo(kind) {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				q.faults = slices.Delete(q.faults, i, i+1)
			}
		}
		return taken, true
	}
	return Fault{}, false
}

func (f *Fault) appliesTo(kind Kind) bool {
	if f.Kind == "" {
		return kind != KindPreflight
	}
	return f.Kind == kind
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
