package searchtokentest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is a way in which the platform, or something before it, fails to answer as it should. Its zero value does
// nothing; Delay, RetryAfter and Header alone leave the answer itself as it is.
type Fault struct {
	// Kind is the kind of requests that it hits. Empty: all but KindPreflight.
	Kind Kind

	// Times is how many requests it hits before it is gone. 0: all of them, until ClearFaults.
	Times int

	// Delay passes before anything is answered; it ends early if the client leaves.
	Delay time.Duration

	// Drop ends the connection without an answer.
	Drop bool

	// Status is the status of the answer. Default: 307 with a Location, or else 200.
	// With an error's status and no Body the answer is an error as the Search API shapes it.
	Status int

	// RetryAfter is sent as it is, so that it may be seconds, a date or nonsense.
	RetryAfter string

	// Location makes the answer a redirect to this address.
	Location string

	// Header is sent with the answer. Its Content-Type takes the place of the answer's own.
	Header http.Header

	// ContentType is that of Body, or of the error. Default: Header's Content-Type, or else application/json.
	ContentType string

	// Body takes the place of the answer, well formed or not.
	Body string

	// Endless sends spaces after Body, 4 KiB each millisecond, until the client leaves or the server closes. A JSON
	// decoder reads on for ever unless Body holds a whole value.
	Endless bool

	// CutOff announces a longer answer than it sends, and ends the connection there.
	CutOff bool
}

// Inject makes the requests to come fail as f says. Faults queue up: a request suffers the oldest one that hits its
// kind, and only that.
func (p *Platform) Inject(f Fault) {
	f.Header = f.Header.Clone()
	p.faults.add(f)
}

// ClearFaults takes back all faults. Answers under way go on.
func (p *Platform) ClearFaults() { p.faults.clear() }

// faultQueue holds the faults that have not hit as often as they shall.
type faultQueue struct {
	mu     sync.Mutex
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

// take returns the fault that a request of this kind suffers, if any.
func (q *faultQueue) take(kind Kind) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range q.faults {
		if f.Kind != kind && (f.Kind != "" || kind == KindPreflight) {
			continue
		}
		hit := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				q.faults = slices.Delete(q.faults, i, i+1)
			}
		}
		return hit, true
	}
	return Fault{}, false
}

// serve does what the fault says, and reports whether that was the whole answer.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request) bool {
	if !wait(r, f.Delay) || f.Drop {
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
	defaultContentType(h, "application/json")
	if f.CutOff {
		h.Set("Content-Length", strconv.Itoa(len(f.Body)+1024))
	}
	w.WriteHeader(status)
	_, err := w.Write([]byte(f.Body))
	// Without a flush a short answer that is cut off would not leave the server's buffer.
	_ = http.NewResponseController(w).Flush()
	for err == nil && f.Endless {
		if !wait(r, time.Millisecond) {
			panic(http.ErrAbortHandler)
		}
		_, err = w.Write(filler)
	}
	return true
}

var filler = []byte(strings.Repeat(" ", 4<<10))

// status is the status to send, always one that ends an exchange: net/http panics at others.
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

// errorMessage is what the Search API says beside a status.
func errorMessage(status int) string {
	switch status {
	case statusExpiredToken:
		return "Expired token"
	case http.StatusUnauthorized:
		return "Invalid access token."
	}
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "The request failed."
}

// wait reports whether d passed before the client left.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
