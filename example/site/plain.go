package site

import "net/http"

// plainView is the data of the plain page.
type plainView struct {
	Query   string
	Results searchResponse
	Error   string // shown instead of Results
}

// plain serves the page without JavaScript. The server sends the query itself,
// so that the token never reaches the browser.
func (s *Site) plain(w http.ResponseWriter, r *http.Request) {
	v := s.newView(r)
	v.Way = serverSearches
	v.Plain.Query = r.URL.Query().Get("q")
	status := http.StatusOK
	var err error
	v.Plain.Results, err = s.search(r.Context(), v.Coveo, v.Plain.Query)
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		return // the visitor has left
	default:
		s.logger.ErrorContext(r.Context(), "site: a query failed", "error", err)
		v.Plain.Error, status = errorTexts[http.StatusServiceUnavailable], http.StatusBadGateway
	}
	s.render(w, r, status, "plain", v)
}
