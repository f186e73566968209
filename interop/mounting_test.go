package interop_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"
	"github.com/labstack/echo/v4"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// proxySite are the answers of a site with a ProxyHandler at /coveo. The ID in
// the last call has a character that is escaped in a path.
var proxySite = []exchange{
	{"POST /coveo/rest/search/v2 as alice@example.com", "200"},
	{"GET /coveo/rest/search/v2/html?uniqueId=1.1%24https%3A%2F%2Freports.example.com%2Freviews%2Falice as alice@example.com", "200"},
	{"POST /coveo/rest/search/v2/querySuggest as bob@example.com", "200"},
	{"POST /coveo/rest/organizations/acme/caseassists/a%20b/classify as bob@example.com", "200"},
	{"POST /coveo/rest/search/v2", "401"},
	{"POST /coveo/rest/search/v2/token as alice@example.com", "404"},
}

// proxiedCalls are the calls of proxySite that reach Coveo.
var proxiedCalls = []string{
	"search: POST /rest/search/v2: 200 of alice@example.com",
	"other: GET /rest/search/v2/html: 200 of alice@example.com",
	"suggest: POST /rest/search/v2/querySuggest: 200 of bob@example.com",
	"service: POST /rest/organizations/acme/caseassists/a b/classify: 200 of bob@example.com",
}

// newProxied returns a Middleware whose pages hold no token.
func newProxied(t *testing.T, proxyURL string) (*searchtoken.Middleware, *searchtokentest.Platform) {
	t.Helper()
	cfg, platform := newConfig()
	cfg.RenewURL, cfg.ProxyURL = "", proxyURL
	return newCoveo(t, cfg), platform
}

// expectProxied sends the calls of proxySite as scripts of the site's own pages
// do, and compares the answers and what has reached Coveo.
func expectProxied(t *testing.T, visitor *browser, platform *searchtokentest.Platform) {
	t.Helper()
	var got []exchange
	for _, e := range proxySite {
		got = append(got, exchange{e.request, visitor.do(e.request, "Sec-Fetch-Dest", "empty").String()})
	}
	if diff := cmp.Diff(proxySite, got, cmp.AllowUnexported(exchange{})); diff != "" {
		t.Errorf("the answers (-want +got):\n%s", diff)
	}
	var calls []string
	for _, r := range platform.Requests() {
		if r.Kind != searchtokentest.KindToken {
			calls = append(calls, r.String()+" of "+r.User())
		}
	}
	check(t, "the calls of Coveo", proxiedCalls, calls)
}

func TestProxyHandlerInRouters(t *testing.T) {
	serveMux, chiRouter, gorillaMux := http.NewServeMux(), chi.NewRouter(), mux.NewRouter()
	httpRouter, ginEngine, echoServer := httprouter.New(), gin.New(), echo.New()
	fiberApp := fiber.New()
	coveo, platform := newProxied(t, "/coveo")

	// recipe: proxy-handler
	proxy := coveo.ProxyHandler()

	serveMux.Handle("/coveo/", proxy)
	chiRouter.Handle("/coveo/*", proxy) // or Mount("/coveo", proxy)
	gorillaMux.PathPrefix("/coveo/").Handler(proxy)
	echoServer.Any("/coveo/*", echo.WrapHandler(proxy))
	ginEngine.Any("/coveo/*call", gin.WrapH(proxy))
	httpRouter.Handler("GET", "/coveo/*call", proxy)
	httpRouter.Handler("POST", "/coveo/*call", proxy)
	fiberApp.All("/coveo/*", detached(proxy))
	// end recipe

	mounted := chi.NewRouter()
	mounted.Mount("/coveo", proxy)
	for _, tt := range []struct {
		name string
		site http.Handler
	}{
		{"ServeMux", serveMux},
		{"chi", chiRouter},
		{"chi, Mount", mounted},
		{"gorilla/mux", gorillaMux},
		{"echo", echoServer},
		{"gin", ginEngine},
		{"httprouter", httpRouter},
	} {
		t.Run(tt.name, func(t *testing.T) {
			platform.ResetRequests()
			visitor := visit(t, tt.site)
			expectProxied(t, visitor, platform)
			expectProxiedStream(t, visitor, platform)
		})
	}
	t.Run("fiber", func(t *testing.T) {
		platform.ResetRequests()
		visitor := visitFiber(t, fiberApp)
		expectProxied(t, visitor, platform)
		expectProxiedStream(t, visitor, platform)
	})
}

// expectProxiedStream checks that the first event of a generated answer arrives
// before Coveo has sent the next one.
func expectProxiedStream(t *testing.T, visitor *browser, platform *searchtokentest.Platform) {
	t.Helper()
	arrived := make(chan struct{})
	platform.Inject(searchtokentest.Fault{
		Kind: searchtokentest.KindAnswer, Times: 1,
		Handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-arrived:
				fmt.Fprint(w, "data: 2\n\n")
			case <-r.Context().Done():
			}
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const stream = "/coveo/rest/organizations/acme/machinelearning/streaming/a-1"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, visitor.url+stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User", "alice@example.com")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	response, err := visitor.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, len("data: 1\n\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	close(arrived)
	rest, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	check(t, "the events", []string{"data: 1\n\n", "data: 2\n\n"}, []string{string(first), string(rest)})
}

// visitFiber starts a server of app, and returns a browser that visits it.
func visitFiber(t *testing.T, app *fiber.App) *browser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	transport := new(http.Transport)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		listener.Close()
		<-ended
	})
	return newBrowser(t, &http.Client{Transport: transport}, "http://"+listener.Addr().String())
}

// TestProxyHandlerStripPrefix shows what a router may take off the path.
func TestProxyHandlerStripPrefix(t *testing.T) {
	for _, tt := range []struct{ name, proxyURL, strip, want string }{
		{"the whole", "/coveo", "/coveo", "200"},
		{"a part", "/site/coveo", "/site", "200"},
		{"the whole of one with a segment api", "/api/coveo", "/api/coveo", "200"},
		{"the segment api", "/api/coveo", "/api", "200"},
		{"nothing of one with a segment api", "/api/coveo", "", "200"},
		{"a part in front of a segment api", "/site/api/coveo", "/site", "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			coveo, _ := newProxied(t, tt.proxyURL)
			mux := http.NewServeMux()
			mux.Handle(tt.proxyURL+"/", http.StripPrefix(tt.strip, coveo.ProxyHandler()))
			got := visit(t, mux).do("POST " + tt.proxyURL + "/rest/search/v2 as alice@example.com")
			check(t, "answer", tt.want, got.String())
		})
	}
}

// TestProxyHandlerMethods shows that a pattern without a method loses nothing:
// the ProxyHandler itself answers what is neither GET nor POST.
func TestProxyHandlerMethods(t *testing.T) {
	coveo, platform := newProxied(t, "/coveo")
	mux := http.NewServeMux()
	mux.Handle("/coveo/", coveo.ProxyHandler())
	visitor := visit(t, mux)
	for _, method := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		check(t, method, "404", visitor.do(method+" /coveo/rest/search/v2 as alice@example.com").String())
	}
	check(t, "calls of Coveo", 0, platform.Count())
}

// TestRouterAnswersForProxyHandler shows the answers of routers whose pattern
// does not reach the ProxyHandler. They are not JSON, as its own are.
func TestRouterAnswersForProxyHandler(t *testing.T) {
	coveo, _ := newProxied(t, "/coveo")
	serveMux, getOnly, chiRouter := http.NewServeMux(), http.NewServeMux(), chi.NewRouter()
	serveMux.Handle("/coveo", coveo.ProxyHandler())
	getOnly.Handle("GET /coveo/", coveo.ProxyHandler())
	chiRouter.Handle("/coveo/", coveo.ProxyHandler())
	ginEngine := gin.New()
	ginEngine.GET("/coveo/*call", gin.WrapH(coveo.ProxyHandler()))
	proper := http.NewServeMux()
	proper.Handle("/coveo/", coveo.ProxyHandler())
	for _, tt := range []struct {
		name    string
		site    http.Handler
		request string
		want    []string
	}{
		{"ServeMux without a slash", serveMux, "POST /coveo/rest/search/v2", []string{"404", "404 page not found\n"}},
		{"ServeMux with GET only", getOnly, "POST /coveo/rest/search/v2", []string{"405", "Method Not Allowed\n"}},
		{"chi without a star", chiRouter, "POST /coveo/rest/search/v2", []string{"404", "404 page not found\n"}},
		{"gin with GET only", ginEngine, "POST /coveo/rest/search/v2", []string{"404", "404 page not found"}},
		{"ProxyHandler", proper, "POST /coveo/rest/search/v3", []string{
			"404", `{"statusCode":404,"type":"NotFound","message":"the site forwards no such call to Coveo"}` + "\n",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := visit(t, tt.site).do(tt.request + " as alice@example.com")
			check(t, "answer", tt.want, []string{got.String(), got.body})
		})
	}
}

// TestRenewHandlerBelowProxyURL shows which routers can have a RenewHandler
// below the pattern of a ProxyHandler, and whether the order matters.
func TestRenewHandlerBelowProxyURL(t *testing.T) {
	coveo, _ := newProxied(t, "/coveo")
	token, proxy := coveo.RenewHandler(), coveo.ProxyHandler()
	routers := map[string]func() (site http.Handler, mountToken, mountProxy func()){
		"ServeMux": func() (http.Handler, func(), func()) {
			m := http.NewServeMux()
			return m, func() { m.Handle("/coveo/token", token) }, func() { m.Handle("/coveo/", proxy) }
		},
		"chi": func() (http.Handler, func(), func()) {
			r := chi.NewRouter()
			return r, func() { r.Handle("/coveo/token", token) }, func() { r.Handle("/coveo/*", proxy) }
		},
		"gorilla/mux": func() (http.Handler, func(), func()) {
			r := mux.NewRouter()
			return r, func() { r.Handle("/coveo/token", token) }, func() { r.PathPrefix("/coveo/").Handler(proxy) }
		},
		"echo": func() (http.Handler, func(), func()) {
			e := echo.New()
			return e, func() { e.Any("/coveo/token", echo.WrapHandler(token)) },
				func() { e.Any("/coveo/*", echo.WrapHandler(proxy)) }
		},
		"gin": func() (http.Handler, func(), func()) {
			e := gin.New()
			return e, func() { e.Any("/coveo/token", gin.WrapH(token)) },
				func() { e.Any("/coveo/*call", gin.WrapH(proxy)) }
		},
		"httprouter": func() (http.Handler, func(), func()) {
			r := httprouter.New()
			return r, func() { r.Handler("POST", "/coveo/token", token) },
				func() { r.Handler("POST", "/coveo/*call", proxy) }
		},
		"fiber": func() (http.Handler, func(), func()) {
			app := fiber.New()
			return adaptor.FiberApp(app), func() { app.All("/coveo/token", detached(token)) },
				func() { app.All("/coveo/*", detached(proxy)) }
		},
	}
	for _, tt := range []struct{ name, tokenFirst, proxyFirst string }{
		{"ServeMux", "200 alice@example.com", "200 alice@example.com"},
		{"chi", "200 alice@example.com", "200 alice@example.com"},
		{"echo", "200 alice@example.com", "200 alice@example.com"},
		{"gorilla/mux", "200 alice@example.com", "404"},
		{"fiber", "200 alice@example.com", "404"},
		{"gin", "panic", "panic"},
		{"httprouter", "panic", "panic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			renew := func(order func(mountToken, mountProxy func())) (answer string) {
				site, mountToken, mountProxy := routers[tt.name]()
				defer func() {
					if recover() != nil {
						answer = "panic"
					}
				}()
				order(mountToken, mountProxy)
				return visit(t, site).do("POST /coveo/token as alice@example.com").String()
			}
			check(t, "the RenewHandler first", tt.tokenFirst, renew(func(token, proxy func()) { token(); proxy() }))
			check(t, "the ProxyHandler first", tt.proxyFirst, renew(func(token, proxy func()) { proxy(); token() }))
		})
	}
}
