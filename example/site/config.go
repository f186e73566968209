package site

import (
	"time"

	"github.com/searchtoken/searchtoken"
)

const (
	// DefaultAssets is the origin that Coveo serves its front-end libraries
	// from.
	DefaultAssets = "https://static.cloud.coveo.com"

	// RenewURL is the path at which open pages renew their token.
	RenewURL = "/coveo/token"

	// ProxyURL is the path under which the site answers the calls of the front
	// ends, if Config.Proxy is set.
	ProxyURL = "/coveo"

	// Tokens are short-lived because Coveo cannot revoke a token that a browser
	// holds. The front ends renew theirs in the page.
	tokenLife = time.Hour

	// IPX cannot renew its token, so that it must last for a working day.
	ipxTokenLife    = 24 * time.Hour
	ipxMinRemaining = 8 * time.Hour

	minSessionKey = 32 // bytes
)

// Config configures a [Site].
type Config struct {
	// Coveo configures the site's [searchtoken.Middleware]. New sets Identify,
	// RenewURL, ProxyURL, Nonce, Optional and ErrorHandler, and ignores what
	// they are here. Params.ValidFor defaults to one hour.
	Coveo searchtoken.Config
	// Proxy sends the calls of the front ends through the site, so that their
	// pages hold no token. The IPX page has its token even so, because IPX
	// cannot work without one. Default: the pages hold a token, and browsers
	// call Coveo.
	Proxy bool
	// SessionKey signs the session cookies. Required: at least 32 bytes, the
	// same in every process that serves the site.
	SessionKey []byte
	// EndedSessions remembers which sessions have ended. All processes that
	// serve the site must share one: without it, a copied session cookie keeps
	// working in other processes after logout. Default: the memory of this
	// process.
	EndedSessions EndedSessions
	// Secure restricts the session cookie to https. Set it if browsers reach
	// the site by https. Default: false.
	Secure bool
	// BrowserURL is the URL at which browsers reach Coveo's APIs, including
	// analytics, if it differs from the URL that this server uses. Default:
	// Coveo.PlatformURL and Coveo.AnalyticsURL.
	BrowserURL string
	// Users are the email addresses that visitors can log in as. There are no
	// passwords; a real site asks its identity provider. Default: none, so that
	// every visitor is anonymous.
	Users []string
	// Assets is the origin that browsers load Coveo's front-end libraries from,
	// with the paths of Coveo's CDN. Default: [DefaultAssets].
	Assets string
	// IPXPageID and IPXInterfaceID name the In-Product Experiences on the IPX
	// page: a classic one, and one made with the IPX builder. Default: none.
	IPXPageID, IPXInterfaceID string
	// Notice is a sentence that every page shows. Default: none.
	Notice string
}
