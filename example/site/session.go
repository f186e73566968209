package site

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gorilla/sessions"
	"github.com/searchtoken/searchtoken"
)

const (
	sessionName   = "example_session"
	sessionEmail  = "email" // the key of the user's e-mail address in it
	sessionLife   = 12 * time.Hour
	minSessionKey = 32

	maxForm = 8 << 10 // bytes
)

// newStore keeps sessions in cookies that are signed with key. A copy of such a
// cookie stays good until its life is over, log-out or not; a store that keeps
// sessions on the server can do better.
func newStore(key []byte, secure bool) *sessions.CookieStore {
	store := sessions.NewCookieStore(key)
	store.Options = &sessions.Options{
		Path:     "/",
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
	}
	store.MaxAge(int(sessionLife.Seconds())) // in the browser, and for the signature
	return store
}

// logIn begins a session as one of the site's users.
func (s *Site) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	user := r.PostFormValue("user")
	if !slices.Contains(s.base.Users, user) {
		s.fail(w, r, http.StatusBadRequest)
		return
	}
	s.forgetVisitor(r)
	session := s.newSession()
	session.Values[sessionEmail] = user
	s.saveAndReturn(w, r, session)
}

// logOut ends the session, and forgets the user's tokens.
func (s *Site) logOut(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	s.forgetVisitor(r)
	session := s.newSession()
	session.Options.MaxAge = -1
	s.saveAndReturn(w, r, session)
}

// newSession is a session that has nothing of an earlier one.
func (s *Site) newSession() *sessions.Session {
	session := sessions.NewSession(s.store, sessionName)
	options := *s.store.Options
	session.Options = &options
	return session
}

// forgetVisitor drops the tokens of whoever has been logged in.
func (s *Site) forgetVisitor(r *http.Request) {
	if id, err := s.loggedIn(r); err == nil {
		s.forget(r.Context(), id)
	}
}

// forget drops the tokens of a user. That it fails is nothing to the visitor,
// who wants to be gone or to try again.
func (s *Site) forget(ctx context.Context, id searchtoken.Identity) {
	// Even if the visitor does not wait for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.coveo.Forget(ctx, id); err != nil {
		s.logger.ErrorContext(ctx, "site: tokens were not forgotten", "error", err)
	}
}

// saveAndReturn sends the session's cookie, and the visitor back to the page
// with the form.
func (s *Site) saveAndReturn(w http.ResponseWriter, r *http.Request, session *sessions.Session) {
	if err := s.store.Save(r, w, session); err != nil {
		s.logger.ErrorContext(r.Context(), "site: the session was not saved", "error", err)
		s.fail(w, r, http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, returnPath(r.PostFormValue("page")), http.StatusSeeOther)
}

// returnPath is the part of page that leads to one of the site's own pages, or
// else home.
func returnPath(page string) string {
	u, err := url.Parse(page)
	if err != nil || !slices.ContainsFunc(searchPages, func(p pageInfo) bool { return p.Path == u.Path }) {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
