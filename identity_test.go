package searchtoken_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
)

var (
	sessionKey = []byte("0123456789abcdef0123456789abcdef")
	otherKey   = []byte("fedcba9876543210fedcba9876543210")
)

// cookieFor is the cookie of a session "session" with these values.
func cookieFor(t testing.TB, store sessions.Store, values map[any]any) *http.Cookie {
	t.Helper()
	session, err := store.New(httptest.NewRequest("GET", "/", nil), "session")
	if err != nil {
		t.Fatal(err)
	}
	session.Values = values
	w := httptest.NewRecorder()
	if err := store.Save(httptest.NewRequest("GET", "/", nil), w, session); err != nil {
		t.Fatal(err)
	}
	return w.Result().Cookies()[0]
}

// badStore is a store of a third party.
type badStore struct {
	session *sessions.Session
	err     error
	get     func(s sessions.Store, r *http.Request, name string) (*sessions.Session, error)
}

func (s *badStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	if s.get != nil {
		return s.get(s, r, name)
	}
	return sessions.GetRegistry(r).Get(s, name)
}

func (s *badStore) New(*http.Request, string) (*sessions.Session, error) {
	return s.session, s.err
}

func (s *badStore) Save(*http.Request, http.ResponseWriter, *sessions.Session) error { return nil }

// cookieError is what securecookie's errors look like.
type cookieError struct{ usage, decode, internal bool }

func (e cookieError) Error() string    { return "cookie error" }
func (e cookieError) IsUsage() bool    { return e.usage }
func (e cookieError) IsDecode() bool   { return e.decode }
func (e cookieError) IsInternal() bool { return e.internal }
func (e cookieError) Cause() error     { return nil }

func TestSessionEmail(t *testing.T) {
	const email = "jsmith@example.com"
	store := sessions.NewCookieStore(sessionKey)
	expiring := sessions.NewCookieStore(sessionKey)
	expiring.MaxAge(-1) // of the store's codecs: every cookie is too old
	good := cookieFor(t, store, map[any]any{"email": email})
	with := func(value string) *http.Cookie { return &http.Cookie{Name: "session", Value: value} }
	tampered := good.Value[:20] + "A" + good.Value[21:]
	if tampered == good.Value {
		tampered = good.Value[:20] + "B" + good.Value[21:]
	}

	files := sessions.NewFilesystemStore(t.TempDir(), sessionKey)
	kept := cookieFor(t, files, map[any]any{"email": email})
	goneDir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(goneDir, 0o700); err != nil {
		t.Fatal(err)
	}
	goneFiles := sessions.NewFilesystemStore(goneDir, sessionKey)
	gone := cookieFor(t, goneFiles, map[any]any{"email": email})
	if err := os.RemoveAll(goneDir); err != nil {
		t.Fatal(err)
	}

	down := errors.New("connection refused")
	for _, tt := range []struct {
		name   string
		store  sessions.Store
		cookie *http.Cookie
		want   error // nil: the user is found
	}{
		{"logged in", store, good, nil},
		{"no cookie", store, nil, searchtoken.ErrNoIdentity},
		{"empty cookie", store, with(""), searchtoken.ErrNoIdentity},
		{"no base64", store, with("%%%"), searchtoken.ErrNoIdentity},
		{"garbage", store, with("garbage"), searchtoken.ErrNoIdentity},
		{"tampered with", store, with(tampered), searchtoken.ErrNoIdentity},
		{"cut off", store, with(good.Value[:len(good.Value)/2]), searchtoken.ErrNoIdentity},
		{"over-long", store, with(strings.Repeat("a", 4097)), searchtoken.ErrNoIdentity},
		{"signed with an old key", sessions.NewCookieStore(otherKey), good, searchtoken.ErrNoIdentity},
		{"signed with an old key that is still known", sessions.NewCookieStore(otherKey, nil, sessionKey, nil), good, nil},
		{"expired", expiring, good, searchtoken.ErrNoIdentity},
		{"of another name", store, &http.Cookie{Name: "other", Value: good.Value}, searchtoken.ErrNoIdentity},
		{"without the value", store, cookieFor(t, store, map[any]any{"name": "x"}), searchtoken.ErrNoIdentity},
		{"with an empty value", store, cookieFor(t, store, map[any]any{"email": ""}), searchtoken.ErrNoIdentity},
		{"with a number", store, cookieFor(t, store, map[any]any{"email": 17}), searchtoken.ErrNoIdentity},
		{"with bytes", store, cookieFor(t, store, map[any]any{"email": []byte(email)}), searchtoken.ErrNoIdentity},
		{"store without keys", sessions.NewCookieStore(), good, searchtoken.ErrSession},
		{"no store", nil, good, searchtoken.ErrSession},
		{"file", files, kept, nil},
		{"file vanished", goneFiles, gone, searchtoken.ErrSession},
		{"database down, new session", &badStore{session: &sessions.Session{IsNew: true}, err: down}, good, searchtoken.ErrSession},
		{"database down, nil session", &badStore{err: down}, good, searchtoken.ErrSession},
		{"nil session for a bad cookie", &badStore{err: cookieError{decode: true}}, good, searchtoken.ErrNoIdentity},
		{"nil session for an over-long cookie", &badStore{err: cookieError{}}, good, searchtoken.ErrNoIdentity},
		{"cookie error of the configuration", &badStore{session: &sessions.Session{}, err: cookieError{usage: true}}, good, searchtoken.ErrSession},
		{"cookie error of the machine", &badStore{session: &sessions.Session{}, err: cookieError{internal: true}}, good, searchtoken.ErrSession},
		{"nil session, nil error", &badStore{}, good, searchtoken.ErrSession},
		{"store that panics", &badStore{get: func(s sessions.Store, _ *http.Request, _ string) (*sessions.Session, error) {
			var none *badStore
			return none.session, nil
		}}, good, searchtoken.ErrSession},
		{"store that wants a cookie", &badStore{session: &sessions.Session{}, err: http.ErrNoCookie}, good, searchtoken.ErrNoIdentity},
		{"nil session without a registry", &badStore{get: func(sessions.Store, *http.Request, string) (*sessions.Session, error) { return nil, nil }}, good, searchtoken.ErrSession},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if tt.cookie != nil {
				r.Header.Set("Cookie", tt.cookie.Name+"="+tt.cookie.Value)
			}
			id, err := searchtoken.SessionEmail(tt.store, "session", "email")(r)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error = %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			want := searchtoken.Identity{UserIDs: []searchtoken.UserID{{Name: email, Provider: "Email Security Provider", Type: "User"}}}
			if diff := cmp.Diff(want, id); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the store's error is kept", func(t *testing.T) {
		_, err := searchtoken.SessionEmail(&badStore{session: &sessions.Session{}, err: down}, "session", "email")(httptest.NewRequest("GET", "/", nil))
		if !errors.Is(err, down) {
			t.Errorf("error = %v, which does not wrap %v", err, down)
		}
	})
}

func TestBadSessionIsNeverAServerError(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	for _, tt := range []struct {
		name   string
		cookie string
		store  sessions.Store
		want   int
	}{
		{"garbage", "garbage", store, 401},
		{"over-long", strings.Repeat("a", 5000), store, 401},
		{"database down", "x", &badStore{session: &sessions.Session{}, err: errors.New("down")}, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Identify: searchtoken.SessionEmail(tt.store, "session", "email")})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "session="+tt.cookie)
			if diff := cmp.Diff(answer{Status: tt.want, Body: http.StatusText(tt.want) + "\n"}, seen(get(m, r))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongTypeIsLogged(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	identify := searchtoken.SessionEmail(store, "session", "email")
	cookie := cookieFor(t, store, map[any]any{"email": []string{"jsmith@example.com"}})
	for _, tt := range []struct {
		name     string
		identify searchtoken.IdentityFunc
	}{
		{"alone", identify},
		{"before anonymous", searchtoken.FirstIdentity(identify, searchtoken.AnonymousIdentity)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			defer slog.SetDefault(slog.Default())
			slog.SetDefault(logger)
			m := newMiddleware(t, searchtoken.Config{Identify: tt.identify, Logger: logger})
			r := httptest.NewRequest("GET", "/", nil)
			r.AddCookie(cookie)
			get(m, r)
			for _, want := range []string{"level=DEBUG", `\"email\"`, "[]string"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("log %q lacks %s", log.String(), want)
				}
			}
			if strings.Contains(log.String(), "jsmith") {
				t.Errorf("log %q shows the value", log.String())
			}
		})
	}
}

// decodeCounter counts how often a session is made from a cookie.
type decodeCounter struct {
	*sessions.CookieStore
	decoded int
}

func (s *decodeCounter) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

func (s *decodeCounter) New(r *http.Request, name string) (*sessions.Session, error) {
	s.decoded++
	return s.CookieStore.New(r, name)
}

func TestSessionIsSharedWithTheApplication(t *testing.T) {
	store := &decodeCounter{CookieStore: sessions.NewCookieStore(sessionKey)}
	cookie := cookieFor(t, store.CookieStore, map[any]any{"email": "jsmith@example.com"})
	m := newMiddleware(t, searchtoken.Config{Identify: searchtoken.SessionEmail(store, "session", "email")})
	inner := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := store.Get(r, "session")
		if err != nil || session.Values["email"] != "jsmith@example.com" {
			t.Errorf("the wrapped handler's session is %v, %v", session.Values, err)
		}
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(cookie)
	inner.ServeHTTP(httptest.NewRecorder(), r)
	if _, err := store.Get(r, "session"); err != nil { // as middleware outside ours would
		t.Error(err)
	}
	if store.decoded != 1 {
		t.Errorf("the session was decoded %d times, want once", store.decoded)
	}
}

func TestSessionOfThisVeryRequest(t *testing.T) {
	// Outer middleware logs a user in and goes on: the session is new, and has
	// its values.
	store := sessions.NewCookieStore(sessionKey)
	r := httptest.NewRequest("GET", "/", nil)
	session, err := store.Get(r, "session")
	if err != nil {
		t.Fatal(err)
	}
	session.Values["email"] = "jsmith@example.com"
	id, err := searchtoken.SessionEmail(store, "session", "email")(r)
	if err != nil || id.UserIDs[0].Name != "jsmith@example.com" {
		t.Errorf("identity = %v, %v", id, err)
	}
}

func TestSessionIdentityResolves(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	cookie := cookieFor(t, store, map[any]any{"id": 17})
	failure := errors.New("no such user")
	ends := time.Unix(1800000000, 0)
	for _, tt := range []struct {
		name    string
		resolve func(*sessions.Session) (searchtoken.Identity, error)
		want    searchtoken.Identity
		wantErr error
	}{
		{"identity", func(s *sessions.Session) (searchtoken.Identity, error) {
			id := searchtoken.Email("jsmith@example.com")
			id.DisplayName, id.Groups, id.Expires = "John", []string{"staff"}, ends
			return id, nil
		}, searchtoken.Identity{UserIDs: searchtoken.Email("jsmith@example.com").UserIDs, DisplayName: "John", Groups: []string{"staff"}, Expires: ends}, nil},
		{"nobody", func(*sessions.Session) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}, searchtoken.Identity{}, searchtoken.ErrNoIdentity},
		{"failure", func(*sessions.Session) (searchtoken.Identity, error) { return searchtoken.Identity{}, failure },
			searchtoken.Identity{}, failure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.AddCookie(cookie)
			id, err := searchtoken.SessionIdentity(store, "session", tt.resolve)(r)
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("error = %v, want %v", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, id); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstIdentity(t *testing.T) {
	failure := errors.New("down")
	nobody := func(*http.Request) (searchtoken.Identity, error) {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	fails := func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Identity{}, failure }
	ann := func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Email("ann"), nil }
	for _, tt := range []struct {
		name    string
		funcs   []searchtoken.IdentityFunc
		want    string
		wantErr error
	}{
		{"first", []searchtoken.IdentityFunc{ann, fails}, "ann", nil},
		{"second", []searchtoken.IdentityFunc{nobody, ann}, "ann", nil},
		{"a failure is no anonymous visitor", []searchtoken.IdentityFunc{fails, searchtoken.AnonymousIdentity}, "", failure},
		{"anonymous", []searchtoken.IdentityFunc{nobody, searchtoken.AnonymousIdentity}, "anonymous", nil},
		{"nobody", []searchtoken.IdentityFunc{nobody, nobody}, "", searchtoken.ErrNoIdentity},
		{"none", nil, "", searchtoken.ErrNoIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := searchtoken.FirstIdentity(tt.funcs...)(httptest.NewRequest("GET", "/", nil))
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("error = %v, want %v", err, tt.wantErr)
			}
			got := ""
			if len(id.UserIDs) > 0 {
				got = id.UserIDs[0].Name
			}
			if got != tt.want {
				t.Errorf("identity = %q, want %q", got, tt.want)
			}
		})
	}
}
