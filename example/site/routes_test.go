package site_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

func TestRoutesAnswerTheirMethodsOnly(t *testing.T) {
	base, _ := start(t, nil)
	tests := []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodHead, "/jsui", http.StatusOK, ""},
		{http.MethodPost, "/jsui", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodPost, "/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/login", http.StatusMethodNotAllowed, "POST"},
		{http.MethodDelete, "/logout", http.StatusMethodNotAllowed, "POST"},
		{http.MethodGet, "/nowhere", http.StatusNotFound, ""},
		{http.MethodPost, "/nowhere", http.StatusNotFound, ""},
		{http.MethodGet, "/static/style.css", http.StatusOK, ""},
		{http.MethodPost, "/static/style.css", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/static/nothing", http.StatusNotFound, ""},
		{http.MethodGet, "/static", http.StatusNotFound, ""},
		{http.MethodGet, "/static/", http.StatusNotFound, ""},
		{http.MethodGet, "/static/%2f", http.StatusNotFound, ""},
		{http.MethodGet, "/static/%2e%2f", http.StatusNotFound, ""},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			v := newVisitor(t, base)
			a := v.do(v.request(test.method, test.path, "", ""))
			if got := a.Header.Get("Allow"); a.StatusCode != test.status || got != test.allow {
				t.Errorf("status %d, Allow %q, want %d, %q", a.StatusCode, got, test.status, test.allow)
			}
		})
	}
}

func TestRenewalReplacesARejectedToken(t *testing.T) {
	base, platform := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	token := func(text string) string {
		return capture(`(eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)`, text)[0]
	}
	first := token(v.get("/headless").text)
	platform.RejectAll()

	r := v.request(http.MethodPost, site.RenewURL, "application/json", `{"rejected":"`+first+`"}`)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	a := v.do(r)
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d", a.StatusCode)
	}
	second := token(a.text)
	if second == first {
		t.Error("the renewal returned the rejected token")
	}
	if diff := cmp.Diff([]string{"Alice's performance review"}, found(v.get("/plain?q=review").text)); diff != "" {
		t.Errorf("documents found with the second token (-want +got):\n%s", diff)
	}

	r = v.request(http.MethodPost, site.RenewURL, "application/json", `{"rejected":"`+second+`"}`)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := v.do(r); a.StatusCode != http.StatusForbidden || strings.Contains(a.text, "eyJ") {
		t.Errorf("a renewal from another site: %s, want 403 without a token", a.Status)
	}
}
