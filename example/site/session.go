package site

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
	"github.com/searchtoken/searchtoken"
)

const (
	sessionName = "example_session"
	sessionLife = 12 * time.Hour

	// The keys of a session's values.
	emailKey = "email" // the user's email address
	idKey    = "id"    // the session's ID in EndedSessions

	endTimeout    = 5 * time.Second
	lookupTimeout = 250 * time.Millisecond // every page waits for the lookup
)

// newStore returns a store that keeps each session in a cookie signed with key.
func newStore(key []byte, secure bool) *sessions.CookieStore {
	store := sessions.NewCookieStore(key)
	store.Options = &sessions.Options{
		Path:     "/",
		HttpOnly: true,
		Secure:   secure,
		SameSite: http.SameSiteLaxMode,
	}
	store.MaxAge(int(sessionLife.Seconds())) // of the cookie and of its signature
	return store
}

// newSession returns an empty session, without the values of the current one.
func (s *Site) newSession() *sessions.Session {
	session := sessions.NewSession(s.store, sessionName)
	options := *s.store.Options
	session.Options = &options
	return session
}

// newUserSession returns a session of a user, with an ID that no other has.
func (s *Site) newUserSession(user string) *sessions.Session {
	session := s.newSession()
	session.Values[emailKey] = user
	session.Values[idKey] = rand.Text()
	return session
}

// loggedIn is the [searchtoken.IdentityFunc] of visitors who are logged in. It
// returns ErrNoIdentity if the request has no session, or one that has ended.
func (s *Site) loggedIn(r *http.Request) (searchtoken.Identity, error) {
	identity, err := s.cookieUser(r)
	if err != nil {
		return searchtoken.Identity{}, err
	}
	id := s.sessionID(r)
	if id == "" {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	// EndedSessions may let requests share a lookup, so that a visitor who
	// leaves must not cancel it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), lookupTimeout)
	defer cancel()
	ended, err := s.ended.Ended(ctx, id)
	if err != nil {
		s.lookupFailed.Do(func() {
			s.logger.ErrorContext(ctx,
				"site: cannot look up ended sessions: copies of a session cookie work even after logout", "error", err)
		})
	}
	if ended {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return identity, nil
}

// sessionID returns the ID of the request's session, or "" if it has none.
func (s *Site) sessionID(r *http.Request) string {
	session, _ := s.store.Get(r, sessionName) // an error leaves the session empty
	id, _ := session.Values[idKey].(string)
	return id
}

// endSession ends the request's session in every copy of its cookie, and then
// drops the user's tokens. It only logs errors: in any case, the caller
// replaces the cookie in this browser.
func (s *Site) endSession(r *http.Request) {
	// Forget needs the identity that the user's pages had, so call the same
	// IdentityFunc, while the session is still valid. Anonymous visitors have
	// no session to end, and share their tokens.
	identity, err := s.loggedIn(r)
	if err != nil {
		return
	}
	// End the session first. If Forget came first, a request between the two
	// would still have the session, and would fetch and cache a token again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endTimeout)
	defer cancel()
	if err := s.ended.End(ctx, s.sessionID(r), sessionLife); err != nil {
		s.logger.ErrorContext(ctx, "site: cannot end a session: copies of its cookie still work", "error", err)
	}
	s.forget(r.Context(), identity)
}

// forget drops the cached tokens of a user, even if the visitor has left.
func (s *Site) forget(ctx context.Context, id searchtoken.Identity) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := s.coveo.Forget(ctx, id); err != nil {
		s.logger.ErrorContext(ctx, "site: cannot forget a user's tokens", "error", err)
	}
}
