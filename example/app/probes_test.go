package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProbes(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	tests := []struct {
		name, method, path string
		ready              error
		status             int
		text               string
	}{
		{"healthy", "GET", "/healthz", nil, http.StatusOK, "ok\n"},
		{"healthy, not ready", "GET", "/healthz", errors.New("no"), http.StatusOK, "ok\n"},
		{"ready", "GET", "/readyz", nil, http.StatusOK, "ready\n"},
		{"ready, HEAD", "HEAD", "/readyz", nil, http.StatusOK, "ready\n"},
		{"not ready", "GET", "/readyz", errors.New("no"), http.StatusServiceUnavailable, "no\n"},
		{"another method", "POST", "/readyz", nil, http.StatusTeapot, ""},
		{"another path", "GET", "/readyz/", nil, http.StatusTeapot, ""},
		{"a page", "GET", "/", nil, http.StatusTeapot, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			newProbes(page, func() error { return test.ready }).ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			if w.Code != test.status || w.Body.String() != test.text {
				t.Errorf("status %d and %q, want %d and %q", w.Code, w.Body, test.status, test.text)
			}
			if got := w.Header().Get("Cache-Control"); test.text != "" && got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
		})
	}
}
