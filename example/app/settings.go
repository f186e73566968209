package app

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// settings are what the environment says.
type settings struct {
	site            site.Config
	standIn         bool // searches a stand-in for the Coveo platform
	developersToken bool // everybody searches as the developer
}

// readSettings reads the environment. No value of it enters an error or the log.
func readSettings(getenv func(string) string, logger *slog.Logger) (settings, error) {
	organization, apiKey, accessToken := getenv("COVEO_ORGANIZATION_ID"), getenv("COVEO_API_KEY"), getenv("COVEO_ACCESS_TOKEN")
	s := settings{
		site: site.Config{
			Coveo: searchtoken.Config{
				OrganizationID: organization,
				Environment:    searchtoken.Environment(getenv("COVEO_ENVIRONMENT")),
				Logger:         logger,
			},
			Users:          splitList(getenv("EXAMPLE_USERS")),
			IPXPageID:      getenv("COVEO_IPX_PAGE_ID"),
			IPXInterfaceID: getenv("COVEO_IPX_INTERFACE_ID"),
		},
		standIn:         organization == "" && apiKey == "" && accessToken == "",
		developersToken: accessToken != "",
	}
	switch {
	case s.standIn:
	case organization == "":
		return settings{}, errors.New("COVEO_ORGANIZATION_ID is missing")
	case apiKey != "" && accessToken != "":
		return settings{}, errors.New("COVEO_API_KEY and COVEO_ACCESS_TOKEN exclude each other: set one of them")
	case apiKey != "":
		s.site.Coveo.APIKey = apiKey
	case accessToken != "":
		logger.Warn("COVEO_ACCESS_TOKEN: every visitor searches as the developer whose token it is, for 4 hours at most")
		s.site.Coveo.Issuer = searchtoken.AccessToken(accessToken, time.Time{})
		s.site.Notice = "Whoever is logged in, every search here is made as the developer whose access token this site was started with."
	default:
		return settings{}, errors.New("COVEO_API_KEY is missing (or COVEO_ACCESS_TOKEN, for a first try)")
	}
	if !s.standIn && len(s.site.Users) == 0 {
		logger.Warn("EXAMPLE_USERS is not set: there is nobody to log in as")
	}

	var err error
	if s.site.SessionKey, err = sessionKey(getenv("SESSION_KEY")); err != nil {
		return settings{}, err
	}
	return s, nil
}

// startStandIn starts a stand-in for the Coveo platform, and makes cfg use it.
// The caller must close it.
func startStandIn(cfg *site.Config) *searchtokentest.Server {
	server := searchtokentest.NewServer(searchtokentest.Config{Secret: DeriveKey(cfg.SessionKey, "stand-in")})
	cfg.Coveo.OrganizationID = searchtokentest.DefaultOrganizationID
	cfg.Coveo.Environment = searchtoken.EnvProduction
	cfg.Coveo.APIKey = searchtokentest.DefaultAPIKey
	// Under the organization's own address, which is the same in every process:
	// tokens are cached for an address.
	cfg.Coveo.HTTPClient = &http.Client{Transport: server.Platform}
	cfg.BrowserURL = server.URL
	cfg.Notice = "This site searches a stand-in for the Coveo platform, which has eight documents."
	if len(cfg.Users) == 0 {
		cfg.Users = []string{"alice@example.com", "bob@example.com"}
	}
	if cfg.IPXPageID == "" && cfg.IPXInterfaceID == "" {
		cfg.IPXPageID = "stand-in" // which takes any
	}
	return server
}

const sessionKeySize = 32 // at least

// sessionKey decodes SESSION_KEY; none is nil.
func sessionKey(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	// What can be read as hexadecimal is hexadecimal.
	key, err := hex.DecodeString(text)
	if err != nil {
		unpadded := strings.TrimRight(text, "=")
		if key, err = base64.RawStdEncoding.DecodeString(unpadded); err != nil {
			key, err = base64.RawURLEncoding.DecodeString(unpadded)
		}
	}
	if err != nil || len(key) < sessionKeySize {
		return nil, errors.New("SESSION_KEY must be at least 32 bytes in hexadecimal or base64; openssl rand -hex 32 makes one")
	}
	return key, nil
}

// DeriveKey returns the 32 bytes that the processes with this session key have
// for a purpose, and that tell nothing of the key.
func DeriveKey(sessionKey []byte, purpose string) []byte {
	key, _ := hkdf.Key(sha256.New, sessionKey, nil, "searchtoken example: "+purpose, sha256.Size) // fails for longer ones only
	return key
}

// splitList splits a list at its commas, without the space around them.
func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
