package app

import (
	"fmt"
	"net/http"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// startStandIn starts a stand-in for the Coveo platform and configures cfg to
// use it. The caller must close it.
func startStandIn(cfg *site.Config) *searchtokentest.Server {
	server := searchtokentest.NewServer(searchtokentest.Config{Secret: DeriveKey(cfg.SessionKey, "stand-in")})
	cfg.Coveo.OrganizationID = searchtokentest.DefaultOrganizationID
	cfg.Coveo.Environment = searchtoken.EnvProduction
	cfg.Coveo.APIKey = searchtokentest.DefaultAPIKey
	// Tokens are cached per platform URL, and processes may share a cache. So
	// reach the stand-in through a transport: its own URL has a random port.
	cfg.Coveo.HTTPClient = &http.Client{Transport: server.Platform}
	cfg.BrowserURL = server.URL
	cfg.Notice = fmt.Sprintf("This site searches a stand-in for the Coveo platform, with %d documents.",
		len(searchtokentest.DefaultDocuments()))
	if len(cfg.Users) == 0 {
		cfg.Users = []string{"alice@example.com", "bob@example.com"}
	}
	if cfg.IPXPageID == "" && cfg.IPXInterfaceID == "" {
		cfg.IPXPageID = "stand-in" // any ID works there
	}
	return server
}
