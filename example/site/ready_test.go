package site_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestReady(t *testing.T) {
	unauthorized := searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: http.StatusUnauthorized}
	refusesOne := searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: http.StatusForbidden}
	tests := []struct {
		name   string
		before bool // a visitor gets a token first
		fault  searchtokentest.Fault
		pause  time.Duration // after the fault
		want   bool
	}{
		{"Coveo works", false, searchtokentest.Fault{}, 0, true},
		{"the API key is wrong", false, unauthorized, 0, false},
		{"the API key is wrong, but a visitor has a token", true, unauthorized, 0, true},
		{"the API key was wrong, and somebody must try again", false, unauthorized, time.Hour, true},
		{"Coveo refuses one user's token", false, refusesOne, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				platform := searchtokentest.New(searchtokentest.Config{})
				s, err := site.New(site.Config{
					Coveo: searchtoken.Config{
						OrganizationID: searchtokentest.DefaultOrganizationID,
						APIKey:         searchtokentest.DefaultAPIKey,
						HTTPClient:     &http.Client{Transport: platform},
						Logger:         slog.New(slog.DiscardHandler),
					},
					SessionKey: []byte("a key that is 32 bytes or longer"),
				})
				if err != nil {
					t.Fatal(err)
				}
				visit := func(path string) {
					s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
				}
				if err := s.Ready(); err != nil {
					t.Errorf("at first: %v, want ready", err)
				}
				if test.before {
					visit("/jsui")
				}
				platform.Inject(test.fault)
				visit("/ipx") // whose tokens live longer, so that it needs another one
				time.Sleep(test.pause)
				if err := s.Ready(); (err == nil) != test.want {
					t.Errorf("got %v, want ready: %v", err, test.want)
				}
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
