package app

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestRunChecksTheConfigurationFirst(t *testing.T) {
	fault := func(status int) *searchtokentest.Fault {
		return &searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: status}
	}
	const goesOn = "the site starts nevertheless"
	tests := []struct {
		name      string
		fault     *searchtokentest.Fault
		interrupt bool   // the process is interrupted while it checks
		err       string // part of the error
		log       string // part of the log; "": it has no errors
		serves    bool
	}{
		{name: "the configuration is right", serves: true},
		{name: "the key is wrong", fault: fault(http.StatusUnauthorized), err: "401"},
		{name: "the key has no privilege", fault: fault(http.StatusForbidden), err: "403"},
		{name: "Coveo is down", fault: fault(http.StatusServiceUnavailable), log: goesOn, serves: true},
		{name: "Coveo asks for fewer calls", fault: fault(http.StatusTooManyRequests), log: goesOn, serves: true},
		{name: "Coveo cannot be reached", fault: &searchtokentest.Fault{Drop: true}, log: goesOn, serves: true},
		{name: "interrupted", fault: &searchtokentest.Fault{Delay: 1 << 62}, interrupt: true, serves: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			platform := searchtokentest.New(searchtokentest.Config{})
			if test.fault != nil {
				platform.Inject(*test.fault)
			}
			env := environment{
				"COVEO_ORGANIZATION_ID": searchtokentest.DefaultOrganizationID, "COVEO_API_KEY": searchtokentest.DefaultAPIKey,
			}
			app := App{Configure: func(cfg *site.Config) (func(), error) {
				cfg.Coveo.HTTPClient = &http.Client{Transport: platform}
				if test.interrupt {
					cfg.Coveo.HTTPClient.Transport = stopper{platform, stop}
				}
				return func() {}, nil
			}}
			var log strings.Builder
			stdout := &stopWriter{stop: stop}
			err := app.run(ctx, options{addr: "127.0.0.1:0"}, env.get, stdout, &log)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("the error is %v, want %q", err, test.err)
			}
			if err != nil {
				var api *searchtoken.APIError
				if !errors.As(err, &api) {
					t.Errorf("%v wraps no APIError", err)
				}
			}
			if got := strings.Contains(log.String(), "level=ERROR"); got != (test.log != "") ||
				!strings.Contains(log.String(), test.log) {
				t.Errorf("the log is %q, want %q", log.String(), test.log)
			}
			if got := stdout.text != ""; got != test.serves {
				t.Errorf("the site is served: %v, want %v", got, test.serves)
			}
		})
	}
}

// stopWriter calls stop when something is written.
type stopWriter struct {
	stop func()
	text string
}

func (w *stopWriter) Write(b []byte) (int, error) {
	w.text += string(b)
	w.stop()
	return len(b), nil
}

// stopper calls stop when it has sent a request.
type stopper struct {
	http.RoundTripper
	stop func()
}

func (s stopper) RoundTrip(r *http.Request) (*http.Response, error) {
	s.stop()
	return s.RoundTripper.RoundTrip(r)
}
