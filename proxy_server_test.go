package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// The tests in this file run a ProxyHandler in an http.Server, over connections
// in memory, so that time passes as in a bubble.

// pipeListener accepts what dial connects to.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	l.conns <- server
	return client, nil
}

// proxyServer runs server with handler. It returns a client with one connection
// at a time.
func (h *harness) proxyServer(server *http.Server, handler http.Handler) *http.Client {
	listener := &pipeListener{make(chan net.Conn), make(chan struct{})}
	server.Handler = handler
	h.background(func() { server.Serve(listener) })
	transport := &http.Transport{DialContext: listener.dial, MaxConnsPerHost: 1, DisableCompression: true, Protocols: server.Protocols}
	h.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return &http.Client{Transport: transport}
}

// overTheWire returns the request r as a client sends it.
func overTheWire(ctx context.Context, r *http.Request) *http.Request {
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", "site.example"
	return r.WithContext(ctx)
}

// eventsAfter is an answer of Coveo with an event after each pause.
func eventsAfter(pauses ...time.Duration) func(r *http.Request, _ int) *http.Response {
	return func(r *http.Request, _ int) *http.Response {
		body, w := io.Pipe()
		context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
		go func() {
			for i, d := range pauses {
				time.Sleep(d)
				fmt.Fprintf(w, "data: %d\n\n", i)
			}
			w.Close()
		}()
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body}
	}
}

func TestProxyOutlivesTheDeadlinesOfTheServer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server *http.Server
		call   func() *http.Request
		answer func(*http.Request, int) *http.Response
		want   string
	}{
		{
			name: "stream", server: &http.Server{WriteTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second},
			call: func() *http.Request { return proxyCall("GET", streaming, "", "") }, answer: eventsAfter(50*time.Second, 50*time.Second, 50*time.Second),
			want: "data: 0\n\ndata: 1\n\ndata: 2\n\n",
		},
		{
			name: "slow call", server: &http.Server{WriteTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second},
			call: query, answer: eventsAfter(20 * time.Second), want: "data: 0\n\n",
		},
		{
			name: "server without deadlines", server: &http.Server{}, call: query, answer: eventsAfter(20 * time.Second),
			want: "data: 0\n\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				u := &upstream{answer: tt.answer}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
				mux := http.NewServeMux()
				mux.Handle("/coveo/", h.middleware.ProxyHandler())
				mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
					if tt.server.WriteTimeout == 0 {
						time.Sleep(10 * time.Minute) // a deadline that was left behind would end this
					}
					io.WriteString(w, "slow")
				})
				client := h.proxyServer(tt.server, mux)
				resp, err := client.Do(overTheWire(h.Context(), tt.call()))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(body) != tt.want || err != nil || resp.StatusCode != 200 {
					t.Errorf("status %d, body %q, %v, want %q", resp.StatusCode, body, err, tt.want)
				}
				resp, err = client.Post("http://site.example/slow", "", nil) // which no client repeats
				if err != nil {
					t.Fatalf("next request on the connection: %v", err)
				}
				body, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(body) != "slow" || err != nil {
					t.Errorf("next request on the connection: %q, %v", body, err)
				}
				client.CloseIdleConnections()
				tt.server.Close()
			})
		})
	}
}

func TestProxyEndsAStreamWhenTheBrowserLeaves(t *testing.T) {
	for name, server := range map[string]*http.Server{
		"server with a read deadline":    {ReadTimeout: 5 * time.Second},
		"server without a read deadline": {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				var left time.Duration
				began := time.Now()
				u := &upstream{answer: func(r *http.Request, n int) *http.Response {
					context.AfterFunc(r.Context(), func() { left = time.Since(began) })
					return eventsAfter(time.Second, time.Hour)(r, n)
				}}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
				client := h.proxyServer(server, h.middleware.ProxyHandler())
				ctx, leave := context.WithCancel(h.Context())
				resp, err := client.Do(overTheWire(ctx, proxyCall("POST",
					"/coveo/rest/organizations/acme/answer/v1/configs/1/generate", "application/json", "{}")))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				leave()
				resp.Body.Close()
				synctest.Wait()
				if left != 21*time.Second {
					t.Errorf("the call of Coveo ended after %v, want 21s", left)
				}
				server.Close()
				time.Sleep(time.Hour)
			})
		})
	}
}

func TestProxyDoesNotWaitForABrowserThatDoesNotRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func() *http.Request
		want time.Duration
	}{
		{"call", query, 31 * time.Second},
		{"stream", func() *http.Request { return proxyCall("GET", streaming, "", "") }, 60 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				u := &upstream{answer: func(*http.Request, int) *http.Response {
					return reply(200, "text/event-stream", strings.Repeat("x", 1<<20))
				}}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
				server := &http.Server{}
				client := h.proxyServer(server, h.middleware.ProxyHandler())
				began := time.Now()
				resp, err := client.Do(overTheWire(h.Context(), tt.call()))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second / 2) // so that the looks are between full seconds
				var ended time.Duration
				for range 120 {
					if time.Sleep(time.Second); ended == 0 && slices.ContainsFunc(h.events.take(), func(kind string) bool {
						return strings.HasPrefix(kind, "proxy")
					}) {
						ended = time.Since(began).Truncate(time.Second)
					}
				}
				if ended != tt.want {
					t.Errorf("the call ended after %v, want %v", ended, tt.want)
				}
				resp.Body.Close()
				server.Close()
			})
		})
	}
}

func TestProxyDoesNotWaitForABodyThatDoesNotEnd(t *testing.T) {
	type result struct {
		Waited time.Duration
		Event  string
	}
	http2 := new(http.Protocols)
	http2.SetUnencryptedHTTP2(true)
	for _, tt := range []struct {
		name, path string
		protocols  *http.Protocols
		want       result
	}{
		// A server of HTTP/1.1 also ends the request.
		{"call", "/coveo/rest/search/v2", nil, result{30 * time.Second, "proxy 503"}},
		{"stream", "/coveo/rest/organizations/acme/answer/v1/configs/1/generate", nil, result{30 * time.Second, "proxy 503"}},
		{"call over HTTP/2", "/coveo/rest/search/v2", http2, result{30 * time.Second, "proxy 400"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: &upstream{}}})
				server := &http.Server{Protocols: tt.protocols}
				client := h.proxyServer(server, h.middleware.ProxyHandler())
				body, w := io.Pipe() // of which nothing is sent
				defer w.Close()
				r := proxyCall("POST", tt.path, "application/json", "")
				r.Body, r.ContentLength = body, 100
				began := time.Now()
				ctx, leave := context.WithTimeout(h.Context(), time.Hour)
				defer leave()
				resp, err := client.Do(overTheWire(ctx, r))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				kinds := h.events.take()
				check(t, "answer", tt.want, result{time.Since(began), kinds[len(kinds)-1]})
				if lines := h.log.take(); strings.Contains(fmt.Sprint(lines), "Coveo did not answer") {
					t.Errorf("log lines that blame Coveo: %q", lines)
				}
				client.CloseIdleConnections()
				server.Close()
			})
		})
	}
}

// deadlines is a ResponseWriter that takes its time to set a read deadline.
type deadlines struct {
	*httptest.ResponseRecorder
	set time.Time
}

func (d *deadlines) SetReadDeadline(time.Time) error {
	time.Sleep(time.Second)
	d.set = time.Now()
	return nil
}

// slowBody ends after a time.
type slowBody time.Duration

func (b slowBody) Read([]byte) (int, error) {
	time.Sleep(time.Duration(b))
	return 0, io.EOF
}

// The ResponseWriter of HTTP/2 is unusable after the answer. A deadline that is
// set then panics on a goroutine that nothing recovers.
func TestProxySetsNoDeadlineAfterTheAnswer(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: &upstream{}}})
		r, w := query(), &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r.Body = io.NopCloser(slowBody(30*time.Second + time.Millisecond))
		h.middleware.ProxyHandler().ServeHTTP(w, r)
		answered := time.Now()
		time.Sleep(time.Minute)
		if w.set.After(answered) {
			t.Errorf("the deadline is set %v after the answer", w.set.Sub(answered))
		}
	})
}

func TestProxyDoesNotEndAnAnswerThatWasCutOff(t *testing.T) {
	deadline := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	none := func(next http.Handler) http.Handler { return next }
	for _, tt := range []struct {
		name       string
		rest       func(r *http.Request) io.Reader
		middleware func(http.Handler) http.Handler
		outcome    searchtoken.Outcome
		logged     []string
	}{
		{
			"Coveo breaks off", func(*http.Request) io.Reader { return brokenReader{} }, none, searchtoken.OutcomeUnavailable,
			[]string{`level=WARN msg="searchtoken: proxied call failed" route="" operation="POST /rest/search/v2"` +
				` error="searchtoken: the answer of Coveo was cut off: connection reset"`},
		},
		{
			"deadline of a middleware", func(r *http.Request) io.Reader { return hanging("")(r, 1).Body }, deadline,
			searchtoken.OutcomeCanceled, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				u := &upstream{answer: func(r *http.Request, _ int) *http.Response {
					resp := reply(200, "application/json", "")
					resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"results":[`), tt.rest(r)))
					return resp
				}}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
				server := &http.Server{}
				client := h.proxyServer(server, tt.middleware(h.middleware.ProxyHandler()))
				resp, err := client.Do(overTheWire(h.Context(), query()))
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if err == nil {
					t.Error("the browser takes the answer for a whole one")
				}
				synctest.Wait()
				seen := h.events.takeAll()
				check(t, "outcome", tt.outcome, seen[len(seen)-1].Outcome)
				check(t, "log lines", tt.logged, h.log.take())
				server.Close()
			})
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestProxyRepeatsQueriesOnADeadConnectionAndNoEvents(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		want       int // the status
		wantCalls  []string
	}{
		{"query", "/coveo/rest/search/v2", 200, []string{"{}", "{}"}},
		{"event", "/coveo/rest/v15/analytics/search", 503, []string{"{}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				var calls []string
				listener := &pipeListener{make(chan net.Conn), make(chan struct{})}
				coveo := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					calls = append(calls, string(body))
					if len(calls) == 1 {
						panic(http.ErrAbortHandler) // closes the connection
					}
				})}
				h.background(func() { coveo.Serve(listener) })
				transport := &http.Transport{DialContext: listener.dial, DialTLSContext: listener.dial}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: transport}})
				w := get(h.middleware, request("ann")) // so that the token is cached
				if w.Code != 200 {
					t.Fatalf("status %d", w.Code)
				}
				w = httptest.NewRecorder()
				h.middleware.ProxyHandler().ServeHTTP(w, proxyCall("POST", tt.path, "application/json", "{}"))
				if diff := cmp.Diff(tt.wantCalls, calls); diff != "" || w.Code != tt.want {
					t.Errorf("status %d, want %d; calls (-want +got):\n%s", w.Code, tt.want, diff)
				}
				transport.CloseIdleConnections()
				coveo.Close()
			})
		})
	}
}
