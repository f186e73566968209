package app

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestListenFallsBackToAFreePort(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	// The default address may be taken before the test. The second listen
	// finds it taken in any case.
	var last net.Addr
	for range 2 {
		listener, err := listen("", logger)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		last = listener.Addr()
	}
	if addr := last.(*net.TCPAddr); !addr.IP.IsLoopback() || addr.String() == defaultAddr {
		t.Errorf("the second listener has the address %v", addr)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), defaultAddr) {
		t.Errorf("the log does not name the default address:\n%s", log.String())
	}
	if _, err := listen(last.String(), logger); err == nil {
		t.Error("listen accepts an address that is taken")
	}
}

func TestSiteURL(t *testing.T) {
	tests := map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080/",
		"0.0.0.0:8080":   "http://localhost:8080/",
		"[::]:8080":      "http://localhost:8080/",
		"[::1]:8080":     "http://[::1]:8080/",
		"192.0.2.1:80":   "http://192.0.2.1:80/",
	}
	for text, want := range tests {
		addr, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := siteURL(addr); got != want {
			t.Errorf("siteURL(%s) = %q, want %q", text, got, want)
		}
	}
}

func TestOnlyLoopbackNames(t *testing.T) {
	handler := onlyLoopbackNames(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tests := map[string]int{
		"localhost":                 http.StatusOK,
		"localhost:8080":            http.StatusOK,
		"LOCALHOST:8080":            http.StatusOK,
		"127.0.0.1:8080":            http.StatusOK,
		"[::1]:8080":                http.StatusOK,
		"[::1]":                     http.StatusOK,
		"rebound.example:8080":      http.StatusMisdirectedRequest,
		"192.0.2.1:8080":            http.StatusMisdirectedRequest,
		"localhost.evil.example:80": http.StatusMisdirectedRequest,
		"":                          http.StatusMisdirectedRequest,
	}
	for host, want := range tests {
		t.Run(host, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		})
	}
}
