package searchtokentest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRoundTripClosesTheBodyIfTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := &countingCloser{Reader: strings.NewReader("{}")}
	r, err := http.NewRequestWithContext(ctx, "POST", endpoint+"/rest/search/v2", body)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Config{})
	if _, err := p.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if body.closed != 1 {
		t.Errorf("the body was closed %d times, want once", body.closed)
	}
	if got := p.Count(); got != 0 {
		t.Errorf("the platform received %d requests, want 0", got)
	}
}

func TestRoundTripLeavesTheRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &countingCloser{Reader: strings.NewReader("{}")}
		r, err := http.NewRequest("POST", endpoint+"/rest/search/v2?q=a", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = ""
		before := r.Clone(r.Context())
		resp, err := New(Config{}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if body.closed != 1 {
			t.Errorf("the body was closed %d times, want once", body.closed)
		}
		if r.RequestURI != "" || r.RemoteAddr != "" || r.URL.String() != before.URL.String() || r.Host != "" || r.Body != body {
			t.Errorf("the request was modified: %+v", r)
		}
		if resp.Request != r {
			t.Errorf("got the request %p in the response, want %p", resp.Request, r)
		}
	})
}

func TestRoundTripAcceptsARequestWithoutHeaderOrBody(t *testing.T) {
	p := New(Config{})
	url := endpoint + ":8443/rest/search/v2?q=a"
	template, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.RoundTrip(&http.Request{Method: "GET", URL: template.URL})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || resp.Status != "401 Unauthorized" {
		t.Errorf("got status %d, %q, want 401", resp.StatusCode, resp.Status)
	}
	got := p.Requests()[0]
	if want := "acme.org.coveo.com:8443"; got.Host != want || got.Header == nil {
		t.Errorf("got host %q and header %v on record, want %q and an empty header", got.Host, got.Header, want)
	}
}

func TestRoundTripEndsWithTheContextDuringTheRequestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe, writer := io.Pipe()
		defer writer.Close()
		body := &countingCloser{Reader: pipe, close: pipe.Close}
		start := time.Now()
		client := &http.Client{Transport: New(Config{}), Timeout: time.Second}
		resp, err := client.Post(endpoint+"/rest/search/v2", "application/json", body)
		if err == nil {
			resp.Body.Close()
		}
		if elapsed := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || elapsed != time.Second {
			t.Errorf("got error %v after %v, want a timeout after 1s", err, elapsed)
		}
		synctest.Wait()
		if body.closed != 1 {
			t.Errorf("the body was closed %d times, want once", body.closed)
		}
	})
}

func TestRoundTripSendsNoBodyForHEAD(t *testing.T) {
	resp, b := send(t, New(Config{}), "HEAD", "/nowhere", "")
	if resp.StatusCode != 404 || len(b) != 0 || resp.ContentLength <= 0 {
		t.Errorf("got status %d, length %d and body %q, want 404, a length and no body", resp.StatusCode, resp.ContentLength, b)
	}
}

func TestRoundTripAnnouncesTheLength(t *testing.T) {
	p := New(Config{})
	resp, b := send(t, p, "GET", "/nowhere", "")
	if got, want := resp.ContentLength, int64(len(b)); got != want {
		t.Errorf("got length %d, want %d", got, want)
	}
	p.Inject(Fault{Body: "{}"})
	if resp, _ := send(t, p, "GET", "/nowhere", ""); resp.ContentLength != -1 {
		t.Errorf("got length %d without a Content-Length, want -1", resp.ContentLength)
	}
}

// countingCloser counts how often it is closed.
type countingCloser struct {
	io.Reader
	close  func() error // may be nil
	closed int
}

func (c *countingCloser) Close() error {
	c.closed++
	if c.close == nil {
		return nil
	}
	return c.close()
}
