package app

import (
	"io"
	"net/http"
	"sync/atomic"
)

// probes answers an orchestrator or a load balancer at /healthz and /readyz,
// and passes all other requests on to the site.
type probes struct {
	mux      *http.ServeMux
	draining atomic.Bool // the process is about to stop
}

// newProbes returns the probes of a site. ready returns an error if the site
// cannot serve its visitors.
func newProbes(site http.Handler, ready func() error) *probes {
	p := &probes{mux: http.NewServeMux()}
	p.mux.Handle("/", site)
	// The process is up: restarting it would not help, even if Coveo is down.
	p.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerProbe(w, http.StatusOK, "ok")
	})
	// The process can serve visitors: a load balancer may send requests.
	p.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch err := ready(); {
		case p.draining.Load():
			answerProbe(w, http.StatusServiceUnavailable, "draining")
		case err != nil:
			answerProbe(w, http.StatusServiceUnavailable, err.Error())
		default:
			answerProbe(w, http.StatusOK, "ready")
		}
	})
	return p
}

func (p *probes) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// answerProbe answers with a line of text.
func answerProbe(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
