package site

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/gorilla/sessions"
)

const maxForm = 8 << 10 // bytes

// logIn starts a session of one of the site's users. It ends the previous
// session of the browser, if any.
func (s *Site) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	user := r.PostFormValue("user")
	if !slices.Contains(s.base.Users, user) {
		s.fail(w, r, http.StatusBadRequest)
		return
	}
	s.endSession(r)
	s.saveAndReturn(w, r, s.newUserSession(user))
}

// logOut ends the session and removes its cookie.
func (s *Site) logOut(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	s.endSession(r)
	session := s.newSession()
	session.Options.MaxAge = -1
	s.saveAndReturn(w, r, session)
}

// saveAndReturn sets the session's cookie and redirects the visitor to the page
// that sent the form.
func (s *Site) saveAndReturn(w http.ResponseWriter, r *http.Request, session *sessions.Session) {
	if err := s.store.Save(r, w, session); err != nil {
		s.logger.ErrorContext(r.Context(), "site: cannot save a session", "error", err)
		s.fail(w, r, http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, returnPath(r.PostFormValue("page")), http.StatusSeeOther)
}

// returnPath returns the path and query of page if it is one of the search
// pages, else "/". It drops scheme and host: a form must not redirect to
// another site.
func returnPath(page string) string {
	u, err := url.Parse(page)
	if err != nil || !slices.ContainsFunc(searchPages, func(p pageInfo) bool { return p.Path == u.Path }) {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
