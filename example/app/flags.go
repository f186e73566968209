package app

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/searchtoken/searchtoken/example/site"
)

const (
	usage = `Usage: example [flags]

Example serves a search site with login, on a stand-in for the Coveo platform.
`
	help = `
To search the real platform instead, set these environment variables:

  COVEO_ORGANIZATION_ID   ID of your organization
  COVEO_API_KEY           API key made from the "Authenticated search" template
  COVEO_ACCESS_TOKEN      your own access token, instead of a key, for a first try
  COVEO_ENVIRONMENT       prod, hipaa, stg or dev (default prod)

Optional, on the stand-in as well:

  EXAMPLE_USERS           email addresses to log in as, separated by commas
  COVEO_IPX_PAGE_ID       ID of the In-Product Experience on the IPX page
  COVEO_IPX_INTERFACE_ID  the same, if it was made with the IPX builder
  SESSION_KEY             at least 32 bytes in hexadecimal or base64: with the
                          same key, sessions survive a restart

/healthz answers 200 while the process is up, and /readyz while it can serve
visitors.

Flags:

`
)

// options are the values of the command line flags.
type options struct {
	addr, assets  string
	proxy, secure bool
	drain         time.Duration
}

// parseArgs reads the command line. It prints errors, and the help that -h asks
// for, to stderr.
func (a App) parseArgs(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("example", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage, a.About, help)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.addr, "addr", "",
		"`address` to listen on (default "+defaultAddr+", or a free port if that is taken)")
	flags.StringVar(&o.assets, "assets", site.DefaultAssets,
		"`URL` to load Coveo's front-end libraries from; the paths below it are those of Coveo's CDN")
	flags.BoolVar(&o.proxy, "proxy", false,
		"send the calls of the front ends through the site, so that their pages hold no token")
	flags.BoolVar(&o.secure, "secure", false, "send the session cookie over https only; set it if browsers use https")
	flags.DurationVar(&o.drain, "drain", 0,
		"how long to go on after the signal to stop, while /readyz answers 503: as long as a load balancer needs to notice")
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
