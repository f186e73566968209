package searchtoken

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/searchtoken/searchtoken/internal/redact"
)

// Environment is one of Coveo's platforms, under the name that Headless uses.
type Environment string

// The environments. The zero Environment is EnvProduction. EnvStaging and
// EnvDevelopment are for Coveo's own staff.
const (
	EnvProduction  Environment = "prod"
	EnvHIPAA       Environment = "hipaa"
	EnvStaging     Environment = "stg"
	EnvDevelopment Environment = "dev"
)

// suffix returns the environment's part of a host name.
func (e Environment) suffix() string {
	if e == "" || e == EnvProduction {
		return ""
	}
	return string(e)
}

var (
	// apiKeyStart is how Coveo's API keys start. A key in a host name would
	// leak to DNS servers.
	apiKeyStart = regexp.MustCompile(`^(?i:xx[0-9a-f]{8}-)`)

	// apiPath is how a base URL ends that has the start of an API's path.
	apiPath = regexp.MustCompile(`/rest(/(search|ua|v15|organizations)(/.*)?)?/*$`)

	dnsLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)
)

// endpoints returns the base URLs of the platform and of analytics: the given
// ones, or the organization's own (https://docs.coveo.com/en/mcc80216). The
// error names every bad field. It has no "searchtoken: ".
func endpoints(
	organization string, env Environment, platform, analytics string,
) (platformURL, analyticsURL string, err error) {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fault(field, fmt.Sprintf(format, args...)))
	}
	switch {
	case organization == "":
		bad("OrganizationID", "is required")
	case apiKeyStart.MatchString(organization):
		bad("OrganizationID", "looks like an API key")
	case !dnsLabel.MatchString(organization):
		bad("OrganizationID", "%q is not a DNS label (letters, digits and hyphens, at most 63)", redact.Text(organization))
	}
	switch env {
	case "", EnvProduction, EnvHIPAA, EnvStaging, EnvDevelopment:
	default:
		bad("Environment", "%q is not one of prod, hipaa, stg, dev", redact.Text(string(env)))
	}
	platformURL, analyticsURL = ownEndpoints(organization, env)
	for _, f := range []struct {
		name, value string
		base        *string
	}{{"PlatformURL", platform, &platformURL}, {"AnalyticsURL", analytics, &analyticsURL}} {
		if f.value == "" {
			continue
		}
		if err := checkBaseURL(f.value); err != nil {
			bad(f.name, "%v", err)
		}
		*f.base = strings.TrimRight(f.value, "/")
	}
	return platformURL, analyticsURL, errors.Join(faults...)
}

// ownEndpoints returns the base URLs of an organization's own endpoints.
func ownEndpoints(organization string, env Environment) (platform, analytics string) {
	domain := ".org" + env.suffix() + ".coveo.com"
	return "https://" + organization + domain, "https://" + organization + ".analytics" + domain
}

// checkBaseURL refuses a URL that would send a secret in clear text, and one
// that cannot be the start of another URL. The error does not quote the URL,
// which may contain a password.
func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("is not a URL")
	}
	_, portErr := strconv.ParseUint(cmp.Or(u.Port(), "443"), 10, 16)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must start with https://, or http:// on loopback")
	case !isHost(u.Hostname()), portErr != nil:
		return errors.New("must have a host, as in https://host or https://host:8443")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("must be https; http is allowed on loopback only")
	case u.User != nil || strings.ContainsAny(s, "?#"):
		return errors.New("must not have a user, a query or a fragment")
	case apiPath.MatchString(u.Path):
		return errors.New("must end before /rest, which starts the paths of Coveo's APIs")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }):
		return errors.New("contains characters that are not allowed in a URL")
	}
	return nil
}

// isLoopback reports whether host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
