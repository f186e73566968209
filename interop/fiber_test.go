package interop_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"

	"github.com/searchtoken/searchtoken"
)

func TestFiber(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: fiber
	app := fiber.New()
	pages := app.Group("/app", fiberCoveo(coveo))
	pages.Get("/search", func(c fiber.Ctx) error {
		c.Type("html", "utf-8")
		return searchTemplate.Execute(c, c.Locals("coveo"))
	})
	app.All("/coveo/token", detached(coveo.RenewHandler()))
	// end recipe

	for _, tt := range []struct{ method, path, user, want string }{
		{"GET", "/app/search", "alice@example.com", "200 alice@example.com"},
		{"GET", "/app/search", "", "401"},
		{"GET", "/app/nothing", "alice@example.com", "404"},
		{"GET", "/coveo/token", "alice@example.com", "200 alice@example.com"},
		{"POST", "/coveo/token", "alice@example.com", "200 alice@example.com"},
		{"POST", "/coveo/token", "", "401"},
	} {
		got := askFiber(t, app, tt.method, tt.path, tt.user)
		check(t, tt.method+" "+tt.path+" as "+tt.user, tt.want, got.String())
		if tt.user != "" && got.StatusCode == http.StatusOK {
			got.expectPrivate(t)
		}
	}
	expectErrorHeaders(t, func(coveo *searchtoken.Middleware) answer {
		app := fiber.New()
		app.Get("/search", fiberCoveo(coveo), func(fiber.Ctx) error { return nil })
		return askFiber(t, app, "GET", "/search", "alice@example.com")
	})
}

// recipe: fiber-page

// pageOf returns the page of a request. It does not use fasthttp's context,
// which belongs to another request later.
func pageOf(c fiber.Ctx, coveo *searchtoken.Middleware) (*searchtoken.Page, error) {
	r, err := adaptor.ConvertRequest(c, false)
	if err != nil {
		return nil, err
	}
	return coveo.Page(r.WithContext(c.Context()))
}

// end recipe

// recipe: fiber-middleware

// fiberCoveo puts the page into fiber's Locals.
func fiberCoveo(coveo *searchtoken.Middleware) fiber.Handler {
	return func(c fiber.Ctx) error {
		page, err := pageOf(c, coveo)
		setPageHeaders(c.Set, err)
		c.Vary(fiber.HeaderCookie)
		if err != nil {
			return fiber.NewError(searchtoken.HTTPStatus(err)) // the log has err
		}
		c.Locals("coveo", page)
		return c.Next()
	}
}

// end recipe

// recipe: fiber-detached

// detached adapts h. It gives h the context of c.SetContext instead of
// fasthttp's, which belongs to another request after the answer, when a token
// may still be refreshed.
func detached(h http.Handler) fiber.Handler {
	return adaptor.HTTPHandlerWithContext(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, _ := adaptor.LocalContextFromHTTPRequest(r)
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
}

// end recipe

// TestFiberAdaptorLosesThePage shows what fiber's adaptor passes on of a
// middleware of net/http: its headers, and not the values of its context.
func TestFiberAdaptorLosesThePage(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	t.Run("middleware", func(t *testing.T) {
		app := fiber.New()
		app.Use(adaptor.HTTPMiddleware(coveo.Handler))
		app.Get("/search", func(c fiber.Ctx) error {
			for _, ctx := range []context.Context{c, c.Context(), c.RequestCtx()} {
				_, ok := searchtoken.FromContext(ctx)
				check(t, "FromContext finds the page", false, ok)
			}
			return nil
		})
		got := askFiber(t, app, "GET", "/search", "alice@example.com")
		check(t, "answer", "200", got.String())
	})
	// A handler of net/http inside the Middleware is adapted with it.
	t.Run("handler", func(t *testing.T) {
		app := fiber.New()
		app.Get("/search", detached(coveo.Handler(searchPage)))
		got := askFiber(t, app, "GET", "/search", "alice@example.com")
		check(t, "answer", "200 alice@example.com", got.String())
		got.expectPrivate(t)
	})
}

// askFiber sends a request without a socket, which fiber's own test helper
// does.
func askFiber(t *testing.T, app *fiber.App, method, path, user string) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if user != "" {
		r.Header.Set("X-User", user)
	}
	response, err := app.Test(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}
