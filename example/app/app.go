// Package app runs the search site of package [site] as a command: it reads the
// command line and the environment, starts a stand-in for the Coveo platform if
// none is configured, and serves the site until the process is interrupted.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/searchtoken/searchtoken/example/site"
)

// App is what a command adds to the site. The zero App adds nothing.
type App struct {
	// About continues the first paragraph of the help. Default: empty.
	About string
	// Flags adds flags to the command line. Default: none.
	Flags func(*flag.FlagSet)
	// Configure changes the configuration that was read from the environment.
	// SessionKey is nil if SESSION_KEY is not set. The returned stop is called
	// after the site has shut down. Default: no change.
	Configure func(*site.Config) (stop func(), err error)
}

// Main is the main function of the command. It serves the site until the
// process is interrupted, and exits with a status other than 0 after an error.
func (a App) Main() {
	o, err := a.parseArgs(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // parseArgs has printed the error
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := a.run(ctx, o, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// run serves the site until ctx is done, and then shuts it down.
func (a App) run(ctx context.Context, o options, getenv func(string) string, stdout, stderr io.Writer) error {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	s, err := readSettings(getenv, logger)
	if err != nil {
		return err
	}
	s.site.Assets = o.assets
	s.site.Proxy = o.proxy
	s.site.Secure = o.secure
	if a.Configure != nil {
		stop, err := a.Configure(&s.site)
		if err != nil {
			return err
		}
		defer stop()
	}
	if s.site.SessionKey == nil {
		logger.Info("SESSION_KEY is not set: all sessions end when this process ends")
		s.site.SessionKey = newSessionKey()
	}

	listener, err := listen(o.addr, logger)
	if err != nil {
		return err
	}
	defer listener.Close()
	addr := listener.Addr().(*net.TCPAddr)
	if !addr.IP.IsLoopback() {
		if err := s.checkPublicAddr(logger); err != nil {
			return err
		}
	}

	if s.standIn {
		platform := startStandIn(&s.site)
		defer platform.Close()
	}
	searchSite, err := site.New(s.site)
	if err != nil {
		return err
	}
	if !s.standIn {
		if err := checkCoveo(ctx, searchSite, logger); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "Search site: %s (stop it with Ctrl+C)\n", siteURL(addr))
	return serve(ctx, listener, searchSite, o.drain, logger)
}
