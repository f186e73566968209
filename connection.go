package searchtoken

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// withTransport returns a copy of client, which may be nil, with a Transport.
func withTransport(client *http.Client) *http.Client {
	with := http.Client{}
	if client != nil {
		with = *client
	}
	if with.Transport == nil {
		with.Transport = newTransport()
	}
	return &with
}

// newTransport returns the transport of calls of Coveo, if the application has
// none.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // the application has replaced it
		return http.DefaultTransport
	}
	t = t.Clone()
	// All calls go to two hosts. The default of 2 idle connections would close
	// the connections of every burst.
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, defaultMaxInFlight+3*maxCalls+maxStreams
	// Pings find a dead connection within 7 seconds, and leave 3 of the 10 for
	// a call on another one. So does the timeout of a TLS handshake.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second}
	t.TLSHandshakeTimeout = 7 * time.Second
	return t
}

// noRedirects removes the Location header, so that http.Client neither follows
// a redirect with the API key nor fails on a malformed one.
type noRedirects struct{ http.RoundTripper }

func (t noRedirects) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// repeatOnce repeats a call whose connection died before the answer began, or
// could not be set up in time. On a reused connection, it also repeats a call
// whose answer broke off in its header. A second token does no harm.
type repeatOnce struct{ http.RoundTripper }

func (t repeatOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	var connected, reused, answered atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn: func(conn httptrace.GotConnInfo) {
			connected.Store(true)
			reused.Store(conn.Reused)
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	}
	resp, err := t.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err == nil || r.Context().Err() != nil {
		return resp, err
	}
	if died := connected.Load() && (reused.Load() || !answered.Load()); !died && !isTimeout(err) {
		return nil, err
	}
	again := r.Clone(r.Context())
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.RoundTripper.RoundTrip(again)
}

// isTimeout reports whether err says that the network was too slow.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
