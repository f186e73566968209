package searchtoken

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// UserType is the type of a security identity.
type UserType string

// The types that Coveo knows
// (https://docs.coveo.com/en/56/#userids-array-of-restuserid-required). The
// zero UserType is UserTypeUser.
const (
	UserTypeUser         UserType = "User"
	UserTypeGroup        UserType = "Group"
	UserTypeVirtualGroup UserType = "VirtualGroup"
	UserTypeUnknown      UserType = "Unknown"
)

// EmailSecurityProvider is the security identity provider whose names are email
// addresses. Every Coveo organization has it.
const EmailSecurityProvider = "Email Security Provider"

// UserID is a security identity: Coveo's model RestUserId.
type UserID struct {
	// Name is the name of the identity in its provider. Required.
	Name string `json:"name"`
	// Provider is the security identity provider, for example
	// EmailSecurityProvider. Required.
	Provider string `json:"provider"`
	// Type is the type of the identity. Default: UserTypeUser.
	Type UserType `json:"type,omitempty"`
}

// Identity is the user of a request.
type Identity struct {
	// UserIDs are the security identities to impersonate, in order. At least
	// one is required.
	UserIDs []UserID
	// DisplayName is the user's name in analytics. It may be empty.
	DisplayName string
	// Groups are the user's groups in analytics and in the conditions of query
	// pipelines. They may be empty. They grant no rights.
	Groups []string
	// Expires is when the user's session ends. If it is set, tokens outlive the
	// session by at most 15 minutes, the shortest life of Coveo's tokens. Zero:
	// not known.
	Expires time.Time
}

// names returns the names in id, to redact them in an error.
func (id *Identity) names() []string {
	return namesIn(TokenParams{UserIDs: id.UserIDs, UserDisplayName: id.DisplayName})
}

// Email returns the identity of the user with an email address.
func Email(address string) Identity {
	return Identity{UserIDs: []UserID{{Name: address, Provider: EmailSecurityProvider, Type: UserTypeUser}}}
}

// Anonymous returns the identity of a visitor who is not logged in. Its name is
// the one that Coveo's analytics recognize as anonymous
// (https://docs.coveo.com/en/56/#name-string-required).
func Anonymous() Identity { return Email("anonymous") }

// IdentityFunc returns the user of a request. If nobody is logged in, it
// returns [ErrNoIdentity] or an error that wraps it. Every other error means
// that it could not find out, and goes to the ErrorHandler.
//
// It is called once per request, on the goroutine of the request. It must be
// safe for concurrent calls with different requests.
type IdentityFunc func(*http.Request) (Identity, error)

// SessionIdentity returns an IdentityFunc that looks into the session with a
// name in a gorilla sessions.Store. resolve gets the session and returns its
// user, under the contract of [IdentityFunc]. The result is safe for concurrent
// use if store and resolve are.
//
// A missing session is an [ErrNoIdentity]. So is a session whose cookie does
// not decode, because it was tampered with, has expired, is too long, or was
// signed with an old key. So is a session whose file is missing from a
// FilesystemStore. Every other error of the store is an [ErrSession], for
// example a session value whose type is not registered with encoding/gob.
//
// The wrapped handler shares the session: when it calls store.Get with the same
// name, nothing is decoded again. Within a request, gorilla's registry knows a
// session by its name alone. If two stores use one name, both get the session
// of the store that was asked first: give each store another name.
func SessionIdentity(store sessions.Store, name string, resolve func(*sessions.Session) (Identity, error)) IdentityFunc {
	noSession := noIdentity("the store has no session %q for the request", name)
	return func(r *http.Request) (Identity, error) {
		session, err := getSession(store, r, name)
		switch {
		case err != nil && isMissingFile(session, err):
			return Identity{}, noIdentity("the file of the session is missing")
		case err != nil && isCookieError(err):
			return Identity{}, noIdentity("the session cookie does not decode: %w", err)
		case err != nil:
			return Identity{}, fmt.Errorf("%w: %w", ErrSession, sessionFault(err))
		case session == nil:
			return Identity{}, fmt.Errorf("%w: the store returned neither a session nor an error", ErrSession)
		case session.IsNew && len(session.Values) == 0:
			return Identity{}, noSession
		}
		return resolve(session)
	}
}

// SessionEmail is [SessionIdentity] for the most common case:
// session.Values[key] is the user's email address, a string. A session without
// it, or with an empty one, is an [ErrNoIdentity]. So is a value of another
// type. The identity does not tell when the session ends.
func SessionEmail(store sessions.Store, name, key string) IdentityFunc {
	noEmail := noIdentity("the session %q has no email address under the key %q", name, key)
	return SessionIdentity(store, name, func(session *sessions.Session) (Identity, error) {
		switch value := session.Values[key].(type) {
		case string:
			if value == "" {
				return Identity{}, noEmail
			}
			return Email(value), nil
		case nil:
			return Identity{}, noEmail
		default:
			return Identity{}, noIdentity("session value %q is a %T, not a string", key, value)
		}
	})
}

// FirstIdentity returns an IdentityFunc that calls funcs in order and returns
// the first result that is not an [ErrNoIdentity]: an identity or another
// error. If there is none, it returns an ErrNoIdentity. If a later function
// succeeds, the reason of an earlier ErrNoIdentity is logged to slog.Default at
// debug level.
func FirstIdentity(funcs ...IdentityFunc) IdentityFunc {
	return func(r *http.Request) (Identity, error) {
		none := ErrNoIdentity
		for i, identify := range funcs {
			if identify == nil {
				return Identity{}, fmt.Errorf("searchtoken: FirstIdentity: function %d is nil", i+1)
			}
			id, err := identify(r)
			if !errors.Is(err, ErrNoIdentity) {
				logNoIdentity(r.Context(), slog.Default(), none, id.names()...)
				return id, err
			}
			if err != ErrNoIdentity {
				none = err
			}
		}
		return Identity{}, none
	}
}

// AnonymousIdentity is an IdentityFunc that always returns [Anonymous]. As the
// last argument of [FirstIdentity], it lets visitors who are not logged in
// search what is public.
func AnonymousIdentity(*http.Request) (Identity, error) { return Anonymous(), nil }

// noIdentity returns an ErrNoIdentity with a reason.
func noIdentity(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNoIdentity}, args...)...)
}

// logNoIdentity logs the reason of an ErrNoIdentity, if it has one, without the
// given names.
func logNoIdentity(ctx context.Context, logger *slog.Logger, err error, names ...string) {
	if err != ErrNoIdentity && logger.Enabled(ctx, slog.LevelDebug) {
		logger.DebugContext(ctx, "searchtoken: nobody is logged in", "reason", redacted(err, names...))
	}
}

// getSession is store.Get for stores that break gorilla's contract. If New of a
// store returns a nil session, gorilla's registry panics; then getSession asks
// New for its error.
func getSession(store sessions.Store, r *http.Request, name string) (*sessions.Session, error) {
	if store == nil {
		return nil, errors.New("SessionIdentity was given no store")
	}
	session, err := withoutPanic(store.Get, r, name)
	var panicked runtime.Error
	if errors.As(err, &panicked) {
		session, err = withoutPanic(store.New, r, name)
	}
	return session, err
}

// withoutPanic calls get, and returns a runtime error that it panics with.
func withoutPanic(
	get func(*http.Request, string) (*sessions.Session, error), r *http.Request, name string,
) (session *sessions.Session, err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("the store panicked: %w", v)
		default:
			panic(v)
		}
	}()
	return get(r, name)
}

// isMissingFile reports whether err says that the file of a session is missing
// from a directory that exists: a logout or a cleaner has removed it. The name
// of the file contains the ID of the session, if the session has one.
func isMissingFile(session *sessions.Session, err error) bool {
	var file *fs.PathError
	if !errors.As(err, &file) || !errors.Is(file, fs.ErrNotExist) ||
		session == nil || !session.IsNew || !strings.Contains(filepath.Base(file.Path), session.ID) {
		return false
	}
	_, err = os.Stat(filepath.Dir(file.Path))
	return err == nil
}

// isCookieError reports whether the visitor's cookie caused a session's error.
// It uses securecookie's Error interface. For a cookie that is too long, all
// three of its methods return false, so that counts as well.
func isCookieError(err error) bool {
	var cookie securecookie.Error
	return errors.Is(err, http.ErrNoCookie) || errors.As(err, &cookie) && unregisteredType(err) == nil &&
		(cookie.IsDecode() || !cookie.IsUsage() && !cookie.IsInternal())
}

// unregisteredType returns the error of a cookie with a right signature and a
// value whose type is not registered with encoding/gob, or nil. Each of a
// store's keys may have an error, and gob's errors have no type.
func unregisteredType(err error) error {
	keys := securecookie.MultiError{err}
	errors.As(err, &keys)
	i := slices.IndexFunc(keys, func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "gob: name not registered for interface")
	})
	if i < 0 {
		return nil
	}
	return keys[i]
}

// sessionFault returns the part of a store's error that an operator needs. The
// text of a MultiError shows the first key's error only, and the name of a
// session's file contains the ID of the session.
func sessionFault(err error) error {
	if gob := unregisteredType(err); gob != nil {
		return fmt.Errorf("call gob.Register for the types of all session values: %w", gob)
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		return &fs.PathError{Op: file.Op, Path: filepath.Dir(file.Path), Err: file.Err}
	}
	return err
}
