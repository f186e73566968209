// Package app is what the example's commands have in common: the command line,
// the environment, the stand-in for the Coveo platform, and the server.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/searchtoken/searchtoken/example/site"
)

const defaultAddr = "127.0.0.1:8080"

const (
	usage = `Usage: example [flags]

Example serves a search site with log-in, on a stand-in for the Coveo platform.
`
	help = `With these environment variables it searches the real platform instead:

  COVEO_ORGANIZATION_ID  the organization
  COVEO_API_KEY          an "Authenticated search" key, or in its place
  COVEO_ACCESS_TOKEN     your own access token, for a first try
  COVEO_ENVIRONMENT      hipaa, for example; default: prod
  EXAMPLE_USERS          e-mail addresses to log in as, with commas between them
  COVEO_IPX_PAGE_ID      the In-Product Experience of the IPX page, or
  COVEO_IPX_INTERFACE_ID one of the IPX builder's

This one lets sessions outlive the process:

  SESSION_KEY            32 bytes or more, in hexadecimal or base64

Flags:

`
)

// App is what a command adds to the site. The zero App adds nothing.
type App struct {
	// About is more lines for the help's first paragraph. Default: none.
	About string
	// Flags adds flags to the command line. Default: none.
	Flags func(*flag.FlagSet)
	// Configure changes the site's configuration as the environment has it:
	// SessionKey is nil where SESSION_KEY is not set. What it returns is called
	// when the site is closed. Default: nothing is changed.
	Configure func(*site.Config) (stop func(), err error)
}

// Main is the main function of the command: it serves the site until the process
// is interrupted.
func (a App) Main() {
	o, err := a.parseArgs(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // parseArgs has said why
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := a.run(ctx, o, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	addr, assets string
	secure       bool
}

// parseArgs reads the command line. On stderr it says what is wrong with it, or
// the help that is asked for.
func (a App) parseArgs(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("example", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage, a.About, help)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.addr, "addr", "", "the `address` to listen on (default "+defaultAddr+", or a free port if that is taken)")
	flags.StringVar(&o.assets, "assets", site.DefaultAssets, "the `URL` of Coveo's front-end libraries, under the CDN's paths")
	flags.BoolVar(&o.secure, "secure", false, "keep the session cookie off plain http, for a site that is reached by https")
	if a.Flags != nil {
		a.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, "example:", err)
		flags.Usage()
		return options{}, err
	}
	return o, nil
}

// run serves the site until ctx is done.
func (a App) run(ctx context.Context, o options, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	s, err := readSettings(getenv, logger)
	if err != nil {
		return err
	}
	s.site.Assets = o.assets
	s.site.Secure = o.secure
	if a.Configure != nil {
		stop, err := a.Configure(&s.site)
		if err != nil {
			return err
		}
		defer stop()
	}
	if s.site.SessionKey == nil {
		logger.Info("SESSION_KEY is not set: sessions end with this process")
		s.site.SessionKey = make([]byte, sessionKeySize)
		_, _ = rand.Read(s.site.SessionKey) // never fails
	}

	listener, err := listen(o.addr, logger)
	if err != nil {
		return err
	}
	defer listener.Close()
	loopback := listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	switch {
	case loopback:
	case s.developersToken:
		return errors.New("with COVEO_ACCESS_TOKEN every visitor searches as you: -addr must be on loopback, 127.0.0.1:8080 for example")
	case s.standIn:
		logger.Warn("the stand-in is on loopback: browsers on other machines can use the plain page only")
	default:
		logger.Warn("whoever reaches this address can log in as any of EXAMPLE_USERS, without a password")
	}

	if s.standIn {
		platform := startStandIn(&s.site)
		defer platform.Close()
	}
	searchSite, err := site.New(s.site)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, searchSite.Shutdown(grace))
	}()

	server := &http.Server{
		Handler:           searchSite,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // a token and a query take 10 seconds each at most
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	if loopback {
		server.Handler = onlyLoopbackNames(searchSite)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "Search site: %s (Ctrl+C ends it)\n", siteURL(listener.Addr().(*net.TCPAddr)))

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// listen listens on addr, or where none is asked for on defaultAddr or, if that
// is taken, on any free port.
func listen(addr string, logger *slog.Logger) (net.Listener, error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	listener, err := net.Listen("tcp", defaultAddr)
	if err != nil {
		logger.Warn("the default address is not free: taking another port; -addr chooses one", "error", err)
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return listener, nil
}

// siteURL is where a browser on this machine finds addr.
func siteURL(addr *net.TCPAddr) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port)) + "/"
}

// onlyLoopbackNames refuses requests for other names, so that no site can reach
// this one under a name of its own that it lets resolve to loopback.
func onlyLoopbackNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		if ip := net.ParseIP(host); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "This site answers to localhost and 127.0.0.1 only.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
