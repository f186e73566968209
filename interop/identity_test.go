package interop_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/jwtauth/v5"
	"github.com/golang-jwt/jwt/v5"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// recipe: jwt-claims

// userClaims are the claims of the site's own access tokens.
type userClaims struct {
	Email string `json:"email"`
	jwt.RegisteredClaims
}

type claimsKey struct{}

// end recipe

// recipe: jwt

func identifyByClaims(r *http.Request) (searchtoken.Identity, error) {
	claims, ok := r.Context().Value(claimsKey{}).(*userClaims)
	switch {
	case !ok:
		return searchtoken.Identity{}, errors.New("authenticate does not wrap this route") // 500, and logged
	case claims == nil || claims.Email == "":
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	id := searchtoken.Email(claims.Email)
	id.Expires = claims.ExpiresAt.Time // authenticate requires it
	return id, nil
}

// end recipe

// recipe: jwt-middleware

// authenticate puts the claims of a bearer token into the context: nil if the
// request has no valid one.
func authenticate(key []byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		claims := new(userClaims)
		_, err := jwt.ParseWithClaims(bearer, claims, func(*jwt.Token) (any, error) { return key, nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
		if err != nil {
			claims = nil
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
	})
}

// end recipe

func TestJWT(t *testing.T) {
	cfg, platform := newConfig()
	cfg.Identify = identifyByClaims
	coveo := newCoveo(t, cfg)
	key := []byte("the key of the site's access tokens")
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	visitor := visit(t, authenticate(key, mux))

	sign := func(key []byte, life time.Duration) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &userClaims{
			"alice@example.com", jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(time.Now().Add(life))},
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	for _, tt := range []struct{ name, authorization, want string }{
		{"valid", sign(key, time.Hour), "200 alice@example.com"},
		{"expired", sign(key, -time.Hour), "401"},
		{"of another key", sign([]byte("another key"), time.Hour), "401"},
		{"none", "", "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, "page", tt.want, visitor.do("GET /search", "Authorization", tt.authorization).String())
			check(t, "renewal", tt.want, visitor.do("POST /coveo/token", "Authorization", tt.authorization).String())
		})
	}
	check(t, "page without authenticate", "500", visit(t, mux).do("GET /search").String())
	checkSearchTokenEnds(t, platform, time.Hour)
}

// checkSearchTokenEnds checks that the only search token ends with a login of
// the given life.
func checkSearchTokenEnds(t *testing.T, platform *searchtokentest.Platform, life time.Duration) {
	t.Helper()
	calls := platform.Requests(searchtokentest.KindToken)
	if len(calls) != 1 {
		t.Fatalf("%d token calls, want 1", len(calls))
	}
	left := time.Until(time.Unix(calls[0].Claims.ExpiresAt, 0))
	if left > life+15*time.Minute {
		t.Errorf("the search token lives for %v, and the login for %v", left, life)
	}
}

func TestJWTAuth(t *testing.T) {
	cfg, platform := newConfig()

	// recipe: jwtauth
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		token, claims, err := jwtauth.FromContext(r.Context()) // token is a jwt.Token of lestrrat-go/jwx
		email, _ := claims["email"].(string)
		switch {
		case token == nil && err == nil:
			return searchtoken.Identity{}, errors.New("jwtauth.Verifier does not wrap this route") // 500, and logged
		case err != nil:
			return searchtoken.Identity{}, fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, err)
		case email == "":
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		id := searchtoken.Email(email)
		id.Expires = token.Expiration() // zero, and without effect, if it has none
		return id, nil
	}
	// end recipe
	coveo := newCoveo(t, cfg)
	auth := jwtauth.New("HS256", []byte("the key of the site's access tokens"), nil)

	// recipe: jwtauth-routes
	r := chi.NewRouter()
	r.Use(jwtauth.Verifier(auth)) // in the Authorization header, or in the cookie "jwt"
	r.With(coveo.Handler).Get("/search", search)
	r.Handle("/coveo/token", coveo.RenewHandler())
	// end recipe

	visitor := visit(t, r)
	sign := func(auth *jwtauth.JWTAuth, life time.Duration) string {
		_, token, err := auth.Encode(map[string]any{"email": "alice@example.com", "exp": time.Now().Add(life)})
		if err != nil {
			t.Fatal(err)
		}
		return "jwt=" + token
	}
	for _, tt := range []struct{ name, cookie, want string }{
		{"valid", sign(auth, time.Hour), "200 alice@example.com"},
		{"expired", sign(auth, -time.Hour), "401"},
		{"of another key", sign(jwtauth.New("HS256", []byte("another key"), nil), time.Hour), "401"},
		{"none", "", "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, "page", tt.want, visitor.do("GET /search", "Cookie", tt.cookie).String())
			check(t, "renewal", tt.want, visitor.do("POST /coveo/token", "Cookie", tt.cookie).String())
		})
	}
	check(t, "page without Verifier", "500", visit(t, coveo.Handler(searchPage)).do("GET /search").String())
	checkSearchTokenEnds(t, platform, time.Hour)
}

func TestOIDC(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "1", Algorithm: oidc.RS256}}}
	server := httptest.NewServer(issuer)
	defer server.Close()
	issuer.SetIssuer(server.URL)
	provider, err := oidc.NewProvider(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: "site"})
	cfg, _ := newConfig()

	// recipe: oidc
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		token, ok := r.Context().Value(idTokenKey{}).(*oidc.IDToken)
		switch {
		case !ok:
			return searchtoken.Identity{}, errors.New("no ID token was looked for") // 500, and logged
		case token == nil:
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		return identityOf(token)
	}
	// end recipe
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	visitor := visit(t, verifyIDToken(verifier, mux))

	sign := func(verified any, life time.Duration) string {
		claims, err := json.Marshal(map[string]any{
			"iss": server.URL, "aud": "site", "sub": "1", "exp": time.Now().Add(life).Unix(),
			"email": "alice@example.com", "email_verified": verified, "name": "Alice",
		})
		if err != nil {
			t.Fatal(err)
		}
		return "id_token=" + oidctest.SignIDToken(key, "1", oidc.RS256, string(claims))
	}
	for _, tt := range []struct{ name, cookie, want string }{
		{"valid", sign(true, time.Hour), "200 alice@example.com"},
		{"email not verified", sign(false, time.Hour), "401"},
		{"claims of another type", sign("true", time.Hour), "401"},
		{"expired", sign(true, -time.Hour), "401"},
		{"none", "", "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, "page", tt.want, visitor.do("GET /search", "Cookie", tt.cookie).String())
			check(t, "renewal", tt.want, visitor.do("POST /coveo/token", "Cookie", tt.cookie).String())
		})
	}
	check(t, "page without the middleware", "500", visit(t, mux).do("GET /search").String())
}

// recipe: oidc-middleware

type idTokenKey struct{}

type userInfo struct {
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
}

// end recipe

// recipe: oidc-identity

func identityOf(token *oidc.IDToken) (searchtoken.Identity, error) {
	var user userInfo
	if err := token.Claims(&user); err != nil {
		return searchtoken.Identity{}, fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, err)
	}
	if !user.EmailVerified {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	id := searchtoken.Email(user.Email)
	id.DisplayName, id.Expires = user.Name, token.Expiry
	return id, nil
}

// end recipe

// verifyIDToken puts the ID token of a cookie into the context: nil if the
// request has no valid one.
func verifyIDToken(verifier *oidc.IDTokenVerifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var token *oidc.IDToken
		if cookie, err := r.Cookie("id_token"); err == nil {
			token, _ = verifier.Verify(r.Context(), cookie.Value)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), idTokenKey{}, token)))
	})
}

// recipe: proxy-header

// identifyByProxy trusts a header. Only oauth2-proxy may reach this server.
func identifyByProxy(r *http.Request) (searchtoken.Identity, error) {
	emails := r.Header.Values("X-Forwarded-Email")
	if len(emails) != 1 || emails[0] == "" {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return searchtoken.Email(emails[0]), nil
}

// end recipe

func TestProxyHeader(t *testing.T) {
	cfg, _ := newConfig()
	cfg.Identify = identifyByProxy
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	server := visit(t, mux)

	proxied := visit(t, newAuthProxy(t, server.url))
	proxied.expect(exchange{"GET /search", "200 alice@example.com"})
	check(t, "a forged header, through the proxy", "200 alice@example.com",
		proxied.do("GET /search", "X-Forwarded-Email", "bob@example.com").String())
	check(t, "renewal", "200 alice@example.com", proxied.do("POST /coveo/token").String())

	// Whoever reaches the server without the proxy is whoever they want to be.
	check(t, "a forged header, past the proxy", "200 bob@example.com",
		server.do("GET /search", "X-Forwarded-Email", "bob@example.com").String())
}

// TestProxyHeaderOnUnixSocket shows a server that only the proxy can reach.
func TestProxyHeaderOnUnixSocket(t *testing.T) {
	cfg, _ := newConfig()
	cfg.Identify = identifyByProxy
	coveo := newCoveo(t, cfg)
	listener, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(coveo.Handler(searchPage))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", listener.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	visitor := newBrowser(t, &http.Client{Transport: transport}, "http://site.example.com")
	check(t, "page", "200 alice@example.com",
		visitor.do("GET /search", "X-Forwarded-Email", "alice@example.com").String())
}

func TestBasicAuth(t *testing.T) {
	cfg, _ := newConfig()
	passwords := map[string]string{"alice@example.com": "secret"}

	// recipe: basic-auth
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		user, password, _ := r.BasicAuth()
		want, known := passwords[user]
		if subtle.ConstantTimeCompare([]byte(password), []byte(want)) != 1 || !known {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		return searchtoken.Email(user), nil
	}
	cfg.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		if errors.Is(err, searchtoken.ErrNoIdentity) {
			w.Header().Set("WWW-Authenticate", `Basic realm="search", charset="UTF-8"`)
		}
		status := searchtoken.HTTPStatus(err)
		http.Error(w, http.StatusText(status), status)
	}
	// end recipe
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	visitor := visit(t, mux)

	credentials := func(password string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth("alice@example.com", password)
		return r.Header.Get("Authorization")
	}
	for _, tt := range []struct{ name, authorization, want, challenge string }{
		{"right", credentials("secret"), "200 alice@example.com", ""},
		{"wrong", credentials("wrong"), "401", `Basic realm="search", charset="UTF-8"`},
		{"none", "", "401", `Basic realm="search", charset="UTF-8"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := visitor.do("GET /search", "Authorization", tt.authorization)
			check(t, "page", tt.want, got.String())
			check(t, "challenge", tt.challenge, got.Header.Get("WWW-Authenticate"))
			got.expectPrivate(t)
			// The RenewHandler has no ErrorHandler, so a script never makes the
			// browser ask for a password.
			renewal := visitor.do("POST /coveo/token", "Authorization", tt.authorization)
			check(t, "renewal", tt.want, renewal.String())
			check(t, "challenge of a renewal", "", renewal.Header.Get("WWW-Authenticate"))
		})
	}
}
