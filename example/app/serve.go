package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/searchtoken/searchtoken/example/site"
)

// gracePeriod is how long a shutdown may take. Requests that are still running
// after it are cut off.
const gracePeriod = 10 * time.Second

// serve answers requests until ctx is done. It goes on for the time to drain,
// in which the site is not ready, and then shuts down the server and the site.
func serve(ctx context.Context, listener net.Listener, s *site.Site, drain time.Duration, logger *slog.Logger) error {
	p := newProbes(s, s.Ready)
	server := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // a token and a query take at most 10 seconds each
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		server.Handler = onlyLoopbackNames(p)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		p.draining.Store(true)
		select {
		case err = <-failed:
		case <-time.After(drain):
		}
	}
	return errors.Join(err, shutDown(server, s))
}

// shutDown shuts down the server and the site within the grace period.
func shutDown(server *http.Server, s *site.Site) error {
	ctx, cancel := context.WithTimeout(context.Background(), gracePeriod)
	defer cancel()
	// The server goes first: its last requests may still need a token.
	serverErr := server.Shutdown(ctx)
	if serverErr != nil {
		_ = server.Close() // cuts off the requests that are still running
	}
	siteErr := s.Shutdown(ctx)
	if err := cmp.Or(serverErr, siteErr); err != nil {
		return fmt.Errorf("the shutdown was not complete after %v: %w", gracePeriod, err)
	}
	return nil
}
