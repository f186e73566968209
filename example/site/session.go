package site

import (
	"context"
	"crypto/rand"
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
	sessionID     = "id"    // the key of what EndedSessions knows it by
	sessionLife   = 12 * time.Hour
	minSessionKey = 32

	maxForm = 8 << 10 // bytes

	endTimeout  = 5 * time.Second // to end a session, and to forget a user's tokens
	lookTimeout = 250 * time.Millisecond
)

// newStore keeps sessions in cookies that are signed with key. A copy of such a
// cookie would stay good until its life is over, log-out or not: hence
// EndedSessions.
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
	s.endSession(r)
	session := s.newSession()
	session.Values[sessionEmail] = user
	session.Values[sessionID] = rand.Text()
	s.saveAndReturn(w, r, session)
}

// logOut ends the session, and takes its cookie back.
func (s *Site) logOut(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	s.endSession(r)
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

// loggedIn says who is logged in: ErrNoIdentity for anonymous visitors, and for
// copies of a cookie whose session was ended.
func (s *Site) loggedIn(r *http.Request) (searchtoken.Identity, error) {
	identity, err := s.cookieUser(r)
	if err != nil {
		return searchtoken.Identity{}, err
	}
	id := s.cookieID(r)
	if id == "" {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	// Other requests may share the look-up: the end of this one must not fail it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), lookTimeout)
	defer cancel()
	ended, err := s.ended.Ended(ctx, id)
	if err != nil {
		s.lookFailure.Do(func() {
			s.logger.ErrorContext(ctx, "site: it is not known which sessions were ended; log-out does not stop copies of their cookies", "error", err)
		})
	}
	if ended {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return identity, nil
}

// cookieID is the id of the session in the request's cookie, which has been
// decoded; "" where it has none.
func (s *Site) cookieID(r *http.Request) string {
	session, _ := s.store.Get(r, sessionName)
	id, _ := session.Values[sessionID].(string)
	return id
}

// endSession ends the session of whoever is logged in, wherever its cookie has been
// copied to, and drops the user's tokens. That it fails is nothing to the visitor,
// who wants to be gone.
func (s *Site) endSession(r *http.Request) {
	identity, err := s.loggedIn(r)
	if err != nil {
		return
	}
	// Before its tokens are dropped, or a copy of the cookie would get others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endTimeout)
	defer cancel()
	if err := s.ended.End(ctx, s.cookieID(r), sessionLife); err != nil {
		s.logger.ErrorContext(ctx, "site: a session was not ended, only its cookie taken back", "error", err)
	}
	s.forget(r.Context(), identity)
}

// forget drops the tokens of a user, even if the visitor does not wait for it.
func (s *Site) forget(ctx context.Context, id searchtoken.Identity) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
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
