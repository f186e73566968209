package interop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/boj/redistore"
	ginsessions "github.com/gin-contrib/sessions"
	gincookie "github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/sessions"
	echosession "github.com/labstack/echo-contrib/session"
	"github.com/labstack/echo/v4"

	"github.com/searchtoken/searchtoken"
)

var sessionKey = []byte("a session key of thirty-two bytes")

// sessionSite are the answers of a site with a login and a logout.
var sessionSite = []exchange{
	{"GET /search", "401"},
	{"GET /login", "200"},
	{"GET /search", "200 alice@example.com"},
	{"POST /coveo/token", "200 alice@example.com"},
	{"GET /logout", "200"},
	{"GET /search", "401"},
}

// gorillaSite is a site with a gorilla store, which logs alice in.
func gorillaSite(t *testing.T, store sessions.Store, identify searchtoken.IdentityFunc) http.Handler {
	t.Helper()
	cfg, _ := newConfig()
	cfg.Identify = identify
	coveo := newCoveo(t, cfg)
	save := func(change func(*sessions.Session)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, "session")
			change(session)
			if err := session.Save(r, w); err != nil {
				t.Error(err)
			}
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("GET /login", save(func(s *sessions.Session) { s.Values["email"] = "alice@example.com" }))
	mux.Handle("GET /logout", save(func(s *sessions.Session) { s.Options.MaxAge = -1 }))
	return mux
}

func TestCookieStore(t *testing.T) {
	// recipe: cookie-store
	store := sessions.NewCookieStore(sessionKey)
	store.Options.HttpOnly = true
	store.Options.SameSite = http.SameSiteLaxMode // the default is None
	identify := searchtoken.SessionEmail(store, "session", "email")
	// end recipe

	store.Options.Secure = false // the test's server has no TLS
	visitor := visit(t, gorillaSite(t, store, identify))
	visitor.expect(sessionSite...)

	forged := visitor.do("GET /search", "Cookie", "session=forged")
	check(t, "a cookie that does not decode", "401", forged.String())
}

func TestFilesystemStore(t *testing.T) {
	dir := t.TempDir()

	// recipe: filesystem-store
	store := sessions.NewFilesystemStore(dir, sessionKey)
	store.MaxLength(64 << 10) // bytes of a session; the default is 4096
	identify := searchtoken.SessionEmail(store, "session", "email")
	// end recipe

	store.Options.Secure = false
	visitor := visit(t, gorillaSite(t, store, identify))
	visitor.expect(sessionSite...)

	visitor.do("GET /login")
	files, err := filepath.Glob(filepath.Join(dir, "session_*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files are %v, error %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	visitor.expect(exchange{"GET /search", "401"})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	visitor.expect(exchange{"GET /search", "500"})
}

func TestRedisStore(t *testing.T) {
	socket, stop := startRedis(t)

	// recipe: redis-store
	store, err := redistore.NewRediStore(10, "unix", socket, "", "", sessionKey)
	if err != nil {
		t.Fatal(err)
	}
	store.Options.HttpOnly, store.Options.Secure = true, true
	identify := searchtoken.SessionEmail(store, "session", "email")
	// end recipe

	store.Options.Secure = false
	defer store.Close()
	visitor := visit(t, gorillaSite(t, store, identify))
	visitor.expect(sessionSite...)

	// Without Redis nobody can tell who the visitor is. This must not look like
	// a logout.
	visitor.do("GET /login")
	stop()
	visitor.expect(exchange{"GET /search", "500"}, exchange{"POST /coveo/token", "500"})
}

// startRedis starts a Redis server on a Unix socket, which ends with the test.
func startRedis(t *testing.T) (socket string, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "socket")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("%v (install Debian's package redis-server)", err)
	}
	stop = func() {
		if server.ProcessState == nil {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
	}
	t.Cleanup(stop)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "eady to accept connections") {
			return socket, stop
		}
	}
	t.Fatal("redis-server did not start")
	return "", nil
}

func TestGinSessions(t *testing.T) {
	cfg, _ := newConfig()

	// recipe: gin-sessions
	store := gincookie.NewStore(sessionKey) // as every store of gin-contrib, it is a gorilla store
	cfg.Identify = searchtoken.SessionEmail(store, "session", "email")
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	router := gin.New()
	router.Use(ginsessions.Sessions("session", store))
	router.GET("/search", withCoveo(coveo), gin.WrapH(searchPage))
	// end recipe

	save := func(change func(ginsessions.Session)) gin.HandlerFunc {
		return func(c *gin.Context) {
			session := ginsessions.Default(c)
			change(session)
			if err := session.Save(); err != nil {
				t.Error(err)
			}
		}
	}
	router.GET("/login", save(func(s ginsessions.Session) { s.Set("email", "alice@example.com") }))
	router.GET("/logout", save(func(s ginsessions.Session) { s.Clear() }))
	router.POST("/coveo/token", gin.WrapH(coveo.RenewHandler()))
	visit(t, router).expect(sessionSite...)
}

func TestEchoSession(t *testing.T) {
	cfg, _ := newConfig()

	// recipe: echo-session
	store := sessions.NewCookieStore(sessionKey)
	cfg.Identify = searchtoken.SessionEmail(store, "session", "email")
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	e.Use(echosession.Middleware(store))
	e.GET("/search", echo.WrapHandler(coveo.Handler(searchPage)))
	e.POST("/coveo/token", echo.WrapHandler(coveo.RenewHandler()))
	// end recipe

	store.Options.Secure = false
	save := func(change func(*sessions.Session)) echo.HandlerFunc {
		return func(c echo.Context) error {
			session, err := echosession.Get("session", c)
			if err != nil {
				return err
			}
			change(session)
			return session.Save(c.Request(), c.Response())
		}
	}
	e.GET("/login", save(func(s *sessions.Session) { s.Values["email"] = "alice@example.com" }))
	e.GET("/logout", save(func(s *sessions.Session) { s.Options.MaxAge = -1 }))
	visit(t, e).expect(sessionSite...)
}

func TestSCS(t *testing.T) {
	cfg, _ := newConfig()

	// recipe: scs
	manager := scs.New()
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		email := manager.GetString(r.Context(), "email")
		if email == "" {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		id := searchtoken.Email(email)
		id.Expires = manager.Deadline(r.Context()) // a day after the login, unless manager.Lifetime differs
		return id, nil
	}
	// end recipe
	coveo := newCoveo(t, cfg)

	// recipe: scs-routes
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	site := manager.LoadAndSave(mux) // outside of coveo.Handler
	// end recipe

	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "email", "alice@example.com")
	})

	// recipe: scs-logout
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		id, nobody := cfg.Identify(r)
		err := manager.Destroy(r.Context()) // first: a request in between would fetch another token
		if nobody == nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
			defer cancel()
			err = errors.Join(err, coveo.Forget(ctx, id))
		}
		if err != nil {
			http.Error(w, "You may still be logged in.", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	// end recipe

	visitor := visit(t, site)
	visitor.expect(
		exchange{"GET /login", "200"},
		exchange{"GET /search", "200 alice@example.com"},
		exchange{"POST /coveo/token", "200 alice@example.com"},
	)
	cookie := visitor.do("GET /login", "Cookie", "").Header.Get("Set-Cookie")
	visitor.expect(exchange{"POST /logout", "303 /"}, exchange{"GET /search", "401"}, exchange{"POST /logout", "303 /"})
	check(t, "a copy of the cookie", "401", visitor.do("GET /search", "Cookie", cookie).String())
	check(t, "cached tokens", 0, coveo.Stats().CachedTokens)
	visitor.do("GET /search").expectPrivate(t)
}

// TestSCSInside shows what scs does with the session of a request that it has
// not seen: it panics.
func TestSCSInside(t *testing.T) {
	cfg, _ := newConfig()
	manager := scs.New()
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		return searchtoken.Email(manager.GetString(r.Context(), "email")), nil
	}
	site := newCoveo(t, cfg).Handler(manager.LoadAndSave(searchPage))
	defer func() {
		check(t, "panic", "scs: no session data in context", fmt.Sprint(recover()))
	}()
	site.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/search", nil))
}
