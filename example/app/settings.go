package app

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
)

// settings are the values of the environment variables.
type settings struct {
	site            site.Config
	standIn         bool // search a stand-in for the Coveo platform
	developersToken bool // every visitor searches as the owner of an access token
}

// readSettings reads the environment. Values may be secret: none enters an
// error or the log.
func readSettings(getenv func(string) string, logger *slog.Logger) (settings, error) {
	organization := getenv("COVEO_ORGANIZATION_ID")
	apiKey, accessToken := getenv("COVEO_API_KEY"), getenv("COVEO_ACCESS_TOKEN")
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
		return settings{}, errors.New(
			"COVEO_ORGANIZATION_ID is not set: set it to the ID of the organization that the key or token is for")
	case apiKey != "" && accessToken != "":
		return settings{}, errors.New("COVEO_API_KEY and COVEO_ACCESS_TOKEN are both set: unset one of them")
	case apiKey != "":
		s.site.Coveo.APIKey = apiKey
	case accessToken != "":
		logger.Warn(
			"COVEO_ACCESS_TOKEN is set: every visitor searches as the owner of the token, which works for at most 4 hours")
		s.site.Coveo.Issuer = searchtoken.AccessToken(accessToken, time.Time{})
		s.site.Notice = "Every search on this site runs as the developer whose access token it was started with, " +
			"whoever is logged in."
	default:
		return settings{}, errors.New("COVEO_API_KEY is not set: set it, or for a first try set COVEO_ACCESS_TOKEN")
	}
	if !s.standIn && len(s.site.Users) == 0 {
		logger.Warn("EXAMPLE_USERS is not set: nobody can log in")
	}

	var err error
	if s.site.SessionKey, err = parseSessionKey(getenv("SESSION_KEY")); err != nil {
		return settings{}, err
	}
	return s, nil
}

// checkPublicAddr is called if other machines can reach the site's address. It
// logs what that means, or returns an error if these settings forbid it.
func (s settings) checkPublicAddr(logger *slog.Logger) error {
	switch {
	case s.developersToken:
		return errors.New("with COVEO_ACCESS_TOKEN every visitor searches as you: " +
			"set -addr to a loopback address, for example " + defaultAddr)
	case s.standIn && s.site.Proxy:
		logger.Warn("browsers on other machines cannot use the IPX page: the stand-in listens on loopback")
	case s.standIn:
		logger.Warn("browsers on other machines can only use the plain page: the stand-in listens on loopback")
	default:
		logger.Warn("anyone who reaches this address can log in as any user in EXAMPLE_USERS, without a password")
	}
	return nil
}

// splitList splits text at its commas. It trims spaces and drops empty items.
func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
