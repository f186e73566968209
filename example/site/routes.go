package site

import (
	"embed"
	"net/http"

	"github.com/searchtoken/searchtoken"
)

//go:embed static
var staticFiles embed.FS

// routes maps each path to its handler.
func (s *Site) routes(home, ipx *searchtoken.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, http.StatusNotFound) })
	if s.base.Proxy {
		mux.Handle(ProxyURL+"/", s.coveo.ProxyHandler())
	} else {
		mux.Handle(RenewURL, s.coveo.RenewHandler())
	}
	// ServeMux answers 405 only if no pattern matches, and "/" always does.
	handle := func(method, allow, path string, h http.Handler) {
		mux.Handle(method+" "+path, h)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.fail(w, r, http.StatusMethodNotAllowed)
		})
	}
	get := func(path string, h http.Handler) { handle("GET", "GET, HEAD", path, h) }
	post := func(path string, h http.HandlerFunc) { handle("POST", "POST", path, h) }
	get("/{$}", home.Handler(s.page("home")))
	get("/jsui", s.coveo.Handler(s.page("jsui", searchtoken.JSUI)))
	get("/atomic", s.coveo.Handler(s.page("atomic", searchtoken.Atomic)))
	get("/headless", s.coveo.Handler(s.page("headless", searchtoken.Headless)))
	get("/ipx", ipx.Handler(s.page("ipx", s.experiences()...)))
	get("/plain", s.coveo.Handler(http.HandlerFunc(s.plain)))
	get("/static/{file}", http.HandlerFunc(serveStatic))
	post("/login", s.logIn)
	post("/logout", s.logOut)

	var csrf http.CrossOriginProtection
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusForbidden)
	}))
	return withHeaders(csrf.Handler(mux))
}

// experiences returns the front ends of the configured In-Product Experiences.
func (s *Site) experiences() []searchtoken.FrontEnd {
	var list []searchtoken.FrontEnd
	if s.base.IPXPageID != "" {
		list = append(list, searchtoken.IPX)
	}
	if s.base.IPXInterfaceID != "" {
		list = append(list, searchtoken.IPXBuilder)
	}
	return list
}

// serveStatic serves one file. An [http.FileServerFS] would list the directory
// as well.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, staticFiles, "static/"+r.PathValue("file"))
}
