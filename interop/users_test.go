package interop_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v3"
	"github.com/labstack/echo/v4"

	"github.com/searchtoken/searchtoken"
)

type userKey struct{}

// identifyByContext finds the user that a middleware has put into the context.
func identifyByContext(r *http.Request) (searchtoken.Identity, error) {
	user, _ := r.Context().Value(userKey{}).(string)
	if user == "" {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return searchtoken.Email(user), nil
}

// TestUserOfTheFramework identifies users by what only the framework's own
// context has: a stand-in for the session of the framework.
func TestUserOfTheFramework(t *testing.T) {
	cfg, platform := newConfig()
	cfg.Identify, cfg.ProxyURL = identifyByContext, "/proxy"
	coveo := newCoveo(t, cfg)

	ginEngine := gin.New()
	ginEngine.Use(func(c *gin.Context) { c.Set("user", c.GetHeader("X-User")) })
	ginEngine.Use(func(c *gin.Context) {
		user := c.GetString("user")

		// recipe: user-in-context
		ctx := context.WithValue(c.Request.Context(), userKey{}, user) // Identify reads it there
		c.Request = c.Request.WithContext(ctx)
		// end recipe
	})
	ginEngine.GET("/search", withCoveo(coveo), gin.WrapH(searchPage))
	ginEngine.Any("/coveo/token", gin.WrapH(coveo.RenewHandler()))
	ginEngine.Any("/proxy/*call", gin.WrapH(coveo.ProxyHandler()))

	echoServer := echo.New()
	echoServer.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			user := c.Request().Header.Get("X-User")
			ctx := context.WithValue(c.Request().Context(), userKey{}, user)
			c.SetRequest(c.Request().WithContext(ctx))
			return next(c)
		}
	})
	echoServer.GET("/search", echo.WrapHandler(coveo.Handler(searchPage)))
	echoServer.Any("/coveo/token", echo.WrapHandler(coveo.RenewHandler()))
	echoServer.Any("/proxy/*", echo.WrapHandler(coveo.ProxyHandler()))

	fiberApp := fiber.New()
	fiberApp.Use(func(c fiber.Ctx) error {
		c.SetContext(context.WithValue(c.Context(), userKey{}, c.Get("X-User")))
		return c.Next()
	})
	fiberApp.Get("/search", detached(coveo.Handler(searchPage)))
	fiberApp.Get("/page", fiberCoveo(coveo), func(c fiber.Ctx) error { return searchTemplate.Execute(c, c.Locals("coveo")) })
	fiberApp.All("/coveo/token", detached(coveo.RenewHandler()))
	fiberApp.All("/proxy/*", detached(coveo.ProxyHandler()))

	for name, visitor := range map[string]*browser{
		"gin": visit(t, ginEngine), "echo": visit(t, echoServer), "fiber": visitFiber(t, fiberApp),
	} {
		t.Run(name, func(t *testing.T) {
			platform.ResetRequests()
			visitor.expect(
				exchange{"GET /search as alice@example.com", "200"},
				exchange{"GET /search", "401"},
				exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
				exchange{"POST /coveo/token", "401"},
				exchange{"POST /proxy/rest/search/v2 as alice@example.com", "200"},
				exchange{"POST /proxy/rest/search/v2", "401"},
			)
		})
	}
	visitFiber(t, fiberApp).expect(exchange{"GET /page as alice@example.com", "200"}, exchange{"GET /page", "401"})
}

// TestNegroni uses a middleware of the form that negroni takes.
func TestNegroni(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	withPage := func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		coveo.Handler(next).ServeHTTP(w, r)
	}
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { withPage(w, r, search) })
	visit(t, site).expect(
		exchange{"GET /search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /search", "401"},
	)
}
