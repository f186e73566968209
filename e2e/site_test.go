package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

var organizations atomic.Int64 // number of organizations so far

// world is a site and the platform of its organization. Both are reachable
// through internet.
type world struct {
	organization string
	platform     *searchtokentest.Platform
	url          string // of the site
	hasLogin     bool   // visitors log in; without a login, every visitor is alice

	mu    sync.Mutex                      // guards wrap, renew and sent
	wrap  func(http.Handler) http.Handler // if not nil, wraps the site
	renew http.Handler                    // if not nil, replaces the RenewHandler
	sent  strings.Builder                 // the bodies of the site's responses

	renewals atomic.Int64 // number of requests to the renewal route
}

// newOrganization returns a world without a site. Each has a different
// organization, so that tests can run in parallel.
func newOrganization() *world {
	organization := fmt.Sprintf("acme%d", organizations.Add(1))
	return &world{
		organization: organization,
		platform:     searchtokentest.New(searchtokentest.Config{OrganizationID: organization}),
		url:          "https://" + organization + ".example.com",
	}
}

// newWorld starts the example's site as in production: it derives all addresses
// from the organization.
func newWorld(t *testing.T, change func(*site.Config)) *world {
	t.Helper()
	w := newOrganization()
	w.hasLogin = true
	cfg := site.Config{
		Coveo: searchtoken.Config{
			OrganizationID: w.organization,
			APIKey:         searchtokentest.DefaultAPIKey,
			HTTPClient:     internet.client,
			Logger:         slog.New(slog.DiscardHandler),
		},
		SessionKey: []byte("a key that is 32 bytes or longer"),
		Secure:     true,
		Users:      []string{alice, bob},
		IPXPageID:  "page",
	}
	if change != nil {
		change(&cfg)
	}
	s, err := site.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.serve(s)
	return w
}

// serve makes the site reachable through internet. It counts renewals, records
// the bodies of responses, and applies wrap and renew.
func (w *world) serve(site http.Handler) {
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := site
		w.change(func() {
			if w.wrap != nil {
				h = w.wrap(site)
			}
			if r.URL.Path == "/coveo/token" {
				w.renewals.Add(1)
				if w.renew != nil {
					h = w.renew
				}
			}
		})
		h.ServeHTTP(&bodyRecorder{rw, w}, r)
	})
	for _, address := range []string{w.url, w.plainURL()} {
		_, host, _ := strings.Cut(address, "://")
		internet.add(host, handler, w.organization, w.platform)
	}
}

// plainURL returns the URL of the site on plain http.
func (w *world) plainURL() string { return "http://" + w.organization + ".example.org" }

// bodyRecorder records a response body in w.sent.
type bodyRecorder struct {
	http.ResponseWriter
	w *world
}

func (r *bodyRecorder) Write(b []byte) (int, error) {
	r.w.change(func() { r.w.sent.Write(b) })
	return r.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (r *bodyRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// logIn logs alice in if the site has a login.
func (w *world) logIn(b *tab) {
	b.t.Helper()
	if w.hasLogin {
		b.logIn(alice)
	}
}

// visit logs alice in, opens a page and waits for all of her documents, and for
// the analytics event of their search. JSUI would also renew a token for an
// event that is refused later.
func (w *world) visit(t *testing.T, path string) *tab {
	t.Helper()
	b := openTab(t, w.url)
	b.logIn(alice)
	b.open(path)
	waitFor(b, titles(alice, ""), "e2e.titles()")
	if !strings.HasPrefix(path, "/plain") { // it sends none
		w.await(t, "an analytics event of the first search", func() bool {
			events := w.platform.Requests(searchtokentest.KindAnalytics)
			return len(events) > 0 && events[len(events)-1].Status != 0
		})
	}
	return b
}

// change runs a function that reads or changes wrap, renew and sent, with mu
// locked.
func (w *world) change(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// await waits until done returns true, for conditions that do not show on the
// page. what names the condition in the failure.
func (w *world) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s; requests to the platform:\n%v", patience, what, w.platform.Requests())
		}
	}
}

// excerpts returns the excerpts of the documents that the user may see, or of
// all documents if user is empty.
func excerpts(user string) []string {
	list := []string{}
	for _, d := range searchtokentest.DefaultDocuments() {
		if user == "" || maySee(user, d) {
			list = append(list, d.Excerpt)
		}
	}
	return list
}

func maySee(user string, d searchtokentest.Document) bool {
	return len(d.Allowed) == 0 || slices.Contains(d.Allowed, user)
}

// titles returns the sorted titles of the documents that the user may see and
// that contain the word.
func titles(user, word string) []string {
	list := []string{}
	for _, d := range searchtokentest.DefaultDocuments() {
		if maySee(user, d) && strings.Contains(strings.ToLower(d.Title+" "+d.Excerpt), word) {
			list = append(list, d.Title)
		}
	}
	slices.Sort(list)
	return list
}

// headerWriter changes the response header before it is sent.
type headerWriter struct {
	http.ResponseWriter
	change func(http.Header)
}

func (w *headerWriter) WriteHeader(status int) {
	if w.change != nil {
		w.change(w.Header())
		w.change = nil
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *headerWriter) Write(b []byte) (int, error) {
	if w.change != nil {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}
