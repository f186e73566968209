package searchtoken_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"golang.org/x/time/rate"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

var chaosSeed = flag.Uint64("chaos.seed", 0, "run TestChaos with this seed alone")

const (
	chaosHours    = 48
	chaosVisitors = 200
	slowestCache  = 2 * time.Second
	fetchTimeout  = 10 * time.Second // of the package: one whole fetch
	mostTries     = 5                // of the package: fetches of one request
	mostCalls     = 8                // under way at a time
	mostVisits    = 60               // of a step
	clockSkew     = 90 * time.Second // of the platform
)

// TestChaos drives two middlewares on one cache through days in which everything
// fails at some time, and checks after each answer, and before each call of the
// platform, that what the package promises holds. A seed decides who asks for
// what and when, and what goes wrong; the order within one moment is the
// scheduler's, and the package's own jitter is its own.
func TestChaos(t *testing.T) {
	seeds := []uint64{1, 4}
	if *chaosSeed != 0 {
		seeds = []uint64{*chaosSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				for end := time.Now().Add(chaosHours * time.Hour); time.Now().Before(end) && !t.Failed(); {
					w.step()
				}
				w.recover()
			})
		})
	}
}

// world is two instances of a site, its visitors, and the platform.
type world struct {
	t        *testing.T
	seed     uint64
	rng      *rand.Rand // the driver's
	platform *searchtokentest.Platform
	memory   *searchtoken.MemoryCache // what the cache keeps when it works
	visitors []*visitor
	sites    []*site

	mu      sync.Mutex
	weather weather
	clock   int // counts what happens, to tell what came first in one moment
	visits  uint64
	tokens  map[string]*call // which call brought which token
	keys    map[grant]searchtoken.Key
	kept    map[searchtoken.Key]time.Time // when the cache last kept a token
	logouts []*logout                     // of this step
	seen    map[string]int                // how often what was seen
}

// weather is how likely what fails, for one step.
type weather struct {
	fails, refuses, limits, stalls float64 // the platform
	cacheFails, cacheSlow          float64
	refused                        *visitor // gets 400
}

// site is one instance. What its checks know of the calls is under world.mu.
type site struct {
	*world
	routes []*route
	m      *searchtoken.Middleware
	open   map[*call]bool
	rests  map[grant]*rest
	forced map[string]*rate.Limiter // renewals that replace a good token

	// The platform as a whole.
	row            int // failures without another answer between
	outage         rest
	limited, until time.Time // a 429 asked for no call between them
}

// rest is until when there is no call after failures.
type rest struct {
	tries     int
	at, until time.Time
}

// add counts another failure. The package's jitter takes a tenth at most.
func (r *rest) add() {
	delay := min(time.Second<<min(r.tries, 10), time.Minute)
	r.tries, r.at = r.tries+1, time.Now()
	r.until = r.at.Add(delay * 9 / 10)
}

func (r *rest) broken(now time.Time) bool { return now.After(r.at) && now.Before(r.until) }

// route is a Route of a site; the grant is filled in for each visit.
type route struct {
	hub           string
	tenants       bool
	minRemaining  time.Duration
	pages, renews http.Handler
}

// grant is what tokens must not be mixed up between.
type grant struct{ user, hub, filter string }

// visitor is a browser and its user.
type visitor struct {
	name   string
	cookie *http.Cookie // of a session, for as long as the visitor is logged in
	in     bool
	last   map[grant]string
	forgot map[*site]int // the last Forget of each site, by world.clock
}

// visit is one request.
type visit struct {
	*visitor
	site     *site
	route    *route
	grant    grant
	in       bool // logged in, when it was planned
	renewal  bool
	rejected string
	patience time.Duration // 0: without end
	rng      *rand.Rand    // what befalls its calls; under world.mu

	began  time.Time
	clock  int
	bar    int  // no token from before, by world.clock
	ready  bool // a good token was in the cache
	status int
	token  string
	call   *call // that brought the token
	waited time.Duration
}

// call is a request for a token that reached the platform.
type call struct {
	visit *visit // that it was begun for
	ctx   context.Context
	began time.Time
	clock int
	void  int // when a Forget of its user failed meanwhile, by world.clock
}

// logout is one Forget.
type logout struct {
	effect int       // when the cache began to forget, by world.clock
	ended  time.Time // when Forget returned
}

type visitKey struct{}
type logoutKey struct{}

func newWorld(t *testing.T, seed uint64) *world {
	store := sessions.NewCookieStore(sessionKey)
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		platform: searchtokentest.New(searchtokentest.Config{ClockSkew: clockSkew, Documents: []searchtokentest.Document{}}),
		memory:   searchtoken.NewMemoryCache(0),
		tokens:   map[string]*call{}, keys: map[grant]searchtoken.Key{}, kept: map[searchtoken.Key]time.Time{}, seen: map[string]int{},
	}
	for n := range chaosVisitors {
		u := &visitor{name: fmt.Sprintf("user%d@example.com", n), last: map[grant]string{}, forgot: map[*site]int{}}
		session, rec := sessions.NewSession(store, "session"), httptest.NewRecorder()
		session.Options, session.Values["email"] = store.Options, u.name
		if err := session.Save(request(""), rec); err != nil {
			t.Fatal(err)
		}
		u.cookie = rec.Result().Cookies()[0]
		w.visitors = append(w.visitors, u)
	}
	for range 2 {
		w.sites = append(w.sites, w.newSite(store))
	}
	return w
}

func (w *world) newSite(store sessions.Store) *site {
	s := &site{world: w, open: map[*call]bool{}, rests: map[grant]*rest{}, forced: map[string]*rate.Limiter{}}
	s.m = newMiddleware(w.t, searchtoken.Config{
		APIKey:   searchtokentest.DefaultAPIKey,
		Identify: searchtoken.SessionEmail(store, "session", "email"),
		Cache:    w.newCache(), MaxInFlight: mostCalls,
		HTTPClient: &http.Client{Transport: roundTripper(s.roundTrip)},
	})
	for _, r := range []*route{
		{hub: "main"},
		{hub: "main", minRemaining: time.Hour}, // the same grant, for pages that cannot renew
		{hub: "desk"},
		{hub: "main", tenants: true},
	} {
		m, err := s.m.With(func(route *searchtoken.Route) {
			route.Params.SearchHub, route.MinRemaining = r.hub, r.minRemaining
			if r.tenants {
				route.Prepare = func(r *http.Request, p *searchtoken.TokenParams) error {
					p.Filter = r.Header.Get("Tenant")
					return nil
				}
			}
		})
		if err != nil {
			w.t.Fatal(err)
		}
		r.renews = m.RenewHandler()
		r.pages = m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page, _ := searchtoken.FromContext(r.Context())
			json.NewEncoder(w).Encode(map[string]string{"token": page.Token.Value})
		}))
		s.routes = append(s.routes, r)
	}
	return s
}

// step changes the weather, and lets some minutes of visits pass. Nothing is
// under way at its end.
func (w *world) step() {
	w.changeWeather()
	span := time.Duration(w.rng.Int64N(int64(3 * time.Minute)))
	if w.rng.IntN(4) == 0 {
		span = 0 // all at once
	}
	crowd := w.visitors // or a few, who meet often
	if w.rng.IntN(2) == 0 {
		crowd = crowd[w.rng.IntN(len(crowd)-5):][:1+w.rng.IntN(5)]
	}
	leaving := w.rng.IntN(3) == 0
	var wg sync.WaitGroup
	for range 20 + w.rng.IntN(mostVisits-20) {
		u := crowd[w.rng.IntN(len(crowd))]
		at := time.Duration(w.rng.Int64N(int64(span) + 1))
		if w.rng.IntN(4) == 0 { // with others
			at = at.Truncate(time.Minute)
		}
		site := w.sites[w.rng.IntN(2)]
		if leaving && w.rng.IntN(4) == 0 {
			wg.Go(func() {
				time.Sleep(at)
				w.logout(u, site)
			})
		} else {
			v := w.newVisit(u, site, w.rng.IntN(20) > 0)
			wg.Go(func() {
				time.Sleep(at)
				w.run(v)
			})
		}
	}
	wg.Wait()
	time.Sleep(fetchTimeout + time.Second + time.Duration(w.rng.Int64N(int64(40*time.Minute))))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logouts = nil
}

func (w *world) changeWeather() {
	maybe := func(p float64) float64 {
		if w.rng.IntN(3) > 0 {
			return 0
		}
		return p * w.rng.Float64()
	}
	weather := weather{fails: maybe(0.5), refuses: maybe(0.5), limits: maybe(0.1), stalls: maybe(0.3), cacheFails: maybe(0.3), cacheSlow: maybe(0.3)}
	if w.rng.IntN(8) == 0 {
		weather.fails = 1
	}
	if w.rng.IntN(3) == 0 {
		weather.refused = w.visitors[w.rng.IntN(len(w.visitors))]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.weather = weather
	lives := []time.Duration{0, 0, 0, 0, time.Hour, 15 * time.Minute, 3 * time.Minute, 40 * time.Second, -time.Minute}
	w.platform.SetTokenLife(lives[w.rng.IntN(len(lives))])
	if w.rng.IntN(10) == 0 {
		w.platform.RejectAll()
	}
}

func (w *world) logout(u *visitor, s *site) {
	l := &logout{}
	w.mu.Lock()
	u.in = false
	w.visits++
	w.logouts = append(w.logouts, l)
	v := &visit{visitor: u, site: s, rng: rand.New(rand.NewPCG(w.seed, w.visits))}
	w.mu.Unlock()
	ctx := context.WithValue(context.WithValue(w.t.Context(), visitKey{}, v), logoutKey{}, l)
	err := s.m.Forget(ctx, searchtoken.Email(u.name))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	l.ended = time.Now()
	for g := range s.rests {
		if g.user == u.name {
			delete(s.rests, g)
		}
	}
	if err == nil {
		u.forgot[s] = max(u.forgot[s], l.effect)
		return
	}
	for c := range s.open {
		if c.visit.name == u.name {
			c.void = w.clock
		}
	}
}

// newVisit is the next visit of u to s, after a log-in where there is one.
func (w *world) newVisit(u *visitor, s *site, login bool) *visit {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visits++
	u.in = u.in || login
	v := &visit{visitor: u, site: s, route: s.routes[w.rng.IntN(len(s.routes))], in: u.in, rng: rand.New(rand.NewPCG(w.seed, w.visits))}
	v.grant = grant{user: u.name, hub: v.route.hub}
	if v.route.tenants {
		v.grant.filter = []string{"@tenant==a", "@tenant==b"}[w.rng.IntN(2)]
	}
	v.renewal = w.rng.IntN(3) == 0
	if w.rng.IntN(3) == 0 {
		v.patience = 1 + time.Duration(w.rng.Int64N(int64(12*time.Second)))
	}
	return v
}

// run makes the request of v, and checks the answer.
func (w *world) run(v *visit) {
	ctx, cancel := context.WithTimeout(context.WithValue(w.t.Context(), visitKey{}, v), cmp.Or(v.patience, time.Hour))
	defer cancel()
	w.mu.Lock()
	if v.renewal {
		v.rejected = v.last[v.grant]
	}
	w.mu.Unlock()
	r, handler := httptest.NewRequestWithContext(ctx, "GET", "/", nil), v.route.pages
	if v.renewal {
		handler = v.route.renews
	}
	if v.rejected != "" {
		r = httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(`{"rejected":"`+v.rejected+`"}`))
	}
	if v.grant.filter != "" {
		r.Header.Set("Tenant", v.grant.filter)
	}
	if v.in {
		r.AddCookie(v.cookie)
	}
	w.mu.Lock()
	w.clock++
	v.began, v.clock = time.Now(), w.clock
	v.bar = v.forgot[v.site]
	if w.weather.cacheFails == 0 { // else the other instance may not know
		v.bar = max(v.forgot[w.sites[0]], v.forgot[w.sites[1]])
	}
	v.ready = w.cacheWell() && v.finds() && v.in
	w.mu.Unlock()

	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, r)
	v.waited, v.status = time.Since(v.began), rec.Code
	if v.status == 200 {
		var body struct{ Token string }
		_ = json.Unmarshal(rec.Body.Bytes(), &body)
		v.token = body.Token
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[fmt.Sprint("status ", v.status)]++
	if v.call = w.tokens[v.token]; v.token != "" && v.call == nil {
		w.fail(v, "a token of the platform", "an unknown one")
		return
	}
	for _, check := range ofAnswers {
		if wrong := check.broken(v); wrong != "" {
			w.fail(v, check.name, wrong)
		}
	}
	if v.token != "" {
		v.last[v.grant] = v.token
	}
}

// forgets is how many Forgets there were since a call began, or since the fetch
// that it is part of looked into the cache.
func (w *world) forgets(began time.Time) (n int) {
	if w.weather.cacheSlow > 0 {
		began = began.Add(-slowestCache)
	}
	for _, l := range w.logouts {
		if l.ended.IsZero() || !l.ended.Before(began) {
			n++
		}
	}
	return n
}

func (w *world) cacheWell() bool { return w.weather.cacheFails == 0 && w.weather.cacheSlow == 0 }

func (w *world) fail(v *visit, name, wrong string) {
	w.t.Errorf("seed %d, visit %d at %v, %+v: %s: %s", w.seed, v.clock, time.Now().Format("02 15:04:05.000"), v.grant, name, wrong)
}

// left is what a token has left at now, and the margins of a route for it.
func (r *route) left(issued time.Time, life time.Duration, now time.Time) (left, least, before time.Duration) {
	least = r.minRemaining
	if least == 0 {
		least = 2 * time.Minute
	}
	least = min(least, life/2)
	before = min(max(least+(life-least)/10, 5*time.Minute), life/4*3)
	return issued.Add(life).Sub(now), least, before
}

// cached is the token that the cache has for v.
func (v *visit) cached() (t searchtoken.Token, since time.Time) {
	key, ok := v.site.keys[v.grant]
	if ok {
		t, _, _ = v.site.memory.Get(context.Background(), key)
	}
	return t, v.site.kept[key]
}

// finds reports whether the cache has a token that is good for v.
func (v *visit) finds() bool {
	t, _ := v.cached()
	left, least, _ := v.route.left(t.Issued, t.Expiry.Sub(t.Issued), time.Now())
	return t.Value != "" && left > least && (v.rejected == "" || claimsOf(t.Value).IssuedAt > claimsOf(v.rejected).IssuedAt)
}

func claimsOf(token string) (c searchtokentest.Claims) {
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &c)
	}
	return c
}

// ofAnswers are the checks of what a request got. Each says what is wrong.
var ofAnswers = []struct {
	name   string
	broken func(v *visit) string
}{
	{"a status that says what is the matter", func(v *visit) string {
		switch {
		case v.status == 200 && v.token != "" && v.in, v.status == 401 && !v.in:
		case (v.status == 502 || v.status == 503) && v.in:
		case v.status == 429 && v.rejected != "":
		default:
			return fmt.Sprintf("status %d, logged in: %v", v.status, v.in)
		}
		return ""
	}},
	{"a token of one's own, for the page's grant", func(v *visit) string {
		if v.token == "" {
			return ""
		}
		c := claimsOf(v.token)
		if len(c.UserIDs) != 1 || (grant{c.UserIDs[0].Name, c.SearchHub, c.Filter}) != v.grant {
			return fmt.Sprintf("%v, %s, %s", c.UserIDs, c.SearchHub, c.Filter)
		}
		return ""
	}},
	{"a token with enough life", func(v *visit) string {
		if v.token == "" {
			return ""
		}
		c := claimsOf(v.token)
		left, least, _ := v.route.left(v.call.began, time.Duration(c.ExpiresAt-c.IssuedAt)*time.Second, time.Now())
		if left <= least || !time.Unix(c.ExpiresAt, 0).After(time.Now().Add(clockSkew)) {
			return fmt.Sprintf("%v left, want more than %v", left, least)
		}
		return ""
	}},
	{"another token than the rejected", func(v *visit) string {
		if v.token != "" && v.token == v.rejected {
			return "the rejected one"
		}
		return ""
	}},
	{"no token from before a Forget", func(v *visit) string {
		if v.token == "" {
			return ""
		}
		switch c := v.call; {
		case c.clock < v.bar:
			return fmt.Sprintf("asked for at %d, forgotten at %d", c.clock, v.bar)
		case c.void != 0 && c.void < v.clock && c.visit.site == v.site:
			return fmt.Sprintf("was being fetched at a Forget that failed, at %d", c.void)
		}
		return ""
	}},
	{"patience", func(v *visit) string {
		most := v.patience
		if most == 0 {
			most = mostTries * (slowestCache + fetchTimeout*(1+mostVisits/mostCalls)) // in a queue each time
		}
		if v.waited > most {
			return fmt.Sprintf("waited %v, not %v", v.waited, most)
		}
		return ""
	}},
	{"a good token at once, whatever the platform does", func(v *visit) string {
		if v.ready && (v.status != 200 || v.waited > 0) && len(v.site.logouts) == 0 {
			return fmt.Sprintf("status %d after %v", v.status, v.waited)
		}
		return ""
	}},
}

// ofCalls are the checks of a call before it begins. Together they bound the
// calls: of a grant, a site makes one when the cache has no token that is fresh,
// one at a time, and after failures with doubling pauses; renewals have a limit.
var ofCalls = []struct {
	name   string
	broken func(s *site, c *call) string
}{
	// Two requests share a call if the cache told them of the same epoch. A
	// Forget begins two, the cache's and the site's; to whom the cache says
	// nothing, that is one more.
	{"one call at a time", func(s *site, c *call) string {
		open, first := 0, c.began
		for o := range s.open {
			if o.visit.grant == c.visit.grant && o.ctx.Err() == nil {
				open++
				if o.began.Before(first) {
					first = o.began
				}
			}
		}
		most := 1 + 2*s.forgets(first)
		if s.weather.cacheFails > 0 {
			most *= 2
		}
		if open >= most {
			return fmt.Sprintf("%d are under way", open)
		}
		return ""
	}},
	{"few calls at a time", func(s *site, c *call) string {
		open := 1
		for o := range s.open {
			if o.ctx.Err() == nil {
				open++
			}
		}
		if open > mostCalls {
			return fmt.Sprint(open)
		}
		return ""
	}},
	{"no call before the Retry-After of a 429", func(s *site, c *call) string {
		if c.began.After(s.limited) && c.began.Before(s.until) {
			return fmt.Sprintf("%v too early", s.until.Sub(c.began))
		}
		return ""
	}},
	{"one probe after another of a platform that fails", func(s *site, c *call) string {
		if s.outage.tries == 0 || !c.began.After(s.outage.at) {
			return ""
		}
		for o := range s.open {
			if o.began.After(s.outage.at) && o.ctx.Err() == nil {
				return "two at a time"
			}
		}
		if s.outage.broken(c.began) {
			return fmt.Sprintf("%v too early", s.outage.until.Sub(c.began))
		}
		return ""
	}},
	{"patience with a refusal", func(s *site, c *call) string {
		if r := s.rests[c.visit.grant]; r != nil && s.cacheWell() && r.broken(c.began) {
			return fmt.Sprintf("%v too early after %d refusals", r.until.Sub(c.began), r.tries)
		}
		return ""
	}},
	{"no call without need", func(s *site, c *call) string {
		t, since := c.visit.cached()
		if s.cacheWell() && c.visit.rejected == "" && c.visit.finds() {
			s.seen["refreshes"]++
		}
		left, _, before := c.visit.route.left(t.Issued, t.Expiry.Sub(t.Issued), c.began)
		if s.cacheWell() && c.visit.finds() && left > before && since.Before(c.began) {
			return fmt.Sprintf("the cache has a token for %v since %v", left, c.began.Sub(since))
		}
		return ""
	}},
	{"few renewals", func(s *site, c *call) string {
		t, _ := c.visit.cached()
		if left, least, _ := c.visit.route.left(t.Issued, t.Expiry.Sub(t.Issued), c.began); c.visit.rejected == "" || t.Value == "" || left <= least || c.visit.finds() {
			return ""
		}
		limiter := s.forced[c.visit.name]
		if limiter == nil {
			limiter = rate.NewLimiter(rate.Every(20*time.Second-time.Millisecond), 3)
			s.forced[c.visit.name] = limiter
		}
		if s.cacheWell() && !limiter.AllowN(c.began, 1) {
			return "more than three at once and one in 20 seconds"
		}
		return ""
	}},
}

// roundTrip is the way of a site's call to the platform and back.
func (s *site) roundTrip(r *http.Request) (*http.Response, error) {
	c := &call{visit: r.Context().Value(visitKey{}).(*visit), ctx: r.Context(), began: time.Now()}
	s.mu.Lock()
	s.clock++
	c.clock = s.clock
	s.seen["calls"]++
	for _, check := range ofCalls {
		if wrong := check.broken(s, c); wrong != "" {
			s.fail(c.visit, check.name, wrong)
		}
	}
	s.open[c] = true
	there, back := s.delay(c.visit.rng), s.delay(c.visit.rng)
	fault := s.fault(c.visit)
	s.mu.Unlock()

	resp, token, err := s.answer(r, fault, there, back)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	delete(s.open, c)
	s.conclude(c, resp, token)
	return resp, err
}

func (w *world) delay(rng *rand.Rand) time.Duration {
	if rng.Float64() < w.weather.stalls {
		return time.Duration(rng.Int64N(int64(15 * time.Second)))
	}
	return 1 + time.Duration(rng.Int64N(int64(300*time.Millisecond)))
}

// fault is what befalls a call of v: nothing where it is the zero Fault.
func (w *world) fault(v *visit) (f searchtokentest.Fault) {
	weather, now := w.weather, time.Now()
	switch {
	case v.visitor == weather.refused:
		f.Status = 400
	case v.rng.Float64() < weather.limits:
		after := time.Duration(v.rng.IntN(600)) * time.Second
		f.Status, f.RetryAfter = 429, fmt.Sprint(int(after.Seconds()))
		if v.rng.IntN(2) == 0 {
			f.RetryAfter = now.Add(after).UTC().Format(http.TimeFormat)
		}
	case v.rng.Float64() < weather.fails:
		f = []searchtokentest.Fault{{Status: 500}, {Status: 503}, {Drop: true}, {Delay: 20 * time.Second}}[v.rng.IntN(4)]
	case v.rng.Float64() < weather.refuses:
		f = []searchtokentest.Fault{{Status: 403}, {Body: `{"token":`}, {Body: "<html>"}, {Body: "{}"}, {CutOff: true}}[v.rng.IntN(5)]
	}
	f.Kind = searchtokentest.KindToken
	return f
}

// answer is the platform's, or that of a platform which suffers the fault.
func (s *site) answer(r *http.Request, fault searchtokentest.Fault, there, back time.Duration) (resp *http.Response, token string, err error) {
	if err := pause(r.Context(), there); err != nil {
		return nil, "", err
	}
	if fault.Status != 0 || fault.Drop || fault.Delay > 0 || fault.Body != "" || fault.CutOff {
		broken := searchtokentest.New(searchtokentest.Config{Documents: []searchtokentest.Document{}})
		broken.Inject(fault)
		resp, err = broken.RoundTrip(r)
		return resp, "", err
	}
	if resp, err = s.platform.RoundTrip(r); err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err := errors.Join(err, pause(r.Context(), back)); err != nil {
		return nil, "", err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct{ Token string }
	if json.Unmarshal(body, &answer) != nil || answer.Token == "" {
		s.t.Errorf("seed %d: the platform answered %d: %s", s.seed, resp.StatusCode, body)
	}
	return resp, answer.Token, nil
}

// pause ends early with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conclude draws the conclusions of the end of a call for those to come.
func (s *site) conclude(c *call, resp *http.Response, token string) {
	now, g := time.Now(), c.visit.grant
	if c.ctx.Err() != nil && s.weather.cacheSlow == 0 && now.Sub(c.began) < fetchTimeout {
		s.fail(c.visit, "a fetch that outlives its request", fmt.Sprintf("broken off after %v", now.Sub(c.began)))
	}
	if resp == nil || resp.StatusCode >= 500 || resp.StatusCode == 429 {
		s.seen["failures"]++
		s.row++
		delete(s.rests, g) // such a failure is forgiven with the whole outage
		limited := resp != nil && resp.StatusCode == 429
		if limited {
			s.limited, s.until = now, later(s.until, now.Add(retryAfter(resp.Header.Get("Retry-After"))))
		}
		// What was in the air when the last failure was counted is not.
		if (limited || s.row >= 3) && (s.outage.tries == 0 || c.began.After(s.outage.at)) {
			s.outage.add()
		}
		return
	}
	s.row = 0
	if !now.Before(s.until) {
		s.outage = rest{}
	}
	if token != "" {
		s.seen["tokens"]++
		s.tokens[token] = c
		delete(s.rests, g)
		return
	}
	s.seen["refusals"]++
	if s.forgets(c.began) == 0 { // else what was refused may be granted
		if s.rests[g] == nil {
			s.rests[g] = &rest{}
		}
		s.rests[g].add()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retryAfter reads the header, and cuts it to 5 minutes.
func retryAfter(header string) time.Duration {
	after, err := time.ParseDuration(header + "s")
	if date, dateErr := http.ParseTime(header); err != nil && dateErr == nil {
		after = time.Until(date)
	}
	return min(after, 5*time.Minute)
}

// newCache is a cache that fails and is slow as the weather has it.
func (w *world) newCache() searchtoken.Cache {
	trouble := func(ctx context.Context) error {
		w.mu.Lock()
		rng := ctx.Value(visitKey{}).(*visit).rng
		fails, slow := rng.Float64() < w.weather.cacheFails, rng.Float64() < w.weather.cacheSlow
		delay := time.Duration(rng.Int64N(int64(slowestCache / 2)))
		w.mu.Unlock()
		if slow {
			if err := pause(ctx, delay); err != nil {
				return err
			}
		}
		if fails {
			return errors.New("the cache is down")
		}
		return nil
	}
	return &cache{
		get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			w.mu.Lock()
			w.keys[ctx.Value(visitKey{}).(*visit).grant] = key
			w.mu.Unlock()
			if err := trouble(ctx); err != nil {
				return searchtoken.Token{}, 0, err
			}
			t, epoch, _ := w.memory.Get(ctx, key)
			return t, epoch, trouble(ctx)
		},
		set: func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
			if err := trouble(ctx); err != nil {
				return false, err
			}
			w.mu.Lock()
			kept, _ := w.memory.Set(ctx, key, t, epoch)
			w.kept[key] = time.Now()
			if !t.Expiry.After(time.Now()) && len(w.logouts) == 0 {
				w.fail(ctx.Value(visitKey{}).(*visit), "a good token is not taken away", t.String())
			}
			w.mu.Unlock()
			return kept, trouble(ctx)
		},
		forget: func(ctx context.Context, user searchtoken.UserKey) error {
			if err := trouble(ctx); err != nil {
				return err
			}
			w.mu.Lock()
			w.clock++
			ctx.Value(logoutKey{}).(*logout).effect = w.clock
			_ = w.memory.Forget(ctx, user)
			w.mu.Unlock()
			return trouble(ctx)
		},
	}
}

// recover checks that everything is well some minutes after everything is.
func (w *world) recover() {
	w.mu.Lock()
	w.weather = weather{}
	w.mu.Unlock()
	w.platform.SetTokenLife(0)
	time.Sleep(5*time.Minute + time.Second)
	ask := func(u *visitor, s *site) {
		v := w.newVisit(u, s, true)
		v.patience = 0
		w.run(v)
		if v.status != 200 {
			w.fail(v, "a page for everybody in the end", fmt.Sprint("status ", v.status))
		}
	}
	var wg sync.WaitGroup
	for _, s := range w.sites {
		w.logout(w.visitors[0], s)
		ask(w.visitors[0], s) // the probe, if there was an outage
		for _, u := range w.visitors {
			wg.Go(func() { ask(u, s) })
		}
		wg.Wait()
	}
	for _, what := range []string{"status 200", "status 401", "status 429", "status 502", "status 503", "tokens", "refusals", "failures", "refreshes"} {
		if w.seen[what] == 0 {
			w.t.Errorf("seed %d: no %s in all that time: %v", w.seed, what, w.seen)
		}
	}
}
