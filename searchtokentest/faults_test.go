package searchtokentest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reach runs a test against both ways to a platform. Faults must look the same through either.
func reach(t *testing.T, test func(t *testing.T, p *Platform, url string, client *http.Client)) {
	t.Run("RoundTrip", func(t *testing.T) {
		p := New(Config{})
		test(t, p, "https://acme.org.coveo.com", &http.Client{Transport: p})
	})
	t.Run("Server", func(t *testing.T) {
		s := NewServer(Config{})
		defer s.Close()
		test(t, s.Platform, s.URL, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	})
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func TestFaultAnswers(t *testing.T) {
	for _, tc := range []struct {
		name        string
		fault       Fault
		status      int
		body        string // a part of it
		empty       bool   // there is no body, and no length of one is announced
		contentType string
		header      string
		value       string
		bodyErr     error
	}{
		{
			name: "error", fault: Fault{Status: 429, RetryAfter: "soon"}, status: 429,
			body: `"statusCode":429`, contentType: "application/json", header: "Retry-After", value: "soon",
		},
		{name: "error without a name", fault: Fault{Status: 599}, status: 599, body: `"message":"The request failed."`, contentType: "application/json"},
		{name: "malformed", fault: Fault{Body: `{"token":`}, status: 200, body: `{"token":`, contentType: "application/json"},
		{
			name: "firewall", status: 403, body: "<h1>", contentType: "text/html", header: "X-Coveo-Waf-Action", value: "block",
			fault: Fault{
				Status: 403, Body: "<h1>Blocked</h1>", ContentType: "text/html",
				Header: http.Header{"x-coveo-waf-action": {"block"}},
			},
		},
		{
			name: "content type in Header", status: 200, body: "<h1>", contentType: "text/html",
			fault: Fault{Body: "<h1>Blocked</h1>", Header: http.Header{"content-type": {"text/html"}}},
		},
		{
			name: "content type in both", status: 200, body: "<h1>", contentType: "text/html",
			fault: Fault{Body: "<h1>Blocked</h1>", ContentType: "text/html", Header: http.Header{"Content-Type": {"text/plain"}}},
		},
		{
			name: "content type of an error", status: 503, body: `"statusCode":503`, contentType: "text/html",
			fault: Fault{Status: 503, ContentType: "text/html"},
		},
		{
			name: "content type of an error in Header", status: 503, body: `"statusCode":503`, contentType: "text/html",
			fault: Fault{Status: 503, Header: http.Header{"Content-Type": {"text/html"}}},
		},
		{
			name: "content type alone in Header", status: 401, body: `"statusCode":401`, contentType: "text/html",
			fault: Fault{Header: http.Header{"Content-Type": {"text/html"}}},
		},
		{name: "no content", fault: Fault{Status: 204, Body: "{}"}, status: 204, empty: true, contentType: "application/json"},
		{name: "no content cut off", fault: Fault{Status: 204, CutOff: true}, status: 204, empty: true, contentType: "application/json"},
		{name: "no content without an end", fault: Fault{Status: 204, Endless: true}, status: 204, empty: true, contentType: "application/json"},
		{name: "not modified", fault: Fault{Status: 304, Body: "{}"}, status: 304, empty: true},
		{name: "redirect", fault: Fault{Location: "https://example.com/"}, status: 307, contentType: "application/json", header: "Location", value: "https://example.com/"},
		{name: "cut off", fault: Fault{Body: `{"tok`, CutOff: true}, status: 200, body: `{"tok`, contentType: "application/json", bodyErr: io.ErrUnexpectedEOF},
		{name: "cut off at once", fault: Fault{CutOff: true}, status: 200, contentType: "application/json", bodyErr: io.ErrUnexpectedEOF},
		{name: "impossible status", fault: Fault{Status: 42}, status: 500, body: `"statusCode":500`, contentType: "application/json"},
		{name: "header alone", fault: Fault{RetryAfter: "7"}, status: 401, body: `"statusCode":401`, contentType: "application/json", header: "Retry-After", value: "7"},
		{name: "nothing", fault: Fault{}, status: 401, body: `"statusCode":401`, contentType: "application/json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reach(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
				client.CheckRedirect = noRedirects
				client.Timeout = 10 * time.Second // for an answer that should end and does not
				p.Inject(tc.fault)
				resp, err := client.Get(url + "/rest/search/v2")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if !errors.Is(err, tc.bodyErr) {
					t.Errorf("got error %v, want %v", err, tc.bodyErr)
				}
				if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.body) {
					t.Errorf("got %d %s, want %d %s", resp.StatusCode, b, tc.status, tc.body)
				}
				if length := resp.Header.Get("Content-Length"); tc.empty && (len(b) != 0 || resp.ContentLength != 0 || length != "") {
					t.Errorf("got the body %s, length %d and header %q, want none", b, resp.ContentLength, length)
				}
				if got := resp.Header.Get("Content-Type"); got != tc.contentType {
					t.Errorf("got content type %q, want %q", got, tc.contentType)
				}
				if got := resp.Header.Get(tc.header); tc.header != "" && got != tc.value {
					t.Errorf("got %s %q, want %q", tc.header, got, tc.value)
				}
			})
		})
	}
}

func TestFaultDrop(t *testing.T) {
	reach(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
		p.Inject(Fault{Drop: true})
		// Only a POST is not tried again by net/http.
		resp, err := client.Post(url+"/rest/search/v2", "application/json", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
			t.Fatalf("got status %d, want no answer", resp.StatusCode)
		}
		if r := p.Requests(); len(r) != 1 || r[0].Status != 0 {
			t.Errorf("got %v, want one request without an answer", r)
		}
	})
}

func TestFaultQueue(t *testing.T) {
	p := New(Config{})
	p.Inject(Fault{Kind: KindToken, Status: 503, Times: 2})
	p.Inject(Fault{Kind: KindSearch, Status: 500})
	p.Inject(Fault{Kind: KindToken, Status: 429, Times: 1})
	p.Inject(Fault{Kind: KindIPX, Drop: true})

	for i, want := range []int{503, 503, 429, 200} {
		if resp, _ := askToken(t, p, `{"userIds":[`+aliceJSON+`]}`); resp.StatusCode != want {
			t.Errorf("token call %d: got status %d, want %d", i, resp.StatusCode, want)
		}
	}
	for range 3 {
		if got := searchStatus(t, p, ""); got != 500 {
			t.Errorf("search: got status %d, want 500", got)
		}
	}
	p.Inject(Fault{Status: 502})
	if resp, _ := send(t, p, "OPTIONS", "/rest/search/v2", ""); resp.StatusCode != 204 {
		t.Errorf("preflight: got status %d, want 204", resp.StatusCode)
	}
	if resp, _ := send(t, p, "GET", "/", ""); resp.StatusCode != 502 {
		t.Errorf("fault of every kind: got status %d, want 502", resp.StatusCode)
	}
	p.ClearFaults()
	if got := searchStatus(t, p, ""); got != 401 {
		t.Errorf("after ClearFaults: got status %d, want 401", got)
	}
}

// A platform made outside the bubble must not keep its clock from moving.
func TestFaultTime(t *testing.T) {
	outside := New(Config{})
	for _, tc := range []struct {
		name     string
		fault    Fault
		timeout  time.Duration
		elapsed  time.Duration
		headErr  error
		bodyErr  error
		wantBody bool
	}{
		{name: "delay", fault: Fault{Delay: time.Minute}, timeout: time.Hour, elapsed: time.Minute},
		{name: "delay beyond the timeout", fault: Fault{Delay: time.Hour}, timeout: 10 * time.Second, elapsed: 10 * time.Second, headErr: context.DeadlineExceeded},
		{name: "endless", fault: Fault{Endless: true}, timeout: time.Second, elapsed: time.Second, bodyErr: context.DeadlineExceeded, wantBody: true},
	} {
		for name, p := range map[string]*Platform{"inside": nil, "outside": outside} {
			t.Run(tc.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if p == nil {
						p = New(Config{})
					}
					fault := tc.fault
					fault.Times = 1
					p.Inject(fault)
					start := time.Now()
					client := &http.Client{Transport: p, Timeout: tc.timeout}
					resp, err := client.Get("https://acme.org.coveo.com/rest/search/v2")
					if !errors.Is(err, tc.headErr) {
						t.Fatalf("got %v, want %v", err, tc.headErr)
					}
					if err == nil {
						defer resp.Body.Close()
						n, err := io.Copy(io.Discard, resp.Body)
						if !errors.Is(err, tc.bodyErr) || (n > 1<<20) != tc.wantBody {
							t.Errorf("got %d bytes and %v, want %v", n, err, tc.bodyErr)
						}
					}
					if got := time.Since(start); got != tc.elapsed {
						t.Errorf("took %v, want %v", got, tc.elapsed)
					}
				})
			})
		}
	}
}

// A request whose body never ends fails when its context ends, and nothing stays behind.
func TestRoundTripBodyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe, writer := io.Pipe()
		defer writer.Close()
		body := &closer{Reader: pipe, close: pipe.Close}
		start := time.Now()
		client := &http.Client{Transport: New(Config{}), Timeout: time.Second}
		resp, err := client.Post("https://acme.org.coveo.com/rest/search/v2", "application/json", body)
		if err == nil {
			resp.Body.Close()
		}
		if elapsed := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || elapsed != time.Second {
			t.Errorf("got %v after %v, want a timeout after 1s", err, elapsed)
		}
		synctest.Wait()
		if body.closed != 1 {
			t.Errorf("the body was closed %d times, want once", body.closed)
		}
	})
}

// A client that has read enough closes the body, and the answer ends.
func TestEndlessClosed(t *testing.T) {
	reach(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
		p.Inject(Fault{Endless: true, Body: `{"token":"x"}`})
		resp, err := client.Get(url + "/rest/search/v2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Close must not wait for answers that never end, nor for clients that do not read.
func TestServerClose(t *testing.T) {
	t.Run("delay", func(t *testing.T) {
		s := NewServer(Config{})
		s.Inject(Fault{Delay: time.Hour})
		answered := make(chan error, 1)
		go func() {
			resp, err := http.Post(s.URL+"/rest/search/v2", "application/json", strings.NewReader("{}"))
			if err == nil {
				resp.Body.Close()
			}
			answered <- err
		}()
		for s.Count() == 0 {
			runtime.Gosched()
		}
		s.Close()
		if err := <-answered; err == nil {
			t.Error("got an answer, want an error")
		}
	})
	t.Run("endless", func(t *testing.T) {
		s := NewServer(Config{})
		s.Inject(Fault{Endless: true})
		resp, err := http.Get(s.URL + "/rest/search/v2")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		s.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("got a whole answer, want an error")
		}
	})
}

func TestRoundTripContract(t *testing.T) {
	p := New(Config{})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		body := &closer{Reader: strings.NewReader("{}")}
		r, _ := http.NewRequestWithContext(ctx, "POST", "https://acme.org.coveo.com/rest/search/v2", body)
		if _, err := p.RoundTrip(r); !errors.Is(err, context.Canceled) || body.closed != 1 {
			t.Errorf("got %v, body closed %d times", err, body.closed)
		}
	})
	t.Run("body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			body := &closer{Reader: strings.NewReader("{}")}
			r, _ := http.NewRequest("POST", "https://acme.org.coveo.com/rest/search/v2?q=a", body)
			before := r.Clone(r.Context())
			resp, err := p.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			synctest.Wait()
			if body.closed != 1 {
				t.Errorf("the body was closed %d times, want once", body.closed)
			}
			if r.RequestURI != "" || r.RemoteAddr != "" || r.URL.String() != before.URL.String() || r.Host != before.Host {
				t.Error("the request was changed")
			}
		})
	})
	t.Run("HEAD", func(t *testing.T) {
		resp, b := send(t, p, "HEAD", "/nowhere", "")
		if resp.StatusCode != 404 || len(b) != 0 || resp.ContentLength <= 0 {
			t.Errorf("got %d, length %d, %q", resp.StatusCode, resp.ContentLength, b)
		}
	})
	t.Run("recorder", func(t *testing.T) {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest("GET", "/rest/search/v2", nil))
		if rec.Code != 401 {
			t.Errorf("got %d, want 401", rec.Code)
		}
	})
}

// closer counts its closes, and passes them on.
type closer struct {
	io.Reader
	close  func() error // may be nil
	closed int
}

func (c *closer) Close() error {
	c.closed++
	if c.close == nil {
		return nil
	}
	return c.close()
}
