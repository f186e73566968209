package interop_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/searchtoken/searchtoken"
)

func init() { gin.SetMode(gin.ReleaseMode) }

func TestGin(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "search.html"), []byte("<head>{{coveoAtomic .Coveo}}</head>"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)

	// recipe: gin
	router := gin.New()
	router.SetFuncMap(searchtoken.FuncMap())
	router.LoadHTMLFiles("search.html") // has {{coveoAtomic .Coveo}}

	pages := router.Group("/app", withCoveo(coveo))
	pages.GET("/search", func(c *gin.Context) {
		c.HTML(http.StatusOK, "search.html", gin.H{"Coveo": c.MustGet("coveo")})
	})
	router.GET("/coveo/token", gin.WrapH(coveo.RenewHandler()))
	router.POST("/coveo/token", gin.WrapH(coveo.RenewHandler()))
	// end recipe

	router.GET("/search", withCoveo(coveo), gin.WrapH(searchPage)) // on one route
	visitor := visit(t, router)
	visitor.expect(
		exchange{"GET /app/search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /app/search", "401"},
		exchange{"GET /app/nothing", "404"},
		exchange{"GET /search as bob@example.com", "200 bob@example.com"},
		exchange{"GET /search", "401"},
		exchange{"GET /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/token", "401"},
	)
	visitor.do("GET /app/search as alice@example.com").expectPrivate(t)
	expectErrorHeaders(t, func(coveo *searchtoken.Middleware) answer {
		router := gin.New()
		router.GET("/search", withCoveo(coveo), gin.WrapH(searchPage))
		return visit(t, router).do("GET /search as alice@example.com")
	})
}

// recipe: gin-middleware

// withCoveo puts the page into gin's context and into the request's.
func withCoveo(coveo *searchtoken.Middleware) gin.HandlerFunc {
	return func(c *gin.Context) {
		page, err := coveo.Page(c.Request)
		setPageHeaders(c.Header, err)
		c.Writer.Header().Add("Vary", "Cookie")
		if err != nil {
			_ = c.AbortWithError(searchtoken.HTTPStatus(err), err)
			return
		}
		c.Set("coveo", page)
		c.Request = c.Request.WithContext(searchtoken.NewContext(c.Request.Context(), page))
	}
}

// end recipe

func TestGinGlobal(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	t.Run("Use", func(t *testing.T) {
		router := gin.New()
		router.Use(withCoveo(coveo))
		router.GET("/search", gin.WrapH(searchPage))
		router.GET("/login", gin.WrapF(login))
		visit(t, router).expect(
			exchange{"GET /search as alice@example.com", "200 alice@example.com"},
			exchange{"GET /login", "401"}, // nobody can log in
		)
	})
	// gin has no adapter for a middleware of net/http. Its Engine is a handler.
	t.Run("Handler", func(t *testing.T) {
		router := gin.New()
		router.GET("/search", gin.WrapH(searchPage))
		visit(t, coveo.Handler(router)).expect(
			exchange{"GET /search as alice@example.com", "200 alice@example.com"},
			exchange{"GET /search", "401"},
		)
	})
}

// TestGinContextHasNoPage shows that a gin.Context is not the request's
// context, unless ContextWithFallback is set.
func TestGinContextHasNoPage(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	for _, fallback := range []bool{false, true} {
		router := gin.New()
		router.ContextWithFallback = fallback
		router.GET("/search", withCoveo(coveo), func(c *gin.Context) {
			_, ok := searchtoken.FromContext(c)
			check(t, "FromContext(c) finds the page", fallback, ok)
			_, ok = searchtoken.FromContext(c.Request.Context())
			check(t, "FromContext(c.Request.Context()) finds the page", true, ok)
		})
		visit(t, router).do("GET /search as alice@example.com")
	}
}
