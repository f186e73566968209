package site

import (
	"fmt"
	"net/http"
	"time"

	"github.com/searchtoken/searchtoken"
)

// pageInfo describes a page in the navigation and on the home page.
type pageInfo struct{ Path, Name, About string }

var searchPages = []pageInfo{
	{"/jsui", "JSUI", "Coveo's JavaScript Search Framework, the oldest of its front ends and still on many sites."},
	{"/atomic", "Atomic", "Coveo's web components: a search page made of a few custom elements."},
	{"/headless", "Headless", "Coveo's search library without a user interface; this site adds a small one."},
	{"/ipx", "IPX", "An In-Product Experience: a search panel designed on Coveo's platform and loaded by one script."},
	{"/plain", "Plain", "A form and a result list that the server renders, without JavaScript and Coveo's libraries."},
}

// How the queries of a page reach Coveo.
const (
	browserSearches = "Your browser searches Coveo itself, with the search token in this page."
	proxySearches   = "Your browser sends its searches to this site, which adds your search token. " +
		"This page holds no token."
	serverSearches = "This site sends the query, with your search token. This page holds no token."
)

// view is the data of the templates.
type view struct {
	Pages                     []pageInfo
	Notice, Assets            string
	Proxy                     bool
	Users                     []string
	IPXPageID, IPXInterfaceID string

	Title string
	Here  pageInfo
	Way   string // how the queries of the page reach Coveo; "": it has none
	Back  string // where login and logout return to
	Nonce string
	Coveo *searchtoken.Page // nil if the request has none, as on most error pages

	Plain plainView // plain page only
	Error string    // error page only
}

// User returns the email address of the user, or "" for anonymous visitors.
func (v view) User() string {
	if v.Coveo == nil || len(v.Coveo.Identity.UserIDs) == 0 {
		return ""
	}
	id := v.Coveo.Identity.UserIDs[0]
	if id == searchtoken.Anonymous().UserIDs[0] {
		return ""
	}
	return id.Name
}

// TokenLife returns the time until the token expires, as text.
func (v view) TokenLife() string {
	left := time.Until(v.Coveo.Token.Expiry)
	if left >= 2*time.Hour {
		return fmt.Sprintf("%.0f hours", left.Hours())
	}
	return fmt.Sprintf("%.0f minutes", left.Minutes())
}

// newView returns the view with the fields that every page of r needs.
func (s *Site) newView(r *http.Request) view {
	v := s.base
	v.Back = r.URL.RequestURI()
	v.Nonce = nonce(r)
	v.Coveo, _ = searchtoken.FromContext(r.Context())
	for _, p := range searchPages {
		if p.Path == r.URL.Path {
			v.Here, v.Title = p, p.Name
		}
	}
	return v
}

// page returns the handler of the page with this name. The page loads the given
// front ends.
func (s *Site) page(name string, frontEnds ...searchtoken.FrontEnd) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newView(r)
		switch {
		case len(frontEnds) == 0:
		case v.Coveo.ProxyURL != "":
			v.Way = proxySearches
		default:
			v.Way = browserSearches
		}
		if s.browserURL != "" {
			page := *v.Coveo
			page.PlatformURL, page.AnalyticsURL = s.browserURL, s.browserURL
			v.Coveo = &page
		}
		policy, err := s.policy(v.Coveo, frontEnds)
		if err != nil {
			s.logger.ErrorContext(r.Context(), "site: cannot build the policy of a page", "page", name, "error", err)
			s.fail(w, r, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		s.render(w, r, http.StatusOK, name, v)
	})
}

// errorTexts are what the error page shows for each status. They give a visitor
// no details.
var errorTexts = map[int]string{
	http.StatusBadRequest:         "This form is not valid. Go back and try again.",
	http.StatusForbidden:          "This form was sent from another site.",
	http.StatusNotFound:           "This page does not exist.",
	http.StatusMethodNotAllowed:   "This address does not accept requests of this kind.",
	http.StatusBadGateway:         "The search is not available. The operator of this site has to repair it.",
	http.StatusServiceUnavailable: "The search is not available at the moment. Please try again in a minute.",
}

// fail answers with the error page.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int) {
	v := s.newView(r)
	v.Title = http.StatusText(status)
	v.Error = errorTexts[status]
	if v.Error == "" {
		v.Error = "Something went wrong on this site."
	}
	s.render(w, r, status, "error", v)
}
