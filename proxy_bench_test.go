package searchtoken_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/searchtoken/searchtoken"
)

const queryBody = `{"q":"office","numberOfResults":10,"facets":[{"facetId":"source","field":"source"}]}`

// reverseProxy does for one upstream and one token what a ProxyHandler does
// for every user, without its checks.
func reverseProxy(upstream string, transport http.RoundTripper) http.Handler {
	target, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, target.Host
			r.Out.Header.Set("Authorization", "Bearer token")
			r.Out.Header.Del("Cookie")
		},
	}
}

// coveoAnswer answers every query with 4 KB.
func coveoAnswer() http.Handler {
	answer := `{"results":[` + strings.Repeat(`{"title":"Office"},`, 200) + `{}]}`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})
}

// asking returns a function that sends queries to a base URL, each by one of so
// many users, and reads the answers.
func asking(b *testing.B, base string, goroutines int) func(n int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: goroutines}}
	b.Cleanup(client.CloseIdleConnections)
	return func(n int) {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for range n / goroutines {
					r, err := http.NewRequest("POST", base+"/rest/search/v2?organizationId=acme", strings.NewReader(queryBody))
					if err != nil {
						b.Error(err)
						return
					}
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("User", fmt.Sprintf("user%d@example.com", g))
					resp, err := client.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
						b.Errorf("status %d, %v", resp.StatusCode, err)
					}
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
	}
}

// BenchmarkProxy sends queries through a ProxyHandler, and compares that with
// sending them directly, and through an httputil.ReverseProxy.
func BenchmarkProxy(b *testing.B) {
	coveo := httptest.NewServer(coveoAnswer())
	defer coveo.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	m := newMiddleware(b, searchtoken.Config{PlatformURL: coveo.URL, HTTPClient: &http.Client{Transport: transport}})
	site := httptest.NewServer(m.ProxyHandler())
	defer site.Close()
	plain := httptest.NewServer(reverseProxy(coveo.URL, transport))
	defer plain.Close()
	for name, base := range map[string]string{"direct": coveo.URL, "ReverseProxy": plain.URL} {
		for _, goroutines := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, goroutines), func(b *testing.B) {
				compare(b, 256, asking(b, base, goroutines), asking(b, site.URL, goroutines))
			})
		}
	}
}

// BenchmarkProxyStreams measures the memory of the site, of its client and of
// the stand-in for Coveo together, with 1,000 streams that are idle.
func BenchmarkProxyStreams(b *testing.B) {
	const sites, users, streams = 5, 50, 4 // more would not fit into the limits
	for b.Loop() {
		ctx, end := context.WithCancel(b.Context())
		coveo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			<-ctx.Done()
		}))
		before := heapInUse()
		for range sites {
			m := newMiddleware(b, searchtoken.Config{PlatformURL: coveo.URL})
			site := httptest.NewServer(m.ProxyHandler())
			defer site.Close()
			for user := range users {
				for range streams {
					r, err := http.NewRequestWithContext(ctx, "GET",
						site.URL+"/rest/organizations/acme/machinelearning/streaming/1", nil)
					if err != nil {
						b.Fatal(err)
					}
					r.Header.Set("User", fmt.Sprint("user", user))
					resp, err := http.DefaultClient.Do(r)
					if err != nil || resp.StatusCode != http.StatusOK {
						b.Fatal(resp, err)
					}
					defer resp.Body.Close()
				}
			}
		}
		b.ReportMetric(float64(heapInUse()-before)/(sites*users*streams), "B/stream")
		end()
		coveo.CloseClientConnections()
		coveo.Close()
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse + stats.StackInuse
}

// TestProxyAllocatesLittle compares a ProxyHandler with a ReverseProxy that
// makes the same call.
func TestProxyAllocatesLittle(t *testing.T) {
	coveo := roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return reply(200, "application/json", "{}"), nil
	})
	m := newMiddleware(t, searchtoken.Config{HTTPClient: &http.Client{Transport: coveo}})
	count := func(h http.Handler) float64 {
		return testing.AllocsPerRun(200, func() {
			r := httptest.NewRequest("POST", "/rest/search/v2?organizationId=acme", strings.NewReader(queryBody))
			r.Header.Set("User", "ann")
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(&writer{http.Header{}}, r)
		})
	}
	plain := count(reverseProxy(ownHost, coveo))
	if ours := count(m.ProxyHandler()); ours > plain+40 {
		t.Errorf("%v allocations, %v more than a ReverseProxy; want at most 40 more", ours, ours-plain)
	} else {
		t.Logf("%v allocations, a ReverseProxy %v", ours, plain)
	}
}
