package app

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// pipeListener is a [net.Listener] without sockets, for synctest bubbles.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// countingTransport counts the requests in flight.
type countingTransport struct {
	http.RoundTripper
	inFlight atomic.Int64
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	return c.RoundTripper.RoundTrip(r)
}

func TestServeShutsDownGracefully(t *testing.T) {
	tests := map[string]struct {
		delay        time.Duration // of each response of the platform
		visitorStays time.Duration
		wantStatus   int // 0: none
		wantErr      bool
		minElapsed   time.Duration // from the end of ctx to the end of serve
		maxElapsed   time.Duration
	}{
		// Two calls of 3 seconds, one second of which is over.
		"a request in flight is answered": {
			delay: 3 * time.Second, visitorStays: time.Hour, wantStatus: 200,
			minElapsed: 5 * time.Second, maxElapsed: 6 * time.Second,
		},
		"a fetch without a visitor ends first": {3 * time.Second, time.Second, 0, false, 0, 3 * time.Second},
		"a slow request is cut off": {
			delay: 9 * time.Second, visitorStays: time.Hour, wantErr: true,
			minElapsed: 10 * time.Second, maxElapsed: 10 * time.Second,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				platform := searchtokentest.New(searchtokentest.Config{})
				platform.Inject(searchtokentest.Fault{Delay: test.delay})
				transport := &countingTransport{RoundTripper: platform}
				s := newSite(t, transport)
				listener := newPipeListener()
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- serve(ctx, listener, s, 0, slog.New(slog.DiscardHandler)) }()

				client := &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
				defer client.CloseIdleConnections()
				status := make(chan int, 1)
				go func() {
					visit, leave := context.WithTimeout(t.Context(), test.visitorStays)
					defer leave()
					r, _ := http.NewRequestWithContext(visit, http.MethodGet, "http://site.example/plain", nil)
					resp, err := client.Do(r)
					if err != nil {
						status <- 0
						return
					}
					resp.Body.Close()
					status <- resp.StatusCode
				}()
				time.Sleep(time.Second)
				synctest.Wait()
				stop()
				stopped := time.Now()
				synctest.Wait()
				if _, err := client.Get("http://site.example/"); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a request after the stop: error %v, want %v", err, net.ErrClosed)
				}

				err := <-done
				if got := transport.inFlight.Load(); got != 0 && !test.wantErr {
					t.Errorf("%d calls of the platform are in flight after serve has returned", got)
				}
				if elapsed := time.Since(stopped); elapsed < test.minElapsed || elapsed > test.maxElapsed {
					t.Errorf("the shutdown took %v, want %v to %v", elapsed, test.minElapsed, test.maxElapsed)
				}
				if test.wantErr {
					if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10s") {
						t.Errorf("serve: %v, want that the deadline of 10s has passed", err)
					}
				} else if err != nil {
					t.Errorf("serve: %v", err)
				}
				if got := <-status; got != test.wantStatus {
					t.Errorf("the visitor gets status %d, want %d", got, test.wantStatus)
				}
			})
		})
	}
}

func TestServeReportsAFailingListener(t *testing.T) {
	listener := newPipeListener()
	listener.Close()
	err := serve(t.Context(), listener, newSite(t, nil), 0, slog.New(slog.DiscardHandler))
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v, want %v", err, net.ErrClosed)
	}
}

// newSite returns a site that calls the platform with transport, also for the
// front ends.
func newSite(t *testing.T, transport http.RoundTripper) *site.Site {
	t.Helper()
	s, err := site.New(site.Config{
		Proxy: true,
		Coveo: searchtoken.Config{
			OrganizationID: searchtokentest.DefaultOrganizationID,
			APIKey:         searchtokentest.DefaultAPIKey,
			HTTPClient:     &http.Client{Transport: transport},
			Logger:         slog.New(slog.DiscardHandler),
		},
		SessionKey: newSessionKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServeDrainsBeforeItShutsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- serve(ctx, listener, newSite(t, searchtokentest.New(searchtokentest.Config{})), 10*time.Second,
				slog.New(slog.DiscardHandler))
		}()
		client := &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
		defer client.CloseIdleConnections()
		// visit returns the status and the first line of each path.
		visit := func() map[string]string {
			answers := make(map[string]string)
			for _, path := range []string{"/healthz", "/readyz", "/plain"} {
				resp, err := client.Get("http://site.example" + path)
				if err != nil {
					answers[path] = "none"
					continue
				}
				line, err := bufio.NewReader(resp.Body).ReadString('\n')
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				answers[path] = resp.Status + ", " + strings.TrimSpace(line)
			}
			return answers
		}
		const page = "200 OK, <!DOCTYPE html>"
		check := func(when string, want map[string]string) {
			t.Helper()
			if diff := cmp.Diff(want, visit()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		check("at first", map[string]string{"/healthz": "200 OK, ok", "/readyz": "200 OK, ready", "/plain": page})
		stop()
		time.Sleep(9 * time.Second)
		check("while draining", map[string]string{
			"/healthz": "200 OK, ok", "/readyz": "503 Service Unavailable, draining", "/plain": page,
		})
		time.Sleep(2 * time.Second)
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		check("at last", map[string]string{"/healthz": "none", "/readyz": "none", "/plain": "none"})
	})
}

// The stream of a generated answer takes longer than the server's WriteTimeout.
func TestServeLetsStreamsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := searchtokentest.New(searchtokentest.Config{})
		platform.GenerateAnswers("one two three", 20*time.Second)
		listener := newPipeListener()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serve(ctx, listener, newSite(t, platform), 0, slog.New(slog.DiscardHandler)) }()

		client := &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
		defer client.CloseIdleConnections()
		start := time.Now()
		path := "/rest/organizations/" + searchtokentest.DefaultOrganizationID + "/answer/v1/configs/1/generate"
		resp, err := client.Post("http://site.example"+site.ProxyURL+path, "application/json", strings.NewReader(`{"q":"page"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got []time.Duration
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				got = append(got, time.Since(start))
			}
		}
		if err := lines.Err(); err != nil {
			t.Error(err)
		}
		want := []time.Duration{
			0, 20 * time.Second, 40 * time.Second, 60 * time.Second, 80 * time.Second, 100 * time.Second,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("times of the events (-want +got):\n%s", diff)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}
