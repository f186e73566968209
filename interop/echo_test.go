package interop_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/searchtoken/searchtoken"
)

func TestEcho(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	t.Run("group", func(t *testing.T) {
		// recipe: echo
		e := echo.New()
		pages := e.Group("/app", echo.WrapMiddleware(coveo.Handler))
		pages.GET("/search", func(c echo.Context) error {
			page, _ := searchtoken.FromContext(c.Request().Context())
			return searchTemplate.Execute(c.Response(), page)
		})
		e.Match([]string{"GET", "POST"}, "/coveo/token", echo.WrapHandler(coveo.RenewHandler()))
		// end recipe

		visitor := visit(t, e)
		visitor.expect(
			exchange{"GET /app/search as alice@example.com", "200 alice@example.com"},
			exchange{"GET /app/search", "401"},
			exchange{"GET /app/nothing as alice@example.com", "404"},
			exchange{"GET /coveo/token as alice@example.com", "200 alice@example.com"},
			exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		)
		visitor.do("GET /app/search as alice@example.com").expectPrivate(t)
		// echo's error handler is not asked.
		check(t, "body", "Unauthorized\n", visitor.do("GET /app/search").body)
	})
	t.Run("route", func(t *testing.T) {
		e := echo.New()
		e.GET("/search", echo.WrapHandler(coveo.Handler(searchPage)))
		e.POST("/coveo/token", echo.WrapHandler(coveo.RenewHandler()))
		visit(t, e).expect(
			exchange{"GET /search as alice@example.com", "200 alice@example.com"},
			exchange{"GET /search", "401"},
			exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		)
	})
	t.Run("global", func(t *testing.T) {
		for name, use := range map[string]func(*echo.Echo, ...echo.MiddlewareFunc){
			"Pre": (*echo.Echo).Pre, "Use": (*echo.Echo).Use,
		} {
			t.Run(name, func(t *testing.T) {
				e := echo.New()
				use(e, echo.WrapMiddleware(coveo.Handler))
				e.GET("/search", echo.WrapHandler(searchPage))
				e.GET("/login", echo.WrapHandler(http.HandlerFunc(login)))
				visit(t, e).expect(
					exchange{"GET /search as alice@example.com", "200 alice@example.com"},
					exchange{"GET /login", "401"}, // nobody can log in
				)
			})
		}
	})
}

func TestEchoErrorHandler(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: echo-error-handler
	withPage := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			page, err := coveo.Page(c.Request())
			setPageHeaders(c.Response().Header().Set, err)
			c.Response().Header().Add("Vary", "Cookie")
			if err != nil {
				return echo.NewHTTPError(searchtoken.HTTPStatus(err)).SetInternal(err)
			}
			c.Set("coveo", page)
			return next(c)
		}
	}
	e := echo.New()
	e.GET("/search", renderSearch, withPage) // renderSearch uses c.Get("coveo")
	// end recipe

	visit(t, e).do("GET /search as alice@example.com").expectPrivate(t)

	var failures []error
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		failures = append(failures, err)
		e.DefaultHTTPErrorHandler(err, c)
	}
	visitor := visit(t, e)
	visitor.expect(
		exchange{"GET /search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /search", "401"},
	)
	if len(failures) != 1 || !errors.Is(failures[0], searchtoken.ErrNoIdentity) {
		t.Errorf("echo's error handler got %v, want an ErrNoIdentity", failures)
	}
	check(t, "body", `{"message":"Unauthorized"}`+"\n", visitor.do("GET /search").body)
}

func renderSearch(c echo.Context) error {
	return searchTemplate.Execute(c.Response(), c.Get("coveo"))
}
