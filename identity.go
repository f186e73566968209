package searchtoken

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

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

// EmailSecurityProvider is the security identity provider in which the name of
// an identity is an e-mail address. Every Coveo organization has it.
const EmailSecurityProvider = "Email Security Provider"

// UserID is a security identity: Coveo's RestUserId.
type UserID struct {
	Name     string   `json:"name"`           // required
	Provider string   `json:"provider"`       // required, EmailSecurityProvider for example
	Type     UserType `json:"type,omitempty"` // default UserTypeUser
}

// Identity is who searches.
type Identity struct {
	// UserIDs are the security identities to impersonate, in order; at least
	// one.
	UserIDs []UserID
	// DisplayName is the user's name in analytics; may be empty.
	DisplayName string
	// Groups are the user's groups in analytics and in query pipeline
	// conditions; may be empty. They grant no rights.
	Groups []string
	// Expires is when the user's session ends; zero: not known. Where it is
	// set, a token outlives the session by no more than the 15 minutes that
	// are Coveo's shortest life of a token.
	Expires time.Time
}

// Email is the identity of the user with that e-mail address.
func Email(address string) Identity {
	return Identity{UserIDs: []UserID{{Name: address, Provider: EmailSecurityProvider, Type: UserTypeUser}}}
}

// Anonymous is the identity of a visitor who is not logged in, under the name
// by which Coveo's analytics know that too
// (https://docs.coveo.com/en/56/#name-string-required).
func Anonymous() Identity { return Email("anonymous") }

// IdentityFunc says who makes a request. It returns ErrNoIdentity, or an error
// that wraps it, if nobody is logged in; any other error means that it could
// not find out, and is passed to the ErrorHandler.
//
// It is called once per request, on the request's own goroutine, and must be
// safe for concurrent calls with different requests.
type IdentityFunc func(*http.Request) (Identity, error)

// SessionIdentity finds the user in the session called name of a gorilla
// sessions.Store; resolve reads it from the session, under the contract of
// IdentityFunc.
//
// A session that is missing, or whose cookie does not decode (tampered with,
// expired, over-long, signed with an old key), is ErrNoIdentity. A store that
// fails otherwise is ErrSession. The session is shared with the wrapped handler:
// its own store.Get of the same name decodes nothing again.
//
// The function that it returns is safe for concurrent use if store and resolve
// are.
func SessionIdentity(store sessions.Store, name string, resolve func(*sessions.Session) (Identity, error)) IdentityFunc {
	return func(r *http.Request) (Identity, error) {
		session, err := getSession(store, r, name)
		switch {
		case err != nil && isCookieError(err):
			return Identity{}, noIdentity("the session cookie does not decode: %w", err)
		case err != nil:
			return Identity{}, fmt.Errorf("%w: %w", ErrSession, err)
		case session == nil:
			return Identity{}, fmt.Errorf("%w: the store returned neither a session nor an error", ErrSession)
		case session.IsNew && len(session.Values) == 0:
			return Identity{}, ErrNoIdentity
		}
		return resolve(session)
	}
}

// SessionEmail is SessionIdentity for the common case: session.Values[key]
// holds the user's e-mail address, as a string. A session without it, or with
// an empty one, is ErrNoIdentity; so is a value of another type, which is
// logged at debug level. When the session ends is not known to it.
func SessionEmail(store sessions.Store, name, key string) IdentityFunc {
	return SessionIdentity(store, name, func(session *sessions.Session) (Identity, error) {
		switch value := session.Values[key].(type) {
		case string:
			if value == "" {
				return Identity{}, ErrNoIdentity
			}
			return Email(value), nil
		case nil:
			return Identity{}, ErrNoIdentity
		default:
			return Identity{}, noIdentity("session value %q is a %T, not a string", key, value)
		}
	})
}

// FirstIdentity asks each of funcs in turn and returns the first answer that is
// not ErrNoIdentity: an identity or another error. Without one it returns
// ErrNoIdentity. Where a later function answers, what an earlier one had to say
// beyond ErrNoIdentity goes to slog.Default at debug level.
func FirstIdentity(funcs ...IdentityFunc) IdentityFunc {
	return func(r *http.Request) (Identity, error) {
		none := ErrNoIdentity
		for _, identify := range funcs {
			id, err := identify(r)
			if !errors.Is(err, ErrNoIdentity) {
				if none != ErrNoIdentity {
					logNoIdentity(r, slog.Default(), none)
				}
				return id, err
			}
			if err != ErrNoIdentity {
				none = err
			}
		}
		return Identity{}, none
	}
}

// AnonymousIdentity is an IdentityFunc that always answers Anonymous. Put last
// in FirstIdentity, it lets visitors who are not logged in search what is
// public.
func AnonymousIdentity(*http.Request) (Identity, error) { return Anonymous(), nil }

// noIdentity is an ErrNoIdentity with a reason that is worth a log line.
func noIdentity(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNoIdentity}, args...)...)
}

// logNoIdentity logs why nobody was found, where there is more to say than that
// nobody is logged in.
func logNoIdentity(r *http.Request, logger *slog.Logger, err error) {
	if err != ErrNoIdentity && logger.Enabled(r.Context(), slog.LevelDebug) {
		logger.DebugContext(r.Context(), "searchtoken: nobody is logged in", "reason", redact(err))
	}
}

// getSession is store.Get for stores of any quality: one whose New returns a
// nil session makes gorilla's registry panic, and is asked for its error alone.
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

// withoutPanic makes an error of a nil dereference and its like.
func withoutPanic(get func(*http.Request, string) (*sessions.Session, error), r *http.Request, name string) (session *sessions.Session, err error) {
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

// isCookieError reports whether a session's error is the visitor's doing. It
// goes by securecookie's Error interface. An over-long cookie is neither a
// decoding error nor a usage nor an internal one there, hence the second half.
func isCookieError(err error) bool {
	var cookie interface {
		IsUsage() bool
		IsDecode() bool
		IsInternal() bool
	}
	return errors.Is(err, http.ErrNoCookie) ||
		errors.As(err, &cookie) && (cookie.IsDecode() || !cookie.IsUsage() && !cookie.IsInternal())
}
