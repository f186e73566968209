package searchtoken_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
)

var (
	sessionKey = []byte("0123456789abcdef0123456789abcdef")
	otherKey   = []byte("fedcba9876543210fedcba9876543210")
)

// cookieFor returns the cookie of a session "session" with these values.
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

// requestWith returns a GET of / with a cookie, which may be nil. The value of
// the cookie is sent as it is, even if net/http would change it.
func requestWith(cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if cookie != nil {
		r.Header.Set("Cookie", cookie.Name+"="+cookie.Value)
	}
	return r
}

// fakeStore is a sessions.Store whose New returns session and err.
type fakeStore struct {
	session *sessions.Session
	err     error
	get     func() (*sessions.Session, error) // replaces gorilla's registry, unless nil
}

// Get implements sessions.Store.
func (s *fakeStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	if s.get != nil {
		return s.get()
	}
	return sessions.GetRegistry(r).Get(s, name)
}

// New implements sessions.Store.
func (s *fakeStore) New(*http.Request, string) (*sessions.Session, error) { return s.session, s.err }

// Save implements sessions.Store.
func (s *fakeStore) Save(*http.Request, http.ResponseWriter, *sessions.Session) error { return nil }

// cookieError has the methods of securecookie's errors.
type cookieError struct{ usage, decode, internal bool }

func (e cookieError) Error() string    { return "cookie error" }
func (e cookieError) IsUsage() bool    { return e.usage }
func (e cookieError) IsDecode() bool   { return e.decode }
func (e cookieError) IsInternal() bool { return e.internal }
func (e cookieError) Cause() error     { return nil }

func TestSessionEmailFindsTheUserOfAGoodCookieOnly(t *testing.T) {
	const email = "jsmith@example.com"
	store := sessions.NewCookieStore(sessionKey)
	expiring := sessions.NewCookieStore(sessionKey)
	expiring.MaxAge(-1) // every cookie is too old
	good := cookieFor(t, store, map[any]any{"email": email})
	cookie := func(value string) *http.Cookie { return &http.Cookie{Name: "session", Value: value} }
	tampered := good.Value[:20] + "A" + good.Value[21:]
	if tampered == good.Value {
		tampered = good.Value[:20] + "B" + good.Value[21:]
	}

	files := sessions.NewFilesystemStore(t.TempDir(), sessionKey)
	stored := cookieFor(t, files, map[any]any{"email": email})
	gone := cookieFor(t, files, map[any]any{"email": email})
	goneDir := filepath.Join(t.TempDir(), "gone")
	removeSession(t, files, gone)
	if err := os.Mkdir(goneDir, 0o700); err != nil {
		t.Fatal(err)
	}
	filesWithoutDir := sessions.NewFilesystemStore(goneDir, sessionKey)
	withoutDir := cookieFor(t, filesWithoutDir, map[any]any{"email": email})
	if err := os.RemoveAll(goneDir); err != nil {
		t.Fatal(err)
	}
	missing := func(op, name string) error { // in a directory that exists
		return fmt.Errorf("reading the session: %w", &fs.PathError{Op: op, Path: filepath.Join(t.TempDir(), name), Err: fs.ErrNotExist})
	}
	noSocket := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)}
	identified := &sessions.Session{IsNew: true, ID: "ID7"}
	gob.Register(registeredValue{})

	withoutNilCheck := &fakeStore{get: func() (*sessions.Session, error) {
		var none *fakeStore
		return none.session, nil
	}}
	withoutRegistry := &fakeStore{get: func() (*sessions.Session, error) { return nil, nil }}
	newSession := &sessions.Session{IsNew: true}
	for _, tt := range []struct {
		name   string
		store  sessions.Store
		cookie *http.Cookie
		want   error // nil: the user is found
	}{
		{"logged in", store, good, nil},
		{"no cookie", store, nil, searchtoken.ErrNoIdentity},
		{"empty cookie", store, cookie(""), searchtoken.ErrNoIdentity},
		{"not base64", store, cookie("%%%"), searchtoken.ErrNoIdentity},
		{"garbage", store, cookie("garbage"), searchtoken.ErrNoIdentity},
		{"tampered with", store, cookie(tampered), searchtoken.ErrNoIdentity},
		{"truncated", store, cookie(good.Value[:len(good.Value)/2]), searchtoken.ErrNoIdentity},
		{"too long", store, cookie(strings.Repeat("a", 4097)), searchtoken.ErrNoIdentity},
		{"signed with an old key", sessions.NewCookieStore(otherKey), good, searchtoken.ErrNoIdentity},
		{
			name:  "signed with an old key that the store has",
			store: sessions.NewCookieStore(otherKey, nil, sessionKey, nil), cookie: good,
		},
		{"expired", expiring, good, searchtoken.ErrNoIdentity},
		{"another name", store, &http.Cookie{Name: "other", Value: good.Value}, searchtoken.ErrNoIdentity},
		{"no value", store, cookieFor(t, store, map[any]any{"name": "x"}), searchtoken.ErrNoIdentity},
		{"empty value", store, cookieFor(t, store, map[any]any{"email": ""}), searchtoken.ErrNoIdentity},
		{"number", store, cookieFor(t, store, map[any]any{"email": 17}), searchtoken.ErrNoIdentity},
		{"bytes", store, cookieFor(t, store, map[any]any{"email": []byte(email)}), searchtoken.ErrNoIdentity},
		{"store without keys", sessions.NewCookieStore(), good, searchtoken.ErrSession},
		{"no store", nil, good, searchtoken.ErrSession},
		{"file", files, stored, nil},
		{"file that is gone", files, gone, searchtoken.ErrNoIdentity},
		{"directory that is gone", filesWithoutDir, withoutDir, searchtoken.ErrSession},
		{
			"file of another store", &fakeStore{session: identified, err: missing("open", "session_ID7")}, good,
			searchtoken.ErrNoIdentity,
		},
		{
			"file without an ID", &fakeStore{session: newSession, err: missing("open", "session_x")}, good,
			searchtoken.ErrNoIdentity,
		},
		{
			"file that is not the session's", &fakeStore{session: identified, err: missing("open", "db.pem")}, good,
			searchtoken.ErrSession,
		},
		{
			"socket that is not the session's", &fakeStore{session: identified, err: missing("stat", ".s.PGSQL.5432")}, good,
			searchtoken.ErrSession,
		},
		{"socket of a database", &fakeStore{session: identified, err: noSocket}, good, searchtoken.ErrSession},
		{"file, nil session", &fakeStore{err: missing("open", "session_x")}, good, searchtoken.ErrSession},
		{
			"file, old session", &fakeStore{session: &sessions.Session{ID: "x"}, err: missing("open", "session_x")}, good,
			searchtoken.ErrSession,
		},
		{"registered type", store, cookieFor(t, store, map[any]any{"email": email, "v": registeredValue{1}}), nil},
		{"database down, new session", &fakeStore{session: newSession, err: errDown}, good, searchtoken.ErrSession},
		{"database down, nil session", &fakeStore{err: errDown}, good, searchtoken.ErrSession},
		{"bad cookie, nil session", &fakeStore{err: cookieError{decode: true}}, good, searchtoken.ErrNoIdentity},
		{"cookie too long, nil session", &fakeStore{err: cookieError{}}, good, searchtoken.ErrNoIdentity},
		{"usage error", &fakeStore{session: newSession, err: cookieError{usage: true}}, good, searchtoken.ErrSession},
		{
			name: "internal error", store: &fakeStore{session: newSession, err: cookieError{internal: true}},
			cookie: good,
			want:   searchtoken.ErrSession,
		},
		{
			name: "store that requires a cookie", store: &fakeStore{session: newSession, err: http.ErrNoCookie},
			cookie: good,
			want:   searchtoken.ErrNoIdentity,
		},
		{"nil session and nil error", &fakeStore{}, good, searchtoken.ErrSession},
		{"nil session without a registry", withoutRegistry, good, searchtoken.ErrSession},
		{"store that panics", withoutNilCheck, good, searchtoken.ErrSession},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := searchtoken.SessionEmail(tt.store, "session", "email")(requestWith(tt.cookie))
			if !errors.Is(err, tt.want) {
				t.Fatalf("error = %v, want %v", err, tt.want)
			}
			want := searchtoken.Identity{}
			if tt.want == nil {
				want.UserIDs = []searchtoken.UserID{{Name: email, Provider: "Email Security Provider", Type: "User"}}
			}
			if diff := cmp.Diff(want, id); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

type registeredValue struct{ N int }

// removeSession removes the session of a cookie from a store, as a logout does.
func removeSession(t testing.TB, store sessions.Store, cookie *http.Cookie) {
	t.Helper()
	session, err := store.New(requestWith(cookie), "session")
	if err != nil {
		t.Fatal(err)
	}
	session.Options.MaxAge = -1
	if err := store.Save(requestWith(cookie), httptest.NewRecorder(), session); err != nil {
		t.Fatal(err)
	}
}

// unregisteredCookie returns the cookie of a session with a value whose type is
// not registered with encoding/gob. Another program has sent it, where the type
// is registered: the names of two types of the same length are exchanged.
func unregisteredCookie(t testing.TB, key, blockKey []byte) *http.Cookie {
	t.Helper()
	codec := securecookie.New(key, blockKey).SetSerializer(exchangingSerializer{})
	value, err := codec.Encode("session", map[any]any{"v": exchangedValue0{17}})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Cookie{Name: "session", Value: value}
}

type exchangedValue0 struct{ N int }

// exchangingSerializer writes another name for the type exchangedValue0.
type exchangingSerializer struct{ securecookie.GobEncoder }

// Serialize implements securecookie.Serializer.
func (s exchangingSerializer) Serialize(v any) ([]byte, error) {
	gob.Register(exchangedValue0{})
	b, err := s.GobEncoder.Serialize(v)
	return bytes.ReplaceAll(b, []byte("exchangedValue0"), []byte("exchangedValue1")), err
}

func TestUnregisteredTypeIsTheFaultOfTheServer(t *testing.T) {
	blockKey := []byte("0123456789abcdef")
	encrypted := unregisteredCookie(t, sessionKey, blockKey)
	signed := unregisteredCookie(t, sessionKey, nil)
	dir := t.TempDir()
	files := sessions.NewFilesystemStore(dir, sessionKey)
	stored := cookieFor(t, files, map[any]any{"email": "jsmith@example.com"})
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("files %q, %v", found, err)
	}
	if err := os.WriteFile(found[0], []byte(signed.Value), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		store  sessions.Store
		cookie *http.Cookie
		want   int
	}{
		{"signed", sessions.NewCookieStore(sessionKey), signed, 500},
		{"encrypted", sessions.NewCookieStore(sessionKey, blockKey), encrypted, 500},
		{"signed with the first of two keys", sessions.NewCookieStore(sessionKey, nil, otherKey, nil), signed, 500},
		{"signed with the second of two keys", sessions.NewCookieStore(otherKey, nil, sessionKey, nil), signed, 500},
		{"in a file", files, stored, 500},
		{"signed with another key", sessions.NewCookieStore(otherKey), signed, 200}, // anonymous
		{"encrypted with another key", sessions.NewCookieStore(sessionKey, []byte("fedcba9876543210")), encrypted, 200},
		{"no session", sessions.NewCookieStore(sessionKey), nil, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &logLines{}
			identify := searchtoken.SessionEmail(tt.store, "session", "email")
			m := newMiddleware(t, searchtoken.Config{
				Logger: log.logger(), Identify: searchtoken.FirstIdentity(identify, searchtoken.AnonymousIdentity),
			})
			if got := get(m, requestWith(tt.cookie)).Code; got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
			var want []bool
			if tt.want == 500 {
				want = []bool{true}
			}
			var got []bool
			for _, line := range log.take() {
				got = append(got, strings.Contains(line, "level=ERROR") && strings.Contains(line, "gob.Register") &&
					strings.Contains(line, "searchtoken_test.exchangedValue1"))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines that name the type (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNameOfASessionFileIsNotLogged has files that are missing or may not be
// read. Their names contain the ID of the session.
func TestNameOfASessionFileIsNotLogged(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(dir, file string) error
		want  answer
		lines int // at the level of errors
	}{
		{"missing file", func(_, file string) error { return os.Remove(file) }, answer{Status: 200, Body: "anonymous 1"}, 0},
		{"missing directory", func(dir, _ string) error { return os.RemoveAll(dir) }, answer{500, "Internal Server Error\n", ""}, 1},
		{"directory in its place", func(_, file string) error {
			return errors.Join(os.Remove(file), os.Mkdir(file, 0o700))
		}, answer{500, "Internal Server Error\n", ""}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sessions")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			store := sessions.NewFilesystemStore(dir, sessionKey)
			cookie := cookieFor(t, store, map[any]any{"email": "jsmith@example.com"})
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("files %q, %v", files, err)
			}
			if err := tt.spoil(dir, files[0]); err != nil {
				t.Fatal(err)
			}
			log := &logLines{}
			defer slog.SetDefault(slog.Default())
			slog.SetDefault(log.logger()) // of FirstIdentity
			identify := searchtoken.SessionEmail(store, "session", "email")
			m := newMiddleware(t, searchtoken.Config{
				Logger: log.logger(), Identify: searchtoken.FirstIdentity(identify, searchtoken.AnonymousIdentity),
			})
			got := seen(get(m, requestWith(cookie)))
			if got.Status == 200 {
				got.Body = nameOf(got.Body)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			text := strings.Join(log.take(), "\n")
			if n := strings.Count(text, "level=ERROR"); n != tt.lines {
				t.Errorf("%d errors in the log, want %d: %s", n, tt.lines, text)
			}
			checkHidden(t, text, filepath.Base(files[0]))
			_, err = identify(requestWith(cookie))
			checkHidden(t, err.Error(), filepath.Base(files[0]))
		})
	}
}

// TestStoresWithOneNameShareASession documents gorilla's registry, which knows
// the sessions of a request by their names alone.
func TestStoresWithOneNameShareASession(t *testing.T) {
	staff, customers := sessions.NewCookieStore(sessionKey), sessions.NewCookieStore(otherKey)
	staffCookie := cookieFor(t, staff, map[any]any{"email": "ann@example.com"})
	customerCookie := cookieFor(t, customers, map[any]any{"email": "bob@example.com"})
	email := func(store sessions.Store, name string) searchtoken.IdentityFunc {
		return searchtoken.SessionEmail(store, name, "email")
	}
	ann, bob := searchtoken.Email("ann@example.com"), searchtoken.Email("bob@example.com")
	renamed := &http.Cookie{Name: "customer"}
	var err error
	if renamed.Value, err = securecookie.EncodeMulti("customer", map[any]any{"email": "bob@example.com"}, customers.Codecs...); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		cookie *http.Cookie
		funcs  []searchtoken.IdentityFunc // called in order
		want   []searchtoken.Identity     // empty: nobody
	}{
		{
			"the second store gets the session of the first", staffCookie,
			[]searchtoken.IdentityFunc{email(staff, "session"), email(customers, "session")}, []searchtoken.Identity{ann, ann},
		},
		{
			"the second store does not look into its cookie", customerCookie,
			[]searchtoken.IdentityFunc{email(staff, "session"), email(customers, "session")}, []searchtoken.Identity{{}, {}},
		},
		{
			"two names", renamed,
			[]searchtoken.IdentityFunc{email(staff, "session"), email(customers, "customer")}, []searchtoken.Identity{{}, bob},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := requestWith(tt.cookie)
			var got []searchtoken.Identity
			for _, identify := range tt.funcs {
				id, err := identify(r)
				if err != nil && !errors.Is(err, searchtoken.ErrNoIdentity) {
					t.Fatal(err)
				}
				got = append(got, id)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("identities (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrSessionWrapsTheErrorOfTheStore(t *testing.T) {
	for _, session := range []*sessions.Session{nil, {IsNew: true}} {
		store := &fakeStore{session: session, err: errDown}
		_, err := searchtoken.SessionEmail(store, "session", "email")(requestWith(nil))
		if !errors.Is(err, errDown) || !errors.Is(err, searchtoken.ErrSession) {
			t.Errorf("error = %v, want an ErrSession that wraps %v", err, errDown)
		}
	}
}

func TestPanicThatIsNotARuntimeErrorPassesThrough(t *testing.T) {
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("panic with %v, want http.ErrAbortHandler", got)
		}
	}()
	store := &fakeStore{get: func() (*sessions.Session, error) { panic(http.ErrAbortHandler) }}
	_, err := searchtoken.SessionEmail(store, "session", "email")(requestWith(nil))
	t.Errorf("no panic, but %v", err)
}

func TestBadCookieIsNeverAServerError(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	down := &fakeStore{session: &sessions.Session{}, err: errDown}
	for _, tt := range []struct {
		name   string
		cookie string
		store  sessions.Store
		want   int
	}{
		{"garbage", "garbage", store, 401},
		{"too long", strings.Repeat("a", 5000), store, 401},
		{"database down", "x", down, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Identify: searchtoken.SessionEmail(tt.store, "session", "email")})
			got := seen(get(m, requestWith(&http.Cookie{Name: "session", Value: tt.cookie})))
			if diff := cmp.Diff(answer{Status: tt.want, Body: http.StatusText(tt.want) + "\n"}, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReasonWhyASessionHasNoUserIsLoggedWithoutValues(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	for _, tt := range []struct {
		name   string
		cookie *http.Cookie
		want   string
	}{
		{"no cookie", nil, `the store has no session \"session\" for the request`},
		{"another name", &http.Cookie{Name: "other", Value: "x"}, `the store has no session \"session\" for the request`},
		{"no value", cookieFor(t, store, map[any]any{"user": "jsmith@example.com"}),
			`the session \"session\" has no email address under the key \"email\"`},
		{"empty value", cookieFor(t, store, map[any]any{"email": ""}),
			`the session \"session\" has no email address under the key \"email\"`},
		{"value of another type", cookieFor(t, store, map[any]any{"email": []string{"jsmith@example.com"}}),
			`session value \"email\" is a []string, not a string`},
	} {
		identify := searchtoken.SessionEmail(store, "session", "email")
		for kind, identify := range map[string]searchtoken.IdentityFunc{
			"alone":                    identify,
			"before AnonymousIdentity": searchtoken.FirstIdentity(identify, searchtoken.AnonymousIdentity),
		} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				log := &logLines{}
				defer slog.SetDefault(slog.Default())
				slog.SetDefault(log.logger()) // FirstIdentity has no other
				get(newMiddleware(t, searchtoken.Config{Identify: identify, Logger: log.logger()}), requestWith(tt.cookie))
				want := []string{`level=DEBUG msg="searchtoken: nobody is logged in" ` +
					`reason="searchtoken: nobody is logged in: ` + tt.want + `"`}
				if diff := cmp.Diff(want, log.take()); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// countingStore counts how often it makes a session from a cookie.
type countingStore struct {
	*sessions.CookieStore
	decoded int
}

// Get implements sessions.Store.
func (s *countingStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New implements sessions.Store.
func (s *countingStore) New(r *http.Request, name string) (*sessions.Session, error) {
	s.decoded++
	return s.CookieStore.New(r, name)
}

func TestSessionIsDecodedOncePerRequest(t *testing.T) {
	store := &countingStore{CookieStore: sessions.NewCookieStore(sessionKey)}
	cookie := cookieFor(t, store.CookieStore, map[any]any{"email": "jsmith@example.com"})
	m := newMiddleware(t, searchtoken.Config{Identify: searchtoken.SessionEmail(store, "session", "email")})
	var emails []any
	look := func(r *http.Request) {
		session, err := store.Get(r, "session")
		if err != nil {
			t.Fatal(err)
		}
		emails = append(emails, session.Values["email"])
	}
	r := requestWith(cookie)
	handler := m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { look(r) }))
	handler.ServeHTTP(httptest.NewRecorder(), r)
	look(r) // as middleware around the Handler does
	if diff := cmp.Diff([]any{"jsmith@example.com", "jsmith@example.com"}, emails); diff != "" {
		t.Errorf("emails (-want +got):\n%s", diff)
	}
	if store.decoded != 1 {
		t.Errorf("the session was decoded %d times, want once", store.decoded)
	}
}

// TestLoginOfThisRequestCounts has an outer handler that logs a user in and
// goes on: the session is new, and has its values.
func TestLoginOfThisRequestCounts(t *testing.T) {
	store, r := sessions.NewCookieStore(sessionKey), requestWith(nil)
	session, err := store.Get(r, "session")
	if err != nil {
		t.Fatal(err)
	}
	session.Values["email"] = "jsmith@example.com"
	id, err := searchtoken.SessionEmail(store, "session", "email")(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(searchtoken.Email("jsmith@example.com"), id); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

func TestSessionIdentityReturnsWhatResolveReturns(t *testing.T) {
	store := sessions.NewCookieStore(sessionKey)
	cookie := cookieFor(t, store, map[any]any{"id": 17})
	john := searchtoken.Email("jsmith@example.com")
	john.DisplayName, john.Groups, john.Expires = "John", []string{"staff"}, time.Unix(1800000000, 0)
	for _, tt := range []struct {
		name string
		id   searchtoken.Identity
		err  error
	}{
		{"identity", john, nil},
		{"nobody", searchtoken.Identity{}, searchtoken.ErrNoIdentity},
		{"failure", searchtoken.Identity{}, errDown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resolve := func(s *sessions.Session) (searchtoken.Identity, error) {
				if s.Values["id"] != 17 {
					t.Errorf("resolve gets %v", s.Values)
				}
				return tt.id, tt.err
			}
			id, err := searchtoken.SessionIdentity(store, "session", resolve)(requestWith(cookie))
			if !errors.Is(err, tt.err) {
				t.Errorf("error = %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.id, id); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveIsNotCalledWithoutASession(t *testing.T) {
	resolve := func(*sessions.Session) (searchtoken.Identity, error) {
		t.Error("resolve is called")
		return searchtoken.Email("ann"), nil
	}
	store := sessions.NewCookieStore(sessionKey)
	for _, cookie := range []*http.Cookie{nil, {Name: "session", Value: "garbage"}} {
		id, err := searchtoken.SessionIdentity(store, "session", resolve)(requestWith(cookie))
		if !errors.Is(err, searchtoken.ErrNoIdentity) || len(id.UserIDs) != 0 {
			t.Errorf("identity = %v, %v, want an ErrNoIdentity alone", id, err)
		}
	}
}

func TestReasonWhyNobodyIsLoggedInIsRedacted(t *testing.T) {
	log := &logLines{}
	get(newMiddleware(t, searchtoken.Config{
		Logger: log.logger(),
		Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, fmt.Errorf("%w: jsmith@example.com with %s has left", searchtoken.ErrNoIdentity, secret)
		},
	}), requestWith(nil))
	want := []string{`level=DEBUG msg="searchtoken: nobody is logged in" ` +
		`reason="searchtoken: nobody is logged in: [redacted] with [redacted] has left"`}
	if diff := cmp.Diff(want, log.take()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestFirstIdentityReturnsTheFirstUserOrFailure(t *testing.T) {
	returns := func(id searchtoken.Identity, err error) searchtoken.IdentityFunc {
		return func(*http.Request) (searchtoken.Identity, error) { return id, err }
	}
	expired := fmt.Errorf("%w: the token has expired", searchtoken.ErrNoIdentity)
	nobody := returns(searchtoken.Identity{}, searchtoken.ErrNoIdentity)
	nobodyWithReason := returns(searchtoken.Identity{}, expired)
	fails := returns(searchtoken.Identity{}, errDown)
	ann := returns(searchtoken.Email("ann"), nil)
	type funcs = []searchtoken.IdentityFunc
	for _, tt := range []struct {
		name    string
		funcs   funcs
		want    searchtoken.Identity
		wantErr error
	}{
		{"first", funcs{ann, fails}, searchtoken.Email("ann"), nil},
		{"second", funcs{nobody, ann}, searchtoken.Email("ann"), nil},
		{"failure before anonymous", funcs{fails, searchtoken.AnonymousIdentity}, searchtoken.Identity{}, errDown},
		{"anonymous", funcs{nobody, searchtoken.AnonymousIdentity}, searchtoken.Anonymous(), nil},
		{"nobody", funcs{nobody, nobody}, searchtoken.Identity{}, searchtoken.ErrNoIdentity},
		{"nobody, with a reason", funcs{nobodyWithReason, nobody}, searchtoken.Identity{}, expired},
		{"no function", nil, searchtoken.Identity{}, searchtoken.ErrNoIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := searchtoken.FirstIdentity(tt.funcs...)(requestWith(nil))
			if err != tt.wantErr {
				t.Errorf("error = %v, want %v", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, id); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstIdentitySaysWhichFunctionIsNil(t *testing.T) {
	_, err := searchtoken.FirstIdentity(byHeader, nil)(request(""))
	if err == nil || errors.Is(err, searchtoken.ErrNoIdentity) || !strings.Contains(err.Error(), "FirstIdentity: function 2 is nil") {
		t.Errorf("error = %v, want one that names function 2", err)
	}
}

func TestAnonymousIsTheNameThatAnalyticsRecognize(t *testing.T) {
	want := searchtoken.Identity{UserIDs: []searchtoken.UserID{
		{Name: "anonymous", Provider: "Email Security Provider", Type: "User"},
	}}
	if diff := cmp.Diff(want, searchtoken.Anonymous()); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}
