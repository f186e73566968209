package searchtokentest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testBothWays runs a test through RoundTrip and through a Server. A fault must
// look the same to both clients.
func testBothWays(t *testing.T, test func(t *testing.T, p *Platform, url string, client *http.Client)) {
	t.Run("RoundTrip", func(t *testing.T) {
		p := New(Config{})
		test(t, p, endpoint, &http.Client{Transport: p})
	})
	t.Run("Server", func(t *testing.T) {
		s := NewServer(Config{})
		defer s.Close()
		test(t, s.Platform, s.URL, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	})
}

func TestFaultChangesTheResponse(t *testing.T) {
	const (
		jsonType = "application/json"
		htmlType = "text/html"
		error401 = `"statusCode":401` // the platform's own response
		error503 = `"statusCode":503`
	)
	header := func(name, value string) http.Header { return http.Header{name: {value}} }
	for _, tc := range []struct {
		name        string
		fault       Fault
		status      int
		body        string // part of it; "": the body is empty
		contentType string
		header      http.Header // part of it
		bodyErr     error
	}{
		{
			name:   "error",
			fault:  Fault{Status: 429, RetryAfter: "soon"},
			status: 429, body: `"statusCode":429`, contentType: jsonType, header: header("Retry-After", "soon"),
		},
		{
			name:   "error with a status that net/http does not know",
			fault:  Fault{Status: 599},
			status: 599, body: `"message":"The request failed."`, contentType: jsonType,
		},
		{
			name:   "400 is an error",
			fault:  Fault{Status: 400},
			status: 400, body: `"statusCode":400`, contentType: jsonType,
		},
		{
			name:   "malformed JSON",
			fault:  Fault{Body: `{"token":`},
			status: 200, body: `{"token":`, contentType: jsonType,
		},
		{
			name: "firewall",
			fault: Fault{
				Status: 403, Body: "<h1>Blocked</h1>", ContentType: htmlType, Header: header("x-coveo-waf-action", "block"),
			},
			status: 403, body: "<h1>", contentType: htmlType, header: header("X-Coveo-Waf-Action", "block"),
		},
		{
			name:   "content type in Header",
			fault:  Fault{Body: "<h1>Blocked</h1>", Header: header("content-type", htmlType)},
			status: 200, body: "<h1>", contentType: htmlType,
		},
		{
			name:   "content type in ContentType and Header",
			fault:  Fault{Body: "<h1>Blocked</h1>", ContentType: htmlType, Header: header("Content-Type", "text/plain")},
			status: 200, body: "<h1>", contentType: htmlType,
		},
		{
			name:   "content type of an error",
			fault:  Fault{Status: 503, ContentType: htmlType},
			status: 503, body: error503, contentType: htmlType,
		},
		{
			name:   "content type of an error in Header",
			fault:  Fault{Status: 503, Header: header("Content-Type", htmlType)},
			status: 503, body: error503, contentType: htmlType,
		},
		{
			name:   "content type of the platform's own response",
			fault:  Fault{Header: header("Content-Type", htmlType)},
			status: 401, body: error401, contentType: htmlType,
		},
		{
			name:   "no content",
			fault:  Fault{Status: 204, Body: "{}"},
			status: 204, contentType: jsonType,
		},
		{
			name:   "no content, cut off",
			fault:  Fault{Status: 204, CutOff: true},
			status: 204, contentType: jsonType,
		},
		{
			name:   "no content, endless",
			fault:  Fault{Status: 204, Endless: true},
			status: 204, contentType: jsonType,
		},
		{
			name:   "not modified",
			fault:  Fault{Status: 304, Body: "{}"},
			status: 304,
		},
		{
			name:   "redirect",
			fault:  Fault{Location: "https://example.com/"},
			status: 307, contentType: jsonType, header: header("Location", "https://example.com/"),
		},
		{
			name:   "redirect with a status",
			fault:  Fault{Status: 301, Location: "https://example.com/"},
			status: 301, contentType: jsonType, header: header("Location", "https://example.com/"),
		},
		{
			name:   "cut off",
			fault:  Fault{Body: `{"tok`, CutOff: true},
			status: 200, body: `{"tok`, contentType: jsonType, bodyErr: io.ErrUnexpectedEOF,
		},
		{
			name:   "cut off at once",
			fault:  Fault{CutOff: true},
			status: 200, contentType: jsonType, bodyErr: io.ErrUnexpectedEOF,
		},
		{
			name:   "error, cut off",
			fault:  Fault{Status: 500, CutOff: true},
			status: 500, contentType: jsonType, bodyErr: io.ErrUnexpectedEOF,
		},
		{
			name:   "status too low",
			fault:  Fault{Status: 199},
			status: 500, body: `"statusCode":500`, contentType: jsonType,
		},
		{
			name:   "status too high",
			fault:  Fault{Status: 1000},
			status: 500, body: `"statusCode":500`, contentType: jsonType,
		},
		{
			name:   "RetryAfter alone",
			fault:  Fault{RetryAfter: "7"},
			status: 401, body: error401, contentType: jsonType, header: header("Retry-After", "7"),
		},
		{
			name:   "ContentType alone has no effect",
			fault:  Fault{ContentType: htmlType},
			status: 401, body: error401, contentType: jsonType,
		},
		{
			name:   "the zero Fault has no effect",
			status: 401, body: error401, contentType: jsonType,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testBothWays(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				client.Timeout = 10 * time.Second // a body that should end, and does not, must not hang the test
				p.Inject(tc.fault)
				resp, err := client.Get(url + "/rest/search/v2")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if !errors.Is(err, tc.bodyErr) {
					t.Errorf("reading the body: got error %v, want %v", err, tc.bodyErr)
				}
				if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.body) || (len(b) == 0) != (tc.body == "") {
					t.Errorf("got status %d and body %q, want %d and %q", resp.StatusCode, b, tc.status, tc.body)
				}
				if got := resp.Header.Get("Content-Type"); got != tc.contentType {
					t.Errorf("got content type %q, want %q", got, tc.contentType)
				}
				length, hasLength := resp.Header["Content-Length"]
				if tc.status == 204 || tc.status == 304 {
					if resp.ContentLength != 0 || hasLength {
						t.Errorf("got length %d and header %q, want none", resp.ContentLength, length)
					}
				}
				got := http.Header{}
				for name := range tc.header {
					got[name] = resp.Header[name]
				}
				if diff := cmp.Diff(tc.header, got); len(tc.header) > 0 && diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestInjectCopiesTheHeader(t *testing.T) {
	p := New(Config{})
	header := http.Header{"X-Test": {"before"}}
	p.Inject(Fault{Header: header})
	header["X-Test"][0] = "changed by the caller"
	for range 2 {
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		if got, want := rec.Header().Get("X-Test"), "before"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		rec.Header()["X-Test"][0] = "changed in the response"
	}
}

func TestDelayEndsWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.Inject(Fault{Delay: time.Hour})
		client := &http.Client{Transport: p, Timeout: time.Second}
		if resp, err := client.Get(endpoint + "/"); !errors.Is(err, context.DeadlineExceeded) {
			if err == nil {
				resp.Body.Close()
			}
			t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(2 * time.Hour) // longer than the delay
		if got := p.Requests()[0].Status; got != 0 {
			t.Errorf("got status %d on record, want 0 for a response that nobody received", got)
		}
	})
}

func TestDropClosesTheConnectionWithoutAResponse(t *testing.T) {
	testBothWays(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
		p.Inject(Fault{Drop: true})
		// net/http would repeat a GET.
		resp, err := client.Post(url+"/rest/search/v2", "application/json", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
			t.Fatalf("got status %d, want no response", resp.StatusCode)
		}
		if r := p.Requests(); len(r) != 1 || r[0].Status != 0 {
			t.Errorf("got %v, want one request without a status", r)
		}
	})
}

func TestOldestFaultForTheKindApplies(t *testing.T) {
	p := New(Config{})
	p.Inject(Fault{Kind: KindToken, Status: 503, Times: 2})
	p.Inject(Fault{Kind: KindSearch, Status: 500})
	p.Inject(Fault{Kind: KindToken, Status: 429, Times: 1})
	p.Inject(Fault{Kind: KindIPX, Drop: true})

	for i, want := range []int{503, 503, 429, 200} {
		if resp, _ := requestToken(t, p, `{"userIds":[`+aliceJSON+`]}`); resp.StatusCode != want {
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
		t.Errorf("preflight and a fault for every kind: got status %d, want 204", resp.StatusCode)
	}
	p.Inject(Fault{Kind: KindPreflight, Status: 504})
	if resp, _ := send(t, p, "OPTIONS", "/rest/search/v2", ""); resp.StatusCode != 504 {
		t.Errorf("preflight and a fault for preflights: got status %d, want 504", resp.StatusCode)
	}
	if resp, _ := send(t, p, "GET", "/", ""); resp.StatusCode != 502 {
		t.Errorf("another kind and a fault for every kind: got status %d, want 502", resp.StatusCode)
	}
	p.ClearFaults()
	if got := searchStatus(t, p, ""); got != 401 {
		t.Errorf("after ClearFaults: got status %d, want 401", got)
	}
}

// The clock of a bubble also advances if the platform was made outside it.
func TestFaultTakesTime(t *testing.T) {
	outside := New(Config{})
	for _, tc := range []struct {
		name    string
		fault   Fault
		timeout time.Duration
		elapsed time.Duration
		getErr  error // of Get
		bodyErr error // of reading the body
		minBody int64 // in bytes
	}{
		{
			name:  "delay",
			fault: Fault{Delay: time.Minute}, timeout: time.Hour,
			elapsed: time.Minute,
		},
		{
			name:  "delay beyond the timeout",
			fault: Fault{Delay: time.Hour}, timeout: 10 * time.Second,
			elapsed: 10 * time.Second, getErr: context.DeadlineExceeded,
		},
		{
			name:  "endless",
			fault: Fault{Endless: true}, timeout: time.Second,
			elapsed: time.Second, bodyErr: context.DeadlineExceeded, minBody: 900 * 4 << 10,
		},
	} {
		for where, p := range map[string]*Platform{"inside": nil, "outside": outside} {
			t.Run(tc.name+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if p == nil {
						p = New(Config{})
					}
					fault := tc.fault
					fault.Times = 1
					p.Inject(fault)
					start := time.Now()
					client := &http.Client{Transport: p, Timeout: tc.timeout}
					resp, err := client.Get(endpoint + "/rest/search/v2")
					if !errors.Is(err, tc.getErr) {
						t.Fatalf("got error %v, want %v", err, tc.getErr)
					}
					if err == nil {
						defer resp.Body.Close()
						n, err := io.Copy(io.Discard, resp.Body)
						if !errors.Is(err, tc.bodyErr) || n < tc.minBody {
							t.Errorf("got %d bytes and error %v, want at least %d and %v", n, err, tc.minBody, tc.bodyErr)
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

// The bubble reports an error if a goroutine remains.
func TestEndlessEndsWhenTheClientClosesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.Inject(Fault{Endless: true, Body: `{"token":"x"}`})
		resp, err := (&http.Client{Transport: p}).Get(endpoint + "/rest/search/v2")
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

func TestFaultAppliesToMatchingRequests(t *testing.T) {
	p := New(Config{})
	tokens := map[string]string{alice: p.IssueToken(user(alice)), bob: p.IssueToken(user(bob))}
	statusOf := func(name, method, target string, header ...string) int {
		t.Helper()
		resp, _ := send(t, p, method, target, "", append(header, "Authorization", "Bearer "+tokens[name])...)
		return resp.StatusCode
	}
	const queries, suggestions = "/rest/search/v2?organizationId=acme", "/rest/search/v2/querySuggest"
	for _, tc := range []struct {
		name   string
		fault  Fault
		status []int // of alice's query, bob's query, alice's suggestions
	}{
		{"one user", Fault{Status: 503, Match: func(r Request) bool { return r.User() == bob }}, []int{200, 503, 200}},
		{"one path", Fault{Status: 503, Match: func(r Request) bool { return r.Path == suggestions }}, []int{200, 200, 503}},
		{"one kind and user", Fault{
			Kind: KindSearch, Status: 503, Match: func(r Request) bool { return r.User() == alice },
		}, []int{503, 200, 200}},
		{"a query parameter", Fault{
			Status: 503, Match: func(r Request) bool { return r.Query.Has("organizationId") },
		}, []int{503, 503, 200}},
		{"once", Fault{
			Status: 503, Times: 1, Match: func(r Request) bool { return r.User() == alice },
		}, []int{503, 200, 200}},
		{"a Match that uses the platform", Fault{
			Status: 503, Match: func(Request) bool { p.ClearFaults(); return true },
		}, []int{200, 200, 200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.ClearFaults()
			p.Inject(tc.fault)
			got := []int{
				statusOf(alice, "GET", queries), statusOf(bob, "GET", queries), statusOf(alice, "GET", suggestions),
			}
			if diff := cmp.Diff(tc.status, got); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaultHandlerServesInPlaceOfThePlatform(t *testing.T) {
	testBothWays(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
		p.Inject(Fault{
			Times: 1, RetryAfter: "7", Header: http.Header{"Set-Cookie": {"a=b"}}, Status: 503, Body: "ignored",
			Handler: func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("X-Test", "1")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, r.URL.Path+" "+string(body))
			},
		})
		resp, err := client.Post(url+"/rest/search/v2", "text/plain", strings.NewReader("sent"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{
			resp.Status, string(b), resp.Header.Get("X-Test"), resp.Header.Get("Set-Cookie"), resp.Header.Get("Retry-After"),
		}
		if diff := cmp.Diff([]string{"202 Accepted", "/rest/search/v2 sent", "1", "a=b", "7"}, got); diff != "" {
			t.Errorf("status, body and headers (-want +got):\n%s", diff)
		}
		if got := p.Requests()[0].Status; got != 202 {
			t.Errorf("got status %d on record, want 202", got)
		}
	})
}

// The handler waits for the client, and the client for the first byte: this
// ends only if Flush sends it.
func TestFaultHandlerFlushes(t *testing.T) {
	for name, flush := range map[string]func(http.ResponseWriter){
		"Flusher":            func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"ResponseController": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		for _, sent := range []string{"", "x"} {
			t.Run(name+" after "+strconv.Quote(sent), func(t *testing.T) {
				testBothWays(t, func(t *testing.T, p *Platform, url string, client *http.Client) {
					received := make(chan struct{})
					p.Inject(Fault{Handler: func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.WriteString(w, sent)
						flush(w)
						select {
						case <-received:
						case <-r.Context().Done():
							t.Error("the client left before it had what was flushed")
						}
					}})
					client.Timeout = 10 * time.Second // ends a test that would hang
					resp, err := client.Get(url + "/")
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					b := make([]byte, len(sent))
					if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != sent {
						t.Fatalf("got %q and error %v, want %q", b, err, sent)
					}
					close(received)
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
