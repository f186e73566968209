package searchtokentest

import (
	"context"
	"net"
	"net/http/httptest"
)

// Server is a Platform that listens on loopback, for browsers and for clients that shall use a real connection.
type Server struct {
	*Platform

	// URL is the server's address, "http://127.0.0.1:port" without a trailing slash. It takes the place of the
	// organization's endpoint, of its analytics endpoint and of the platform's host.
	URL string

	server *httptest.Server
	cancel context.CancelFunc
}

// NewServer starts a server for cfg. The caller must call Close.
func NewServer(cfg Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Platform: New(cfg), cancel: cancel}
	s.server = httptest.NewUnstartedServer(s.Platform)
	s.server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.server.Start()
	s.URL = s.server.URL
	return s
}

// Close shuts the server down. It ends calls that are under way, delayed and endless answers among them, and does not
// wait for their clients. The Platform stays usable for what it has recorded.
func (s *Server) Close() {
	s.cancel()
	s.server.CloseClientConnections()
	s.server.Close()
}
