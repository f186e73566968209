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
	"maps"
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

var chaosSeed = flag.Uint64("chaos.seed", 0, "run TestChaos with only this seed")

const (
	chaosHours    = 48
	chaosVisitors = 200
	slowestCache  = 2 * time.Second  // one method of the Cache
	fetchTimeout  = 10 * time.Second // the package's limit of one fetch
	maxTries      = 5                // the package's limit of fetches for one request
	maxCalls      = 8                // MaxInFlight
	maxVisits     = 60               // of one step
	clockSkew     = 90 * time.Second // of the platform's clock
)

// TestChaos runs two Middlewares that share a Cache through two days in which
// every part fails at some time. After each answer and before each call of the
// platform, it checks the package's promises. It models the package's rules a
// second time, on purpose, and shares no code with it.
//
// A seed decides who requests what and when, and which part fails. The
// scheduler decides on the order within one moment, and the package on its
// jitter.
func TestChaos(t *testing.T) {
	seeds := []uint64{5, 25}
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

// world is a site of two instances, its visitors, and the platform.
type world struct {
	t         *testing.T
	seed      uint64
	rng       *rand.Rand // of step
	platform  *searchtokentest.Platform
	memory    *searchtoken.MemoryCache // the Cache behind the failures
	visitors  []*visitor
	instances []*instance

	mu      sync.Mutex
	weather weather
	clock   int // counts events, to order those of one moment
	visits  uint64
	tokens  map[string]*call // the call that each token comes from
	keys    map[grant]searchtoken.Key
	kept    map[searchtoken.Key]time.Time // when the Cache last stored a token
	logouts []*logout                     // of this step
	seen    map[string]int                // how often each kind of answer was seen
}

// weather is the probability of each failure, for one step.
type weather struct {
	fails, refuses, limits, stalls float64 // the platform
	cacheFails, cacheSlow          float64
	victim                         *visitor // Coveo refuses this user with 400
}

// instance is one process of the site. world.mu guards the fields below m,
// which describe its calls.
type instance struct {
	*world
	routes   []*route
	m        *searchtoken.Middleware
	open     map[*call]bool
	backoffs map[grant]*backoff
	forced   map[string]*rate.Limiter // renewals that replace a good token, by user

	// Failures that count for the whole platform.
	failures       map[string]bool      // users whose calls failed in a row, without another answer between them
	failing        map[string]bool      // users whose last call failed. True: they failed again after a recovery
	recovered      map[string]time.Time // of failing: the first recovery since their last failure
	unforgotten    map[string]time.Time // when the Cache failed to forget a user; tokens from before do not count
	outage         backoff
	limited, until time.Time // a 429 forbids calls between the two
}

// backoff is the time without calls after failures.
type backoff struct {
	tries     int
	at, until time.Time
}

// add counts another failure. The package's jitter shortens the delay by at
// most a tenth.
func (r *backoff) add() {
	delay := min(time.Second<<min(r.tries, 10), time.Minute)
	r.tries, r.at = r.tries+1, time.Now()
	r.until = r.at.Add(delay * 9 / 10)
}

func (r *backoff) broken(now time.Time) bool { return now.After(r.at) && now.Before(r.until) }

// route is a Route of an instance.
type route struct {
	hub           string
	tenants       bool
	minRemaining  time.Duration
	pages, renews http.Handler
}

// grant identifies what a token grants. Two grants must never share a token.
type grant struct{ user, hub, filter string }

// visitor is a browser and its user.
type visitor struct {
	name   string
	cookie *http.Cookie // of the session; sent while the visitor is logged in
	in     bool
	last   map[grant]string
	forgot map[*instance]int // the last Forget of each instance, by world.clock
	// leaving has one logout at a time at each instance: of two that end
	// together, one fails perhaps, and which of them was last is not known.
	leaving map[*instance]chan struct{}
}

// visit is one request.
type visit struct {
	*visitor
	instance *instance
	route    *route
	grant    grant
	in       bool // logged in when the visit was planned
	renewal  bool
	rejected string
	patience time.Duration // 0: no limit
	rng      *rand.Rand    // decides on the faults of its calls; guarded by world.mu

	began       time.Time
	clock       int
	forgottenAt int  // by world.clock; the answer must not have a token that was requested before
	ready       bool // a token good enough was in the Cache
	status      int
	token       string
	call        *call // that the token comes from
	waited      time.Duration
}

// call is a request for a token that reached the platform.
type call struct {
	visit       *visit // that started it
	ctx         context.Context
	began       time.Time
	clock       int
	forgottenAt int // when a Forget of its user failed meanwhile, by world.clock
}

// logout is one Forget.
type logout struct {
	effect int       // when the Cache removed the tokens, by world.clock
	ended  time.Time // when Forget returned
}

type visitKey struct{}
type logoutKey struct{}

func newWorld(t *testing.T, seed uint64) *world {
	store := sessions.NewCookieStore(sessionKey)
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		platform: searchtokentest.New(searchtokentest.Config{
			ClockSkew: clockSkew, Documents: []searchtokentest.Document{},
		}),
		memory: searchtoken.NewMemoryCache(0),
		tokens: map[string]*call{}, keys: map[grant]searchtoken.Key{}, kept: map[searchtoken.Key]time.Time{},
		seen: map[string]int{},
	}
	for n := range chaosVisitors {
		u := &visitor{name: fmt.Sprintf("user%d@example.com", n), last: map[grant]string{}, forgot: map[*instance]int{}, leaving: map[*instance]chan struct{}{}}
		session, rec := sessions.NewSession(store, "session"), httptest.NewRecorder()
		session.Options, session.Values["email"] = store.Options, u.name
		if err := session.Save(request(""), rec); err != nil {
			t.Fatal(err)
		}
		u.cookie = rec.Result().Cookies()[0]
		w.visitors = append(w.visitors, u)
	}
	for range 2 {
		s := w.newInstance(store)
		w.instances = append(w.instances, s)
		for _, u := range w.visitors {
			u.leaving[s] = make(chan struct{}, 1)
		}
	}
	return w
}

func (w *world) newInstance(store sessions.Store) *instance {
	s := &instance{world: w, open: map[*call]bool{}, backoffs: map[grant]*backoff{}, forced: map[string]*rate.Limiter{},
		failures: map[string]bool{}, failing: map[string]bool{}, recovered: map[string]time.Time{}, unforgotten: map[string]time.Time{}}
	s.m = newMiddleware(w.t, searchtoken.Config{
		APIKey:   searchtokentest.DefaultAPIKey,
		Identify: searchtoken.SessionEmail(store, "session", "email"),
		Cache:    w.newCache(), MaxInFlight: maxCalls,
		HTTPClient: &http.Client{Transport: roundTripper(s.roundTrip)},
	})
	for _, r := range []*route{
		{hub: "main"},
		{hub: "main", minRemaining: time.Hour}, // the grant of the first route, for pages that cannot renew
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

// step changes the weather, and runs visits for some minutes. It returns when
// no visit and no call is in flight.
func (w *world) step() {
	w.changeWeather()
	span := time.Duration(w.rng.Int64N(int64(3 * time.Minute)))
	if w.rng.IntN(4) == 0 {
		span = 0 // all visits at once
	}
	crowd := w.visitors // or a few, whose requests overlap often
	if w.rng.IntN(2) == 0 {
		crowd = crowd[w.rng.IntN(len(crowd)-5):][:1+w.rng.IntN(5)]
	}
	leaving := w.rng.IntN(3) == 0
	var wg sync.WaitGroup
	for range 20 + w.rng.IntN(maxVisits-20) {
		u := crowd[w.rng.IntN(len(crowd))]
		at := time.Duration(w.rng.Int64N(int64(span) + 1))
		if w.rng.IntN(4) == 0 { // together with other visits
			at = at.Truncate(time.Minute)
		}
		instance := w.instances[w.rng.IntN(2)]
		if leaving && w.rng.IntN(4) == 0 {
			wg.Go(func() {
				time.Sleep(at)
				w.logout(u, instance)
			})
		} else {
			v := w.newVisit(u, instance, w.rng.IntN(20) > 0)
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
	weather := weather{
		fails: maybe(0.5), refuses: maybe(0.5), limits: maybe(0.1), stalls: maybe(0.3),
		cacheFails: maybe(0.3), cacheSlow: maybe(0.3),
	}
	if w.rng.IntN(8) == 0 {
		weather.fails = 1
	}
	if w.rng.IntN(3) == 0 {
		weather.victim = w.visitors[w.rng.IntN(len(w.visitors))]
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

func (w *world) logout(u *visitor, s *instance) {
	u.leaving[s] <- struct{}{}
	defer func() { <-u.leaving[s] }()
	l := &logout{}
	w.mu.Lock()
	u.in = false
	w.visits++
	w.logouts = append(w.logouts, l)
	v := &visit{visitor: u, instance: s, rng: rand.New(rand.NewPCG(w.seed, w.visits))}
	w.mu.Unlock()
	ctx := context.WithValue(context.WithValue(w.t.Context(), visitKey{}, v), logoutKey{}, l)
	err := s.m.Forget(ctx, searchtoken.Email(u.name))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	l.ended = time.Now()
	for _, other := range w.instances {
		if other != s && l.effect == 0 { // it does not know of the Forget
			continue
		}
		maps.DeleteFunc(other.backoffs, func(g grant, _ *backoff) bool { return g.user == u.name })
	}
	delete(s.unforgotten, u.name)
	if err == nil {
		u.forgot[s] = max(u.forgot[s], l.effect)
		return
	}
	s.unforgotten[u.name] = l.ended
	for c := range s.open {
		if c.visit.name == u.name {
			c.forgottenAt = w.clock
		}
	}
}

// newVisit returns the next visit of u to s. If login is true, u logs in
// before.
func (w *world) newVisit(u *visitor, s *instance, login bool) *visit {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.visits++
	u.in = u.in || login
	v := &visit{
		visitor: u, instance: s, route: s.routes[w.rng.IntN(len(s.routes))], in: u.in,
		rng: rand.New(rand.NewPCG(w.seed, w.visits)),
	}
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
	v.forgottenAt = v.forgot[v.instance]
	if w.weather.cacheFails == 0 { // else the other instance may not have seen the Forget
		v.forgottenAt = max(v.forgot[w.instances[0]], v.forgot[w.instances[1]])
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
		w.fail(v, "a token of the platform", "the platform did not issue the token")
		return
	}
	for _, check := range answerChecks {
		if wrong := check.broken(v); wrong != "" {
			w.fail(v, check.name, wrong)
		}
	}
	if v.token != "" {
		v.last[v.grant] = v.token
	}
}

// forgets returns the number of Forgets since a visit or a call began.
func (w *world) forgets(began time.Time) (n int) {
	for _, l := range w.logouts {
		if l.ended.IsZero() || !l.ended.Before(began) {
			n++
		}
	}
	return n
}

func (w *world) cacheWell() bool { return w.weather.cacheFails == 0 && w.weather.cacheSlow == 0 }

func (w *world) fail(v *visit, name, wrong string) {
	w.t.Errorf("seed %d, visit %d at %v, %+v: %s: %s", w.seed, v.clock, time.Now().Format("02 15:04:05.000"), v.grant,
		name, wrong)
}

// left returns the remaining life of a token at now, and the route's margins
// for it.
func (r *route) left(
	issued time.Time, life time.Duration, now time.Time,
) (left, minRemaining, refreshBefore time.Duration) {
	minRemaining = r.minRemaining
	if minRemaining == 0 {
		minRemaining = 2 * time.Minute
	}
	minRemaining = min(minRemaining, life/2)
	refreshBefore = min(max(minRemaining+(life-minRemaining)/10, 5*time.Minute), life/4*3)
	return issued.Add(life).Sub(now), minRemaining, refreshBefore
}

// cached returns the token that the Cache has for v.
func (v *visit) cached() (t searchtoken.Token, since time.Time) {
	key, ok := v.instance.keys[v.grant]
	if ok {
		t, _, _ = v.instance.memory.Get(context.Background(), key)
	}
	if at, ok := v.instance.unforgotten[v.name]; ok && !t.Issued.After(at) {
		t = searchtoken.Token{}
	}
	return t, v.instance.kept[key]
}

// finds reports whether the Cache has a token that is good for v.
func (v *visit) finds() bool {
	t, _ := v.cached()
	left, minRemaining, _ := v.route.left(t.Issued, t.Expiry.Sub(t.Issued), time.Now())
	return t.Value != "" && left > minRemaining &&
		(v.rejected == "" || claimsOf(t.Value).IssuedAt > claimsOf(v.rejected).IssuedAt)
}

func claimsOf(token string) (c searchtokentest.Claims) {
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &c)
	}
	return c
}

// answerChecks check the answer to a request. Each returns what is wrong, or
// "".
var answerChecks = []struct {
	name   string
	broken func(v *visit) string
}{
	{"a status that fits the visitor and the failure", func(v *visit) string {
		switch {
		case v.status == 200 && v.token != "" && v.in, v.status == 401 && !v.in:
		case (v.status == 502 || v.status == 503) && v.in:
		case v.status == 429 && v.rejected != "":
		default:
			return fmt.Sprintf("status %d, logged in: %v", v.status, v.in)
		}
		return ""
	}},
	{"a token of the visitor, for the page's grant", func(v *visit) string {
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
		life := time.Duration(c.ExpiresAt-c.IssuedAt) * time.Second
		left, minRemaining, _ := v.route.left(v.call.began, life, time.Now())
		if left <= minRemaining || !time.Unix(c.ExpiresAt, 0).After(time.Now().Add(clockSkew)) {
			return fmt.Sprintf("%v left, want more than %v", left, minRemaining)
		}
		return ""
	}},
	{"a token other than the rejected one", func(v *visit) string {
		if v.token != "" && v.token == v.rejected {
			return "the visitor got the rejected token again"
		}
		return ""
	}},
	{"no token from before a Forget", func(v *visit) string {
		if v.token == "" {
			return ""
		}
		switch c := v.call; {
		case c.clock < v.forgottenAt:
			return fmt.Sprintf("the token was requested at %d, the user forgotten at %d", c.clock, v.forgottenAt)
		case c.forgottenAt != 0 && c.forgottenAt < v.clock && c.visit.instance == v.instance:
			return fmt.Sprintf("the token was in flight at a Forget that failed, at %d", c.forgottenAt)
		}
		return ""
	}},
	{"an answer before the visitor leaves", func(v *visit) string {
		most := v.patience
		if most == 0 {
			most = maxTries * (slowestCache + fetchTimeout*(1+maxVisits/maxCalls)) // queued each time
		}
		if v.waited > most {
			return fmt.Sprintf("waited %v, want at most %v", v.waited, most)
		}
		return ""
	}},
	{"a cached token at once, even if the platform fails", func(v *visit) string {
		if v.ready && (v.status != 200 || v.waited > 0) && len(v.instance.logouts) == 0 {
			return fmt.Sprintf("status %d after %v", v.status, v.waited)
		}
		return ""
	}},
}

// callChecks check a call before it begins. Together they bound the calls of an
// instance: it makes a call for a grant only if the Cache has no fresh token,
// one at a time, and after failures with a delay that doubles. Renewals have a
// limit.
var callChecks = []struct {
	name   string
	broken func(s *instance, c *call) string
}{
	// Two requests share a call if they saw the same epoch. A Forget begins two
	// epochs, one of the Cache and one of the instance. A request for which the
	// Cache fails sees no epoch of the Cache, so that is one more.
	{"one call at a time", func(s *instance, c *call) string {
		open, first := 0, c.visit.began
		for o := range s.open {
			if o.visit.grant == c.visit.grant && o.ctx.Err() == nil {
				open++
				if o.visit.began.Before(first) {
					first = o.visit.began
				}
			}
		}
		most := 1 + 2*s.forgets(first)
		if s.weather.cacheFails > 0 {
			most *= 2
		}
		if open >= most {
			return fmt.Sprintf("%d calls of the same grant are in flight", open)
		}
		return ""
	}},
	{"at most MaxInFlight calls at a time", func(s *instance, c *call) string {
		open := 1
		for o := range s.open {
			if o.ctx.Err() == nil {
				open++
			}
		}
		if open > maxCalls {
			return fmt.Sprintf("%d calls", open)
		}
		return ""
	}},
	{"no call before the Retry-After of a 429", func(s *instance, c *call) string {
		if c.began.After(s.limited) && c.began.Before(s.until) {
			return fmt.Sprintf("the call is %v too early", s.until.Sub(c.began))
		}
		return ""
	}},
	{"one probe at a time of a platform that fails", func(s *instance, c *call) string {
		if s.outage.tries == 0 || !c.began.After(s.outage.at) {
			return ""
		}
		for o := range s.open {
			if o.began.After(s.outage.at) && o.ctx.Err() == nil {
				return "another probe is in flight"
			}
		}
		if s.outage.broken(c.began) {
			return fmt.Sprintf("the probe is %v too early", s.outage.until.Sub(c.began))
		}
		return ""
	}},
	{"no call before the delay after a refusal", func(s *instance, c *call) string {
		if r := s.backoffs[c.visit.grant]; r != nil && s.cacheWell() && r.broken(c.began) {
			return fmt.Sprintf("the call is %v too early after %d refusals", r.until.Sub(c.began), r.tries)
		}
		return ""
	}},
	{"no call without need", func(s *instance, c *call) string {
		t, since := c.visit.cached()
		if s.cacheWell() && c.visit.rejected == "" && c.visit.finds() {
			s.seen["refreshes"]++
		}
		left, _, refreshBefore := c.visit.route.left(t.Issued, t.Expiry.Sub(t.Issued), c.began)
		if s.cacheWell() && c.visit.finds() && left > refreshBefore && since.Before(c.began) {
			return fmt.Sprintf("the Cache has a token with %v of life, stored %v ago", left, c.began.Sub(since))
		}
		return ""
	}},
	{"at most as many forced renewals as the limit allows", func(s *instance, c *call) string {
		t, _ := c.visit.cached()
		left, minRemaining, _ := c.visit.route.left(t.Issued, t.Expiry.Sub(t.Issued), c.began)
		if c.visit.rejected == "" || t.Value == "" || left <= minRemaining || c.visit.finds() {
			return ""
		}
		limiter := s.forced[c.visit.name]
		if limiter == nil {
			limiter = rate.NewLimiter(rate.Every(20*time.Second-time.Millisecond), 3)
			s.forced[c.visit.name] = limiter
		}
		if s.cacheWell() && !limiter.AllowN(c.began, 1) {
			return "more than three at once and one per 20 seconds"
		}
		return ""
	}},
}

// roundTrip makes a call of the instance to the platform, with faults.
func (s *instance) roundTrip(r *http.Request) (*http.Response, error) {
	c := &call{visit: r.Context().Value(visitKey{}).(*visit), ctx: r.Context(), began: time.Now()}
	s.mu.Lock()
	s.clock++
	c.clock = s.clock
	s.seen["calls"]++
	for _, check := range callChecks {
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

// fault returns the fault of a call of v. The zero Fault is none.
func (w *world) fault(v *visit) (f searchtokentest.Fault) {
	weather, now := w.weather, time.Now()
	switch {
	case v.visitor == weather.victim:
		f.Status = 400
	case v.rng.Float64() < weather.limits:
		after := time.Duration(v.rng.IntN(600)) * time.Second
		f.Status, f.RetryAfter = 429, fmt.Sprint(int(after.Seconds()))
		if v.rng.IntN(2) == 0 {
			f.RetryAfter = now.Add(after).UTC().Format(http.TimeFormat)
		}
	case v.rng.Float64() < weather.fails:
		f = []searchtokentest.Fault{
			{Status: 500}, {Status: 503}, {Drop: true}, {Delay: 20 * time.Second},
		}[v.rng.IntN(4)]
	case v.rng.Float64() < weather.refuses:
		f = []searchtokentest.Fault{
			{Status: 403}, {Body: `{"token":`}, {Body: "<html>"}, {Body: "{}"}, {CutOff: true},
		}[v.rng.IntN(5)]
	}
	f.Kind = searchtokentest.KindToken
	return f
}

// answer returns the answer of the platform, or that of a platform with the
// fault.
func (s *instance) answer(
	r *http.Request, fault searchtokentest.Fault, there, back time.Duration,
) (resp *http.Response, token string, err error) {
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

// conclude notes how a call ended, for the checks of later calls.
func (s *instance) conclude(c *call, resp *http.Response, token string) {
	now, g := time.Now(), c.visit.grant
	if c.ctx.Err() != nil && s.weather.cacheSlow == 0 && now.Sub(c.began) < fetchTimeout {
		s.fail(c.visit, "a fetch that outlives its request",
			fmt.Sprintf("the call was canceled after %v", now.Sub(c.began)))
	}
	if resp == nil || resp.StatusCode >= 500 || resp.StatusCode == 429 {
		s.seen["failures"]++
		user := g.user
		recovered, known := s.recovered[user]
		s.failing[user] = s.failing[user] || known && c.began.After(recovered)
		if !s.failing[user] {
			s.failures[user] = true
		}
		delete(s.recovered, user)
		delete(s.backoffs, g) // the recovery of the platform ends the backoff of every grant
		limited := resp != nil && resp.StatusCode == 429
		if limited {
			s.limited, s.until = now, later(s.until, now.Add(retryAfter(resp.Header.Get("Retry-After"))))
		}
		// Calls that were in flight when the last failure was counted do not
		// count.
		if (limited || len(s.failures) >= 3) && (s.outage.tries == 0 || c.began.After(s.outage.at)) {
			s.outage.add()
		}
		return
	}
	clear(s.failures)
	delete(s.failing, g.user)
	delete(s.recovered, g.user)
	if !now.Before(s.until) {
		if s.outage.tries > 0 {
			for user := range s.failing {
				if s.recovered[user].IsZero() {
					s.recovered[user] = now
				}
			}
		}
		s.outage = backoff{}
	}
	if token != "" {
		s.seen["tokens"]++
		s.tokens[token] = c
		delete(s.backoffs, g)
		return
	}
	s.seen["refusals"]++
	began := c.began
	if !s.cacheWell() { // the fetch may not have learned of a Forget while it queued
		began = c.visit.began
	}
	if s.forgets(began) == 0 { // a Forget ends the backoff, because the rights may have changed
		if s.backoffs[g] == nil {
			s.backoffs[g] = &backoff{}
		}
		s.backoffs[g].add()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retryAfter returns the value of a Retry-After header, cut to 5 minutes.
func retryAfter(header string) time.Duration {
	after, err := time.ParseDuration(header + "s")
	if date, dateErr := http.ParseTime(header); err != nil && dateErr == nil {
		after = time.Until(date)
	}
	return min(after, 5*time.Minute)
}

// newCache returns a Cache that fails and is slow with the probabilities of the
// weather.
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
				w.fail(ctx.Value(visitKey{}).(*visit), "a cached token that no failure removes", t.String())
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

// recover checks that everybody gets a page some minutes after the last
// failure.
func (w *world) recover() {
	w.mu.Lock()
	w.weather = weather{}
	w.mu.Unlock()
	w.platform.SetTokenLife(0)
	time.Sleep(5*time.Minute + time.Second)
	ask := func(u *visitor, s *instance) {
		v := w.newVisit(u, s, true)
		v.patience = 0
		w.run(v)
		if v.status != 200 {
			w.fail(v, "a page for everybody after the recovery", fmt.Sprint("status ", v.status))
		}
	}
	var wg sync.WaitGroup
	for _, s := range w.instances {
		w.logout(w.visitors[0], s)
		ask(w.visitors[0], s) // the probe, if the platform failed
		for _, u := range w.visitors {
			wg.Go(func() { ask(u, s) })
		}
		wg.Wait()
	}
	for _, what := range []string{
		"status 200", "status 401", "status 429", "status 502", "status 503",
		"tokens", "refusals", "failures", "refreshes",
	} {
		if w.seen[what] == 0 {
			w.t.Errorf("seed %d: the run had no %s, so it tested too little: %v", w.seed, what, w.seen)
		}
	}
}
