package interop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestFlush sends the head of a page before its body is ready.
func TestFlush(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	ready := make(chan struct{})

	// recipe: flush
	early := func(w http.ResponseWriter, r *http.Request) {
		search(w, r) // the <head> loads the front end while the rest is made
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-ready
		fmt.Fprintln(w, "<body>the rest of the page</body>")
	}
	site := coveo.Handler(http.HandlerFunc(early))
	// end recipe

	server := httptest.NewServer(site)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User", "alice@example.com")
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := bufio.NewReader(response.Body)
	var head strings.Builder
	for !strings.Contains(head.String(), "</head>") {
		line, err := body.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head.WriteString(line)
	}
	check(t, "user", "alice@example.com", tokenClaims(head.String()).User)
	close(ready)
	rest, err := io.ReadAll(body)
	if err != nil || !strings.Contains(string(rest), "the rest of the page") {
		t.Errorf("the rest is %q, error %v", rest, err)
	}
}

// TestResponseController uses what a ResponseWriter of net/http can do beyond
// its interface.
func TestResponseController(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: response-controller
	slowPage := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// More time than the server's WriteTimeout.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		search(w, r)
	})
	site := coveo.Handler(slowPage)
	// end recipe

	visit(t, site).expect(exchange{"GET / as alice@example.com", "200 alice@example.com"})

	other := coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(w)
		if err := errors.Join(controller.SetReadDeadline(time.Time{}), controller.EnableFullDuplex()); err != nil {
			t.Error(err)
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("the writer is not an io.ReaderFrom, so the kernel cannot send files")
		}
		search(w, r)
	}))
	visit(t, other).expect(exchange{"GET / as alice@example.com", "200 alice@example.com"})
}

// TestHijack takes the connection over, as websockets do.
func TestHijack(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: hijack
	site := coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		serve(buffer, page.Token) // the connection is yours
	}))
	// end recipe

	visit(t, site).expect(
		exchange{"GET / as alice@example.com", "200 alice@example.com"},
		exchange{"GET /", "401"},
	)
}

func serve(conn *bufio.ReadWriter, token searchtoken.Token) {
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", token.Value)
	_ = conn.Flush()
}

func TestHTTP2(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	visitor := newBrowser(t, server.Client(), server.URL)
	got := visitor.do("GET /search as alice@example.com")
	check(t, "protocol", "HTTP/2.0", got.Proto)
	got.expectPrivate(t)
	visitor.expect(
		exchange{"GET /search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /search", "401"},
		exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
	)
}

// tokens sends the visitor's token as an event, at once and every 10 minutes.
func tokens(coveo *searchtoken.Middleware) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// recipe: server-sent-events
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "private, no-store")
		for r.Context().Err() == nil {
			page, err := coveo.Page(r.Clone(r.Context())) // Clone: read the session each time
			if err != nil {
				return // logged out, or there is no token
			}
			fmt.Fprintf(w, "data: %s\n\n", page.Token.Value)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(10 * time.Minute):
			case <-r.Context().Done():
			}
		}
		// end recipe
	}
}

// TestServerSentEvents keeps a stream open for three days.
func TestServerSentEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, platform := newConfig()
		cfg.Params.ValidFor = time.Hour
		coveo := newCoveo(t, cfg)
		sent, different := 0, map[string]bool{}
		w := &eventWriter{httptest.NewRecorder(), func(event string) {
			claims := tokenClaims(event)
			if left := time.Until(time.Unix(claims.Expires, 0)); claims.User != "alice@example.com" || left <= 0 {
				t.Errorf("a token of %q that lives for %v", claims.User, left)
			}
			sent++
			different[event] = true
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 72*time.Hour-time.Minute)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/tokens", nil)
		r.Header.Set("X-User", "alice@example.com")
		tokens(coveo).ServeHTTP(w, r)
		check(t, "events", 72*6, sent)
		check(t, "tokens", platform.Count(searchtokentest.KindToken), len(different))
		if len(different) < 72 {
			t.Errorf("%d tokens of an hour in 72 hours", len(different))
		}
	})
}

// TestServerSentEventsEndAtLogout deletes a session during a stream.
func TestServerSentEventsEndAtLogout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wrap   func(*searchtoken.Middleware) http.Handler
		events int
	}{
		{"outside of Handler", func(coveo *searchtoken.Middleware) http.Handler { return tokens(coveo) }, 1},
		// gorilla's registry keeps the session for the whole request.
		{"inside of Handler", func(coveo *searchtoken.Middleware) http.Handler { return coveo.Handler(tokens(coveo)) }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				store := sessions.NewFilesystemStore(dir, sessionKey)
				cfg, _ := newConfig()
				cfg.Identify = searchtoken.SessionEmail(store, "session", "email")
				ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, "GET", "/tokens", nil)
				r.AddCookie(sessionCookie(t, store))
				events := 0
				w := &eventWriter{httptest.NewRecorder(), func(string) {
					events++
					deleteSessions(t, dir)
				}}
				tt.wrap(newCoveo(t, cfg)).ServeHTTP(w, r)
				check(t, "events", tt.events, events)
			})
		})
	}
}

// sessionCookie logs alice in.
func sessionCookie(t testing.TB, store sessions.Store) *http.Cookie {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/login", nil)
	session, _ := store.Get(r, "session")
	session.Values["email"] = "alice@example.com"
	if err := session.Save(r, w); err != nil {
		t.Fatal(err)
	}
	return w.Result().Cookies()[0]
}

// deleteSessions does what a logout does on a server: it ends all sessions.
func deleteSessions(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "session_*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		t.Error(err)
	}
}

// eventWriter calls event for each part of an answer that is flushed.
type eventWriter struct {
	*httptest.ResponseRecorder
	event func(string)
}

func (w *eventWriter) Flush() {
	w.event(w.Body.String())
	w.Body.Reset()
}
