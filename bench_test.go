package searchtoken_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"html/template"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// compare alternates between base and ours, so that both see the same machine.
// It reports the time of ours, and its ratio to the time of base. Each turn has
// a number of operations; the medians of the turns leave out those in which the
// machine did something else.
func compare(b *testing.B, turn int, base, ours func(n int)) {
	b.Helper()
	base(turn)
	ours(turn)
	var spentBase, spent []time.Duration
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		began := time.Now()
		base(turn)
		between := time.Now()
		ours(turn)
		spentBase = append(spentBase, between.Sub(began))
		spent = append(spent, time.Since(between))
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2]) / float64(turn)
	}
	b.ReportMetric(median(spent), "ns/op")
	b.ReportMetric(median(spentBase), "base-ns/op")
	b.ReportMetric(median(spent)/median(spentBase), "x")
}

// writer is a ResponseWriter that costs nothing.
type writer struct{ header http.Header }

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) WriteHeader(int)             {}

// serving has h serve one of the requests after the other, from goroutines side
// by side.
func serving(h http.Handler, goroutines int, requests []*http.Request) func(n int) {
	served := 0
	return func(n int) {
		var wg sync.WaitGroup
		for g := range goroutines {
			share := requests[(served+g*n/goroutines)%len(requests):]
			serve := func() {
				w := &writer{http.Header{}}
				for i := range n / goroutines {
					clear(w.header)
					h.ServeHTTP(w, share[i%len(share)])
				}
			}
			if goroutines == 1 {
				serve()
				continue
			}
			wg.Go(serve)
		}
		wg.Wait()
		served += n
	}
}

// identityKey is where a request's context has the identity of its user.
type identityKey struct{}

func fromContext(r *http.Request) (searchtoken.Identity, error) {
	id, ok := r.Context().Value(identityKey{}).(*searchtoken.Identity)
	if !ok {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return *id, nil
}

// requestsOf are requests of users, one each, with the identity in the context.
func requestsOf(users int) []*http.Request {
	list := make([]*http.Request, users)
	for i := range list {
		id := searchtoken.Email(fmt.Sprintf("user%d@example.com", i))
		list[i] = httptest.NewRequest("GET", "/search", nil)
		list[i] = list[i].WithContext(context.WithValue(list[i].Context(), identityKey{}, &id))
	}
	return list
}

var bare = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// floor does only what cannot be left out: a SHA-256 of the user, a look at the
// clock, two headers, and the page, in a context, in a copy of the request. The
// token is everybody's, but for those in tokens.
//
//go:noinline
func floor(next http.Handler, tokens map[[sha256.Size]byte]*searchtoken.Token) http.Handler {
	type contextKey struct{}
	everybodys := &searchtoken.Token{Value: "token", Expiry: time.Now().Add(time.Hour)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := fromContext(r)
		if err != nil {
			return
		}
		token := tokens[sha256.Sum256([]byte(id.UserIDs[0].Name))]
		if token == nil {
			token = everybodys
		}
		if time.Now().After(token.Expiry) {
			return
		}
		w.Header().Set("Cache-Control", "private, no-store")
		w.Header().Set("Vary", "Cookie")
		page := &searchtoken.Page{Token: *token, Identity: id, OrganizationID: "acme"}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, page)))
	})
}

// warm fills the cache of m with the tokens of those who make the requests.
func warm(b *testing.B, m *searchtoken.Middleware, requests []*http.Request) {
	b.Helper()
	serving(m.Handler(bare), 1, requests)(len(requests))
}

func BenchmarkHit(b *testing.B) {
	all := searchtoken.TokenParams{
		UserDisplayName: "Ann Lee", UserGroups: []string{"staff", "support"}, SearchHub: "support", Pipeline: "support",
		Filter: `@source==("Knowledge base", "Tickets")`, ValidFor: time.Hour,
		CanSeeUserProfileOf:    []string{"bob@example.com"},
		DictionaryFieldContext: map[string]string{"price": "fr"},
	}
	for _, route := range []struct {
		name string
		searchtoken.Route
	}{
		{"plain", searchtoken.Route{}},
		{"all fields", searchtoken.Route{Params: all}},
		{"all fields, prepared", searchtoken.Route{Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
			ids := p.UserIDs
			*p = all
			p.UserIDs = ids
			return nil
		}}},
	} {
		for _, goroutines := range []int{1, 2, 8, 64} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", route.name, goroutines), func(b *testing.B) {
				m := newMiddleware(b, searchtoken.Config{Identify: fromContext, Route: route.Route})
				requests := requestsOf(64)
				warm(b, m, requests)
				compare(b, 256*goroutines, serving(floor(bare, nil), goroutines, requests),
					serving(m.Handler(bare), goroutines, requests))
			})
		}
	}
}

func BenchmarkSnippet(b *testing.B) {
	token := searchtoken.Token{Value: jwt(map[string]any{"user": strings.Repeat("x", 600)})}
	page := &searchtoken.Page{
		Token: token, OrganizationID: "acme", RenewURL: "/coveo/token", SearchHub: "support",
		Nonce: "cmFuZG9tIG5vbmNlIDEyMw==",
	}
	plain := template.Must(template.New("").Parse(`<script>const token = {{.Token.Value}};</script>`))
	rendering := func(t *template.Template) func(n int) {
		return func(n int) {
			for range n {
				if err := t.Execute(io.Discard, page); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for name, call := range map[searchtoken.FrontEnd]string{
		searchtoken.JSUI: "", searchtoken.Atomic: "", searchtoken.Headless: "", searchtoken.IPX: `"page"`,
		searchtoken.IPXBuilder: `"page"`,
	} {
		b.Run(string(name), func(b *testing.B) {
			text := "{{" + string(name) + " . " + call + "}}"
			snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(text))
			compare(b, 256, rendering(plain), rendering(snippet))
			b.ReportMetric(testing.AllocsPerRun(100, func() { rendering(snippet)(1) }), "ours-allocs/op")
			b.ReportMetric(testing.AllocsPerRun(100, func() { rendering(plain)(1) }), "base-allocs/op")
		})
	}
}

// BenchmarkHitUsers measures a hit with 1 to 1,000,000 cached users, against a
// map of as many tokens. What grows is the latency of the memory.
func BenchmarkHitUsers(b *testing.B) {
	for _, users := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			m := newMiddleware(b, searchtoken.Config{
				Identify: fromContext, Cache: searchtoken.NewMemoryCache(2 * users),
			})
			all := requestsOf(users)
			warm(b, m, all)
			tokens := map[[sha256.Size]byte]*searchtoken.Token{}
			for _, r := range all {
				id, _ := fromContext(r)
				tokens[sha256.Sum256([]byte(id.UserIDs[0].Name))] = &searchtoken.Token{
					Value: "token", Expiry: time.Now().Add(time.Hour),
				}
			}
			shuffled := func() []*http.Request { // that neither side finds its own users near
				list := make([]*http.Request, 1<<18)
				for i := range list {
					list[i] = all[rand.IntN(users)]
				}
				return list
			}
			compare(b, 256, serving(floor(bare, tokens), 1, shuffled()), serving(m.Handler(bare), 1, shuffled()))
		})
	}
}

// BenchmarkCookieSession measures a hit whose identity is in a session's
// cookie, against decoding the session alone.
func BenchmarkCookieSession(b *testing.B) {
	store := sessions.NewCookieStore(sessionKey)
	requests := requestsOf(1)
	session := sessions.NewSession(store, "session")
	session.Values["email"] = "user0@example.com"
	w := httptest.NewRecorder()
	if err := store.Save(requests[0], w, session); err != nil {
		b.Fatal(err)
	}
	requests[0].Header.Set("Cookie", w.Header().Get("Set-Cookie"))
	again := func(next http.Handler) http.Handler { // gorilla keeps what it has decoded with the request
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.Background()))
		})
	}
	identify := searchtoken.SessionEmail(store, "session", "email")
	decode := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := identify(r); err != nil {
			b.Fatal(err)
		}
	})
	m := newMiddleware(b, searchtoken.Config{Identify: identify})
	compare(b, 256, serving(again(decode), 1, requests), serving(again(m.Handler(bare)), 1, requests))
}

// BenchmarkMemory reports what a user takes in a MemoryCache beyond the bytes
// of the token.
func BenchmarkMemory(b *testing.B) {
	const users = 1_000_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		c := searchtoken.NewMemoryCache(users * 11 / 10)
		tokens := 0
		for i := range users {
			t := searchtoken.Token{
				Value: strings.Repeat("x", 896), Issued: time.Now(), Expiry: time.Now().Add(time.Hour),
			}
			kept, err := c.Set(b.Context(), searchtoken.Key{User: sha256.Sum256(fmt.Append(nil, i))}, t, 0)
			if !kept || err != nil {
				b.Fatal(kept, err)
			}
			tokens += len(t.Value)
		}
		b.ReportMetric((float64(heap()-before)-float64(tokens))/users, "B/user")
		runtime.KeepAlive(c)
	}
}

// BenchmarkCold measures a request that waits for a call over HTTP of 20 ms,
// against the call alone.
func BenchmarkCold(b *testing.B) {
	platform := searchtokentest.NewServer(searchtokentest.Config{})
	defer platform.Close()
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: 20 * time.Millisecond})
	cfg := searchtoken.ClientConfig{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey, PlatformURL: platform.URL,
	}
	client, err := searchtoken.NewClient(cfg)
	if err != nil {
		b.Fatal(err)
	}
	m := newMiddleware(b, searchtoken.Config{
		OrganizationID: cfg.OrganizationID, APIKey: cfg.APIKey, PlatformURL: cfg.PlatformURL, Identify: fromContext,
	})
	requests := requestsOf(100_000)
	next := 0
	compare(b, 4, func(n int) {
		for range n {
			params := searchtoken.TokenParams{UserIDs: searchtoken.Email("ann").UserIDs}
			if _, err := client.Issue(b.Context(), params); err != nil {
				b.Fatal(err)
			}
		}
	}, func(n int) {
		serving(m.Handler(bare), 1, requests[next:next+n])(n)
		next += n
	})
}
