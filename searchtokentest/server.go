package searchtokentest

import (
	"context"
	"net"
	"net/http/httptest"
)

// Server is a [Platform] that listens on loopback, for browsers and for clients
// that need a real connection. The zero Server does not work; use [NewServer].
// All methods are safe for concurrent use.
type Server struct {
	*Platform

	// URL is the server's address, "http://127.0.0.1:port" without a trailing
	// slash. It replaces the organization's endpoints for search and analytics,
	// and the platform's host.
	URL string

	server *httptest.Server
	cancel context.CancelFunc
}

// NewServer starts a server for cfg. The caller must call [Server.Close].
// NewServer panics if it cannot listen, as [httptest.NewServer] does.
func NewServer(cfg Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Platform: New(cfg), cancel: cancel}
	s.server = httptest.NewUnstartedServer(s.Platform)
	s.server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.server.Start()
	s.URL = s.server.URL
	return s
}

// Close shuts the server down. It ends all responses in progress, including
// delayed and endless ones, and does not wait for clients. The Platform and its
// recorded requests remain usable.
func (s *Server) Close() {
	s.cancel()
	s.server.CloseClientConnections()
	s.server.Close()
}
